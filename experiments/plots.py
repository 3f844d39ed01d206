"""The plots of a comparison's report, as PNG bytes; every figure is drawn without matplotlib's global state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, PercentFormatter

from cairngym.experiments.analysis import (
    PROFILE_POINTS,
    Axis,
    Cell,
    curve,
    overall_curve,
    profile,
)
from cairngym.experiments.figures import (
    DASHES,
    MARKERS,
    Theme,
    draw_band,
    grid,
    legend,
    legend_above,
    png,
    step_tick,
    success_axis,
    time_unit,
)
from cairngym.experiments.records import Experiment, Run
from cairngym.experiments.statistics import Interval
from cairngym.experiments.threshold import ALL_TASKS

TERM_POINTS = 150


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One picture of the report."""

    name: str
    """File name without suffix."""
    title: str
    caption: str
    draw: Callable[[Theme], bytes]
    """Renders it as PNG."""


def plots(experiment: Experiment, cells: Mapping[tuple[str, str], Cell]) -> list[Plot]:
    """Every plot that the results so far allow, in the order of the report."""
    found = [
        _success_plot(experiment, "step"),
        _success_plot(experiment, "wall_s"),
        _overall_plot(experiment),
        _final_plot(experiment, cells),
        _improvement_plot(experiment, cells),
        _profile_plot(experiment),
        *(_terms_plot(experiment, task) for task in experiment.tasks),
    ]
    return [plot for plot in found if plot is not None]


def variant_styles(experiment: Experiment, theme: Theme) -> dict[str, dict[str, Any]]:
    """Colour and dash of every variant; after six colours the dashes, and the markers of points, change."""
    others = [name for name in experiment.variants if name != experiment.plan.baseline]
    styles: dict[str, dict[str, Any]] = {experiment.plan.baseline: {"color": theme.baseline, "linestyle": "solid"}}
    for index, name in enumerate(others):
        dash = DASHES[index // len(theme.colours) % len(DASHES)]
        styles[name] = {"color": theme.colours[index % len(theme.colours)], "linestyle": dash}
    return styles


def _success_plot(experiment: Experiment, axis: Axis) -> Plot | None:
    curves = {(t, v): curve(experiment, t, v, axis) for t in experiment.tasks for v in experiment.variants}
    if not any(curves.values()):
        return None
    timed = axis == "wall_s"
    label = "training time" if timed else "env steps"

    def draw(theme: Theme) -> bytes:
        styles = variant_styles(experiment, theme)
        figure, panels = grid(len(experiment.tasks), theme)
        for task, panel in zip(experiment.tasks, panels, strict=True):
            found = {v: one for v in experiment.variants if (one := curves[task, v])}
            size, unit = time_unit(max((one.x[-1] for one in found.values()), default=0)) if timed else (1.0, "")
            for variant, one in found.items():
                draw_band(panel, one.x / size, one.band, variant, styles[variant])
            success_axis(panel, label + unit, theme.ink)
            panel.set_title(task, color=theme.ink, fontsize=10.5)
            panel.set_xlim(left=0)
            if not timed:
                panel.xaxis.set_major_formatter(FuncFormatter(step_tick))
        legend_above(figure, theme)
        return png(figure, theme)

    ending = "" if axis == "step" else " A run that ends early keeps its last value; evaluation time is not counted."
    return Plot(
        name="success_steps" if axis == "step" else "success_seconds",
        title=f"Success over {label}",
        caption="Success of the sampled policy on the unshaped task: interquartile mean over seeds with its pointwise "
        f"95 % bootstrap band.{ending}",
        draw=draw,
    )


def _overall_plot(experiment: Experiment) -> Plot | None:
    curves = {variant: overall_curve(experiment, variant) for variant in experiment.variants}
    if len(experiment.tasks) < 2 or not any(curves.values()):
        return None

    def draw(theme: Theme) -> bytes:
        figure, (panel,) = grid(1, theme, width=6.4)
        for variant, style in variant_styles(experiment, theme).items():
            one = curves[variant]
            if one is not None:
                draw_band(panel, one.x, one.band, variant, style)
        success_axis(panel, "share of each task's step budget", theme.ink)
        panel.xaxis.set_major_formatter(PercentFormatter(1))
        panel.set_xlim(0, 1)
        legend_above(figure, theme)
        return png(figure, theme)

    return Plot(
        name="success_overall",
        title="Success over all tasks",
        caption="Interquartile mean over seeds and tasks with its pointwise 95 % stratified-bootstrap band, for "
        "variants with finished runs on every task.",
        draw=draw,
    )


def _final_plot(experiment: Experiment, cells: Mapping[tuple[str, str], Cell]) -> Plot | None:
    if not any(cell.success for cell in cells.values()):
        return None
    rows = [*experiment.tasks, *([ALL_TASKS] if len(experiment.tasks) > 1 else [])]

    def draw(theme: Theme) -> bytes:
        return _intervals(experiment, theme, rows, lambda t, v: cells[t, v].success, "final success", None)

    return Plot(
        name="final_success",
        title="Final success",
        caption="Success of the sampled policy at the end: interquartile mean over seeds with its 95 % stratified "
        "bootstrap interval. Rings are single seeds.",
        draw=draw,
    )


def _improvement_plot(experiment: Experiment, cells: Mapping[tuple[str, str], Cell]) -> Plot | None:
    if not any(cell.improvement for cell in cells.values()):
        return None
    rows = [*experiment.tasks, *([ALL_TASKS] if len(experiment.tasks) > 1 else [])]
    label = f"P(final success above {experiment.plan.baseline})"

    def draw(theme: Theme) -> bytes:
        return _intervals(experiment, theme, rows, lambda t, v: cells[t, v].improvement, label, 0.5)

    return Plot(
        name="improvement",
        title=f"Probability of improvement over {experiment.plan.baseline}",
        caption=f"How likely a run of the variant ends with higher success than a run of {experiment.plan.baseline} on "
        "the same task (Mann-Whitney, ties count half), with 95 % stratified-bootstrap intervals. The dashed line "
        "is no difference.",
        draw=draw,
    )


def _intervals(
    experiment: Experiment,
    theme: Theme,
    rows: list[str],
    read: Callable[[str, str], Interval | None],
    label: str,
    reference: float | None,
) -> bytes:
    """Draw one row of points with intervals per task, a point per variant."""
    variants = [v for v in experiment.variants if any(read(row, v) for row in rows)]
    height = 0.9 + len(rows) * (0.24 + 0.17 * len(variants))
    figure, (panel,) = grid(1, theme, width=7.4, height=height)
    styles = variant_styles(experiment, theme)
    for index, variant in enumerate(variants):
        color, marker = styles[variant]["color"], MARKERS[DASHES.index(styles[variant]["linestyle"])]
        offset = (index - (len(variants) - 1) / 2) * 0.8 / max(len(variants), 2)
        found = [(row + offset, one) for row, name in enumerate(rows) if (one := read(name, variant))]
        places = [place for place, _ in found]
        panel.hlines(places, [i.low for _, i in found], [i.high for _, i in found], color=color, linewidth=2.4)
        panel.plot(
            [i.value for _, i in found],
            places,
            marker,
            color=color,
            markersize=6.5,
            label=variant,
            clip_on=False,
            zorder=4,
        )
        if reference is None:
            for row, name in enumerate(rows):
                ends = [run.final.success for run in experiment.select(name, variant) if run.final]
                if ends:  # an empty unclipped line would widen the layout
                    panel.plot(
                        ends, [row + offset] * len(ends), marker, color=color, markersize=4, clip_on=False, zorder=3,
                        markerfacecolor=theme.paper, markeredgewidth=1,
                    )  # fmt: skip
    if reference is not None:
        panel.axvline(reference, color=theme.ink, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    names = ["all tasks" if row == ALL_TASKS else row for row in rows]
    panel.set_yticks(range(len(rows)), names, color=theme.ink)
    panel.set_ylim(len(rows) - 0.45, -0.55)
    panel.set_xlim(0, 1)
    panel.set_xlabel(label, color=theme.ink)
    panel.grid(axis="y", visible=False)
    for boundary in range(1, len(rows)):
        panel.axhline(boundary - 0.5, color=theme.faint, linewidth=0.8)
    legend_above(figure, theme)
    return png(figure, theme)


def _profile_plot(experiment: Experiment) -> Plot | None:
    bands = {variant: profile(experiment, variant) for variant in experiment.variants}
    if not any(bands.values()):
        return None

    def draw(theme: Theme) -> bytes:
        figure, (panel,) = grid(1, theme, width=6.4)
        for variant, style in variant_styles(experiment, theme).items():
            band = bands[variant]
            if band is not None:
                draw_band(panel, PROFILE_POINTS, band, variant, style, step=True)
        success_axis(panel, "final success τ", theme.ink)
        panel.set_ylabel("share of runs above τ", color=theme.ink)
        panel.set_xlim(0, 1)
        legend_above(figure, theme)
        return png(figure, theme)

    return Plot(
        name="profile",
        title="Performance profile",
        caption="Share of runs, over all tasks and seeds, whose final success exceeds τ, with pointwise 95 % "
        "stratified-bootstrap bands. A curve that lies higher is better.",
        draw=draw,
    )


def _terms_plot(experiment: Experiment, task: str) -> Plot | None:
    cells = {v: [r for r in experiment.select(task, v, finished=False) if r.terms] for v in experiment.variants}
    cells = {variant: runs for variant, runs in cells.items() if runs}
    if not cells:
        return None

    def draw(theme: Theme) -> bytes:
        figure, panels = grid(len(cells), theme, height=2.7)
        for (variant, runs), panel in zip(cells.items(), panels, strict=True):
            names = dict.fromkeys(name for run in runs for name in run.terms)
            colour = variant_styles(experiment, theme)[variant]["color"]
            for index, name in enumerate(names):
                color = colour if len(names) == 1 else theme.colours[index % len(theme.colours)]
                x, y = _term_mean([run for run in runs if name in run.terms], name)
                for run in runs if len(runs) > 1 else ():
                    if name in run.terms:
                        panel.plot(run.terms[name].step, run.terms[name].value, color=color, linewidth=0.7, alpha=0.3)
                panel.plot(x, y, color=color, linewidth=2, label=name)
            panel.set_title(variant, color=theme.ink, fontsize=10.5)
            panel.set_xlabel("env steps", color=theme.ink)
            panel.set_ylabel("mean term per step", color=theme.ink)
            panel.xaxis.set_major_formatter(FuncFormatter(step_tick))
            panel.set_xlim(left=0)
            legend(panel, theme)
        return png(figure, theme)

    return Plot(
        name=f"terms_{task.replace('/', '__')}",
        title=f"Reward terms on {task}",
        caption="What the shapers add while training, unweighted: mean over seeds (thick) and single seeds (thin).",
        draw=draw,
    )


def _term_mean(runs: list[Run], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean over runs of one term, as far as all of them got."""
    series = [run.terms[name] for run in runs]
    grid = np.linspace(max(s.step[0] for s in series), min(s.step[-1] for s in series), TERM_POINTS)
    return grid, np.mean([np.interp(grid, s.step, s.value) for s in series], axis=0)
