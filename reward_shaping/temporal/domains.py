"""Times of a grounding, batched: sampled, checked, moved, and read as schedules, with another branch in every row.

`BranchTable` holds all branches as padded tensors. Rows are chosen by branch ids, so nothing loops over rows. Letters
in shapes: B rows (envs or candidates), R branches, V, S, I the most variables, subgoals and invariants of any branch
(S and I at least 1), K targets, T the horizon. Times are int64; those of variables that a branch lacks are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cairngym.envs.checks import check_shape
from cairngym.reward_shaping.temporal.network import dependants
from cairngym.reward_shaping.temporal.plan import Branch, Grounding, Point


class Proposal(NamedTuple):
    """A move of Metropolis-Hastings.

    `log_ratio` float32 `(B,)` is log q(old | new) - log q(new | old): accept a move with probability
    min(1, exp(score(new) - score(old) + log_ratio)) and the chain keeps to exp(score) on the domain.
    """

    times: Tensor
    log_ratio: Tensor


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What to do when, one row for each env.

    Where a mask is False the row has no such entry, and its times are T + 1.
    """

    subgoal_time: Tensor
    """int64 `(B, S)`, ascending."""
    subgoal_target: Tensor
    """int64 `(B, S)`: columns of the target margins."""
    subgoal_mask: Tensor
    """bool `(B, S)`."""
    invariant_start: Tensor
    """int64 `(B, I)`: first step."""
    invariant_end: Tensor
    """int64 `(B, I)`: last step."""
    invariant_target: Tensor
    """int64 `(B, I)`: columns of the target margins."""
    invariant_mask: Tensor
    """bool `(B, I)`; False for empty windows too."""

    def value(self, target_margins: Tensor) -> Tensor:
        """Least margin `(B,)` of all subgoals and invariants, from the targets' margins `(B, T + 1, K)`."""
        row = torch.arange(len(target_margins), device=target_margins.device)
        time = self.subgoal_time.clamp(max=target_margins.shape[1] - 1)
        reached = target_margins[row[:, None], time, self.subgoal_target]
        least = reached.masked_fill(~self.subgoal_mask, torch.inf).amin(1)
        step = torch.arange(target_margins.shape[1], device=target_margins.device)
        for i in range(self.invariant_mask.shape[1]):
            within = (step >= self.invariant_start[:, i, None]) & (step <= self.invariant_end[:, i, None])
            within &= self.invariant_mask[:, i, None]
            kept = target_margins[row, :, self.invariant_target[:, i]]
            least = torch.minimum(least, kept.masked_fill(~within, torch.inf).amin(1))
        return least


@dataclass(frozen=True, kw_only=True)
class BranchTable:
    """All branches of a grounding as padded tensors; `encode` makes it. Node 0 is step 0, node i + 1 variable i."""

    horizon: int
    variables: Tensor
    """int64 `(R,)`: how many each branch has."""
    gaps: Tensor
    """int64 `(R, V + 1, V + 1)`: the closed bounds of `Branch.gaps`; lacking variables are bound to 0."""
    dependants: Tensor
    """bool `(R, V, V)`, row i: variables whose domains can change with variable i."""
    subgoals: Tensor
    """int64 `(R, S, 3)`: target, node, offset."""
    subgoal_mask: Tensor
    """bool `(R, S)`."""
    invariants: Tensor
    """int64 `(R, I, 5)`: target, node and offset of the start, node and offset of the end."""
    invariant_mask: Tensor
    """bool `(R, I)`."""

    @property
    def num_branches(self) -> int:
        """R."""
        return self.gaps.shape[0]

    @property
    def num_variables(self) -> int:
        """V."""
        return self.gaps.shape[1] - 1

    def sample(self, branch: Tensor, uniforms: Tensor) -> Tensor:
        """Times `(B, V)`, each uniform in its domain given those before.

        Args:
            branch: int64 `(B,)`.
            uniforms: `(B, V)` in [0, 1).
        """
        self._check(branch, uniforms=uniforms)
        points = self._points(branch)
        for i in range(self.num_variables):
            low, high = self._domain(branch, points, i)
            points[:, i + 1] = drawn(low, high, uniforms[:, i])
        return points[:, 1:]

    def log_density(self, branch: Tensor, times: Tensor) -> Tensor:
        """Log probability, float32 `(B,)`, that `sample` gives these times `(B, V)`, valid ones, in their branches."""
        self._check(branch, times=times)
        points = self._points(branch, times)
        total = torch.zeros(len(branch), device=points.device)
        for i in range(self.num_variables):
            low, high = self._domain(branch, points, i)
            total = total - (high - low + 1).float().log()
        return total

    def valid(self, branch: Tensor, times: Tensor) -> Tensor:
        """Whether times `(B, V)` lie in their branches' domains, bool `(B,)`."""
        self._check(branch, times=times)
        points = self._points(branch, times)
        good = torch.ones(len(branch), dtype=torch.bool, device=points.device)
        for i in range(self.num_variables):
            low, high = self._domain(branch, points, i)
            good &= (low <= times[:, i]) & (times[:, i] <= high)
        return good

    def propose(
        self, branch: Tensor, times: Tensor, which: Tensor, step: Tensor, uniforms: Tensor | None = None
    ) -> Proposal:
        """Move one variable of every row, reflected into its domain given the variables before it.

        Variables that depend on it are shifted along, and the row stays as it is where that leaves the domain; or with
        `uniforms` they are drawn anew. Either way steps from a symmetric distribution give exact Metropolis-Hastings.

        Args:
            branch: int64 `(B,)`.
            times: int64 `(B, V)`, valid.
            which: int64 `(B,)`: the variable to move, below the branch's number of variables.
            step: int64 `(B,)`: steps to move it by.
            uniforms: `(B, V)` in [0, 1).
        """
        self._check(branch, times=times)
        if self.num_variables == 0:
            return Proposal(times, torch.zeros(len(branch), device=times.device))
        old = self._points(branch, times)
        low, high = self._domain_of(branch, old, which)
        here = times.gather(1, which[:, None])[:, 0]
        there = low + _reflected(here + step - low, high - low + 1)
        depends = self.dependants[branch, which]
        if uniforms is None:
            moved = (times + depends * (there - here)[:, None]).scatter(1, which[:, None], there[:, None])
            moved = torch.where(self.valid(branch, moved)[:, None], moved, times)
            return Proposal(moved, torch.zeros(len(branch), device=times.device))
        self._check(branch, uniforms=uniforms)
        return self._redrawn(branch, old, old.scatter(1, which[:, None] + 1, there[:, None]), depends, uniforms)

    def resolve(self, branch: Tensor, times: Tensor) -> Schedule:
        """What rows with these branches `(B,)` and times `(B, V)` have to do when."""
        self._check(branch, times=times)
        points = self._points(branch, times)
        goals, kept = self.subgoals[branch], self.invariants[branch]
        mask = self.subgoal_mask[branch]
        time = torch.where(mask, points.gather(1, goals[..., 1]) + goals[..., 2], self.horizon + 1)
        time, order = time.sort(dim=1, stable=True)
        start = points.gather(1, kept[..., 1]) + kept[..., 2]
        end = points.gather(1, kept[..., 3]) + kept[..., 4]
        active = self.invariant_mask[branch] & (start <= end)
        return Schedule(
            subgoal_time=time,
            subgoal_target=goals[..., 0].gather(1, order),
            subgoal_mask=mask.gather(1, order),
            invariant_start=torch.where(active, start, self.horizon + 1),
            invariant_end=torch.where(active, end, self.horizon + 1),
            invariant_target=kept[..., 0],
            invariant_mask=active,
        )

    def _redrawn(self, branch: Tensor, old: Tensor, points: Tensor, depends: Tensor, uniforms: Tensor) -> Proposal:
        """`points` `(B, V + 1)` with the dependants drawn anew, and the ratio of their domains' sizes."""
        ratio = torch.zeros(len(branch), device=old.device)
        for i in range(self.num_variables):
            redraw = depends[:, i]
            low, high = self._domain(branch, points, i)
            points[:, i + 1] = torch.where(redraw, drawn(low, high, uniforms[:, i]), points[:, i + 1])
            before_low, before_high = self._domain(branch, old, i)
            sizes = (high - low + 1) / (before_high - before_low + 1)
            ratio = ratio + torch.where(redraw, sizes.float().log(), 0.0)
        return Proposal(points[:, 1:], ratio)

    def _points(self, branch: Tensor, times: Tensor | None = None) -> Tensor:
        """Times of all nodes, `(B, V + 1)`; zeros unless given."""
        points = torch.zeros(len(branch), self.num_variables + 1, dtype=torch.int64, device=self.gaps.device)
        if times is not None:
            points[:, 1:] = times
        return points

    def _domain(self, branch: Tensor, points: Tensor, i: int) -> tuple[Tensor, Tensor]:
        """First and last time `(B,)` of variable i given the nodes before it."""
        before = points[:, : i + 1]
        low = (before - self.gaps[branch, : i + 1, i + 1]).amax(1)
        return low, (before + self.gaps[branch, i + 1, : i + 1]).amin(1)

    def _domain_of(self, branch: Tensor, points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """First and last time `(B,)` of another variable in every row, given the nodes before it."""
        later = torch.arange(points.shape[1], device=points.device) > which[:, None]
        far = 4 * (self.horizon + 1)
        low = (points - self.gaps[branch, :, which + 1]).masked_fill(later, -far).amax(1)
        return low, (points + self.gaps[branch, which + 1]).masked_fill(later, far).amin(1)

    def _check(self, branch: Tensor, **columns: Tensor) -> None:
        for name, tensor in columns.items():
            check_shape(name, tensor, (len(branch), self.num_variables), "(B, num_variables)")


def encode(grounding: Grounding, device: torch.device | str = "cpu") -> BranchTable:
    """The branches of a grounding as tensors on `device`."""
    return _encode(grounding.branches, grounding.horizon, device)


def sample(branch: Branch, uniforms: Tensor) -> Tensor:
    """Times `(B, n)` of a branch's n variables from uniforms `(B, n)` in [0, 1), as `BranchTable.sample`."""
    return _alone(branch, uniforms).sample(_zeros(uniforms), uniforms)


def valid(branch: Branch, times: Tensor) -> Tensor:
    """Whether times `(B, n)` lie in a branch's domain, bool `(B,)`."""
    return _alone(branch, times).valid(_zeros(times), times)


def propose(branch: Branch, times: Tensor, which: Tensor, step: Tensor, uniforms: Tensor | None = None) -> Proposal:
    """A move of times `(B, n)` in a branch's domain, as `BranchTable.propose`."""
    return _alone(branch, times).propose(_zeros(times), times, which, step, uniforms)


def robustness(grounding: Grounding, branch: int | Branch, times: Tensor, margins: Tensor) -> Tensor:
    """Least margin `(B,)` of a branch's subgoals and invariants.

    Args:
        grounding: whose branch it is.
        branch: the branch or its index.
        times: int64 `(B, n)` of its n variables.
        margins: `(B, T + 1, P)` of the predicates, in the order of `grounding.predicates`.
    """
    check_shape("margins", margins, (len(times), grounding.horizon + 1, len(grounding.predicates)), "(B, T + 1, P)")
    one = grounding.branches[branch] if isinstance(branch, int) else branch
    schedule = _encode((one,), grounding.horizon, times.device).resolve(_zeros(times), times)
    return schedule.value(grounding.target_margins(margins))


def holds(grounding: Grounding, branch: int | Branch, times: Tensor, margins: Tensor) -> Tensor:
    """Whether all subgoals and invariants of a branch hold, bool `(B,)`; arguments as of `robustness`."""
    return robustness(grounding, branch, times, margins) >= 0


def _alone(branch: Branch, like: Tensor) -> BranchTable:
    return _encode((branch,), max(map(max, branch.gaps)), like.device)


def _zeros(rows: Tensor) -> Tensor:
    return torch.zeros(len(rows), dtype=torch.int64, device=rows.device)


def drawn(low: Tensor, high: Tensor, uniform: Tensor) -> Tensor:
    """Times from `low` to `high`, all equally likely, by uniform numbers in [0, 1)."""
    size = high - low + 1
    return low + torch.minimum((uniform * size).long(), size - 1)


def _reflected(offset: Tensor, size: Tensor) -> Tensor:
    """`offset` mirrored into 0..size - 1 at half steps past its ends, so that each move is as likely as its reverse."""
    folded = offset.remainder(2 * size)
    return torch.minimum(folded, 2 * size - 1 - folded)


def _encode(branches: Sequence[Branch], horizon: int, device: torch.device | str) -> BranchTable:
    most = max(len(branch.variables) for branch in branches)
    networks = [np.array(branch.gaps, dtype=np.int64) for branch in branches]
    goals = [[(goal.target, *_place(goal.time)) for goal in branch.subgoals] for branch in branches]
    kept = [[(one.target, *_place(one.start), *_place(one.end)) for one in branch.invariants] for branch in branches]
    arrays: dict[str, Any] = {
        "variables": np.array([len(branch.variables) for branch in branches]),
        "gaps": np.stack([_padded_gaps(network, most) for network in networks]),
        "dependants": np.stack([np.pad(d, (0, most - len(d))) for d in map(dependants, networks)]),
    }
    arrays["subgoals"], arrays["subgoal_mask"] = _padded(goals, 3)
    arrays["invariants"], arrays["invariant_mask"] = _padded(kept, 5)
    return BranchTable(horizon=horizon, **{name: torch.as_tensor(a, device=device) for name, a in arrays.items()})


def _place(point: Point) -> tuple[int, int]:
    return point.node, point.offset


def _padded_gaps(network: np.ndarray, most: int) -> np.ndarray:
    """The bounds with further variables that are 0, as step 0 is."""
    nodes = [*range(len(network)), *[0] * (most + 1 - len(network))]
    return network[np.ix_(nodes, nodes)]


def _padded(rows: Sequence[Sequence[tuple[int, ...]]], width: int) -> tuple[np.ndarray, np.ndarray]:
    most = max(1, *map(len, rows))
    table = np.zeros((len(rows), most, width), dtype=np.int64)
    mask = np.zeros((len(rows), most), dtype=bool)
    for row, entries in enumerate(rows):
        for column, entry in enumerate(entries):
            table[row, column], mask[row, column] = entry, True
    return table, mask
