"""What happens to commands on their way to the motors: they are late, or lost."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from cairngym.envs.data import clone
from cairngym.envs.physics.world import put
from cairngym.sim2real.randomization.events import ActionDelay, PacketLoss
from cairngym.sim2real.randomization.parts import Command, Draws, Moment, PhysicsContext, PhysicsPart


class PacketLosses(PhysicsPart):
    """Commands are lost one by one, and the last that came is held; several events lose independently.

    Args:
        events: the events.
        draws: of each.
        context: of the part.
    """

    def __init__(self, events: Sequence[PacketLoss], draws: Sequence[Draws], context: PhysicsContext) -> None:
        del context
        self._events = list(zip(events, draws, strict=True))
        self._held: Command = {}

    def placed(self, mask: torch.Tensor, command: Command) -> None:
        """Hold the rest command."""
        self._held = _begun(self._held, mask, command)

    def sent(self, moment: Moment, command: Command) -> None:
        """Replace what is lost by what is held."""
        for event, draws in self._events:
            lost = draws.interval(moment, 1)[:, 0] < event.probability
            for name, value in command.items():
                command[name] = torch.where(lost.view(-1, *(1,) * (value.ndim - 1)), self._held[name], value)
        self._held = dict(command)

    def get_state(self) -> dict[str, Any]:
        """Copy the command held."""
        return {"held": clone(self._held)}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._held = clone(snapshot["held"])


class ActionDelays(PhysicsPart):
    """Commands arrive late by whole physics steps; the delays of several events add up.

    A command sent at env step t with delay d holds from physics step t S + d on, until a later one has arrived. Before
    an episode's first arrival the motors hold the rest command.

    Args:
        events: the events.
        draws: of each.
        context: of the part.
    """

    def __init__(self, events: Sequence[ActionDelay], draws: Sequence[Draws], context: PhysicsContext) -> None:
        self._events = list(zip(events, draws, strict=True))
        n, device = context.driver.num_worlds, context.driver.device
        self._substeps, self._device = context.substeps, device
        self._range = sum(event.low for event in events), sum(event.high for event in events)
        self._lags = math.ceil(self._range[1] / context.substeps) + 1
        self._delays = torch.zeros(len(events), n, dtype=torch.int64, device=device)
        self._late = torch.zeros(self._lags, n, dtype=torch.int64, device=device)
        self._worlds = torch.arange(n, device=device)
        self._past: Command = {}
        self._seed: int | None = None

    def begin(self, mask: torch.Tensor, number: torch.Tensor) -> None:
        """Draw the delays of units and of episodes."""
        for i, (event, draws) in enumerate(self._events):
            if event.mode == "startup" and self._seed != draws.seed:
                self._delays[i] = _between(draws.startup(1), event)
            elif event.mode == "reset":
                put(mask, self._delays[i], _between(draws.reset(number, 1), event))
        self._seed = self._events[0][1].seed

    def placed(self, mask: torch.Tensor, command: Command) -> None:
        """Fill the past of new episodes with the rest command, which has long arrived."""
        past = {name: value.unsqueeze(1).expand(-1, self._lags, *value.shape[1:]) for name, value in command.items()}
        self._past = _begun(self._past, mask, past)
        self._late.masked_fill_(mask, 0)

    def sent(self, moment: Moment, command: Command) -> None:
        """Send a command on its way."""
        for i, (event, draws) in enumerate(self._events):
            if event.mode == "interval":
                self._delays[i] = _between(draws.interval(moment, 1), event)
        self._late = torch.cat((self._delays.sum(0, keepdim=True), self._late[:-1]))
        self._past = {
            name: torch.cat((value.unsqueeze(1), self._past[name][:, :-1]), dim=1) for name, value in command.items()
        }

    @property
    def _arrivals(self) -> torch.Tensor:
        """At which physics step of this env step the commands of the past arrive, the latest first, `(lags, N)`."""
        lag = torch.arange(self._lags, device=self._device).unsqueeze(1)
        return self._late - lag * self._substeps

    def cuts(self) -> Collection[int]:
        """Where a command arrives in some world; where that would wait for a GPU, where one could."""
        if self._device.type != "cpu":
            low, high = self._range
            return {delay % self._substeps for delay in range(low, high + 1)} - {0}
        arrivals = self._arrivals
        return arrivals[(arrivals > 0) & (arrivals < self._substeps)].unique().tolist()

    def before_step(self, k: int, command: Command) -> None:
        """Tell the motors the latest command that has arrived."""
        lag = (self._arrivals <= k).to(torch.uint8).argmax(0)
        for name in command:
            command[name] = self._past[name][self._worlds, lag]

    def get_state(self) -> dict[str, Any]:
        """Copy the commands on their way and the delays."""
        return {
            "past": clone(self._past), "late": self._late.clone(), "delays": self._delays.clone(), "seed": self._seed
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._past, self._seed = clone(snapshot["past"]), snapshot["seed"]
        self._late, self._delays = snapshot["late"].clone(), snapshot["delays"].clone()


def _between(draw: torch.Tensor, event: ActionDelay) -> torch.Tensor:
    """A whole number from low to high, both included, by `(N, 1)` draws."""
    count = event.high - event.low + 1
    return event.low + (draw[:, 0].double() * count).long().clamp(max=count - 1)


def _begun(memory: Command, mask: torch.Tensor, rest: Command) -> Command:
    """`memory` with the masked rows of `rest`."""
    return {
        name: torch.where(mask.view(-1, *(1,) * (value.ndim - 1)), value, memory.get(name, value))
        for name, value in rest.items()
    }
