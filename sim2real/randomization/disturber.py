"""How parts act on a physics world: they are told of episodes, and the physics steps are split where one wants it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.data import where
from cairngym.envs.episodes import Episodes
from cairngym.envs.physics.disturbance import Disturbance
from cairngym.envs.physics.driver import Driver
from cairngym.envs.physics.world import PhysicsWorld, put
from cairngym.sim2real.randomization.parts import Command, Moment, PhysicsPart, SensorPart
from cairngym.sim2real.randomization.rest import MocapRest

COMMANDS = ("ctrl", "mocap_pos", "mocap_quat")
"""The views that worlds write their commands into."""
STATE = (
    "time", "qpos", "qvel", "act", "history", "qacc_warmstart", "ctrl", "qfrc_applied", "xfrc_applied", "eq_active",
    "mocap_pos", "mocap_quat", "userdata", "plugin_state", "plastic",
)  # fmt: skip
"""The state fields of MuJoCo; a driver that lacks one does not simulate it."""
LOOKING = ("qacc_warmstart", "history")
"""State that computing derived values may move."""


class Disturber(Disturbance):
    """Runs the parts around a world's physics steps.

    A step that is split goes on as if it were whole: where the simulation diverges in any piece it is put back to where
    it was before the step, counted once, and marked. The commands that the world has written stand again afterwards.

    Args:
        world: the world.
        parts: those on the side of the physics, in the order in which they act.
        sensors: those on the side of the sensors that may want to see the state between physics steps.
    """

    def __init__(self, world: PhysicsWorld, parts: Sequence[PhysicsPart], sensors: Sequence[SensorPart]) -> None:
        self.world, self.driver, self.parts, self.sensors = world, world.driver, tuple(parts), tuple(sensors)
        self._views = {name: view for name in COMMANDS if (view := self.driver.view(name)).numel()}
        self._rest = MocapRest(self.driver)
        self._writes = any(part.writes_state for part in self.parts)

    @property
    def _moment(self) -> Moment:
        return Moment(self.world.episodes.number.clone(), self.world.episodes.length.clone())

    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Let the parts choose what holds in the new episodes."""
        for part in self.parts:
            part.begin(mask, episodes.number)

    def placed(self, mask: torch.Tensor) -> None:
        """Let the parts take in the rest command."""
        command = {name: view.clone() for name, view in self._views.items()}
        command |= self._rest(command)
        for part in self.parts:
            part.placed(mask, command)

    # The step ---------------------------------------------------------------------------------------------------------

    def step(self, substeps: int) -> None:
        """Advance the simulations, split where a part wants it."""
        written = {name: view.clone() for name, view in self._views.items()}
        before = self._copied(STATE) if self._writes else None
        command, moment = dict(written), self._moment
        for part in self.parts:
            part.sent(moment, command)
        shown = sorted({k for sensor in self.sensors for k in sensor.cuts()})
        cuts = sorted({k for part in self.parts for k in part.cuts()} | set(shown))
        if cuts and before is None:
            before = self._copied(STATE)
        diverged = self._run([0, *cuts, substeps], command, shown)
        if before is not None:
            self._put_back(diverged, before)
        self.driver.diverged = diverged
        for name, value in written.items():
            self._views[name].copy_(value)

    def _run(self, marks: list[int], command: Command, shown: list[int]) -> torch.Tensor:
        """Step from mark to mark; returns where the simulation diverged, bool `(N,)`."""
        diverged = torch.zeros_like(self.driver.diverged)
        first = self._measured() if shown else {}
        for start, end in itertools.pairwise(marks):
            if start in shown:
                diverged = diverged | self._show(start, diverged, first)
            told = dict(command)
            for part in self.parts:
                part.before_step(start, told)
            for name, value in told.items():
                self._views[name].copy_(value)
            if start:
                self._calm(diverged)
            self.driver.step(end - start)
            diverged = diverged | self.driver.diverged
        return diverged

    def _show(self, k: int, diverged: torch.Tensor, first: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Let sensors see the state between two physics steps, which changes nothing else.

        Worlds that have diverged by then are seen as they were at first. Returns where the forward pass failed.
        """
        kept = self._copied(LOOKING)
        self.driver.forward()
        for name, value in kept.items():
            self.driver.view(name).copy_(value)
        failed = self.driver.diverged
        state = where(diverged | failed, first, self._measured())
        for sensor in self.sensors:
            if k in sensor.cuts():
                sensor.glimpse(k, state)
        return failed

    def _measured(self) -> dict[str, torch.Tensor]:
        spec = self.world.state_spec
        return {name: value.to(spec[name].dtype, copy=True) for name, value in self.world.measure().items()}

    def _calm(self, diverged: torch.Tensor) -> None:
        """Let worlds whose step has failed lie at rest in the model's own state, so that they do not fail again."""
        if diverged.device.type == "cpu" and not bool(diverged.any()):
            return
        data = mujoco.MjData(self.driver.model)
        for name in ("qpos", "qvel", "act", "qfrc_applied", "xfrc_applied", "qacc_warmstart", *self._views):
            view = self.driver.view(name)
            value = torch.as_tensor(getattr(data, name)).to(view.device, view.dtype)
            put(diverged, view, value.expand_as(view))

    def _put_back(self, diverged: torch.Tensor, before: Mapping[str, torch.Tensor]) -> None:
        """Return worlds to where they were; those that were not sound then stay where the driver has put them."""
        if diverged.device.type == "cpu" and not bool(diverged.any()):
            return
        sound = diverged.clone()
        for value in before.values():
            sound &= (value.abs() <= mujoco.mjMAXVAL).view(len(value), -1).all(1)
        for name, value in before.items():
            put(sound, self.driver.view(name), value)

    def _copied(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        views = {name: _view(self.driver, name) for name in names}
        return {name: view.clone() for name, view in views.items() if view is not None and view.numel()}

    # Snapshots --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Copy the parts' memories."""
        return {"parts": [part.get_state() for part in self.parts]}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy.

        Raises:
            ValueError: it is of another number of parts, that is of another config.
        """
        kept = snapshot["parts"]
        if len(kept) != len(self.parts):
            raise ValueError(f"Expected a snapshot of {len(self.parts)} kinds of events, got one of {len(kept)}.")
        for part, state in zip(self.parts, kept, strict=True):
            part.set_state(state)


def physics_of(world: object) -> PhysicsWorld | None:
    """The world that MuJoCo simulates, or the one inside of a world that watches another; None where there is none."""
    while world is not None and not isinstance(world, PhysicsWorld):
        world = vars(world).get("inner")
    return world


def _view(driver: Driver, name: str) -> torch.Tensor | None:
    try:
        return driver.view(name)
    except UnknownNameError:
        return None
