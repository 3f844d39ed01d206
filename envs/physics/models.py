"""Robot models from the packages that publish them, and their names looked up with clear errors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import mujoco
import numpy as np

from cairngym.envs.checks import UnknownNameError, unknown_name

KINDS: Mapping[str, mujoco.mjtObj] = {
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR,
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "camera": mujoco.mjtObj.mjOBJ_CAMERA,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "sensor": mujoco.mjtObj.mjOBJ_SENSOR,
    "site": mujoco.mjtObj.mjOBJ_SITE,
}


def package_file(package: str, *parts: str) -> Path:
    """A file inside an installed package, without importing the package.

    Raises:
        ImportError: the package is not installed.
        FileNotFoundError: it has no such file; another version might.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            f"Expected the package {package!r}, whose models this env runs on, got none. "
            f"Install it: pip install {package.replace('_', '-')}"
        )
    path = Path(next(iter(spec.submodule_search_locations)), *parts)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected the model file {path}, got none. Install the version of {package} that constraints.txt names."
        )
    return path


def find_id(model: mujoco.MjModel, kind: str, name: str) -> int:
    """The id of a named object.

    Raises:
        UnknownNameError: the model has none of that name; the message lists the nearest ones it has.
    """
    index = mujoco.mj_name2id(model, KINDS[kind], name)
    if index < 0:
        count = {"joint": "njnt", "actuator": "nu", "camera": "ncam"}.get(kind, f"n{kind}")
        valid = [mujoco.mj_id2name(model, KINDS[kind], i) or "" for i in range(getattr(model, count))]
        raise unknown_name(f"{kind} of the MuJoCo model", name, filter(None, valid))
    return int(index)


def require(model: mujoco.MjModel, needs: Mapping[str, Sequence[str]], what: str) -> None:
    """Check that a model has every object a world measures or moves.

    Args:
        model: compiled model.
        needs: names by kind ("site", "joint", …).
        what: the world, for the message.

    Raises:
        ValueError: naming everything that is missing.
    """
    missing = []
    for kind, names in needs.items():
        for name in names:
            try:
                find_id(model, kind, name)
            except UnknownNameError:
                missing.append(f"{kind} {name!r}")
    if missing:
        raise ValueError(
            f"Expected a model with everything {what} measures, got one without {', '.join(missing)}. "
            "Add them to the XML under these names."
        )


def constraints_set_by_hand(model: mujoco.MjModel) -> np.ndarray:
    """Ids of equality constraints whose data say something else than the model's reference pose does.

    `mj_setConst` derives where welded and connected bodies are to each other from that pose. Who has set it since the
    model was compiled, as Fetch's mocap welds are, loses it there, whatever the constants were derived for.
    """
    derived = copy.copy(model)
    mujoco.mj_setConst(derived, mujoco.MjData(derived))
    return np.flatnonzero(~np.isclose(derived.eq_data, model.eq_data, rtol=0.0, atol=1e-9).all(axis=1))
