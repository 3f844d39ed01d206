"""What is asked of a design's two components on recorded transitions, beyond what is asked of any reward.

The sandbox judges what is paid, the signs. These checks judge what the signs are made of, so that a repair prompt can
name the component at fault. Each is a function of values already computed, and returns what it finds wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cairngym.reward_shaping.llm.auto_mc.design import DENSE, SPARSE
from cairngym.reward_shaping.llm.exploits import FEW, MOVED
from cairngym.reward_shaping.llm.findings import Finding, error, warning
from cairngym.reward_shaping.llm.program import RewardProgram
from cairngym.reward_shaping.llm.transitions import Recorded
from cairngym.reward_shaping.llm.trial import SETTLING, Scores, Trial

OFTEN, TOO_OFTEN = 0.2, 0.5
"""Shares of the steps before success in which an event is worth a warning, and none any more."""
RARELY = 0.01
"""Share of the steps in which a dense component is hardly dense."""
ONE_SIDED = 0.95
"""Share of the steps in which the dense component has one sign that leaves it without meaning."""
MOST = 0.5
"""Share of the transitions of a kind that makes a finding."""
AGREES, CONTRADICTS = 0.6, 0.4
"""Shares of the steps that change progress in which the dense component's sign agrees: fine, and refused below."""
TREMBLE = 1e-3
"""Of a usual dense value: smaller ones are taken for noise."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the two components are on recorded transitions, `(B,)` each, and on transitions that change nothing."""

    sparse: torch.Tensor
    dense: torch.Tensor
    still_sparse: torch.Tensor
    """For staying at each recorded `state`."""
    still_dense: torch.Tensor
    recorded: Recorded

    @property
    def change(self) -> torch.Tensor:
        """Of the task's progress."""
        return self.recorded.next_progress - self.recorded.progress

    @property
    def unsolved(self) -> torch.Tensor:
        """Steps that neither start from success nor end in it, bool `(B,)`."""
        return ~self.recorded.success & (self.recorded.progress < 1.0)


def inspect(program: RewardProgram, recorded: Recorded) -> list[Finding]:
    """Hold a design, as written, against every check.

    Args:
        program: one whose components are finite on the recording.
        recorded: what it is tried on.
    """
    found = gather(program, recorded)
    checks = (at_reset, events, verdicts, density, direction, stillness, trembling)
    return [finding for check in checks for finding in check(found)]


def gather(program: RewardProgram, recorded: Recorded) -> Evidence:
    """Run a design over the recording, and over staying at each state of it."""
    trial = Trial(program, recorded)
    moved, still = trial.score().components, _settled(trial).components
    return Evidence(
        sparse=moved[SPARSE], dense=moved[DENSE], still_sparse=still[SPARSE], still_dense=still[DENSE],
        recorded=recorded,
    )  # fmt: skip


def _settled(trial: Trial) -> Scores:
    """The components of doing nothing, once memory has seen it often enough to know."""
    memory: dict[str, torch.Tensor] = {}
    steps = trial.steps.still(trial.recorded.idle)
    for _ in range(SETTLING if trial.stateful else 0):
        trial.call(steps, memory)
    return trial.call(steps, memory)


def at_reset(found: Evidence) -> list[Finding]:
    """Whether events happen because an episode begins."""
    first = found.unsolved & (found.recorded.step == 0)
    later = found.unsolved & (found.recorded.step > 0)
    if not bool(first.any()) or not bool(later.any()):
        return []
    begin, usual = share(found.sparse[first] != 0), share(found.sparse[later] != 0)
    if begin <= MOST or begin <= 2 * usual:
        return []
    return [
        error(
            "sparse at reset",
            f"Component 'sparse' fires in the first step of {begin:.0%} of the episodes, but in {usual:.0%} of the "
            "later steps: it takes the beginning for an event. Compare next_state with state, and let memory start "
            "from state.",
        )
    ]


def events(found: Evidence) -> list[Finding]:
    """Whether events happen now and then, not always and not never."""
    fires = found.sparse != 0
    if not bool(fires.any()):
        if bool(found.recorded.success.any()):
            return [
                error(
                    "sparse never",
                    "Component 'sparse' is 0 in all recorded steps, also in those that succeed. Look at how the events "
                    "are detected: at units, codes and thresholds.",
                )
            ]
        return [warning("sparse never", "Component 'sparse' is 0 in all recorded steps; none of them succeeds.")]
    often = share(fires[found.unsolved])
    if often <= OFTEN:
        return []
    make = error if often > TOO_OFTEN else warning
    return [
        make(
            "sparse always",
            f"Component 'sparse' is above or below 0 in {often:.0%} of the steps before success. It is for events: let "
            "it fire in the one step in which something happens; what holds on for many steps belongs to dense.",
        )
    ]


def verdicts(found: Evidence) -> list[Finding]:
    """Whether the sign of the events agrees with success and failure."""
    recorded = found.recorded
    wins = recorded.success & (recorded.progress < 1.0)
    losses = recorded.terminated & ~recorded.success
    findings = []
    if bool(wins.any()) and (punished := share(found.sparse[wins] < 0)) > MOST:
        findings.append(
            error(
                "sparse against success",
                f"Component 'sparse' is below 0 in {punished:.0%} of the steps in which the task is done. Success is "
                "the event that is wanted most.",
            )
        )
    if bool(losses.any()) and (paid := share(found.sparse[losses] > 0)) > MOST:
        findings.append(
            error(
                "sparse for failure",
                f"Component 'sparse' is above 0 in {paid:.0%} of the steps that end an episode without success. What "
                "ends one is to be avoided: 0, or below.",
            )
        )
    return findings


def density(found: Evidence) -> list[Finding]:
    """Whether the dense component says something in most steps, and not always the same."""
    dense = found.dense[found.unsolved]
    if not len(dense):
        return []
    above, below = share(dense > 0), share(dense < 0)
    if above + below == 0:
        return [
            error(
                "dense never",
                "Component 'dense' is 0 in all recorded steps before success: an agent is told nothing "
                "between events. Let it be the change towards the next event.",
            )
        ]
    for one, sign in ((above, "above"), (below, "below")):
        if one >= ONE_SIDED:
            return [
                error(
                    "dense one-sided",
                    f"Component 'dense' is {sign} 0 in {one:.0%} of the steps, whatever is done in them. Let it be the "
                    "change from state to next_state, not a distance or a value by itself.",
                )
            ]
    if above + below < RARELY:
        return [warning("dense rarely", f"Component 'dense' differs from 0 in only {above + below:.2%} of the steps.")]
    return []


def direction(found: Evidence) -> list[Finding]:
    """Whether the dense component rises where the task's progress does, and falls where it falls."""
    said = found.unsolved & (found.dense != 0)
    ways = [(said & (found.change > MOVED), 1.0), (said & (found.change < -MOVED), -1.0)]
    agreements = [share(found.dense[rows].sign() == sign) for rows, sign in ways if int(rows.sum()) >= FEW]
    if not agreements:
        return []
    agreement = sum(agreements) / len(agreements)  # steps forward and back count alike, however many there are
    if agreement >= AGREES:
        return []
    make = error if agreement < CONTRADICTS else warning
    return [
        make(
            "dense against progress",
            "Where a step brings the task forward or throws it back, the sign of component 'dense' agrees with that in "
            f"{agreement:.0%} of the cases. Look for a sign the wrong way round, and for which event is the next.",
        )
    ]


def stillness(found: Evidence) -> list[Finding]:
    """Whether steps that change nothing are paid."""
    rows = found.unsolved
    if not bool(rows.any()):
        return []
    findings = []
    for name, values in ((SPARSE, found.still_sparse[rows]), (DENSE, found.still_dense[rows])):
        above, below = share(values > 0), share(values < 0)
        if above > MOST:
            findings.append(
                error(
                    "still",
                    f"Component {name!r} is above 0 for {above:.0%} of the steps that change nothing (next_state equal "
                    "to state): an agent that stands still collects it for ever. Pay for changes.",
                )
            )
        elif below > MOST:
            findings.append(
                warning(
                    "still",
                    f"Component {name!r} is below 0 for {below:.0%} of the steps that change nothing: an agent may "
                    "come to prefer the end of the episode, whatever it is.",
                )
            )
    return findings


def trembling(found: Evidence) -> list[Finding]:
    """Whether many signs of the dense component stand for changes too small to mean anything."""
    size = found.dense[found.unsolved].abs()
    size = size[size > 0]
    if len(size) < FEW:
        return []
    usual = float(size.double().quantile(0.9))
    tiny = share(size < TREMBLE * usual)
    if tiny <= OFTEN:
        return []
    make = error if tiny > MOST else warning
    return [
        make(
            "dense noise",
            f"{tiny:.0%} of the values of component 'dense' that are not 0 are less than a thousandth of its usual "
            f"size, {usual:.2g}; their signs are paid as much as those of real changes. Let small ones be exactly 0, "
            "for instance torch.where(change.abs() > 1e-4, change, torch.zeros_like(change)).",
        )
    ]


def share(mask: torch.Tensor) -> float:
    """The part of a mask that holds, in [0, 1]; 0 of an empty one."""
    return float(mask.double().mean()) if len(mask) else 0.0
