"""Auto MC-Reward: a designer, a critic and a trajectory analyzer; of what the designer writes only the signs count.

Li et al., "Auto MC-Reward: Automated Dense Reward Design with Large Language Models for Minecraft", CVPR 2024
(arXiv 2312.09238).
"""
