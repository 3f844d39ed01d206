"""How far each env has come with its plan: which subgoal is next, which were hit, which invariants were broken."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cairngym.reward_shaping.temporal.domains import BranchTable


class Pursuit(NamedTuple):
    """One row for each env; S subgoals, V variables and I invariants as in `BranchTable`.

    Subgoals stand in the order of their times, as they were chosen. Where a branch has fewer of them, or fewer
    invariants, the rest is never due, and never begins.
    """

    branch: Tensor
    """int64 `(B,)`."""
    times: Tensor
    """int64 `(B, V)`: of the variables; that of a subgoal hit early is the step it was hit at."""
    due: Tensor
    """int64 `(B, S)`, ascending: the step each subgoal is due at, or was hit at."""
    order: Tensor
    """int64 `(B, S)`: which of the branch's subgoals it is."""
    target: Tensor
    """int64 `(B, S)`: its column of the target margins."""
    node: Tensor
    """int64 `(B, S)`: whose time it hangs on; 0 is step 0, i + 1 is variable i."""
    movable: Tensor
    """bool `(B, S)`: whether it may be hit early."""
    stage: Tensor
    """int64 `(B,)`: subgoals left behind, hit or missed; those are the first ones."""
    hits: Tensor
    """bool `(B, S)`."""
    kept: Tensor
    """int64 `(B, I)`: the invariants' columns of the target margins."""
    first: Tensor
    """int64 `(B, I)`: first step of each invariant."""
    last: Tensor
    """int64 `(B, I)`: its last step."""
    end_node: Tensor
    """int64 `(B, I)`: whose time its end hangs on."""
    broken: Tensor
    """bool `(B, I)`: which invariants were broken."""

    @property
    def points(self) -> Tensor:
        """Times of step 0 and of the variables, int64 `(B, V + 1)`."""
        return torch.cat((torch.zeros_like(self.stage).unsqueeze(1), self.times), dim=1)

    def put(self, rows: Tensor, other: Pursuit) -> Pursuit:
        """With the rows `(K,)` as in `other`, which has K rows."""
        return Pursuit(*(own.index_copy(0, rows, new) for own, new in zip(self, other, strict=True)))

    def where(self, mask: Tensor, other: Pursuit) -> Pursuit:
        """Rows of `other` where `mask` `(B,)` holds, else the own."""
        wide = mask.unsqueeze(1)
        columns = zip(self, other, strict=True)
        return Pursuit(*(torch.where(mask if own.ndim == 1 else wide, new, own) for own, new in columns))


class Pursuer:
    """Begins and follows the plans of a grounding.

    Samples at which all subgoals were hit and no invariant was broken satisfy the formula. Conversely, where a plan's
    times satisfy it, following the plan says so: hits that come early only bring times forward that nothing else
    waits for.

    Args:
        table: the grounding's branches.
    """

    def __init__(self, table: BranchTable) -> None:
        self.table = table
        self.never = 4 * (table.horizon + 1)
        self.movable = _movable(table)
        device = table.gaps.device
        self._places = torch.arange(table.subgoals.shape[1], device=device)
        self._nodes_and_zero = torch.arange(table.num_variables + 1, device=device)
        self._nodes = self._nodes_and_zero[1:]

    def begin(self, branch: Tensor, times: Tensor) -> Pursuit:
        """Before the first sample, with the subgoals of a branch `(B,)` at times `(B, V)`."""
        table = self.table
        points = torch.cat((torch.zeros_like(branch).unsqueeze(1), times), dim=1)
        goals, wanted, kept, watched = (
            part[branch] for part in (table.subgoals, table.subgoal_mask, table.invariants, table.invariant_mask)
        )
        due = (points.gather(1, goals[..., 1]) + goals[..., 2]).masked_fill(~wanted, self.never)
        due, order = due.sort(dim=1, stable=True)
        first = (points.gather(1, kept[..., 1]) + kept[..., 2]).masked_fill(~watched, self.never)
        return Pursuit(
            branch=branch, times=times, due=due, order=order, target=goals[..., 0].gather(1, order),
            node=goals[..., 1].gather(1, order), movable=self.movable[branch].gather(1, order),
            stage=torch.zeros_like(branch), hits=torch.zeros_like(wanted), kept=kept[..., 0], first=first,
            last=(points.gather(1, kept[..., 3]) + kept[..., 4]).masked_fill(~watched, -1),
            end_node=kept[..., 3], broken=torch.zeros_like(watched),
        )  # fmt: skip

    def follow(self, pursuit: Pursuit, step: Tensor, margins: Tensor) -> Pursuit:
        """Take in a sample.

        A subgoal is hit where its target holds at the step it is due, and left behind then, hit or not. The one pursued
        is also hit earlier where its variable may take that step with all others as they are and nothing but the ends
        of invariants hangs on it besides: then it takes it, and those invariants end earlier.

        Args:
            pursuit: up to the sample before.
            step: int64 `(B,)`, the sample's number.
            margins: `(B, K)` of the targets.
        """
        now = step.unsqueeze(1)
        held = margins.gather(1, pursuit.target) >= 0
        hits = pursuit.hits | held & (pursuit.due == now)
        stage = (pursuit.due <= now).sum(1)
        pursued = self._places == stage.unsqueeze(1)
        node = (pursuit.node * pursued).sum(1)
        lead = (pursuit.due - now).masked_fill(~(pursued & held & pursuit.movable), 0).sum(1)
        lead = torch.where(self._free_to_move(pursuit, node, lead), lead, 0).unsqueeze(1)
        early = pursued & (lead > 0)
        pursuit = pursuit._replace(
            times=pursuit.times - lead * (self._nodes == node.unsqueeze(1)),
            due=pursuit.due - lead * pursued,
            last=pursuit.last - lead * (pursuit.end_node == node.unsqueeze(1)),
            hits=hits | early,
            stage=stage + early.any(1),
        )
        within = (pursuit.first <= now) & (now <= pursuit.last)
        return pursuit._replace(broken=pursuit.broken | within & (margins.gather(1, pursuit.kept) < 0))

    def _free_to_move(self, pursuit: Pursuit, node: Tensor, lead: Tensor) -> Tensor:
        """Whether the time of `node` `(B,)` agrees with all others when it comes `lead` `(B,)` steps earlier."""
        points = pursuit.points
        there = points.gather(1, node.unsqueeze(1)) - lead.unsqueeze(1)
        after = there >= points - self.table.gaps[pursuit.branch, :, node]
        return (after | (self._nodes_and_zero == node.unsqueeze(1))).all(1)


def _movable(table: BranchTable) -> Tensor:
    """Subgoals of a variable that no other subgoal and no invariant's start hangs on, bool `(R, S)`."""
    node = table.subgoals[..., 1]
    twins = (node.unsqueeze(2) == node.unsqueeze(1)) & table.subgoal_mask.unsqueeze(1)
    starts = (node.unsqueeze(2) == table.invariants[..., 1].unsqueeze(1)) & table.invariant_mask.unsqueeze(1)
    return table.subgoal_mask & (node > 0) & (twins.sum(2) == 1) & ~starts.any(2)
