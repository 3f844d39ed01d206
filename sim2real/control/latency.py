"""Quantiles of latencies in constant memory, however long a robot runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_S = 1e-7
"""Shorter times count as this."""
RATIO = 1.01
"""Width of a bucket: quantiles are right within 1 %."""
_SCALE = 1 / math.log(RATIO)
_BUCKETS = 1 + int(math.log(1e4 / LEAST_S) * _SCALE)


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """Of times, s; NaN where nothing was measured."""

    p50: float
    p99: float
    max: float
    count: int


class Latencies:
    """A histogram of times with buckets of equal ratio, as HdrHistogram keeps it; the greatest is exact."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._max, self._count = math.nan, 0

    def add(self, seconds: float) -> None:
        """Count one."""
        if not math.isfinite(seconds):
            return
        bucket = int(math.log(max(seconds, LEAST_S) / LEAST_S) * _SCALE)
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self._max = seconds if self._count == 0 else max(self._max, seconds)
        self._count += 1

    def quantile(self, part: float) -> float:
        """The time that `part` of all do not exceed, s."""
        wanted, seen = part * self._count, 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(LEAST_S * RATIO ** (bucket + 0.5), self._max)
        return math.nan

    def summary(self) -> Quantiles:
        """Median, 99th percentile and maximum."""
        return Quantiles(p50=self.quantile(0.5), p99=self.quantile(0.99), max=self._max, count=self._count)
