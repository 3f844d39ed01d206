"""Figures of a trained policy on a task with a formula: where it goes, how the formula stands, which times it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

from cairngym.experiments.figures import DASHES, LIGHT, Theme, grid, legend_above, png
from cairngym.experiments.stl_times import study_times, times_figure
from cairngym.experiments.stl_traces import Scene, Traces, record
from cairngym.experiments.trained import TrainedRun, load_trained

COLUMNS = 4
PANEL = 2.7
"""Width of a panel in inches."""
TIME_COLORS = "plasma"
OBSTACLE = "#9aa0a6"
VIEWS = {2: ((0, 1),), 3: ((0, 1), (0, 2))}
"""Pairs of coordinates that are drawn, by the number of dimensions."""
AXES = "xyz"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What `draw_run` wrote."""

    files: tuple[Path, ...]
    successes: int
    episodes: int


def draw_run(run: Path, output: Path, *, episodes: int = 8, seed: int = 7, greedy: bool = False) -> Drawn:
    """Write the figures of a run's policy on its evaluation env, and `figures.md`, which lists them.

    Args:
        run: the run's folder.
        output: the folder to write to.
        episodes: how many to show.
        seed: of the episodes and of the policy's sampling.
        greedy: play the likeliest action.

    Raises:
        ConfigError: the folder holds no trained run.
        TypeError: the run's task has no formula.
        ValueError: no episodes.
        OSError: a file can't be written.
    """
    if episodes < 1:
        raise ValueError(f"Expected episodes >= 1, got {episodes}.")
    trained = load_trained(run, autoreset_mode="SameStep")
    env = trained.make_env(episodes, seed)
    traces = record(trained, env, seed=seed, greedy=greedy)
    env.close()
    figures = [_robustness(traces, LIGHT)]
    if traces.scene is not None:
        figures.insert(0, _trajectories(traces, traces.scene, LIGHT))
    study = study_times(trained, seed=seed, greedy=greedy)
    if study is not None:
        figures.append(times_figure(study, LIGHT))
    output.mkdir(parents=True, exist_ok=True)
    for name, _, content in figures:
        (output / f"{name}.png").write_bytes(content)
    listing = output / "figures.md"
    listing.write_text(_listing(trained, traces, [(name, text) for name, text, _ in figures]), encoding="utf-8")
    files = (*(output / f"{name}.png" for name, *_ in figures), listing)
    return Drawn(files=files, successes=int(traces.success.sum()), episodes=episodes)


def _listing(trained: TrainedRun, traces: Traces, captions: Sequence[tuple[str, str]]) -> str:
    config = trained.config
    lines = [
        f"# {config.task}, {config.variant}, seed {config.seed}\n",
        f"`{traces.formula}` over {traces.horizon} steps. The policy after {trained.agent.steps_done:,} steps of "
        f"training; {int(traces.success.sum())} of {len(traces.success)} episodes satisfy the formula.\n",
    ]
    lines += [f"![{name}]({name}.png)\n\n*{text}*\n" for name, text in captions]
    return "\n".join(lines)


def verdict(traces: Traces, episode: int) -> str:
    """Number, success and robustness of an episode."""
    low, high = traces.robustness[episode]
    value = _number(low) if low == high else f"{_number(low)} to {_number(high)}"
    outcome = "satisfied" if traces.success[episode] else "not satisfied"
    return f"{episode + 1}: {outcome}, robustness {value} {traces.unit}".rstrip()


def _number(value: float) -> str:
    if math.isinf(value):
        return "\u221e" if value > 0 else "-\u221e"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


# Where it goes --------------------------------------------------------------------------------------------------------


def _trajectories(traces: Traces, scene: Scene, theme: Theme) -> tuple[str, str, bytes]:
    """Name, caption and picture of the ways taken."""
    views = VIEWS[scene.dims]
    limits = _limits(scene)
    figure, panels = _panels(len(traces.length), [_aspect(limits, view) for view in views], theme)
    scale = Normalize(0, traces.horizon)
    for episode, column in enumerate(panels):
        for view, panel in zip(views, column, strict=True):
            _draw_circles(panel, scene, episode, view, theme)
            _draw_path(panel, scene.paths[episode][:, view], scale, theme)
            panel.set_xlim(*limits[view[0]])
            panel.set_ylim(*limits[view[1]])
            panel.set_aspect("equal")
            panel.set_xlabel(f"{AXES[view[0]]} (m)", color=theme.ink, fontsize=8.5, labelpad=1)
            panel.set_ylabel(f"{AXES[view[1]]} (m)", color=theme.ink, fontsize=8.5, labelpad=1)
        colour = _verdict_colour(traces, episode, theme)
        column[0].set_title(verdict(traces, episode), color=colour, fontsize=9)
    everywhere = [panel for column in panels for panel in column]
    bar = figure.colorbar(ScalarMappable(scale, TIME_COLORS), ax=everywhere, shrink=0.8, aspect=40, pad=0.01)
    bar.set_label("step", color=theme.ink, fontsize=9)
    bar.ax.tick_params(colors=theme.ink, labelsize=8.5, length=0)
    bar.outline.set_visible(False)
    text = (
        f"Where {len(traces.length)} episodes lead: coloured discs are regions, grey ones obstacles, the ring is the "
        "start and the square the end. Titles give the verdict and the robustness of the whole trace."
    )
    if len(views) > 1:
        text += " From above, and from the side below that: a way past a ball may cross its disc."
    return "trajectories", text, png(figure, theme)


def _panels(count: int, heights: Sequence[float], theme: Theme) -> tuple[Figure, list[list[Axes]]]:
    """A column of panels for each of `count` episodes, of the given heights in units of their width."""
    columns = min(count, COLUMNS)
    groups = math.ceil(count / columns)
    size = (PANEL * columns + 0.9, groups * (PANEL * 0.82 * sum(heights) + 0.55 * len(heights)))
    figure = Figure(figsize=size, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    places = figure.add_gridspec(groups * len(heights), columns, height_ratios=[*heights] * groups)
    panels = []
    for episode in range(count):
        group, column = divmod(episode, columns)
        rows = range(group * len(heights), (group + 1) * len(heights))
        panels.append([figure.add_subplot(places[row, column]) for row in rows])
    for panel in (panel for several in panels for panel in several):
        panel.set_facecolor(theme.paper)
        panel.tick_params(colors=theme.ink, labelsize=7.5, length=0, pad=2)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=False))
        panel.yaxis.set_major_locator(MaxNLocator(4, integer=False))
        for spine in panel.spines.values():
            spine.set_color(theme.faint)
    return figure, panels


def _limits(scene: Scene) -> np.ndarray:
    """Least and greatest coordinates to show, `(D, 2)`: the arena, and what lies beyond it."""
    points = [scene.paths.reshape(-1, scene.dims)]
    for circles in scene.circles.values():
        flat = circles.reshape(-1, scene.dims + 1)
        points += [flat[:, :-1] - flat[:, -1:], flat[:, :-1] + flat[:, -1:]]
    points += [] if scene.bounds is None else [np.stack(scene.bounds)]
    known = np.concatenate(points)
    low, high = np.nanmin(known, axis=0), np.nanmax(known, axis=0)
    pad = 0.03 * max(float((high - low).max()), 1e-3)
    return np.stack((low - pad, high + pad), axis=1)


def _aspect(limits: np.ndarray, view: tuple[int, int]) -> float:
    """Height of a panel in units of its width."""
    across, up = limits[view[0]], limits[view[1]]
    return float(np.clip((up[1] - up[0]) / (across[1] - across[0]), 0.4, 2.4))


def _draw_circles(panel: Axes, scene: Scene, episode: int, view: tuple[int, int], theme: Theme) -> None:
    for circle in scene.circles.get("obstacles", np.zeros((episode + 1, 0, 0)))[episode]:
        panel.add_patch(Circle((circle[view[0]], circle[view[1]]), circle[-1], color=OBSTACLE, alpha=0.75, lw=0))
    for i, circle in enumerate(scene.circles.get("regions", np.zeros((episode + 1, 0, 0)))[episode]):
        colour = theme.colours[i % len(theme.colours)]
        place = (circle[view[0]], circle[view[1]])
        panel.add_patch(Circle(place, circle[-1], facecolor=colour, edgecolor=colour, alpha=0.35))
        name = scene.names[i]
        label = name.upper() if len(name) == 1 else name
        panel.text(
            *place, label, color=theme.ink, fontsize=9, ha="center", va="center", weight="bold", zorder=4,
            path_effects=[Stroke(linewidth=2.5, foreground=theme.paper, alpha=0.8), Normal()],
        )  # fmt: skip


def _draw_path(panel: Axes, path: np.ndarray, scale: Normalize, theme: Theme) -> None:
    known = path[~np.isnan(path).any(axis=1)]
    pieces = np.stack((known[:-1], known[1:]), axis=1)
    lines = LineCollection(list(pieces), cmap=TIME_COLORS, norm=scale, linewidths=2, capstyle="round", zorder=3)
    lines.set_array(np.arange(len(pieces)))
    panel.add_collection(lines)
    panel.plot(*known[0], "o", markersize=6, markerfacecolor=theme.paper, markeredgecolor=theme.ink, zorder=5)
    panel.plot(*known[-1], "s", markersize=5, color=theme.ink, zorder=5)


# How the formula stands -----------------------------------------------------------------------------------------------


def _robustness(traces: Traces, theme: Theme) -> tuple[str, str, bytes]:
    """Name, caption and picture of the robustness that is still possible, over time."""
    width = {1: 10.0, 2: 5.4, 4: 5.4}.get(len(traces.length), 3.6)  # a legend needs the width of three panels
    figure, panels = grid(len(traces.length), theme, width=width, height=2.5)
    limits = _margin_limits(traces)
    for episode, panel in enumerate(panels):
        _draw_bounds(panel, traces, episode, theme)
        _draw_margins(panel, traces, episode, theme)
        for number, (step, _) in enumerate(traces.plans[episode]):
            label = "" if number else "a subgoal of the plan is due"
            panel.axvline(step, color=theme.ink, linewidth=1, linestyle=(0, (1, 2)), label=label)
        panel.axhline(0, color=theme.ink, linewidth=0.9)
        panel.set_xlim(0, traces.horizon)
        panel.set_ylim(*limits)
        panel.set_title(verdict(traces, episode), color=_verdict_colour(traces, episode, theme), fontsize=9.5)
        panel.set_xlabel("step", color=theme.ink, fontsize=9)
        place = panel.get_subplotspec()
        if place is None or place.is_first_col():
            panel.set_ylabel(f"margin ({traces.unit})" if traces.unit else "margin", color=theme.ink, fontsize=9)
    legend_above(figure, theme)
    text = (
        "The interval in which the robustness of the whole trace must end, whatever follows (grey; cut off at the "
        "panel's edges where it has no bound yet), and the margins of the predicates, which hold at zero and above."
    )
    return "robustness", text, png(figure, theme)


def _draw_bounds(panel: Axes, traces: Traces, episode: int, theme: Theme) -> None:
    """The interval of robustness, with a dot where it closes."""
    last = int(traces.length[episode])
    steps = np.arange(last + 1)
    low, high = (end[episode, : last + 1] for end in (traces.low, traces.high))
    beyond = np.finfo(np.float32).max
    panel.fill_between(
        steps, low.clip(min=-beyond), high.clip(max=beyond), color=theme.baseline, alpha=0.2, linewidth=0,
        label="robustness still possible",
    )  # fmt: skip
    for end in (low, high):
        panel.plot(steps, np.where(np.isfinite(end), end, np.nan), color=theme.baseline, linewidth=1.4)
    if low[-1] == high[-1]:
        panel.plot(last, low[-1], "o", color=theme.ink, markersize=4.5, clip_on=False, zorder=5, label="robustness")


def _draw_margins(panel: Axes, traces: Traces, episode: int, theme: Theme) -> None:
    for column, name in enumerate(traces.predicates):
        colour, dash = theme.colours[column % len(theme.colours)], DASHES[column // len(theme.colours) % len(DASHES)]
        margins = traces.margins[episode, : int(traces.length[episode]) + 1, column]
        panel.plot(np.arange(len(margins)), margins, color=colour, linestyle=dash, linewidth=1.5, label=name)


def _verdict_colour(traces: Traces, episode: int, theme: Theme) -> str:
    return theme.colours[2] if traces.success[episode] else theme.colours[1]


def _margin_limits(traces: Traces) -> tuple[float, float]:
    """The range of all margins and finite bounds, and zero, with room around."""
    values = np.concatenate([part.ravel() for part in (traces.margins, traces.low, traces.high)])
    values = np.append(values[np.isfinite(values)], 0.0)
    low, high = float(values.min()), float(values.max())
    room = 0.06 * max(high - low, 1e-3)
    return low - room, high + room
