"""What the Adroit hand handles: a door, a hammer and a nail, a pen, a ball."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from cairngym.envs.data import StateField
from cairngym.envs.goals import goal_distance
from cairngym.envs.manipulation.adroit import AdroitWorld, scalar_field, vector_field
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.models import find_id


class DoorWorld(AdroitWorld):
    """A door behind a latch, which the handle turns."""

    camera = Camera(lookat=(0.0, 0.0, 0.2), distance=1.5, azimuth=90.0, elevation=-45.0)

    def own_fields(self) -> dict[str, StateField]:
        """Handle, latch and hinge."""
        return {
            "handle_position": vector_field("m", "Where the door's handle is in the world."),
            "latch_angle": scalar_field("rad", "How far the latch is turned; about 1.8 at most."),
            "door_angle": scalar_field("rad", "How far the door is open; 1.57 at most."),
        }

    def own_measures(self) -> dict[str, torch.Tensor]:
        """Handle, latch and hinge."""
        return {
            "handle_position": self.site("S_handle"),
            "latch_angle": self.joint("latch"),
            "door_angle": self.joint("door_hinge"),
        }


class HammerWorld(AdroitWorld):
    """A hammer on the table, and a nail in an upright board."""

    camera = Camera(lookat=(0.0, 0.0, 0.2), distance=1.3, azimuth=45.0, elevation=-40.0)

    accelerations = True  # the force on the nail is a sensor of them

    def own_fields(self) -> dict[str, StateField]:
        """Hammer head and nail."""
        return {
            "head_position": vector_field("m", "Where the face of the hammer's head is in the world."),
            "nail_position": vector_field("m", "Where the nail's head is in the world."),
            "nail_goal": vector_field("m", "Where the nail's head is wanted in the world."),
            "nail_depth": scalar_field("m", "How far the nail has been driven in; 0.09 at most."),
            "nail_distance": scalar_field("m", "How far the nail's head is from where it is wanted."),
            "nail_force": scalar_field("N", "Contact force on the nail's head."),
        }

    def own_measures(self) -> dict[str, torch.Tensor]:
        """Hammer head and nail."""
        nail, goal = self.site("S_target"), self.site("nail_goal")
        return {
            "head_position": self.site("tool"),
            "nail_position": nail,
            "nail_goal": goal,
            "nail_depth": self.joint("nail_dir"),
            "nail_distance": goal_distance(nail, goal),
            "nail_force": self.sensor("S_nail"),
        }


class PenWorld(AdroitWorld):
    """A pen above the open hand, whose forearm is fixed, and a picture of the pen turned as it is wanted."""

    camera = Camera(lookat=(0.0, -0.1, 0.2), distance=1.0, azimuth=-45.0, elevation=-45.0)

    def own_fields(self) -> dict[str, StateField]:
        """How the pen is and is wanted."""
        return {
            "object_axis": vector_field("1", "Unit vector along the pen in the world, from its bottom to its top."),
            "target_axis": vector_field("1", "Unit vector along the pen as it is wanted."),
            "target_position": vector_field("m", "Where the pen is wanted in the world."),
            "object_distance": scalar_field("m", "How far the pen is from where it is wanted."),
            "axis_similarity": scalar_field("1", "Cosine between the pen's axis and the one wanted."),
        }

    def own_measures(self) -> dict[str, torch.Tensor]:
        """How the pen is and is wanted."""
        axis, wanted, centre = self._axis("object"), self._axis("target"), self.site("eps_ball")
        return {
            "object_axis": axis,
            "target_axis": wanted,
            "target_position": centre,
            "object_distance": goal_distance(self.object_position, centre),
            "axis_similarity": (axis * wanted).sum(-1),
        }

    def _axis(self, name: str) -> torch.Tensor:
        return (self.site(f"{name}_top") - self.site(f"{name}_bottom")) / self._length[name]

    def locate(self) -> None:
        """Find the indices, and how far apart the marks at the ends of a pen are."""
        super().locate()
        place = {name: self.model.site_pos[find_id(self.model, "site", name)] for name in self.config.sites}
        self._length = {
            name: float(np.linalg.norm(place[f"{name}_top"] - place[f"{name}_bottom"])) for name in ("object", "target")
        }


class RelocateWorld(AdroitWorld):
    """A ball on the table, and a place in the air to hold it at."""

    camera = Camera(lookat=(0.0, 0.0, 0.1), distance=1.5, azimuth=90.0, elevation=-45.0)

    def own_fields(self) -> dict[str, StateField]:
        """Where the ball is wanted."""
        return {
            "target_position": vector_field("m", "Where the ball is wanted in the world."),
            "object_distance": scalar_field("m", "How far the ball is from where it is wanted."),
        }

    def own_measures(self) -> dict[str, torch.Tensor]:
        """Where the ball is wanted."""
        target = self.site("target")
        distance = goal_distance(self.object_position, target)
        return {"target_position": target, "object_distance": distance}


SCENES: Mapping[str, type[AdroitWorld]] = {
    "door": DoorWorld,
    "hammer": HammerWorld,
    "pen": PenWorld,
    "relocate": RelocateWorld,
}
"""Worlds by `AdroitConfig.scene`."""
