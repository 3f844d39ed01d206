"""What can go wrong while a robot is controlled, and what is done about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal, get_args

Meanwhile = Literal["policy", "hold", "rest"]
COMMANDS = ("policy", "hold", "rest", "stop", "over")
"""Where the command of a tick comes from, by its number in flight logs; the later of the first four is the safer.
"over" is the rest of a robot whose episode has ended."""


class Fault(IntFlag):
    """A bit each, as in the `flags` of flight logs."""

    STALE = 1
    """The latest reading is too old."""
    FROZEN = 2
    """Values that should move do not."""
    NAN_READING = 4
    """A reading with a number that is not finite, or without one of the robot's channels."""
    NAN_COMMAND = 8
    """The policy's action has a number that is not finite."""
    COMMAND_LIMIT = 16
    """A command was outside of the limits."""
    RATE_LIMIT = 32
    """A command changed too fast."""
    WORKSPACE = 64
    """A channel is outside of its box."""
    WORKSPACE_LEFT = 128
    """A channel is outside of its box by more than the margin."""
    DEADLINE = 256
    """A tick was not done before the next was due, or was left out."""
    POLICY = 512
    """The policy raised, or its action has the wrong shape."""
    CONNECTION = 1024
    """The robot is gone."""
    ROBOT_STOPPED = 2048
    """The robot was stopped by somebody else."""
    HUNG = 4096
    """A tick did not end."""
    RECORDER = 8192
    """The flight recorder can't write."""
    INTERRUPTED = 16384
    """Ctrl-C."""

    @property
    def label(self) -> str:
        """Name in reports and configurations."""
        return str(self.name).lower()


@dataclass(frozen=True, kw_only=True)
class Response:
    """What is done about a fault."""

    meanwhile: Meanwhile = "hold"
    """What is sent while it lasts: the "policy"'s command, "hold" for the last command again, or "rest"."""
    stop_after_s: float = 0.0
    """How long it may last before the robot is stopped, s; 0 stops at once, infinity never."""

    def __post_init__(self) -> None:
        if self.meanwhile not in get_args(Meanwhile):
            raise ValueError(f"Expected meanwhile to be one of {get_args(Meanwhile)}, got {self.meanwhile!r}.")
        if not self.stop_after_s >= 0:
            raise ValueError(f"Expected stop_after_s of at least 0 s, got {self.stop_after_s}.")


NONE = Fault(0)
HOLD = Response(meanwhile="hold", stop_after_s=0.25)
HOLD_BRIEFLY = Response(meanwhile="hold", stop_after_s=0.1)
CONTINUE = Response(meanwhile="policy", stop_after_s=math.inf)
STOP = Response(meanwhile="rest", stop_after_s=0.0)


class SafeStopError(Exception):
    """The robot is to be stopped.

    Args:
        fault: why.
        detail: what was seen, for people.
    """

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault, self.detail = fault, detail

    @property
    def reason(self) -> str:
        """One line."""
        return f"{self.fault.label}: {self.detail}"
