"""A gap study as files: a table of every policy and twin (CSV), and a page of Markdown with the pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from cairngym.envs.files import replacing
from cairngym.sim2real.gap import Duel, GapStudy
from cairngym.sim2real.statistics.binomial import clopper_pearson
from cairngym.sim2real.sweeps import Sweep


def write_report(
    study: GapStudy, folder: Path, *, sweeps: Sequence[Sweep] = (), pictures: Sequence[Path] = ()
) -> list[Path]:
    """Write episodes.csv, sweeps.csv where there are sweeps, and report.md.

    Args:
        study: what was found.
        folder: for the files; made where it is missing.
        sweeps: robustness of some policies.
        pictures: files in the folder, which the page shows.

    Returns:
        The files written, the page first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "report.md", folder / "episodes.csv"]
    _write(files[0], markdown(study, sweeps, [picture.name for picture in pictures]))
    _write(files[1], episodes_csv(study))
    if sweeps:
        files.append(folder / "sweeps.csv")
        _write(files[-1], sweeps_csv(sweeps))
    return files


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def episodes_csv(study: GapStudy) -> str:
    """A row for each policy in simulation and on each twin, with exact bounds."""
    rows = [["task", "variant", "seed", "robot", "successes", "episodes", "success", "low", "high"]]
    for one in study.played:
        places = [("simulation", one.sim), *zip((f"twin {unit}" for unit in study.units), one.twins, strict=True)]
        for robot, flags in places:
            low, high = clopper_pearson(flags.sum(), flags.size)
            numbers = [f"{value:.4f}" for value in (flags.mean(), float(low), float(high))]
            rows.append([study.task, one.variant, str(one.seed), robot, str(flags.sum()), str(flags.size), *numbers])
    return _csv(rows)


def sweeps_csv(sweeps: Sequence[Sweep]) -> str:
    """A row for each policy, parameter and value."""
    rows = [["policy", "parameter", "value", "success", "low", "high"]]
    for one in sweeps:
        for value, rate in zip(one.parameter.values, one.success, strict=True):
            numbers = [f"{number:.4f}" for number in (rate.value, rate.low, rate.high)]
            rows.append([one.policy, one.parameter.name, f"{value:.6g}", *numbers])
    return _csv(rows)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def markdown(study: GapStudy, sweeps: Sequence[Sweep] = (), pictures: Sequence[str] = ()) -> str:
    """The page."""
    first = study.played[0]
    twins, each = len(study.units), first.twins.shape[1]
    lines = [
        f"# Simulation and hidden twins: {study.task}", "",
        f"{len(study.played)} policies, {first.sim.size} episodes each in simulation and {each} on each of {twins} "
        f"twins (units {', '.join(map(str, study.units))}). Brackets hold 95 % intervals: exact binomial ones over all "
        "episodes of a variant, which speak of these policies on these twins; under “other twins” a bootstrap over "
        "runs, twins and episodes.", "",
        *_gap_table(study), "", *_verdict(study), "",
        "## Twin by twin", "", *_twin_table(study), "",
        "## Does simulation rank policies rightly?", "", *_agreement(study), "",
    ]  # fmt: skip
    if study.duels:
        lines += ["## How many trials would have shown it?", "", *_duel_table(study), ""]
    if sweeps:
        lines += ["## Robustness", "", *_sweep_table(sweeps), ""]
    lines += [f"![{name}]({name})\n" for name in pictures]
    return "\n".join(lines).rstrip() + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    ruler = ["---", *("---:" for _ in header[1:])]
    return [f"| {' | '.join(row)} |" for row in (header, ruler, *rows)]


def _gap_table(study: GapStudy) -> list[str]:
    header = ["variant", "runs", "simulation", "twins", "other twins", "drop", "worst twin"]
    rows = [
        [gap.variant, str(gap.runs), *(i.text for i in (gap.sim, gap.twins, gap.fleet, gap.drop, gap.worst))]
        for gap in study.gaps
    ]
    return _table(header, rows)


def _verdict(study: GapStudy) -> list[str]:
    """Which variants are better or worse on the twins than the baseline, by intervals that do not overlap."""
    known = {gap.variant: gap for gap in study.gaps}
    if study.baseline not in known:
        return []
    base = known.pop(study.baseline)
    lines = []
    for gap in known.values():
        said = "is better than" if gap.twins.value > base.twins.value else "is worse than"
        if not gap.twins.apart(base.twins):
            said = "cannot be told apart by its interval from"
        lines.append(f"- `{gap.variant}` {said} `{base.variant}` on the twins.")
    return lines


def _twin_table(study: GapStudy) -> list[str]:
    header = ["twin", *(gap.variant for gap in study.gaps)]
    rows = [[str(unit), *(gap.by_twin[index].text for gap in study.gaps)] for index, unit in enumerate(study.units)]
    return _table(header, rows)


def _agreement(study: GapStudy) -> list[str]:
    found = study.agreement
    if found is None:
        return ["One policy has no rank."]
    few = " So few policies say little." if found.policies < 6 else ""
    return [
        f"Over {found.policies} policies: MMRV {found.mmrv.text} (0 is best), Pearson's correlation "
        f"{found.pearson.text}; intervals from a bootstrap over policies and episodes.{few}"
    ]


def _duel_table(study: GapStudy) -> list[str]:
    """Comparisons with the baseline, all seeds of a variant in one row."""
    groups: dict[str, list[Duel]] = {}
    for duel in study.duels:
        groups.setdefault(duel.variant, []).append(duel)
    rows = []
    for variant, found in groups.items():
        verdicts = [duel.better for duel in found]
        rows.append([
            variant, f"{verdicts.count(variant)} of {len(found)}", f"{verdicts.count(study.baseline)} of {len(found)}",
            f"{median(duel.trials for duel in found):g}", str(found[0].most),
            f"{median(duel.barnard for duel in found):.2g}",
        ])  # fmt: skip
    header = ["variant", "better", "worse", "trials until shown (median)", "at most", "Barnard's p with all (median)"]
    said = (
        f"Each policy against the `{study.baseline}` one of the same seed, by a sequential test that finds a "
        "difference where there is none with at most 5 %; trials are those of each policy."
    )
    return [said, "", *_table(header, rows)]


def _sweep_table(sweeps: Sequence[Sweep]) -> list[str]:
    """The range of every parameter in which each policy succeeds at least every second time."""
    policies = list(dict.fromkeys(sweep.policy for sweep in sweeps))
    names = list(dict.fromkeys(sweep.parameter.name for sweep in sweeps))
    found = {(one.parameter.name, one.policy): one for one in sweeps}
    rows = []
    for name in names:
        swept = [found[name, policy] for policy in policies]
        values = swept[0].parameter.values
        ranges = [one.survived() for one in swept]
        cells = ["nowhere" if kept is None else f"{kept[0]:.3g} to {kept[1]:.3g}" for kept in ranges]
        rows.append([f"{name}, {values[0]:.3g} to {values[-1]:.3g}", *cells])
    said = "Lowest and highest value at which success is at least 50 %, all else being as in the model."
    return [said, "", *_table(["parameter, values tried", *policies], rows)]
