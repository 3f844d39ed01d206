"""Exported policies at play: onnxruntime and numpy, and nothing else of cairngym or torch.

This file may be copied to a robot as it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from cairngym.sim2real.robot import Channel, RobotSpec

FORMAT, KEY = "cairngym policy 1", "cairngym"
UNSAID = ("mixed", "")
"""Units of a channel that say nothing."""


class PolicyFileError(ValueError):
    """A file that is no exported policy, or one for another env."""


class PolicyMismatchError(ValueError):
    """A policy that does not fit the robot."""


class OnnxPolicy:
    """A policy from a file of `cairn export`, for one robot, on one thread.

    What the policy remembers (a GRU's memory, chunks of actions, the frames it is shown together) is kept here; call
    `reset` where an episode begins.

    Args:
        path: of the file.
        env_id: the env it must be of; None takes any.

    Attributes:
        metadata: what the file says of itself.

    Raises:
        FileNotFoundError: no such file.
        PolicyFileError: no ONNX file or a damaged one, one that `cairn export` did not write, or one of another env.

    Example::

        policy = OnnxPolicy("policy.onnx", env_id="PointMaze_UMaze-v3")
        policy.check(robot.spec)
        policy.reset()
        reading = robot.reset()
        while not reading.over:
            reading = robot.step(policy(reading.values))
    """

    def __init__(self, path: str | Path, env_id: str | None = None) -> None:
        self.path = Path(path)
        self._session = _open(self.path)
        self.metadata = _metadata(self._session, self.path)
        if env_id is not None and env_id != self.metadata["env"]:
            raise PolicyFileError(
                f"Expected a policy of {env_id!r} in {self.path}, got one of {self.metadata['env']!r}. Export a run on "
                f"{env_id}, or control a {self.metadata['env']}."
            )
        self._inputs: list[dict[str, Any]] = self.metadata["inputs"]
        self._memory: list[dict[str, Any]] = self.metadata["memory"]
        self._outputs = ["action", *(each["output"] for each in self._memory)]
        self._shape = tuple(self.metadata["action"]["shape"])
        self.reset()

    @property
    def control_dt(self) -> float | None:
        """Time between two actions that the policy was trained for, s; None where its env had no clock."""
        return self.metadata["control_dt"]

    def reset(self) -> None:
        """Forget the episode."""
        self._held = {
            each["input"]: np.zeros((1, *each["shape"]), dtype=each["dtype"]) for each in self._memory
        }  # fmt: skip
        self._frames: dict[str, np.ndarray] = {}

    def __call__(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action for one observation.

        Args:
            observation: the policy's inputs by name, a robot's sensors for instance; others are ignored.

        Returns:
            float32 `(*action_shape)` within the action's limits, or an int64 number for discrete actions.

        Raises:
            ValueError: an input that is missing, of another size, or not finite.
        """
        fed = {entry["name"]: self._feed(entry, observation) for entry in self._inputs}
        action, *memory = self._session.run(self._outputs, fed | self._held)
        self._held = {each["input"]: value for each, value in zip(self._memory, memory, strict=True)}
        return action.reshape(self._shape)

    def _feed(self, entry: Mapping[str, Any], observation: Mapping[str, np.ndarray]) -> np.ndarray:
        name, shape = entry["name"], tuple(entry["shape"])
        if name not in observation:
            raise ValueError(f"Expected {name!r} in the observation, got only {', '.join(sorted(observation))}.")
        value = np.asarray(observation[name])
        if value.size != math.prod(shape):
            raise ValueError(f"Expected {name!r} of shape {shape}, got {value.shape}.")
        if not np.isfinite(value).all():
            raise ValueError(f"Expected finite numbers in {name!r}, got {value.ravel()[:8].tolist()}.")
        frame = value.reshape(1, *shape).astype(entry["dtype"])
        if entry["frames"] == 1:
            return frame
        frame = frame.reshape(1, *shape) if shape else frame.reshape(1, 1)
        before = self._frames.get(name, np.concatenate((frame,) * entry["frames"], axis=-1))
        self._frames[name] = np.concatenate((before[..., frame.shape[-1] :], frame), axis=-1)
        return self._frames[name]

    def check(self, spec: RobotSpec) -> None:
        """Refuse a robot that the policy was not trained for.

        Args:
            spec: what the robot measures and takes.

        Raises:
            PolicyMismatchError: another env, other sizes, units or limits, or another time between two commands; the
                message says what was expected, what the robot has, and how to fix it.
        """
        said = self.metadata
        if spec.robot != said["env"]:
            raise _mismatch("a robot that is a", said["env"], spec.robot, "Export a run on that robot's env")
        if said["requires"]:
            raise _mismatch(
                "the parts of the observation made by", ", ".join(said["requires"]), "a robot's sensors alone",
                "Compute them beside the robot and feed the policy yourself, or train without these wrappers",
            )  # fmt: skip
        dt = said["control_dt"]
        if dt is not None and not math.isclose(dt, spec.control_dt, rel_tol=1e-6):
            raise _mismatch(
                "control_dt", f"{dt:g} s", f"{spec.control_dt:g} s",
                "Run the robot at the policy's rate, or train at the robot's",
            )  # fmt: skip
        self._check_command(spec.command)
        sensors = {sensor.name: sensor for sensor in spec.sensors}
        for entry in self._inputs:
            if entry["name"] not in sensors:
                raise _mismatch("a sensor", repr(entry["name"]), ", ".join(sensors), "Have the driver publish it")
            _check_channel(sensors[entry["name"]], math.prod(entry["shape"]), entry["units"], "sensor")

    def _check_command(self, command: Channel) -> None:
        action = self.metadata["action"]
        if action["kind"] != "box":
            raise _mismatch("commands", "numbers", f"{action['count']} discrete actions", "Translate them yourself")
        _check_channel(command, math.prod(action["shape"]), action["units"], "command")
        for side, bound, outside in (("low", command.low, np.less), ("high", command.high, np.greater)):
            if bound is None:
                continue
            wanted = np.array([math.nan if v is None else v for v in action[side]], dtype=np.float64)
            # A policy without a limit of its own may give anything.
            if np.isnan(wanted).any() or outside(wanted, np.array(bound) + 1e-9 * (1 if side == "high" else -1)).any():
                raise _mismatch(
                    f"commands whose least or greatest values ({side}) include", action[side], list(bound),
                    "Train with the robot's limits, e.g. in a wrapper, or scale the commands in the driver",
                )  # fmt: skip


def _mismatch(what: str, expected: Any, got: Any, fix: str) -> PolicyMismatchError:
    return PolicyMismatchError(f"The policy does not fit the robot: expected {what} {expected}, got {got}. {fix}.")


def _check_channel(channel: Channel, size: int, units: list[str] | None, kind: str) -> None:
    if channel.size != size:
        raise _mismatch(
            f"the {kind} {channel.name!r} of size", size, channel.size, "Take the env the policy was trained on"
        )  # fmt: skip
    if units is None or channel.unit in UNSAID:
        return
    expected = ", ".join(unit for unit, _ in groupby(units))
    if channel.unit != expected:
        raise _mismatch(
            f"the {kind} {channel.name!r} in", repr(expected), repr(channel.unit), "Convert the units in the driver"
        )  # fmt: skip


def _open(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise FileNotFoundError(f"Expected a policy at {path}, got no such file. Write one: cairn export RUN {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # what goes wrong is raised below
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception of its own for every way a file can be damaged
        raise PolicyFileError(
            f"Expected an ONNX file at {path}, got {path.stat().st_size} bytes that onnxruntime can't read "
            f"({type(error).__name__}). Copy the file anew, or write it again: cairn export RUN {path}"
        ) from error


def _metadata(session: onnxruntime.InferenceSession, path: Path) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise PolicyFileError(
            f"Expected a policy written by `cairn export` at {path}, got an ONNX file without its metadata "
            f"({KEY!r}), so that nobody knows what its numbers are. Write it anew: cairn export RUN {path}"
        )
    try:
        said = json.loads(text)
        found = said["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise PolicyFileError(f"Expected JSON with a format in the metadata of {path}, got {text[:60]!r}.") from error
    if found != FORMAT:
        raise PolicyFileError(
            f"Expected metadata of the format {FORMAT!r} in {path}, got {found!r}. Use the cairngym that wrote it."
        )
    _check_names(session, said, path)
    return said


def _check_names(session: onnxruntime.InferenceSession, said: Mapping[str, Any], path: Path) -> None:
    named = {*(entry["name"] for entry in said["inputs"]), *(each["input"] for each in said["memory"])}
    found = {each.name for each in session.get_inputs()}
    if named != found:
        raise PolicyFileError(
            f"Expected the inputs {sorted(named)} of its metadata in {path}, got {sorted(found)}. The file was changed "
            f"after it was written; write it anew: cairn export RUN {path}"
        )
