"""What all plots share."""

from __future__ import annotations

import pytest

from cairngym.experiments.figures import LIGHT, grid, legend_above


@pytest.mark.parametrize(("panels", "labels"), [(1, 4), (1, 9), (3, 5)])
def test_legends_keep_within_the_figure(panels, labels):
    figure, axes = grid(panels, LIGHT)
    for index in range(labels):
        axes[0].plot([0, 1], [0, index], label=f"identified_randomized_{index}")
    legend_above(figure, LIGHT)
    figure.canvas.draw()
    (legend,) = figure.legends
    extent = legend.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1
    assert len(legend.get_texts()) == labels
