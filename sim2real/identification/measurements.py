"""Which numbers of a log are which quantities of the model, and what commands are to its actuators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from cairngym.envs.checks import unknown_name
from cairngym.envs.physics.models import find_id

QUANTITIES = ("qpos", "qvel", "sensor")
FREE, BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)
"""As numbers: MuJoCo's enums do not equal numpy's integers."""
POSITION_WIDTHS = {FREE: 7, BALL: 4}
VELOCITY_WIDTHS = {FREE: 6, BALL: 3}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A channel of the log and what it measures."""

    channel: str
    """The log's name of it."""
    quantity: str
    """"qpos" or "qvel" of joints, or "sensor": outputs of the model's sensors."""
    names: tuple[str, ...] = ()
    """Joints or sensors in the order of the channel's numbers; none is all of them."""
    components: tuple[int, ...] = ()
    """Which of their numbers the channel holds, in its order; none is all of them."""
    noise: float | None = None
    """Standard deviation of a number; None estimates it from the log."""
    unit: str | None = None
    """What its numbers must be in; None takes them as they are."""

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise unknown_name("quantity", self.quantity, QUANTITIES)
        if self.noise is not None and not self.noise > 0:
            raise ValueError(f"Expected a positive noise of channel {self.channel!r}, got {self.noise}.")

    def addresses(self, model: mujoco.MjModel) -> np.ndarray:
        """Where its numbers are in qpos, qvel or sensordata.

        Raises:
            UnknownNameError: the model has no joint or sensor of that name.
            ValueError: a component that they do not have.
        """
        every = self._every(model)
        if not all(0 <= one < len(every) for one in self.components):
            raise ValueError(
                f"Expected components of channel {self.channel!r} from 0 to {len(every) - 1}, one of the numbers of "
                f"{', '.join(self.names) or self.quantity}, got {list(self.components)}."
            )
        return every[list(self.components)] if self.components else every

    def _every(self, model: mujoco.MjModel) -> np.ndarray:
        if self.quantity == "sensor":
            chosen = [find_id(model, "sensor", name) for name in self.names] or range(model.nsensor)
            return _runs(model.sensor_adr[list(chosen)], model.sensor_dim[list(chosen)])
        joints = [find_id(model, "joint", name) for name in self.names] or list(range(model.njnt))
        widths = POSITION_WIDTHS if self.quantity == "qpos" else VELOCITY_WIDTHS
        starts = model.jnt_qposadr if self.quantity == "qpos" else model.jnt_dofadr
        return _runs(starts[joints], [widths.get(int(model.jnt_type[joint]), 1) for joint in joints])

    def coordinates(self, model: mujoco.MjModel) -> list[tuple[str, int] | None]:
        """For each number, the coordinate ("qpos" or "qvel", address) it is, if it is one."""
        if self.quantity != "sensor":
            return [(self.quantity, int(address)) for address in self.addresses(model)]
        chosen = [find_id(model, "sensor", name) for name in self.names] or range(model.nsensor)
        every = [found for sensor in chosen for found in _sensed(model, sensor)]
        return [every[one] for one in self.components] if self.components else every


def _sensed(model: mujoco.MjModel, sensor: int) -> list[tuple[str, int] | None]:
    kind, joint = model.sensor_type[sensor], model.sensor_objid[sensor]
    if kind == mujoco.mjtSensor.mjSENS_JOINTPOS:
        return [("qpos", int(model.jnt_qposadr[joint]))]
    if kind == mujoco.mjtSensor.mjSENS_JOINTVEL:
        return [("qvel", int(model.jnt_dofadr[joint]))]
    return [None] * int(model.sensor_dim[sensor])


def _runs(starts: Sequence[int] | np.ndarray, widths: Sequence[int] | np.ndarray) -> np.ndarray:
    runs = [np.arange(start, start + width) for start, width in zip(starts, widths, strict=True)]
    return np.concatenate(runs) if runs else np.zeros(0, int)


@dataclass(frozen=True, kw_only=True)
class CommandMap:
    """What commands are to the actuators: `ctrl = offset + matrix @ command + follow @ qpos` when they are given."""

    matrix: np.ndarray
    """`(nu, command size)`."""
    offset: np.ndarray
    """`(nu,)`."""
    follow: np.ndarray | None = None
    """`(nu, nq)`, for targets that are relative to where the joints are; None where none is."""

    @classmethod
    def identity(cls, model: mujoco.MjModel) -> CommandMap:
        """Commands are the actuators' controls."""
        return cls(matrix=np.eye(model.nu), offset=np.zeros(model.nu))

    @classmethod
    def scaled(cls, model: mujoco.MjModel, scale: Sequence[float], offset: Sequence[float]) -> CommandMap:
        """One number for each actuator, scaled and shifted; empty sequences stand for ones and zeros.

        Raises:
            ValueError: as many numbers as actuators were expected.
        """
        for name, numbers in (("scale", scale), ("offset", offset)):
            if len(numbers) not in (0, model.nu):
                raise ValueError(f"Expected {model.nu} numbers of {name}, one for each actuator, got {len(numbers)}.")
        return cls(
            matrix=np.diag(np.array(scale or np.ones(model.nu), float)),
            offset=np.array(offset or np.zeros(model.nu), float),
        )

    def __call__(self, commands: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Controls `(…, nu)` of commands `(…, size)` given at positions `(…, nq)`.

        Raises:
            ValueError: commands of another size.
        """
        if commands.shape[-1] != self.matrix.shape[1]:
            raise ValueError(
                f"Expected commands of {self.matrix.shape[1]} numbers for this model, got {commands.shape[-1]}."
            )
        controls = commands @ self.matrix.T + self.offset
        return controls if self.follow is None else controls + qpos @ self.follow.T
