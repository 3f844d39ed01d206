"""Learners: PPO, evaluation, and the bridge to Stable-Baselines3."""
