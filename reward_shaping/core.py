"""The shaper contract, and `ShapedEnv`, which adds shapers to any TensorEnv.

The shaped reward is only ever what an agent learns from: `info["episode"]` and `info["success"]` stay the task's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from gymnasium.vector import AutoresetMode

from cairngym.envs.checks import check_shape
from cairngym.envs.core import Observation, TensorEnv, Transition, clone
from cairngym.envs.wrapper import TensorWrapper


class Shaper(ABC):
    """One term of a shaped reward.

    `ShapedEnv` calls, at every step, `shape` (the value), `observe` (keep memory) and `begin` (where new episodes
    started); an agent calls `update` (learn) through `ShapedEnv.update_shapers`, after each rollout or every so many
    steps. Nothing is learned elsewhere, so between two updates `shape` is the same function of the transition and of
    what the episode holds.
    """

    memory: bool = False
    """Whether it keeps something per episode, so that a replayed transition must keep the value collected."""
    stream: Literal["task", "intrinsic"] = "task"
    """Terms of the "intrinsic" stream may get a value head of their own."""
    policy_invariant: bool = False
    """Whether every policy optimal for the task stays optimal: true only where proved and tested."""
    requires: tuple[str, ...] = ()
    """The fields of `state` it reads, complete after `bind`; transitions hold these only."""
    looks_back: bool = True
    """Whether it reads `transition.state`; a term that reads `next_state` alone spares the env measuring both."""
    gamma: float | None = None
    """The discount the term is built for; None when any will do. Agents refuse another than their own."""

    def bind(self, env: TensorEnv) -> None:
        """Learn the env's sizes and device, and start afresh; called by `ShapedEnv` when it is made."""
        del env

    @abstractmethod
    def shape(self, transition: Transition) -> torch.Tensor:
        """The term's value for every transition, float32 `(B,)`; asking twice changes nothing."""

    def observe(self, transition: Transition) -> None:
        """Take in a transition just made, after `shape`, but for rows that are not `valid`; memory is kept here."""
        del transition

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the episode of the masked `(N,)` envs."""
        del mask

    def update(self) -> dict[str, float]:
        """Learn from what was observed since the last update and return metrics."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """Copy everything the term has learned or remembers."""
        return {}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        del snapshot


@dataclass(frozen=True, kw_only=True)
class Term:
    """A shaper, its name in `info["reward_terms"]`, and its weight in the reward."""

    name: str
    shaper: Shaper
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ValueError(f"Expected a finite weight for the term {self.name!r}, got {self.weight}.")


def check_names(terms: Sequence[Term]) -> None:
    """Raise `ValueError` when two terms share a name."""
    names = [term.name for term in terms]
    if len(set(names)) != len(names):
        raise ValueError(f"Expected terms of different names, got {names}; pass term=… to tell them apart.")


def _required(terms: Sequence[Term]) -> tuple[str, ...]:
    return tuple(sorted({field for term in terms for field in term.shaper.requires}))


def check_finite(name: str, sound: torch.Tensor) -> None:
    """Raise `ValueError` when `sound`, bool `()`, is false: the term `name` paid NaN or an infinity."""
    if not bool(sound):
        raise ValueError(
            f"The shaper {name!r} returned values that are not finite; "
            "look for a division by zero, a log of zero or a diverging model in it."
        )


class ShapedEnv(TensorWrapper):
    """Reward = task reward + sum of weight x term.

    `info["task_reward"]` is the sparse reward, `info["reward_terms"]` the unweighted terms by name, and
    `info["intrinsic_reward"]` the weighted sum of the terms whose stream is "intrinsic" (contained in the reward).
    Terms are zero where the episode was over before the step (see `Transition.valid`). A wrapper may stand between two
    ShapedEnvs: their terms add up. On a GPU, values that are not finite are reported by the next `update_shapers`, so
    that no step waits for the device.

    Args:
        env: any TensorEnv.
        terms: what is added.

    Raises:
        ValueError: a shaper needs a state field the env does not have, or returns NaN or a wrong shape.
    """

    def __init__(self, env: TensorEnv, terms: Sequence[Term]) -> None:
        super().__init__(env)
        self.own_terms = tuple(terms)
        check_names(self.terms)
        for term in self.own_terms:
            term.shaper.bind(env)
            missing = [field for field in term.shaper.requires if field not in env.state_spec]
            if missing:
                raise ValueError(
                    f"The shaper {term.name!r} reads the state fields {missing}, which this env does not measure. "
                    f"It measures: {', '.join(env.state_spec) or 'none'}."
                )
        self._required = _required(self.own_terms)
        self._kept = _required([term for term in self.own_terms if term.shaper.looks_back])
        self._pauses = self.unwrapped.autoreset_mode is not AutoresetMode.SAME_STEP
        self._row = torch.arange(self.num_envs, device=self.device)
        self._sound = {term.name: torch.ones((), dtype=torch.bool, device=self.device) for term in self.own_terms}
        self._obs: Observation | None = None
        self._state: dict[str, torch.Tensor] = {}

    @property
    def terms(self) -> tuple[Term, ...]:
        """Every term of the reward, those of shaped envs further in first."""
        return (*getattr(self.env, "terms", ()), *self.own_terms)

    def begin(self, mask: torch.Tensor, obs: Observation, state: Mapping[str, torch.Tensor]) -> None:
        """Start the memory of new episodes and keep what the next transition starts from."""
        for term in self.own_terms:
            term.shaper.begin(mask)
        self._obs = obs
        self._state = {name: state[name] for name in self._kept}

    def step(self, actions: Any) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step the inner env and add the terms."""
        if self._obs is None:
            raise RuntimeError("Call reset() before step().")
        before, state = self._obs, self._state
        valid = ~self.unwrapped.episodes.ended if self._pauses else None
        obs, reward, terminated, truncated, info = self.env.step(actions)
        transition = Transition(
            obs=before, state=state, action=torch.as_tensor(actions, device=self.device),
            next_obs=info["final_obs"], next_state={name: info["final_state"][name] for name in self._required},
            reward=info.get("task_reward", reward), terminated=terminated, truncated=truncated,
            success=info["success"], env_id=self._row, valid=valid,
        )  # fmt: skip
        shaped, intrinsic, values = self._evaluate(transition, reward)
        info = {
            **info, "task_reward": transition.reward,
            "reward_terms": {**info.get("reward_terms", {}), **values},
            "intrinsic_reward": info["intrinsic_reward"] + intrinsic if "intrinsic_reward" in info else intrinsic,
        }  # fmt: skip
        for term in self.own_terms:
            term.shaper.observe(transition)
        self.begin(self.fresh(info), obs, self.state)
        return obs, shaped, terminated, truncated, info

    def _evaluate(
        self, transition: Transition, reward: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        values: dict[str, torch.Tensor] = {}
        intrinsic: torch.Tensor | None = None
        for term in self.own_terms:
            value = self._value(term, transition)
            values[term.name] = value
            weighed = term.weight * value
            reward = reward + weighed
            if term.shaper.stream == "intrinsic":
                intrinsic = weighed if intrinsic is None else intrinsic + weighed
        return reward, torch.zeros_like(reward) if intrinsic is None else intrinsic, values

    def _value(self, term: Term, transition: Transition) -> torch.Tensor:
        value = term.shaper.shape(transition).detach().to(torch.float32)
        check_shape(f"the term {term.name!r}", value, (self.num_envs,), "(num_envs,)")
        if transition.valid is not None:
            value = torch.where(transition.valid, value, 0.0)
        if self.device.type != "cpu":
            self._sound[term.name] &= torch.isfinite(value).all()
        elif not math.isfinite(float(value.sum())):  # quicker; a sum may overflow though
            check_finite(term.name, torch.isfinite(value).all())
        return value

    def update_shapers(self) -> dict[str, float]:
        """Let every shaper learn from what it saw since the last call; metrics are named `<term>/<metric>`.

        Raises:
            ValueError: on a GPU, a term was not finite since the last call.
        """
        metrics = self.env.update_shapers() if hasattr(self.env, "update_shapers") else {}
        for term in self.own_terms:
            check_finite(term.name, self._sound[term.name])
            metrics.update({f"{term.name}/{metric}": value for metric, value in term.shaper.update().items()})
        return metrics

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env, the shapers, and what the next transition starts from."""
        return {
            "env": self.env.get_state(),
            "terms": {term.name: term.shaper.get_state() for term in self.own_terms},
            "obs": clone(self._obs),
            "state": clone(self._state),
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`.

        Raises:
            ValueError: if the snapshot holds other terms.
        """
        names = {term.name for term in self.own_terms}
        if names != set(snapshot["terms"]):
            raise ValueError(f"Expected a snapshot of the terms {sorted(names)}, got {sorted(snapshot['terms'])}.")
        self.env.set_state(snapshot["env"])
        for term in self.own_terms:
            term.shaper.set_state(snapshot["terms"][term.name])
        self._obs, self._state = clone(snapshot["obs"]), clone(snapshot["state"])
