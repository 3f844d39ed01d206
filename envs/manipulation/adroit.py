"""The Adroit hand: 24 finger and wrist joints on a forearm, and a door, a nail, a pen or a ball to handle."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import torch

from cairngym.envs.data import StateField
from cairngym.envs.manipulation.adroit_config import HAND_JOINTS, OBJECT_JOINTS, PALM, WRIST, AdroitConfig, Placement
from cairngym.envs.physics.kinematics import matrix_to_euler
from cairngym.envs.physics.models import find_id, package_file, require
from cairngym.envs.physics.world import PhysicsWorld, put

SUBSTEPS = 5
WRIST_GAIN, FINGER_GAIN = 10.0, 1.0
"""N m/rad of the position servos."""


class AdroitWorld(PhysicsWorld):
    """N Adroit hands.

    An action moves every servo's target between the ends of its range.

    Args:
        config: which of the four.
        num_envs: N.
        device: "cpu" or "cuda".
        dtype: of the measurements.
        driver: options of `make_driver`.

    Raises:
        ValueError: the model lacks a site, a joint, a body or a servo that is measured or moved.
    """

    def __init__(
        self, config: AdroitConfig, num_envs: int, device: str, *, dtype: torch.dtype, driver: dict[str, Any]
    ) -> None:
        self.config = config
        model = mujoco.MjModel.from_xml_path(
            str(package_file("gymnasium_robotics", "envs", "assets", "adroit_hand", config.xml))
        )
        check_model(model, config)
        set_gains(model)
        fields = self.common_fields() | self.own_fields()
        super().__init__(
            model,
            num_envs,
            device,
            substeps=SUBSTEPS,
            action_size=model.nu,
            state_spec={name: replace(field, dtype=dtype) for name, field in fields.items()},
            dtype=dtype,
            driver=driver,
        )
        self.driver.set_initial(mujoco.MjData(model))
        self.num_draws = sum(len(placement.axes) for placement in config.placements)
        self._fields = {placement.field: self.driver.field(placement.field) for placement in config.placements}
        self._placers = [
            Placer(placement, self.model, self._fields[placement.field]) for placement in config.placements
        ]
        self.locate()

    def locate(self) -> None:
        """Find the views and indices that are measured."""
        model, view = self.model, self.driver.view
        self._qpos, self._qvel, self._ctrl = view("qpos"), view("qvel"), view("ctrl")
        self._body_pos, self._body_mat, self._site_pos = view("xpos"), view("xmat"), view("site_xpos")
        ranges = torch.as_tensor(model.actuator_ctrlrange.copy(), dtype=self.driver.dtype, device=self.device)
        self._middle, self._half_range = ranges.mean(1), 0.5 * (ranges[:, 1] - ranges[:, 0])
        self._sites = {name: find_id(model, "site", name) for name in (PALM, *self.config.sites)}
        self._slides = [self._address(name) for name in self.config.slides]
        self._hinges = [self._address(name) for name in (*self.config.hinges, *HAND_JOINTS)]
        self._joints = {name: self._address(name) for name in self.config.joints}
        self._sensors = {name: int(model.sensor_adr[find_id(model, "sensor", name)]) for name in self.config.sensors}
        self._sensordata = view("sensordata")
        if self.config.has_object:
            self._object = find_id(model, "body", "Object")
            dofs = [int(model.jnt_dofadr[find_id(model, "joint", name)]) for name in OBJECT_JOINTS]
            self._object_slides, self._object_hinges = dofs[:3], dofs[3:]

    def _address(self, joint: str) -> int:
        return int(self.model.jnt_qposadr[find_id(self.model, "joint", joint)])

    # Moving -----------------------------------------------------------------------------------------------------------

    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Draw what the config places; the hand starts at rest with every joint at zero."""
        used = 0
        for placer in self._placers:
            placer.place(mask, draw[:, used : (used := used + len(placer.axes))])

    def control(self, action: torch.Tensor) -> None:
        """Set every servo's target, -1 and 1 being the ends of its range."""
        self._ctrl.copy_(self._middle + action * self._half_range)

    # Measuring --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def own_fields(self) -> dict[str, StateField]:
        """The fields of `state_spec` that this world has beside the common ones."""

    @abstractmethod
    def own_measures(self) -> dict[str, torch.Tensor]:
        """The values of `own_fields`."""

    def common_fields(self) -> dict[str, StateField]:
        """The fields of the hand, and of the object where there is one."""
        slides, hinges = len(self.config.slides), len(self.config.hinges) + len(HAND_JOINTS)
        fields = {
            "hinge_angle": vector_field("rad", "The hand's hinge joints, from the forearm to the thumb.", hinges),
            "palm_position": vector_field("m", "Where the palm's grasp centre is in the world."),
        }
        if slides:
            fields["slide_position"] = vector_field("m", "The slide joints that carry the forearm.", slides)
        if self.config.has_object:
            fields |= {
                "object_position": vector_field("m", "Where the object is in the world."),
                "object_rotation": vector_field("rad", "The object's angles about x, y and z."),
                "object_velocity": vector_field("m/s", "Rates of the object's three slide joints."),
                "object_rotation_velocity": vector_field("rad/s", "Rates of the object's three hinge joints."),
            }
        return fields

    def measure(self) -> dict[str, torch.Tensor]:
        """The fields of `state_spec`."""
        fields = {"hinge_angle": self._qpos[:, self._hinges], "palm_position": self.site(PALM)}
        if self._slides:
            fields["slide_position"] = self._qpos[:, self._slides]
        if self.config.has_object:
            fields |= {
                "object_position": self.object_position,
                "object_rotation": matrix_to_euler(self._body_mat[:, self._object]),
                "object_velocity": self._qvel[:, self._object_slides],
                "object_rotation_velocity": self._qvel[:, self._object_hinges],
            }
        return fields | self.own_measures()

    @property
    def object_position(self) -> torch.Tensor:
        """Where the object is, `(N, 3)`."""
        return self._body_pos[:, self._object]

    def site(self, name: str) -> torch.Tensor:
        """Where a site of the config is, `(N, 3)`."""
        return self._site_pos[:, self._sites[name]]

    def joint(self, name: str) -> torch.Tensor:
        """The position of a joint of the config, `(N,)`."""
        return self._qpos[:, self._joints[name]]

    def sensor(self, name: str) -> torch.Tensor:
        """The reading of a sensor of the config, `(N,)`."""
        return self._sensordata[:, self._sensors[name]]

    def adopt(self, world: int, reference: Any) -> None:
        """Take over where the reference env put what is drawn."""
        for name, values in self._fields.items():
            values[world] = torch.as_tensor(getattr(reference.model, name), device=self.device)


class Placer:
    """Turns uniform draws into the poses of one placement, in the model field that the simulations run on.

    Constants that MuJoCo derives from poses keep the values of the model's own pose, as the benchmark leaves them.

    Args:
        placement: what is drawn.
        model: the compiled model, which has the axes that are not drawn.
        values: the live model field `(N, count, 3 or 4)`.
    """

    def __init__(self, placement: Placement, model: mujoco.MjModel, values: torch.Tensor) -> None:
        row = find_id(model, placement.field.removesuffix("_pos").removesuffix("_quat"), placement.name)
        self.turns, self.axes = placement.field.endswith("_quat"), list(placement.axes)
        self._live = values[:, row]
        rest = np.zeros(3) if self.turns else getattr(model, placement.field)[row].copy()
        self._rest, self._low, high = (values.new_tensor(part) for part in (rest, placement.low, placement.high))
        self._span = high - self._low

    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Write the masked simulations' poses from `draw`, `(N, len(axes))` in [0, 1)."""
        pose = self._rest.repeat(len(draw), 1)
        pose[:, self.axes] = self._low + draw * self._span
        put(mask, self._live, euler_to_quaternion(pose) if self.turns else pose)


def euler_to_quaternion(angles: torch.Tensor) -> torch.Tensor:
    """Unit quaternions of the rotations Rx(a) Ry(b) Rz(c).

    Args:
        angles: `(..., 3)` in rad.

    Returns:
        `(..., 4)`, real part first.
    """
    half = 0.5 * angles
    (sx, sy, sz), (cx, cy, cz) = half.sin().unbind(-1), half.cos().unbind(-1)
    return torch.stack(
        (
            cx * cy * cz - sx * sy * sz,
            sx * cy * cz + cx * sy * sz,
            cx * sy * cz - sx * cy * sz,
            cx * cy * sz + sx * sy * cz,
        ),
        dim=-1,
    )


def check_model(model: mujoco.MjModel, config: AdroitConfig) -> None:
    """Raise `ValueError` unless the model has what is measured and moved."""
    joints = (*config.slides, *config.hinges, *HAND_JOINTS, *config.joints)
    needs = {
        "site": [PALM, *config.sites],
        "body": ["Object"] if config.has_object else [],
        "joint": [*joints, *(OBJECT_JOINTS if config.has_object else ())],
        "actuator": [f"A_{name}" for name in HAND_JOINTS],
        "sensor": list(config.sensors),
    }
    for placement in config.placements:
        needs["site" if placement.field.startswith("site") else "body"].append(placement.name)
    require(model, needs, "an Adroit world")


def set_gains(model: mujoco.MjModel) -> None:
    """Make the hand's servos as stiff as the benchmark has them: 10 N m/rad in the wrist, 1 in the fingers."""
    for name in HAND_JOINTS:
        servo, gain = find_id(model, "actuator", f"A_{name}"), WRIST_GAIN if name in WRIST else FINGER_GAIN
        model.actuator_gainprm[servo, :3] = (gain, 0.0, 0.0)
        model.actuator_biasprm[servo, :3] = (0.0, -gain, 0.0)


def vector_field(unit: str, description: str, size: int = 3) -> StateField:
    """A field of `size` numbers; the world sets its dtype."""
    return StateField(shape=(size,), unit=unit, description=description)


def scalar_field(unit: str, description: str) -> StateField:
    """A field of one number; the world sets its dtype."""
    return StateField(shape=(), unit=unit, description=description)
