"""What a twin is told before it starts, and what can be done to it on purpose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cairngym.envs.checks import check_options, unknown_name

CLOCKS = ("realtime", "lockstep")
FAULTS = ("freeze_values", "freeze_stamps", "nan", "loss", "delay", "stall", "die", "none")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What happens to datagrams at the twin's door, in each direction by itself.

    Raises:
        ValueError: negative times, or shares outside [0, 1].
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    """Added to each datagram's delay, uniform from zero to this; datagrams keep their order."""
    loss: float = 0.0
    """Share of datagrams that never arrive."""
    reorder: float = 0.0
    """Share of datagrams that are held back, so that later ones overtake them."""
    hold_s: float = 0.02
    """How long those are held back."""

    def __post_init__(self) -> None:
        for name in ("delay_s", "jitter_s", "hold_s"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"Expected {name} >= 0, got {getattr(self, name)}.")
        for name in ("loss", "reorder"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"Expected {name} in [0, 1], got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class TwinConfig:
    """A twin: which robot, which copy of it, on which clock, behind which network.

    Raises:
        UnknownNameError: no such clock.
        ValueError: a time that is not above zero, a port or unit out of range.
    """

    env: str
    """Id of the env."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the env, as JSON can hold them."""
    fleet: str | None = None
    """Name or path of what tells the units of a fleet apart, see `load_fleet`; None for the nominal robot."""
    unit: int = 0
    """Which robot of the fleet."""
    fleet_seed: int = 0
    """Of the units' hidden parameters and of the noise."""
    seed: int = 0
    """Of the episodes' beginnings."""
    clock: str = "realtime"
    """"realtime": it moves by itself and holds the last command that came; "lockstep": it moves when told to."""
    control_dt: float | None = None
    """Time between two steps, s; None takes the env's own. See `SimulatedRobot`."""
    command_timeout_s: float = 0.25
    """Time without a command, s, after which the robot rests; real-time clock only."""
    session_timeout_s: float = 2.0
    """Silence of a client, s, after which another one may take over."""
    host: str = "127.0.0.1"
    port: int = 0
    """UDP; 0 takes a free one."""
    network: NetworkConfig = NetworkConfig()
    network_seed: int = 0

    def __post_init__(self) -> None:
        if self.clock not in CLOCKS:
            raise unknown_name("clock", self.clock, CLOCKS)
        for name in ("command_timeout_s", "session_timeout_s"):
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ValueError(f"Expected {name} > 0, got {getattr(self, name)}.")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"Expected a port in [0, 65535], got {self.port}.")
        if self.unit < 0:
            raise ValueError(f"Expected a unit >= 0, got {self.unit}.")

    def to_json(self) -> str:
        """As one line of JSON.

        Raises:
            TypeError: options that JSON can't hold.
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TwinConfig:
        """From what `to_json` gave."""
        data = json.loads(text)
        return cls(**data | {"network": NetworkConfig(**data["network"])})


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A failure to bring about in a twin.

    Raises:
        UnknownNameError: no such kind.
        ValueError: a duration or an amount that can't be.
    """

    kind: str
    """"freeze_values": sensors repeat their values while sequence numbers and time stamps go on; "freeze_stamps": time
    stamps stand still too; "nan": numbers are NaN; "loss": datagrams are lost; "delay": datagrams are late; "stall":
    the twin does nothing; "die": its process ends at once, without a word; "none": every fault ends."""
    duration_s: float | None = None
    """None stands for until "none" comes."""
    amount: float | None = None
    """Of "loss" the share of datagrams (default 0.3), of "delay" the delay each way in s (default 0.1)."""
    channel: str | None = None
    """Of "nan": the sensor; None for all of them."""

    def __post_init__(self) -> None:
        if self.kind not in FAULTS:
            raise unknown_name("fault", self.kind, FAULTS)
        if self.duration_s is not None and not 0.0 < self.duration_s < float("inf"):
            raise ValueError(f"Expected duration_s > 0 or None, got {self.duration_s}.")
        if self.kind == "stall" and self.duration_s is None:
            raise ValueError("Expected a duration_s for the fault 'stall', which nothing else could end.")
        highest = 1.0 if self.kind == "loss" else 60.0
        if self.amount is not None and not 0.0 <= self.amount <= highest:
            raise ValueError(f"Expected an amount in [0, {highest:g}] for the fault {self.kind!r}, got {self.amount}.")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fault:
        """From plain data.

        Raises:
            TypeError: entries that it does not have, or values of another type.
            ValueError: see the class.
        """
        check_options("A fault", data, cls.__dataclass_fields__)
        for name, value in data.items():
            kinds = str if name in ("kind", "channel") else (int, float)
            if value is not None and not isinstance(value, kinds):
                raise TypeError(f"Expected another type for {name} of a fault, got {value!r}.")
        if not isinstance(data.get("kind"), str):
            raise TypeError("Expected a fault with a kind.")
        return cls(**data)
