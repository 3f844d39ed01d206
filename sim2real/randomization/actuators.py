"""Motors of another kind in place of the model's: ideal PD drives, DC motors, networks fitted to logs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch

from cairngym.sim2real.randomization.elements import label, select
from cairngym.sim2real.randomization.events import ActuatorModel
from cairngym.sim2real.randomization.learned_actuator import LearnedActuator
from cairngym.sim2real.randomization.parts import Command, Draws, Moment, PhysicsContext, PhysicsPart

JOINTS = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
ONE_DOF = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
GAINS = (int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtGain.mjGAIN_AFFINE))
BIASES = (int(mujoco.mjtBias.mjBIAS_NONE), int(mujoco.mjtBias.mjBIAS_AFFINE))
OPEN = 1e10
"""A control limit that limits nothing."""


def pd_effort(
    error: torch.Tensor, velocity: torch.Tensor, stiffness: float, damping: float, target: str
) -> torch.Tensor:
    """What an ideal drive wants to give, N m (or N).

    Args:
        error: target minus position or velocity, or the effort commanded.
        velocity: of the joint.
        stiffness: N m/rad (or N/m).
        damping: N m s/rad (or N s/m).
        target: "position": stiffness * error - damping * velocity; "velocity": damping * error; "effort": the error.
    """
    if target == "position":
        return stiffness * error - damping * velocity
    return damping * error if target == "velocity" else error


def dc_motor_limits(
    velocity: torch.Tensor, stall_effort: float, no_load_speed: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the greatest effort of a DC motor at a speed, by its armature's voltage equation.

    At the supply voltage V the current is (V - k w) / R and the effort k times that: the line from the stall effort
    k V / R at rest to zero at the no-load speed V / k. At -V it is the same line mirrored. Beyond the no-load speed the
    back EMF exceeds the supply, and even full voltage ahead brakes.

    Args:
        velocity: of the joint, rad/s (or m/s).
        stall_effort: N m (or N).
        no_load_speed: rad/s (or m/s).
    """
    share = velocity / no_load_speed
    return stall_effort * (-1.0 - share), stall_effort * (1.0 - share)


class ActuatorModels(PhysicsPart):
    """Computes the effort of actuators at every physics step from what they are commanded.

    An actuator's command is its control, within the control range of the model; the target is `offset + scale *
    command`, a position (rad, m), a velocity or an effort (N m, N) of the joint. The effort is computed from the
    joint's position and velocity at the beginning of the physics step and held for its length. The actuator itself
    becomes a pure motor of gain 1 without bias, so its gear, force range, armature and the randomized
    `actuator_strength` act on the effort as they do on any motor's.

    Args:
        events: what replaces which actuators.
        draws: unused; nothing here is random.
        context: of the physics.

    Raises:
        UnknownNameError: no such actuator.
        ValueError: an actuator that drives no single hinge or slide, has dynamics of its own, or is in two events; a
            learned actuator made for another target or time step.
        FileNotFoundError: a learned actuator's file is not there.
    """

    def __init__(self, events: Sequence[ActuatorModel], draws: Sequence[Draws], context: PhysicsContext) -> None:
        del draws
        self._context = context
        self._drives = [_Drive(event, context) for event in events]
        taken = np.concatenate([drive.ids for drive in self._drives])
        if len(np.unique(taken)) < len(taken):
            raise ValueError("Expected every actuator in at most one actuator model, got one in several.")
        self._make_motors(taken)

    def _make_motors(self, ids: np.ndarray) -> None:
        """Turn actuators into pure motors, in the model too: other events on them start from what it says."""
        driver = self._context.driver
        driver.model.actuator_gainprm[ids] = np.eye(1, driver.model.actuator_gainprm.shape[1])
        driver.model.actuator_biasprm[ids] = 0.0
        rows = torch.as_tensor(ids, device=driver.device)
        for name in ("actuator_gainprm", "actuator_biasprm"):
            live = driver.field(name)
            live[:, rows] = torch.as_tensor(getattr(driver.model, name)[ids]).to(live.device, live.dtype)
        limits = driver.field("actuator_ctrlrange")
        limits[:, rows] = limits.new_tensor((-OPEN, OPEN))

    def placed(self, mask: torch.Tensor, command: Command) -> None:
        """Forget what the motors of the masked worlds did."""
        for drive in self._drives:
            drive.fresh = drive.fresh | mask

    def cuts(self) -> Collection[int]:
        """Every physics step: the effort follows position and velocity."""
        return range(1, self._context.substeps)

    def before_step(self, k: int, command: Command) -> None:
        """Put efforts in the place of commands."""
        del k
        told = command["ctrl"]
        ctrl = told.clone()
        for drive in self._drives:
            ctrl[:, drive.columns] = drive.control(told[:, drive.columns])
        command["ctrl"] = ctrl

    def sent(self, moment: Moment, command: Command) -> None:
        """Nothing: the command is read at every physics step, as it is delayed until then."""

    def get_state(self) -> dict[str, Any]:
        """Copy the histories of learned actuators."""
        return {"drives": [drive.get_state() for drive in self._drives]}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        for drive, saved in zip(self._drives, snapshot["drives"], strict=True):
            drive.set_state(saved)


class _Drive:
    """The K actuators of one event."""

    def __init__(self, event: ActuatorModel, context: PhysicsContext) -> None:
        driver, model = context.driver, context.driver.model
        self.event, self.ids = event, find_actuators(model, event.actuators)
        joints = model.actuator_trnid[self.ids, 0]
        self.columns = torch.as_tensor(model.actuator_ctrladr[self.ids], device=driver.device, dtype=torch.int64)
        self._place, self._speed = (
            torch.as_tensor(address[joints], device=driver.device, dtype=torch.int64)
            for address in (model.jnt_qposadr, model.jnt_dofadr)
        )
        self._position, self._velocity = driver.view("qpos"), driver.view("qvel")
        device, dtype = driver.device, driver.dtype
        self._gear = torch.as_tensor(model.actuator_gear[self.ids, 0], dtype=dtype, device=device)
        limited = model.actuator_ctrllimited[self.ids].astype(bool)
        low, high = np.where(limited, model.actuator_ctrlrange[self.ids].T, [[-OPEN], [OPEN]])
        self._low, self._high = (torch.as_tensor(limit, dtype=dtype, device=device) for limit in (low, high))
        self.fresh = torch.ones(driver.num_worlds, dtype=torch.bool, device=driver.device)
        self._network = None if event.path is None else _load(event, context)
        lag = 0 if self._network is None else round(self._network.meta.dt / context.timestep)
        history = 1 if self._network is None else self._network.meta.history
        self._lags = torch.arange(history, device=driver.device) * lag
        # Errors and velocities of the last physics steps, the oldest first.
        shape = (2, (history - 1) * lag + 1, driver.num_worlds, len(self.ids))
        self._past = torch.zeros(shape, dtype=dtype, device=device)

    def control(self, command: torch.Tensor) -> torch.Tensor:
        """Controls `(N, K)` that make the effort wanted by commands `(N, K)`."""
        event = self.event
        wanted = event.offset + event.scale * command.clamp(self._low, self._high)
        position, velocity = self._position[:, self._place], self._velocity[:, self._speed]
        error = wanted - {"position": position, "velocity": velocity}.get(event.target, torch.zeros_like(velocity))
        if self._network is None:
            effort = pd_effort(error, velocity, event.stiffness, event.damping, event.target)
        else:
            effort = self._learned(self._network, error, velocity)
        if event.stall_effort is not None and event.no_load_speed is not None:
            effort = effort.clamp(*dc_motor_limits(velocity, event.stall_effort, event.no_load_speed))
        if event.effort_limit is not None:
            effort = effort.clamp(-event.effort_limit, event.effort_limit)
        return effort / self._gear

    def _learned(self, network: LearnedActuator, error: torch.Tensor, velocity: torch.Tensor) -> torch.Tensor:
        """Efforts by the network; what is first seen of an episode stands for what was before it."""
        present = torch.stack((error, velocity))
        moved = torch.cat((self._past[:, 1:], present[:, None]), dim=1)
        self._past = torch.where(self.fresh[:, None], present[:, None], moved)
        self.fresh = torch.zeros_like(self.fresh)
        errors, velocities = self._past[:, self._lags].permute(0, 2, 3, 1)
        return network.torque(errors, velocities)

    def get_state(self) -> dict[str, torch.Tensor]:
        return {"past": self._past.clone(), "fresh": self.fresh.clone()}

    def set_state(self, snapshot: Mapping[str, torch.Tensor]) -> None:
        self._past, self.fresh = snapshot["past"].clone(), snapshot["fresh"].clone()


def find_actuators(model: mujoco.MjModel, patterns: Sequence[str]) -> np.ndarray:
    """Ids of the actuators that patterns name, each of which drives one hinge or slide and can be replaced.

    Raises:
        UnknownNameError: a pattern that names none.
        ValueError: an actuator that can't be replaced.
    """
    chosen = select(model, "actuator", patterns)
    for index in chosen:
        _check_replaceable(model, index)
    return np.array(list(chosen), dtype=np.int64)


def _check_replaceable(model: mujoco.MjModel, index: int) -> None:
    drives = int(model.actuator_trntype[index]) in JOINTS
    single = drives and int(model.jnt_type[model.actuator_trnid[index, 0]]) in ONE_DOF
    static = int(model.actuator_dyntype[index]) == int(mujoco.mjtDyn.mjDYN_NONE)
    linear = int(model.actuator_gaintype[index]) in GAINS and int(model.actuator_biastype[index]) in BIASES
    if not (single and static and linear) or model.actuator_gear[index, 0] == 0.0:
        raise ValueError(
            "Expected actuators that drive one hinge or slide each, without dynamics of their own, for an actuator "
            f"model, got {label(model, 'actuator', index)}, which does not. Name those it is meant for in `actuators`."
        )


def _load(event: ActuatorModel, context: PhysicsContext) -> LearnedActuator:
    driver, path = context.driver, str(event.path)
    network = LearnedActuator.load(path)
    if network.meta.target != event.target:
        raise ValueError(
            f"Expected an actuator model with target {network.meta.target!r}, which {path} was fitted to, got "
            f"{event.target!r}."
        )
    steps = network.meta.dt / context.timestep
    if network.meta.history > 1 and (round(steps) < 1 or abs(steps - round(steps)) > 1e-3 * steps):
        raise ValueError(
            f"Expected a learned actuator whose samples lie a whole number of physics steps of {context.timestep:g} s "
            f"apart, got {network.meta.dt:g} s in {path}. Fit it to a log of another rate."
        )
    return network.to(driver.device, driver.dtype)
