"""Simulating a plant command by command: what each does is found where the bodies are when it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from cairngym.sim2real.identification.plant import Plant


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a command amounts to from when it is given."""

    control: np.ndarray
    """`(nu,)`."""
    pose: np.ndarray
    """`(k, 7)`, of the mocap bodies that commands move."""


def target(plant: Plant, data: mujoco.MjData, command: np.ndarray) -> Target:
    """What a command `(size,)` amounts to where `data` is, whose bodies' poses are made current."""
    if plant.mocap is None:
        return Target(control=plant.command(command, data.qpos), pose=np.zeros((0, 7)))
    mujoco.mj_kinematics(data.model, data)
    return Target(control=plant.command(command, data.qpos), pose=plant.mocap(command, data))


def targets(plant: Plant, commands: np.ndarray, qpos: np.ndarray) -> list[Target]:
    """What commands `(T, size)` amount to at positions `(T, nq)`."""
    data, found = mujoco.MjData(plant.model), []
    for command, position in zip(commands, qpos, strict=True):
        data.qpos[:] = position
        found.append(target(plant, data, command))
    return found


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Commands on the physics' clock, whose step 0 is where the simulation begins."""

    past: Sequence[Target]
    """What those amount to that were given before."""
    rows: np.ndarray
    """`(T,)` whole numbers that rise, the physics steps before which commands are given: the past ones, then others."""
    command: np.ndarray
    """`(T - len(past), size)`, the others."""


def drive(
    plant: Plant, model: mujoco.MjModel, first: np.ndarray, commands: Commands, steps: int, delay: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Simulate.

    A command that is given before physics step k is in force from step k + `delay` / timestep on, until the next one
    is; a physics step in which two are is taken with their mean, so that results are continuous in the delay. The first
    command holds before it is in force, too.

    Args:
        plant: how it is commanded.
        model: with its parameters.
        first: state (time, qpos, qvel, act) to begin at.
        commands: what it is told.
        steps: physics steps.
        delay: of the commands, s.

    Returns:
        States `(steps, nstate)` after each physics step, and sensor data `(steps, nsensordata)` of the states before.
    """
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.act[:] = np.split(first[1:], np.cumsum([model.nq, model.nv]))
    late = commands.rows + delay / model.opt.timestep
    known = list(commands.past)
    given = dict(zip(commands.rows[len(known) :].tolist(), commands.command, strict=True))
    begins, ends = _in_force(late, np.arange(steps)), _in_force(late, np.arange(1, steps + 1), ending=True)
    states, sensors = np.empty((steps, len(first))), np.empty((steps, model.nsensordata))
    for k in range(steps):
        if k in given:
            known.append(target(plant, data, given[k]))
        _command(plant, data, _mean(known, late, k, int(begins[k]), int(ends[k])))
        mujoco.mj_step(model, data)
        if plant.held is not None and k + 1 in given:
            plant.held.put(data.qpos)
        states[k] = np.concatenate(([data.time], data.qpos, data.qvel, data.act))
        sensors[k] = data.sensordata
    return states, sensors


def _in_force(late: np.ndarray, at: np.ndarray, *, ending: bool = False) -> np.ndarray:
    """The last command that is in force at times, or up to them; the first one before."""
    return np.maximum(np.searchsorted(late, at, side="left" if ending else "right") - 1, 0)


def _mean(known: Sequence[Target], late: np.ndarray, k: int, first: int, last: int) -> Target:
    """The mean over physics step k of the commands `first` to `last`, which are in force in it."""
    if first == last:
        return known[first]
    share = np.diff([k, *late[first + 1 : last + 1], k + 1])
    every = known[first : last + 1]
    return Target(
        control=sum(part * one.control for part, one in zip(share, every, strict=True)),
        pose=sum(part * one.pose for part, one in zip(share, every, strict=True)),
    )


def _command(plant: Plant, data: mujoco.MjData, told: Target) -> None:
    data.ctrl[:] = told.control
    if plant.mocap is not None:
        plant.mocap.put(told.pose, data)
