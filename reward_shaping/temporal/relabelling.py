"""Other times for the plans of replayed steps: what has happened stays, what lies ahead is wanted at other times.

As goals of the past are replaced in hindsight (Andrychowicz et al., "Hindsight experience replay", NeurIPS 2017), and
the states of reward machines, also timed ones, by counterfactual ones (Icarte et al., "Reward machines", JAIR 2022;
arXiv 2512.17637), here the times are that a plan's subgoals are due at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cairngym.envs.core import State, where
from cairngym.envs.relabelling import Relabeller, Steps
from cairngym.envs.stl.monitored import MARGINS, TIME
from cairngym.reward_shaping.temporal.domains import BranchTable, drawn
from cairngym.reward_shaping.temporal.extension import replaced
from cairngym.reward_shaping.temporal.features import PlanFeatures, Sight
from cairngym.reward_shaping.temporal.fields import BRANCH, BROKE, HIT, LEADS, ORDER, TIMES, measure
from cairngym.reward_shaping.temporal.pursuit import Pursuer, Pursuit

REACHED_SHARE = 0.5
"""Share of relabelled plans that want a subgoal at a step at which it was reached."""
GLIMPSES = 16
"""Later steps of the episode among which such a step is looked for."""


class Ahead(NamedTuple):
    """What of a plan may still change."""

    settled: Tensor
    """bool `(B, V + 1)`: nodes on which something hangs that has happened or begun; their times stay."""
    least: Tensor
    """int64 `(B, V + 1)`: the earliest time of every other node that leaves all that hangs on them ahead."""


class PlanRelabeller(Relabeller):
    """Gives transitions other times, as valid in the branch of their plan as their own.

    Subgoals hit or missed, invariants begun and what else has happened keep the times they took; the other variables
    are drawn anew, each uniform between its bounds. In a share of the plans one of the subgoals ahead is wanted at a
    step at which its target was reached later in that episode, if any was found, and the rest follow. The relabelled
    steps are those of an episode that had these times from its beginning, unless it would then have hit a subgoal
    ahead on its way here.

    Args:
        pursuer: of the plans.
        features: shown of them.
        name: of their entry in Dict observations.
    """

    fields = (MARGINS, TIME, BRANCH, TIMES, ORDER, HIT, BROKE, LEADS)
    glimpse_fields = (MARGINS, TIME)
    glimpses = GLIMPSES

    def __init__(self, pursuer: Pursuer, features: PlanFeatures, name: str) -> None:
        self.pursuer, self.table, self.features, self.name = pursuer, pursuer.table, features, name
        self.draws = 2 + self.table.num_variables
        self._ties = Ties.of(self.table)

    def relabel(self, steps: Steps, later: State, uniforms: Tensor) -> Steps:
        """The same steps under other times; those whose plan has nothing ahead that can move stay as they are."""
        first = {name: value[:, 0] for name, value in steps.state.items()}
        times, moved = self.other_times(first, later, uniforms)
        moments = [first, *_unbound(steps.next_state)]
        pursuit, whole = self.resume(first, times)
        plans, fields = [], []
        for k, moment in enumerate(moments):
            step, sight = moment[TIME].long(), self._sight(moment)
            pursuit = self.pursuer.follow(pursuit, step, sight.margins) if k else pursuit
            plans.append(self.features(pursuit, step, sight))
            fields.append(measure(pursuit, self.table.horizon, sight.leads))
        anew = self._shown(steps, torch.stack(plans, 1), fields)
        return Steps(*(where(moved & whole, new, old) for new, old in zip(anew, steps, strict=True)))

    def _sight(self, state: State) -> Sight:
        return self.features.sight(state[MARGINS], state[LEADS])

    def _shown(self, steps: Steps, plans: Tensor, fields: Sequence[State]) -> Steps:
        """The steps with the plan's features and fields at all n + 1 samples put in."""
        stacked = {name: torch.stack([one[name] for one in fields], 1) for name in fields[0]}
        state = {name: stacked[name][:, :-1] if name in stacked else old for name, old in steps.state.items()}
        after = {name: stacked[name][:, 1:] if name in stacked else old for name, old in steps.next_state.items()}
        return Steps(
            replaced(steps.obs, self.name, plans[:, :-1]), state, replaced(steps.next_obs, self.name, plans[:, 1:]),
            after,
        )  # fmt: skip

    # Other times ------------------------------------------------------------------------------------------------------

    def other_times(self, state: State, later: State, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Times `(B, V)` for the plans in `state`, and where any could be chosen, bool `(B,)`."""
        branch, now = state[BRANCH], state[TIME].long()
        points = torch.cat((torch.zeros_like(now).unsqueeze(1), state[TIMES]), dim=1)
        ahead = self._ties.ahead(self.table, branch, points, now)
        points, settled = self._put_reached(state, points, ahead, later, uniforms[:, :2])
        for node in range(1, points.shape[1]):
            at = torch.full_like(now, node)
            low, high = _bounds(self.table, branch, points, settled, ahead.least, at)
            fresh = drawn(low, high, uniforms[:, 1 + node])
            points[:, node] = torch.where(settled[:, node], points[:, node], fresh)
            settled[:, node] = True
        return points[:, 1:], ~ahead.settled.all(1)

    def _put_reached(
        self, state: State, points: Tensor, ahead: Ahead, later: State, uniforms: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Nodes' times, and which are settled, with one subgoal put where it was reached."""
        branch, pursuit = state[BRANCH], self.pursuer.begin(state[BRANCH], state[TIMES])
        stage = (pursuit.due <= state[TIME].long().unsqueeze(1)).sum(1)
        count = (pursuit.due <= self.table.horizon).sum(1) - stage
        place = (stage + torch.minimum((uniforms[:, 1] * count).long(), count - 1)).clamp(0, pursuit.due.shape[1] - 1)
        node, target, due = (part.gather(1, place.unsqueeze(1)) for part in (pursuit.node, pursuit.target, pursuit.due))
        margins = self.features.grounding.target_margins(later[MARGINS])
        reached = margins.gather(2, target.unsqueeze(1).expand(-1, margins.shape[1], 1))[..., 0] >= 0
        time = later[TIME].long() - (due - points.gather(1, node))
        low, high = _bounds(self.table, branch, points, ahead.settled, ahead.least, node[:, 0])
        wanted = (uniforms[:, 0] < REACHED_SHARE) & (count > 0) & ~ahead.settled.gather(1, node)[:, 0]
        found = reached & (low.unsqueeze(1) <= time) & (time <= high.unsqueeze(1)) & wanted.unsqueeze(1)
        soonest = time.masked_fill(~found, self.pursuer.never).amin(1, keepdim=True)
        put = found.any(1, keepdim=True)
        settled = ahead.settled.scatter(1, node, ahead.settled.gather(1, node) | put)
        return points.scatter(1, node, torch.where(put, soonest, points.gather(1, node))), settled

    def resume(self, state: State, times: Tensor) -> tuple[Pursuit, Tensor]:
        """The pursuits of plans with other `times` at the moment of `state`, and where their past is whole.

        It is not where a subgoal ahead is hit at this very sample and ends an invariant that was broken: it may have
        been broken by the same sample, which then counts no longer.
        """
        step = state[TIME].long()
        begun = self.pursuer.begin(state[BRANCH], times)
        hits = torch.zeros_like(state[HIT]).scatter(1, state[ORDER], state[HIT]).gather(1, begun.order)
        stage = (begun.due <= step.unsqueeze(1)).sum(1)
        resumed = begun._replace(hits=hits, stage=stage, broken=state[BROKE])
        followed = self.pursuer.follow(resumed, step, self._sight(state).margins)
        return followed, ~((followed.last < resumed.last) & resumed.broken).any(1)


class Ties(NamedTuple):
    """What hangs on which node: E subgoals, starts and ends of invariants of each of R branches."""

    node: Tensor
    """int64 `(R, E)`."""
    offset: Tensor
    """int64 `(R, E)`: after the node's time."""
    after: Tensor
    """int64 `(E,)`: a subgoal or a start lies ahead from one step after this on, an end from this step on."""
    hangs: Tensor
    """bool `(R, E, V + 1)`: on which node each hangs."""
    lacking: Tensor
    """bool `(R, V + 1)`: step 0, and the variables that the branch lacks."""

    @classmethod
    def of(cls, table: BranchTable) -> Ties:
        """Those of a grounding."""
        goals, kept = table.subgoals, table.invariants
        place = torch.cat((goals[..., 1:], kept[..., 1:3], kept[..., 3:]), dim=1)
        mask = torch.cat((table.subgoal_mask, table.invariant_mask, table.invariant_mask), dim=1)
        nodes = torch.arange(table.num_variables + 1, device=place.device)
        after = torch.ones(place.shape[1], dtype=torch.int64, device=place.device)
        after[goals.shape[1] + kept.shape[1] :] = 0
        hangs = (place[..., 0].unsqueeze(2) == nodes) & mask.unsqueeze(2)
        return cls(place[..., 0], place[..., 1], after, hangs, (nodes == 0) | (nodes > table.variables.unsqueeze(1)))

    def ahead(self, table: BranchTable, branch: Tensor, points: Tensor, now: Tensor) -> Ahead:
        """What may change of plans with nodes at `points` `(B, V + 1)` after the sample `now` `(B,)`."""
        offset, hangs, soonest = self.offset[branch], self.hangs[branch], now.unsqueeze(1) + self.after
        passed = points.gather(1, self.node[branch]) + offset < soonest
        settled = (hangs & passed.unsqueeze(2)).any(1) | self.lacking[branch]
        far = -4 * (table.horizon + 1)
        least = (soonest - offset).unsqueeze(2).masked_fill(~hangs, far).amax(1).masked_fill(settled, far)
        # A node that must not come before one leaves room for the nodes that must come close after it.
        return Ahead(settled, (least.unsqueeze(2) - table.gaps[branch]).amax(1))


def _bounds(
    table: BranchTable, branch: Tensor, points: Tensor, settled: Tensor, least: Tensor, node: Tensor
) -> tuple[Tensor, Tensor]:
    """First and last time `(B,)` of `node` `(B,)`, given the settled nodes and what must lie ahead."""
    row, far = torch.arange(len(branch), device=branch.device), 4 * (table.horizon + 1)
    low = (points - table.gaps[branch, :, node]).masked_fill(~settled, -far).amax(1)
    high = (points + table.gaps[branch, node]).masked_fill(~settled, far).amin(1)
    return torch.maximum(low, least[row, node]), high


def _unbound(state: State) -> list[dict[str, Tensor]]:
    """States `(B, n, ...)` one after another."""
    count = next(iter(state.values())).shape[1]
    return [{name: value[:, k] for name, value in state.items()} for k in range(count)]
