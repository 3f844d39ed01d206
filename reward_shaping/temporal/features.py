"""What a policy is shown of its plan: the subgoal pursued and the next one, all that is due when, and invariants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from cairngym.envs.core import State
from cairngym.envs.stl.formula import And, Formula, Not, Or, Predicate
from cairngym.envs.stl.measures import Measure
from cairngym.envs.stl.monitored import MARGINS
from cairngym.reward_shaping.temporal.domains import BranchTable
from cairngym.reward_shaping.temporal.plan import Grounding
from cairngym.reward_shaping.temporal.pursuit import Pursuit

AHEAD = 2
"""Subgoals described in full: the one pursued and the one after it."""
FAR = 2.0
"""Margins are shown up to this many scales."""


class Sight(NamedTuple):
    """What a state says about the K targets."""

    margins: Tensor
    """`(B, K)`."""
    scaled: Tensor
    """`(B, K)`: in units of their scales, clipped."""
    leads: Tensor
    """`(B, K, F)`: features that lead there."""

    def repeat(self, count: int) -> Sight:
        """Every row `count` times in a row."""
        return Sight(*(part.repeat_interleave(count, dim=0) for part in self))


class PlanFeatures:
    """Numbers about a pursuit, `(B, size)`, all of about one.

    - For the subgoal pursued and the next one: which target (one-hot), its margin, the features that lead there (see
      `Measure.target`; of several predicates those of the one that decides), and the share of the horizon left.
    - For every subgoal, by time: which target, the share of the horizon left until it is due (less than zero after it),
      and whether it was hit.
    - For every invariant: which target, its margin, whether it is watched now, whether it was broken, the share of the
      horizon left until its start and its end, and the features that lead to its target.

    Zeros stand for what a plan does not have.

    Args:
        grounding: of the task's formula.
        table: its branches as tensors.
        measures: what the predicates measure.
    """

    def __init__(self, grounding: Grounding, table: BranchTable, measures: Mapping[str, Measure]) -> None:
        self.grounding, self.measures, self.horizon = grounding, measures, table.horizon
        formulas = [one.formula for one in grounding.targets]
        scales = [max((measures[name].scale for name in one.predicates), default=1.0) for one in formulas] or [1.0]
        self.num_targets = len(scales)
        self.scale = torch.tensor(scales, device=table.gaps.device)
        self.lead_size = max((measures[name].target_size for one in formulas for name in one.predicates), default=0)
        self._which = torch.eye(self.num_targets, device=table.gaps.device)
        self._ahead = torch.arange(AHEAD, device=table.gaps.device)
        goals, kept = table.subgoals.shape[1], table.invariants.shape[1]
        self.size = AHEAD * (self.num_targets + self.lead_size + 2)
        self.size += goals * (self.num_targets + 2) + kept * (self.num_targets + self.lead_size + 5)

    def look(self, state: State) -> Sight:
        """Read the targets' margins and leads off a state."""
        return self.sight(state[MARGINS], self._leads(state))

    def sight(self, margins: Tensor, leads: Tensor) -> Sight:
        """What the predicates' margins `(B, P)` and the targets' leads `(B, K, F)` say about the targets."""
        reached = self.grounding.target_margins(margins)
        return Sight(reached, (reached / self.scale).clamp(-FAR, FAR), leads)

    def _leads(self, state: State) -> Tensor:
        margins = state[MARGINS]
        if self.lead_size == 0:
            return margins.new_zeros(len(margins), self.num_targets, 0)
        known = {name: self._lead(name, state) for name in self.grounding.predicates}
        formulas = [one.formula for one in self.grounding.targets]
        return torch.stack([_deciding(one, margins, known, self.grounding.columns)[1] for one in formulas], dim=1)

    def _lead(self, name: str, state: State) -> Tensor:
        """Features that lead to a predicate, padded with zeros to `(B, F)`."""
        measure = self.measures[name]
        if measure.target is None:
            return state[MARGINS].new_zeros(len(state[MARGINS]), self.lead_size)
        lead = measure.target(state).detach().to(torch.float32)
        missing = self.lead_size - measure.target_size
        return torch.nn.functional.pad(lead, (0, missing)) if missing else lead

    def __call__(self, pursuit: Pursuit, step: Tensor, sight: Sight) -> Tensor:
        """The features, float32 `(B, size)`, of a pursuit at the sample `step` `(B,)`."""
        now = step.unsqueeze(1)
        there = pursuit.due <= self.horizon
        left = (pursuit.due - now) / self.horizon
        which = self._which[pursuit.target]
        subgoals = torch.cat((which, left.unsqueeze(2), pursuit.hits.unsqueeze(2)), dim=2) * there.unsqueeze(2)
        ahead = self._goals_ahead(pursuit, there, left, which, sight)
        return torch.cat((ahead, subgoals.flatten(1), self._invariants(pursuit, now, sight)), dim=1)

    def _goals_ahead(self, pursuit: Pursuit, there: Tensor, left: Tensor, which: Tensor, sight: Sight) -> Tensor:
        place = pursuit.stage.unsqueeze(1) + self._ahead
        within = place.clamp(max=there.shape[1] - 1)
        present = there.gather(1, within) & (place < there.shape[1])
        target = pursuit.target.gather(1, within)
        leads = sight.leads.gather(1, target.unsqueeze(2).expand(-1, -1, self.lead_size))
        numbers = torch.stack((sight.scaled.gather(1, target), left.gather(1, within)), dim=2)
        return (torch.cat((self._which[target], numbers, leads), dim=2) * present.unsqueeze(2)).flatten(1)

    def _invariants(self, pursuit: Pursuit, now: Tensor, sight: Sight) -> Tensor:
        window = torch.stack((pursuit.first, pursuit.last), dim=2)
        watched = (pursuit.first <= now) & (now <= pursuit.last)
        until = ((window - now.unsqueeze(2)) / self.horizon).clamp(-1.0, 1.0)
        marks = torch.stack((sight.scaled.gather(1, pursuit.kept), watched, pursuit.broken), dim=2)
        present = (pursuit.first <= pursuit.last).unsqueeze(2)
        leads = sight.leads.gather(1, pursuit.kept.unsqueeze(2).expand(-1, -1, self.lead_size))
        return (torch.cat((self._which[pursuit.kept], marks, until, leads), dim=2) * present).flatten(1)


def _deciding(
    formula: Formula, margins: Tensor, leads: Mapping[str, Tensor], columns: Mapping[str, int]
) -> tuple[Tensor, Tensor]:
    """The margin `(B,)` of a state formula and the lead `(B, F)` of the predicate that it is the margin of."""
    match formula:
        case Predicate(name):
            return margins[:, columns[name]], leads[name]
        case Not(of):
            margin, lead = _deciding(of, margins, leads, columns)
            return -margin, lead
        case And(of) | Or(of):
            best, lead = _deciding(of[0], margins, leads, columns)
            for part in of[1:]:
                other, further = _deciding(part, margins, leads, columns)
                decides = other < best if isinstance(formula, And) else other > best
                best, lead = torch.where(decides, other, best), torch.where(decides.unsqueeze(1), further, lead)
            return best, lead
    raise TypeError(f"Expected a formula of predicates in negation normal form, got {formula}.")
