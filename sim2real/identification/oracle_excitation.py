"""A task's scripted oracle, disturbed, as what is played on a robot: for what no sine ever touches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cairngym.sim2real.robot import Reading


@dataclass(frozen=True, kw_only=True)
class OracleConfig:
    """Episodes that the oracle of the model's task plays on each robot, by what the robot measures."""

    duration_s: float
    """Length of one episode at most, s."""
    logs: int = 3
    """Episodes, the last of which is held back."""
    noise: float = 0.0
    """Standard deviation of what is added to its actions, as a share of half their range."""
    random_actions: float = 0.0
    """Probability that an action is drawn uniformly instead."""
    seed: int = 0
    """Of the noise."""

    def __post_init__(self) -> None:
        if self.logs < 1 or not self.duration_s > 0:
            raise ValueError(f"Expected at least one log longer than 0 s, got {self.logs} of {self.duration_s} s.")
        if not self.noise >= 0 or not 0 <= self.random_actions <= 1:
            raise ValueError(
                f"Expected noise >= 0 and random_actions in [0, 1], got {self.noise} and {self.random_actions}."
            )


class OraclePlayer:
    """The oracle of a task, in closed loop on the readings of a robot.

    The noise of an episode is drawn anew, from its number: it is the same on every robot.

    Args:
        env_id: the task.
        config: how it plays.

    Raises:
        UnknownNameError: no such env, or its task has no oracle; the message lists those that have one.
        ValueError: the oracle has a memory of its own env, so that it can't play on a robot.
    """

    def __init__(self, env_id: str, config: OracleConfig) -> None:
        from cairngym.agents.oracles import make_oracle, plays_all
        from cairngym.envs.registry import make

        self.env_id, self.config, self.env = env_id, config, make(env_id)
        try:
            if plays_all(self.env):
                raise ValueError(
                    f"Expected an oracle that acts on readings alone, got that of {env_id!r}, which remembers what its "
                    "own env did. Excite the robot by sines."
                )
            self._oracle = make_oracle(self.env)
        except Exception:
            self.env.close()
            raise
        space = self.env.single_action_space
        self._low, self._high = space.low.ravel().astype(float), space.high.ravel().astype(float)  # type: ignore[attr-defined]
        self.begin(0)

    def begin(self, number: int) -> None:
        """Draw the noise of episode `number`."""
        self._random = np.random.default_rng((self.config.seed, number))

    def __call__(self, reading: Reading) -> np.ndarray:
        """The command `(size,)` in answer to a reading.

        Raises:
            ValueError: the oracle needs what the robot does not measure.
        """
        import torch

        spec = self.env.state_spec
        state = {
            name: torch.as_tensor(reading.values[name]).to(field.dtype).view(1, *field.shape)
            for name, field in spec.items() if name in reading.values
        }  # fmt: skip
        try:
            action = self._oracle({}, state)[0].double().cpu().numpy().ravel()
        except KeyError as error:
            raise ValueError(
                f"Expected a robot that measures what the oracle of {self.env_id!r} acts on, got none of {error}. "
                "Excite it by sines."
            ) from error
        return self._disturbed(action)

    def _disturbed(self, action: np.ndarray) -> np.ndarray:
        half = (self._high - self._low) / 2
        shift, drawn = self._random.normal(size=action.shape), self._random.uniform(self._low, self._high)
        wild = self._random.uniform() < self.config.random_actions
        return np.clip(drawn if wild else action + self.config.noise * half * shift, self._low, self._high)

    def close(self) -> None:
        """Let go of the env that the oracle was made for."""
        self.env.close()
