"""The numbers a comparison is judged by, and bounds on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cairngym.envs.checks import unknown_name

ALL_TASKS = "all"
LEVELS = (50, 80, 95)
"""Success rates, in percent, that times are measured to."""

METRICS: Mapping[str, str] = MappingProxyType(
    {
        "final_success": "success rate of the sampled policy at the end, IQM over seeds",
        "final_success_greedy": "success rate of the greedy policy at the end, IQM over seeds",
        **{f"steps_to_{p}": f"env steps until an evaluation reaches {p} % success, median over seeds" for p in LEVELS},
        **{
            f"seconds_to_{p}": f"training seconds until an evaluation reaches {p} % success, median over seeds"
            for p in LEVELS
        },
        "probability_of_improvement": "probability that a run ends with higher success than one of the baseline",
        "lead": "lower end of final success's interval minus the upper end of the baseline's: above 0 they are apart",
    }
)
"""Every metric by name, and what it means."""
RELATIVE = ("probability_of_improvement", "lead")
"""Metrics that hold a variant against the baseline."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Bounds on one measured number of a comparison.

    Raises:
        UnknownNameError: no such metric.
        ValueError: neither bound is given, or they exclude each other.
    """

    task: str = ALL_TASKS
    """Task id, or "all" for all tasks together."""
    variant: str
    """Name of the variant."""
    metric: str
    """One of `METRICS`."""
    minimum: float | None = None
    """The least the metric may be."""
    maximum: float | None = None
    """The most the metric may be."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise unknown_name("metric", self.metric, METRICS)
        if self.minimum is None and self.maximum is None:
            raise ValueError(f"Expected a minimum or a maximum for {self.metric} of {self.variant}, got neither.")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"Expected minimum <= maximum for {self.metric}, got {self.minimum} and {self.maximum}.")

    @property
    def wanted(self) -> str:
        """The bounds in words."""
        bounds = ((self.minimum, ">="), (self.maximum, "<="))
        return " and ".join(f"{sign} {bound:g}" for bound, sign in bounds if bound is not None)
