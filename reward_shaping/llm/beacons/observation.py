"""The wrapper that shows the policy, one after the other, the subgoals that a language model named for the level."""

from __future__ import annotations

import copy
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from cairngym.envs.checks import check_seed, unknown_name
from cairngym.envs.core import Observation, State, StateField, TensorEnv
from cairngym.envs.minigrid.cells import PICKUP
from cairngym.envs.minigrid.levels import LevelBank
from cairngym.envs.minigrid.world import MiniGridWorld
from cairngym.envs.wrapper import TensorWrapper
from cairngym.reward_shaping.llm.beacons.encoding import SubgoalCodes
from cairngym.reward_shaping.llm.beacons.errors import ErrorModel, Kind, check_kind, with_errors
from cairngym.reward_shaping.llm.beacons.planner import plan
from cairngym.reward_shaping.llm.beacons.reaching import Ground, reached
from cairngym.reward_shaping.llm.beacons.subgoals import DEED, KIND, PUT, THINGS, SubgoalTable, usual_deed

BEACON = "beacon"
"""The entry of the observation that holds the current subgoal."""
INDEX, COUNT, STEPS = "beacon_index", "beacon_count", "beacon_steps"
"""Subgoals reached, subgoals named, and steps since the last was reached: what the shaper "beacons" pays by."""
FRAMES = ("agent", "grid")


class BeaconObservation(TensorWrapper):
    """Shows the current subgoal of the level, and goes on to the next when it is reached.

    The subgoals of a level are the right ones (doors on the way, keys, boxes, what blocks the way, the target), made
    wrong as often as a language model's are, by draws that belong to the level: a level comes with the same subgoals
    whenever it is lived in, as if a model had been asked once. No model runs in training. After Ruiz-Gonzalez et al.,
    "Words as Beacons: guiding RL agents with high-level language prompts", arXiv 2410.08632.

    The observation gains the entry "beacon" (see `SubgoalCodes`), whose last codes mean that no subgoal is left, and
    the state `beacon_index`, `beacon_count` and `beacon_steps`, which the shaper "beacons" pays by. A subgoal is
    reached when the thing is carried, the door open, the box gone, the place come to, the object put down; one that is
    about a place where nothing lies, when the agent stands on it or looks at it. At most one is reached in a step.

    Args:
        env: a MiniGrid env whose levels come from a bank.
        kind: "position", "object" or "language".
        frame: axes of a position: the "agent"'s (ahead, right) or the "grid"'s (right, down).
        accuracy, position_error, position_std, missing, extra: of `ErrorModel`; one and zeros by default.
        error_model: an `ErrorModel`, or "recorded:" to measure it on the packaged recordings for this task, or any
            other provider that `make_provider` makes; instead of the numbers.
        seed: of the errors; None takes the env's own seed.

    Raises:
        TypeError: an env of another family, or with another wrapper that changes what levels are.
        ValueError: levels without a plan, levels that are not drawn from a bank, or numbers beside an `error_model`.
        UnknownNameError: an unknown kind or frame.
        ProviderError: what the errors should be measured on can't be had.

    Example:
        >>> import cairngym
        >>> env = cairngym.make("MiniGrid-MultiRoom-N2-S4-v0", bank_size=4)
        >>> BeaconObservation(env, kind="language").subgoals.level(0)[0].sentence
        'open the closed blue door'
    """

    def __init__(
        self,
        env: TensorEnv,
        *,
        kind: str = "object",
        frame: str = "agent",
        accuracy: float | None = None,
        position_error: float | None = None,
        position_std: float | None = None,
        missing: float | None = None,
        extra: float | None = None,
        error_model: ErrorModel | str | None = None,
        seed: int | None = None,
    ) -> None:
        if frame not in FRAMES:
            raise unknown_name("frame of positions", frame, FRAMES)
        numbers = {"accuracy": accuracy, "position_error": position_error, "position_std": position_std,
                   "missing": missing, "extra": extra}  # fmt: skip
        given = {name: float(value) for name, value in numbers.items() if value is not None}
        self.kind, self._seed = check_kind(kind), None if seed is None else check_seed(seed)
        self._world = world = minigrid_world(env)
        self.right = right_subgoals(world)
        self.errors = self._error_model(env, self.kind, error_model, given)
        self.codes = self._codes(frame)
        super().__init__(env, observation_space=self._extended(env.single_observation_space))
        self.task = copy.copy(env.task)
        self.task.single_observation_space = self.single_observation_space
        self.task.categories = {**env.task.categories, BEACON: self.codes.categories}
        self._ground, self._beside = Ground(world), PUT in self.right.column(DEED)
        self._resets_at_once = self.unwrapped.autoreset_mode is AutoresetMode.SAME_STEP
        self._level = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self._index, self._steps = self._level.clone(), self._level.clone()
        self._over = torch.zeros_like(self._level, dtype=torch.bool)
        self._drawn_by: int | None = None
        self._draw()
        self._follow()
        self._final = self._fields

    @staticmethod
    def _error_model(
        env: TensorEnv, kind: Kind, model: ErrorModel | str | None, given: Mapping[str, float]
    ) -> ErrorModel:
        if model is not None and given:
            raise ValueError(f"Expected an error_model or numbers, got both: error_model and {', '.join(given)}.")
        if isinstance(model, str):
            from cairngym.reward_shaping.llm.beacons.measurement import measure

            return measure(env, model, kind)
        return model or ErrorModel(**given)

    def _codes(self, frame: str) -> SubgoalCodes:
        """Codes that tell all subgoals apart that this bank's levels can have, whatever the errors."""
        kinds = self.right.column(KIND) | set(THINGS) & self._world.store.drawn.kinds()
        usual = usual_deed(torch.tensor(sorted(kinds), dtype=torch.int64)).tolist()
        deeds = self.right.column(DEED) | set(usual)
        return SubgoalCodes(self.kind, self._world.width, self._world.height, kinds, deeds, frame)

    def _extended(self, space: spaces.Space) -> spaces.Dict:
        if not isinstance(space, spaces.Dict) or BEACON in space.spaces:
            raise ValueError(f"Expected a Dict observation without an entry {BEACON!r}, got {space}.")
        return spaces.Dict({**space.spaces, BEACON: self.codes.space})

    def _draw(self) -> None:
        """Draw the errors that belong to the seed, if that has changed."""
        seed = self.unwrapped.episodes.seed if self._seed is None else self._seed
        if seed == self._drawn_by:
            return
        self._drawn_by = seed
        self.subgoals = with_errors(self.right, self._world.store.drawn, self.kind, self.errors, seed)
        self._table = self.subgoals.to(self.device)

    # What the subgoals add to the state -------------------------------------------------------------------------------

    @property
    def state_spec(self) -> Mapping[str, StateField]:
        """The inner env's fields and the subgoals'."""
        return {**self.env.state_spec, **FIELDS}

    @property
    def state(self) -> State:
        """The inner env's measurements and the subgoals'."""
        return ChainMap(self._fields, self.env.state)  # type: ignore[arg-type]

    def _follow(self) -> None:
        """Look up the current subgoals `(N, 6)`, whether there are any `(N,)`, and the state's fields."""
        count = self._table.count[self._level]
        self._exists = self._index < count
        self._entry = self._table.entries[self._level, self._index.clamp(max=self._table.most - 1)]
        self._fields = {INDEX: self._index, COUNT: count, STEPS: self._steps}

    # What happens to it -----------------------------------------------------------------------------------------------

    def remember(self, obs: Observation, state: State) -> None:
        """Go on to the next subgoal where the current one is reached."""
        length = self.unwrapped.episodes.length
        ended = length == 0 if self._resets_at_once else torch.zeros_like(self._over)
        done = reached(self._entry, state, self._ground, ended, beside=self._beside) & self._exists
        steps = torch.where(done, 0, self._steps + 1)
        self._index = torch.where(self._over, self._index, self._index + done)
        self._steps = torch.where(self._over, self._steps, steps)
        self._follow()
        self._final = self._fields

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """Take up the subgoals of new episodes' levels."""
        if self.device.type == "cpu" and not bool(mask.any()):
            return
        self._draw()
        self._level = torch.where(mask, self._world.store.current.long(), self._level)
        self._index, self._steps = torch.where(mask, 0, self._index), torch.where(mask, 0, self._steps)
        self._follow()

    def observation(self, obs: Observation, state: State) -> Observation:
        """The observation and the current subgoal."""
        if not isinstance(obs, dict):
            raise TypeError(f"Expected a Dict observation, got {type(obs).__name__}.")
        return {**obs, BEACON: self.codes(self._entry, self._exists, state)}

    def step(self, actions: Any) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step the inner env; `final_state` has the subgoals' fields as they were at an episode's end."""
        self._over = self.unwrapped.episodes.ended
        obs, reward, terminated, truncated, info = super().step(actions)
        info["final_state"] = ChainMap(self._final, info["final_state"])
        return obs, reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env, the levels lived in, and how far their subgoals have come."""
        own = {"level": self._level.clone(), "index": self._index.clone(), "steps": self._steps.clone()}
        return {"env": self.env.get_state(), **own}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        super().set_state(snapshot)
        self._level, self._index = snapshot["level"].clone(), snapshot["index"].clone()
        self._steps = snapshot["steps"].clone()
        self._draw()
        self._follow()
        self._final = self._fields


def minigrid_world(env: TensorEnv) -> MiniGridWorld:
    """The world under `env`.

    Raises:
        TypeError: it is none of MiniGrid's.
    """
    world = env.unwrapped.world
    if not isinstance(world, MiniGridWorld):
        raise TypeError(
            f"Expected a MiniGrid env, such as cairngym.make('MiniGrid-MultiRoom-N2-S4-v0'), whose levels can be "
            f"planned; got one of a {type(world).__name__}."
        )
    return world


def has_tools(world: MiniGridWorld) -> bool:
    """Whether the agent can pick things up and open them, rather than only move."""
    return int(world.upstream.action_space.n) > PICKUP


def right_subgoals(world: MiniGridWorld) -> SubgoalTable:
    """The right subgoals of the levels that a world draws from, on the CPU.

    Raises:
        ValueError: levels that are generated in the kernel, or that ask for nothing that can be planned.
    """
    if world.store.generator is not None:
        raise ValueError("Expected levels='bank', whose levels are known before training; got levels='procedural'.")
    return planned(world.store.drawn, world)


def planned(bank: LevelBank, world: MiniGridWorld) -> SubgoalTable:
    """The right subgoals of levels of the world's id, on the CPU.

    Raises:
        ValueError: none of them asks for anything that can be planned.
    """
    table = plan(bank, world.width, world.height, tools=has_tools(world))
    if not bool(table.count.any()):
        raise ValueError(
            f"Expected levels that ask for something, got {type(world.upstream).__name__}, whose levels have no plan: "
            "there is nothing to name subgoals for. Take another MiniGrid id."
        )
    return table


FIELDS = {
    name: StateField(shape=(), unit=unit, description=text, dtype=torch.int64, privileged=True)
    for name, unit, text in (
        (INDEX, "count", "Subgoals named for the level that were reached in this episode."),
        (COUNT, "count", "Subgoals named for the level."),
        (STEPS, "step", "Steps since the last subgoal was reached, or since the start."),
    )
}
