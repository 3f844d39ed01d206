"""Playing commands on a robot whose clock waits, and keeping what it measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cairngym.sim2real.identification.excitation import Excitation
from cairngym.sim2real.robot import LockstepRobot, Reading, RobotLog


class _Keeper:
    """Rows of a log: readings, and what was sent in answer to each."""

    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.sent: list[np.ndarray] = []

    def keep(self, reading: Reading, command: np.ndarray) -> None:
        self.readings.append(reading)
        self.sent.append(command)

    def log(self, robot: LockstepRobot, meta: Mapping[str, Any]) -> RobotLog:
        spec, readings = robot.spec, self.readings
        names = [channel.name for channel in spec.sensors if channel.name in readings[0].values]
        return RobotLog(
            spec=spec,
            time_s=np.array([one.time_s for one in readings]),
            command=np.array(self.sent),
            sensors={name: np.stack([np.asarray(one.values[name], float) for one in readings]) for name in names},
            episode=np.array([one.episode for one in readings], dtype=np.int64),
            meta=meta,
        )


def collect(robot: LockstepRobot, excitation: Excitation, *, repeats: int = 1) -> RobotLog:
    """Play an excitation, each time in a new episode; a robot whose episode ends early goes on in another.

    Args:
        robot: in this process or a twin under lockstep.
        excitation: commands at the robot's control step.
        repeats: how often.

    Raises:
        ValueError: the excitation is for another control step or number of commands, or leaves the robot's limits.
        RobotError: the robot is gone, or stopped.
    """
    spec = robot.spec
    if abs(excitation.control_dt - spec.control_dt) > 1e-9 or excitation.command.shape[1] != spec.command.size:
        raise ValueError(
            f"Expected an excitation of {spec.command.size} numbers every {spec.control_dt:g} s, got "
            f"{excitation.command.shape[1]} every {excitation.control_dt:g} s."
        )
    commands = np.stack([robot.check(command) for command in excitation.command])
    kept = _Keeper()
    for _ in range(repeats):
        reading = robot.reset()
        for command in commands:
            if reading.over:
                kept.keep(reading, command)
                reading = robot.reset()
            kept.keep(reading, command)
            reading = robot.step(command)
        kept.keep(reading, commands[-1])
    return kept.log(robot, {"excitation_seed": excitation.seed})


def collect_played(
    robot: LockstepRobot, policy: Callable[[Reading], np.ndarray], *, duration_s: float, meta: Mapping[str, Any]
) -> RobotLog:
    """Let a policy play an episode by what the robot measures, until it is over or the time is.

    Args:
        robot: in this process or a twin under lockstep.
        policy: the command `(size,)` in answer to a reading.
        duration_s: how long at most, s.
        meta: what the log is to say of itself.

    Raises:
        ValueError: a command that leaves the robot's limits.
        RobotError: the robot is gone, or stopped.
    """
    kept, reading = _Keeper(), robot.reset()
    command = np.array(robot.spec.rest)
    for _ in range(round(duration_s / robot.spec.control_dt)):
        if reading.over:
            break
        command = robot.check(policy(reading))
        kept.keep(reading, command)
        reading = robot.step(command)
    kept.keep(reading, command)
    return kept.log(robot, meta)
