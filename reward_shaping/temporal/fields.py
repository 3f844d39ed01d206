"""What a plan adds to the state: what shapers pay by, and what replay needs to give an episode another plan."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from cairngym.envs.core import StateField
from cairngym.reward_shaping.temporal.domains import BranchTable
from cairngym.reward_shaping.temporal.features import PlanFeatures
from cairngym.reward_shaping.temporal.pursuit import Pursuit

GOAL, STAGE, HITS, BROKEN, SIZE = "plan_target", "plan_stage", "plan_hits", "plan_broken", "plan_size"
BRANCH, TIMES, ORDER = "plan_branch", "plan_times", "plan_order"
HIT, BROKE, LEADS = "plan_subgoals_hit", "plan_invariants_broken", "plan_leads"


def describe(table: BranchTable, features: PlanFeatures) -> dict[str, StateField]:
    """Shape, unit and meaning of every field."""
    targets = ", ".join(f"{i} {one}" for i, one in enumerate(features.grounding.targets))
    subgoals, invariants = table.subgoals.shape[1], table.invariants.shape[1]
    counts = {
        GOAL: ("index", f"Which target of the grounding is pursued: {targets}; -1 after the last."),
        STAGE: ("count", "Subgoals left behind, hit or missed."),
        HITS: ("count", "Subgoals hit."),
        BROKEN: ("count", "Invariants broken."),
        SIZE: ("count", "Subgoals of the plan."),
        BRANCH: ("index", "Which branch of the grounding the plan is of."),
    }
    whole = {name: _field((), unit, text, torch.int64) for name, (unit, text) in counts.items()}
    return whole | {
        TIMES: _field((table.num_variables,), "step", "Times of the branch's variables, as they were taken."),
        ORDER: _field((subgoals,), "index", "The branch's subgoals in the order in which they are pursued."),
        HIT: _field((subgoals,), "flag", "Which were hit, in that order.", torch.bool),
        BROKE: _field((invariants,), "flag", "Which of the branch's invariants were broken.", torch.bool),
        LEADS: _field(
            (features.num_targets, features.lead_size), "scales", "Features that lead to each target.", torch.float32
        ),
    }


def _field(shape: tuple[int, ...], unit: str, text: str, dtype: torch.dtype = torch.int64) -> StateField:
    return StateField(shape=shape, unit=unit, description=text, dtype=dtype)


def measure(pursuit: Pursuit, horizon: int, leads: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """The fields' values of B pursuits, with leads `(B, K, F)`."""
    size, last = (pursuit.due <= horizon).sum(1), pursuit.target.shape[1] - 1
    goal = pursuit.target.gather(1, pursuit.stage.clamp(max=last).unsqueeze(1))[:, 0]
    return {
        GOAL: torch.where(pursuit.stage < size, goal, -1), STAGE: pursuit.stage, HITS: pursuit.hits.sum(1),
        BROKEN: pursuit.broken.sum(1), SIZE: size, BRANCH: pursuit.branch, TIMES: pursuit.times, ORDER: pursuit.order,
        HIT: pursuit.hits, BROKE: pursuit.broken, LEADS: leads,
    }  # fmt: skip
