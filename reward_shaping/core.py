"""The shaper contract, and `ShapedEnv`, which adds shapers to any TensorEnv.

The shaped reward is only ever what an agent learns from: `info["episode"]` and `info["success"]` stay the task's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from cairngym.envs.checks import check_shape
from cairngym.envs.core import Observation, TensorEnv, Transition
from cairngym.envs.wrapper import TensorWrapper


class Shaper(ABC):
    """One term of a shaped reward.

    Class attributes declare what it is: `memory` (it keeps something per episode, so a replayed transition keeps the
    value collected), `requires` (names of `state` it reads), `stream` ("intrinsic" terms may get a value head of their
    own) and `policy_invariant` (the optimal policy of the task stays optimal: true only where proved and tested).
    """

    memory: ClassVar[bool] = False
    stream: ClassVar[Literal["task", "intrinsic"]] = "task"
    policy_invariant: ClassVar[bool] = False
    requires: tuple[str, ...] = ()
    gamma: float | None = None
    """The discount the term is built for; None when any will do. Agents refuse another than their own."""

    def bind(self, env: TensorEnv) -> None:
        """Learn the env's sizes and device; called once, by `ShapedEnv`."""

    @abstractmethod
    def shape(self, transition: Transition) -> torch.Tensor:
        """The term's value for every transition, float32 `(B,)`."""

    def observe(self, transition: Transition) -> None:
        """Take in a transition just made, after `shape`; per-episode memory is kept here."""

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the episode of the masked `(N,)` envs."""

    def update(self) -> dict[str, float]:
        """Learn from what was observed since the last update and return metrics."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """Copy everything the term has learned or remembers."""
        return {}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """A shaper, its name in `info["reward_terms"]`, and its weight in the reward."""

    name: str
    shaper: Shaper
    weight: float = 1.0


class ShapedEnv(TensorWrapper):
    """Reward = task reward + sum of weight x term.

    `info["task_reward"]` is the sparse reward, `info["reward_terms"]` the unweighted terms by name, and
    `info["intrinsic_reward"]` the weighted sum of the terms whose stream is "intrinsic" (contained in the reward).

    Args:
        env: any TensorEnv.
        terms: what is added.

    Raises:
        ValueError: a shaper needs a state field the env does not have, or returns NaN or a wrong shape.
    """

    def __init__(self, env: TensorEnv, terms: Sequence[Term]) -> None:
        super().__init__(env)
        self.terms = tuple(terms)
        names = [term.name for term in self.terms]
        if len(set(names)) != len(names):
            raise ValueError(f"Expected terms of different names, got {names}; pass name=… to tell them apart.")
        for term in self.terms:
            missing = [field for field in term.shaper.requires if field not in env.state_spec]
            if missing:
                raise ValueError(
                    f"The shaper {term.name!r} reads the state fields {missing}, which this env does not measure. "
                    f"It measures: {', '.join(env.state_spec) or 'none'}."
                )
            term.shaper.bind(env)
        self._required = tuple(sorted({field for term in self.terms for field in term.shaper.requires}))
        self._obs: Observation | None = None
        self._state: dict[str, torch.Tensor] = {}

    def begin(self, mask: torch.Tensor, obs: Observation, state: Mapping[str, torch.Tensor]) -> None:
        """Start the memory of new episodes and keep what the next transition starts from."""
        for term in self.terms:
            term.shaper.begin(mask)
        self._obs = obs
        self._state = {name: state[name] for name in self._required}

    def step(  # type: ignore[override]
        self, actions: Any
    ) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step the inner env and add the terms."""
        before, state = self._obs, self._state
        obs, reward, terminated, truncated, info = self.env.step(actions)
        if before is None:
            raise RuntimeError("Call reset() before step().")
        transition = Transition(
            obs=before, state=state, action=torch.as_tensor(actions, device=self.device),
            next_obs=info["final_obs"], next_state={name: info["final_state"][name] for name in self._required},
            reward=reward, terminated=terminated, truncated=truncated, success=info["success"],
            env_id=self.unwrapped.episodes.env_id,
        )  # fmt: skip
        shaped, intrinsic, values = self._evaluate(transition)
        info = {**info, "task_reward": reward, "reward_terms": values, "intrinsic_reward": intrinsic}
        for term in self.terms:
            term.shaper.observe(transition)
        self.begin(self.fresh(info), obs, self.state)
        return obs, shaped, terminated, truncated, info

    def _evaluate(self, transition: Transition) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        total, intrinsic = transition.reward, torch.zeros_like(transition.reward)
        values = {}
        for term in self.terms:
            value = term.shaper.shape(transition)
            check_shape(f"the term {term.name!r}", value, (self.num_envs,), "(num_envs,)")
            if self.device.type == "cpu" and not bool(torch.isfinite(value).all()):
                bad = int((~torch.isfinite(value)).sum())
                raise ValueError(
                    f"The shaper {term.name!r} returned {bad} values that are not finite out of {len(value)}; "
                    "look for a division by zero, a log of zero or a diverging model in it."
                )
            values[term.name] = value
            total = total + term.weight * value
            if term.shaper.stream == "intrinsic":
                intrinsic = intrinsic + term.weight * value
        return total, intrinsic, values

    def update_shapers(self) -> dict[str, float]:
        """Let every shaper learn from what it saw since the last call; metrics are named `<term>/<metric>`."""
        return {
            f"{term.name}/{metric}": value
            for term in self.terms
            for metric, value in term.shaper.update().items()
        }  # fmt: skip

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env, the shapers, and what the next transition starts from."""
        return {
            "env": self.env.get_state(),
            "terms": {term.name: term.shaper.get_state() for term in self.terms},
            "obs": self._obs,
            "state": dict(self._state),
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        self.env.set_state(snapshot["env"])
        for term in self.terms:
            term.shaper.set_state(snapshot["terms"][term.name])
        self._obs, self._state = snapshot["obs"], dict(snapshot["state"])
