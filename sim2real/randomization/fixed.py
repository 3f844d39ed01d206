"""Fixed values of randomized parameters, many of them side by side in one batch."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from cairngym.envs.core import TensorEnv
from cairngym.envs.physics.world import PhysicsWorld
from cairngym.sim2real.randomization.config import RandomizationConfig
from cairngym.sim2real.randomization.distributions import Kind
from cairngym.sim2real.randomization.disturber import Disturber
from cairngym.sim2real.randomization.events import ActionDelay, FieldEvent, Mode, SensorDelay
from cairngym.sim2real.randomization.field_table import field_kind
from cairngym.sim2real.randomization.parts import PHYSICS_PARTS, SENSOR_PARTS, PhysicsContext
from cairngym.sim2real.randomization.wrapper import Randomization

Swept = FieldEvent | ActionDelay | SensorDelay
DELAYS = {"action_delay": ActionDelay, "sensor_delay": SensorDelay}
NEUTRAL = {"scale": 1.0, "add": 0.0}
FORM = (
    "FIELD:NAMES:OPERATION:LOW,HIGH (body_mass:object0:scale:0.2,5; a component as a fifth part), "
    "action_delay:LOW,HIGH or sensor_delay:FIELDS:LOW,HIGH; several names are joined by +"
)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One number that is swept over a grid.

    Raises:
        ValueError: a grid without the nominal value, or of a single value.
    """

    event: Swept
    """What it is: for a field event all selected elements get the same number; its own range says nothing."""
    values: tuple[float, ...]
    """The grid, ascending."""
    nominal: float
    """The number that leaves the model as it is; one of the grid."""

    def __post_init__(self) -> None:
        if self.nominal not in self.values:
            raise ValueError(f"Expected a grid with the nominal value {self.nominal:g}, got {list(self.values)}.")
        if len(set(self.values)) < 2 or list(self.values) != sorted(set(self.values)):
            raise ValueError(f"Expected a grid of at least two values, ascending, got {list(self.values)}.")
        event = self.event
        if isinstance(event, FieldEvent) and event.operation != "scale" and event.component is None:
            size = field_kind(event.field).size
            if size > 1:
                raise ValueError(
                    f"Expected a component, from 0 to {size - 1}, of {event.field!r}, whose values are vectors, for "
                    f"the operation {event.operation!r}; got none."
                )

    @property
    def name(self) -> str:
        """What to call it, e.g. "body_mass of object0 (scale)"."""
        if isinstance(self.event, FieldEvent):
            names = "" if self.event.field.startswith("opt.") else f" of {', '.join(self.event.names)}"
            part = "" if self.event.component is None else f"[{self.event.component}]"
            return f"{self.event.field}{part}{names} ({self.event.operation})"
        if isinstance(self.event, ActionDelay):
            return "action delay (physics steps)"
        return f"sensor delay of {', '.join(self.event.fields)} (physics steps)"

    @property
    def logarithmic(self) -> bool:
        """Whether the grid is one of factors, evenly spaced in their logarithm."""
        return isinstance(self.event, FieldEvent) and self.event.operation == "scale" and self.values[0] > 0.0

    def ranged(self, low: float, high: float, mode: Mode) -> Swept:
        """The event that draws the number between two values."""
        if isinstance(self.event, FieldEvent):
            kind: Kind = "log_uniform" if self.logarithmic and mode != "startup" else "uniform"
            return replace(self.event, distribution=kind, low=low, high=high, mean=None, std=None, shared=True,
                           mode=mode, every_s=None)  # fmt: skip
        return replace(self.event, low=int(low), high=int(high), mode=mode)


def parse_parameter(text: str, points: int = 9) -> Parameter:
    """A parameter from text such as "body_mass:object0:scale:0.2,5".

    The last part is `LOW,HIGH` or `LOW,NOMINAL,HIGH`; the nominal value is 1 for `scale`, 0 for `add` and delays, and
    must be given for `abs`.

    Args:
        text: see `FORM` in the error.
        points: of the grid; the nominal value is added where it is not among them.

    Raises:
        ValueError: text of another form, or numbers that can't be.
        UnknownNameError: no such field or operation.

    Example:
        >>> parse_parameter("action_delay:0,8", points=3).values
        (0.0, 4.0, 8.0)
        >>> parse_parameter("geom_friction:object0:scale:0.25,4", points=5).values
        (0.25, 0.5, 1.0, 2.0, 4.0)
    """
    parts = [part.strip() for part in text.split(":")]
    try:
        if parts[0] in DELAYS:
            fields = {"fields": tuple(parts[1].split("+"))} if parts[0] == "sensor_delay" else {}
            low, nominal, high = _numbers(parts[1 + len(fields)], 0.0)
            event: Swept = DELAYS[parts[0]](**fields, low=int(low), high=int(high))
        else:
            field, names, operation, numbers, *component = parts
            if operation != "abs" and operation not in NEUTRAL:
                raise ValueError(f"unknown operation {operation!r}, expected one of abs, add, scale")
            low, nominal, high = _numbers(numbers, NEUTRAL.get(operation))
            event = FieldEvent(
                field=field, names=tuple(filter(None, names.split("+"))), operation=operation,  # type: ignore[arg-type]
                low=low, high=high, shared=True, component=int(component[0]) if component else None,
            )  # fmt: skip
    except (ValueError, IndexError) as error:
        raise ValueError(f"Expected a parameter of the form {FORM}, got {text!r}: {error}.") from error
    return Parameter(event=event, values=grid(event, low, high, nominal, points), nominal=nominal)


def _numbers(text: str, nominal: float | None) -> tuple[float, float, float]:
    numbers = [float(number) for number in text.split(",")]
    if len(numbers) == 2 and nominal is not None:
        numbers.insert(1, nominal)
    if len(numbers) != 3 or not numbers[0] <= numbers[1] <= numbers[2] or not all(map(math.isfinite, numbers)):
        wanted = "LOW,NOMINAL,HIGH" if nominal is None else f"LOW,HIGH around {nominal:g}, or LOW,NOMINAL,HIGH,"
        raise ValueError(f"expected {wanted} in ascending order, got {text!r}")
    return numbers[0], numbers[1], numbers[2]


def grid(event: Swept, low: float, high: float, nominal: float, points: int) -> tuple[float, ...]:
    """Values from `low` to `high` with `nominal` among them: factors by equal ratios, delays whole, others evenly.

    Raises:
        ValueError: fewer than two points.
    """
    if points < 2:
        raise ValueError(f"Expected at least 2 points of a grid, got {points}.")
    if isinstance(event, FieldEvent) and event.operation == "scale" and low > 0.0:
        values = np.exp(np.linspace(math.log(low), math.log(high), points))
    else:
        values = np.linspace(low, high, points)
    if not isinstance(event, FieldEvent):
        values = np.rint(values)
    near = 1e-9 * max(abs(low), abs(high))
    inner = [float(f"{value:.6g}") for value in values[1:-1].tolist() if abs(value - nominal) > near]
    return tuple(sorted({low, high, nominal, *inner}))


class FixedDraws:
    """In the place of `Draws`: env i is given the number that leads to cell `i % len(cells)`.

    Args:
        shares: float64 `(N,)` in [0, 1].
    """

    seed = 0

    def __init__(self, shares: torch.Tensor) -> None:
        self._shares = shares

    def startup(self, count: int) -> torch.Tensor:
        """The same number `count` times."""
        return self._shares.unsqueeze(1).expand(-1, count)


class FixedParameters(Randomization):
    """An env whose copy i has the parameters at the values of cell `i % len(cells)`, for good.

    Copies that differ in their cell alone live the same lives: copy i draws as env `i // len(cells)`.

    Args:
        env: without wrappers.
        parameters: P of them; no two on the same elements of a field.
        cells: `(C, P)`, one value of each.

    Raises:
        TypeError: the env is wrapped already, or runs on something else than MuJoCo.
        ValueError: values that the model can't have.
    """

    def __init__(self, env: TensorEnv, parameters: Sequence[Parameter], cells: np.ndarray) -> None:
        super().__init__(env, config=RandomizationConfig())
        world = self.unwrapped.world
        if not isinstance(world, PhysicsWorld):
            raise TypeError(f"Expected a world that MuJoCo simulates, got {type(world).__name__}.")
        found = [float(np.min(column)) for column in cells.T], [float(np.max(column)) for column in cells.T]
        events = [each.ranged(low, high, "startup") for each, low, high in zip(parameters, *found, strict=True)]
        self.config = RandomizationConfig(events=tuple(events), description="Fixed values side by side.")
        copies = torch.arange(self.num_envs, device=self.device)
        self.unwrapped.episodes.env_id.copy_(copies // len(cells))
        cell = copies % len(cells)
        values = torch.as_tensor(cells, dtype=torch.float64, device=self.device)[cell]
        draws = [FixedDraws(_share(event, values[:, place])) for place, event in enumerate(events)]
        self.sensors = _parts(SENSOR_PARTS, events, draws, self._sensor_context)
        context = PhysicsContext(world.driver, world.substeps, float(world.model.opt.timestep))
        world.disturbance = Disturber(world, _parts(PHYSICS_PARTS, events, draws, context), self.sensors)


def _share(event: Swept, values: torch.Tensor) -> torch.Tensor:
    """The draws in [0, 1] from which the event makes the values."""
    low, high = float(event.low or 0.0), float(event.high or 0.0)
    if isinstance(event, FieldEvent):
        return (values - low) / (high - low) if high > low else torch.zeros_like(values)
    return (values - low + 0.5) / (high - low + 1.0)


def _parts(table: Mapping[type, str], events: Sequence[Any], draws: Sequence[FixedDraws], context: Any) -> list[Any]:
    parts = []
    for kind, where in table.items():
        chosen = [(event, draw) for event, draw in zip(events, draws, strict=True) if type(event) is kind]
        if chosen:
            module, _, name = where.partition(":")
            make = getattr(importlib.import_module(module), name)
            parts.append(make([event for event, _ in chosen], [draw for _, draw in chosen], context))
    return parts
