"""A simulated robot in this process, whose clock waits for commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from cairngym.envs.core import TensorEnv
from cairngym.envs.data import Observation, State
from cairngym.envs.registry import make
from cairngym.sim2real.lockstep import HoldingRobot
from cairngym.sim2real.robot import Reading
from cairngym.sim2real.sensing import robot_spec, sensor_values

if TYPE_CHECKING:
    from cairngym.sim2real.randomization.config import RandomizationConfig


class SimulatedRobot(HoldingRobot):
    """A robot that is one copy of an env; its clock waits for commands.

    Episode e begins as it does for env 0 of a batch with the same seed, whatever was done before. Its clock counts
    `control_dt` for every reading since it was made, over all episodes.

    Args:
        env_id: any env whose actions are numbers within limits and whose observations are vectors.
        seed: of the episodes' beginnings.
        options: of the env.
        randomization: what of the simulation is changed: a preset's name, a path or a config; None for nothing.
        unit: which physical copy of the robot this is: number k has the same body wherever it is met.
        randomization_seed: of the bodies' parameters and of the noise; None takes `seed`.
        control_dt: time between two commands, s. Needed where the world has no clock of its own; otherwise it makes the
            robot's clock run faster or slower than its physics, for tests under load.

    Raises:
        UnknownNameError: no such env.
        TypeError: images for observations, or actions that are no numbers within limits.
        ValueError: no `control_dt` where one is needed.
    """

    env: TensorEnv

    def __init__(
        self,
        env_id: str,
        *,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        randomization: str | Path | RandomizationConfig | None = None,
        unit: int = 0,
        randomization_seed: int | None = None,
        control_dt: float | None = None,
    ) -> None:
        env = make(env_id, seed=seed, autoreset_mode=AutoresetMode.DISABLED, **(options or {}))
        try:
            if randomization is not None:
                env = _randomized(env, randomization, randomization_seed, unit)
            self._sensed = _senses(env)
            super().__init__(robot_spec(env, control_dt))
        except Exception:
            env.close()
            raise
        self.env, self._sequence, self._began = env, 0, False

    def _begin(self, episode: int | None) -> Reading:
        if episode is not None:
            if not self._began:
                self.env.reset()
            self.env.unwrapped.episodes.number.fill_(episode - 1)
        obs, _ = self.env.reset()
        self._began = True
        return self._reading(obs, over=False, success=False)

    def _hold(self, command: np.ndarray) -> Reading:
        action = torch.from_numpy(command).to(torch.float32).view(self.env.action_space.shape or (1,))
        obs, _, terminated, truncated, info = self.env.step(action)
        return self._reading(obs, over=bool(terminated | truncated), success=bool(info["success"]))

    def _reading(self, obs: Observation, *, over: bool, success: bool) -> Reading:
        self._sequence += 1
        return Reading(
            sequence=self._sequence,
            time_s=(self._sequence - 1) * self.spec.control_dt,
            received_s=time.monotonic(),
            values=sensor_values(self.env, obs, self._sensed()),
            episode=int(self.env.unwrapped.episodes.number),
            over=over,
            success=success,
        )

    def close(self) -> None:
        """Release the simulation."""
        if not self._closed:
            self.env.close()
        super().close()


def _randomized(env: TensorEnv, config: Any, seed: int | None, unit: int) -> TensorEnv:
    from cairngym.sim2real.randomization.wrapper import Randomization

    return Randomization(env, config=config, seed=seed, units=(unit,))


def _senses(env: TensorEnv) -> Callable[[], State]:
    """What gives the world's state as its sensors see it: as it is, where nothing comes between."""
    overlaid = getattr(env, "overlaid", None)
    return (lambda: env.state) if overlaid is None else (lambda: overlaid(env.state))
