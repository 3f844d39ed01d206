"""What every plot of a report is drawn with: themes, panels, bands, axes and legends.

Figures are made without matplotlib's global state, so drawing them changes nothing elsewhere.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cairngym.experiments.analysis import steps_text
from cairngym.experiments.statistics import Band

DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)))
MARKERS = ("o", "s", "D", "^")
"""Of points, as `DASHES` are of curves: they change where the colours begin again."""
PANEL = (4.3, 3.0)
"""Width and height of one panel in inches."""
DPI = 130
PIXELS_PER_CSS_PIXEL = 1.3
"""Pictures are shown smaller than they are drawn, so that they stay sharp."""


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of what is not data."""

    paper: str
    ink: str
    faint: str
    baseline: str
    """Grey, so that the baseline stands back."""
    colours: tuple[str, ...]
    """Of the other variants; told apart by colour-blind readers too (Okabe and Ito, 2008)."""


LIGHT = Theme(
    paper="#ffffff", ink="#24292f", faint="#d8dee4", baseline="#808080",
    colours=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
)  # fmt: skip
DARK = Theme(
    paper="#161b22", ink="#d7dde3", faint="#30363d", baseline="#9a9a9a",
    colours=("#3D9BDC", "#F07B33", "#1FBF91", "#E294BF", "#F2B134", "#8FD3F7"),
)  # fmt: skip


def grid(count: int, theme: Theme, *, width: float = PANEL[0], height: float = PANEL[1]) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most three a row."""
    columns = min(count, 3) if count != 4 else 2
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(columns * width, rows * height), facecolor=theme.paper)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08)
    panels = [figure.add_subplot(rows, columns, index + 1) for index in range(count)]
    for panel in panels:
        panel.set_facecolor(theme.paper)
        panel.grid(color=theme.faint, linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(colors=theme.ink, labelsize=8.5, length=0)
        panel.xaxis.set_major_locator(MaxNLocator(5))
        for spine in panel.spines.values():
            spine.set_visible(False)
    return figure, panels


def draw_band(
    panel: Axes, x: np.ndarray, band: Band, label: str, style: Mapping[str, Any], *, step: bool = False
) -> None:
    """Draw a curve over its band; `step` keeps each value up to the next point, a lone point gets a marker."""
    drawn = "steps-post" if step else "default"
    panel.plot(x, band.value, label=label, linewidth=2, drawstyle=drawn, marker="o" if len(x) == 1 else None, **style)
    where: Any = "post" if step else None
    panel.fill_between(x, band.low, band.high, color=style["color"], alpha=0.17, linewidth=0, step=where)


def success_axis(panel: Axes, label: str, ink: str) -> None:
    """Success rates from 0 to 1 upward, named on the leftmost panel only."""
    panel.set_ylim(-0.02, 1.02)
    panel.set_yticks(np.linspace(0, 1, 6))
    panel.set_xlabel(label, color=ink)
    place = panel.get_subplotspec()
    if place is None or place.is_first_col():
        panel.set_ylabel("success rate", color=ink)


def step_tick(value: float, _: int) -> str:
    """A tick of an axis of env steps."""
    return steps_text(value)


def time_unit(longest: float) -> tuple[float, str]:
    """Seconds in the unit that an axis up to `longest` seconds is drawn in, and the unit's label."""
    if longest < 200:
        return 1.0, " (s)"
    return (60.0, " (min)") if longest < 200 * 60 else (3600.0, " (h)")


def legend(panel: Axes, theme: Theme) -> None:
    """A legend inside one panel."""
    panel.legend(loc="best", frameon=False, labelcolor=theme.ink, fontsize=8.5, handlelength=1.8)


def legend_above(figure: Figure, theme: Theme) -> None:
    """One legend above all panels, each label once, in as many columns as the figure has room for."""
    entries: dict[str, Any] = {}
    for panel in figure.axes:
        handles, labels = panel.get_legend_handles_labels()
        entries |= {label: handle for handle, label in zip(handles, labels, strict=True) if label not in entries}
    for columns in range(min(len(entries), 6), 0, -1):
        drawn = figure.legend(
            entries.values(), entries.keys(), loc="outside upper center", ncols=columns, frameon=False,
            labelcolor=theme.ink, fontsize=9.5, handlelength=2.2,
        )  # fmt: skip
        if columns == 1 or drawn.get_window_extent().width <= figure.bbox.width:
            return
        drawn.remove()


def png(figure: Figure, theme: Theme) -> bytes:
    """Render the figure in 256 colours, which take a third of the space; the same figure gives the same bytes."""
    from PIL import Image

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor=theme.paper, metadata={"Software": None})
    Image.open(drawn).convert("RGB").quantize(256).save(packed, format="png", optimize=True)
    return packed.getvalue()
