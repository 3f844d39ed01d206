"""A comparison's report, rebuilt from the files of its runs alone: report.html, report.md, plots and CSV files."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from cairngym.envs.files import replacing
from cairngym.experiments import tables
from cairngym.experiments.analysis import analyse, steps_text
from cairngym.experiments.config import Comparison, TaskConfig
from cairngym.experiments.diversity_report import diversity_plots
from cairngym.experiments.figures import DARK, LIGHT, PIXELS_PER_CSS_PIXEL
from cairngym.experiments.overlay import write_text
from cairngym.experiments.plots import Plot, plots
from cairngym.experiments.records import COMPARISON_FILE, Experiment, read_experiment
from cairngym.experiments.runfolder import disk_full
from cairngym.experiments.statistics import DRAWS, Interval
from cairngym.experiments.threshold import ALL_TASKS

FEW_SEEDS = 5
"""Fewer seeds than this are called too few to conclude from."""


@dataclass(frozen=True, kw_only=True)
class ReportPaths:
    """Where the parts of a report lie."""

    html: Path
    """Self-contained page."""
    markdown: Path
    """The same for a terminal or a repository; shows the pictures in `plots`."""
    results: Path
    """CSV, one row per run."""
    summary: Path
    """CSV, one row per task and variant."""
    plots: Path
    """Folder of PNG files."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A plot drawn for light and dark pages."""

    plot: Plot
    light: bytes
    dark: bytes

    @property
    def width(self) -> int:
        """Width on the page in CSS pixels."""
        return round(int.from_bytes(self.light[16:20], "big") / PIXELS_PER_CSS_PIXEL)

    @property
    def sources(self) -> dict[str, str]:
        """Data URIs by theme."""
        return {
            name: "data:image/png;base64," + base64.b64encode(data).decode("ascii")
            for name, data in (("light", self.light), ("dark", self.dark))
        }


def write_report(folder: Path, to: Path | None = None) -> ReportPaths:
    """Write (or write again) the report of the experiment in `folder`.

    Each file is replaced as a whole, so an earlier report stays readable until the new one is there.

    Args:
        folder: the experiment.
        to: a folder of its own for the report, to be kept where the runs are not: it links to no run, and the resolved
            comparison.yaml is copied beside it. None writes it into `folder`.

    Raises:
        FileNotFoundError: no experiment in the folder.
        ConfigError: its comparison.yaml cannot be used.
        RecordError: a run's file cannot be understood.
        DiskFullError: no space left.
    """
    experiment = read_experiment(folder)
    cells = analyse(experiment)
    root = to or experiment.folder
    experiment = replace(experiment, linked=to is None)
    paths = ReportPaths(
        html=root / "report.html", markdown=root / "report.md", results=root / "results.csv",
        summary=root / "summary.csv", plots=root / "plots",
    )  # fmt: skip
    found = diversity_plots(experiment)
    drawn = [*plots(experiment, cells), *found]
    pictures = [Picture(plot=p, light=p.draw(LIGHT), dark=p.draw(DARK)) for p in drawn]
    content = _content(experiment, cells, pictures)
    content["diversity_pictures"] = pictures[len(pictures) - len(found) :]
    with disk_full(root):
        if to is not None:
            to.mkdir(parents=True, exist_ok=True)
            write_text(to / COMPARISON_FILE, (experiment.folder / COMPARISON_FILE).read_text(encoding="utf-8"))
        _write_plots(paths.plots, pictures)
        write_text(paths.results, tables.csv_text(tables.run_rows(experiment)))
        write_text(paths.summary, tables.csv_text(tables.summary_rows(experiment, cells)))
        write_text(paths.markdown, _render("report.md.j2", content))
        write_text(paths.html, _render("report.html.j2", content))
    return paths


def _write_plots(folder: Path, pictures: list[Picture]) -> None:
    folder.mkdir(exist_ok=True)
    for picture in pictures:
        with replacing(folder / f"{picture.plot.name}.png") as file:
            file.write(picture.light)
    current = {f"{picture.plot.name}.png" for picture in pictures}
    for path in folder.glob("*.png"):
        if path.name not in current:
            path.unlink()


def _render(template: str, content: dict[str, Any]) -> str:
    text = resources.files("cairngym.experiments.templates").joinpath(template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=template.endswith(".html.j2"), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["bar"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment.from_string(text).render(content)


def _budget(plan: Comparison, task: TaskConfig) -> str:
    """Env steps of a task's runs, and of the variants that have others."""
    own = [name for name, variant in plan.variants.items() if task.id in variant.steps]
    others = [f"{name}: {steps_text(plan.steps_of(task, name))}" for name in own]
    return ", ".join([f"{steps_text(task.steps or plan.steps)} steps", *others])


def _content(experiment: Experiment, cells: tables.Cells, pictures: list[Picture]) -> dict[str, Any]:
    plan = experiment.plan
    named = {picture.plot.name: picture for picture in pictures}
    finished = sum(run.status == "finished" for run in experiment.runs)
    return {
        "title": plan.title or plan.name,
        "plan": plan,
        "tasks": [(task.id, _budget(plan, task)) for task in plan.tasks],
        "shapers": {name: _shapers(experiment, name) for name in experiment.variants},
        "finished": finished,
        "planned": len(experiment.runs) + len(experiment.missing),
        "few_seeds": len(plan.seeds) < FEW_SEEDS,
        "verdicts": [_verdict(plan.baseline, v, cells[ALL_TASKS, v].improvement) for v in experiment.variants[1:]],
        "overview": tables.overview(experiment, cells),
        "final": tables.final_table(experiment, cells),
        "times": tables.time_table(experiment, cells),
        "improvement": tables.improvement_table(experiment, cells),
        "runs": tables.run_table(experiment),
        "pictures": named,
        "term_pictures": [picture for name, picture in named.items() if name.startswith("terms_")],
        "unfinished": [
            (run, tables.file_link(experiment, run, "log.txt")) for run in experiment.runs if run.status != "finished"
        ],
        "remarks": [run for run in experiment.runs if run.status == "finished" and run.notes],
        "missing": experiment.missing,
        "strangers": [tables.relative_link(experiment.folder, path) for path in experiment.strangers],
        "versions": _distinct(run.summary.get("versions") for run in experiment.runs),
        "hardware": _distinct(run.summary.get("hardware") for run in experiment.runs),
        "commands": _commands(experiment),
        "comparison_file": COMPARISON_FILE,
        "resolved": (experiment.folder / COMPARISON_FILE).read_text(encoding="utf-8"),
        "draws": DRAWS,
    }


def _shapers(experiment: Experiment, variant: str) -> str:
    """What a variant adds to the task's reward, and what it changes, in words."""
    config = experiment.plan.variants[variant]
    terms = [f"{shaper.weight:g} * {shaper.term or shaper.name}{_options(shaper.options)}" for shaper in config.shapers]
    changes = [f"{key}: {dict(options)}" for key, options in (("agent", config.agent), ("env", config.env)) if options]
    wrappers = [f"wrapped in {wrapper.text}" for wrapper in config.wrappers]
    starts = [f"going on from {config.start_from}"] if config.start_from else []
    return ", ".join(["task reward" + "".join(f" + {term}" for term in terms), *starts, *wrappers, *changes])


def _options(options: Mapping[str, Any]) -> str:
    """` (offset: zero, scale: 0.5)`; nothing where there are no options."""
    return f" ({', '.join(f'{name}: {value}' for name, value in options.items())})" if options else ""


def _verdict(baseline: str, variant: str, improvement: Interval | None) -> tuple[str, str, str]:
    """Variant, what its interval says, and the kind of that ("better", "worse", "open")."""
    if improvement is None:
        return variant, f"has no finished run on a task where {baseline} has one", "open"
    numbers = f"P = {improvement.value:.2f}, 95 % interval {improvement.low:.2f} to {improvement.high:.2f}"
    if improvement.low > 0.5:
        return variant, f"ends with higher success than {baseline} ({numbers})", "better"
    if improvement.high < 0.5:
        return variant, f"ends with lower success than {baseline} ({numbers})", "worse"
    return variant, f"cannot be told apart from {baseline} by final success ({numbers})", "open"


def _distinct(found: Iterable[Any]) -> dict[str, str]:
    """Merge mappings; where they differ, every value is named."""
    merged: dict[str, dict[str, None]] = {}
    for mapping in found:
        for key, value in (mapping or {}).items():
            merged.setdefault(str(key), {})[str(value)] = None
    return {key: ", ".join(values) for key, values in merged.items()}


def _commands(experiment: Experiment) -> list[str]:
    """The commands that made the runs, each once."""
    found = (run.summary.get("command") or run.config.get("command") for run in experiment.runs)
    return list(dict.fromkeys(str(command) for command in found if command))
