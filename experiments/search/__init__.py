"""Loops that train in order to design rewards: evolution of reward programs written by a language model.

After Ma et al., "Eureka: Human-Level Reward Design via Coding Large Language Models", ICLR 2024 (arXiv 2310.12931),
with another fitness, successive halving, and an archive.
"""
