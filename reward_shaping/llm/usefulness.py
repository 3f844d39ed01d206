"""Checks that a reward can teach something: its scale, its spread, and how it goes with the task's progress.

Each is a function of values already computed, and returns what it finds wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from cairngym.reward_shaping.llm.findings import ComponentStatistics, Finding, error, warning

LOUD, TOO_LOUD, FAINT = 10.0, 100.0, 1e-3
"""Times the sparse reward: worth a warning, refused, and too little to be felt."""
DOMINANT = 0.99
"""Share of the components' spread that leaves nothing for the others."""
SATURATED = 0.95
"""Share of transitions at one end of a component's range."""
EDGE = 1e-3
"""Of its range, within which a value is at its end."""
JUMP = 5.0
"""Times the usual reward at other steps."""
FLAT = 1e-9
"""Spread below which a value is constant."""
UNRELATED = 0.05
"""Rank correlation that is none; with few transitions, two standard errors of it are."""
OPPOSED = -0.1
"""Rank correlation that says the reward falls where the task comes closer."""


def scale(total: torch.Tensor, sparse: torch.Tensor) -> list[Finding]:
    """Whether the reward is of the sparse reward's size, both `(B,)`; its size is one where none was recorded."""
    size, reference = float(total.abs().quantile(0.99)), float(sparse.abs().max()) or 1.0
    times = f"{size:.3g} at its 99th percentile, where the sparse reward is at most {reference:.3g}"
    if size > TOO_LOUD * reference:
        return [error("scale", f"The reward is {times}: it drowns it. Scale it to about one.")]
    if size > LOUD * reference:
        return [warning("scale", f"The reward is {times}. Scale it to about one.")]
    if float(total.abs().max()) < FAINT * reference:
        return [warning("scale", f"The reward is only {times}: it will not be felt. Scale it to about one.")]
    return []


def constant(total: torch.Tensor, components: Mapping[str, torch.Tensor], success: torch.Tensor) -> list[Finding]:
    """Whether the reward, or a component, is the same everywhere."""
    if spread(total) < FLAT:
        return [error("constant", f"The reward is {float(total[0]):.4g} at all recorded transitions: it says nothing.")]
    seen = "" if bool(success.any()) else " (the recording holds no success)"
    return [
        warning(
            "constant",
            f"Component {name!r} is {float(value[0]):.4g} at every recorded transition{seen}: it cannot be optimised. "
            "Rescale it, rewrite it or leave it out.",
        )
        for name, value in components.items()
        if spread(value) < FLAT
    ]


def dominance(components: Mapping[str, torch.Tensor], success: torch.Tensor) -> list[Finding]:
    """Whether one of several components drowns the others, successes left aside."""
    shares = shares_of(components, success)
    live = {name: share for name, share in shares.items() if share > 0}
    name = max(live, key=lambda key: live[key], default="")
    if len(live) < 2 or live[name] < DOMINANT:
        return []
    return [
        warning(
            "dominance",
            f"Component {name!r} makes up {live[name]:.0%} of the spread of all {len(live)} components; the others "
            "will not be felt. Rescale it, or them.",
        )
    ]


def saturation(components: Mapping[str, torch.Tensor]) -> list[Finding]:
    """Whether a component sits at one end of its range nearly always; at zero it may, as rare events do."""
    found = []
    for name, value in components.items():
        low, high = float(value.min()), float(value.max())
        edge = EDGE * (high - low)
        for end, near in ((low, value <= low + edge), (high, value >= high - edge)):
            share = float(near.float().mean())
            if spread(value) >= FLAT and share >= SATURATED and abs(end) > edge:
                found.append(
                    warning(
                        "saturation",
                        f"Component {name!r} sits at the end of its range, {end:.4g}, in {share:.0%} of the recorded "
                        "transitions: it hardly tells them apart. Widen the range, or lower the temperature's slope.",
                    )
                )
    return found


def sums(total: torch.Tensor, components: Mapping[str, torch.Tensor]) -> list[Finding]:
    """Whether the components add up to the reward, for prompts that ask for it."""
    added = torch.stack([value.double() for value in components.values()]).sum(0)
    off = float((added - total.double()).abs().max())
    if off <= 1e-4 * max(1.0, float(total.abs().max())):
        return []
    return [
        error(
            "sums",
            f"The components do not add up to the reward: they are off by up to {off:.3g}. Return each component as it "
            "enters the sum, weight included, and return all of them.",
        )
    ]


def at_reset(total: torch.Tensor, step: torch.Tensor, success: torch.Tensor) -> list[Finding]:
    """Whether the first transition of episodes is paid out of proportion, as a default of memory can make it."""
    first, later = total[(step == 0) & ~success], total[(step > 0) & ~success]
    if not len(first) or not len(later):
        return []
    middle = later.median()
    usual = float((later - middle).abs().quantile(0.95))
    jump = float((first - middle).abs().median())
    if jump <= JUMP * usual + 1e-6:
        return []
    return [
        error(
            "reset",
            f"The first transition of an episode is off the usual reward by {jump:.3g}, others by {usual:.3g} at "
            "their 95th percentile: it pays for beginning. Start memory from the state at hand, not from a constant.",
        )
    ]


def alignment(
    total: torch.Tensor, change: torch.Tensor, progress: torch.Tensor, episode: torch.Tensor
) -> list[Finding]:
    """Whether the reward goes with the task's progress: its change, or how far it has come within the episode.

    Args:
        total: `(B,)`.
        change: of progress over the transition, `(B,)`.
        progress: after the transition, `(B,)`.
        episode: int64 `(B,)`.
    """
    by_change = rank_correlation(total, change)
    by_level = rank_correlation(centred(total, episode), centred(progress, episode))
    known = [value for value in (by_change, by_level) if not math.isnan(value)]
    if not known:
        return []
    both = f"{by_change:+.2f} with the change of progress and {by_level:+.2f} with progress within an episode"
    none = max(UNRELATED, 2.0 / math.sqrt(len(total)))
    if max(known) < none and min(known) < OPPOSED:
        return [
            error("progress", f"The reward's rank correlation is {both}: it falls where the task comes closer. Look "
                  "for a sign the wrong way round.")
        ]  # fmt: skip
    if max(known) < none:
        return [
            warning("progress", f"The reward's rank correlation is {both}: it hardly depends on how far the task has "
                    "come.")
        ]  # fmt: skip
    return []


# Numbers --------------------------------------------------------------------------------------------------------------


def spread(value: torch.Tensor) -> float:
    """The difference between the greatest and the least value."""
    return float(value.max() - value.min())


def centred(value: torch.Tensor, episode: torch.Tensor) -> torch.Tensor:
    """`value` `(B,)` less its mean over each episode."""
    _, group, count = episode.unique(return_inverse=True, return_counts=True)
    mean = torch.zeros(len(count), dtype=torch.float64).index_add(0, group, value.double()) / count
    return value.double() - mean[group]


def ranks(value: torch.Tensor) -> torch.Tensor:
    """Ranks from one, equal values sharing their mean, float64 `(B,)`."""
    _, group, count = value.unique(return_inverse=True, return_counts=True)
    return (count.cumsum(0) - (count - 1) / 2.0).double()[group]


def rank_correlation(left: torch.Tensor, right: torch.Tensor) -> float:
    """Spearman's coefficient; NaN where one of them is constant."""
    if len(left) < 2 or spread(left) < FLAT or spread(right) < FLAT:
        return math.nan
    return float(torch.corrcoef(torch.stack((ranks(left), ranks(right))))[0, 1])


def shares_of(components: Mapping[str, torch.Tensor], success: torch.Tensor) -> dict[str, float]:
    """Each component's part of the sum of their standard deviations where the task is not done."""
    rows = ~success if bool((~success).any()) else torch.ones_like(success)
    deviation = {name: float(value[rows].double().std(unbiased=False)) for name, value in components.items()}
    whole = sum(deviation.values())
    return {name: value / whole if whole > FLAT else 0.0 for name, value in deviation.items()}


def statistics(
    total: torch.Tensor, components: Mapping[str, torch.Tensor], change: torch.Tensor, success: torch.Tensor
) -> tuple[ComponentStatistics, ...]:
    """How the total and every component are spread."""
    shares = shares_of(components, success)
    rows = {"total": (total, 1.0), **{name: (value, shares[name]) for name, value in components.items()}}
    return tuple(
        ComponentStatistics(
            name=name, mean=float(value.mean()), std=float(value.double().std(unbiased=False)),
            minimum=float(value.min()), maximum=float(value.max()), share=share,
            correlation=rank_correlation(value, change),
        )
        for name, (value, share) in rows.items()
    )  # fmt: skip
