"""Events on model fields: drawn for each world, written into the driver, and all that is derived from them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch

from cairngym.envs.physics.threads import ThreadsDriver
from cairngym.envs.physics.world import put
from cairngym.sim2real.randomization.changes import GEOM_SIZES, Change, Values, nominal
from cairngym.sim2real.randomization.elements import label
from cairngym.sim2real.randomization.events import FieldEvent
from cairngym.sim2real.randomization.field_table import FIELDS
from cairngym.sim2real.randomization.parts import Command, Draws, Moment, PhysicsContext, PhysicsPart
from cairngym.sim2real.randomization.timer import Timer

ORDERED = ("jnt_range", "actuator_forcerange")
MAX_CORNERS = 12
"""Numbers whose extremes are tried in all combinations; beyond, all are low together or high together."""


class Fields(PhysicsPart):
    """Writes what the events draw into the per-world fields of the driver, always starting from the model's values.

    Args:
        events: the events, in order.
        draws: of each.
        context: whose driver.

    Raises:
        UnknownNameError: an element that the model does not have.
        ValueError: values that the model can't have, at the extremes of what is drawn; or a field that the driver does
            not keep for each world.
    """

    def __init__(self, events: Sequence[FieldEvent], draws: Sequence[Draws], context: PhysicsContext) -> None:
        self.driver, model = context.driver, context.driver.model
        self.changes = [Change(event, model) for event in events]
        check_extremes(model, self.changes)
        self._draws = list(draws)
        n, device = self.driver.num_worlds, self.driver.device
        self._live = {name: self.driver.field(name) for change in self.changes for name in change.writes}
        self._nominal = {name: nominal(model, name).to(device, live.dtype) for name, live in self._live.items()}
        self._numbers = [torch.zeros(n, *change.shape, dtype=torch.float64, device=device) for change in self.changes]
        self._timers = {
            i: Timer(event.every_s, own, context.step_s, n, device)
            for i, (event, own) in enumerate(zip(events, draws, strict=True))
            if event.every_s is not None
        }
        self._seed: int | None = None
        self._constants = any(FIELDS[name].constants for name in self._live if name in FIELDS)
        if self._constants:
            self._prepare_constants()

    def _prepare_constants(self) -> None:
        """Have the driver keep every derived constant that may change for each world, so that snapshots hold it.

        Threads keep those that were seen to differ from the model's, so all fields are changed once and put back.
        """
        moved = [index for change in self.changes if change.event.field == "body_ipos" for index in change.ids]
        if moved and isinstance(self.driver, ThreadsDriver) and self.driver.model.body_simple[moved].any():
            for name in ("body_simple", "dof_simplenum"):  # they may leave their frame's origin
                self.driver.field(name).zero_()
        everyone = torch.ones(self.driver.num_worlds, dtype=torch.bool, device=self.driver.device)
        for i, numbers in enumerate(self._numbers):
            self._draw(i, torch.full_like(numbers, 0.37), everyone)
        self._write(everyone, set(self._live))
        for name, live in self._live.items():
            live.copy_(self._nominal[name].expand_as(live))
        self.driver.set_const()

    # When -------------------------------------------------------------------------------------------------------------

    def begin(self, mask: torch.Tensor, number: torch.Tensor) -> None:
        """Draw what holds in the new episodes, and write it."""
        start = Moment(number, torch.zeros_like(number))
        anew = self._seed != self._draws[0].seed
        self._seed = self._draws[0].seed
        dirty: set[str] = set()
        for i, (change, draws) in enumerate(zip(self.changes, self._draws, strict=True)):
            count = self._numbers[i][0].numel()
            if change.event.mode == "startup":
                if not anew:
                    continue
                self._draw(i, draws.startup(count), torch.ones_like(mask))
            elif change.event.mode == "reset":
                self._draw(i, draws.reset(number, count), mask)
            else:
                self._timers[i].begin(mask, start)
                self._draw(i, draws.interval(start, count), mask)
            dirty.update(change.writes)
        self._write(mask, dirty)

    def sent(self, moment: Moment, command: Command) -> None:
        """Draw again what is due."""
        for i, timer in self._timers.items():
            due = timer.due(moment)
            if self.driver.device.type == "cpu" and not bool(due.any()):
                continue
            self._draw(i, self._draws[i].interval(moment, self._numbers[i][0].numel()), due)
            self._write(due, set(self.changes[i].writes))

    def _draw(self, i: int, draw: torch.Tensor, mask: torch.Tensor) -> None:
        numbers = self._numbers[i]
        put(mask, numbers, self.changes[i].event.draws.sample(draw).view_as(numbers))

    # What -------------------------------------------------------------------------------------------------------------

    def _write(self, mask: torch.Tensor, names: set[str]) -> None:
        """Bring the named fields of the masked worlds to what the numbers say."""
        if not names:
            return
        if self.driver.device.type == "cpu":
            rows = mask.nonzero()[:, 0]
            for name, value in self._values(names, rows).items():
                self._live[name][rows] = value
        else:
            everyone = torch.arange(len(mask), device=mask.device)
            for name, value in self._values(names, everyone).items():
                put(mask, self._live[name], value)
        if any(FIELDS[name].constants for name in names):
            self.driver.set_const(mask)

    def _values(self, names: set[str], rows: torch.Tensor) -> Values:
        """What the named fields are in the worlds `rows` `(R,)`, and fields that are written together with them."""
        changes = [(i, change) for i, change in enumerate(self.changes) if names & set(change.writes)]
        together = {name for _, change in changes for name in change.writes}
        values = {name: expanded(self._nominal[name], len(rows)) for name in together}
        for i, change in enumerate(self.changes):
            if set(change.writes) <= together:
                change.apply(values, self._numbers[i][rows])
        return {name: value for name, value in values.items() if name in names}

    # Snapshots --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Copy the numbers drawn; the driver keeps the fields."""
        return {
            "seed": self._seed,
            "numbers": [numbers.clone() for numbers in self._numbers],
            "timers": {i: timer.get_state() for i, timer in self._timers.items()},
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._seed = snapshot["seed"]
        for numbers, kept in zip(self._numbers, snapshot["numbers"], strict=True):
            numbers.copy_(kept)
        for i, timer in self._timers.items():
            timer.set_state(snapshot["timers"][i])


def expanded(value: torch.Tensor, rows: int) -> torch.Tensor:
    """Copies `(rows, ...)` of a value, to be written into."""
    return value.unsqueeze(0).repeat(rows, *(1,) * value.ndim)


# Extremes -------------------------------------------------------------------------------------------------------------


def check_extremes(model: mujoco.MjModel, changes: Sequence[Change]) -> None:
    """Hold the least and greatest values that can be drawn against what a model can have.

    Raises:
        ValueError: naming the element, the value and what is possible.
    """
    for field in dict.fromkeys(change.event.field for change in changes):
        own = [change for change in changes if change.event.field == field]
        values = extremes(model, own)
        for change in own:
            _check_values(model, change, change.own(values).numpy())


def extremes(model: mujoco.MjModel, changes: Sequence[Change]) -> Values:
    """The fields that events on one field write, at the corners of what they draw, `(corners, ...)`."""
    widths = [change.shape[1] for change in changes]
    total = sum(widths)
    corners = list(itertools.product((0, 1), repeat=total)) if total <= MAX_CORNERS else [(0,) * total, (1,) * total]
    picks = torch.tensor(corners, dtype=torch.float64).split(widths, dim=1)
    names = {name for change in changes for name in change.writes}
    values = {name: expanded(nominal(model, name).double(), len(corners)) for name in names}
    for change, pick in zip(changes, picks, strict=True):
        low, high = change.event.draws.support
        numbers = (low + (high - low) * pick).unsqueeze(1).expand(-1, change.shape[0], -1)
        change.apply(values, numbers)
    return values


def _check_values(model: mujoco.MjModel, change: Change, values: np.ndarray) -> None:
    """Check `(corners, elements, components)`."""
    field, kind = change.event.field, change.kind
    names = [label(model, kind.element, index) for index in change.ids] or ["the model"]
    least, greatest = kind.bounds
    for place, name in enumerate(names):
        own, strict, wanted = values[:, place], kind.strict, kind.wanted
        if field == "geom_size":  # the numbers beyond those its type has stay zero
            own, strict, wanted = own[:, : GEOM_SIZES[int(model.geom_type[change.ids[place]])]], True, "above 0"
        bad = (own < least) | (own > greatest) | ~np.isfinite(own) | (strict & (own == least))
        if bad.any():
            raise ValueError(
                f"{field!r} of {name} could become {own[bad][0]:g} by the numbers drawn, expected values {wanted}. "
                "Narrow low and high, or mean and std."
            )
        if field == "body_inertia":
            _check_inertia(name, own)
        if field in ORDERED and (own[:, 0] > own[:, 1]).any():
            raise ValueError(f"{field!r} of {name} could become a range that runs backwards. Narrow low and high.")


def _check_inertia(name: str, values: np.ndarray) -> None:
    """Principal moments `(corners, 3)` of a real body obey the triangle inequality."""
    bad = 2.0 * values.max(1) > values.sum(1) * (1.0 + 1e-9)
    if bad.any():
        worst = ", ".join(f"{value:.4g}" for value in values[bad][0])
        raise ValueError(
            f"'body_inertia' of {name} could become ({worst}) by the numbers drawn, which no body has: the greatest "
            "principal moment is at most the sum of the other two. Scale all components together (leave `component` "
            "out), or narrow the range."
        )
