"""Gymnasium's ant in a walled square arena."""

from __future__ import annotations

import mujoco

from cairngym.envs.physics.models import package_file, require

ANT = ("gymnasium", "envs", "mujoco", "assets", "ant.xml")
JOINTS = ("root", *(f"{part}_{leg}" for leg in range(1, 5) for part in ("hip", "ankle")))
WALL_COLOR = (0.7, 0.5, 0.3, 1.0)
WALL_HEIGHT, WALL_WIDTH = 1.0, 0.2


def ant_model(half: float) -> mujoco.MjModel:
    """Compile the ant with four walls around it; nothing of the ant is changed.

    Args:
        half: from the middle to a wall's inner face, m.

    Raises:
        ImportError: Gymnasium is not installed.
        ValueError: its model lacks a joint that is measured.
    """
    spec = mujoco.MjSpec.from_file(str(package_file(*ANT)))
    middle, across, along = half + WALL_WIDTH / 2, WALL_WIDTH / 2, half + WALL_WIDTH
    for name, x, y in (("east", 1, 0), ("west", -1, 0), ("north", 0, 1), ("south", 0, -1)):
        spec.worldbody.add_geom(
            name=f"wall_{name}", type=mujoco.mjtGeom.mjGEOM_BOX, pos=(middle * x, middle * y, WALL_HEIGHT / 2),
            size=(across if x else along, across if y else along, WALL_HEIGHT / 2), contype=1, conaffinity=1,
            rgba=WALL_COLOR,
        )  # fmt: skip
    model = spec.compile()
    require(model, {"joint": JOINTS}, "an ant world")
    return model
