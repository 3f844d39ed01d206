"""The wrapper that gives every episode a plan with times and shows it to the policy (TGPO's augmented state)."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import torch
from gymnasium.vector import AutoresetMode

from cairngym.envs.core import Critic, Observation, State, StateField, TensorEnv, where
from cairngym.envs.random import uniform
from cairngym.envs.state_view import StateView
from cairngym.envs.stl.monitored import TIME
from cairngym.envs.wrapper import TensorWrapper
from cairngym.reward_shaping.temporal.allocation import AllocationConfig, Score, exploit, explore, num_draws
from cairngym.reward_shaping.temporal.domains import encode
from cairngym.reward_shaping.temporal.extension import extend, extended
from cairngym.reward_shaping.temporal.features import PlanFeatures, Sight
from cairngym.reward_shaping.temporal.fields import describe, measure
from cairngym.reward_shaping.temporal.grounding import ground
from cairngym.reward_shaping.temporal.pursuit import Pursuer, Pursuit
from cairngym.reward_shaping.temporal.relabelling import PlanRelabeller
from cairngym.reward_shaping.temporal.task import stl_task

TIMES_STREAM = 17
"""The stream of the times of training episodes, beside those of `cairngym.envs.random.Stream`."""
CANDIDATES_STREAM = 18
"""That of the candidates of evaluations."""
PLAN = "plan"
"""The entry of a Dict observation that holds the plan's features."""


class TemporalObservation(TensorWrapper):
    """Grounds the task's formula and gives every episode one of its branches, with times for its variables.

    The formula becomes timed subgoals and invariants (`cairngym.reward_shaping.temporal.grounding`). An episode's
    branch and times are drawn when it begins; the observation says what is to be reached by when and what has become of
    it (`PlanFeatures`), so that one policy learns all times, and its critic which of them promise success. In training
    a share of the times follow the critic; an evaluation takes the times that it values highest. What success is stays:
    the exact robustness of the formula. After Meng, Chen and Fan, "TGPO: temporal grounded policy optimization for
    signal temporal logic tasks", arXiv 2510.00225.

    The state gains `plan_target`, `plan_stage`, `plan_hits`, `plan_broken` and `plan_size`, which the shaper "stages"
    pays by, and what a replay needs to give transitions other times (hindsight strategy "times"). A wrapper that
    changes the observation goes inside of this one. Without a critic env i lives the same life among any others; with
    one as far as the critic's values are the same.

    Args:
        env: a task with a formula.
        slack: hits beyond the fewest of a chain (G F), see `ground`.
        max_branches: most branches, see `ground`.
        guided, uniform, draws, moves, step, temperature, candidates: of `AllocationConfig`.

    Raises:
        TypeError: a task without a formula, or an observation that is neither a flat Box of floats nor a Dict.
        GroundingError: a formula outside the fragment.
        ValueError: a setting out of range, or an observation that has an entry "plan".
    """

    def __init__(
        self,
        env: TensorEnv,
        *,
        slack: int = 1,
        max_branches: int = 256,
        guided: bool = AllocationConfig.guided,
        uniform: float = AllocationConfig.uniform,
        draws: int = AllocationConfig.draws,
        moves: int = AllocationConfig.moves,
        step: float = AllocationConfig.step,
        temperature: float = AllocationConfig.temperature,
        candidates: int = AllocationConfig.candidates,
    ) -> None:
        task = stl_task(env)
        self.config = AllocationConfig(
            guided=guided, uniform=uniform, draws=draws, moves=moves, step=step, temperature=temperature,
            candidates=candidates,
        )  # fmt: skip
        self.grounding = ground(task.formula, task.horizon, slack=slack, max_branches=max_branches)
        self.table = encode(self.grounding, env.device)
        self.pursuer = Pursuer(self.table)
        self.features = PlanFeatures(self.grounding, self.table, task.measures)
        space = extended(env.single_observation_space, PLAN, -torch.inf, torch.inf, self.features.size)
        super().__init__(env, observation_space=space)
        nothing = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        self.pursuit = self.pursuer.begin(nothing, nothing.unsqueeze(1).repeat(1, self.table.num_variables))
        self._plan = torch.zeros(self.num_envs, self.features.size, device=self.device)
        self._leads = torch.zeros(
            self.num_envs, self.features.num_targets, self.features.lead_size, device=self.device
        )  # fmt: skip
        self._critic: Critic | None = None
        self._exploit = False
        self._pauses = self.unwrapped.autoreset_mode is not AutoresetMode.SAME_STEP
        self._over = torch.zeros_like(nothing, dtype=torch.bool)
        self._first: Observation | None = None
        self._fields = self._final = self._measure()

    def guide(self, critic: Critic, *, exploit: bool = False) -> None:
        """Choose times by this critic: of training episodes a share, or with `exploit` all, the best of many."""
        self._critic, self._exploit = critic, exploit
        super().guide(critic, exploit=exploit)

    # What the plan adds to the state ----------------------------------------------------------------------------------

    @property
    def state_spec(self) -> Mapping[str, StateField]:
        """The inner env's fields and the plan's."""
        return {**self.env.state_spec, **describe(self.table, self.features)}

    @property
    def state(self) -> State:
        """The inner env's measurements and the plan's."""
        return ChainMap(self._fields, self.env.state)  # type: ignore[arg-type]

    @property
    def relabeller(self) -> PlanRelabeller:
        """Gives replayed steps other times."""
        return PlanRelabeller(self.pursuer, self.features, PLAN)

    def _measure(self) -> Mapping[str, torch.Tensor]:
        return measure(self.pursuit, self.table.horizon, self._leads)

    # What happens to it -----------------------------------------------------------------------------------------------

    def remember(self, obs: Observation, state: State) -> None:
        """Follow the plans one step, those of episodes that were over excepted."""
        step, sight = state[TIME].long(), self.features.look(state)
        followed = self.pursuer.follow(self.pursuit, step, sight.margins)
        self.pursuit = followed.where(self._over, self.pursuit) if self._pauses else followed
        self._plan, self._leads = self.features(self.pursuit, step, sight), sight.leads
        self._fields = self._final = self._measure()

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """Choose the branch and the times of new episodes."""
        rows, self._first = self._rows(mask), obs
        if not len(rows):
            return
        inner = self.env.state
        few = StateView(lambda name: inner[name].index_select(0, rows), tuple(self.env.state_spec), 0, lambda: 0)
        step, sight = few[TIME].long(), self.features.look(few)
        branch, times = self._choose(rows, pick(obs, rows), step, sight)
        fresh = self.pursuer.follow(self.pursuer.begin(branch, times), step, sight.margins)
        plan = self.features(fresh, step, sight)
        self.pursuit = self.pursuit.where(mask, self.pursuit.put(rows, fresh))
        self._plan = where(mask, self._plan.index_copy(0, rows, plan), self._plan)
        self._leads = where(mask, self._leads.index_copy(0, rows, sight.leads), self._leads)
        self._fields = self._measure()

    def _rows(self, mask: torch.Tensor) -> torch.Tensor:
        """The envs to choose for, int64 `(K,)`: the masked, or all where picking them would wait for the device."""
        if self.device.type == "cpu":
            return mask.nonzero()[:, 0]
        return torch.arange(self.num_envs, device=self.device)

    def _choose(
        self, rows: torch.Tensor, obs: Observation, step: torch.Tensor, sight: Sight
    ) -> tuple[torch.Tensor, torch.Tensor]:
        score = None if self._critic is None else self._score(self._critic, obs, step, sight)
        lives = self.unwrapped.episodes
        env_id, episode = lives.env_id[rows], lives.number[rows]
        if score is not None and self._exploit:
            count, width = self.config.candidates, 1 + self.table.num_variables
            numbers = uniform(lives.seed, env_id, episode, CANDIDATES_STREAM, count * width)
            return exploit(self.table, score, numbers.view(-1, count, width))
        numbers = uniform(lives.seed, env_id, episode, TIMES_STREAM, num_draws(self.table, self.config))
        return explore(self.table, self.config, score, numbers)

    def _score(self, critic: Critic, obs: Observation, step: torch.Tensor, sight: Sight) -> Score:
        """The critic's value of every episode's first observation under plans it might have."""

        def score(branch: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
            count = branch.shape[1]
            now, seen, shown = step.repeat_interleave(count), sight.repeat(count), repeat(obs, count)
            begun = self.pursuer.begin(branch.flatten(), times.flatten(0, 1))
            pursuit = self.pursuer.follow(begun, now, seen.margins)
            return critic(extend(shown, PLAN, self.features(pursuit, now, seen))).view(branch.shape)

        return score

    def values(self, branch: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        """The critic's values `(N, C)` of beginning the episodes with other plans; to be asked right after `reset`.

        Args:
            branch: int64 `(N, C)`.
            times: int64 `(N, C, V)`, valid.

        Raises:
            RuntimeError: there is no critic yet (`guide`), or nothing was begun.
        """
        if self._critic is None or self._first is None:
            raise RuntimeError("Expected a critic and a first observation: call guide(agent.values), then reset().")
        state = self.env.state
        return self._score(self._critic, self._first, state[TIME].long(), self.features.look(state))(branch, times)

    def observation(self, obs: Observation, state: State) -> Observation:
        """The observation and the plan's features."""
        return extend(obs, PLAN, self._plan)

    def step(self, actions: Any) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step the inner env; `final_state` has the plan's fields as they were at an episode's end."""
        self._over = self.unwrapped.episodes.ended
        obs, reward, terminated, truncated, info = super().step(actions)
        info["final_state"] = ChainMap(dict(self._final), info["final_state"])
        return obs, reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env and the plans."""
        pursuit = {name: value.clone() for name, value in self.pursuit._asdict().items()}
        own = {"plan": self._plan.clone(), "leads": self._leads.clone(), "pursuit": pursuit}
        return {"env": self.env.get_state(), **own}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        super().set_state(snapshot)
        self._plan, self._leads = snapshot["plan"].clone(), snapshot["leads"].clone()
        self.pursuit = Pursuit(**{name: value.clone() for name, value in snapshot["pursuit"].items()})
        self._fields = self._final = self._measure()


def pick(value: Any, rows: torch.Tensor) -> Any:
    """Rows of a tensor or of a dict of tensors."""
    if isinstance(value, Mapping):
        return {name: item.index_select(0, rows) for name, item in value.items()}
    return value.index_select(0, rows)


def repeat(value: Observation, count: int) -> Observation:
    """Every row `count` times in a row."""
    if isinstance(value, dict):
        return {name: item.repeat_interleave(count, dim=0) for name, item in value.items()}
    return value.repeat_interleave(count, dim=0)
