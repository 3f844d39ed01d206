"""A motor as a small network, fitted to a log of what a real one did.

After Hwangbo et al., "Learning agile and dynamic motor skills for legged robots", Science Robotics 2019: the torque of
a joint follows from a short history of its position errors and velocities, by one network that all joints share.
"""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from cairngym.envs.checks import unknown_name
from cairngym.envs.files import replacing
from cairngym.sim2real.robot import RobotLog

FORMAT = "cairngym learned actuator 1"
TARGETS = ("position", "velocity", "effort")
"""What a joint can be commanded: the network's first input is the error of the first two, or the effort itself."""


@dataclass(frozen=True, kw_only=True)
class ActuatorData:
    """What T samples of J joints were told and did; SI units."""

    command: np.ndarray
    """`(T, J)`: target position (rad or m), target velocity, or effort (N m or N)."""
    position: np.ndarray
    """`(T, J)`, rad or m."""
    velocity: np.ndarray
    """`(T, J)`, rad/s or m/s."""
    torque: np.ndarray
    """`(T, J)`, what the motor gave at the joint, N m or N."""
    dt: float
    """Time between two samples, s."""
    episode: np.ndarray | None = None
    """int `(T,)`; histories don't reach across episodes. None: all samples are one."""

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in ("command", "position", "velocity", "torque")}
        if len(set(shapes.values())) != 1 or self.command.ndim != 2:
            raise ValueError(f"Expected command, position, velocity and torque of one shape (T, J), got {shapes}.")
        if self.episode is not None and self.episode.shape != (len(self.command),):
            raise ValueError(f"Expected episode numbers of shape ({len(self.command)},), got {self.episode.shape}.")
        if not self.dt > 0.0:
            raise ValueError(f"Expected a time step above 0 s, got {self.dt}.")

    @classmethod
    def from_log(cls, log: RobotLog, *, position: str, velocity: str, torque: str, command: str | None = None) -> Self:
        """From the channels of a robot's log; `command` names a channel, or None the command sent.

        Raises:
            UnknownNameError: a channel that the log does not have.
            ValueError: samples that are not evenly spaced, or channels of other sizes.
        """
        for name in filter(None, (position, velocity, torque, command)):
            if name not in log.sensors:
                raise unknown_name("channel of the log", name, log.sensors)
        within = np.diff(log.episode) == 0
        steps = np.diff(log.time_s)[within]
        dt = float(np.median(steps)) if len(steps) else 0.0
        if not len(steps) or np.abs(steps - dt).max() > 0.05 * dt:
            raise ValueError(
                "Expected a log whose samples are evenly spaced in time, within 5 %, got steps from "
                f"{steps.min(initial=np.inf):g} to {steps.max(initial=0.0):g} s. Resample it first."
            )
        sent = log.command if command is None else log.sensors[command]
        told = (log.sensors[name] for name in (position, velocity, torque))
        found, rate, force = told
        return cls(command=sent, position=found, velocity=rate, torque=force, dt=dt, episode=log.episode)


@dataclass(frozen=True, kw_only=True)
class ActuatorMeta:
    """What a learned actuator's file says of it."""

    target: str
    """What it is commanded, one of `TARGETS`."""
    history: int
    """Samples it looks at, the present one included."""
    dt: float
    """Time between them, s."""
    scales: tuple[float, float, float]
    """Root mean squares of the error (or command), the velocity and the torque it was fitted to."""
    fit_error: float
    """Root mean square error on the samples held out, N m or N."""
    samples: int
    """How many it was fitted to."""
    layers: int
    """Of its weights."""


class LearnedActuator:
    """Torques from histories of errors and velocities.

    Sums run in one fixed order, so that a joint's torque does not depend on the batch it is computed in.

    Args:
        meta: what it is.
        weights: `(inputs, outputs)` of each layer.
        biases: `(outputs,)` of each layer.
    """

    def __init__(self, meta: ActuatorMeta, weights: list[torch.Tensor], biases: list[torch.Tensor]) -> None:
        self.meta, self.weights, self.biases = meta, weights, biases

    def to(self, device: torch.device, dtype: torch.dtype) -> LearnedActuator:
        """The same on another device and in another precision."""
        moved = [[each.to(device, dtype) for each in layers] for layers in (self.weights, self.biases)]
        return LearnedActuator(self.meta, *moved)

    def torque(self, errors: torch.Tensor, velocities: torch.Tensor) -> torch.Tensor:
        """Torques, of the leading shape.

        Args:
            errors: `(..., history)`, the oldest first.
            velocities: `(..., history)`.
        """
        scale = self.meta.scales
        hidden = torch.cat((errors / scale[0], velocities / scale[1]), dim=-1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = _softsign(hidden) if layer else hidden
            hidden = _affine(hidden, weight, bias)
        return hidden[..., 0] * scale[2]

    def save(self, path: str | Path) -> None:
        """Write an .npz file, in one atomic step."""
        arrays: dict[str, Any] = {"meta": np.array(json.dumps({"format": FORMAT, **asdict(self.meta)}))}
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            arrays |= {f"weight_{index}": weight.cpu().numpy(), f"bias_{index}": bias.cpu().numpy()}
        with replacing(path) as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> LearnedActuator:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: it is none of ours, or damaged.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"Expected a learned actuator at {path}, found no file. Write one: fit_actuator().")
        try:
            with np.load(path, allow_pickle=False) as file:
                data = json.loads(str(file["meta"]))
                if data.pop("format") != FORMAT:
                    raise KeyError("format")
                meta = ActuatorMeta(**data | {"scales": tuple(data["scales"])})
                layers = [[torch.from_numpy(file[f"{kind}_{index}"]) for index in range(meta.layers)]
                          for kind in ("weight", "bias")]  # fmt: skip
        except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"Expected a file that fit_actuator() has written, got {path}: {error}") from error
        return cls(meta, *layers)


def _softsign(values: torch.Tensor) -> torch.Tensor:
    return values / (1.0 + values.abs())


def _affine(values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    total = bias
    for column in range(len(weight)):
        total = total + values[..., column : column + 1] * weight[column]
    return total


def fit_actuator(
    data: ActuatorData,
    path: str | Path | None = None,
    *,
    target: str = "position",
    history: int = 3,
    hidden: tuple[int, ...] = (32, 32),
    iterations: int = 2000,
    held_out: float = 0.2,
    seed: int = 0,
) -> LearnedActuator:
    """Fit a learned actuator to a log, by Adam on mean squared errors of the torque.

    Args:
        data: the log; one network is fitted to all of its joints, which should be driven alike.
        path: where to write it as .npz; None writes nothing.
        target: what the commands are, one of `TARGETS`.
        history: samples that the network looks at, the present one included.
        hidden: sizes of its hidden layers.
        iterations: steps of Adam, each on all samples.
        held_out: share of the samples, the last ones, that is kept for the error reported.
        seed: of the initial weights.

    Raises:
        UnknownNameError: another target.
        ValueError: too few samples, some that are not finite, or options that can't be.
    """
    if target not in TARGETS:
        raise unknown_name("target", target, TARGETS)
    if history < 1 or iterations < 1 or not 0.0 < held_out < 1.0:
        raise ValueError(
            f"Expected history >= 1, iterations >= 1 and held_out in (0, 1), got {history}, {iterations}, {held_out}."
        )
    inputs, torque = samples(data, target, history)
    scales = (_rms(inputs[:, :history]), _rms(inputs[:, history:]), _rms(torque))
    inputs[:, :history] /= scales[0]
    inputs[:, history:] /= scales[1]
    kept = max(1, round(len(torque) * (1.0 - held_out)))
    if kept == len(torque):
        raise ValueError(f"Expected more samples than {len(torque)}, so that some can be held out. Record more.")
    x, y = torch.from_numpy(inputs), torch.from_numpy(torque / scales[2])
    network = _network(2 * history, hidden, seed)
    _train(network, x[:kept], y[:kept], iterations)
    with torch.no_grad():
        error = _rms((network(x[kept:])[:, 0] - y[kept:]).numpy()) * scales[2]
    linear = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    meta = ActuatorMeta(
        target=target, history=history, dt=data.dt, scales=scales, fit_error=error, samples=kept, layers=len(linear)
    )
    weights = [layer.weight.detach().T.contiguous() for layer in linear]
    actuator = LearnedActuator(meta, weights, [layer.bias.detach().clone() for layer in linear])
    if path is not None:
        actuator.save(path)
    return actuator


def samples(data: ActuatorData, target: str, history: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs float64 `(S, 2 * history)`, errors and then velocities, the oldest first, and torques `(S,)`.

    Raises:
        ValueError: no episode is as long as the history, or numbers are not finite.
    """
    measured: Mapping[str, Any] = {"position": data.position, "velocity": data.velocity, "effort": 0.0}
    error = data.command - measured[target]
    episode = np.zeros(len(error)) if data.episode is None else data.episode
    ends = np.arange(history - 1, len(error))
    ends = ends[episode[ends] == episode[ends - history + 1]]
    if not len(ends):
        raise ValueError(f"Expected an episode of at least {history} samples, got none. Record more.")
    window = ends[:, None] + np.arange(1 - history, 1)
    joints = (each[window].swapaxes(1, 2).reshape(-1, history) for each in (error, data.velocity))
    inputs, torque = np.concatenate(list(joints), axis=1), data.torque[ends].reshape(-1).astype(np.float64)
    if not (np.isfinite(inputs).all() and np.isfinite(torque).all()):
        raise ValueError("Expected finite samples, got NaN or infinity. Drop the rows that miss values.")
    return inputs.astype(np.float64), torque


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) or 1.0


def _network(inputs: int, hidden: tuple[int, ...], seed: int) -> torch.nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    sizes = (inputs, *hidden, 1)
    layers: list[torch.nn.Module] = []
    for size, following in itertools.pairwise(sizes):
        linear = torch.nn.utils.skip_init(torch.nn.Linear, size, following, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(following, size, generator=generator, dtype=torch.float64) * size**-0.5)
            linear.bias.zero_()
        layers += [torch.nn.Softsign(), linear] if layers else [linear]
    return torch.nn.Sequential(*layers)


def _train(network: torch.nn.Sequential, x: torch.Tensor, y: torch.Tensor, iterations: int) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for _ in range(iterations):
        optimizer.zero_grad()
        loss = (network(x)[:, 0] - y).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
