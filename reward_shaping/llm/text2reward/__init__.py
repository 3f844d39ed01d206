"""Text2Reward: a language model writes the dense reward from the task's instruction and a class-style view of the env.

Xie et al., "Text2Reward: Reward Shaping with Language Models for Reinforcement Learning", ICLR 2024 (arXiv 2309.11489).
"""
