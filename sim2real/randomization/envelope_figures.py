"""Pictures of envelopes: success over the grid of one parameter, and heat maps over two."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cairngym.sim2real.randomization.envelopes import Envelope, Surface

INK, FAINT, BLUE, GREEN = "#24292f", "#d8dee4", "#0072B2", "#009E73"
PANEL = (4.3, 3.0)
"""Width and height of one panel, inches."""
DPI = 130


def envelope_figure(envelopes: Sequence[Envelope]) -> bytes:
    """Success with its exact 95 % intervals over each grid, the survived range shaded; PNG.

    Raises:
        ValueError: no envelopes.
    """
    if not envelopes:
        raise ValueError("Expected at least one envelope to draw, got none.")
    columns = min(len(envelopes), 3)
    rows = -(-len(envelopes) // columns)
    figure = _figure(columns * PANEL[0], rows * PANEL[1])
    for place, each in enumerate(envelopes):
        panel = figure.add_subplot(rows, columns, place + 1)
        _style(panel, each.parameter.name)
        _draw_envelope(panel, each)
    return _png(figure)


def _draw_envelope(panel: Axes, each: Envelope) -> None:
    values, rates, (low, high) = np.array(each.parameter.values), each.rates, each.intervals
    panel.axvspan(each.low, each.high, color=GREEN, alpha=0.12, linewidth=0, label="survived")
    bars = np.maximum([rates - low, high - rates], 0.0)
    panel.errorbar(values, rates, yerr=bars, color=BLUE, marker="o", markersize=4, linewidth=1.8, elinewidth=1.0,
                   capsize=2, label=f"success, {each.trials} episodes")  # fmt: skip
    nominal = float(rates[each.parameter.values.index(each.parameter.nominal)])
    panel.axhline(each.share * nominal, color=INK, linewidth=0.9, linestyle=(0, (4, 3)),
                  label=f"{each.share:.0%} of nominal")  # fmt: skip
    panel.axvline(each.parameter.nominal, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    if each.parameter.logarithmic:
        panel.set_xscale("log")
        ticks = values if len(values) <= 7 else values[:: -(-len(values) // 6)]
        panel.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        panel.minorticks_off()
    panel.set_ylim(-0.02, 1.02)
    panel.set_ylabel("success rate", color=INK, fontsize=9)
    panel.legend(frameon=False, fontsize=7.5, labelcolor=INK, loc="best")


def heat_map(surface: Surface) -> bytes:
    """Success over the grid of two parameters, the rate written in each cell and the nominal pair framed; PNG."""
    first, second = surface.parameters
    rates = surface.rates
    figure = _figure(1.9 + 0.62 * len(second.values), 1.5 + 0.42 * len(first.values))
    panel = figure.add_subplot()
    _style(panel, "")
    panel.grid(False)
    image = panel.imshow(rates, cmap="YlGnBu", vmin=0.0, vmax=1.0, aspect="auto", origin="lower")
    for (row, column), rate in np.ndenumerate(rates):
        panel.text(column, row, f"{rate:.2f}", ha="center", va="center", fontsize=8,
                   color="white" if rate > 0.6 else INK)  # fmt: skip
    row, column = (each.values.index(each.nominal) for each in surface.parameters)
    corner = (column - 0.5, row - 0.5)
    panel.add_patch(_frame(corner))
    panel.set_xticks(range(len(second.values)), [f"{value:.3g}" for value in second.values])
    panel.set_yticks(range(len(first.values)), [f"{value:.3g}" for value in first.values])
    panel.set_xlabel(second.name, color=INK, fontsize=9)
    panel.set_ylabel(first.name, color=INK, fontsize=9)
    bar = figure.colorbar(image, ax=panel)
    bar.set_label(f"success rate, {surface.trials} episodes", color=INK, fontsize=9)
    bar.ax.tick_params(colors=INK, labelsize=8)
    return _png(figure)


def _frame(corner: tuple[float, float]) -> Rectangle:
    return Rectangle(corner, 1.0, 1.0, fill=False, edgecolor="#D55E00", linewidth=2.2)


def _figure(width: float, height: float) -> Figure:
    """A figure without matplotlib's global state."""
    figure = Figure(figsize=(width, height), facecolor="#ffffff")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained")
    return figure


def _style(panel: Axes, title: str) -> None:
    panel.set_facecolor("#ffffff")
    panel.set_title(title, color=INK, fontsize=9.5)
    panel.grid(color=FAINT, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(colors=INK, labelsize=8, length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
