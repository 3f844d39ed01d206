"""Pictures of where in a MiniGrid level an agent has how much empowerment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cairngym.envs.core import TensorEnv
from cairngym.envs.minigrid.cells import BALL, BOX, BYTE, DOOR, GOAL, KEY, LAVA, WALL
from cairngym.reward_shaping.empowerment.levels import FIELDS, LevelModel, level_empowerment

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

LETTERS = {DOOR: "door", KEY: "key", BALL: "ball", BOX: "box", GOAL: "goal", LAVA: "lava"}
FORWARD = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Right, down, left, up, in cells."""
States = Literal["all", "start"]


def cell_values(model: LevelModel, values: torch.Tensor, states: States = "all") -> np.ndarray:
    """The mean of `values` over the states in which the agent is in each cell.

    Args:
        model: the level's S states.
        values: `(S,)`.
        states: "all", or "start" for those alone in which everything but the agent is as at the start.

    Returns:
        float64 `(height, width)`, NaN in cells without such a state. States that end the episode are left out.
    """
    chosen = ~model.terminal
    if states == "start":
        untouched = (model.cells == model.cells[:1]).all(1) & (model.agent[:, 3] == model.agent[0, 3])
        chosen = chosen & untouched
    cells = (model.agent[:, 0] + model.width * model.agent[:, 1]).long().cpu().numpy()[chosen.cpu().numpy()]
    size = model.width * model.height
    total = np.bincount(cells, weights=values[chosen].double().cpu().numpy(), minlength=size)
    count = np.bincount(cells, minlength=size)
    mean = np.divide(total, count, out=np.full(size, math.nan), where=count > 0)
    return mean.reshape(model.height, model.width)


def empowerment_figure(model: LevelModel, values: torch.Tensor, *, states: States = "all", title: str = "") -> Figure:
    """Draw a level with the mean empowerment of each cell, its objects, and the agent where it starts.

    Args:
        model: the level's S states.
        values: `(S,)`, in nats.
        states: see `cell_values`.
        title: over the picture.
    """
    from matplotlib.figure import Figure

    scale = 0.45
    figure = Figure(figsize=(scale * model.width + 1.5, scale * model.height + 0.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("0.92")
    walls = (model.cells[0] & BYTE).cpu().numpy().reshape(model.height, model.width) == WALL
    axes.imshow(np.where(walls, 0.35, np.nan), cmap="gray", vmin=0, vmax=1)
    shown = axes.imshow(cell_values(model, values, states), cmap="viridis")
    figure.colorbar(shown, ax=axes, label="empowerment [nats]", shrink=0.85)
    for cell, kind in enumerate((model.cells[0] & BYTE).tolist()):
        if kind in LETTERS:
            row, column = divmod(cell, model.width)
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
            axes.text(column, row, LETTERS[kind], ha="center", va="center", fontsize=6, bbox=box)
    x, y, direction, _ = model.agent[0].tolist()
    dx, dy = FORWARD[direction]
    axes.quiver(x - 0.25 * dx, y - 0.25 * dy, dx, -dy, color="crimson", scale=2.2 * model.width, width=0.02)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=9)
    return figure


def empowerment_picture(
    env: TensorEnv | str, steps: int = 3, *, seed: int = 0, fields: Sequence[str] = FIELDS, states: States = "all"
) -> np.ndarray:
    """The map of a level as an RGB image, uint8 `(height, width, 3)`; arguments as in `level_empowerment`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    model, values = level_empowerment(env, steps, seed=seed, fields=fields)
    canvas = FigureCanvasAgg(empowerment_figure(model, values, states=states))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_map(
    env_id: str,
    /,
    steps: int = 3,
    out: Path = Path("empowerment.png"),
    seed: int = 0,
    fields: tuple[str, ...] = FIELDS,
    states: States = "all",
) -> None:
    """Draw the exact empowerment of a MiniGrid level and say where it is greatest.

    Args:
        env_id: a MiniGrid id.
        steps: n, actions looked ahead.
        out: the picture's file.
        seed: of the level.
        fields: what counts as an outcome of n actions: agent_pos, agent_dir, carrying, grid.
        states: "all" averages over every state with the agent in a cell, "start" over those alone where nothing has
            been touched yet.
    """
    model, values = level_empowerment(env_id, steps, seed=seed, fields=fields)
    out.parent.mkdir(parents=True, exist_ok=True)
    title = f"{env_id}, {steps} steps ahead"
    empowerment_figure(model, values, states=states, title=title).savefig(out, dpi=150)
    open_, best = ~model.terminal, int(values.masked_fill(model.terminal, -1.0).argmax())
    x, y = model.agent[best, :2].tolist()
    print(
        f"{len(model)} states; empowerment of {steps} steps from {float(values[open_].min()):.3f} to "
        f"{float(values[open_].max()):.3f} nats, {float(values[0]):.3f} at the start, greatest at ({x}, {y}). "
        f"Map: {out}"
    )
