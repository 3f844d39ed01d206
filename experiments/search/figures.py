"""The picture of a search: every candidate's fitness over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator

from cairngym.experiments.figures import LIGHT, Theme, grid, legend_above, png, success_axis
from cairngym.experiments.search.archive import Candidate


def fitness_png(candidates: Sequence[Candidate], rungs: int, theme: Theme = LIGHT) -> bytes:
    """Draw the fitness of every candidate on every rung, in the order they were made, as PNG.

    Args:
        candidates: of an archive.
        rungs: how many rungs there are; the last one's fitness is drawn full, and the best of it so far as a line.
        theme: colours.
    """
    figure, (panel,) = grid(1, theme, width=max(5.0, 2.0 + 0.32 * len(candidates)), height=3.4)
    for rung in range(rungs):
        last = rung == rungs - 1
        points = [(x, y) for x, one in enumerate(candidates) if (y := one.fitness(rung)) is not None]
        colour = theme.colours[(rungs - 1 - rung) % len(theme.colours)]
        panel.plot(
            [x for x, _ in points], [y for _, y in points], linestyle="none", marker="o", markersize=7 if last else 6,
            label=f"rung {rung + 1}" + (" (the last)" if last else ""), color=colour,
            markerfacecolor=colour if last else "none",
        )  # fmt: skip
    _draw_lost(panel, candidates, theme)
    _draw_best(panel, candidates, rungs - 1, theme)
    _draw_rounds(panel, candidates, theme)
    success_axis(panel, "candidates by round", theme.ink)
    panel.set_ylabel("fitness", color=theme.ink)
    legend_above(figure, theme)
    return png(figure, theme)


def _draw_lost(panel: Axes, candidates: Sequence[Candidate], theme: Theme) -> None:
    lost = [x for x, one in enumerate(candidates) if not any(trial.fitness is not None for trial in one.trials)]
    if lost:
        panel.plot(lost, [0.0] * len(lost), linestyle="none", marker="x", color=theme.baseline, label="no fitness")


def _draw_best(panel: Axes, candidates: Sequence[Candidate], rung: int, theme: Theme) -> None:
    """The best fitness on the last rung so far, from the first candidate that has one."""
    places: list[int] = []
    values: list[float] = []
    for x, one in enumerate(candidates):
        fitness = one.fitness(rung)
        if fitness is not None or values:
            places.append(x)
            values.append(max([*values[-1:], *([] if fitness is None else [fitness])]))
    panel.plot(
        places, values, drawstyle="steps-post", color=theme.baseline, linewidth=1.5, label="best so far", zorder=1
    )


def _draw_rounds(panel: Axes, candidates: Sequence[Candidate], theme: Theme) -> None:
    """Rounds named below the axis, and lines between them."""
    middles, names, begin = [], [], 0
    for number, group in groupby(candidates, key=lambda one: one.round):
        count = len(list(group))
        middles.append(begin + (count - 1) / 2)
        names.append(f"round {number}")
        if begin:
            panel.axvline(begin - 0.5, color=theme.faint, linewidth=1)
        begin += count
    panel.set_xlim(-0.6, max(begin, 1) - 0.4)
    panel.grid(visible=False, axis="x")
    panel.xaxis.set_major_locator(FixedLocator(middles))
    panel.xaxis.set_major_formatter(FixedFormatter(names))
