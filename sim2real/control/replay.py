"""Replay of logs: recorded commands to a robot, or recorded readings to a policy, and how far the answers lie apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

from cairngym.sim2real.control.flight_log import FlightLog
from cairngym.sim2real.control.latency import Latencies, Quantiles
from cairngym.sim2real.control.loop import Policy, forget
from cairngym.sim2real.control.watchdog import slices
from cairngym.sim2real.robot import LockstepRobot, Reading, RobotLog, RobotSpec


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """How far two series of one channel lie apart, in its units."""

    max: float
    rms: float
    first_row: int | None
    """The first row of the log with more than the tolerance; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class CommandReplay:
    """What a robot did under the commands of a log."""

    robot: str
    rows: int
    """Rows compared."""
    episodes: int
    ended_early: int
    """Episodes that were over before the log's were."""
    channels: Mapping[str, Deviation]

    @property
    def same(self) -> bool:
        """Whether no channel lies farther off than the tolerance."""
        return self.ended_early == 0 and all(one.first_row is None for one in self.channels.values())

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {**asdict(self), "same": self.same}

    def text(self) -> str:
        """For people."""
        lines = [
            f"{self.rows} rows of {self.episodes} episodes on {self.robot}; {self.ended_early} ended early",
            f"{'channel':<24} {'max':>11} {'rms':>11}  first row off",
        ]
        for name, one in self.channels.items():
            first = "-" if one.first_row is None else str(one.first_row)
            lines.append(f"{name:<24} {one.max:>11.4g} {one.rms:>11.4g}  {first}")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class PolicyReplay:
    """What a policy answers to the readings of a log."""

    ticks: int
    """Ticks compared: those in which the policy was asked and answered with numbers."""
    deviation: Deviation
    """From the recorded actions; rows are ticks of the log."""
    latency: Quantiles
    """Of the policy, s."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        first = "none" if self.deviation.first_row is None else str(self.deviation.first_row)
        return (
            f"{self.ticks} actions: max deviation {self.deviation.max:.4g}, rms {self.deviation.rms:.4g}, first tick "
            f"off: {first}; policy p50 {1e3 * self.latency.p50:.3f} ms, p99 {1e3 * self.latency.p99:.3f} ms"
        )


def replay_commands(log: RobotLog, robot: LockstepRobot, *, tolerance: float = 1e-9) -> CommandReplay:
    """Send a log's commands to a robot that waits for them, and compare what it measures.

    Each episode of the log is begun by its number. A command is held until the next row, that is over as many
    `control_dt` as the row's reading is later. Under a real-time clock commands reach a robot some time after the
    reading they answer: replays of such logs deviate by that.

    Args:
        log: of a robot with the same channels.
        robot: what is commanded; it is left stopped.
        tolerance: deviation in a channel's units that counts as none.

    Raises:
        ValueError: the log has no rows, or the robot has other channels.
        RobotError: the robot can't do it.
    """
    names = _shared(log.spec, robot.spec)
    if len(log) == 0:
        raise ValueError("Expected a log with readings to replay, got none: the loop ended before its first tick.")
    differences: dict[str, list[np.ndarray]] = {name: [] for name in names}
    at, early, episodes = [], 0, _episodes(log)
    for rows in episodes:
        compared = 0
        for row, reading in _played(log, robot, rows):
            at.append(row)
            compared += 1
            for name in names:
                differences[name].append(np.asarray(reading.values[name]) - log.sensors[name][row])
        early += compared < len(rows)
    robot.stop("the replay is over")
    return CommandReplay(
        robot=robot.spec.robot, rows=len(at), episodes=len(episodes), ended_early=early,
        channels={name: _deviation(np.array(differences[name]), at, tolerance) for name in names},
    )  # fmt: skip


def _played(log: RobotLog, robot: LockstepRobot, rows: np.ndarray) -> Iterator[tuple[int, Reading]]:
    """Rows of an episode with the robot's readings that belong to them, until its episode is over."""
    reading = robot.reset(int(log.episode[rows[0]]))
    yield int(rows[0]), reading
    for before, row in zip(rows[:-1].tolist(), rows[1:].tolist(), strict=True):
        for _ in range(_steps(log, before, row)):
            if reading.over:
                return
            reading = robot.step(log.command[before])
        yield row, reading


def _steps(log: RobotLog, before: int, row: int) -> int:
    """How many `control_dt` lie between two rows."""
    if isinstance(log, FlightLog):
        sequence = log.ticks["sequence"][log.rows]
        return int(sequence[row] - sequence[before])
    return max(1, round(float(log.time_s[row] - log.time_s[before]) / log.spec.control_dt))


def _episodes(log: RobotLog) -> list[np.ndarray]:
    """Rows of each episode; a number that comes up again later is another one."""
    return np.split(np.arange(len(log)), np.flatnonzero(np.diff(log.episode)) + 1)


def _shared(recorded: RobotSpec, robot: RobotSpec) -> list[str]:
    """Names of the sensors that both have.

    Raises:
        ValueError: none, or they differ in size, or the commands do.
    """
    if recorded.command.size != robot.command.size:
        raise ValueError(
            f"Expected a robot with commands of {recorded.command.size} numbers, as {recorded.robot!r} in the log, got "
            f"{robot.robot!r} with {robot.command.size}."
        )
    sizes = {sensor.name: sensor.size for sensor in robot.sensors}
    names = [sensor.name for sensor in recorded.sensors if sizes.get(sensor.name) == sensor.size]
    if not names:
        raise ValueError(f"Expected a robot with sensors of {recorded.robot!r} in the log, got {robot.robot!r}.")
    return names


def replay_policy(log: FlightLog, policy: Policy, *, tolerance: float = 1e-6) -> PolicyReplay:
    """Ask a policy what it would have done, and compare with what was done.

    Args:
        log: a flight log.
        policy: as for the control loop.
        tolerance: deviation of an action that counts as none.

    Raises:
        ValueError: the policy was never asked in the log, or answers with another shape.
    """
    asked = np.flatnonzero(np.isfinite(log.ticks["action"]).all(axis=1))
    if len(asked) == 0:
        raise ValueError("Expected a log in which a policy was asked, got none of its actions.")
    where, episode = slices(log.spec), None
    latencies, differences = Latencies(), []
    for tick in asked.tolist():
        if log.ticks["episode"][tick] != episode:
            episode = log.ticks["episode"][tick]
            forget(policy)
        values = log.ticks["sensors"][tick]
        begun = perf_counter()
        action = np.asarray(policy({name: values[at] for name, at in where.items()}), dtype=np.float64)
        latencies.add(perf_counter() - begun)
        if action.shape != (log.spec.command.size,):
            raise ValueError(f"Expected actions of shape ({log.spec.command.size},), got {action.shape}.")
        differences.append(action - log.ticks["action"][tick])
    deviation = _deviation(np.array(differences), asked.tolist(), tolerance)
    return PolicyReplay(ticks=len(asked), deviation=deviation, latency=latencies.summary())


def _deviation(differences: np.ndarray, rows: list[int], tolerance: float) -> Deviation:
    """Of differences `(rows, size)`; what the log lacks is NaN and left out."""
    sizes = np.abs(differences)
    known = sizes[~np.isnan(sizes)]
    off = np.flatnonzero((sizes > tolerance).any(axis=1))
    return Deviation(
        max=float(known.max()) if known.size else math.nan,
        rms=float(np.sqrt(np.mean(known**2))) if known.size else math.nan,
        first_row=rows[off[0]] if len(off) else None,
    )
