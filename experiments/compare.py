"""`cairn compare`: every run of a comparison, executed once, resumed where it stopped, and reported on."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cairngym.experiments.config import Comparison, RunConfig
from cairngym.experiments.launcher import Finished, Job, Launcher, LocalPool, train_job
from cairngym.experiments.matrix import expand
from cairngym.experiments.overlay import write_yaml
from cairngym.experiments.progress import ProgressDisplay
from cairngym.experiments.resolve import resolve
from cairngym.experiments.runfolder import RunFolder, changes, disk_full, mixed_runs, set_aside

Runs = list[tuple[RunConfig, RunFolder]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a comparison came to."""

    folder: Path
    """The experiment's folder."""
    finished: int
    """Runs with a summary."""
    failed: tuple[Finished, ...]
    """Runs that ended without one."""
    report: Path | None
    """report.html, None where no run has finished."""


def compare(
    comparison: Comparison,
    root: Path = Path("runs"),
    *,
    launcher: Launcher | None = None,
    fresh: bool = False,
    command: str = "",
    console: Console | None = None,
) -> Outcome:
    """Run what is missing of a comparison and write its report.

    Finished runs are kept, unfinished ones resumed. Stopping it at any moment, however roughly, loses at most what
    each running run has done since its last checkpoint.

    Args:
        comparison: tasks x variants x seeds.
        root: the folder of all experiments.
        launcher: what executes the runs; default is a process per core on this machine.
        fresh: move runs made with other settings aside instead of refusing to mix.
        command: what was typed, for the record.
        console: where to tell the progress.

    Raises:
        MixedRunsError: runs in the folder were made with other settings; names the keys.
        UnknownNameError, TypeError, ValueError: a task, agent, shaper or option that does not exist, before any run.
    """
    console = console or Console()
    folder = root / comparison.name
    configs = [replace(resolve(config), command=command) for config in expand(comparison)]
    check_mixing(configs, root, fresh=fresh)
    with disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_yaml(folder / "comparison.yaml", comparison)
    runs = [(config, RunFolder(root / config.folder)) for config in configs]
    failed = execute(runs, launcher or LocalPool(), console)
    _tell_failures(failed, console)
    finished = sum(place.finished for _, place in runs)
    report = _report(folder, console) if finished else None
    if finished:
        console.print(summary_table(comparison, runs))
    return Outcome(folder=folder, finished=finished, failed=tuple(failed), report=report)


def check_mixing(configs: Sequence[RunConfig], root: Path, *, fresh: bool) -> None:
    """Refuse to add to runs that were made with other settings, or move those aside.

    Raises:
        MixedRunsError: naming the first such run, how many more there are, and the keys that differ.
    """
    clashes = {config.folder: changed for config in configs if (changed := changes(root / config.folder, config))}
    if clashes and not fresh:
        place, changed = next(iter(clashes.items()))
        raise mixed_runs(root / place, changed, others=len(clashes) - 1)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for place in clashes:
        set_aside(root / place, root / place.parts[0] / ".old" / stamp / Path(*place.parts[1:]))


def execute(runs: Runs, launcher: Launcher, console: Console) -> list[Finished]:
    """Run everything that has no summary yet; returns the jobs that failed.

    Raises:
        KeyboardInterrupt: passed on after every run was stopped at a checkpoint.
    """
    indices = {str(place.path): index for index, (_, place) in enumerate(runs)}
    missing = [(config, place) for config, place in runs if not place.finished]
    begun = sum(place.checkpoint.exists() for _, place in missing)
    console.print(
        f"{len(runs)} runs: {len(runs) - len(missing)} finished before, {begun} to resume, "
        f"{len(missing) - begun} to start."
    )
    for config, place in missing:
        with disk_full(place.path):
            write_yaml(place.config, config)
            place.failure.unlink(missing_ok=True)
    names = [f"{config.task} {config.variant} seed {config.seed}" for config, _ in missing]
    jobs = [train_job(name, place.path) for name, (_, place) in zip(names, missing, strict=True)]
    failed: list[Finished] = []
    # A run can start from another's agent only once that one has finished.
    waves = [[job for job, (c, _) in zip(jobs, missing, strict=True) if (c.start_from is None) == first]
             for first in (True, False)]  # fmt: skip
    with ProgressDisplay(runs, console) as display, closing(_launch(launcher, waves)) as results:
        for count, result in enumerate(results, start=1):
            index = indices[str(result.job.folder)]
            display.end(index)
            display.say(f"[{count}/{len(jobs)}] {_tell(result, runs[index][1])}")
            if result.returncode != 0 or not runs[index][1].finished:
                failed.append(result)
                _record_failure(result, runs[index][1])
    return failed


def _launch(launcher: Launcher, waves: Sequence[Sequence[Job]]) -> Generator[Finished, None, None]:
    """Run wave after wave of jobs; closing the iterator stops what still runs."""
    for jobs in waves:
        with closing(launcher.launch(jobs)) as results:
            yield from results


def _tell(result: Finished, place: RunFolder) -> str:
    if result.returncode == 0 and place.finished:
        final = place.read_summary().get("final", {})
        return f"{result.job.name}: success {final.get('success', float('nan')):.0%} in {result.seconds:.0f} s"
    return f"{result.job.name}: FAILED with exit code {result.returncode}"


def _record_failure(result: Finished, place: RunFolder) -> None:
    record = {"returncode": result.returncode, "seconds": round(result.seconds, 1), "log": str(result.job.log)}
    with disk_full(place.failure):
        place.failure.write_text(json.dumps(record) + "\n", encoding="utf-8")


def _tell_failures(failed: Sequence[Finished], console: Console) -> None:
    if not failed:
        return
    console.print(f"\n{len(failed)} runs failed; the same command tries them again. Their logs:", style="red")
    for result in failed:
        console.print(
            f"  {result.job.log}: {_last_line(result.job.log)}", highlight=False, soft_wrap=True, markup=False
        )


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "(empty)")


def _report(folder: Path, console: Console) -> Path:
    from cairngym.experiments.report import write_report

    write_report(folder)
    report = (folder / "report.html").resolve()
    console.print(f"\nReport: {report}", highlight=False, soft_wrap=True)
    return report


def summary_table(comparison: Comparison, runs: Runs) -> Table:
    """Final success (IQM over seeds) of every variant on every task."""
    import numpy as np

    from cairngym.experiments.statistics import iqm

    table = Table(title="Final success, interquartile mean over seeds (finished runs)")
    table.add_column("task")
    for name in comparison.variants:
        table.add_column(name, justify="right")
    for task in comparison.tasks:
        cells = []
        for name in comparison.variants:
            scores = [
                place.read_summary()["final"]["success"]
                for config, place in runs
                if (config.task, config.variant) == (task.id, name) and place.finished
            ]
            cells.append(f"{float(iqm(np.array(scores))):.0%} ({len(scores)})" if scores else "-")
        table.add_row(task.id, *cells)
    return table
