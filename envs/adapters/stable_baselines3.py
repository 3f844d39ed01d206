"""A TensorEnv as a Stable-Baselines3 `VecEnv`; the only module of `cairngym.envs` that imports it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from cairngym.envs.adapters.convert import row, to_numpy
from cairngym.envs.core import TensorEnv

SMALLEST_PICTURE = 36
"""Side in pixels below which SB3's convolutional network (NatureCNN) cannot read an image."""


class SB3VecEnv(VecEnv):
    """A TensorEnv that Stable-Baselines3 trains on.

    Where an episode ends, its env's info holds `terminal_observation`, `TimeLimit.truncated`, `is_success`, and
    `episode` (`r`, `l`, `t` in s), whose `r` is the task reward alone even where the reward is shaped. uint8 grids too
    small for SB3's image network are codes rather than pictures and are handed over as float32. The copies of a
    TensorEnv share their attributes and methods, so `get_attr` and `env_method` repeat one answer.

    Args:
        env: any TensorEnv that resets itself in the same step, shaped and wrapped ones included.

    Raises:
        ValueError: another autoreset mode.
    """

    def __init__(self, env: TensorEnv) -> None:
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"Expected autoreset_mode='SameStep', which Stable-Baselines3 relies on, got "
                f"{env.autoreset_mode.value!r}."
            )
        self.env = env
        self._codes = _codes(env.single_observation_space)
        self._action: torch.Tensor | None = None
        self._began = time.perf_counter()
        super().__init__(env.num_envs, _declare(env.single_observation_space, self._codes), env.single_action_space)
        self.metadata = {**env.metadata, **self.metadata}

    def reset(self) -> Any:
        """Start new episodes, with the seed given by `seed()` if there is one."""
        obs, info = self.env.reset(seed=self._seeds[0], options=self._options[0] or None)
        success = to_numpy(info["success"])
        self.reset_infos = [{"success": bool(done), "is_success": bool(done)} for done in success]
        self._reset_seeds()
        self._reset_options()
        return self._read(obs)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._action = torch.as_tensor(np.array(actions))

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step every env."""
        obs, reward, terminated, truncated, info = self.env.step(self._action)
        done = to_numpy(terminated | truncated)
        limit = to_numpy(truncated & ~terminated)
        success = to_numpy(info["success"])
        infos: list[dict[str, Any]] = [
            {"TimeLimit.truncated": late, "success": won, "is_success": won}
            for late, won in zip(limit.tolist(), success.tolist(), strict=True)
        ]
        if done.any():
            self._add_ends(infos, np.flatnonzero(done), info)
        return self._read(obs), to_numpy(reward), done, infos

    def _add_ends(self, infos: list[dict[str, Any]], ended: np.ndarray, info: dict[str, Any]) -> None:
        final_obs = self._read(info["final_obs"])
        returns, lengths = to_numpy(info["episode"]["return"]), to_numpy(info["episode"]["length"])
        lived = round(time.perf_counter() - self._began, 6)
        for index in ended.tolist():
            infos[index]["terminal_observation"] = row(final_obs, index)
            infos[index]["episode"] = {"r": float(returns[index]), "l": int(lengths[index]), "t": lived}

    def _read(self, obs: Any) -> Any:
        arrays = to_numpy(obs)
        if not isinstance(arrays, Mapping):
            return arrays.astype(np.float32) if self._codes else arrays
        return {name: array.astype(np.float32) if name in self._codes else array for name, array in arrays.items()}

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Set the seed that the next `reset` starts over with; each env derives its own lives from it."""
        self._seeds = [int(np.random.default_rng().integers(2**32)) if seed is None else seed] * self.num_envs
        return self._seeds

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute, once per index."""
        return [getattr(self.env, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of all envs.

        Raises:
            ValueError: if `indices` names only some.
        """
        if len(set(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"The {self.num_envs} envs share {attr_name!r}; set it without indices.")
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the TensorEnv once and give its answer once per index."""
        answer = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [answer] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Whether a wrapper of this class is among the env's; `Monitor` counts, since its `info["episode"]` is here."""
        wrapped = wrapper_class is Monitor
        layer: TensorEnv | None = self.env
        while layer is not None and not wrapped:
            wrapped = isinstance(layer, wrapper_class)
            layer = vars(layer).get("env")
        return [wrapped] * len(list(self._get_indices(indices)))

    def get_images(self) -> Sequence[np.ndarray]:
        """RGB frames of all envs."""
        return self.env.render()

    def close(self) -> None:
        """Close the env inside."""
        self.env.close()


def _codes(space: spaces.Space) -> tuple[str, ...]:
    """Names of the entries that SB3 would take for pictures and could not read; ("",) for such a lone Box."""
    entries = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    return tuple(name for name, entry in entries.items() if _is_small_picture(entry))


def _is_small_picture(space: spaces.Space) -> bool:
    return (
        isinstance(space, spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and min(sorted(space.shape)[1:]) < SMALLEST_PICTURE
    )


def _declare(space: spaces.Space, codes: tuple[str, ...]) -> spaces.Space:
    """The observation space with the `codes` as float32 boxes."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({name: _as_float(box) if name in codes else box for name, box in space.spaces.items()})
    return _as_float(space) if codes else space


def _as_float(space: spaces.Space) -> spaces.Space:
    if not isinstance(space, spaces.Box):
        raise TypeError(f"Expected a Box, got {space}.")
    return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
