"""Reward shapers that plug into any TensorEnv."""
