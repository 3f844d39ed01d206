"""One segment of a log beside its simulation: commands on the physics' clock, predictions at the readings' times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from cairngym.sim2real.identification.activations import followed, lagging, spread
from cairngym.sim2real.identification.beginnings import beginning, noise_of, positions, reading
from cairngym.sim2real.identification.driving import Commands, drive, targets
from cairngym.sim2real.identification.layout import LogError
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.plant import Plant
from cairngym.sim2real.identification.segments import Segment
from cairngym.sim2real.identification.signal_parameters import SensorBias, SensorDelay, SensorGain, SensorParameter

POSITION_STD, VELOCITY_STD = 0.1, 1.0
"""How far a segment's first state may be from the smoothed readings, one standard deviation: rad or m, and a second."""


@dataclass(frozen=True)
class Delays:
    """The longest delays that are to be tried, s."""

    action: float = 0.0
    sensor: float = 0.0


class Experiment:
    """A segment and what its simulation must reproduce.

    The simulation begins at the first row before which `delays.action` seconds of commands are known, and is held
    against the readings from `delays.sensor` seconds later on. So nothing is assumed about the time before the log.

    Args:
        plant: the nominal model.
        measurements: what the log's channels measure.
        segment: rows of a log.
        delays: longest delays to be tried.
        noise: standard deviation by channel, `(size,)`.
        read: whether the first state is taken as it was read, which is then no part of the fit.

    Raises:
        LogError: the segment is too short for the delays, or a channel has another size than what it measures.
    """

    def __init__(
        self,
        plant: Plant,
        measurements: Sequence[Measurement],
        segment: Segment,
        delays: Delays,
        noise: Mapping[str, np.ndarray],
        *,
        read: bool = False,
    ) -> None:
        model = plant.model
        self.plant = plant
        self.segment, self.measurements, self.name = segment, tuple(measurements), segment.name
        self.timestep = float(model.opt.timestep)
        time = segment.time_s
        first = int(np.searchsorted(time, time[0] + delays.action - 1e-9))
        self.begins = float(time[min(first, len(time) - 1)])
        # One step past the last reading: sensors are computed at the state before a step.
        self.steps = round((time[-1] - self.begins) / self.timestep) + 1
        self.rows = np.flatnonzero(time >= self.begins + delays.sensor + 0.5 * self.timestep)
        if self.steps < 2 or len(self.rows) < 4:
            raise LogError(
                f"Expected a segment longer than the delays that are tried, got {segment.name} of "
                f"{time[-1] - time[0]:.3g} s. Lower the delays' bounds, or leave it out."
            )
        self._address(model, noise)
        # Short segments show little of the noise, which says whose readings are the better ones.
        known = [replace(one, noise=float(noise[one.channel].mean())) for one in self.measurements]
        self.qpos, self.qvel, seen = beginning(model, plant.home, known, segment, first)
        if read:
            self.qpos, self.qvel = reading(model, plant.home, known, segment, first)
            seen[:] = False
        where = positions(model, plant.home, known, segment)
        self._controls = plant.command(segment.command, where)
        if plant.closed_loop:
            self._commands = Commands(
                past=targets(plant, segment.command[:first], where[:first]), command=segment.command[first:],
                rows=np.rint((time - self.begins) / self.timestep).astype(int),
            )  # fmt: skip
        area = np.cumsum(self._controls[:-1] * np.diff(time)[:, None], axis=0)
        self._area = np.concatenate((np.zeros((1, model.nu)), area))
        # What lagging actuators hold depends on the time before the log, so it is fitted as positions and speeds are.
        acts = model.actuator_actadr[lagging(model)]
        self.free = np.concatenate((np.flatnonzero(np.concatenate((seen, seen))), 2 * model.nv + acts))
        std = np.full(2 * model.nv + model.na, VELOCITY_STD)
        std[: model.nv], std[2 * model.nv + acts] = POSITION_STD, spread(model, self._controls)
        self.free_std = std[self.free]

    def _address(self, model: mujoco.MjModel, noise: Mapping[str, np.ndarray]) -> None:
        columns, spread, measured = [], [], []
        self.channel: list[str] = []
        offsets = {"qpos": 1, "qvel": 1 + model.nq, "sensor": 1 + model.nq + model.nv + model.na}
        for measurement in self.measurements:
            values, addresses = self.segment.sensors[measurement.channel], measurement.addresses(model)
            if values.shape[1] != len(addresses):
                raise LogError(
                    f"Expected channel {measurement.channel!r} of {self.name} to have {len(addresses)} numbers, those "
                    f"of {measurement.quantity}, got {values.shape[1]}. Name the joints or sensors that it measures."
                )
            columns.append(offsets[measurement.quantity] + addresses)
            spread.append(noise[measurement.channel])
            measured.append(values)
            self.channel += [measurement.channel] * len(addresses)
        self.columns, self.noise = np.concatenate(columns), np.concatenate(spread)
        self.measured = np.concatenate(measured, axis=1)[self.rows]
        self.given = np.isfinite(self.measured)

    def controls(self, delay: float) -> np.ndarray:
        """Controls `(steps, nu)`: the mean over each physics step of the commands, held and delayed by `delay` s."""
        return self._means(self.begins + self.timestep * np.arange(self.steps + 1) - delay)

    def _means(self, edges: np.ndarray) -> np.ndarray:
        """Means of the commands between times; the first command holds before the log."""
        time = self.segment.time_s
        row = np.clip(np.searchsorted(time, edges, side="right") - 1, 0, len(time) - 1)
        area = self._area[row] + self._controls[row] * (edges - time[row])[:, None]
        return np.diff(area, axis=0) / self.timestep

    def state(self, model: mujoco.MjModel, offset: np.ndarray, delay: float = 0.0) -> np.ndarray:
        """The first state (time, qpos, qvel, act), off what the log says by `offset` `(len(free),)` in tangent space.

        Positions and velocities are smoothed readings; activations follow the commands, delayed by `delay` s.
        """
        whole, nv = np.zeros(2 * model.nv + model.na), model.nv
        whole[self.free] = offset
        qpos = self.qpos.copy()
        mujoco.mj_integratePos(model, qpos, whole[:nv], 1.0)
        return np.concatenate(([0.0], qpos, self.qvel + whole[nv : 2 * nv], self._held(model, delay) + whole[2 * nv :]))

    def _held(self, model: mujoco.MjModel, delay: float) -> np.ndarray:
        """Activations `(na,)` after the commands that are known of the time before the beginning."""
        if not model.na:
            return np.zeros(0)
        before = round((self.begins - self.segment.time_s[0]) / self.timestep)
        edges = self.begins - self.timestep * np.arange(before, -1, -1) - delay
        return followed(model, self._controls[0], self._means(edges) if before else np.zeros((0, model.nu)))

    def drive(self, model: mujoco.MjModel, offset: np.ndarray, delay: float) -> tuple[np.ndarray, np.ndarray]:
        """Simulate a plant whose commands are to be followed one by one; states and sensors as `predict` takes them."""
        first = self.state(model, offset, delay)
        return drive(self.plant, model, first, self._commands, self.steps, delay)

    def predict(
        self, first: np.ndarray, states: np.ndarray, sensors: np.ndarray, signals: Mapping[SensorParameter, float]
    ) -> np.ndarray:
        """What the sensors would have said, `(rows, numbers)`.

        Args:
            first: state `(nstate,)` at the beginning.
            states: `(steps, nstate)` after each physics step.
            sensors: `(steps, nsensordata)` computed in each physics step, at the state before it.
            signals: values of the sensors' parameters.
        """
        whole = np.concatenate((first[None], states))
        times = self.begins + self.timestep * np.arange(self.steps + 1)
        delay, gain, bias = self._signals(signals)
        result = np.empty(self.measured.shape)
        reach = self.segment.time_s[self.rows]
        for column, address in enumerate(self.columns):
            series = whole[:, address] if address < whole.shape[1] else sensors[:, address - whole.shape[1]]
            result[:, column] = np.interp(reach - delay[column], times[: len(series)], series)
        return gain * result + bias

    def _signals(self, signals: Mapping[SensorParameter, float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = len(self.columns)
        found = {SensorDelay: np.zeros(size), SensorGain: np.ones(size), SensorBias: np.zeros(size)}
        channel = np.array(self.channel)
        for parameter, value in signals.items():
            own = np.flatnonzero(channel == parameter.channel)
            found[type(parameter)][own[parameter.columns(len(own))]] = value
        return found[SensorDelay], found[SensorGain], found[SensorBias]

    def residual(self, prediction: np.ndarray) -> np.ndarray:
        """(Measured - predicted) / noise of all numbers that were measured, flat."""
        return np.where(self.given, (self.measured - prediction) / self.noise, 0.0).ravel()


def noises(measurements: Sequence[Measurement], segments: Sequence[Segment]) -> dict[str, np.ndarray]:
    """Standard deviation by channel, `(size,)`: what a measurement declares, else what the segments show."""
    result = {}
    for measurement in measurements:
        values = [segment.sensors[measurement.channel] for segment in segments]
        size = values[0].shape[1]
        if measurement.noise is not None:
            result[measurement.channel] = np.full(size, measurement.noise)
            continue
        shown = np.sqrt(np.mean([noise_of(one) ** 2 for one in values], axis=0))
        spread = np.sqrt(np.nanmean([np.nanvar(one, axis=0) for one in values], axis=0))
        result[measurement.channel] = np.maximum(shown, np.maximum(1e-4 * spread, 1e-9))
    return result
