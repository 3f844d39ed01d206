"""The four Adroit tasks: which model each runs on, and what is drawn anew when an episode begins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A pose in the model that every episode draws uniformly: some axes of a position, or some angles of a rotation."""

    field: str
    """The model field: "body_pos", "site_pos" (m) or "body_quat" (drawn as angles, rad)."""
    name: str
    """The body or site."""
    axes: tuple[int, ...]
    """Which of x, y and z are drawn; a position keeps the model's value on the others, a rotation has none there."""
    low: tuple[float, ...]
    """Least value of each drawn axis, m or rad."""
    high: tuple[float, ...]
    """Greatest value of each drawn axis, m or rad."""


@dataclass(frozen=True, kw_only=True)
class AdroitConfig:
    """What tells the Adroit tasks apart (Rajeswaran et al. 2018, "Learning Complex Dexterous Manipulation")."""

    scene: str
    """What is handled: "door", "hammer", "pen" or "relocate"."""
    xml: str
    """The model's file among Gymnasium-Robotics' Adroit assets."""
    slides: tuple[str, ...]
    """Slide joints that carry the forearm."""
    hinges: tuple[str, ...]
    """Hinge joints that turn the forearm."""
    sites: tuple[str, ...]
    """Sites measured beside the palm's."""
    joints: tuple[str, ...] = ()
    """Joints measured beside the hand's and those of a free object."""
    sensors: tuple[str, ...] = ()
    """Sensors measured, of one number each."""
    has_object: bool = True
    """Whether a free body named "Object" is handled."""
    placements: tuple[Placement, ...]
    """What is drawn when an episode begins."""


PALM = "S_grasp"
"""The site between palm and fingers."""
OBJECT_JOINTS = ("OBJTx", "OBJTy", "OBJTz", "OBJRx", "OBJRy", "OBJRz")
"""Three slides and three hinges that free the body "Object"."""


def _finger(name: str, first: int) -> Iterable[str]:
    return (f"{name}J{number}" for number in range(first, -1, -1))


WRIST = ("WRJ1", "WRJ0")
FINGERS = (*_finger("FF", 3), *_finger("MF", 3), *_finger("RF", 3), *_finger("LF", 4), *_finger("TH", 4))
HAND_JOINTS = (*WRIST, *FINGERS)
"""The hand's 24 hinges from the wrist to the thumb, in the order of the models."""

ADROIT = {
    "AdroitHandDoorSparse-v1": AdroitConfig(
        scene="door", xml="adroit_door.xml", slides=("ARTz",), hinges=("ARRx", "ARRy", "ARRz"), sites=("S_handle",),
        joints=("door_hinge", "latch"), has_object=False,
        placements=(
            Placement(
                field="body_pos", name="frame", axes=(0, 1, 2), low=(-0.3, 0.25, 0.252), high=(-0.2, 0.35, 0.35)
            ),
        ),
    ),
    "AdroitHandHammerSparse-v1": AdroitConfig(
        scene="hammer", xml="adroit_hammer.xml", slides=(), hinges=("ARRx", "ARRy"),
        sites=("tool", "S_target", "nail_goal"), joints=("nail_dir",), sensors=("S_nail",),
        placements=(Placement(field="body_pos", name="nail_board", axes=(2,), low=(0.1,), high=(0.25,)),),
    ),
    "AdroitHandPenSparse-v1": AdroitConfig(
        scene="pen", xml="adroit_pen.xml", slides=(), hinges=(),
        sites=("eps_ball", "object_top", "object_bottom", "target_top", "target_bottom"),
        placements=(Placement(field="body_quat", name="target", axes=(0, 1), low=(-1.0, -1.0), high=(1.0, 1.0)),),
    ),
    "AdroitHandRelocateSparse-v1": AdroitConfig(
        scene="relocate", xml="adroit_relocate.xml", slides=("ARTx", "ARTy", "ARTz"),
        hinges=("ARRx", "ARRy", "ARRz"), sites=("target",),
        placements=(
            Placement(field="body_pos", name="Object", axes=(0, 1), low=(-0.15, -0.15), high=(0.15, 0.3)),
            Placement(
                field="site_pos", name="target", axes=(0, 1, 2), low=(-0.2, -0.2, 0.15), high=(0.2, 0.2, 0.35)
            ),
        ),
    ),
}  # fmt: skip
"""By the ids of the Gymnasium-Robotics 1.4 versions they equal."""
