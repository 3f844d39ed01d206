"""The Fetch arm: a gripper moved by a mocap body, and an object to bring to a goal."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import torch

from cairngym.envs.data import StateField
from cairngym.envs.layout import Quantity
from cairngym.envs.manipulation.fetch_config import FetchConfig
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.kinematics import matrix_to_euler, point_velocity
from cairngym.envs.physics.models import find_id, package_file, require
from cairngym.envs.physics.world import PhysicsWorld, between, put

SUBSTEPS = 20
REACH = 0.05
"""Metres the gripper's target moves for an action of one."""
GRIPPER_ROTATION = (1.0, 0.0, 1.0, 0.0)
CLEARANCE = 0.1
"""Metres the object keeps from the gripper's start."""
TRIES = 32
"""Positions of the object drawn at once; the first that keeps its clearance is taken, and all fail once in 1e14."""
MAX_AIR = 0.45
"""Metres a goal in the air is above the table, at most."""
FINGERS = ("robot0:r_gripper_finger_joint", "robot0:l_gripper_finger_joint")
"""In the order of the observation, which is the model's."""


class FetchWorld(PhysicsWorld):
    """N Fetch arms.

    An action moves the gripper's target by up to 5 cm in x, y and z, and opens or closes the fingers.

    Args:
        config: which of the four.
        num_envs: N.
        device: "cpu" or "cuda".
        dtype: of the measurements.
        driver: options of `make_driver`.

    Raises:
        ValueError: the model lacks a site, a joint or a body that is measured.
    """

    camera = Camera(lookat=(1.3, 0.75, 0.55), distance=1.8, azimuth=132.0, elevation=-24.0)
    hidden_sites = ("target0",)
    action_layout = (Quantity(name="gripper_step", unit="1", size=3), Quantity(name="finger_step", unit="1"))

    def __init__(
        self, config: FetchConfig, num_envs: int, device: str, *, dtype: torch.dtype, driver: dict[str, Any]
    ) -> None:
        self.config = config
        model = mujoco.MjModel.from_xml_path(
            str(package_file("gymnasium_robotics", "envs", "assets", "fetch", config.xml))
        )
        check_model(model, config)
        start, self._gripper_start, self._height = rest(model, config)
        super().__init__(
            model, num_envs, device, substeps=SUBSTEPS, action_size=4, state_spec=state_spec(config, dtype),
            dtype=dtype, driver=driver,
        )  # fmt: skip
        self.driver.set_initial(start)
        self.variables["goal"] = torch.zeros(num_envs, 3, dtype=self.driver.dtype, device=self.device)
        self.num_draws = 5 + 2 * TRIES
        self._locate()

    def _locate(self) -> None:
        model, view = self.model, self.driver.view
        self._qpos, self._qvel, self._ctrl = view("qpos"), view("qvel"), view("ctrl")
        self._mocap = (view("mocap_pos"), view("mocap_quat"))
        self._body_pose = (view("xpos"), view("xquat"))
        self._site_pos, self._site_mat = view("site_xpos"), view("site_xmat")
        self._cvel, self._com = view("cvel"), view("subtree_com")
        self._grip = find_id(model, "site", "robot0:grip")
        self._wrist = find_id(model, "body", "robot0:gripper_link")
        fingers = [find_id(model, "joint", name) for name in FINGERS]
        self._finger_qpos = [int(model.jnt_qposadr[joint]) for joint in fingers]
        self._finger_qvel = [int(model.jnt_dofadr[joint]) for joint in fingers]
        self._driven_qpos = [int(model.jnt_qposadr[joint]) for joint in model.actuator_trnid[:, 0]]
        self._rotation = torch.tensor(GRIPPER_ROTATION, dtype=self.driver.dtype, device=self.device)
        self._dt = self.substeps * float(model.opt.timestep)
        if self.config.has_object:
            self._object = find_id(model, "site", "object0")
            self._object_qpos = int(model.jnt_qposadr[find_id(model, "joint", "object0:joint")])

    # Moving -----------------------------------------------------------------------------------------------------------

    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Draw the goal and where the object lies."""
        config = self.config
        start = torch.as_tensor(self._gripper_start, dtype=draw.dtype, device=self.device)
        goal = start + between(draw[:, :3], -config.target_range, config.target_range)
        if config.has_object:
            goal = goal + goal.new_tensor(config.target_offset)
            air = torch.where(draw[:, 3] < 0.5, between(draw[:, 4], 0.0, MAX_AIR), 0.0)
            goal[:, 2] = self._height + (air if config.target_in_the_air else 0.0)
            put(mask, self._qpos[:, self._object_qpos : self._object_qpos + 2], self._object_start(draw[:, 5:], start))
        put(mask, self.variables["goal"], goal)

    def _object_start(self, draw: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        offsets = between(draw, -self.config.object_range, self.config.object_range).view(-1, TRIES, 2)
        clear = (offsets * offsets).sum(-1) >= CLEARANCE**2
        first = clear.to(torch.uint8).argmax(1)
        return start[:2] + offsets[torch.arange(len(offsets), device=self.device), first]

    def control(self, action: torch.Tensor) -> None:
        """Move the mocap body from where the wrist is, and drive the fingers."""
        position, rotation = self._mocap
        shift = REACH * action[:, :3].to(torch.float32)  # scaled in the precision actions come in, as upstream does
        position[:, 0] = self._body_pose[0][:, self._wrist] + shift
        rotation[:, 0] = self._body_pose[1][:, self._wrist] + self._rotation
        if self._ctrl.shape[1]:
            closing = 0.0 if self.config.block_gripper else 1.0
            self._ctrl[:] = self._qpos[:, self._driven_qpos] + closing * action[:, 3:]

    def constrain(self) -> None:
        """Lock the fingers where the task does."""
        if self.config.block_gripper:
            for index in self._finger_qpos:
                self._qpos[:, index] = 0.0

    # Measuring --------------------------------------------------------------------------------------------------------

    def _site(self, site: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Position, linear and angular velocity of a site, velocities in units a step."""
        body = int(self.model.site_bodyid[site])
        position = self._site_pos[:, site]
        linear, angular = point_velocity(self._cvel[:, body], self._com[:, int(self.model.body_rootid[body])], position)
        return position, linear * self._dt, angular * self._dt

    def measure(self) -> dict[str, torch.Tensor]:
        """The fields of `state_spec`."""
        position, velocity, _ = self._site(self._grip)
        fields = {
            "gripper_position": position,
            "gripper_velocity": velocity,
            "finger_position": self._qpos[:, self._finger_qpos],
            "finger_velocity": self._qvel[:, self._finger_qvel] * self._dt,
            "goal": self.variables["goal"],
        }
        if self.config.has_object:
            place, linear, angular = self._site(self._object)
            fields |= {
                "object_position": place,
                "object_rotation": matrix_to_euler(self._site_mat[:, self._object]),
                "object_velocity": linear,
                "object_rotation_velocity": angular,
            }
        return fields

    def adopt(self, world: int, reference: Any) -> None:
        """Take over the goal."""
        self.variables["goal"][world] = torch.as_tensor(reference.goal, device=self.device)


def check_model(model: mujoco.MjModel, config: FetchConfig) -> None:
    """Raise `ValueError` unless the model has what is measured and moved."""
    needs = {"site": ["robot0:grip"], "body": ["robot0:gripper_link", "robot0:mocap"], "joint": list(FINGERS)}
    if config.has_object:
        needs["site"].append("object0")
        needs["joint"].append("object0:joint")
    require(model, needs, "a Fetch world")


def rest(model: mujoco.MjModel, config: FetchConfig) -> tuple[mujoco.MjData, np.ndarray, float]:
    """Bring the arm to its start in MuJoCo C.

    The model's welds are set to hold the wrist on the mocap body, as every Fetch env does before it runs.

    Returns:
        The data to start episodes from, the gripper's position `(3,)` and the object's height, both in m.
    """
    data = mujoco.MjData(model)
    for name, values in config.joints:
        address = int(model.jnt_qposadr[find_id(model, "joint", name)])
        data.qpos[address : address + len(values)] = values
    welds = model.eq_type == int(mujoco.mjtEq.mjEQ_WELD)
    model.eq_data[welds, :7] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    mujoco.mj_forward(model, data)
    grip = find_id(model, "site", "robot0:grip")
    data.mocap_pos[0] = data.site_xpos[grip] + (-0.498, 0.005, -0.431 + config.extra_height)
    data.mocap_quat[0] = GRIPPER_ROTATION
    mujoco.mj_step(model, data, nstep=10 * SUBSTEPS)
    height = data.site_xpos[find_id(model, "site", "object0"), 2] if config.has_object else 0.0
    start = mujoco.MjData(model)
    start.time, start.qpos[:], start.qvel[:] = data.time, data.qpos, data.qvel
    return start, data.site_xpos[grip].copy(), float(height)


def state_spec(config: FetchConfig, dtype: torch.dtype) -> dict[str, StateField]:
    """What a Fetch world measures; velocities are displacements in one step of 0.04 s."""

    def field(unit: str, description: str, size: int = 3) -> StateField:
        return StateField(shape=(size,), unit=unit, description=description, dtype=dtype)

    spec = {
        "gripper_position": field("m", "Where the gripper's centre is in the world."),
        "gripper_velocity": field("m/step", "How far the gripper's centre moves in a step."),
        "finger_position": field("m", "How far the right and the left finger are open.", 2),
        "finger_velocity": field("m/step", "How far the fingers move in a step.", 2),
        "goal": field("m", "Where the gripper, or the object if there is one, is wanted in the world."),
    }
    if config.has_object:
        spec |= {
            "object_position": field("m", "Where the object's centre is in the world."),
            "object_rotation": field("rad", "The object's angles about x, y and z."),
            "object_velocity": field("m/step", "How far the object's centre moves in a step."),
            "object_rotation_velocity": field("rad/step", "How far the object turns about x, y and z in a step."),
        }
    return spec
