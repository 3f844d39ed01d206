"""The examination of a reward program: every check, in the order in which their findings make sense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import torch

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm import exploits, soundness, usefulness
from cairngym.reward_shaping.llm.findings import MAX_FINDINGS, MAX_TEXT, Examination, Finding, error, warning
from cairngym.reward_shaping.llm.transitions import Recorded
from cairngym.reward_shaping.llm.trial import Memory, Program, Scores, Steps, Trial, episodes_of

ALONE = 12
"""Rows, or episodes, that are also asked one by one."""
PROBED = 512
"""Transitions that others are made from."""
EXTREME = 1e6
"""What floating-point values are multiplied by to see whether the reward stays finite."""


@dataclass(frozen=True, kw_only=True)
class Standards:
    """What a program is held against."""

    components_sum: bool = False
    """Whether the prompt asked for components that add up to the reward."""


def examine(
    program: Program,
    recorded: Recorded,
    state_spec: Mapping[str, StateField],
    standards: Standards | None = None,
) -> Examination:
    """Hold a program against every check; what the program raises becomes a finding.

    A program that breaks its contract is not asked further: what other checks would say of it means nothing.
    """
    standards = standards or Standards()
    try:
        return _examine(program, recorded, state_spec, standards)
    except Exception as problem:  # whatever a stranger's code raises
        return Examination(findings=(error("failure", says(problem)),))


def says(problem: BaseException) -> str:
    """What an exception says, with its kind, cut to a message's length."""
    return f"{type(problem).__name__}: {problem}"[:MAX_TEXT]


def _examine(
    program: Program, recorded: Recorded, state_spec: Mapping[str, StateField], standards: Standards
) -> Examination:
    found = keeps_contract(program, Steps.of(recorded)[: recorded.num_envs].clone())
    if found:
        return Examination(findings=tuple(found[:MAX_FINDINGS]))
    trial = Trial(program, recorded)
    scores = trial.score()
    found = soundness.finite(scores.named(), "the recorded transitions")
    if not found:
        found = purity(trial, scores)
    if found:
        return Examination(findings=tuple(found[:MAX_FINDINGS]))
    found = [*edges(trial, state_spec), *teaches(trial, scores, standards), *hacks(trial, scores)]
    change = recorded.next_progress - recorded.progress
    return Examination(
        findings=tuple(found[:MAX_FINDINGS]),
        statistics=usefulness.statistics(scores.total, scores.components, change, recorded.success),
        unchecked=blind_spots(recorded),
        call_s=trial.call_seconds(),
    )


def keeps_contract(program: Program, steps: Steps) -> list[Finding]:
    """What is wrong with what one call returns, and with what it does to its inputs."""
    before, memory = steps.clone().tensors(), Memory()
    with torch.no_grad():
        output = program(steps.state, steps.action, steps.next_state, memory)
    if not isinstance(output, tuple) or len(output) != 2:
        kind = type(output).__name__
        return [error("components", f"Expected (reward, components) to be returned, a pair, got {kind}.")]
    return [*soundness.contract(*output, len(steps)), *soundness.unmutated(before, steps.tensors())]


def purity(trial: Trial, scores: Scores) -> list[Finding]:
    """Whether a transition's reward is a function of it, and of what came before it in its episode."""
    whole = scores.named()
    found = soundness.deterministic(whole, trial.score().named())
    if trial.stateful:
        found += soundness.bounded_memory(trial.memory_sizes(), trial.recorded.num_envs)
    if found:
        return found
    order = torch.arange(trial.columns).flip(0)
    few = torch.linspace(0, trial.columns - 1, min(ALONE, trial.columns)).long().unique()
    asked = [("in another order", [order]), ("one by one", list(few.split(1)))]
    for how, groups in asked:
        rows = torch.cat([trial.scored_rows(group) for group in groups])
        parts = [trial.score(group).named() for group in groups]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        found += soundness.independent(scores[rows].named(), joined, how)
    return found


def edges(trial: Trial, state_spec: Mapping[str, StateField]) -> list[Finding]:
    """Whether the reward stays finite where measurements coincide, vanish or explode."""
    steps = trial.steps[: trial.recorded.num_envs]
    found: list[Finding] = []
    for left, right in twins(state_spec):
        together = trial.call(_meeting(steps, left, right), {}).named()
        found += soundness.finite(together, f"transitions where {left} equals {right}")
    for factor, where in ((0.0, "states of zeros"), (EXTREME, f"states {EXTREME:.0e} times as large")):
        try:
            values = trial.call(_scaled(steps, factor), {}).named()
        except Exception as problem:
            found.append(warning("finite", f"On {where} it fails: {says(problem)}"))
            continue
        found += soundness.finite(values, where, "warning")
    return found


def twins(state_spec: Mapping[str, StateField]) -> list[tuple[str, str]]:
    """Pairs of measurements of one unit and shape, which may come to be equal."""
    kinds = {name: (field.unit, field.shape) for name, field in state_spec.items() if field.dtype.is_floating_point}
    return [(left, right) for left, right in combinations(kinds, 2) if kinds[left] == kinds[right]]


def _meeting(steps: Steps, left: str, right: str) -> Steps:
    """The transitions, but that two measurements are equal before and after."""
    state, after = {**steps.state, left: steps.state[right]}, {**steps.next_state, left: steps.next_state[right]}
    return replace(steps, state=state, next_state=after)


def _scaled(steps: Steps, factor: float) -> Steps:
    def scaled(fields: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value * factor if value.is_floating_point() else value for name, value in fields.items()}

    return Steps(scaled(steps.state), steps.action, scaled(steps.next_state))


def teaches(trial: Trial, scores: Scores, standards: Standards) -> list[Finding]:
    """The checks of `usefulness`."""
    recorded, total, components = trial.recorded, scores.total, scores.components
    found = usefulness.constant(total, components, recorded.success)
    if any(finding.severity == "error" for finding in found):
        return found
    found += usefulness.scale(total, recorded.reward)
    found += usefulness.dominance(components, recorded.success)
    found += usefulness.saturation(components)
    if standards.components_sum:
        found += usefulness.sums(total, components)
    found += usefulness.at_reset(total, recorded.step, recorded.success)
    change = recorded.next_progress - recorded.progress
    return found + usefulness.alignment(total, change, recorded.next_progress, recorded.episode)


def hacks(trial: Trial, scores: Scores) -> list[Finding]:
    """The checks of `exploits`."""
    recorded, total = trial.recorded, scores.total
    still = trial.repeat(trial.steps.still(recorded.idle))
    staying = trial.repeat(trial.steps.still(recorded.idle, after=True))
    rows = probed(recorded)
    if not len(rows):
        return []
    steps = trial.steps[rows]
    probes = exploits.Probes(
        change=(recorded.next_progress - recorded.progress)[rows],
        earned=total[rows],
        still_before=still[rows],
        still_after=staying[rows],
        round_trip=trial.repeat(steps, steps.back()),
    )
    reference = float(recorded.reward.abs().max()) or 1.0
    return [
        *exploits.standing_still(probes),
        *exploits.moving_away(probes),
        *(exploits.round_trips(recorded, total, still, reference) or exploits.going_back_and_forth(probes)),
        *loiters(trial, total, still, staying),
    ]


def loiters(trial: Trial, total: torch.Tensor, still: torch.Tensor, staying: torch.Tensor) -> list[Finding]:
    """Whether waiting before the goal is worth more than reaching it, at two discounts; the graver finding counts."""
    recorded = trial.recorded
    usual = recorded.reward[~recorded.success].median() if bool((~recorded.success).any()) else torch.zeros(())
    for patience in (exploits.SHORT_SIGHTED, exploits.FAR_SIGHTED):
        worth = exploits.worth_of_finishing(
            total + recorded.reward, staying + recorded.reward, recorded, (trial.index, trial.lives),
            1.0 - 1.0 / patience,
        )  # fmt: skip
        found = exploits.loitering(patience * (still + usual), worth, patience)
        if found:
            return found
    return []


def probed(recorded: Recorded) -> torch.Tensor:
    """Rows short of success at which something is tried, those that change progress first; int64 `(<= PROBED,)`."""
    change = (recorded.next_progress - recorded.progress).abs()
    rows = (~recorded.success & (recorded.progress < 1.0)).nonzero().squeeze(1)
    moved = rows[change[rows] > exploits.MOVED]
    rows = moved if len(moved) >= exploits.FEW else rows
    stride = max(1, -(-len(rows) // PROBED))
    return rows[::stride]


def blind_spots(recorded: Recorded) -> tuple[str, ...]:
    """What the recording cannot tell, each with its reason."""
    change = recorded.next_progress - recorded.progress
    spots = []
    nothing = torch.zeros(len(recorded))
    ways = exploits.worth_of_finishing(nothing, nothing, recorded, episodes_of(recorded), 0.0)
    if int(torch.isfinite(ways).sum()) < exploits.FEW:
        spots.append(f"loitering: fewer than {exploits.FEW} recorded transitions lead up to a success")
    if usefulness.spread(recorded.next_progress) < usefulness.FLAT:
        spots.append("progress: it is the same at every recorded transition")
    if int((change > exploits.MOVED).sum()) < exploits.FEW:
        spots.append(f"standing still: fewer than {exploits.FEW} recorded transitions make progress")
    if int((change < -exploits.MOVED).sum()) < exploits.FEW:
        spots.append(f"moving away: fewer than {exploits.FEW} recorded transitions lose progress")
    if len(torch.unique(recorded.episode)) == recorded.num_envs:
        spots.append("order: no env lived a second episode")
    return tuple(spots)
