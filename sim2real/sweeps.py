"""Robustness of trained policies: the parameters of a fleet, one or two at a time, over their ranges and beyond."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from cairngym.envs.physics.world import PhysicsWorld
from cairngym.sim2real.evaluation import SEED, Policy, Success
from cairngym.sim2real.randomization.config import ActionDelay, FieldEvent, RandomizationConfig, SensorDelay
from cairngym.sim2real.randomization.elements import JOINTED, select, select_jointed
from cairngym.sim2real.randomization.envelopes import Surface, count_successes, surface
from cairngym.sim2real.randomization.field_table import field_kind
from cairngym.sim2real.randomization.fixed import NEUTRAL, Parameter, Swept, grid
from cairngym.sim2real.statistics.binomial import Interval, binomial_interval

SPAN = 2.0
"""How far a sweep goes beyond the range of its event, as a factor."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Success of one policy over a parameter, all else being as in the model."""

    policy: str
    parameter: Parameter
    success: tuple[Interval, ...]
    """At every value, exact binomial intervals."""

    def survived(self, least: float = 0.5) -> tuple[float, float] | None:
        """The lowest and the highest value at which the policy succeeds at least so often; None where it never does."""
        kept = [v for v, s in zip(self.parameter.values, self.success, strict=True) if s.value >= least]
        return (min(kept), max(kept)) if kept else None


@dataclass(frozen=True, kw_only=True)
class PairSweep:
    """Success of one policy over two parameters."""

    policy: str
    surface: Surface


def parameters(config: RandomizationConfig, model: mujoco.MjModel, *, points: int = 9) -> tuple[Parameter, ...]:
    """What can be swept of a config's events: fields of the model and delays, each over its range and beyond.

    Elements that draw numbers of their own in the fleet have one number together in a sweep.

    Args:
        config: of a fleet.
        model: says what the nominal values are.
        points: of each grid; the nominal value is added where it is not among them.

    Raises:
        UnknownNameError: the config names elements that the model does not have.
        ValueError: fewer than two points.
    """
    found = []
    for event in config.events:
        if isinstance(event, FieldEvent):
            found += [_field(one, model, points) for one in _components(event)]
        elif isinstance(event, ActionDelay | SensorDelay):
            found.append(_grid(event, 0.0, max(event.high * SPAN, 1.0), 0.0, points))
    return tuple(parameter for parameter in found if parameter is not None)


def _components(event: FieldEvent) -> Iterator[FieldEvent]:
    """A vector that does not scale as a whole is swept one component after another."""
    size = field_kind(event.field).size
    if event.component is not None or event.operation == "scale" or size < 2:
        yield event
    else:
        yield from (replace(event, component=component) for component in range(size))


def _field(event: FieldEvent, model: mujoco.MjModel, points: int) -> Parameter | None:
    """None where the model does not say what is nominal."""
    nominal = NEUTRAL.get(event.operation, _of_model(event, model))
    if nominal is None:
        return None
    low, high = event.draws.support
    if event.operation == "add":
        reach = max(abs(low), abs(high)) * SPAN
        return _grid(event, -reach, reach, nominal, points)
    return _grid(event, min(low / SPAN, nominal), max(high * SPAN, nominal), nominal, points)


def _of_model(event: FieldEvent, model: mujoco.MjModel) -> float | None:
    """The value of the first element chosen."""
    element = field_kind(event.field).element
    if element == "option":
        values = np.atleast_1d(getattr(model.opt, event.field.removeprefix("opt."), np.nan))
    else:
        chosen = (select_jointed if element in JOINTED else select)(model, element, event.names)
        fields = getattr(model, event.field, None)
        values = np.array([np.nan]) if fields is None else np.atleast_1d(fields[next(iter(chosen))])
    value = float(values[event.component or 0])
    return value if np.isfinite(value) else None


def _grid(event: Swept, low: float, high: float, nominal: float, points: int) -> Parameter:
    return Parameter(event=event, values=grid(event, low, high, nominal, points), nominal=nominal)


def model_of(policy: Policy) -> mujoco.MjModel:
    """The model that a policy's simulation is made from.

    Raises:
        TypeError: MuJoCo does not simulate it.
    """
    env = policy.make_sim(1, 0)
    try:
        world = env.unwrapped.world
        if not isinstance(world, PhysicsWorld):
            raise TypeError(f"Expected a world that MuJoCo simulates, got {type(world).__name__}.")
        return world.model
    finally:
        env.close()


def sweep(policy: Policy, parameter: Parameter, *, episodes: int, seed: int = SEED, success: Success = "once") -> Sweep:
    """Success of a policy at every value of a parameter.

    Args:
        policy: what is evaluated, playing greedily.
        parameter: what varies.
        episodes: at each value.
        seed: of the episodes; every value meets the same ones.
        success: whether an episode counts where the task was done at any of its steps, or only at its last.
    """
    wins, trials = count_successes(
        policy.agent, lambda count: policy.make_sim(count, seed), (parameter,), np.array(parameter.values)[:, None],
        wrap=policy.wrap, episodes=episodes, seed=seed, success=success,
    )  # fmt: skip
    rates = tuple(binomial_interval(int(count), trials) for count in wins)
    return Sweep(policy=policy.name, parameter=parameter, success=rates)


def pair_sweep(
    policy: Policy, pair: Sequence[Parameter], *, episodes: int, seed: int = SEED, success: Success = "once"
) -> PairSweep:
    """Success of a policy at every pair of values of two parameters; see `sweep`."""
    first, second = pair
    found = surface(
        policy.agent, lambda count: policy.make_sim(count, seed), (first, second),
        wrap=policy.wrap, episodes=episodes, seed=seed, success=success,
    )  # fmt: skip
    return PairSweep(policy=policy.name, surface=found)
