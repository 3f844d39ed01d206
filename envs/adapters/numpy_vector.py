"""A TensorEnv as a numpy `gymnasium.vector.VectorEnv`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from cairngym.envs.adapters.convert import to_numpy
from cairngym.envs.core import TensorEnv


class NumpyVectorEnv(VectorEnv):
    """A TensorEnv whose every tensor, in and out, is a numpy array of its own; autoreset stays as it is.

    Entries of `info` are full arrays under their masks (`final_obs` under `_final_obs`, `episode` under `_episode`).

    Args:
        env: any TensorEnv, shaped and wrapped ones included.

    Example:
        >>> import cairngym
        >>> env = NumpyVectorEnv(cairngym.make("Chain-N10-v0", num_envs=2))
        >>> obs, info = env.reset(seed=0)
        >>> env.step(env.action_space.sample())[1]
        array([0., 0.], dtype=float32)
    """

    def __init__(self, env: TensorEnv) -> None:
        self.tensor_env = env
        self.num_envs = env.num_envs
        self.metadata, self.render_mode = env.metadata, env.render_mode
        self.single_observation_space, self.observation_space = env.single_observation_space, env.observation_space
        self.single_action_space, self.action_space = env.single_action_space, env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start new episodes; `options` as for `TensorEnv.reset`."""
        obs, info = self.tensor_env.reset(seed=seed, options=options)
        return to_numpy(obs), to_numpy(info)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every env."""
        obs, reward, terminated, truncated, info = self.tensor_env.step(torch.as_tensor(np.array(actions)))
        return to_numpy(obs), to_numpy(reward), to_numpy(terminated), to_numpy(truncated), to_numpy(info)

    def render(self, env_ids: Sequence[int] | None = None) -> tuple[np.ndarray, ...]:
        """RGB frames of the given envs (default: all)."""
        return self.tensor_env.render(env_ids)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the env inside."""
        self.tensor_env.close(**kwargs)
