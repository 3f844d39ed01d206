"""The gap between simulation and twins, variant by variant, from the episodes that were played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cairngym.envs.checks import unknown_name
from cairngym.sim2real.evaluation import Played
from cairngym.sim2real.statistics.binomial import Interval, binomial_interval, difference_interval
from cairngym.sim2real.statistics.bootstrap import Agreement, Counts, agreement, cluster_interval
from cairngym.sim2real.statistics.sequential import SequentialTest, barnard, design_test

MOST_TRIALS = 128
"""Trials of each policy that a sequential comparison may use."""


@dataclass(frozen=True, kw_only=True)
class VariantGap:
    """What a variant's policies are worth, all its seeds together."""

    variant: str
    runs: int
    sim: Interval
    """Success in simulation, exact binomial interval over all episodes."""
    twins: Interval
    """Success on the twins, exact binomial interval over all episodes: of these policies on these twins."""
    fleet: Interval
    """The same rate; bootstrap interval over runs, twins and episodes: of policies trained like these on twins like
    these."""
    drop: Interval
    """Success in simulation minus success on the twins."""
    by_twin: tuple[Interval, ...]
    """Success on every twin, exact binomial intervals."""

    @property
    def worst(self) -> Interval:
        """Success on the twin where it is least."""
        return min(self.by_twin, key=lambda interval: interval.value)


@dataclass(frozen=True, kw_only=True)
class Duel:
    """How many trials would have shown which of two policies, trained with the same seed, is better on the twins."""

    variant: str
    against: str
    seed: int
    better: str | None
    """The variant found better; None where the trials did not show it."""
    trials: int
    """Trials of each policy until the test stopped."""
    most: int
    """Trials of each policy that it might have used."""
    barnard: float
    """p-value of Barnard's exact test on all of these trials."""


@dataclass(frozen=True, kw_only=True)
class GapStudy:
    """Everything a report on one task says."""

    task: str
    units: tuple[int, ...]
    played: tuple[Played, ...]
    gaps: tuple[VariantGap, ...]
    """The baseline first, the others in the order of the policies given."""
    agreement: Agreement | None
    """Over all policies; None with fewer than two."""
    duels: tuple[Duel, ...]
    baseline: str

    def gap(self, variant: str) -> VariantGap:
        """The gap of a variant.

        Raises:
            UnknownNameError: no policy of that variant was played.
        """
        found = {gap.variant: gap for gap in self.gaps}
        if variant not in found:
            raise unknown_name("variant", variant, found)
        return found[variant]


def study(
    task: str,
    units: Sequence[int],
    played: Sequence[Played],
    *,
    baseline: str,
    confidence: float = 0.95,
    error: float = 0.05,
    most: int = MOST_TRIALS,
    seed: int = 0,
) -> GapStudy:
    """Turn episodes into rates, gaps, agreement and comparisons.

    Args:
        task: what was played.
        units: the twins' numbers, in the order of the rows of `Played.twins`.
        played: one entry for each policy.
        baseline: the variant that the others are held against; no comparisons where it was not played.
        confidence: of all intervals.
        error: of the sequential tests, each.
        most: trials of each policy in a sequential test.
        seed: of the bootstrap, and of the order of trials.

    Raises:
        ValueError: nothing was played, or not on these units.
    """
    wrong = [one.name for one in played if len(one.twins) != len(units)]
    if not played or wrong:
        raise ValueError(f"Expected policies played on {len(units)} twins, got {', '.join(wrong) or 'none'}.")
    found = dict.fromkeys(one.variant for one in played)
    variants = [*([baseline] if baseline in found else []), *(name for name in found if name != baseline)]
    groups = {variant: [one for one in played if one.variant == variant] for variant in variants}
    return GapStudy(
        task=task, units=tuple(units), played=tuple(played), baseline=baseline,
        gaps=tuple(variant_gap(group, confidence=confidence, seed=seed) for group in groups.values()),
        agreement=_agreement(played, confidence, seed) if len(played) > 1 else None,
        duels=tuple(duels(groups, baseline, error=error, most=most, seed=seed)),
    )  # fmt: skip


def variant_gap(group: Sequence[Played], *, confidence: float, seed: int) -> VariantGap:
    """Rates of the policies of one variant."""
    sim = _count(np.concatenate([one.sim for one in group]))
    wins = np.stack([one.twins.sum(axis=1) for one in group])
    each = group[0].twins.shape[1]
    twins = (int(wins.sum()), wins.size * each)
    return VariantGap(
        variant=group[0].variant, runs=len(group),
        sim=binomial_interval(*sim, confidence=confidence),
        twins=binomial_interval(*twins, confidence=confidence),
        fleet=cluster_interval(wins, trials=each, confidence=confidence, seed=seed),
        drop=difference_interval(sim, twins, confidence=confidence),
        by_twin=tuple(binomial_interval(int(k), len(group) * each, confidence=confidence) for k in wins.sum(axis=0)),
    )  # fmt: skip


def _count(flags: np.ndarray) -> tuple[int, int]:
    return int(flags.sum()), flags.size


def _agreement(played: Sequence[Played], confidence: float, seed: int) -> Agreement:
    sides = [
        Counts(successes=np.array([f.sum() for f in flags]), trials=np.array([f.size for f in flags]))
        for flags in ([one.sim for one in played], [one.twins for one in played])
    ]
    return agreement(sim=sides[0], real=sides[1], confidence=confidence, seed=seed)


def duels(groups: Mapping[str, Sequence[Played]], baseline: str, *, error: float, most: int, seed: int) -> list[Duel]:
    """Every policy against the baseline's of the same seed, as a lab would compare them: trial by trial, until shown.

    The trials of each are its episodes on all twins, in orders of their own drawn by `seed`: independent, as the test
    takes them to be.
    """
    found = []
    base = {one.seed: one for one in groups.get(baseline, ())}
    for variant, group in groups.items():
        for one in group:
            if variant != baseline and one.seed in base:
                found.append(_duel(one, base[one.seed], error, most, seed))
    return found


def _duel(one: Played, other: Played, error: float, most: int, seed: int) -> Duel:
    rng, trials = np.random.default_rng(seed), min(most, one.twins.size, other.twins.size)
    ours, theirs = (rng.permutation(side.twins.ravel())[:trials] for side in (one, other))
    test: SequentialTest = design_test(trials, error=error)
    verdict = test.decide(ours, theirs)
    names = {"first": one.variant, "second": other.variant, None: None}
    return Duel(
        variant=one.variant, against=other.variant, seed=one.seed, better=names[verdict.better],
        trials=verdict.trials, most=trials, barnard=barnard(_count(ours), _count(theirs)),
    )  # fmt: skip
