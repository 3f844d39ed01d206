"""One foreign env as the vector loop of `ForeignWorld` needs it."""

from __future__ import annotations

from typing import Any

import gymnasium

from cairngym.envs.adapters.flatten import Flattener


class Life(gymnasium.Wrapper):
    """Flattens the observation, reports ends in `info`, and stands still after one until it is reset.

    Gymnasium's vector envs under DISABLED autoreset refuse to step an ended env; hiding the flags from them lets the
    others go on. `info` holds `terminated`, `truncated` and, under `reported`, what the env itself says.

    Args:
        env: the foreign env.
        flatten: reads its observations.
        keep_info: keep all that the env reports instead of its success alone.
    """

    def __init__(self, env: gymnasium.Env, flatten: Flattener, *, keep_info: bool) -> None:
        super().__init__(env)
        self.flatten = flatten
        self.observation_space = flatten.space
        self.keep_info = keep_info
        self._over = False
        self._last: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        obs, info = self.env.reset(seed=seed, options=options or None)
        self._over, self._last = False, self.flatten(obs)
        return self._last, {"reported": self._report(info)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step, or stand still; the flags returned are always False."""
        if self._over:
            return self._last, 0.0, False, False, {"terminated": False, "truncated": False}
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._over, self._last = bool(terminated or truncated), self.flatten(obs)
        ends = {"terminated": bool(terminated), "truncated": bool(truncated)}
        return self._last, float(reward), False, False, {**ends, "reported": self._report(info)}

    def _report(self, info: dict[str, Any]) -> dict[str, Any]:
        return info if self.keep_info else {name: info[name] for name in ("success", "is_success") if name in info}
