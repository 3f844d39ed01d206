"""The least-squares problem: parameters and first states in, residuals and their Jacobian out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import mujoco
import numpy as np

from cairngym.envs.physics.models import constraints_set_by_hand
from cairngym.sim2real.identification.experiment import Experiment
from cairngym.sim2real.identification.inertia import Inertia
from cairngym.sim2real.identification.parameters import CenterOfMass, ModelParameter, Parameter
from cairngym.sim2real.identification.signal_parameters import ActionDelay, SensorParameter
from cairngym.sim2real.identification.toolbox import sysid

BATCH = 8
"""Models that are simulated together."""
STEP = 1e-4
"""Of finite differences, unless another is asked for."""
PRIOR = 3.0
"""Standard deviation, in half ranges, of the prior at nominal, which keeps there what logs say nothing of."""
FIRST_REACH = 10.0
"""How many standard deviations a first state may be from the smoothed readings."""
WRITTEN = (
    "body_mass", "body_inertia", "body_ipos", "body_iquat", "dof_damping", "dof_frictionloss", "dof_armature",
    "actuator_gainprm", "actuator_biasprm", "geom_friction",
)  # fmt: skip
"""Fields that parameters write."""


class Problem:
    """Weighted residuals of experiments as functions of one vector.

    The vector holds the parameters' numbers first (`size` of them), then each experiment's offsets of its first state.

    Args:
        model: nominal model.
        parameters: what is unknown; labels are unique.
        experiments: segments beside their simulations.
        step: of finite differences, as a part of half the range of a parameter, or of the spread of a first state.

    Raises:
        ValueError: no parameters, two of the same label, or a centre of mass that MuJoCo has simplified away.
        ImportError: MuJoCo's system identification toolbox is not installed.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        parameters: Sequence[Parameter],
        experiments: Sequence[Experiment],
        *,
        step: float = STEP,
    ) -> None:
        labels = [parameter.label for parameter in parameters]
        if not labels or len(set(labels)) != len(labels):
            raise ValueError(f"Expected parameters to identify, each once, got {labels or 'none'}.")
        self.model, self.parameters, self.experiments = model, tuple(parameters), tuple(experiments)
        self.step = step
        self.start = np.concatenate([parameter.start(model) for parameter in parameters])
        self.begin = np.concatenate([parameter.first(model) for parameter in parameters])
        low, high = zip(*(parameter.bounds(model) for parameter in parameters), strict=True)
        self.low, self.high = np.concatenate(low), np.concatenate(high)
        self.half = (self.high - self.low) / 2
        self.size = len(self.start)
        self._edges = np.cumsum([self.size, *(len(one.free) for one in self.experiments)])
        self._parts = np.split(np.arange(self.size), np.cumsum([len(one.start(model)) for one in parameters])[:-1])
        sensing = [isinstance(one, SensorParameter) for one in self.parameters]
        unfelt = [part for part, sensed in zip(self._parts, sensing, strict=True) if sensed]
        self.physical = np.setdiff1d(np.arange(self._edges[-1]), np.concatenate([np.zeros(0, int), *unfelt]))
        """Which numbers of the vector simulations depend on."""
        self._pool: list[mujoco.MjModel] = []
        self._data, self._set_by_hand = mujoco.MjData(model), constraints_set_by_hand(model)
        self._built = 0
        moved = [one.ids(model) for one in parameters if isinstance(one, CenterOfMass | Inertia)]
        self._moved = np.unique(np.concatenate(moved)).astype(int) if moved else np.zeros(0, int)
        if (simple := self._moved[model.body_simple[self._moved] != 0]).size:
            raise ValueError(
                f"Expected bodies whose centre of mass can move, got {model.body(int(simple[0])).name!r}, which MuJoCo "
                'has simplified. Give it simple="false" in the model.'
            )
        self.pins = np.zeros((0, self.size))
        """Rows `(k, size)`, in half ranges, that are kept where they are at nominal."""

    @property
    def labels(self) -> tuple[str, ...]:
        """A label for each number of the parameters."""
        return tuple(label for parameter in self.parameters for label in parameter.labels())

    @property
    def units(self) -> tuple[str, ...]:
        """A unit for each."""
        return tuple(unit for parameter in self.parameters for unit in parameter.units())

    # The vector -------------------------------------------------------------------------------------------------------

    def vector(self, values: np.ndarray | None = None) -> np.ndarray:
        """The vector of these parameters `(size,)`, or the nominal ones, with first states as they were smoothed."""
        return np.concatenate((self.start if values is None else values, np.zeros(self._edges[-1] - self.size)))

    @property
    def bounds(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Lowest and highest values of each part of the vector: the parameters, then each first state."""
        reach = [FIRST_REACH * one.free_std for one in self.experiments]
        return (self.low, *(-one for one in reach)), (self.high, *reach)

    @property
    def scale(self) -> np.ndarray:
        """A typical change of each number of the vector."""
        return np.concatenate((self.half, *(one.free_std for one in self.experiments)))

    def parameter_dict(self, x: np.ndarray) -> Any:
        """The vector as sysid's parameters with bounds."""
        toolbox, found = sysid(), sysid().ParameterDict()
        for number, parameter in enumerate(self.parameters):
            part = self._parts[number]
            found.add(toolbox.Parameter(parameter.label, self.start[part], self.low[part], self.high[part]))
        for number, experiment in enumerate(self.experiments):
            reach = FIRST_REACH * experiment.free_std
            if len(reach):
                found.add(toolbox.Parameter(_first(number), np.zeros(len(reach)), -reach, reach))
        found.update_from_vector(x)
        return found

    # Residuals --------------------------------------------------------------------------------------------------------

    def residual(self, x: np.ndarray) -> np.ndarray:
        """Residuals `(R,)` of a vector, or `(R, K)` of K vectors that are columns: data, then priors and pins."""
        columns = x.reshape(len(x), -1)
        parts = [self._simulated(number, columns) for number in range(len(self.experiments))]
        return np.concatenate([*parts, self._priors(columns)]).reshape(-1, *x.shape[1:])

    def jacobian(self, x: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
        """Derivatives `(R, vector)` by one-sided differences; an experiment is simulated for its own numbers only.

        Args:
            x: the vector.
            of: which numbers to derive by; the columns of others hold zeros for the data. None is all.
        """
        at = x.reshape(-1)
        step = self.step * self.scale
        step[: self.size] *= np.where(at[: self.size] + step[: self.size] > self.high, -1.0, 1.0)
        blocks = [self._derived(number, at, step, of) for number in range(len(self.experiments))]
        prior = self._priors(at[:, None] + np.diag(step)) - self._priors(at[:, None])
        return np.concatenate([*blocks, prior / step])

    @property
    def data_rows(self) -> int:
        """How many of the residuals compare data; priors follow them."""
        return sum(one.measured.size for one in self.experiments)

    def _derived(self, number: int, at: np.ndarray, step: np.ndarray, of: np.ndarray | None) -> np.ndarray:
        own = np.concatenate((np.arange(self.size), np.arange(self._edges[number], self._edges[number + 1])))
        own = own if of is None else np.intersect1d(own, of)
        moved = np.repeat(at[:, None], len(own) + 1, axis=1)
        moved[own, 1 + np.arange(len(own))] += step[own]
        found = self._simulated(number, moved)
        result = np.zeros((len(found), len(at)))
        result[:, own] = (found[:, 1:] - found[:, :1]) / step[own]
        return result

    def _priors(self, columns: np.ndarray) -> np.ndarray:
        relative = (columns[: self.size] - self.start[:, None]) / self.half[:, None]
        rest = columns[self.size :] / self.scale[self.size :, None]
        return np.concatenate((relative / PRIOR, 1e3 * self.pins @ relative, rest))

    def _simulated(self, number: int, columns: np.ndarray) -> np.ndarray:
        """Residuals `(rows, K)` of one experiment."""
        batches = [columns[:, first : first + BATCH] for first in range(0, columns.shape[1], BATCH)]
        return np.concatenate([self._batch(number, batch) for batch in batches], axis=1)

    def _batch(self, number: int, columns: np.ndarray) -> np.ndarray:
        experiment, self._built = self.experiments[number], 0
        if experiment.plant.closed_loop:
            return self._driven(number, columns)
        found, _, _ = sysid().model_residual(
            columns, self.parameter_dict(columns[:, 0]), self._build, _trajectory(self.model, experiment),
            modify_residual=partial(self._compare, number), custom_rollout=partial(self._roll, number),
            n_threads=1, resample_true=False,
        )  # fmt: skip
        return np.where(np.isfinite(found), found, 1e6)

    def _driven(self, number: int, columns: np.ndarray) -> np.ndarray:
        """Residuals `(rows, K)` of an experiment that sysid can't roll out, as it holds one control at a time.

        Columns that differ in nothing but sensors share a simulation.
        """
        experiment, found = self.experiments[number], []
        known: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        for column in columns.T:
            values, self._built, key = self.parameter_dict(column), 0, column[self.physical].tobytes()
            if key not in known:
                model, (offset, delay) = self._build(values), self._beginning(number, values)
                known[key] = (experiment.state(model, offset, delay), *experiment.drive(model, offset, delay))
            found.append(experiment.residual(experiment.predict(*known[key], self._signals(values))))
        return np.where(np.isfinite(found), found, 1e6).T

    def _beginning(self, number: int, values: Any) -> tuple[np.ndarray, float]:
        """How far an experiment begins off its readings, and how late its commands are, s."""
        delays = [one.label for one in self.parameters if isinstance(one, ActionDelay)]
        offset = values[_first(number)].value if len(self.experiments[number].free) else np.zeros(0)
        return offset, float(values[delays[0]].value[0]) if delays else 0.0

    def _signals(self, values: Any) -> dict[SensorParameter, float]:
        return {one: float(values[one.label].value[0]) for one in self.parameters if isinstance(one, SensorParameter)}

    # What sysid calls -------------------------------------------------------------------------------------------------

    def _build(self, values: Any) -> mujoco.MjModel:
        """A model of the pool with these values: copying one with meshes costs more than simulating it."""
        if self._built == len(self._pool):
            self._pool.append(copy.copy(self.model))
        model = self._pool[self._built]
        self._built += 1
        for name in WRITTEN:
            getattr(model, name)[:] = getattr(self.model, name)
        for parameter in self.parameters:
            if isinstance(parameter, ModelParameter):
                parameter.write(model, values[parameter.label].value)
        mujoco.mj_setConst(model, self._data)
        model.eq_data[self._set_by_hand] = self.model.eq_data[self._set_by_hand]
        # MuJoCo takes a centre of mass within 1e-6 m of the body's origin to be there, which would hide small steps.
        model.body_sameframe[self._moved] = 0
        return model

    def _roll(self, number: int, *, models: Any, datas: Any, param_dicts: Any, **mappings: Any) -> Any:
        experiment = self.experiments[number]
        states, controls = [], []
        for model, values in zip(models, param_dicts, strict=True):
            offset, delay = self._beginning(number, values)
            states.append(experiment.state(model, offset, delay))
            controls.append(_series(experiment, experiment.controls(delay)))
        mappings.update(control_signal=controls, initial_states=states)
        return sysid().sysid_rollout(models=models, datas=datas, **mappings)

    def _compare(
        self, number: int, values: Any, sensors: Any, measured: Any, model: mujoco.MjModel, every: bool, *, state: Any
    ) -> Any:
        experiment = self.experiments[number]
        offset, _ = self._beginning(number, values)
        prediction = experiment.predict(experiment.state(model, offset), state, sensors.data, self._signals(values))
        return experiment.residual(prediction), sensors, sensors


def _first(number: int) -> str:
    return f"first state {number}"


def _series(experiment: Experiment, controls: np.ndarray) -> Any:
    """As sysid takes controls: it leaves out the last row."""
    times = experiment.timestep * np.arange(len(controls) + 1)
    return sysid().TimeSeries(times, np.concatenate((controls, controls[-1:])))


def _trajectory(model: mujoco.MjModel, experiment: Experiment) -> Any:
    sensors = sysid().TimeSeries(experiment.segment.time_s[experiment.rows], experiment.measured)
    state = experiment.state(model, np.zeros(len(experiment.free)))
    return sysid().SystemTrajectory(
        model=model, control=_series(experiment, experiment.controls(0.0)), sensordata=sensors,
        initial_state=state, state=None,
    )  # fmt: skip
