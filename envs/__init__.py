"""Worlds and tasks: the TensorEnv contract, its registry and adapters, and the families of envs."""
