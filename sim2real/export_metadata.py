"""What an exported policy says of itself: which numbers go in and come out, how fast, and how it was trained."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import numpy as np
from gymnasium import spaces

from cairngym.envs.core import TensorEnv
from cairngym.envs.goals import GoalTask
from cairngym.envs.layout import (
    LONE,
    Quantity,
    action_quantities,
    entries,
    keeps_layout,
    observation_quantities,
    units,
    wrappers,
)
from cairngym.envs.physics.world import PhysicsWorld
from cairngym.envs.wrappers import ActionDelay, FrameStack
from cairngym.sim2real.policy_modules import PolicyGraph

FORMAT = "cairngym policy 1"
KEY = "cairngym"
"""Under which the metadata stand in the file."""
PACKAGES = ("cairngym", "torch", "mujoco", "numpy", "onnx")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a policy came about; what is not known is left at its default."""

    experiment: str = ""
    variant: str = ""
    seed: int | None = None
    steps: int | None = None
    """Env steps learned from."""
    config_sha256: str = ""
    """Of the run's config, without what does not bear on its results; see `config_hash`."""
    success: float | None = None
    """Success rate of the greedy policy in the last evaluation, unshaped."""
    episodes: int | None = None
    """Of that evaluation."""
    finished: bool = False
    """Whether the run reached its last step."""
    wrappers: tuple[Mapping[str, Any], ...] = ()
    """Name and options of the wrappers between env and policy, the innermost first."""


def config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256 of a config's content, whatever the order of its keys, in hexadecimal digits.

    Example:
        >>> config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
        True
    """
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def describe(
    env: TensorEnv, agent: str, graph: PolicyGraph, names: Sequence[str], *, opset: int, training: Training
) -> dict[str, Any]:
    """The metadata of a policy, as plain data for JSON.

    Args:
        env: as the policy meets it, in its wrappers.
        agent: the agent's name.
        graph: the policy.
        names: of the file's inputs: the observation's entries and then the memories.
        opset: ONNX operator set.
        training: how it came about.
    """
    inputs = [
        _input(env, entry, name)
        for entry, name in zip(graph.entries, names[: len(graph.entries)], strict=True)
    ]  # fmt: skip
    return {
        "format": FORMAT,
        "env": env.unwrapped.id,
        "agent": agent,
        "deterministic": True,
        "goal_conditioned": isinstance(env.unwrapped.task, GoalTask),
        "control_dt": control_dt(env),
        "delays": delays(env),
        "requires": required(env),
        "history": max(entry["frames"] for entry in inputs),
        "inputs": inputs,
        "action": _action(env),
        "memory": [
            {"input": memory.name, "output": f"next_{memory.name}", "shape": list(memory.shape),
             "dtype": str(memory.dtype).removeprefix("torch.")}
            for memory in graph.memories
        ],
        "opset": opset,
        "training": asdict(training),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }  # fmt: skip


def encode(content: Mapping[str, Any]) -> str:
    """The metadata as JSON, the same for the same content."""
    return json.dumps(content, sort_keys=True, allow_nan=False)


def control_dt(env: TensorEnv) -> float | None:
    """Time between two actions, s; None for worlds whose steps have no length."""
    world = env.unwrapped.world
    return float(world.substeps * world.model.opt.timestep) if isinstance(world, PhysicsWorld) else None


# Wrappers -------------------------------------------------------------------------------------------------------------


def stack(env: TensorEnv) -> FrameStack | None:
    """The frame stack that the policy sees through, if whoever runs the policy can make the same stack.

    That is so where it is the only one and the wrappers around it leave the observation alone.
    """
    found = None
    for wrapper in wrappers(env):
        if isinstance(wrapper, FrameStack):
            if found is not None:
                return None
            found = wrapper
        elif found is None and not keeps_layout(wrapper):
            return None
    return found


def delays(env: TensorEnv) -> dict[str, list[float]] | None:
    """Least and greatest delay that training assumed, s, of actions and of what is observed late; None without clock.

    Delays of actions add up; of observations, whose fields may have delays of their own, all lie within the bounds.
    """
    world, seconds = env.unwrapped.world, control_dt(env)
    if seconds is None or not isinstance(world, PhysicsWorld):
        return None
    physics, action = float(world.model.opt.timestep), [0.0, 0.0]
    observation: list[tuple[float, float]] = []
    for wrapper in wrappers(env):
        if isinstance(wrapper, ActionDelay):
            action = [bound + wrapper.steps * seconds for bound in action]
        for event in getattr(vars(wrapper).get("config"), "events", ()):
            if type(event).__name__ == "ActionDelay":
                action = [action[0] + event.low * physics, action[1] + event.high * physics]
            elif type(event).__name__ == "SensorDelay":
                observation.append((event.low * physics, event.high * physics))
    lows, highs = zip(*observation, strict=True) if observation else ((0.0,), (0.0,))
    return {"action_s": action, "observation_s": [min(lows), max(highs)]}


def required(env: TensorEnv) -> list[str]:
    """The wrappers whose part of the observation whoever runs the policy must compute; a lone frame stack is none."""
    own = stack(env)
    return [type(wrapper).__name__ for wrapper in wrappers(env) if wrapper is not own and not keeps_layout(wrapper)]


# Inputs and actions ---------------------------------------------------------------------------------------------------


def _input(env: TensorEnv, entry: str, name: str) -> dict[str, Any]:
    """One entry of the observation: of one frame, where whoever runs the policy stacks frames."""
    shown = entries(env.single_observation_space)[entry or LONE]
    wrapper = stack(env)
    stacked = wrapper is not None and entry in wrapper.keys
    inner = wrapper.env if stacked and wrapper is not None else env
    space = entries(inner.single_observation_space)[entry or LONE]
    quantities = observation_quantities(inner).get(entry or LONE)
    return {
        "name": name, "shape": list(space.shape or ()), "dtype": str(space.dtype),
        "frames": wrapper.frames if stacked and wrapper is not None else 1, "stacked_shape": list(shown.shape or ()),
        **_numbers(entry or LONE, space, quantities), **_bounds(space),
    }  # fmt: skip


def _numbers(name: str, space: spaces.Space, quantities: Sequence[Quantity] | None) -> dict[str, Any]:
    """Names and units of the numbers; names by index and no units where nothing is declared."""
    shape = space.shape or ()
    if quantities:
        return {"names": [each for q in quantities for each in q.names], "units": list(units(quantities))}
    if len(shape) > 1:
        return {"names": None, "units": None}
    return {"names": [f"{name}[{index}]" for index in range(int(np.prod(shape, dtype=int)))], "units": None}


def _bounds(space: spaces.Space) -> dict[str, Any]:
    """Least and greatest values: one number where all are equal, None where infinite."""
    if not isinstance(space, spaces.Box):
        return {"low": None, "high": None}
    return {"low": _bound(space.low), "high": _bound(space.high)}


def _bound(values: np.ndarray) -> Any:
    flat = [float(value) if math.isfinite(value) else None for value in values.ravel()]
    return flat[0] if len(set(flat)) == 1 else flat


def _action(env: TensorEnv) -> dict[str, Any]:
    space = env.single_action_space
    if isinstance(space, spaces.Discrete):
        return {"kind": "discrete", "shape": [], "dtype": "int64", "count": int(space.n), "start": int(space.start)}
    box = space if isinstance(space, spaces.Box) else spaces.Box(-np.inf, np.inf, space.shape)
    limits = {key: [v if math.isfinite(v) else None for v in bound.ravel().tolist()]
              for key, bound in (("low", box.low), ("high", box.high))}  # fmt: skip
    return {
        "kind": "box", "shape": list(box.shape), "dtype": "float32", **limits,
        **_numbers("action", box, action_quantities(env)),
    }  # fmt: skip
