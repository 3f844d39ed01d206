"""Pictures of a gap study: success in simulation and on twins, policies as points, sweeps, heat maps of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cairngym.envs.files import replacing
from cairngym.sim2real.gap import GapStudy
from cairngym.sim2real.statistics.binomial import Interval
from cairngym.sim2real.sweeps import PairSweep, Sweep

COLOURS = ("#808080", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Told apart by colour-blind readers too (Okabe and Ito, 2008), after a grey for the first."""
DPI = 130


def draw_study(study: GapStudy, folder: Path) -> list[Path]:
    """Write gap.png (rates by variant) and agreement.png (policies in simulation against twins)."""
    drawn = []
    for name, draw in (("gap", _bars), ("agreement", _points)):
        figure, axes = _figure(1)
        draw(study, axes[0])
        drawn.append(_save(figure, folder / f"{name}.png"))
    return drawn


def _bars(study: GapStudy, axes: Axes) -> None:
    """Simulation beside twins for every variant, and a dot for each twin."""
    for index, gap in enumerate(study.gaps):
        _whisker(axes, index - 0.15, gap.sim, "#b0b0b0", "simulation" if index == 0 else None)
        colour = COLOURS[index % len(COLOURS)]
        _whisker(axes, index + 0.15, gap.twins, colour, "twins" if index == 0 else None)
        values = [twin.value for twin in gap.by_twin]
        axes.plot(np.full(len(values), index + 0.32), values, "o", color=colour, alpha=0.5, markersize=3)
    axes.set_xticks(range(len(study.gaps)), [gap.variant.replace("_", "\n") for gap in study.gaps])
    axes.set_ylabel("success, 95 % intervals")
    axes.set_ylim(-0.03, 1.03)
    axes.set_title(f"{study.task}: simulation and {len(study.units)} hidden twins", fontsize=10)
    axes.figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)  # bars leave no room within


def _whisker(axes: Axes, x: float, interval: Interval, colour: str, label: str | None) -> None:
    bounds = [[interval.value - interval.low], [interval.high - interval.value]]
    axes.bar(x, interval.value, width=0.26, color=colour, label=label)
    axes.errorbar(x, interval.value, yerr=bounds, color="#24292f", capsize=3, linewidth=1)


def _points(study: GapStudy, axes: Axes) -> None:
    for index, gap in enumerate(study.gaps):
        own = [one for one in study.played if one.variant == gap.variant]
        axes.plot(
            [one.sim.mean() for one in own], [one.twins.mean() for one in own], "o",
            color=COLOURS[index % len(COLOURS)], label=gap.variant, alpha=0.8,
        )  # fmt: skip
    axes.plot([0, 1], [0, 1], color="#d8dee4", zorder=0)
    axes.set_xlabel("success in simulation")
    axes.set_ylabel("success on hidden twins")
    if study.agreement is not None:
        said = f"MMRV {study.agreement.mmrv.text}, Pearson {study.agreement.pearson.text}"
        axes.set_title(f"{study.task}\n{said}", fontsize=9)
    axes.legend(frameon=False, fontsize=8)


def draw_sweeps(sweeps: Sequence[Sweep], path: Path) -> Path:
    """A panel for each parameter with a curve for each policy, and a line where nothing differs from the model."""
    names = list(dict.fromkeys(sweep.parameter.name for sweep in sweeps))
    policies = list(dict.fromkeys(sweep.policy for sweep in sweeps))
    figure, panels = _figure(len(names))
    for axes, name in zip(panels, names, strict=True):
        for one in (sweep for sweep in sweeps if sweep.parameter.name == name):
            colour = COLOURS[policies.index(one.policy) % len(COLOURS)]
            low, high = ([getattr(s, side) for s in one.success] for side in ("low", "high"))
            axes.plot(one.parameter.values, [s.value for s in one.success], color=colour, label=one.policy)
            axes.fill_between(one.parameter.values, low, high, color=colour, alpha=0.15, linewidth=0)
        parameter = next(sweep.parameter for sweep in sweeps if sweep.parameter.name == name)
        axes.axvline(parameter.nominal, color="#d8dee4", zorder=0)
        if parameter.logarithmic:
            axes.set_xscale("log")
        axes.set_xlabel(name, fontsize=8)
        axes.set_ylim(-0.03, 1.03)
    panels[0].set_ylabel("success")
    panels[0].legend(frameon=False, fontsize=7)
    return _save(figure, path)


def draw_pair(pairs: Sequence[PairSweep], path: Path) -> Path:
    """A heat map for each policy over the same two parameters."""
    figure, panels = _figure(len(pairs))
    for axes, pair in zip(panels, pairs, strict=True):
        first, second = pair.surface.parameters
        image = axes.imshow(pair.surface.rates.T, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="viridis")
        axes.set_xticks(range(len(first.values)), [f"{value:.2g}" for value in first.values], fontsize=7)
        axes.set_yticks(range(len(second.values)), [f"{value:.2g}" for value in second.values], fontsize=7)
        axes.set_xlabel(first.name, fontsize=8)
        axes.set_ylabel(second.name, fontsize=8)
        axes.set_title(pair.policy, fontsize=9)
        figure.colorbar(image, ax=axes, shrink=0.8)
    return _save(figure, path)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most three a row."""
    columns = min(panels, 3)
    rows = -(-panels // columns)
    width = 6.4 if panels == 1 else 4.2 * columns
    figure = Figure(figsize=(width, 4.0 * rows if panels == 1 else 3.1 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = [figure.add_subplot(rows, columns, index + 1) for index in range(panels)]
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=DPI)
    return path
