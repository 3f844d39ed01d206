"""The nominal model of a robot: a MuJoCo file, or the model of an env, with what commands are to its actuators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mujoco
import numpy as np
from gymnasium import spaces

from cairngym.sim2real.identification.measurements import CommandMap
from cairngym.sim2real.identification.mocap import MocapMap
from cairngym.sim2real.identification.probing import Held, Prober

SUFFIXES = (".xml", ".mjcf", ".mjb")


@dataclass(frozen=True, kw_only=True)
class Plant:
    """A model and how it is commanded."""

    name: str
    model: mujoco.MjModel
    command: CommandMap
    home: np.ndarray
    """`(nq,)`, what coordinates that nothing measures begin at."""
    low: np.ndarray
    """Least command, `(size,)`."""
    high: np.ndarray
    """Greatest command."""
    rest: np.ndarray
    """The command at which it rests."""
    control_dt: float | None = field(default=None)
    """Time between two commands, s; None for a file, which does not say."""
    mocap: MocapMap | None = None
    """How commands move mocap bodies; None where they move none."""
    held: Held | None = None
    """Coordinates that are put back where they were after every command; None where none are."""

    @property
    def closed_loop(self) -> bool:
        """Whether what a command does depends on where the bodies are when it is given, or the env corrects them."""
        return self.mocap is not None or self.held is not None


def load_plant(source: str | Path, scale: Sequence[float] = (), offset: Sequence[float] = ()) -> Plant:
    """Load a nominal model.

    Args:
        source: path of a MuJoCo file, or an env id.
        scale: for files, what commands are multiplied by to be controls; none is ones.
        offset: for files, what is added to them.

    Raises:
        UnknownNameError: no such env.
        FileNotFoundError: no such file.
        ValueError: not a model that MuJoCo can load; or an env whose actions are no affine controls, or move mocap
            bodies otherwise than from where the bodies welded to them are.
    """
    path = Path(source)
    if path.suffix.lower() not in SUFFIXES:
        return _of_env(str(source))
    if not path.is_file():
        raise FileNotFoundError(f"Expected a MuJoCo file at {path}, got none.")
    load = mujoco.MjModel.from_binary_path if path.suffix.lower() == ".mjb" else mujoco.MjModel.from_xml_path
    return plant_of(load(str(path)), name=path.stem, scale=scale, offset=offset)


def plant_of(
    model: mujoco.MjModel,
    *,
    name: str = "model",
    scale: Sequence[float] = (),
    offset: Sequence[float] = (),
    control_dt: float | None = None,
) -> Plant:
    """The plant of a compiled model whose commands are its controls, scaled and shifted."""
    command = CommandMap.scaled(model, scale, offset)
    gain, limited = np.diag(command.matrix), model.actuator_ctrllimited.astype(bool)
    edges = np.where(limited[:, None], model.actuator_ctrlrange, [[-1.0, 1.0]])
    ends = np.where(limited[:, None], (edges - command.offset[:, None]) / gain[:, None], edges)
    low, high = ends.min(axis=1), ends.max(axis=1)
    return Plant(
        name=name, model=model, command=command, home=model.qpos0.copy(), low=low, high=high,
        rest=np.clip(np.zeros(model.nu), low, high), control_dt=control_dt,
    )  # fmt: skip


def _of_env(env_id: str) -> Plant:
    from cairngym.envs.physics.world import PhysicsWorld
    from cairngym.envs.registry import make

    env = make(env_id)
    try:
        env.reset()
        world = env.unwrapped.world
        if not isinstance(world, PhysicsWorld):
            raise ValueError(f"Expected an env under MuJoCo, got {env_id!r}, whose world is {type(world).__name__}.")
        space = env.single_action_space
        if not isinstance(space, spaces.Box):
            raise ValueError(f"Expected an env whose actions are numbers, got {env_id!r} with {space}.")
        prober = Prober(world, env_id, int(np.prod(space.low.shape)))
        held = prober.held()
        return Plant(
            name=env_id, model=world.model, command=prober.command_map(), home=prober.home,
            mocap=prober.mocap_map(), held=held if len(held.at) else None,
            low=space.low.ravel().astype(float), high=space.high.ravel().astype(float),
            rest=np.clip(0.0, space.low, space.high).ravel().astype(float),
            control_dt=float(world.substeps * world.model.opt.timestep),
        )  # fmt: skip
    finally:
        env.close()
