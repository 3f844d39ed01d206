"""An env whose world has a step of its own as a world that only begins and moves, so that another task can judge it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from cairngym.envs.core import Observation, State, StateField, TaskSpec, TensorEnv, World, WorldSpec, clone
from cairngym.envs.episodes import Episodes
from cairngym.envs.state_view import StateView

OBSERVATION = "base_observation"
"""The state field that holds the env's observation; entries of a Dict follow behind a slash."""
ENDED, SUCCEEDED = "base_ended", "base_succeeded"
NO_LIMIT = 2**31 - 1


class EnvWorld(World):
    """The N worlds of an env that steps, judges and resets in one go (MiniGrid, LidarRooms, `from_gymnasium`).

    The env's own task goes on judging inside, but nothing is reset at its verdict: where its episode has ended, that
    world stands still until the next `begin`. Its time limit and `terminate_on_success` are lifted as far as they are
    the task's; MiniGrid, LidarRooms and foreign envs may end episodes by themselves.

    `state` is the env's, and further `base_observation` (one field per entry of a Dict observation, such as
    `base_observation/image`), `base_ended` and `base_succeeded`. Inside, env i's episode e draws what it draws in the
    plain env: the lives are keyed by the same (seed, env, episode).

    Args:
        env: whose world this is from now on; it must not be stepped any more.

    Raises:
        ValueError: the env's state has fields of the names above.
    """

    def __init__(self, env: TensorEnv) -> None:
        self.inner: WorldSpec = env.world
        self.num_envs, self.device = env.num_envs, env.device
        self.single_action_space = env.single_action_space
        self.reset_options = self.inner.reset_options
        self._task = unlimited(env.task)
        self._names = entry_names(env.single_observation_space)
        self.state_spec = describe(self.inner.state_spec, env.single_observation_space)
        self.life = self.inner.episodes = Episodes(self.num_envs, self.device, env.episodes.seed)
        self._obs: Observation = {}
        self._moment: State = {}
        self._extra: Mapping[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not yet set: copying or unpickling
            raise AttributeError(name)
        return getattr(self.inner, name)

    def prepare(self, options: Mapping[str, Any]) -> None:
        """Pass the options on."""
        self.inner.prepare(options)

    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Start the masked worlds, as the plain env does in its episodes of the same numbers."""
        if self.device.type == "cpu" and not bool(mask.any()):
            return
        dict(self._moment)  # measured before the worlds move on, for those who hold it
        self.life.seed = episodes.seed
        self.life.restart(mask)
        self.life.number.copy_(episodes.number)
        self._obs = self.inner.start(self._task, mask, self.life)
        self._look(self.inner.state)

    def advance(self, action: torch.Tensor) -> None:
        """Step the env; a world whose episode has ended stands still."""
        out = self.inner.transition(self._task, action, self.life, AutoresetMode.DISABLED)
        self._obs, self._extra = out.final_obs, out.extra
        self._look(out.final_state)

    def _look(self, state: State) -> None:
        """Describe the worlds as they are, in fields that are measured when first read."""
        fields = dict(entries(self._obs, self._names))
        fields[ENDED], fields[SUCCEEDED] = self.life.ended, self.life.succeeded.clone()
        self._moment = StateView(
            lambda name: fields[name] if name in fields else state[name], tuple(self.state_spec), 0, lambda: 0
        )

    def report(self) -> Mapping[str, Any]:
        """What the env reports of itself."""
        return self._extra

    def observe(self, state: State) -> Observation:
        """The env's own observation, `(B, ...)`, from the fields that hold it."""
        if self._names == {OBSERVATION: ""}:
            return state[OBSERVATION]
        return {entry: state[field] for field, entry in self._names.items()}

    @property
    def state(self) -> State:
        """The fields of `state_spec`; those of MiniGrid must be read before its next step."""
        return self._moment

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The env's own frames."""
        return self.inner.render(env_ids)

    def get_state(self) -> dict[str, Any]:
        """Copy the worlds, their lives and what was seen of them last.

        Raises:
            SnapshotError: a foreign env that cannot be copied.
        """
        return {"inner": self.inner.get_state(), "life": self.life.get_state(), "obs": clone(self._obs)}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.life.set_state(snapshot["life"])
        self.inner.set_state(snapshot["inner"])
        self._obs = clone(snapshot["obs"])
        self._look(self.inner.state)

    def close(self) -> None:
        """Close the env's worlds."""
        self.inner.close()


def unlimited(task: TaskSpec) -> TaskSpec:
    """A copy of `task` without time limit, in which success ends nothing."""
    free = copy.copy(task)
    free.horizon, free.terminate_on_success = NO_LIMIT, False
    return free


def entry_names(space: spaces.Space) -> dict[str, str]:
    """State field -> entry of the observation, "" for an observation that is no Dict."""
    if isinstance(space, spaces.Dict):
        return {f"{OBSERVATION}/{entry}": entry for entry in space.spaces}
    return {OBSERVATION: ""}


def entries(obs: Observation, names: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """The observation as state fields."""
    return {field: obs[entry] if isinstance(obs, dict) else obs for field, entry in names.items()}


def describe(spec: Mapping[str, StateField], space: spaces.Space) -> dict[str, StateField]:
    """The env's fields and those that hold its observation and how its own episode stands."""
    boxes = {"": space} if not isinstance(space, spaces.Dict) else space.spaces
    further = {
        field: StateField(
            shape=boxes[entry].shape or (), unit="as observed",
            description=f"The env's own observation{entry and f', entry {entry!r}'}.",
            dtype=torch.from_numpy(np.empty(0, boxes[entry].dtype)).dtype,
        )
        for field, entry in entry_names(space).items()
    }  # fmt: skip
    for name, description in (
        (ENDED, "Whether the env's own episode has ended, so that its world stands still."),
        (SUCCEEDED, "Whether the env's own task has succeeded in this episode."),
    ):
        further[name] = StateField(shape=(), unit="bool", description=description, dtype=torch.bool)
    clash = sorted(spec.keys() & further.keys())
    if clash:
        raise ValueError(f"The state fields {clash} hold what the env shows of itself; rename the env's own.")
    return {**spec, **further}
