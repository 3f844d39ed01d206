"""What may differ between a simulation and its model: one frozen dataclass for each kind of event.

Events of mode *startup* are drawn once for each unit (a physical copy of the robot), those of mode *reset* once for
each episode, those of mode *interval* again and again within an episode. Names select elements of the MuJoCo model;
they may hold `*`. Events refuse numbers that no model could have; what one model can't have is refused when the wrapper
is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cairngym.sim2real.randomization.distributions import Distribution, Kind
from cairngym.sim2real.randomization.event_checks import (
    check_at_least_zero,
    check_delay,
    check_either,
    check_interval,
    check_mode,
    check_probability,
    check_span,
    check_word,
)
from cairngym.sim2real.randomization.field_table import field_kind
from cairngym.sim2real.randomization.modes import MODES, OPERATIONS, Mode, Operation
from cairngym.sim2real.randomization.sight_events import (
    CameraEvent,
    LightEvent,
    MaterialEvent,
    SensorDelay,
    SensorDrop,
    SensorNoise,
)


@dataclass(frozen=True, kw_only=True)
class FieldEvent:
    """Change a field of the MuJoCo model, always starting from the model's own values.

    Several events on one field follow one another in the order they are listed.

    Raises:
        UnknownNameError: no such field, operation, distribution or mode.
        ValueError: numbers that can't be drawn from, or values that no model can have.
    """

    field: str
    """One of `FIELDS`: an `MjModel` field, `opt.` and an option, or `actuator_strength`, `actuator_kp`,
    `actuator_kv`."""
    names: tuple[str, ...] = ("*",)
    """Elements (bodies, geoms, joints, actuators …) whose values change; options have none."""
    operation: Operation = "scale"
    """`abs` puts the drawn number in place of the model's, `scale` multiplies it, `add` adds to it."""
    distribution: Kind = "uniform"
    low: float | None = None
    """Least number drawn; for a gaussian, where it is cut."""
    high: float | None = None
    """Greatest number drawn; for a gaussian, where it is cut."""
    mean: float | None = None
    """Of a gaussian."""
    std: float | None = None
    """Of a gaussian, which is cut at four of these."""
    mode: Mode = "startup"
    shared: bool = False
    """Whether all selected elements get the same number; otherwise each draws its own."""
    component: int | None = None
    """The component of a vector that changes; None changes all, by the same number for `scale` and by one number each
    otherwise."""
    inertia: bool = True
    """For `body_mass`: whether the inertia scales with the mass, as under another density."""
    every_s: tuple[float, float] | None = None
    """For mode interval: seconds from one draw to the next, drawn uniformly."""

    def __post_init__(self) -> None:
        kind = field_kind(self.field)
        check_word("operation", self.operation, OPERATIONS)
        check_mode(self.mode, MODES)
        what = f"The event on {self.field!r}"
        if not self.names and kind.element != "option":
            raise ValueError(f'{what}: expected at least one name or pattern, got none. Take names: ["*"] for all.')
        check_interval(what, self.mode, self.every_s)
        if self.component is not None and not 0 <= self.component < max(kind.size, 1):
            raise ValueError(f"{what}: expected a component in [0, {max(kind.size, 1) - 1}], got {self.component}.")
        low, high = self.draws.support
        least, greatest = kind.bounds
        if self.operation == "abs" and not (least <= low and high <= greatest and (low > least or not kind.strict)):
            raise ValueError(f"{what}: expected values {kind.wanted}, got {low:g} to {high:g}.")
        if self.operation == "scale" and least == 0.0 and (low < 0.0 or (kind.strict and low == 0.0)):
            sign = "above 0" if kind.strict else "of at least 0"
            raise ValueError(f"{what}: expected factors {sign}, since its values are {kind.wanted}, got {low:g}.")
        if self.operation == "add" and self.field == "actuator_strength" and low < -1.0:
            raise ValueError(f"{what}: expected numbers of at least -1, since the model's strength is 1, got {low:g}.")

    @property
    def draws(self) -> Distribution:
        """What the numbers are drawn from."""
        return Distribution(kind=self.distribution, low=self.low, high=self.high, mean=self.mean, std=self.std)


@dataclass(frozen=True, kw_only=True)
class ActionDelay:
    """Commands reach the motors late, by a whole number of physics steps drawn uniformly.

    Raises:
        ValueError: a negative delay, or low above high.
    """

    low: int
    """Least delay, physics steps."""
    high: int
    """Greatest delay, physics steps; it may be drawn, too."""
    mode: Mode = "reset"
    """`interval` draws the delay of every command anew; a command that a later one has overtaken is dropped."""

    def __post_init__(self) -> None:
        check_mode(self.mode, MODES)
        check_delay("The action delay", self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class PacketLoss:
    """Commands are lost on the way, one by one; the motors keep the last one that came.

    Raises:
        ValueError: a probability outside [0, 1].
    """

    probability: float

    def __post_init__(self) -> None:
        check_probability("The packet loss", self.probability)


@dataclass(frozen=True, kw_only=True)
class Push:
    """Something strikes: velocities jump, at times drawn within each episode.

    Raises:
        ValueError: a range that runs backwards or below zero, bodies and joints both given or neither.
    """

    velocity: tuple[float, float]
    """Least and greatest size of the jump: m/s, for joints that turn rad/s."""
    every_s: tuple[float, float]
    """Least and greatest time between two pushes, s."""
    bodies: tuple[str, ...] = ()
    """Bodies with a free joint; each is pushed in a direction of its own."""
    joints: tuple[str, ...] = ()
    """Hinges and slides; the jumps of all of them together have the size drawn."""
    horizontal: bool = True
    """Whether bodies are pushed in the plane only."""

    def __post_init__(self) -> None:
        check_span("The push: velocity", self.velocity, 0.0)
        check_span("The push: every_s", self.every_s, 0.0, strict=True)
        check_either("The push", self.bodies, self.joints)


@dataclass(frozen=True, kw_only=True)
class RandomForce:
    """Forces of random size and direction, held for a while: the baseline of Valassakis et al. 2020.

    "Crossing the gap: a deep dive into zero-shot sim-to-real transfer for dynamics", arXiv:2008.06686.

    Raises:
        ValueError: a range that runs backwards or below zero, bodies and joints both given or neither.
    """

    force: tuple[float, float]
    """Least and greatest size: N, for joints that turn N m; multiples of the body's weight with `of_weight`."""
    every_s: tuple[float, float]
    """Least and greatest time between two draws, s; (0, 0) draws at every step."""
    bodies: tuple[str, ...] = ()
    """Bodies pulled at their centre of mass, each in a direction of its own."""
    joints: tuple[str, ...] = ()
    """Hinges and slides, each with a force of its own and either sign."""
    of_weight: bool = False
    """Whether forces on bodies are given as multiples of the body's own weight in the model, at 9.81 m/s^2."""

    def __post_init__(self) -> None:
        check_span("The random force: force", self.force, 0.0)
        check_span("The random force: every_s", self.every_s, 0.0)
        check_either("The random force", self.bodies, self.joints)
        if self.of_weight and self.joints:
            raise ValueError("The random force: expected bodies for multiples of their weight, got joints.")


@dataclass(frozen=True, kw_only=True)
class ActuatorModel:
    """Motors of another kind in place of the model's: the command becomes a target or a torque at every physics step.

    Raises:
        UnknownNameError: no such kind or target.
        ValueError: a negative gain or limit, or one that the kind needs is missing.
    """

    kind: Literal["pd", "dc_motor", "mlp"]
    """`pd`: effort = stiffness (target - position) - damping velocity; `dc_motor`: the same within what a motor can
    give at its speed; `mlp`: a network fitted to logs."""
    actuators: tuple[str, ...] = ("*",)
    """Actuators of the model that are replaced; each must drive one hinge or slide."""
    target: Literal["position", "velocity", "effort"] = "position"
    """What the command asks for."""
    scale: float = 1.0
    """The target is `offset + scale * command`."""
    offset: float = 0.0
    stiffness: float = 0.0
    """N m/rad (or N/m)."""
    damping: float = 0.0
    """N m s/rad (or N s/m)."""
    effort_limit: float | None = None
    """Greatest effort the drive gives for long, N m (or N); None has no limit."""
    stall_effort: float | None = None
    """Of a `dc_motor`: effort at rest, from which it falls linearly with speed, N m (or N)."""
    no_load_speed: float | None = None
    """Of a `dc_motor`: the speed at which no effort is left, rad/s (or m/s)."""
    path: str | None = None
    """Of an `mlp`: the file it was saved in."""

    def __post_init__(self) -> None:
        check_word("actuator model", self.kind, ("pd", "dc_motor", "mlp"))
        check_word("target", self.target, ("position", "velocity", "effort"))
        for name in ("stiffness", "damping"):
            check_at_least_zero(f"The actuator model: {name}", getattr(self, name))
        for name in ("effort_limit", "stall_effort", "no_load_speed"):
            limit = getattr(self, name)
            if limit is not None and not 0.0 < limit < math.inf:
                raise ValueError(f"The actuator model: expected {name} above 0, got {limit}.")
        needs = {"pd": (), "dc_motor": ("stall_effort", "no_load_speed"), "mlp": ("path",)}[self.kind]
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            raise ValueError(f"The actuator model {self.kind!r} needs {' and '.join(missing)}.")


Event = (
    FieldEvent | ActionDelay | PacketLoss | Push | RandomForce | ActuatorModel | SensorNoise | SensorDelay | SensorDrop
    | CameraEvent | LightEvent | MaterialEvent
)  # fmt: skip
EVENTS: dict[str, type] = {
    "field": FieldEvent,
    "action_delay": ActionDelay,
    "packet_loss": PacketLoss,
    "push": Push,
    "random_force": RandomForce,
    "actuator_model": ActuatorModel,
    "sensor_noise": SensorNoise,
    "sensor_delay": SensorDelay,
    "sensor_drop": SensorDrop,
    "camera": CameraEvent,
    "light": LightEvent,
    "material": MaterialEvent,
}
"""By the names that YAML presets call them."""
