"""What strikes the robot: pushes at random times, and random forces held for a while."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch

from cairngym.envs.physics.world import put
from cairngym.sim2real.randomization.distributions import normal
from cairngym.sim2real.randomization.elements import FREE, HINGE, SLIDE, label, select
from cairngym.sim2real.randomization.events import Push, RandomForce
from cairngym.sim2real.randomization.parts import Command, Draws, Moment, PhysicsContext, PhysicsPart
from cairngym.sim2real.randomization.timer import Timer

WEIGHT = 9.81
"""Weight of a kilogram, N."""


class Pushes(PhysicsPart):
    """Velocities jump at times drawn for every event; they fall on the beginning of an env step.

    Args:
        events: the events.
        draws: of each.
        context: of the part.

    Raises:
        UnknownNameError: no such body or joint.
        ValueError: a body without a free joint, or a joint that neither turns nor slides.
    """

    writes_state = True

    def __init__(self, events: Sequence[Push], draws: Sequence[Draws], context: PhysicsContext) -> None:
        driver = context.driver
        self._qvel, self._device = driver.view("qvel"), driver.device
        self._events = list(zip(events, draws, strict=True))
        self._targets = [
            [_free_dof(driver.model, body) for body in select(driver.model, "body", event.bodies)]
            if event.bodies
            else _single_dofs(driver.model, event.joints)
            for event in events
        ]
        self._timers = [
            Timer(event.every_s, own, context.step_s, driver.num_worlds, driver.device)
            for event, own in self._events
        ]  # fmt: skip

    def begin(self, mask: torch.Tensor, number: torch.Tensor) -> None:
        """Draw when the first pushes come."""
        for timer in self._timers:
            timer.begin(mask, Moment(number, torch.zeros_like(number)))

    def sent(self, moment: Moment, command: Command) -> None:
        """Push where it is time."""
        del command
        for (event, draws), timer, dofs in zip(self._events, self._timers, self._targets, strict=True):
            due = timer.due(moment)
            if self._device.type == "cpu" and not bool(due.any()):
                continue
            for dof, jump in (_body_jumps if event.bodies else _joint_jumps)(event, draws, moment, dofs):
                self._qvel[:, dof] += (jump * due).to(self._qvel.dtype)

    def get_state(self) -> dict[str, Any]:
        """Copy the times to come."""
        return {"timers": [timer.get_state() for timer in self._timers]}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        for timer, kept in zip(self._timers, snapshot["timers"], strict=True):
            timer.set_state(kept)


Jumps = list[tuple[int, torch.Tensor]]
"""Degrees of freedom and what is added to each, float64 `(N,)`."""


def _body_jumps(event: Push, draws: Draws, moment: Moment, dofs: list[int]) -> Jumps:
    draw = draws.interval(moment, 3 * len(dofs)).double().view(-1, len(dofs), 3)
    jumps: Jumps = []
    for place, dof in enumerate(dofs):
        direction = directions(draw[:, place, :2], horizontal=event.horizontal)
        speed = _within(draw[:, place, 2], event.velocity)
        jumps += [(dof + axis, speed * part) for axis, part in enumerate(direction)]
    return jumps


def _joint_jumps(event: Push, draws: Draws, moment: Moment, dofs: list[int]) -> Jumps:
    draw = draws.interval(moment, len(dofs) + 1).double()
    shares = [normal(draw[:, place]) for place in range(len(dofs))]
    length = torch.stack([share * share for share in shares]).cumsum(0)[-1].sqrt()
    speed = _within(draw[:, -1], event.velocity)
    return [(dof, speed * share / length) for dof, share in zip(dofs, shares, strict=True)]


class RandomForces(PhysicsPart):
    """Forces on bodies or joints, drawn anew at times drawn for every event; several events add up.

    Args:
        events: the events.
        draws: of each.
        context: of the part.

    Raises:
        UnknownNameError: no such body or joint.
        ValueError: a joint that neither turns nor slides.
    """

    writes_state = True

    def __init__(self, events: Sequence[RandomForce], draws: Sequence[Draws], context: PhysicsContext) -> None:
        driver, model = context.driver, context.driver.model
        n, self._device = driver.num_worlds, driver.device
        self._on_body, self._on_joint = driver.view("xfrc_applied"), driver.view("qfrc_applied")
        self._events = list(zip(events, draws, strict=True))
        self._targets = [
            list(select(model, "body", event.bodies)) if event.bodies else _single_dofs(model, event.joints)
            for event in events
        ]
        self._units = [self._unit(model, event, chosen) for event, chosen in zip(events, self._targets, strict=True)]
        self._timers = [Timer(event.every_s, own, context.step_s, n, self._device) for event, own in self._events]
        self._forces = [
            torch.zeros(n, len(targets), 3 if event.bodies else 1, dtype=torch.float64, device=self._device)
            for event, targets in zip(events, self._targets, strict=True)
        ]

    def _unit(self, model: mujoco.MjModel, event: RandomForce, targets: list[int]) -> torch.Tensor:
        """What one unit of force is for each target, N."""
        weight = model.body_mass[targets] * WEIGHT if event.of_weight else np.ones(len(targets))
        return torch.as_tensor(weight, dtype=torch.float64, device=self._device)

    def begin(self, mask: torch.Tensor, number: torch.Tensor) -> None:
        """Draw the first forces of new episodes, and how long they last."""
        start = Moment(number, torch.zeros_like(number))
        for i, timer in enumerate(self._timers):
            timer.begin(mask, start)
            put(mask, self._forces[i], self._drawn(i, start))

    def sent(self, moment: Moment, command: Command) -> None:
        """Draw anew where it is time, and apply."""
        del command
        for i, timer in enumerate(self._timers):
            due = timer.due(moment)
            if self._device.type != "cpu" or bool(due.any()):
                put(due, self._forces[i], self._drawn(i, moment))
        for (event, _), targets in zip(self._events, self._targets, strict=True):
            if event.bodies:
                self._on_body[:, targets, :3] = 0.0
            else:
                self._on_joint[:, targets] = 0.0
        for (event, _), targets, force in zip(self._events, self._targets, self._forces, strict=True):
            if event.bodies:
                self._on_body[:, targets, :3] += force.to(self._on_body.dtype)
            else:
                self._on_joint[:, targets] += force[..., 0].to(self._on_joint.dtype)

    def _drawn(self, i: int, moment: Moment) -> torch.Tensor:
        (event, draws), count = self._events[i], len(self._targets[i])
        draw = draws.interval(moment, 3 * count).double().view(-1, count, 3)
        size = _within(draw[..., 2], event.force) * self._units[i]
        if event.bodies:
            return torch.stack([size * part for part in directions(draw[..., :2], horizontal=False)], dim=-1)
        return (size * torch.where(draw[..., 0] < 0.5, -1.0, 1.0)).unsqueeze(-1)

    def get_state(self) -> dict[str, Any]:
        """Copy the forces and the times to come."""
        return {
            "timers": [timer.get_state() for timer in self._timers], "forces": [force.clone() for force in self._forces]
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        for timer, kept in zip(self._timers, snapshot["timers"], strict=True):
            timer.set_state(kept)
        for force, kept in zip(self._forces, snapshot["forces"], strict=True):
            force.copy_(kept)


def directions(draw: torch.Tensor, *, horizontal: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unit vectors, even over the circle or the sphere, by `(..., 2)` draws; three tensors `(...)`."""
    angle = 2.0 * math.pi * draw[..., 0]
    up = torch.zeros_like(angle) if horizontal else 2.0 * draw[..., 1] - 1.0
    flat = (1.0 - up * up).sqrt()
    return flat * torch.cos(angle), flat * torch.sin(angle), up


def _within(draw: torch.Tensor, span: tuple[float, float]) -> torch.Tensor:
    return span[0] + draw * (span[1] - span[0])


def _free_dof(model: mujoco.MjModel, body: int) -> int:
    joint = int(model.body_jntadr[body])
    if joint < 0 or int(model.jnt_type[joint]) != FREE:
        raise ValueError(f"Expected bodies with a free joint to push, got {label(model, 'body', body)}. Name joints.")
    return int(model.jnt_dofadr[joint])


def _single_dofs(model: mujoco.MjModel, names: Sequence[str]) -> list[int]:
    dofs = []
    for joint, named in select(model, "joint", names).items():
        if int(model.jnt_type[joint]) in (HINGE, SLIDE):
            dofs.append(int(model.jnt_dofadr[joint]))
        elif named:
            raise ValueError(f"Expected hinges and slides, got {label(model, 'joint', joint)}. Name its body instead.")
    if not dofs:
        raise ValueError(f"Expected hinges and slides among the joints {list(names)}, got none.")
    return dofs
