"""What a critic says of the times of a plan, beside what comes of them: an honest check of the wrapper "temporal"."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from cairngym.envs.core import Observation, TensorEnv
from cairngym.envs.wrapper_registry import make_wrapper
from cairngym.experiments.figures import Theme, grid, legend_above, png
from cairngym.experiments.run import make_evaluation_env
from cairngym.experiments.stl_traces import record
from cairngym.experiments.trained import TrainedRun
from cairngym.reward_shaping.temporal.features import Sight
from cairngym.reward_shaping.temporal.observation import TemporalObservation
from cairngym.reward_shaping.temporal.plan import Branch
from cairngym.reward_shaping.temporal.stages import temporal_wrapper

FINE, COARSE = 101, 10
"""Most times of either variable that the critic is asked about, and that are tried out."""
EPISODES = 8
"""Episodes that every pair of times is tried in."""
COMPLETIONS = 16
"""Draws of the further variables, of which the critic's best counts."""
MOST_CANDIDATES = 16_384
"""Plans that the critic is shown at once."""
WRAPPER = "temporal"
MARK = "#c2185b"


class Planned(TemporalObservation):
    """The wrapper "temporal" with branches and times that are given.

    Args:
        env: as of `TemporalObservation`.
        branch: index of all envs' branch.
        times: int64 `(N, V)`.
        options: as of `TemporalObservation`.
    """

    def __init__(self, env: TensorEnv, branch: int, times: torch.Tensor, **options: Any) -> None:
        super().__init__(env, **options)
        self.wanted = (torch.full((env.num_envs,), branch, device=env.device), times.to(env.device))

    def _choose(
        self, rows: torch.Tensor, obs: Observation, step: torch.Tensor, sight: Sight
    ) -> tuple[torch.Tensor, torch.Tensor]:
        branch, times = self.wanted
        return branch[rows], times[rows]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A quantity over the times of two variables, NaN where they are not valid."""

    first: np.ndarray
    """int64 `(A,)`."""
    second: np.ndarray
    """int64 `(B,)`."""
    values: np.ndarray
    """`(A, B)`."""

    @property
    def best(self) -> tuple[int, int]:
        """Where it is greatest."""
        row, column = np.unravel_index(np.nanargmax(self.values), self.values.shape)
        return int(self.first[row]), int(self.second[column])


@dataclass(frozen=True, kw_only=True)
class TimesStudy:
    """The critic's values of one first state under a branch's times, and how often they lead to success."""

    branch: Branch
    pair: tuple[int, int]
    """Which two of its variables."""
    value: Surface
    value_tried: Surface
    """At the pairs that were tried out."""
    success: Surface
    """Share of `EPISODES` episodes from that state."""
    chosen: tuple[int, int]
    """What an evaluation takes: the best of its candidates."""

    @property
    def agreement(self) -> float | None:
        """Rank correlation of values and success over the pairs tried; None where one of them does not vary."""
        known = ~np.isnan(self.success.values)
        value, success = self.value_tried.values[known], self.success.values[known]
        if len(value) < 2 or np.ptp(value) == 0 or np.ptp(success) == 0:
            return None
        return float(spearmanr(value, success).statistic)


# Asking the critic, and trying ----------------------------------------------------------------------------------------


def study_times(trained: TrainedRun, *, seed: int, greedy: bool = False) -> TimesStudy | None:
    """Compare the critic's values with the success reached, from the first state of env 0.

    Args:
        trained: a run's policy.
        seed: of the first state, and of the policy's sampling.
        greedy: play the likeliest action.

    Returns:
        None where the run has no wrapper "temporal", its agent no values, or the branch it takes fewer than two times
        to choose.
    """
    if trained.agent.values is None or all(wrapper.name != WRAPPER for wrapper in trained.config.wrappers):
        return None
    env = trained.make_env(1, seed)
    env.reset(seed=seed)
    wrapper = temporal_wrapper(env)
    number = int(wrapper.pursuit.branch[0])
    branch = wrapper.grounding.branches[number]
    free = [variable.index for variable in branch.variables if len(set(branch.span(variable.index))) > 1]
    if len(free) < 2:
        env.close()
        return None
    pair = (free[0], free[1])
    chosen = (int(wrapper.pursuit.times[0, pair[0]]), int(wrapper.pursuit.times[0, pair[1]]))
    value, _ = value_surface(wrapper, number, pair, FINE)
    tried, times = value_surface(wrapper, number, pair, COARSE)
    env.close()
    success = _try_out(trained, number, tried, times, seed=seed, greedy=greedy)
    return TimesStudy(
        branch=branch, pair=pair, value=value, value_tried=tried, success=success, chosen=chosen
    )  # fmt: skip


def value_surface(
    wrapper: TemporalObservation, number: int, pair: tuple[int, int], points: int
) -> tuple[Surface, torch.Tensor]:
    """The critic's values over at most `points` times of each of a pair of variables, and the times they stand for.

    Further variables are taken at the best of `COMPLETIONS` draws.

    Returns:
        the values, and int64 `(A, B, V)`, zeros where a pair of times is not valid.
    """
    branch = wrapper.grounding.branches[number]
    gaps = np.array(branch.gaps)
    axes = [spread(*branch.span(variable), points) for variable in pair]
    times = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    apart, first, second = times[..., 1] - times[..., 0], pair[0] + 1, pair[1] + 1
    valid = (apart <= gaps[second, first]) & (-apart <= gaps[first, second])
    plans = complete(gaps, pair, times[valid], COMPLETIONS if len(gaps) > 3 else 1)
    padded = np.pad(plans, ((0, 0), (0, 0), (0, wrapper.table.num_variables - plans.shape[2])))
    rows = torch.as_tensor(padded, device=wrapper.device).flatten(0, 1)
    parts = [wrapper.values(rows.new_full((1, len(part)), number), part[None])[0].detach().cpu()
             for part in rows.split(MOST_CANDIDATES)]  # fmt: skip
    values = torch.cat(parts).view(plans.shape[:2]).numpy()
    best = values.argmax(axis=1)
    surface, times = np.full(valid.shape, np.nan), np.zeros((*valid.shape, padded.shape[2]), dtype=np.int64)
    surface[valid], times[valid] = values.max(axis=1), padded[np.arange(len(best)), best]
    return Surface(first=axes[0], second=axes[1], values=surface), torch.as_tensor(times)


def spread(low: int, high: int, points: int) -> np.ndarray:
    """The middles of at most `points` equal parts of the steps from `low` to `high`."""
    count = min(points, high - low + 1)
    return (low + (high - low + 1) * (np.arange(count) + 0.5) / count).astype(np.int64)


def complete(gaps: np.ndarray, pair: tuple[int, int], times: np.ndarray, draws: int) -> np.ndarray:
    """Draw the other variables of a branch, each uniform in its domain given those before.

    The network of a branch is closed, so that times which agree with each other can be completed in any order (Dechter,
    Meiri and Pearl 1991, theorem 3.3).

    Args:
        gaps: `Branch.gaps`, `(V + 1, V + 1)`.
        pair: the variables that are given.
        times: int64 `(R, 2)`, their valid times.
        draws: for every row.

    Returns:
        int64 `(R, draws, V)`.
    """
    rng = np.random.default_rng(0)
    points = np.zeros((len(times), draws, len(gaps)), dtype=np.int64)
    known = [0, pair[0] + 1, pair[1] + 1]
    points[..., known[1:]] = times[:, None]
    for node in (node for node in range(len(gaps)) if node not in known):
        low = (points[..., known] - gaps[known, node]).max(axis=-1)
        high = (points[..., known] + gaps[node, known]).min(axis=-1)
        points[..., node] = rng.integers(low, high + 1)
        known = [*known, node]
    return points[..., 1:]


def _try_out(
    trained: TrainedRun, number: int, tried: Surface, times: torch.Tensor, *, seed: int, greedy: bool
) -> Surface:
    """How often the policy succeeds with these times, from the first state of env 0."""
    valid = ~np.isnan(tried.values)
    wanted = times[torch.as_tensor(valid)].repeat_interleave(EPISODES, dim=0)
    env = _planned_env(trained, number, wanted, seed)
    env.unwrapped.episodes.env_id.zero_()  # every copy lives the life of env 0
    outcome = record(trained, env, seed=seed, greedy=greedy).success.reshape(-1, EPISODES).mean(axis=1)
    env.close()
    rate = np.full(valid.shape, np.nan)
    rate[valid] = outcome
    return replace(tried, values=rate)


def _planned_env(trained: TrainedRun, number: int, times: torch.Tensor, seed: int) -> TensorEnv:
    """Copies of the evaluation env whose plans are given."""
    config = trained.config
    place = next(i for i, wrapper in enumerate(config.wrappers) if wrapper.name == WRAPPER)
    inner = replace(config, wrappers=config.wrappers[:place])
    env: TensorEnv = make_evaluation_env(inner, num_envs=len(times), seed=seed)
    env = Planned(env, number, times, **config.wrappers[place].options)
    for wrapper in config.wrappers[place + 1 :]:
        env = make_wrapper(wrapper.name, env, **wrapper.options)
    return env


# Drawing --------------------------------------------------------------------------------------------------------------


def times_figure(study: TimesStudy, theme: Theme) -> tuple[str, str, bytes]:
    """Name, caption and picture of the critic's values beside the success reached."""
    figure, (left, right) = grid(2, theme, width=4.7, height=4.2)
    span = Normalize(float(np.nanmin(study.value.values)), float(np.nanmax(study.value.values)))
    _draw_surface(figure, left, study.value, span, "viridis", theme)
    _draw_surface(figure, right, study.success, Normalize(0, 1), "viridis", theme)
    left.set_title("the critic's value", color=theme.ink, fontsize=10.5)
    right.set_title(f"success in {EPISODES} episodes each", color=theme.ink, fontsize=10.5)
    for panel in (left, right):
        _mark(panel, study.chosen, "o", "taken: the best of an evaluation's candidates", theme)
        _mark(panel, study.value.best, "x", "valued highest", theme)
        for axis, limit in ((study.value.first, panel.set_xlim), (study.value.second, panel.set_ylim)):
            limit(axis[0] - 0.5, axis[-1] + 0.5)
        panel.set_xlabel(_axis_label(study.branch, study.pair[0]), color=theme.ink, fontsize=8.5)
        panel.set_ylabel(_axis_label(study.branch, study.pair[1]), color=theme.ink, fontsize=8.5)
    legend_above(figure, theme)
    return "times", _caption(study), png(figure, theme)


def _draw_surface(figure: Figure, panel: Axes, surface: Surface, scale: Normalize, colours: str, theme: Theme) -> None:
    edges = [_edges(axis) for axis in (surface.first, surface.second)]
    panel.grid(visible=False)
    panel.pcolormesh(*edges, surface.values.T, cmap=colours, norm=scale)
    bar = figure.colorbar(ScalarMappable(scale, colours), ax=panel, shrink=0.9, pad=0.02)
    bar.ax.tick_params(colors=theme.ink, labelsize=8.5, length=0)
    bar.outline.set_visible(False)


def _mark(panel: Axes, place: tuple[int, int], marker: str, label: str, theme: Theme) -> None:
    """A mark that can be seen on any colour, and that the panel's edge does not cut."""
    for colour, width, name in ((theme.paper, 4.0, None), (MARK, 2.0, label)):
        panel.plot(*place, marker, markersize=9, markerfacecolor="none", markeredgecolor=colour, clip_on=False,
                   markeredgewidth=width, linestyle="none", label=name, zorder=5)  # fmt: skip


def _edges(axis: np.ndarray) -> np.ndarray:
    """Ends of the cells around the points of an axis."""
    middles = (axis[1:] + axis[:-1]) / 2
    first, last = (middles[0], middles[-1]) if len(middles) else (axis[0] + 0.5, axis[-1] - 0.5)
    return np.concatenate(([2 * axis[0] - first], middles, [2 * axis[-1] - last]))


def _axis_label(branch: Branch, variable: int) -> str:
    label = branch.variables[variable].label
    return f"t{variable} (step), for {label if len(label) <= 44 else label[:43] + '…'}"


def _caption(study: TimesStudy) -> str:
    """What the picture shows, and how far values and success agree."""
    further = len(study.branch.variables) - 2
    rest = f" Of its other times ({further}) the best of {COMPLETIONS} draws counts." if further else ""
    agreement = study.agreement
    said = "one is the same everywhere" if agreement is None else f"the rank correlation is {agreement:.2f}"
    rates = study.success.values
    top = np.nanargmax(study.value_tried.values)
    named = f" in the branch \u201c{study.branch.name}\u201d" if study.branch.name else ""
    return (
        f"The shaped reward that the critic expects from one first state under two times of its plan{named} "
        "(left), and how often the policy satisfies the formula from that state with those times (right); blank: not "
        f"valid.{rest} Over the pairs tried {np.nanmean(rates):.0%} succeed, at the one of them valued highest "
        f"{rates.flat[top]:.0%}; of values and success, {said}."
    )
