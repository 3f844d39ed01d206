"""Playing commands on a robot whose clock waits, and keeping what it measures."""

from __future__ import annotations

import numpy as np

from cairngym.sim2real.identification.excitation import Excitation
from cairngym.sim2real.robot import LockstepRobot, Reading, RobotLog


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
    readings: list[Reading] = []
    sent: list[np.ndarray] = []
    for _ in range(repeats):
        reading = robot.reset()
        for command in commands:
            if reading.over:
                readings.append(reading)
                sent.append(command)
                reading = robot.reset()
            readings.append(reading)
            sent.append(command)
            reading = robot.step(command)
        readings.append(reading)
        sent.append(commands[-1])
    names = [channel.name for channel in spec.sensors if channel.name in readings[0].values]
    return RobotLog(
        spec=spec,
        time_s=np.array([one.time_s for one in readings]),
        command=np.array(sent),
        sensors={name: np.stack([np.asarray(one.values[name], float) for one in readings]) for name in names},
        episode=np.array([one.episode for one in readings], dtype=np.int64),
        meta={"excitation_seed": excitation.seed},
    )
