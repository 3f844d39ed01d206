"""One copy of a task as a plain numpy `gymnasium.Env`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from cairngym.envs.adapters.convert import row, to_numpy
from cairngym.envs.adapters.vector import check_render_mode
from cairngym.envs.core import TensorEnv
from cairngym.envs.registry import make


class SingleEnv(gymnasium.Env):
    """A TensorEnv of one copy as a numpy `gymnasium.Env`, without the env axis.

    The observation of the last step is the terminal one, and `reset` starts the next episode, as Gymnasium has it.
    `reset()` without a seed goes on to the next episode of the seed the env was made or last reset with.

    Args:
        env: one copy, under `AutoresetMode.DISABLED`; shaped and wrapped envs are welcome.

    Raises:
        ValueError: more copies than one, or an env that resets itself.
    """

    def __init__(self, env: TensorEnv) -> None:
        if env.num_envs != 1:
            raise ValueError(f"Expected a TensorEnv of num_envs=1, got {env.num_envs}; NumpyVectorEnv takes more.")
        if env.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(
                f"Expected autoreset_mode='Disabled', got {env.autoreset_mode.value!r}: a gymnasium.Env is reset by "
                "its user. Pass it to make()."
            )
        self.tensor_env = env
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self.metadata = {name: env.metadata[name] for name in ("render_modes", "render_fps")}
        self.render_mode = env.render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:  # fmt: skip
        """Start an episode; a seed starts over from its episode 0."""
        super().reset(seed=seed)
        obs, info = self.tensor_env.reset(seed=seed, options=options)
        return row(to_numpy(obs), 0), self._info(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action of `action_space`; `info` holds `success` (alias `is_success`) as a bool."""
        obs, reward, terminated, truncated, info = self.tensor_env.step(np.asarray(action)[None])
        return row(to_numpy(obs), 0), float(reward), bool(terminated), bool(truncated), self._info(info)

    @staticmethod
    def _info(info: dict[str, Any]) -> dict[str, Any]:
        success = bool(info["success"])
        return {"success": success, "is_success": success}

    def render(self) -> np.ndarray | None:
        """The RGB frame, uint8 `(height, width, 3)`; None for an env that draws no pictures."""
        return None if self.render_mode is None else self.tensor_env.render([0])[0]

    def close(self) -> None:
        """Close the env inside."""
        self.tensor_env.close()

    def get_state(self) -> dict[str, Any]:
        """Snapshot everything that decides the future."""
        return self.tensor_env.get_state()

    def set_state(self, snapshot: dict[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        self.tensor_env.set_state(snapshot)


def make_single(env_id: str, *, render_mode: str | None = None, **options: Any) -> SingleEnv:
    """Make one numpy env of a registered id; `gymnasium.make("cairngym/<id>", …)` calls it.

    Args:
        env_id: one of `cairngym.list_envs()`.
        render_mode: "rgb_array" or None; every env that can draw draws when it is asked to.
        options: as for `cairngym.make`, without `num_envs` and `autoreset_mode`.

    Raises:
        ValueError: another render mode.
        TypeError: an option the env does not have.

    Example:
        >>> import gymnasium
        >>> env = gymnasium.make("cairngym/Chain-N10-v0")
        >>> obs, info = env.reset(seed=0)
        >>> env.step(1)[1:]
        (0.0, False, False, {'success': False, 'is_success': False})
    """
    check_render_mode(render_mode)
    for name in ("num_envs", "autoreset_mode"):
        if name in options:
            raise TypeError(f"A gymnasium.Env takes no {name}; make a TensorEnv with cairngym.make for that.")
    return SingleEnv(make(env_id, num_envs=1, autoreset_mode=AutoresetMode.DISABLED, **options))
