"""What may come between a physics world and its simulations: other parameters, delays, pushes, motors of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch

from cairngym.envs.episodes import Episodes


class Disturbance(ABC):
    """Hooks of `PhysicsWorld`, which calls them in this order: `begin` and `placed` where episodes start, then `step`.

    It is set as the world's `disturbance`, holds the world's driver, and may write its fields and state views.
    """

    @abstractmethod
    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Choose what holds in the new episodes of the masked `(N,)` worlds, which are back at the initial state.

        The world places its bodies afterwards, with the parameters chosen here.
        """

    @abstractmethod
    def placed(self, mask: torch.Tensor) -> None:
        """Take in how the masked worlds begin: everything is in its place and derived views are current."""

    @abstractmethod
    def step(self, substeps: int) -> None:
        """Advance the simulations in place of the driver's `step`; the world has written its controls."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Copy everything that decides the future."""

    @abstractmethod
    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
