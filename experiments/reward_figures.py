"""Figures of a reward program: what it pays along an episode that succeeds and one that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.figures import DASHES, LIGHT, Theme, grid, legend_above, png
from cairngym.experiments.trained import load_trained
from cairngym.reward_shaping.llm.behaviour import TOTAL, Played, play, trace
from cairngym.reward_shaping.llm.program import RewardProgram
from cairngym.reward_shaping.llm.scripted import scripted
from cairngym.reward_shaping.llm.transitions import radical_inverse, random_action

if TYPE_CHECKING:
    from cairngym.envs.core import Observation, TensorEnv

WIDTH, HEIGHT = 6.2, 2.7
"""Of a panel, in inches."""
SUCCESS = "the task is done"


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Episodes of a policy on a task."""

    task: str
    policy: str
    """Whose they are, in words."""
    played: Played

    @property
    def successes(self) -> int:
        """Episodes with a success."""
        return int(self.played.succeeded.sum())

    def chosen(self) -> list[int]:
        """An episode that succeeds and one that fails, as far as there are such: the first of their kind.

        Successful ones that are done at their end come before others, and of these, those not done by their first step.
        """
        won, played = self.played.succeeded, self.played
        worth = won.int() * (1 + 2 * played.final(played.success).int() + (~played.success[0]).int())
        return [int(side.int().argmax()) for side in (worth, ~won) if bool(side.any())]


@dataclass(frozen=True, kw_only=True)
class DrawnReward:
    """What `draw_reward` wrote."""

    path: Path
    episodes: int
    successes: int
    lines: tuple[str, ...]
    """What each episode shown was paid, in words."""


def watch_scripted(env: TensorEnv, task: str, seed: int = 0) -> Watched:
    """Play a scripted policy, clumsily in every env but the first.

    Env i acts at random in a share of its steps: 0, 1/2, 1/4, 3/4 … (the radical inverse of i), so that there are
    failures beside successes. An env without a scripted policy is acted in at random throughout.

    Args:
        env: of the task; it is reset.
        task: its id.
        seed: of the episodes and of the random actions.
    """
    policy, space = scripted(env), env.single_action_space
    share = radical_inverse(env.num_envs) if policy is not None else torch.ones(env.num_envs)
    size = int(np.prod(space.shape or (1,)))
    draws = torch.Generator().manual_seed(seed)

    def act(obs: Observation) -> torch.Tensor:
        del obs
        draw = torch.rand((env.num_envs, size + 1), generator=draws)
        random = random_action(space, draw[:, 1:])
        if policy is None:
            return random
        clumsy = (draw[:, 0] < share).view(-1, *(1,) * (random.ndim - 1))
        return torch.where(clumsy, random, policy(env.state).to(random))

    name = "a scripted policy, with random actions in a growing share of steps" if policy else "random actions"
    return Watched(task=task, policy=name, played=play(env, act, seed))


def watch_run(run: Path, *, episodes: int = 16, seed: int = 7, greedy: bool = False) -> Watched:
    """Play the policy of a run on its evaluation env, as it stands in the last checkpoint.

    Args:
        run: the run's folder.
        episodes: played side by side.
        seed: of the episodes and of the policy's sampling.
        greedy: play the likeliest action.

    Raises:
        ConfigError: the folder holds no trained run.
        ValueError: no episodes.
    """
    check_episodes(episodes)
    trained = load_trained(run, autoreset_mode="SameStep")
    config, agent, env = trained.config, trained.agent, trained.make_env(episodes, seed)
    actor = agent.actor(episodes, deterministic=greedy, seed=seed)
    try:
        played = play(env, actor.act, seed)
    finally:
        env.close()
    name = f"the policy of {config.variant}, seed {config.seed}, after {agent.steps_done:,} steps"
    return Watched(task=config.task, policy=name, played=played)


def check_episodes(episodes: int) -> None:
    """Raise `ValueError` for no episodes."""
    if episodes < 1:
        raise ValueError(f"Expected episodes >= 1, got {episodes}.")


def draw_reward(
    program: RewardProgram, watched: Watched, output: Path, *, names: Callable[[str], str] = str
) -> DrawnReward:
    """Draw what a program pays along a successful and a failing episode: a step, and added up.

    Args:
        program: compiled for the task.
        watched: the episodes.
        output: a .png file.
        names: what components are called in the figure.

    Raises:
        ConfigError: the output is no .png.
        ProgramFailed: the program can't be evaluated.
        OSError: the file can't be written.
    """
    if output.suffix != ".png":
        raise ConfigError(f"Expected an output that ends in .png, got {output}.")
    played = watched.played
    paid = {name: values.double().numpy() for name, values in trace(program, played).items()}
    chosen, theme = watched.chosen(), LIGHT
    figure, panels = grid(2 * len(chosen), theme, width=WIDTH, height=HEIGHT)
    columns = [panels[column :: len(chosen)] for column in range(len(chosen))]
    lines = []
    for (above, below), episode in zip(columns, chosen, strict=True):
        length = int(played.lengths[episode])
        shown = {name: values[:length, episode] for name, values in paid.items()}
        done = played.success[:length, episode].numpy()
        _draw(above, shown, done, names, theme)
        _draw(below, {name: np.cumsum(values) for name, values in shown.items()}, done, names, theme)
        lines.append(_told(shown[TOTAL], done))
        above.set_title(lines[-1], color=theme.colours[2] if done.any() else theme.colours[1], fontsize=10)
        below.set_xlabel("step", color=theme.ink, fontsize=9)
    columns[0][0].set_ylabel("paid in a step", color=theme.ink, fontsize=9)
    columns[0][1].set_ylabel("paid so far", color=theme.ink, fontsize=9)
    _share_limits([column[0] for column in columns])
    _share_limits([column[1] for column in columns])
    figure.align_ylabels()
    figure.supxlabel(f"{watched.task}: {watched.policy}", color=theme.ink, fontsize=8.5)
    legend_above(figure, theme)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(png(figure, theme))
    return DrawnReward(
        path=output, episodes=len(played.succeeded), successes=watched.successes, lines=tuple(lines)
    )  # fmt: skip


def _told(total: np.ndarray, done: np.ndarray) -> str:
    """How an episode went, and what it was paid."""
    paid = f"{len(total)} steps, {total.sum():.3g} in all"
    return f"success at step {int(done.argmax()) + 1}: {paid}" if done.any() else f"no success: {paid}"


def _draw(
    panel: Axes, values: dict[str, np.ndarray], done: np.ndarray, names: Callable[[str], str], theme: Theme
) -> None:
    """Curves of one episode over its steps, the total broad and behind the components."""
    steps = np.arange(1, len(done) + 1)
    marker = "o" if len(done) == 1 else None
    for begin, end in stretches(done):
        panel.axvspan(begin + 0.5, end + 0.5, color=theme.colours[2], alpha=0.16, linewidth=0, label=SUCCESS)
        panel.axvline(begin + 0.5, color=theme.colours[2], linewidth=1, linestyle=DASHES[2])
    panel.axhline(0, color=theme.ink, linewidth=0.8)
    colours = [colour for colour in theme.colours if colour != theme.colours[2]]  # which means success
    panel.plot(steps, values[TOTAL], color=theme.baseline, linewidth=4, alpha=0.55, label=TOTAL, marker=marker)
    for number, name in enumerate(name for name in values if name != TOTAL):
        colour, dash = colours[number % len(colours)], DASHES[number // len(colours) % len(DASHES)]
        panel.plot(
            steps, values[name], color=colour, linestyle=dash, linewidth=1.5, label=names(name), marker=marker
        )  # fmt: skip
    panel.set_xlim(0.5, len(done) + 0.5)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def stretches(flags: np.ndarray) -> list[tuple[int, int]]:
    """Where flags are set, as half-open ranges.

    Example:
        >>> stretches(np.array([False, True, True, False, True]))
        [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(int)))
    return [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]


def _share_limits(panels: list[Axes]) -> None:
    """Give panels one vertical range, so that episodes can be compared."""
    low = min(panel.get_ylim()[0] for panel in panels)
    high = max(panel.get_ylim()[1] for panel in panels)
    for panel in panels:
        panel.set_ylim(low, high)
