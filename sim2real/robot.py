"""What every robot offers, real or not: readings with time stamps, commands within limits, and a stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np

from cairngym.envs.checks import unknown_name


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Numbers that a robot measures or takes, always a flat vector."""

    name: str
    size: int
    unit: str
    """SI symbols, or "1" for what has none."""
    description: str = ""
    low: tuple[float, ...] | None = None
    """Least value of each number; None where nothing is known."""
    high: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class RobotSpec:
    """What a robot measures and takes."""

    robot: str
    """Which robot: an env id for twins and simulations."""
    control_dt: float
    """Time between two commands, s."""
    command: Channel
    """What it takes; always with limits."""
    rest: tuple[float, ...]
    """The command of a robot that has been stopped."""
    sensors: tuple[Channel, ...]
    """What it measures; `observation` (and, for tasks with goals, `achieved_goal` and `desired_goal`) is what policies
    see, the others are named as the fields of the env's state."""

    def sensor(self, name: str) -> Channel:
        """The channel of that name.

        Raises:
            UnknownNameError: naming the nearest valid names.
        """
        for channel in self.sensors:
            if channel.name == name:
                return channel
        raise unknown_name("sensor", name, [channel.name for channel in self.sensors])

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RobotSpec:
        """From what `to_dict` gave, lists standing for tuples."""
        content = dict(data)
        content["command"] = _channel(data["command"])
        content["sensors"] = tuple(_channel(sensor) for sensor in data["sensors"])
        return cls(**content | {"rest": tuple(data["rest"])})


def _channel(data: Mapping[str, Any]) -> Channel:
    bounds = {name: tuple(data[name]) for name in ("low", "high") if data.get(name) is not None}
    return Channel(**{**data, **bounds})


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a robot measured at one time."""

    sequence: int
    """Grows by one with every reading the robot makes; gaps are readings that were lost."""
    time_s: float
    """The robot's clock when it was measured, s."""
    received_s: float
    """This computer's `time.monotonic()` when it arrived, s."""
    values: Mapping[str, np.ndarray]
    """float64 `(size,)` by channel."""
    episode: int = 0
    """Number of the episode, for robots that have such; it changes with `reset`."""
    over: bool = False
    """Whether the episode has ended; the robot then rests until the next `reset`."""
    success: bool = False
    """Whether the task is done, as a judge beside the robot sees it; policies are not told."""


class RobotError(RuntimeError):
    """The robot can't do what is asked: it is gone, stopped, or refuses."""


class RobotInterface(ABC):
    """A robot; every driver keeps these rules.

    Commands are numbers `(command.size,)` in the units of `spec.command`. A command that is not finite or outside of
    the limits is refused by `send` and never reaches the motors. `stop` can be called at any time, from any thread and
    more than once; after it the robot holds `spec.rest` and `send` raises until `reset`. `send` may be called while
    another thread waits in `wait`.

    Attributes:
        spec: what the robot measures and takes.
    """

    spec: RobotSpec

    @abstractmethod
    def read(self) -> Reading | None:
        """The latest reading, without waiting; None as long as there was none.

        Raises:
            RobotError: the connection is gone for good.
        """

    @abstractmethod
    def wait(self, after: int, timeout_s: float) -> Reading | None:
        """The latest reading with a `sequence` above `after`, or None if none comes within the time.

        Raises:
            RobotError: the connection is gone for good.
        """

    @abstractmethod
    def send(self, command: np.ndarray) -> None:
        """Command the robot until the next command, without waiting.

        Raises:
            ValueError: wrong shape, not finite, or outside of the limits.
            RobotError: the robot is stopped, or gone.
        """

    @abstractmethod
    def stop(self, reason: str) -> None:
        """Emergency stop: hold the rest command from here on; never raises and never waits long."""

    @property
    @abstractmethod
    def stopped(self) -> str | None:
        """Why the robot was stopped; None if it was not."""

    @abstractmethod
    def reset(self, episode: int | None = None) -> Reading:
        """Release a stop and begin an episode, the next or the given one; wait for its first reading.

        Raises:
            RobotError: it does not answer.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the robot, which rests."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self, command: np.ndarray) -> np.ndarray:
        """The command as float64 `(size,)`, if it may be sent.

        Raises:
            ValueError: wrong shape, not finite, or outside of the limits.
        """
        return check_command(self.spec.command, command)


class LockstepRobot(RobotInterface):
    """A robot whose clock waits for commands: a simulation that is evaluated rather than controlled in time."""

    @abstractmethod
    def step(self, command: np.ndarray) -> Reading:
        """Hold a command for one `control_dt` and read.

        Raises:
            ValueError: wrong shape, not finite, or outside of the limits.
            RobotError: the robot is stopped, or gone.
        """


def check_command(channel: Channel, command: np.ndarray) -> np.ndarray:
    """A command as float64 `(size,)`, if it fits the channel.

    Raises:
        ValueError: wrong shape, not finite, or outside of the limits.
    """
    values = np.asarray(command, dtype=np.float64)
    if values.shape != (channel.size,):
        raise ValueError(f"Expected a command of shape ({channel.size},) for {channel.name!r}, got {values.shape}.")
    if not np.isfinite(values).all():
        raise ValueError(f"Expected a finite command, got {values.tolist()}.")
    low = np.full(channel.size, -np.inf) if channel.low is None else np.array(channel.low)
    high = np.full(channel.size, np.inf) if channel.high is None else np.array(channel.high)
    outside = (values < low) | (values > high)
    if outside.any():
        at = int(outside.argmax())
        raise ValueError(
            f"Expected number {at} of a command within [{low[at]:g}, {high[at]:g}] {channel.unit}, got {values[at]:g}. "
            "Clip it before sending, or have a rate and workspace limiter do so."
        )
    return values


@dataclass(frozen=True, kw_only=True)
class RobotLog:
    """What a robot measured and was told, one row for each reading.

    Row t holds the reading at `time_s[t]` and the command sent in answer to it, which holds until the next row.
    """

    spec: RobotSpec
    time_s: np.ndarray
    """float64 `(T,)`, the robot's clock."""
    command: np.ndarray
    """float64 `(T, command.size)`."""
    sensors: Mapping[str, np.ndarray]
    """float64 `(T, size)` by channel; NaN where a value is missing."""
    episode: np.ndarray
    """int64 `(T,)`."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the log says of itself."""

    def __len__(self) -> int:
        return len(self.time_s)
