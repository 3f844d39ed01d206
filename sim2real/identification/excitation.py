"""Commands that make a robot show its parameters: sums of sines chosen for the information that their logs hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from cairngym.sim2real.identification.activations import settled
from cairngym.sim2real.identification.driving import Commands, drive
from cairngym.sim2real.identification.experiment import Delays, Experiment
from cairngym.sim2real.identification.fit import longest_delays
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.parameters import Parameter
from cairngym.sim2real.identification.plant import Plant
from cairngym.sim2real.identification.problem import Problem
from cairngym.sim2real.identification.segments import Segment

NOISE = 1e-3
"""Noise of measurements that do not declare theirs."""
ELITE = 0.25
"""The share of candidates that the next ones are drawn around."""
RAMP = 0.1
"""The share of the time in which commands rise from rest, and in which they return."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an excitation must stay within, beside the limits of commands."""

    amplitude: float = 0.8
    """The share of the command's range, on either side of its centre, that may be used."""
    center: tuple[float, ...] = ()
    """What commands swing about; none is rest."""
    joint_margin: float = 0.05
    """The share of a limited joint's range, at either end, that is kept free."""
    speed: Mapping[str, float] | None = None
    """Greatest speed by joint, rad/s or m/s."""

    def __post_init__(self) -> None:
        if not 0 < self.amplitude <= 1 or not 0 <= self.joint_margin < 0.5:
            raise ValueError("Expected an amplitude in (0, 1] and a joint margin in [0, 0.5).")


@dataclass(frozen=True, kw_only=True)
class Excitation:
    """Commands on a clock."""

    control_dt: float
    command: np.ndarray
    """`(T, size)`."""
    seed: int
    score: float
    """log det (1 + Fisher information), parameters in half ranges: twice the nats that the log tells."""
    violation: float
    """How far the nominal model leaves the joints' limits, rad or m and rad/s or m/s; 0 is wanted."""


def design(
    plant: Plant,
    parameters: Sequence[Parameter],
    measurements: Sequence[Measurement],
    *,
    duration_s: float,
    control_dt: float | None = None,
    frequencies: tuple[float, float] = (0.2, 2.0),
    sines: int = 4,
    candidates: int = 8,
    rounds: int = 3,
    limits: Limits | None = None,
    seed: int = 0,
) -> Excitation:
    """Search for an informative excitation by the cross-entropy method.

    A candidate is a sum of sines for each command (Swevers et al., "Optimal robot excitation and identification", IEEE
    T-RA 1997); it is worth the log determinant of the Fisher information J^T J of its simulated log, J by finite
    differences at nominal parameters (Bayesian D-optimality with a prior of half a range).

    Args:
        plant: the nominal model.
        parameters: what is to be told apart.
        measurements: what the log will hold; their noise matters.
        duration_s: length.
        control_dt: time between two commands, s; None is the plant's.
        frequencies: lowest and highest of the sines, Hz.
        sines: how many for each command.
        candidates: excitations tried in each round.
        rounds: of the search; each is drawn around the best of the last.
        limits: what the robot must stay within.
        seed: the same gives the same.

    Raises:
        ValueError: no control step, or numbers that make no excitation.
    """
    step = control_dt or plant.control_dt
    if step is None:
        raise ValueError(
            "Expected control_dt for a model file, which does not say how often it is commanded, got none."
        )
    if candidates < 2 or rounds < 1 or sines < 1 or duration_s < 20 * step or not 0 < frequencies[0] <= frequencies[1]:
        raise ValueError("Expected two candidates, a round, a sine, 20 control steps, and rising frequencies above 0.")
    search = _Search(plant, tuple(parameters), tuple(measurements), step, limits or Limits(), frequencies, sines)
    search.time = step * np.arange(round(duration_s / step) + 1)
    random, shape = np.random.default_rng(seed), (2 * sines, len(plant.rest))
    mean, spread = np.zeros(shape), np.ones(shape)
    best: tuple[float, float, np.ndarray] = (-np.inf, np.inf, np.zeros(shape))
    for _ in range(rounds):
        drawn = [mean + spread * random.standard_normal(shape) for _ in range(candidates)]
        judged = sorted((search.judge(one) for one in drawn), key=lambda one: one[1] * 1e3 - one[0])
        elite = np.stack([one[2] for one in judged[: max(2, round(ELITE * candidates))]])
        mean, spread = elite.mean(axis=0), 0.2 + elite.std(axis=0)
        best = min(best, judged[0], key=lambda one: one[1] * 1e3 - one[0])
    score, violation, weights = best
    return Excitation(control_dt=step, command=search.commands(weights), seed=seed, score=score, violation=violation)


@dataclass
class _Search:
    plant: Plant
    parameters: tuple[Parameter, ...]
    measurements: tuple[Measurement, ...]
    step: float
    limits: Limits
    frequencies: tuple[float, float]
    sines: int
    time: np.ndarray | None = None

    def commands(self, weights: np.ndarray) -> np.ndarray:
        """Commands `(T, size)` of weights `(2 sines, size)`, scaled to the amplitude."""
        time = np.zeros(1) if self.time is None else self.time
        rate = 2 * np.pi * np.geomspace(*self.frequencies, self.sines)
        waves = np.concatenate((np.sin(np.outer(time, rate)), np.cos(np.outer(time, rate))), axis=1) @ weights
        share = np.clip(np.minimum(time, time[-1] - time) / max(RAMP * time[-1], 1e-9), 0, 1)
        waves *= (share**2 * (3 - 2 * share))[:, None]
        waves /= np.maximum(np.abs(waves).max(axis=0), 1e-12)
        plant, center = self.plant, self.center
        up, down = self.limits.amplitude * (plant.high - center), self.limits.amplitude * (center - plant.low)
        if self.limits.center:  # as far up as down, so that the mean is what was asked for
            up = down = np.minimum(up, down)
        return center + np.where(waves > 0, waves * up, waves * down)

    @property
    def center(self) -> np.ndarray:
        """What commands swing about, `(size,)`.

        Raises:
            ValueError: another number of commands, or outside of their limits.
        """
        plant, given = self.plant, np.array(self.limits.center or self.plant.rest, float)
        if given.shape != plant.rest.shape or ((given < plant.low) | (given > plant.high)).any():
            raise ValueError(
                f"Expected {len(plant.rest)} commands within their limits for an excitation's centre, got {given}."
            )
        return given

    def judge(self, weights: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Score, violation, and the weights with an amplitude of one."""
        command = self.commands(weights)
        states = simulate(self.plant, command, self.step)
        violation = self._violation(states)
        segment = Segment(name="excitation", time_s=np.asarray(self.time), command=command, sensors=self._read(states))
        noise = {one.channel: np.full(len(one.addresses(self.plant.model)), one.noise or NOISE)
                 for one in self.measurements}  # fmt: skip
        delays: Delays = longest_delays(self.plant.model, self.parameters)
        experiment = Experiment(self.plant, self.measurements, segment, delays, noise)
        problem = Problem(self.plant.model, self.parameters, (experiment,))
        own = np.arange(problem.size)
        jacobian = problem.jacobian(problem.vector(), of=own)[: problem.data_rows, own] * problem.half
        return float(np.linalg.slogdet(np.eye(problem.size) + jacobian.T @ jacobian)[1]), violation, weights

    def _read(self, states: tuple[np.ndarray, np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
        by = dict(zip(("qpos", "qvel", "sensor"), states, strict=True))
        return {one.channel: by[one.quantity][:, one.addresses(self.plant.model)] for one in self.measurements}

    def _violation(self, states: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
        model, (qpos, qvel, _) = self.plant.model, states
        if not np.isfinite(qpos).all():
            return 1e6
        worst = 0.0
        for joint in np.flatnonzero(model.jnt_limited):
            low, high = model.jnt_range[joint]
            margin, at = self.limits.joint_margin * (high - low), qpos[:, model.jnt_qposadr[joint]]
            worst = max(worst, low + margin - at.min(), at.max() - high + margin)
        for name, speed in (self.limits.speed or {}).items():
            worst = max(worst, float(np.abs(qvel[:, model.joint(name).dofadr[0]]).max()) - speed)
        return float(worst)


def simulate(plant: Plant, command: np.ndarray, control_dt: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions `(T, nq)`, velocities `(T, nv)` and sensor data `(T, n)` of the model at the rows of commands."""
    model, data = plant.model, mujoco.MjData(plant.model)
    substeps = round(control_dt / model.opt.timestep)
    if substeps < 1 or abs(substeps * model.opt.timestep - control_dt) > 1e-6:
        raise ValueError(
            f"Expected a control step that is a multiple of the physics step {model.opt.timestep:g} s, got "
            f"{control_dt:g} s."
        )
    if plant.closed_loop:
        return _driven(plant, command, substeps)
    data.qpos[:] = plant.home
    data.act[:] = settled(model, plant.command(plant.rest, plant.home))
    qpos, qvel, sensors = [], [], []
    for row in command:
        mujoco.mj_forward(model, data)
        qpos.append(data.qpos.copy())
        qvel.append(data.qvel.copy())
        sensors.append(data.sensordata.copy())
        data.ctrl[:] = plant.command(row, data.qpos)
        mujoco.mj_step(model, data, nstep=substeps)
    return np.array(qpos), np.array(qvel), np.array(sensors)


def _driven(plant: Plant, command: np.ndarray, substeps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `simulate`, where commands are to be followed one by one."""
    model, rows = plant.model, substeps * np.arange(len(command))
    act = settled(model, plant.command(plant.rest, plant.home))
    first = np.concatenate(([0.0], plant.home, np.zeros(model.nv), act))
    told = Commands(past=(), rows=rows, command=command)
    states, sensors = drive(plant, model, first, told, int(rows[-1]) + 1)
    every = np.concatenate((first[None], states))[rows]
    qpos, qvel, _ = np.split(every[:, 1:], np.cumsum([model.nq, model.nv]), axis=1)
    return qpos, qvel, sensors[rows]
