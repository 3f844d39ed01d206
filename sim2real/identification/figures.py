"""Pictures of an identification, as PNG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from cairngym.sim2real.identification.fit import Identification
from cairngym.sim2real.identification.validation import Prediction

MAX_PANELS = 8
DATA, NOMINAL, IDENTIFIED = "0.6", "tab:orange", "tab:blue"


def draw_prediction(nominal: Prediction, identified: Prediction) -> bytes:
    """Held-out readings, what the nominal model says of them, and what the identified one says."""
    shown = min(MAX_PANELS, identified.measured.shape[1])
    figure, axes = _figure(shown, 1, (9.0, 1.6 * shown))
    for at, panel in enumerate(axes):
        panel.plot(identified.time_s, identified.measured[:, at], ".", color=DATA, ms=3, label="measured")
        for prediction, color, name in ((nominal, NOMINAL, "nominal"), (identified, IDENTIFIED, "identified")):
            for window in np.unique(prediction.window):
                own = prediction.window == window
                label = name if window == 0 else None
                panel.plot(prediction.time_s[own], prediction.predicted[own, at], color=color, lw=1.2, label=label)
        panel.set_ylabel(_number(identified, at), fontsize=8)
    axes[0].legend(loc="upper right", fontsize=8, ncols=3)
    axes[-1].set_xlabel("s")
    return _png(figure)


def _number(prediction: Prediction, at: int) -> str:
    first = prediction.channel.index(prediction.channel[at])
    return f"{prediction.channel[at]}[{at - first}]"


def draw_estimates(found: Identification) -> bytes:
    """Each parameter's estimate and interval within its bounds, with its nominal value."""
    count = len(found.estimates)
    figure, (panel,) = _figure(1, 1, (8.0, 0.9 + 0.32 * count))
    for at, one in enumerate(found.estimates):

        def place(value: float, low: float = one.low, high: float = one.high) -> float:
            return (value - low) / (high - low)

        panel.plot([0, 1], [at, at], color="0.9", lw=6, zorder=0)
        panel.plot(place(one.nominal), at, "|", color=NOMINAL, ms=14, mew=2)
        if one.identified:
            panel.plot([place(edge) for edge in one.interval], [at, at], color=IDENTIFIED, lw=2)
            panel.plot(place(one.value), at, "o", color=IDENTIFIED, ms=5)
        else:
            panel.text(0.5, at, "not identifiable", ha="center", va="center", fontsize=7, color="0.4")
    panel.set_yticks(range(count), [one.label for one in found.estimates], fontsize=8)
    panel.set_xticks([0, 1], ["lower bound", "upper bound"])
    panel.invert_yaxis()
    return _png(figure)


def draw_spectrum(found: Identification, resolution: float) -> bytes:
    """Standard errors of the independent combinations of parameters, in half ranges, and where they are too large."""
    figure, (panel,) = _figure(1, 1, (6.0, 2.6))
    error = 1.0 / np.maximum(found.singular, 1e-8)
    known = error < resolution
    places = np.arange(1, len(error) + 1)
    panel.semilogy(places[known], error[known], "o", color=IDENTIFIED)
    panel.semilogy(places[~known], error[~known], "x", color="tab:red")
    panel.axhline(resolution, color="0.5", lw=1, ls="--")
    panel.set_xlabel("combination of parameters")
    panel.set_ylabel("standard error / half range", fontsize=8)
    return _png(figure)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, sharex=rows > 1).flat)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
