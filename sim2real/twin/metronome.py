"""A clock that beats without drift and counts what came too late."""

from __future__ import annotations


class Metronome:
    """Beats at `start + k * period`; what is late is caught up, unless it is very late.

    Args:
        period_s: time between two beats.
        patience: beats that may be behind before the rest of them is skipped.

    Attributes:
        next_s: when the next beat is due.
        beats: how many there were.
        overruns: beats that began more than a period late.
        skipped: beats that were left out because too many were behind.
        worst_s: the greatest lateness of a beat.
    """

    def __init__(self, period_s: float, patience: int = 20) -> None:
        self.period_s, self.patience = period_s, patience
        self.beats, self.overruns, self.skipped, self.worst_s = 0, 0, 0, 0.0
        self.start(0.0)

    def start(self, now: float) -> None:
        """Begin anew with a beat one period after `now`, s."""
        self._origin, self._number = now, 1

    @property
    def next_s(self) -> float:
        """When the next beat is due, s."""
        return self._origin + self._number * self.period_s

    def beat(self, now: float) -> bool:
        """Whether a beat is due at `now`; it counts as done then."""
        late = now - self.next_s
        if late < 0.0:
            return False
        self.beats += 1
        self.worst_s = max(self.worst_s, late)
        self.overruns += late > self.period_s
        behind = int(late / self.period_s)
        if behind > self.patience:
            self.skipped += behind
            self._number += behind
        self._number += 1
        return True
