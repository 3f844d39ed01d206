"""What acts: parts on the side of the physics, parts on the side of the sensors, and the numbers they draw.

A part is made from the events of one type by `PARTS` and lives in `Randomization`. On the side of the physics it is
called by the world (see `cairngym.envs.physics.disturbance`), on the side of the sensors by the wrapper.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from cairngym.envs.data import StateField
from cairngym.envs.physics.driver import Driver
from cairngym.envs.random import uniform
from cairngym.sim2real.randomization import events as kinds

FIRST_STREAM, LAST_STREAM = 128, 255
"""Streams of events, by their place in the config; see `cairngym.envs.random.Stream`."""
UNIT_BITS = 12
MAX_UNIT = 2**UNIT_BITS - 1
Command = dict[str, torch.Tensor]
"""What the motors are told, by the name of the driver's view: `ctrl` `(N, nu)`, `mocap_pos` `(N, nmocap, 3)`,
`mocap_quat` `(N, nmocap, 4)`; those that the model lacks are missing."""


class Moment(NamedTuple):
    """Which step of which life every env is at; int64 `(N,)` each."""

    number: torch.Tensor
    """Of the episode."""
    step: torch.Tensor
    """Steps taken in it: 0 for an episode's first reading and for the command that follows it."""


@dataclass(frozen=True)
class Lives:
    """Whose numbers are drawn: seed, envs and units."""

    seed: int
    env_id: torch.Tensor
    """int64 `(N,)`."""
    unit: torch.Tensor | None
    """int64 `(N,)`, which physical copy every env is; None makes every env its own."""


class Draws:
    """Uniform numbers of one event, float32 `(N, count)` in [0, 1); env i's do not depend on N.

    Args:
        index: the event's place in the config.
        lives: gives the present `Lives`.
    """

    def __init__(self, index: int, lives: Any) -> None:
        if FIRST_STREAM + index > LAST_STREAM:
            raise ValueError(f"Expected at most {LAST_STREAM - FIRST_STREAM + 1} events, got more.")
        self._stream, self._lives = FIRST_STREAM + index, lives

    @property
    def seed(self) -> int:
        """The seed in force; startup draws change with it only."""
        return int(self._lives().seed)

    def startup(self, count: int) -> torch.Tensor:
        """By seed and unit."""
        lives: Lives = self._lives()
        who = lives.env_id if lives.unit is None else lives.unit
        return uniform(lives.seed, who, torch.full_like(who, -1), self._stream, count)

    def reset(self, number: torch.Tensor, count: int) -> torch.Tensor:
        """By seed, unit, env and the episode's number `(N,)`."""
        return self._life(number, count, None)

    def interval(self, moment: Moment, count: int) -> torch.Tensor:
        """By seed, unit, env, the episode's number and the step within it."""
        return self._life(moment.number, count, moment.step + 1)

    def wait(self, moment: Moment) -> torch.Tensor:
        """One number `(N,)` by the same, independent of those of `interval`: for the time until the next draw."""
        return self._life(moment.number, 1, (moment.step + 1) | 1 << 31)[:, 0]

    def _life(self, number: torch.Tensor, count: int, step: torch.Tensor | None) -> torch.Tensor:
        lives: Lives = self._lives()
        who = lives.env_id if lives.unit is None else lives.env_id | lives.unit << 32 - UNIT_BITS
        return uniform(lives.seed, who, number, self._stream, count, step)


@dataclass(frozen=True)
class PhysicsContext:
    """What a part on the side of the physics is made with."""

    driver: Driver
    substeps: int
    """Physics steps per env step."""
    timestep: float
    """Of the physics, s."""

    @property
    def step_s(self) -> float:
        """Seconds per env step."""
        return self.substeps * self.timestep


@dataclass(frozen=True)
class SensorContext:
    """What a part on the side of the sensors is made with."""

    state_spec: Mapping[str, StateField]
    num_envs: int
    device: torch.device
    substeps: int
    """Physics steps per env step; 1 for worlds without a physics driver."""
    step_s: float
    """Seconds per env step."""


class PhysicsPart(ABC):
    """Acts on the simulations. Made as `Part(events, draws, context)`: all events of its type, in order.

    Within an env step of S physics steps, `before_step(0, …)` is called, and `before_step(k, …)` for every k in (0, S)
    that any part has named in `cuts`. The physics runs undivided between these calls.
    """

    writes_state: bool = False
    """Whether it writes state views of the driver other than the commands', within `sent` or `before_step`."""

    def begin(self, mask: torch.Tensor, number: torch.Tensor) -> None:
        """Choose what holds in the new episodes of the masked `(N,)` worlds, before their bodies are placed.

        Args:
            mask: bool `(N,)`.
            number: int64 `(N,)`, of the episodes; rows outside of the mask mean nothing.
        """
        return

    def placed(self, mask: torch.Tensor, command: Command) -> None:
        """Take in how the masked worlds begin; `command` is what the motors hold before the first one is sent."""
        return

    def sent(self, moment: Moment, command: Command) -> None:
        """Take in the command of a new env step, before its first physics step; it may be replaced, entry by entry."""
        return

    def cuts(self) -> Collection[int]:
        """Physics steps k in (0, S) of this env step before which to be called; asked for after `sent`."""
        return ()

    def before_step(self, k: int, command: Command) -> None:
        """Act before physics step k.

        Parts are called in the order action delay, actuator models, fields, pushes and forces.

        Args:
            k: in [0, S).
            command: what the motors will be told from here on. Entries may be replaced but not written in place; at
                every call they are at first what was sent.
        """
        return

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Copy everything that decides the future."""

    @abstractmethod
    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""


class SensorPart(ABC):
    """Acts on what is seen. Made as `Part(events, draws, context)`: all events of its type, in order.

    States are dicts of tensors `(N, *shape)` by field, as `env.state`; what is returned are the entries of `fields` as
    they are seen, in tensors of their own. Nothing is written in place.
    """

    fields: tuple[str, ...]
    """The state fields that it changes."""

    @abstractmethod
    def begin(self, mask: torch.Tensor, state: Mapping[str, torch.Tensor], moment: Moment) -> dict[str, torch.Tensor]:
        """Forget the old episodes of the masked `(N,)` envs; return how their first state is seen (other rows: any)."""

    @abstractmethod
    def sense(self, state: Mapping[str, torch.Tensor], moment: Moment) -> dict[str, torch.Tensor]:
        """Return how the state after a step is seen; called once a step, with every env's true next state.

        Args:
            state: as it is, or as an earlier part has left it.
            moment: its `step` counts the step just made.
        """

    def cuts(self) -> Collection[int]:
        """Physics steps k in (0, S) of the coming env step before which to be shown the state; none by default."""
        return ()

    def glimpse(self, k: int, state: Mapping[str, torch.Tensor]) -> None:
        """Take in the true state before physics step k, one of `cuts`."""
        del k, state

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Copy everything that decides the future."""

    @abstractmethod
    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""


_CORE = "cairngym.sim2real.randomization"
PHYSICS_PARTS: dict[type, str] = {
    kinds.PacketLoss: f"{_CORE}.commands:PacketLosses",
    kinds.ActionDelay: f"{_CORE}.commands:ActionDelays",
    kinds.ActuatorModel: f"{_CORE}.actuators:ActuatorModels",
    kinds.FieldEvent: f"{_CORE}.fields:Fields",
    kinds.CameraEvent: f"{_CORE}.camera:Cameras",
    kinds.LightEvent: f"{_CORE}.camera:Lights",
    kinds.MaterialEvent: f"{_CORE}.camera:Materials",
    kinds.Push: f"{_CORE}.pushes:Pushes",
    kinds.RandomForce: f"{_CORE}.pushes:RandomForces",
}
"""Who acts on the events of each type, in the order in which they are called."""
SENSOR_PARTS: dict[type, str] = {
    kinds.SensorDelay: f"{_CORE}.sensors:SensorDelays",
    kinds.SensorNoise: f"{_CORE}.sensors:SensorNoises",
    kinds.SensorDrop: f"{_CORE}.sensors:SensorDrops",
}


def make_parts(table: Mapping[type, str], events: Sequence[Any], context: Any, lives: Any) -> list[Any]:
    """The parts for the events of a config, in the order of the table.

    Args:
        table: `PHYSICS_PARTS` or `SENSOR_PARTS`; what an event needs is imported when it occurs.
        events: all of the config's, whose places decide their streams.
        context: of the parts.
        lives: gives the present `Lives`.
    """
    parts = []
    for kind, where in table.items():
        chosen = [(event, Draws(index, lives)) for index, event in enumerate(events) if type(event) is kind]
        if chosen:
            module, _, name = where.partition(":")
            make = getattr(importlib.import_module(module), name)
            parts.append(make([event for event, _ in chosen], [draws for _, draws in chosen], context))
    return parts
