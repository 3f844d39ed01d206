"""`cairn sim2real run`: a policy controls a robot, under a watchdog."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import tyro

from cairngym.envs.checks import unknown_name

if TYPE_CHECKING:
    from cairngym.sim2real.control.faults import Response
    from cairngym.sim2real.control.limits import Limit
    from cairngym.sim2real.control.loop import LoopConfig
    from cairngym.sim2real.control.watchdog import WatchdogConfig
    from cairngym.sim2real.robot import RobotInterface, RobotSpec

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
Repeated = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """Have an exported policy control a robot until the time is up, a fault stops it, or Ctrl-C does.

    Exits with 0 where the time is up, 1 after a safe stop, 130 after Ctrl-C. The robot is left stopped.

    Examples:
      cairn sim2real run --robot udp://127.0.0.1:7447 --policy policy.onnx --seconds 60 --log flight.log
      cairn sim2real run --robot udp://127.0.0.1:7447 --policy policy.onnx --filter low_pass:10 --rate-limit 20
      cairn sim2real run --robot zenoh://tcp/192.168.0.7:7448 --policy policy.onnx --workspace achieved_goal=-1:1:0.2
      cairn sim2real run --robot sim://PointMaze_UMaze-v3 --policy policy.onnx --episodes 10
    """

    robot: str
    """udp://HOST:PORT (a twin), zenoh://tcp/HOST:PORT, or sim://ENV (a simulation in this process, without a clock)."""
    policy: Path
    """A file of `cairn export`."""
    seconds: float | None = None
    """How long, s; default is until something else ends it."""
    episodes: int | None = None
    """How many episodes; default is as many as there is time for."""
    rate_hz: float | None = None
    """Commands a second; default is the robot's rate."""
    log: Path | None = None
    """Where the flight recorder writes every tick."""
    overwrite: Flag = False
    """Replace a flight log that is there."""
    filter: Repeated = ()
    """low_pass:HZ, butterworth:HZ, moving_average:TICKS or one_euro:HZ,BETA; may be given often, in order."""
    rate_limit: float | None = None
    """Greatest change of each number of a command, units a second."""
    workspace: Repeated = ()
    """CHANNEL=LOW:HIGH or CHANNEL=LOW:HIGH:MARGIN; LOW and HIGH are one number, or one for each with commas. May be
    given often."""
    fault: Repeated = ()
    """FAULT=RESPONSE:SECONDS, as stale=rest:0.3: what is sent during a fault (policy, hold, rest), and how long it may
    last before the robot is stopped (inf: for ever). May be given often."""
    stale_ms: float = 50.0
    """Age from which a reading is stale, ms."""
    clock_window_s: float = 5.0
    """Readings are also stale that arrive later after their time stamp than the quickest of this window, s; 0 looks at
    the time since arrival only, for robots whose clock stops and starts."""
    moving: Repeated = ("observation=0.5",)
    """CHANNEL=SECONDS: how long new readings may repeat its values; "none" looks at no channel. May be given often."""
    hang_s: float = 0.5
    """How long a tick may take before the robot is stopped, s."""
    priority: int | None = None
    """Real-time priority (1 to 99), if the system permits it."""
    json: Flag = False
    """Print the report as JSON."""


def main(config: Run) -> int:
    """Control the robot; returns 0, 1 after a safe stop, 130 after Ctrl-C."""
    from cairngym.sim2real.control.filters import make_filter
    from cairngym.sim2real.control.loop import ControlLoop
    from cairngym.sim2real.control.realtime import realtime_priority
    from cairngym.sim2real.control.recorder import FlightRecorder
    from cairngym.sim2real.policy import OnnxPolicy

    policy, loop = OnnxPolicy(config.policy), loop_config(config)
    with ExitStack() as stack:
        stack.enter_context(realtime_priority(config.priority))  # threads of the driver inherit it
        robot = stack.enter_context(connect(config.robot))
        policy.check(robot.spec)
        period_s = loop.period_s(robot.spec)
        filters = [make_filter(text, dt=period_s) for text in config.filter]
        chain = limits(config, robot.spec, period_s)
        recorder = None
        if config.log is not None:
            meta = {"policy": str(config.policy), "robot": config.robot}
            recorder = FlightRecorder(
                config.log, robot.spec, period_s=period_s, meta=meta, overwrite=config.overwrite
            )  # fmt: skip
            stack.enter_context(recorder)
        stack.enter_context(terminable())
        report = ControlLoop(robot, policy, loop, filters=filters, limits=chain, recorder=recorder).run()
    print(report.to_json() if config.json else report.text())
    return 130 if report.fault == "interrupted" else int(report.fault is not None)


def connect(address: str) -> RobotInterface:
    """The robot at an address.

    Raises:
        ValueError: no such kind of address.
        RobotError: nobody answers.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "udp":
        from cairngym.sim2real.twin.client import connect_twin

        parts = urlsplit(address)
        if not parts.hostname or not parts.port:
            raise ValueError(f"Expected udp://HOST:PORT, got {address!r}.")
        return connect_twin(parts.hostname, parts.port)
    if scheme == "zenoh" and rest:
        from cairngym.sim2real.transport.zenoh import ZenohRobot

        return ZenohRobot([rest])
    if scheme == "sim" and rest:
        from cairngym.sim2real.simulated import SimulatedRobot

        return SimulatedRobot(rest)
    raise ValueError(f"Expected a robot as udp://HOST:PORT, zenoh://tcp/HOST:PORT or sim://ENV, got {address!r}.")


@contextmanager
def terminable() -> Iterator[None]:
    """Have SIGTERM end the loop as Ctrl-C does: with the robot stopped and the log whole."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def loop_config(config: Run) -> LoopConfig:
    """The loop's configuration.

    Raises:
        UnknownNameError: no such fault.
        ValueError: an option that says nothing, or what can't be.
    """
    from cairngym.sim2real.control.loop import LoopConfig

    return LoopConfig(
        rate_hz=config.rate_hz, seconds=config.seconds, episodes=config.episodes, hang_s=config.hang_s,
        priority=config.priority, watchdog=watchdog_config(config),
    )  # fmt: skip


def watchdog_config(config: Run) -> WatchdogConfig:
    """The watchdog's configuration; see `loop_config` for errors."""
    from cairngym.sim2real.control.faults import Response
    from cairngym.sim2real.control.watchdog import Moving, WatchdogConfig

    told = [pair("--moving", text) for text in config.moving if text != "none"]
    moving = () if "none" in config.moving else tuple(Moving(channel=name, within_s=number(s)) for name, s in told)
    base = WatchdogConfig(stale_s=config.stale_ms / 1000, clock_window_s=config.clock_window_s, moving=moving)
    valid = [one.name for one in fields(base) if isinstance(getattr(base, one.name), Response)]
    responses: dict[str, Any] = {}
    for text in config.fault:
        name, value = pair("--fault", text)
        if name not in valid:
            raise unknown_name("fault", name, valid)
        responses[name] = response(value)
    return replace(base, **responses)


def response(text: str) -> Response:
    """From "hold:0.25".

    Raises:
        ValueError: no such response, or no time.
    """
    from cairngym.sim2real.control.faults import Response

    meanwhile, colon, seconds = text.partition(":")
    if not colon:
        raise ValueError(f"Expected a response and a time, as in hold:0.25, got {text!r}.")
    return Response(meanwhile=meanwhile, stop_after_s=number(seconds))  # type: ignore[arg-type]


def limits(config: Run, spec: RobotSpec, period_s: float) -> list[Limit]:
    """Range, rate and workspace.

    Raises:
        UnknownNameError: a channel that the robot lacks.
        ValueError: a box that can't be.
    """
    from cairngym.sim2real.control.limits import CommandLimits, RateLimit, Workspace

    chain: list[Limit] = [CommandLimits(spec.command)]
    if config.rate_limit is not None:
        chain.append(RateLimit(config.rate_limit, dt=period_s, size=spec.command.size))
    for text in config.workspace:
        name, value = pair("--workspace", text)
        bounds = [[number(part) for part in bound.split(",")] for bound in value.split(":")]
        if len(bounds) not in (2, 3):
            raise ValueError(f"Expected CHANNEL=LOW:HIGH or CHANNEL=LOW:HIGH:MARGIN for --workspace, got {text!r}.")
        low, high, *margin = (bound[0] if len(bound) == 1 else bound for bound in bounds)
        chain.append(Workspace(spec, name, low=low, high=high, margin=margin[0] if margin else float("inf")))
    return chain


def pair(option: str, text: str) -> tuple[str, str]:
    """The two sides of "name=value"."""
    name, equals, value = text.partition("=")
    if not (equals and name and value):
        raise ValueError(f"Expected NAME=VALUE for {option}, got {text!r}.")
    return name, value


def number(text: str) -> float:
    """A number, also "inf"."""
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"Expected a number, got {text!r}.") from error
