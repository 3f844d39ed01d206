"""What lies between the true state and what is seen of it: delay, then noise, then readings that are lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from cairngym.envs.checks import unknown_name
from cairngym.envs.data import State, StateField, clone, where
from cairngym.sim2real.randomization.distributions import normal
from cairngym.sim2real.randomization.events import SensorDelay, SensorDrop, SensorNoise
from cairngym.sim2real.randomization.parts import Draws, Moment, SensorContext, SensorPart
from cairngym.sim2real.randomization.rotations import QUATERNION, turned

Seen = dict[str, torch.Tensor]


def check_fields(spec: Mapping[str, StateField], names: Sequence[str]) -> None:
    """Refuse fields that the state does not have.

    Raises:
        UnknownNameError: naming the nearest valid ones.
    """
    for name in names:
        if name not in spec:
            raise unknown_name("field of the state", name, spec)


def _claimed(events: Sequence[Any], what: str) -> tuple[str, ...]:
    """The fields of all events, each named once."""
    names = [name for event in events for name in event.fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Expected every field in at most one {what}, got {', '.join(map(repr, twice))} in several.")
    return tuple(names)


class SensorDelays(SensorPart):
    """Shows fields as they were some physics steps ago; before an episode's first state, as they were in it.

    A delay that is no multiple of the physics steps per env step is met by readings taken within the env step.

    Raises:
        UnknownNameError: no such field.
        ValueError: a field in several events.
    """

    def __init__(self, events: Sequence[SensorDelay], draws: Sequence[Draws], context: SensorContext) -> None:
        self.fields = _claimed(events, "sensor delay")
        check_fields(context.state_spec, self.fields)
        self._lines = [_Line(event, draw, context) for event, draw in zip(events, draws, strict=True)]

    def begin(self, mask: torch.Tensor, state: State, moment: Moment) -> Seen:
        """Draw delays, and let the first state stand for those before it."""
        for line in self._lines:
            line.begin(mask, state, moment)
        return {name: state[name] for name in self.fields}

    def sense(self, state: State, moment: Moment) -> Seen:
        """Take in the state after a step, and show those of long ago."""
        seen: Seen = {}
        for line in self._lines:
            seen |= line.sense(state, moment)
        return seen

    def cuts(self) -> Collection[int]:
        """Before which physics steps some env is measured."""
        return set().union(*(line.cuts for line in self._lines))

    def glimpse(self, k: int, state: State) -> None:
        """Keep the state before physics step k."""
        for line in self._lines:
            line.keep(k, state)

    def get_state(self) -> dict[str, Any]:
        """Copy the delays and the states they reach back to."""
        return {"lines": [line.get_state() for line in self._lines]}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        for line, saved in zip(self._lines, snapshot["lines"], strict=True):
            line.set_state(saved)


class _Line:
    """The past of the fields of one event.

    A delay of d = q S + r physics steps, S of them a step, shows what was measured r physics steps before the end of
    the env step q steps ago. `_past` holds `(Q, R, N, *shape)`: Q env steps as a ring, R different r ("phases").
    """

    def __init__(self, event: SensorDelay, draws: Draws, context: SensorContext) -> None:
        self.event, self._draws, self._substeps = event, draws, context.substeps
        self._rows = torch.arange(context.num_envs, device=context.device)
        self._delay = torch.zeros_like(self._rows)
        phases = sorted({delay % context.substeps for delay in range(event.low, event.high + 1)})
        self._phase = torch.zeros(context.substeps, dtype=torch.int64, device=context.device)
        self._phase[phases] = torch.arange(len(phases), device=context.device)
        self._places = {context.substeps - phase: place for place, phase in enumerate(phases)}
        self.length, self._now = event.high // context.substeps + 1, 0
        self.cuts: set[int] = {k for k in self._places if k < context.substeps}
        self._few = event.mode != "interval" and context.device.type == "cpu"
        self._past = {
            name: torch.zeros((self.length, len(phases), context.num_envs, *field.shape), dtype=field.dtype,
                              device=context.device)
            for name, field in context.state_spec.items() if name in event.fields
        }  # fmt: skip

    def begin(self, mask: torch.Tensor, state: State, moment: Moment) -> None:
        if self.event.mode != "interval":
            draw = self._draws.startup(1) if self.event.mode == "startup" else self._draws.reset(moment.number, 1)
            self._delay = torch.where(mask, self._steps(draw), self._delay)
        for name, past in self._past.items():
            rows = mask.view(-1, *(1,) * (past.ndim - 3))
            past.copy_(torch.where(rows, state[name], past))
        if self._few:  # cuts that no env needs cost time
            used = {self._substeps - phase for phase in (self._delay % self._substeps).unique().tolist()}
            self.cuts = {k for k in used if k < self._substeps}

    def _steps(self, draw: torch.Tensor) -> torch.Tensor:
        low, high = self.event.low, self.event.high
        return low + (draw[:, 0].double() * (high - low + 1)).long().clamp(max=high - low)

    def keep(self, k: int, state: State) -> None:
        if k in self._places:
            for name, past in self._past.items():
                past[self._now, self._places[k]] = state[name]

    def sense(self, state: State, moment: Moment) -> Seen:
        self.keep(self._substeps, state)
        if self.event.mode == "interval":
            self._delay = self._steps(self._draws.interval(moment, 1))
        ago = (self._now - self._delay // self._substeps) % self.length
        phase = self._phase[self._delay % self._substeps]
        seen = {name: past[ago, phase, self._rows] for name, past in self._past.items()}
        self._now = (self._now + 1) % self.length
        return seen

    def get_state(self) -> dict[str, Any]:
        return {"delay": self._delay.clone(), "past": clone(self._past), "now": self._now, "cuts": sorted(self.cuts)}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        self._delay, self._past = snapshot["delay"].clone(), clone(snapshot["past"])
        self._now, self.cuts = snapshot["now"], set(snapshot["cuts"])


class SensorNoises(SensorPart):
    """Adds noise, bias and drift to fields; those in unit "quaternion" are turned instead, and keep length one.

    A quaternion is turned by the rotation whose vector, in the turned frame's own axes, is the error: deviations are
    then in rad about each of three axes. A drift begins at zero with every episode.

    Raises:
        UnknownNameError: no such field.
        ValueError: a component that the field does not have.
        TypeError: a field that is no real number.
    """

    def __init__(self, events: Sequence[SensorNoise], draws: Sequence[Draws], context: SensorContext) -> None:
        self.fields = tuple(dict.fromkeys(event.field for event in events))
        check_fields(context.state_spec, self.fields)
        self._errors = [_Error(event, draw, context) for event, draw in zip(events, draws, strict=True)]

    def begin(self, mask: torch.Tensor, state: State, moment: Moment) -> Seen:
        """Draw biases, and see the first state with noise."""
        seen = {name: state[name] for name in self.fields}
        for error in self._errors:
            error.begin(mask, moment)
            seen[error.event.field] = error.add(seen[error.event.field], moment)
        return seen

    def sense(self, state: State, moment: Moment) -> Seen:
        """Let drifts go on, and see a state with noise."""
        seen = {name: state[name] for name in self.fields}
        for error in self._errors:
            error.drift(moment)
            seen[error.event.field] = error.add(seen[error.event.field], moment)
        return seen

    def get_state(self) -> dict[str, Any]:
        """Copy biases and drifts."""
        return {"errors": [error.get_state() for error in self._errors]}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        for error, saved in zip(self._errors, snapshot["errors"], strict=True):
            error.set_state(saved)


class _Error:
    """The error of one event: `(N, size)` numbers, for a quaternion three for its four."""

    def __init__(self, event: SensorNoise, draws: Draws, context: SensorContext) -> None:
        field = context.state_spec[event.field]
        if not field.dtype.is_floating_point:
            raise TypeError(
                f"Expected a field of real numbers for noise, got {event.field!r} of {field.dtype} ({field.unit}). "
                "Such readings can be delayed or dropped, but not disturbed."
            )
        self.event, self._draws, self._turns = event, draws, field.unit == QUATERNION and field.shape[-1:] == (4,)
        self._shape = (*field.shape[:-1], 3) if self._turns else field.shape
        self.size = torch.Size(self._shape).numel()
        if event.component is not None and event.component >= self.size:
            what = "axes of rotation" if self._turns else "numbers"
            raise ValueError(
                f"Expected a component of {event.field!r} from 0 to {self.size - 1}, one of its {self.size} {what}, "
                f"got {event.component}."
            )
        self._step = event.drift_std * context.step_s**0.5
        self._chosen = torch.ones(self.size, dtype=torch.float64, device=context.device)
        if event.component is not None:
            self._chosen = (torch.arange(self.size, device=context.device) == event.component).double()
        self._bias = torch.zeros((context.num_envs, self.size), dtype=torch.float64, device=context.device)
        self._drift = torch.zeros_like(self._bias)

    def begin(self, mask: torch.Tensor, moment: Moment) -> None:
        count = 2 * self.size
        startup = self.event.bias_mode == "startup"
        draw = self._draws.startup(count) if startup else self._draws.reset(moment.number, count)
        low, high = self.event.bias_range or (0.0, 0.0)
        bias = self.event.bias_std * normal(draw[:, : self.size]) + low + (high - low) * draw[:, self.size :].double()
        self._bias = where(mask, bias, self._bias)
        self._drift = self._drift.masked_fill(mask.unsqueeze(1), 0.0)

    def drift(self, moment: Moment) -> None:
        if self._step:
            draw = self._draws.interval(moment, 2 * self.size)[:, self.size :]
            self._drift = self._drift + self._step * normal(draw)

    def add(self, value: torch.Tensor, moment: Moment) -> torch.Tensor:
        error = self._bias + self._drift
        if self.event.std:
            error = error + self.event.std * normal(self._draws.interval(moment, self.size))
        error = (error * self._chosen).view(-1, *self._shape)
        seen = turned(value.double(), error) if self._turns else value.double() + error
        return seen.to(value.dtype)

    def get_state(self) -> dict[str, Any]:
        return {"bias": self._bias.clone(), "drift": self._drift.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        self._bias, self._drift = snapshot["bias"].clone(), snapshot["drift"].clone()


class SensorDrops(SensorPart):
    """Loses readings, in whose place the last one that came is seen again; an episode's first one always comes.

    Raises:
        UnknownNameError: no such field.
        ValueError: a field in several events.
    """

    def __init__(self, events: Sequence[SensorDrop], draws: Sequence[Draws], context: SensorContext) -> None:
        self.fields = _claimed(events, "sensor drop")
        check_fields(context.state_spec, self.fields)
        self._events = list(zip(events, draws, strict=True))
        self._last: Seen = {}

    def begin(self, mask: torch.Tensor, state: State, moment: Moment) -> Seen:
        """See the first state."""
        for name in self.fields:
            self._last[name] = where(mask, state[name], self._last[name]) if name in self._last else state[name]
        return dict(self._last)

    def sense(self, state: State, moment: Moment) -> Seen:
        """See the state, or what was seen last; all fields of an event are lost together."""
        for event, draws in self._events:
            lost = draws.interval(moment, 1)[:, 0] < event.probability
            for name in event.fields:
                self._last[name] = where(lost, self._last[name], state[name])
        return dict(self._last)

    def get_state(self) -> dict[str, Any]:
        """Copy what was seen last."""
        return {"last": clone(self._last)}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._last = clone(snapshot["last"])
