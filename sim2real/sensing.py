"""What a simulated env measures, as the channels of a robot."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import TensorEnv
from cairngym.envs.data import Observation, State, StateField
from cairngym.envs.goals import GOAL_KEYS
from cairngym.envs.layout import observation_quantities, shared_unit, units
from cairngym.envs.physics.world import PhysicsWorld
from cairngym.sim2real.robot import Channel, RobotSpec

OBSERVATION, ACTION = GOAL_KEYS[0], "action"
JOINTS = {
    "qpos": "Positions of all joints, as MuJoCo numbers them: the encoders.",
    "qvel": "Velocities of all joints, as MuJoCo numbers them: the encoders.",
}


def robot_spec(env: TensorEnv, control_dt: float | None = None) -> RobotSpec:
    """What a robot in the place of `env` measures and takes.

    Commands are actions. Sensors are `observation` (goal tasks: also `achieved_goal` and `desired_goal`), the
    floating-point state fields that are not privileged, flattened, and under MuJoCo `qpos` and `qvel`.

    Args:
        env: any, of one copy.
        control_dt: time between two commands, s; None takes what the physics steps of a step add up to.

    Raises:
        TypeError: images or other observations that are no flat numbers, or actions that are none.
        ValueError: several copies, or no `control_dt` where the world has none.
    """
    if env.num_envs != 1:
        raise ValueError(f"Expected an env of one copy for a robot, got {env.num_envs}. Make it with num_envs=1.")
    actions = _actions(env.single_action_space)
    return RobotSpec(
        robot=env.unwrapped.id or type(env.unwrapped.world).__name__,
        control_dt=_control_dt(env, control_dt),
        command=Channel(
            name=ACTION, size=int(np.prod(actions.shape)), unit="1",
            description="The action that policies choose, before it is scaled to actuators.",
            low=_numbers(actions.low), high=_numbers(actions.high),
        ),
        rest=_numbers(np.clip(0.0, actions.low, actions.high)),
        sensors=_sensors(env),
    )  # fmt: skip


def _sensors(env: TensorEnv) -> tuple[Channel, ...]:
    """One channel of each name; observations go before state fields that are named like them."""
    unique: dict[str, Channel] = {}
    for channel in (*_observations(env), *_fields(env.state_spec), *_joints(env)):
        unique.setdefault(channel.name, channel)
    return tuple(unique.values())


def _numbers(array: np.ndarray) -> tuple[float, ...]:
    return tuple(float(number) for number in array.ravel())


def _actions(space: spaces.Space) -> spaces.Box:
    if not isinstance(space, spaces.Box) or not np.isfinite([space.low, space.high]).all():
        raise TypeError(
            f"Expected actions that are numbers within limits, got {space}. A robot is driven by such commands; take "
            "an env with a bounded Box of actions, e.g. PointMaze_UMaze-v3."
        )
    return space


def _control_dt(env: TensorEnv, stated: float | None) -> float:
    if stated is not None:
        if not 0.0 < stated < float("inf"):
            raise ValueError(f"Expected control_dt > 0 s, got {stated}.")
        return float(stated)
    world = env.unwrapped.world
    if not isinstance(world, PhysicsWorld):
        raise ValueError(
            f"Expected control_dt for {env.unwrapped.id or type(world).__name__!r}, whose steps have no length of "
            "their own. State the seconds a step stands for, e.g. control_dt=0.1."
        )
    return float(world.substeps * world.model.opt.timestep)


def _observations(env: TensorEnv) -> list[Channel]:
    space, declared = env.single_observation_space, observation_quantities(env)
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {OBSERVATION: space}
    channels = []
    for name in sorted(parts, key=lambda name: (name not in GOAL_KEYS, name != OBSERVATION, name)):
        part = parts[name]
        if not isinstance(part, spaces.Box) or not np.issubdtype(part.dtype, np.floating) or len(part.shape) > 1:
            raise TypeError(
                f"Expected observations that are flat vectors of floating-point numbers, got {part} for {name!r}. "
                "Robots publish no images or indices here; take the env without pixels, or read its state fields."
            )
        meaning = "What policies see." if name not in GOAL_KEYS[1:] else f"The {name.replace('_', ' ')}."
        unit = shared_unit(units(declared[name])) if name in declared else "mixed"
        channels.append(Channel(name=name, size=int(np.prod(part.shape)), unit=unit, description=meaning))
    return channels


def _sensed(field: StateField) -> bool:
    return field.dtype.is_floating_point and not field.privileged


def _fields(fields: Mapping[str, StateField]) -> list[Channel]:
    return [
        Channel(name=name, size=int(np.prod(field.shape)), unit=field.unit, description=field.description)
        for name, field in fields.items()
        if _sensed(field)
    ]


def _joints(env: TensorEnv) -> list[Channel]:
    world = env.unwrapped.world
    if not isinstance(world, PhysicsWorld):
        return []
    sizes = {"qpos": world.model.nq, "qvel": world.model.nv}
    return [Channel(name=name, size=int(sizes[name]), unit="SI", description=JOINTS[name]) for name in JOINTS]


def sensor_values(env: TensorEnv, obs: Observation, state: State) -> dict[str, np.ndarray]:
    """What the sensors of `robot_spec(env)` read, float64 `(size,)` each, in the order of the spec.

    Args:
        env: of one copy.
        obs: as it was returned last.
        state: what is sensed of the world; for a robot without noise `env.state`.
    """
    seen = obs if isinstance(obs, dict) else {OBSERVATION: obs}
    values = dict(seen)
    for name, field in env.state_spec.items():
        if _sensed(field):
            values.setdefault(name, state[name])
    world = env.unwrapped.world
    if isinstance(world, PhysicsWorld):
        for name in JOINTS:
            values.setdefault(name, world.driver.view(name))
    return {name: _flat(value) for name, value in values.items()}


def _flat(value: torch.Tensor) -> np.ndarray:
    return np.array(value.detach().cpu().numpy(), dtype=np.float64).ravel()
