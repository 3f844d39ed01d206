"""Zenoh sessions that connect where they are told to, and the keys of a robot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cairngym.sim2real.robot import RobotError

if TYPE_CHECKING:
    import zenoh

KEY = "cairngym/robot"
"""What the keys of a robot begin with, unless another is chosen."""


@dataclass(frozen=True)
class Keys:
    """The key expressions of one robot."""

    prefix: str

    @property
    def spec(self) -> str:
        """Queried for the spec; JSON."""
        return f"{self.prefix}/spec"

    @property
    def reading(self) -> str:
        """Published on by the robot: readings, and signs of life while there are none."""
        return f"{self.prefix}/reading"

    @property
    def command(self) -> str:
        """Published on by who commands."""
        return f"{self.prefix}/command"

    @property
    def stop(self) -> str:
        """Queried for an emergency stop."""
        return f"{self.prefix}/stop"

    @property
    def reset(self) -> str:
        """Queried for a new episode."""
        return f"{self.prefix}/reset"

    @property
    def alive(self) -> str:
        """The liveliness token of the robot."""
        return f"{self.prefix}/alive"


def zenoh_module() -> ModuleType:
    """The library.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import zenoh
    except ImportError as error:
        raise ImportError("Zenoh is not installed. Install it with: pip install 'cairngym[robot]'") from error
    return zenoh


def open_session(listen: Sequence[str] = (), connect: Sequence[str] = ()) -> zenoh.Session:
    """A peer that listens and connects where it is told to, and looks for nobody else.

    Args:
        listen: endpoints such as "tcp/0.0.0.0:7448".
        connect: likewise, of other peers or of a router.

    Raises:
        ImportError: Zenoh is not installed.
        RobotError: an endpoint that can't be opened.
    """
    module = zenoh_module()
    config = module.Config()
    settings: dict[str, Any] = {
        "mode": "peer",
        "scouting/multicast/enabled": False,
        "listen/endpoints": list(listen),
        "connect/endpoints": list(connect),
    }
    try:
        for name, value in settings.items():
            config.insert_json5(name, json.dumps(value))
        return module.open(config)
    except module.ZError as error:
        raise RobotError(f"Zenoh can't listen on {list(listen)} and connect to {list(connect)}: {error}") from error
