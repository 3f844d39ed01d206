"""The control loop against a twin in real time: deadlines, latencies, the highest rate that holds, and every fault.

python benchmarks/control_loop.py --seconds 60 --out benchmarks/results/control_loop.json

The twin is a point maze whose clock runs at the loop's rate, in a process of its own, over UDP on loopback; the policy
is a numpy network of two layers of 64. With --priority both have real-time priority, and the run is repeated without:
a twin that shares its cores with other work is late by itself, which no robot's hardware is. Exits with 1 where more
than 1 % of the deadlines at the rate asked for are missed, or a fault does not end as specified.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from cairngym.experiments.provenance import hardware, versions
from cairngym.sim2real.control.flight_log import FlightLog, read_flight_log
from cairngym.sim2real.control.loop import ControlLoop, LoopConfig
from cairngym.sim2real.control.realtime import realtime_priority
from cairngym.sim2real.control.recorder import FlightRecorder
from cairngym.sim2real.control.report import LoopReport
from cairngym.sim2real.robot import RobotSpec
from cairngym.sim2real.twin.client import TwinRobot
from cairngym.sim2real.twin.config import Fault, TwinConfig
from cairngym.sim2real.twin.launch import TwinProcess

BAR = 0.01
"""Share of deadlines that may be missed."""
AFTER_S = 1.0
"""When faults begin, s."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is measured."""

    seconds: float = 60.0
    """Of the run at the rate asked for, s."""
    rate_hz: float = 200.0
    """That rate."""
    rates: tuple[float, ...] = (300, 400, 500, 600, 800, 1000)
    """Rates of the sweep, Hz; it ends with the first that does not hold."""
    sweep_s: float = 5.0
    """Of each rate, s."""
    env: str = "PointMaze_UMaze-v3"
    """The twin's env."""
    priority: int | None = None
    """Real-time priority of twin and loop, where the system permits it: 1 to 99."""
    note: str = ""
    """What else the machine was doing."""
    out: Path | None = None
    """JSON file for the result."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A fault, and how it has to end."""

    begin: Callable[[TwinProcess, TwinRobot], None]
    ends: tuple[str, ...]
    """Faults by which the loop may stop; empty where it has to go on."""
    disk: bool = False
    """Whether the disk fills up."""


def inject(kind: str, **options: Any) -> Callable[[TwinProcess, TwinRobot], None]:
    """Bring a fault about in the twin."""
    return lambda twin, robot: robot.inject(Fault(kind=kind, **options))


CASES: dict[str, Case] = {
    "killed twin": Case(begin=lambda twin, robot: twin.kill(), ends=("connection", "stale")),
    "frozen sensor": Case(begin=inject("freeze_values"), ends=("frozen",)),
    "frozen time stamps": Case(begin=inject("freeze_stamps"), ends=("stale",)),
    "NaN in readings": Case(begin=inject("nan"), ends=("nan_reading",)),
    "30 % loss each way": Case(begin=inject("loss", amount=0.3), ends=()),
    "100 ms delay spike": Case(begin=inject("delay", amount=0.1, duration_s=0.1), ends=()),
    "twin stalls for 2 s": Case(begin=inject("stall", duration_s=2.0), ends=("stale", "connection")),
    "disk full": Case(begin=lambda twin, robot: None, ends=(), disk=True),
}


class Network:
    """A policy with the cost of a small network."""

    def __init__(self, spec: RobotSpec) -> None:
        generator = np.random.default_rng(0)
        sizes = (sum(spec.sensor(name).size for name in ("observation", "desired_goal")), 64, 64, spec.command.size)
        self.layers = [generator.normal(size=(before, after)) / np.sqrt(before) for before, after in pairwise(sizes)]

    def __call__(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """An action in (-1, 1)."""
        values = np.concatenate([observation["observation"], observation["desired_goal"]])
        for layer in self.layers:
            values = np.tanh(values @ layer)
        return values


@contextmanager
def full_disk(path: Path, room: int) -> Iterator[None]:
    """Let files of this process grow to `room` bytes beyond what `path` has, as on a disk that is then full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fly(
    twin: TwinProcess, config: LoopConfig, folder: Path, case: Case | None = None
) -> tuple[LoopReport, FlightLog, dict[str, Any], float]:
    """Control a twin: report, log, the twin's counters, and how long the loop went on after the fault, s."""
    path = folder / "flight.log"
    if config.priority is not None:
        os.sched_setscheduler(twin.process.pid, os.SCHED_FIFO, os.sched_param(config.priority))
    with realtime_priority(config.priority), twin.connect() as robot:  # threads of the driver inherit it
        if not isinstance(robot, TwinRobot):
            raise TypeError("Expected a twin with the real-time clock.")
        recorder = FlightRecorder(path, robot.spec, period_s=config.period_s(robot.spec), overwrite=True)
        begun: list[float] = []

        def begin() -> None:
            begun.append(time.monotonic())
            if case is not None:
                case.begin(twin, robot)

        timer = threading.Timer(AFTER_S, begin)
        timer.daemon = True
        with full_disk(path, 20_000) if case is not None and case.disk else nullcontext():
            timer.start()
            report = ControlLoop(robot, Network(robot.spec), config, recorder=recorder).run()
        after_s = time.monotonic() - begun[0] if begun else 0.0
        timer.cancel()
        status = robot.status() if twin.alive else {}
        if twin.alive:
            robot.inject(Fault(kind="none"))
    return report, read_flight_log(path), status, after_s


def measured(benchmark: Benchmark, rate_hz: float, seconds: float, folder: Path) -> dict[str, Any]:
    """Deadlines and latencies at a rate."""
    config = LoopConfig(seconds=seconds, priority=benchmark.priority)
    with TwinProcess(TwinConfig(env=benchmark.env, control_dt=1 / rate_hz)) as twin:
        report, log, status, _ = fly(twin, config, folder)
    result = report.to_dict() | {"twin": status, "log_ticks": len(log.ticks)}
    print(f"--- {rate_hz:g} Hz\n{report.text()}\ntwin: {status}", flush=True)
    return result | {"holds": report.outcome == "finished" and report.miss_rate < BAR}


def sweep(benchmark: Benchmark, folder: Path) -> list[dict[str, Any]]:
    """Rates up to the first that does not hold."""
    results = []
    for rate in benchmark.rates:
        results.append(measured(benchmark, rate, benchmark.sweep_s, folder))
        if not results[-1]["holds"]:
            break
    return results


def faults(benchmark: Benchmark, folder: Path) -> list[dict[str, Any]]:
    """What each fault ends in."""
    results = []
    config = LoopConfig(seconds=4.0, priority=benchmark.priority)
    for name, case in CASES.items():
        with TwinProcess(TwinConfig(env=benchmark.env, control_dt=1 / benchmark.rate_hz)) as twin:
            report, log, _, after_s = fly(twin, config, folder, case)
        intact = log.torn_bytes == 0 and log.damaged == 0 and len(log.ticks) + len(log.notes) == report.recorded
        right = report.fault in case.ends and after_s > 0 if case.ends else report.outcome == "finished"
        if case.disk:
            right = right and report.recorder_error is not None
        results.append(
            {
                "fault": name, "specified": "safe stop" if case.ends else "goes on", "outcome": report.outcome,
                "reason": report.reason, "ended_after_s": round(after_s, 3) if case.ends else None,
                "commands": dict(report.commands), "faults": dict(report.faults), "lost": report.lost,
                "log_intact": intact, "log_ticks": len(log.ticks), "recorder_error": report.recorder_error,
                "as_specified": right and intact,
            }
        )  # fmt: skip
        print(f"{name:<22} {'right' if right and intact else 'WRONG':<6} {report.outcome}: {report.reason}", flush=True)
    return results


def main(benchmark: Benchmark) -> int:
    """Measure all; returns 1 where the bar is missed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = os.getloadavg()
        main_run = measured(benchmark, benchmark.rate_hz, benchmark.seconds, folder)
        plain = None
        if benchmark.priority is not None:
            plain = measured(replace(benchmark, priority=None), benchmark.rate_hz, benchmark.seconds, folder)
        table = faults(benchmark, folder)
        rates = sweep(benchmark, folder)
    held = [main_run, *rates]
    result = {
        "run": main_run, "run_without_priority": plain, "sweep": rates, "faults": table,
        "highest_rate_hz": max((one["rate_hz"] for one in held if one["holds"]), default=None),
        "versions": versions(), "hardware": hardware("cpu"), "load_average_before": before, "note": benchmark.note,
    }  # fmt: skip
    if benchmark.out is not None:
        benchmark.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(not (main_run["holds"] and all(one["as_specified"] for one in table)))


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Benchmark, description=__doc__)))
