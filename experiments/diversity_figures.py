"""Pictures of searches for diversity: archives over the behavior space, curves over evaluations, the ways of elites.

They are drawn from what lies in run folders (see `diversity_records`): `archive.npz` and the lines of `metrics.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from cairngym.experiments.diversity_records import Curves, averaged
from cairngym.experiments.figures import Theme, draw_band, grid, legend_above, png, step_tick
from cairngym.reward_shaping.quality_diversity.saved import SavedArchive

PANEL = 2.9
"""Width of a map in inches."""
COLUMNS = 6
"""Archives side by side at most."""
SHOWN = 200
"""Ways drawn at most."""
Groups = Mapping[str, Sequence[Curves]]
Styles = Mapping[str, Mapping[str, Any]]


# Maps -----------------------------------------------------------------------------------------------------------------


def draw_maps(archives: Mapping[str, SavedArchive], theme: Theme) -> bytes:
    """Best fitness and evaluations of every cell, a column for each archive (the first `COLUMNS`), as PNG.

    Rings are reward areas, lines walls; cells that were not reached stay blank. Descriptors of more than two numbers
    are drawn over the first two: the best and the sum over the others.

    Raises:
        ValueError: no archive.
    """
    if not archives:
        raise ValueError("Expected at least one archive to draw, got none.")
    shown = dict(list(archives.items())[:COLUMNS])
    best = max((float(a.fitness.max()) for a in shown.values() if len(a.fitness)), default=0.0)
    least = min(float(archive.offset) for archive in shown.values())
    most = max((float(a.visits.max()) for a in shown.values() if len(a.visits)), default=1.0)
    fitness, visits = _colors(theme)
    rows = (
        ("best fitness", fitness, Normalize(least, best if best > least else least + 1), _best),
        ("evaluations", visits, LogNorm(0.7, max(most, 2)), _spent),
    )
    flat = all(len(archive.names) == 1 for archive in shown.values())
    figure, panels = _panels(2, len(shown), theme, height=1.5 if flat else PANEL)
    for row, (label, colors, scale, read) in enumerate(rows):
        for column, (name, archive) in enumerate(shown.items()):
            panel = panels[row][column]
            _frame(panel, archive, theme, first=column == 0)
            panel.imshow(
                read(archive).T, origin="lower", extent=_extent(archive), aspect="auto", cmap=colors, norm=scale,
                interpolation="nearest", zorder=1,
            )  # fmt: skip
            _landmarks(panel, archive, theme)
            if row == 0:
                panel.set_title(_title(name, archive), color=theme.ink, fontsize=9)
        _bar(figure, ScalarMappable(scale, colors), panels[row], label, theme)
    return png(figure, theme)


def _colors(theme: Theme) -> tuple[Colormap, Colormap]:
    """Of fitness, where the least has the colour of what is not data, and of evaluations; more stands out more."""
    bright = int(theme.paper[1:3], 16) > 127
    fitness, visits = (colormaps[name + ("_r" if bright else "")] for name in ("viridis", "magma"))
    steps = fitness(np.linspace(0.08, 1, 256))
    steps[0] = to_rgba(theme.faint)
    return ListedColormap(steps), ListedColormap(visits(np.linspace(0.1, 1, 256)))


def _title(name: str, archive: SavedArchive) -> str:
    share = len(archive.cell) / int(archive.cells.prod())
    return f"{name}\n{share:.0%} of the cells" if name else f"{share:.0%} of the cells"


def _best(archive: SavedArchive) -> np.ndarray:
    return _flat(archive, archive.fitness, np.fmax)


def _spent(archive: SavedArchive) -> np.ndarray:
    spent = _flat(archive, archive.visits.astype(np.float64), lambda one, other: np.nansum((one, other), axis=0))
    return np.where(spent > 0, spent, np.nan)


def _flat(archive: SavedArchive, values: np.ndarray, join: Callable[..., np.ndarray]) -> np.ndarray:
    """Values of the cells over the descriptor's first two numbers, `(cells_0, cells_1)`; NaN where none was reached."""
    laid = archive.grid(values).reshape(*archive.cells[:2], *(() if len(archive.cells) > 1 else (1,)), -1)
    found = laid[..., 0]
    for other in range(1, laid.shape[-1]):
        found = join(found, laid[..., other])
    return found


def _extent(archive: SavedArchive) -> tuple[float, float, float, float]:
    low, high = ([*bound[:2].tolist(), value][:2] for bound, value in ((archive.low, 0.0), (archive.high, 1.0)))
    return low[0], high[0], low[1], high[1]


def _panels(rows: int, columns: int, theme: Theme, height: float = PANEL) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(figsize=(columns * PANEL + 1.0, rows * height + 0.2), facecolor=theme.paper)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.1)
    places = [[figure.add_subplot(rows, columns, row * columns + i + 1) for i in range(columns)] for row in range(rows)]
    return figure, places


def _frame(panel: Axes, archive: SavedArchive, theme: Theme, *, first: bool) -> None:
    left, right, low, high = _extent(archive)
    panel.set_facecolor(theme.paper)
    panel.set_xlim(left, right)
    panel.set_ylim(low, high)
    alike = len(archive.names) > 1 and 0.5 < (right - left) / (high - low) < 2
    panel.set_box_aspect((high - low) / (right - left) if alike else 1 if len(archive.names) > 1 else 0.3)
    panel.tick_params(colors=theme.ink, labelsize=8, length=0)
    panel.xaxis.set_major_locator(MaxNLocator(4))
    panel.yaxis.set_major_locator(MaxNLocator(4))
    panel.set_xlabel(str(archive.names[0]), color=theme.ink, fontsize=8.5, labelpad=1)
    if len(archive.names) > 1 and first:
        panel.set_ylabel(str(archive.names[1]), color=theme.ink, fontsize=8.5, labelpad=1)
    if len(archive.names) == 1:
        panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_color(theme.faint)


def _landmarks(panel: Axes, archive: SavedArchive, theme: Theme) -> None:
    if len(archive.walls) and len(archive.names) > 1:
        walls = LineCollection(list(archive.walls), colors=theme.ink, linewidths=1.1, zorder=3)
        walls.set_path_effects([withStroke(linewidth=2.6, foreground=theme.paper)])
        panel.add_collection(walls)
    for number, (center, radius) in enumerate(zip(archive.area_center, archive.area_radius, strict=True)):
        colour = theme.colours[1]
        if len(center) == 1:
            panel.axvspan(
                center[0] - radius, center[0] + radius, facecolor="none", edgecolor=colour, linewidth=1.4, zorder=4
            )
            place = (center[0], 0.98)
        else:
            panel.add_patch(Circle(center[:2], radius, fill=False, edgecolor=colour, linewidth=1.4, zorder=4))
            place = (center[0], center[1] + radius)
        below = len(center) == 1 or place[1] > 0.9 * archive.high[1] + 0.1 * archive.low[1]
        number_at = panel.annotate(
            str(number), place, xytext=(0, -9 if below else 2), textcoords="offset points", color=colour, fontsize=8.5,
            ha="center", weight="bold", zorder=5,
        )  # fmt: skip
        number_at.set_path_effects([withStroke(linewidth=2, foreground=theme.paper)])


def _bar(figure: Figure, colors: ScalarMappable, panels: Sequence[Axes], label: str, theme: Theme) -> None:
    bar = figure.colorbar(colors, ax=list(panels), shrink=0.85, aspect=25, pad=0.01)
    bar.set_label(label, color=theme.ink, fontsize=9)
    bar.ax.tick_params(colors=theme.ink, labelsize=8, length=0, which="both")
    bar.outline.set_visible(False)


# Ways -----------------------------------------------------------------------------------------------------------------


def draw_paths(archives: Mapping[str, SavedArchive], theme: Theme) -> bytes:
    """The ways of elites through the behavior space, as PNG: in colour where they were paid, pale where not.

    Of more than `SHOWN` ways, those spread evenly over the file are drawn. The dot is where an episode ends.

    Raises:
        ValueError: no archive with ways in two numbers or more.
    """
    shown = {name: a for name, a in archives.items() if a.paths.size and len(a.names) > 1}
    if not shown:
        raise ValueError("Expected an archive with the ways of elites over two numbers or more, got none.")
    shown = dict(list(shown.items())[:COLUMNS])
    least = min(float(archive.offset) for archive in shown.values())
    best = max(float(archive.path_fitness.max()) for archive in shown.values())
    scale = Normalize(least, best if best > least else least + 1)
    figure, (panels,) = _panels(1, len(shown), theme)
    colors = _colors(theme)[0]
    for column, ((name, archive), panel) in enumerate(zip(shown.items(), panels, strict=True)):
        _frame(panel, archive, theme, first=column == 0)
        _ways(panel, archive, scale, theme, colors)
        _landmarks(panel, archive, theme)
        if name:
            panel.set_title(name, color=theme.ink, fontsize=9)
    _bar(figure, ScalarMappable(scale, colors), panels, "fitness", theme)
    return png(figure, theme)


def _ways(panel: Axes, archive: SavedArchive, scale: Normalize, theme: Theme, colors: Colormap) -> None:
    chosen = np.unique(np.linspace(0, len(archive.paths) - 1, min(SHOWN, len(archive.paths))).round().astype(int))
    paths, fitness = archive.paths[chosen, :, :2].astype(np.float64), archive.path_fitness[chosen]
    lines = [path[np.isfinite(path).all(axis=1)] for path in paths]
    kept = [index for index, line in enumerate(lines) if len(line)]
    lines, fitness = [lines[index] for index in kept], fitness[kept]
    paid = fitness > float(archive.offset)
    for mask, look in (
        (~paid, {"colors": theme.baseline, "linewidths": 0.5, "alpha": 0.35, "zorder": 1}),
        (paid, {"array": fitness[paid], "cmap": colors, "norm": scale, "linewidths": 1.2, "alpha": 0.9, "zorder": 2}),
    ):
        if mask.any():
            panel.add_collection(LineCollection([lines[index] for index in mask.nonzero()[0]], **look))
    x, y = np.array([line[-1] for line in lines]).reshape(-1, 2).T
    panel.scatter(x[~paid], y[~paid], s=4, color=theme.baseline, linewidths=0, zorder=1.5)
    panel.scatter(x[paid], y[paid], s=14, c=fitness[paid], cmap=colors, norm=scale, linewidths=0, zorder=2.5)


# Curves ---------------------------------------------------------------------------------------------------------------


def draw_curves(groups: Groups, theme: Theme, styles: Styles | None = None) -> bytes:
    """Coverage, QD-score and best fitness over evaluations, as PNG: a curve a group, with a band over its runs.

    Raises:
        ValueError: no curves.
    """
    panels = [("coverage", None, "coverage"), ("qd_score", None, "QD-score"), ("best_fitness", None, "best fitness")]
    return _curves(groups, panels, theme, styles)


def draw_areas(groups: Groups, theme: Theme, styles: Styles | None = None) -> bytes:
    """Best fitness in every reward area and evaluations spent there, over evaluations, as PNG.

    Raises:
        ValueError: no curves, or no reward area.
    """
    count = max((len(run.area_best) for runs in groups.values() for run in runs), default=0)
    if count == 0:
        raise ValueError("Expected runs on a task with reward areas, got none.")
    panels = [("area_best", k, f"best fitness in area {k}") for k in range(count)]
    panels += [("area_evaluations", k, f"evaluations in area {k}") for k in range(count)]
    return _curves(groups, panels, theme, styles)


def _curves(
    groups: Groups, wanted: Sequence[tuple[str, int | None, str]], theme: Theme, styles: Styles | None
) -> bytes:
    looks = styles or _styles(groups, theme)
    figure, panels = grid(len(wanted), theme, width=3.6, height=2.8)
    drawn = 0
    for (name, area, label), panel in zip(wanted, panels, strict=True):
        for group, runs in groups.items():
            found = averaged(runs, name, area)
            if found is not None:
                draw_band(panel, found.evaluations, found.band, group, looks[group])
                drawn += 1
        panel.set_title(label, color=theme.ink, fontsize=10.5)
        panel.set_xlabel("evaluations", color=theme.ink)
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=min(0.0, panel.get_ylim()[0]))
        panel.xaxis.set_major_formatter(FuncFormatter(step_tick))
        if name == "coverage":
            panel.yaxis.set_major_formatter(PercentFormatter(1))
        if name == "area_evaluations":
            panel.yaxis.set_major_formatter(FuncFormatter(step_tick))
    if not drawn:
        raise ValueError("Expected runs that report coverage over evaluations, got none.")
    legend_above(figure, theme)
    return png(figure, theme)


def _styles(groups: Groups, theme: Theme) -> dict[str, dict[str, Any]]:
    return {name: {"color": theme.colours[i % len(theme.colours)]} for i, name in enumerate(groups)}
