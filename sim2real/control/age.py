"""How old a reading is, when the robot's clock and this computer's count from different times."""

from __future__ import annotations

import math

from cairngym.sim2real.robot import Reading


class ReadingAge:
    """Age of the latest reading: the time since it arrived, and how much later it arrived than the quickest ones.

    What arrives late but steadily is as old as what does not arrive. The delay of one reading can't be measured, as
    the clocks' offset is unknown; what it exceeds the least delay by can: `received - time`, less its least value. That
    is taken over a window, so that clocks which drift apart do not age readings.

    Args:
        window_s: the least delay is that of the last one to two such windows, s; 0 counts the time since arrival only.
    """

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.reset()

    def reset(self) -> None:
        """Forget all readings: the robot's clock may start anew."""
        self._received = -math.inf
        self._excess = 0.0
        self._least = self._before = math.inf
        self._window = -math.inf

    def take(self, reading: Reading) -> None:
        """Take in a reading that was not seen before."""
        self._received = reading.received_s
        if self.window_s <= 0 or not math.isfinite(reading.time_s):
            return
        offset = reading.received_s - reading.time_s
        if reading.received_s - self._window > self.window_s:
            self._before, self._least, self._window = self._least, math.inf, reading.received_s
        self._least = min(self._least, offset)
        self._excess = offset - min(self._least, self._before)

    def at(self, now_s: float) -> float:
        """Age at `now_s` on the clock of `received_s`, s; infinite as long as there was no reading."""
        return now_s - self._received + self._excess
