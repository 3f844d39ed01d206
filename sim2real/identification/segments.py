"""A log in pieces that can be simulated: checked, cut at gaps and at episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from cairngym.envs.checks import unknown_name
from cairngym.sim2real.identification.layout import LogError
from cairngym.sim2real.robot import RobotLog

GAP = 1.5
"""A distance between rows of more than this many control steps is a gap."""
RATE_TOLERANCE = 0.05
"""How far the distance between rows may be from the declared control step, as a part of it."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Rows of a log without a gap between them; row t's command holds until row t + 1."""

    name: str
    time_s: np.ndarray
    """`(T,)`, rising."""
    command: np.ndarray
    """`(T, command size)`."""
    sensors: Mapping[str, np.ndarray]
    """`(T, size)` by channel; NaN where a value is missing."""

    def __len__(self) -> int:
        return len(self.time_s)

    def rows(self, first: int, last: int, name: str | None = None) -> Segment:
        """Rows `first` to `last - 1`."""
        part = slice(first, last)
        sensors = {channel: values[part] for channel, values in self.sensors.items()}
        named = self.name if name is None else name
        return replace(self, name=named, time_s=self.time_s[part], command=self.command[part], sensors=sensors)


def check_time(time_s: np.ndarray, control_dt: float, name: str, episode: np.ndarray | None = None) -> None:
    """Hold time stamps against the declared rate.

    Args:
        time_s: `(T,)`.
        control_dt: declared time between rows, s.
        name: of the log, for messages.
        episode: `(T,)`; time may start again with an episode.

    Raises:
        LogError: stamps that are not finite, that fall or repeat within an episode, or of another rate.
    """
    if not np.isfinite(time_s).all():
        raise LogError(f"Expected finite time stamps in {name}, got {time_s[~np.isfinite(time_s)][0]} in row "
                       f"{int((~np.isfinite(time_s)).argmax())}.")  # fmt: skip
    steps = np.diff(time_s)
    within = np.ones(len(steps), bool) if episode is None else np.diff(episode) == 0
    if (wrong := within & (steps <= 0)).any():
        row = int(wrong.argmax())
        raise LogError(
            f"Expected rising time stamps in {name}, got {time_s[row]:g} s in row {row} and {time_s[row + 1]:g} s in "
            f"row {row + 1}. Sort the rows, and drop repeated readings."
        )
    if not within.any():
        return
    found = float(np.median(steps[within]))
    if abs(found - control_dt) > RATE_TOLERANCE * control_dt:
        raise LogError(
            f"Expected rows of {name} {control_dt:g} s apart, as it declares, got time stamps {found:g} s apart. Mend "
            "the declared control step, or the unit of the time stamps."
        )


def cut(
    log: RobotLog,
    *,
    channels: Sequence[str],
    name: str = "log",
    least_rows: int = 20,
) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """Check a log and cut it at gaps, new episodes and missing commands.

    Args:
        log: what a robot measured.
        channels: what is needed of it.
        name: of the log, for messages.
        least_rows: shorter pieces are left out.

    Returns:
        The pieces, and what there is to say of them.

    Raises:
        UnknownNameError: a channel is missing; the message names the nearest ones.
        LogError: time stamps that fall, a rate other than the declared one, or no piece long enough.
    """
    for channel in channels:
        if channel not in log.sensors:
            raise unknown_name(f"channel of {name}", channel, log.sensors)
    check_time(log.time_s, log.spec.control_dt, name, log.episode)
    whole, notes = _whole(log, channels, name)
    pieces = []
    for first, last in _spans(log, whole, name, notes):
        piece = whole.rows(first, last, f"{name}[{first}:{last}]")
        if len(piece) >= least_rows:
            pieces.append(piece)
        else:
            notes.append(f"{piece.name}: left out, {len(piece)} rows are fewer than {least_rows}")
    if not pieces:
        raise LogError(
            f"Expected {name} to have a piece of at least {least_rows} rows without a gap, got none in {len(log)} rows."
            + (f" It was cut: {'; '.join(notes[:3])}." if notes else "")
        )
    return tuple(pieces), tuple(notes)


def _whole(log: RobotLog, channels: Sequence[str], name: str) -> tuple[Segment, list[str]]:
    notes = []
    for channel in channels:
        missing = int(np.isnan(log.sensors[channel]).any(axis=1).sum())
        if np.isinf(log.sensors[channel]).any():
            raise LogError(f"Expected finite numbers or NaN in channel {channel!r} of {name}, got an infinite one.")
        if missing == len(log):
            raise LogError(f"Expected readings in channel {channel!r} of {name}, got NaN in every row.")
        if missing:
            notes.append(f"{name}: {channel} is missing in {missing} of {len(log)} rows, which count for nothing")
    sensors = {channel: log.sensors[channel] for channel in channels}
    return Segment(name=name, time_s=log.time_s, command=log.command, sensors=sensors), notes


def _spans(log: RobotLog, whole: Segment, name: str, notes: list[str]) -> list[tuple[int, int]]:
    """First and last rows of the pieces; a row without a command ends the piece before it."""
    steps = np.diff(log.time_s)
    gaps = (steps > GAP * log.spec.control_dt) & (np.diff(log.episode) == 0)
    for row in np.flatnonzero(gaps):
        notes.append(f"{name}: cut at a gap of {steps[row]:.3g} s after {log.time_s[row]:.6g} s")
    lost = ~np.isfinite(whole.command).all(axis=1)
    if lost.any():
        notes.append(f"{name}: cut at {int(lost.sum())} rows without a command")
    breaks = np.flatnonzero(gaps | (np.diff(log.episode) != 0)) + 1
    spans = []
    for first, last in zip([0, *breaks], [*breaks, len(log)], strict=True):
        edges = [first - 1, *(first + np.flatnonzero(lost[first:last])), last]
        spans += [(int(a) + 1, int(b)) for a, b in pairwise(edges) if b - a > 1]
    return spans
