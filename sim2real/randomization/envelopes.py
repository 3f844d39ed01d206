"""Which range of each parameter a trained policy survives, and the randomization that this proposes.

After RAPP, the reward-aware physics prior of Ma et al., "DrEureka: language model guided sim-to-real transfer", 2024
(arXiv:2406.01967), section 4.2: a policy trained under nominal physics is tried under one changed parameter at a time;
the values at which it still succeeds bound what training should randomize.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cairngym.agents.core import Actor, Agent, check_autoreset
from cairngym.agents.evaluation import PATIENCE, quotas
from cairngym.envs.checks import unknown_name
from cairngym.envs.core import Observation, TensorEnv
from cairngym.sim2real.randomization.config import RandomizationConfig
from cairngym.sim2real.randomization.events import FieldEvent
from cairngym.sim2real.randomization.fixed import FixedParameters, Parameter
from cairngym.sim2real.statistics.binomial import clopper_pearson

Policy = Callable[[Observation], torch.Tensor]
Make = Callable[[int], TensorEnv]
"""Makes that many copies of the env, without wrappers."""
Wrap = Callable[[TensorEnv], TensorEnv]
"""Puts the wrappers around the env that the policy was trained in."""
SUCCESS = ("once", "at_end")


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """How a policy does over a grid of one parameter, and the values around the nominal one that it survives.

    It survives a value where its success rate is at least `share` times that at the nominal value. The envelope is the
    run of surviving values that holds the nominal one: a value beyond the first failure does not count, even if the
    policy succeeds there. Its ends are values of the grid; an end is open where the run reaches the end of the grid, so
    that the policy may survive more (a delay of zero is no open end).
    """

    parameter: Parameter
    successes: tuple[int, ...]
    """By value of the grid."""
    trials: int
    """Episodes played at each value."""
    share: float
    """Of the nominal success rate."""

    @property
    def rates(self) -> np.ndarray:
        """Success rates, float64 `(V,)`."""
        return np.array(self.successes) / self.trials

    @property
    def intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of their exact 95 % intervals, `(V,)` each."""
        return clopper_pearson(np.array(self.successes), np.array(self.trials))

    @property
    def _ends(self) -> tuple[int, int]:
        return surviving(self.successes, self.parameter.values.index(self.parameter.nominal), self.share)

    @property
    def low(self) -> float:
        """The least value that is survived."""
        return self.parameter.values[self._ends[0]]

    @property
    def high(self) -> float:
        """The greatest value that is survived."""
        return self.parameter.values[self._ends[1]]

    @property
    def open(self) -> tuple[bool, bool]:
        """Whether the lower and the upper end are those of the grid, and no bounds of what can be (a delay of zero)."""
        first, last = self._ends
        least = not isinstance(self.parameter.event, FieldEvent) and self.low == 0.0
        return first == 0 and not least, last == len(self.successes) - 1

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        low, high = self.intervals
        return {
            "parameter": self.parameter.name, "nominal": self.parameter.nominal,
            "values": list(self.parameter.values), "successes": list(self.successes), "trials": self.trials,
            "interval_low": low.tolist(), "interval_high": high.tolist(), "share": self.share,
            "survived": [self.low, self.high], "open": list(self.open),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Surface:
    """How a policy does over the grid of two parameters."""

    parameters: tuple[Parameter, Parameter]
    successes: np.ndarray
    """int64 `(V1, V2)`."""
    trials: int
    """Episodes played at each pair of values."""

    @property
    def rates(self) -> np.ndarray:
        """Success rates, float64 `(V1, V2)`."""
        return self.successes / self.trials

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "parameters": [parameter.name for parameter in self.parameters],
            "values": [list(parameter.values) for parameter in self.parameters],
            "successes": self.successes.tolist(), "trials": self.trials,
        }  # fmt: skip


def surviving(successes: Sequence[int], nominal: int, share: float) -> tuple[int, int]:
    """First and last index of the run around `nominal` with at least `share` of its successes.

    Raises:
        ValueError: a share outside (0, 1], or no success at the nominal value, of which nothing is a share.

    Example:
        >>> surviving([9, 2, 8, 10, 9, 5, 10], nominal=3, share=0.8)
        (2, 4)
    """
    _check_share(share)
    if successes[nominal] == 0:
        raise ValueError(
            "Expected a policy that succeeds under nominal parameters at times, got one without a success. Train it "
            "longer, or play more episodes."
        )
    enough = [count >= share * successes[nominal] for count in successes]
    first = last = nominal
    while first > 0 and enough[first - 1]:
        first -= 1
    while last < len(enough) - 1 and enough[last + 1]:
        last += 1
    return first, last


def _check_share(share: float) -> None:
    if not 0.0 < share <= 1.0:
        raise ValueError(f"Expected a share in (0, 1] of the nominal success, got {share}.")


def envelope(
    policy: Policy | Agent, make: Make, parameter: Parameter, *, share: float = 0.8, **options: Any
) -> Envelope:
    """Try a policy at every value of a parameter, all in one batch; further options as of `count_successes`.

    Raises:
        ValueError: the policy never succeeds at the nominal value, or values that the model can't have.
    """
    _check_share(share)
    cells = np.array(parameter.values)[:, None]
    successes, trials = count_successes(policy, make, (parameter,), cells, **options)
    surviving(successes.tolist(), parameter.values.index(parameter.nominal), share)
    return Envelope(parameter=parameter, successes=tuple(successes.tolist()), trials=trials, share=share)


def surface(policy: Policy | Agent, make: Make, parameters: tuple[Parameter, Parameter], **options: Any) -> Surface:
    """Try a policy at every pair of values of two parameters, all in one batch; options as of `count_successes`."""
    first, second = parameters
    cells = np.array(list(itertools.product(first.values, second.values)))
    successes, trials = count_successes(policy, make, parameters, cells, **options)
    grid = successes.reshape(len(first.values), len(second.values))
    return Surface(parameters=parameters, successes=grid, trials=trials)


def count_successes(
    policy: Policy | Agent,
    make: Make,
    parameters: Sequence[Parameter],
    cells: np.ndarray,
    *,
    wrap: Wrap | None = None,
    episodes: int = 100,
    max_envs: int = 1024,
    seed: int = 0,
    deterministic: bool = True,
    success: str = "once",
) -> tuple[np.ndarray, int]:
    """Play the same episodes in every cell of a grid: the same beginnings, under other parameters.

    Args:
        policy: actions of observations, or an agent.
        make: the env, without wrappers.
        parameters: P of them; what they do not name is nominal.
        cells: `(C, P)`, the values of each cell.
        wrap: wrappers that the policy expects; None for none.
        episodes: to play in each cell.
        max_envs: copies of the env at most; there is at least one for each cell.
        seed: of the episodes, and of sampled actions.
        deterministic: whether an agent plays the likeliest actions.
        success: "once": the task was done at any step of an episode; "at_end": at its last.

    Returns:
        Successes int64 `(C,)` and the episodes played in each cell.

    Raises:
        UnknownNameError: another kind of success.
        ValueError: no episodes, or values that the model can't have.
    """
    if success not in SUCCESS:
        raise unknown_name("kind of success", success, SUCCESS)
    if episodes < 1:
        raise ValueError(f"Expected episodes >= 1, got {episodes}.")
    copies = max(1, min(episodes, max_envs // len(cells)))
    env: TensorEnv = FixedParameters(make(len(cells) * copies), parameters, cells)
    env = env if wrap is None else wrap(env)
    try:
        quota = torch.tensor(quotas(episodes, copies), device=env.device).repeat_interleave(len(cells))
        won = _play(policy, env, quota, seed, deterministic, success)
    finally:
        env.close()
    return won.view(copies, len(cells)).sum(0).cpu().numpy(), episodes


def _play(
    policy: Policy | Agent, env: TensorEnv, quota: torch.Tensor, seed: int, deterministic: bool, success: str
) -> torch.Tensor:
    """Successes of each env within its quota, int64 `(N,)`."""
    check_autoreset(env)
    actor = _actor(policy, env, seed, deterministic)
    obs, _ = env.reset(seed=seed)
    left, won, steps = quota.clone(), torch.zeros_like(quota), 0
    while steps % PATIENCE or bool((left > 0).any()):
        obs, _, _, _, info = env.step(actor.act(obs))
        counted = info["_episode"] & (left > 0)
        left -= counted.to(left.dtype)
        won += (counted & info["episode"][f"success_{success}"]).to(won.dtype)
        actor.begin(info["_episode"])
        steps += 1
    return won


def _actor(policy: Policy | Agent, env: TensorEnv, seed: int, deterministic: bool) -> Actor:
    if not isinstance(policy, Agent):
        return _Function(policy)
    if policy.values is not None:
        env.guide(policy.values, exploit=True)
    return policy.actor(env.num_envs, deterministic=deterministic, seed=seed)


class _Function(Actor):
    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def act(self, obs: Observation) -> torch.Tensor:
        return self._policy(obs)


def propose(envelopes: Sequence[Envelope], source: str = "") -> RandomizationConfig:
    """The randomization that the envelopes propose: each parameter drawn anew for every episode from what is survived.

    Factors are drawn evenly in their logarithm. A parameter of which nothing but the nominal value is survived is left
    out.

    Args:
        envelopes: of one policy.
        source: where the policy is from, for the description.
    """
    kept = [each for each in envelopes if each.low < each.high]
    events = tuple(each.parameter.ranged(each.low, each.high, "reset") for each in kept)
    ends = [
        f"{each.parameter.name} [{each.low:g}{' or less' * each.open[0]}, {each.high:g}{' or more' * each.open[1]}]"
        for each in kept
    ]
    left_out = [each.parameter.name for each in envelopes if each not in kept]
    text = f"What a policy{f' ({source})' if source else ''} survives (RAPP, DrEureka): {'; '.join(ends) or 'nothing'}."
    if left_out:
        text += f" Left out, since it survives no other value than the nominal one: {', '.join(left_out)}."
    return RandomizationConfig(events=events, description=text)
