"""How an episode's branch and times are chosen: uniformly, by a chain that follows the critic, or the best it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cairngym.reward_shaping.temporal.domains import BranchTable

Score = Callable[[Tensor, Tensor], Tensor]
"""The critic's values `(B, C)` of beginning each of B episodes with C branches `(B, C)` and times `(B, C, V)`."""
LEAST_SPREAD = 1e-3
"""Values that differ by less count as equal; the critic's own rounding would be followed else."""
MOST_ROWS = 65_536
"""Rows that the critic is shown at once where it chooses among candidates."""


@dataclass(frozen=True, kw_only=True)
class AllocationConfig:
    """Settings of the choice of times.

    Raises:
        ValueError: a setting out of its range.
    """

    guided: bool = True
    """Whether the critic has a say in training; else all times are uniform (TGPO without "*")."""
    uniform: float = 0.3
    """Share of training episodes whose times are uniform all the same, so that a wrong critic starves no time."""
    draws: int = 16
    """Uniform draws that the chain of a guided episode begins with a choice of."""
    moves: int = 2
    """Metropolis-Hastings moves of one variable that follow."""
    step: float = 0.1
    """Standard deviation of a move, as a share of the horizon."""
    temperature: float = 0.3
    """Of the chain, in standard deviations of the critic's values over the episode's uniform draws."""
    candidates: int = 64
    """Uniform draws of which an evaluation takes the one valued highest."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.uniform <= 1.0:
            raise ValueError(f"Expected uniform in [0, 1], got {self.uniform}.")
        for name, least in (("draws", 2), ("moves", 0), ("candidates", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"Expected {name} >= {least}, got {getattr(self, name)}.")
        for name in ("step", "temperature"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"Expected a finite {name} > 0, got {getattr(self, name)}.")


def draw(table: BranchTable, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Branches `(B, C)`, all equally likely, and their times `(B, C, V)`, uniform top-down; q of `explore`.

    Args:
        table: the grounding's.
        uniforms: `(B, C, 1 + V)` in [0, 1).
    """
    rows, count, _ = uniforms.shape
    flat = uniforms.flatten(0, 1)
    branch = (flat[:, 0] * table.num_branches).long().clamp(max=table.num_branches - 1)
    return branch.view(rows, count), table.sample(branch, flat[:, 1:]).view(rows, count, -1)


def num_draws(table: BranchTable, config: AllocationConfig) -> int:
    """Uniform numbers that `explore` takes for an episode."""
    return 2 + config.draws * (1 + table.num_variables) + 3 * config.moves


def explore(
    table: BranchTable, config: AllocationConfig, score: Score | None, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    """Branches `(B,)` and times `(B, V)` to train with.

    A guided episode begins with one of its uniform draws, chosen in proportion to exp(V / beta), and goes on by
    Metropolis-Hastings moves (`chain`); the others keep their first draw. Each has a beta of its own, `temperature`
    standard deviations of V over its draws, so that no episode depends on which others begin.

    Args:
        table: the grounding's.
        config: settings.
        score: None where there is no critic.
        uniforms: `(B, num_draws)` in [0, 1).
    """
    width = config.draws * (1 + table.num_variables)
    plain, pick, fresh, moves = uniforms.split((1, 1, width, 3 * config.moves), dim=1)
    drawn = draw(table, fresh.reshape(len(uniforms), config.draws, -1))
    branch, times = drawn[0][:, 0], drawn[1][:, 0]
    if score is None or not config.guided or (table.num_branches == 1 and table.num_variables == 0):
        return branch, times
    values = score(*drawn)
    beta = config.temperature * values.std(dim=1, correction=0).clamp(min=LEAST_SPREAD)
    chosen = select(values / beta.unsqueeze(1), pick[:, 0])
    begun, begun_times = take(*drawn, chosen)
    value = values.gather(1, chosen.unsqueeze(1))[:, 0]
    numbers = moves.reshape(len(uniforms), config.moves, 3)
    moved = chain(table, config, score, beta, begun, begun_times, value, numbers)
    keep = plain[:, 0] < config.uniform
    return torch.where(keep, branch, begun), torch.where(keep.unsqueeze(1), times, moved)


def select(logits: Tensor, uniform: Tensor) -> Tensor:
    """A column `(B,)` of `logits` `(B, C)`, each in proportion to its exponential, by one uniform `(B,)` in [0, 1).

    Applied to a chain's place and C - 1 fresh draws from q it keeps to q exp(logit) (iterated sampling importance
    resampling; Andrieu, Lee and Vihola 2018, section 1.1).
    """
    reached = logits.softmax(dim=1).cumsum(dim=1) <= uniform.unsqueeze(1)
    return reached.sum(1).clamp(max=logits.shape[1] - 1)


def take(branch: Tensor, times: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Of candidates `(B, C)` and `(B, C, V)` the ones at `column` `(B,)`."""
    rows = torch.arange(len(column), device=column.device)
    return branch[rows, column], times[rows, column]


def chain(
    table: BranchTable, config: AllocationConfig, score: Score, beta: Tensor, branch: Tensor, times: Tensor,
    value: Tensor, uniforms: Tensor,
) -> Tensor:  # fmt: skip
    """Times `(B, V)` after Metropolis-Hastings moves towards p ~ q exp(V / beta), q being the distribution of `draw`.

    Each moves one variable, up or down alike, and what depends on it along; with q in the target it is accepted with
    min(1, exp((V' - V) / beta) q' / q). A great beta thus gives uniform times back (in the paper p ~ exp(V / beta)).

    Args:
        table: the grounding's.
        config: settings.
        score: the critic.
        beta: `(B,)`.
        branch: `(B,)`, which the chain stays in.
        times: `(B, V)` to begin with.
        value: `(B,)` of those.
        uniforms: `(B, moves, 3)` in [0, 1).
    """
    if table.num_variables == 0 or uniforms.shape[1] == 0:
        return times
    here = value / beta + table.log_density(branch, times)
    for numbers in uniforms.unbind(1):
        moved = _move(table, config, branch, times, numbers)
        value = score(branch.unsqueeze(1), moved.unsqueeze(1))[:, 0]
        there = value / beta + table.log_density(branch, moved)
        accept = numbers[:, 0].clamp(min=1e-12).log() < there - here
        here, times = torch.where(accept, there, here), torch.where(accept.unsqueeze(1), moved, times)
    return times


def _move(table: BranchTable, config: AllocationConfig, branch: Tensor, times: Tensor, numbers: Tensor) -> Tensor:
    count = table.variables[branch]
    which = (numbers[:, 1] * count).long().minimum((count - 1).clamp(min=0))
    deviate = torch.special.ndtri(numbers[:, 2].clamp(1e-6, 1.0 - 1e-6))
    step = (deviate * (config.step * table.horizon)).round().long()
    return table.propose(branch, times, which, step).times


def exploit(table: BranchTable, score: Score, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Of the draws that each episode's uniforms `(B, C, 1 + V)` make, the branch and times valued highest."""
    branch, times = draw(table, uniforms)
    size = max(1, MOST_ROWS // max(1, len(branch)))
    parts = zip(branch.split(size, dim=1), times.split(size, dim=1), strict=True)
    values = torch.cat([score(*part) for part in parts], dim=1)
    return take(branch, times, values.argmax(1))
