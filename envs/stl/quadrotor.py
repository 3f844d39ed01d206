"""A quadrotor with twelve states, flown by collective thrust, tilt and yaw rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch

from cairngym.envs.data import State, StateField
from cairngym.envs.stl.arena import ArenaWorld, split, stacked
from cairngym.envs.stl.layouts import Arena
from cairngym.envs.stl.regions import Coordinates
from cairngym.envs.stl.unicycle import turned, wrapped

HALF, HEIGHT = 4.0, 4.0
"""Half of the arena's side, and its height, m."""
GRAVITY = 9.81
"""m/s^2."""

Vector = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Motion = tuple[torch.Tensor, ...]
"""Velocity, roll, pitch, yaw and body rates: nine tensors `(B,)`."""


class QuadrotorWorld(ArenaWorld):
    """The rigid body of Beard, "Quadrotor Dynamics and Control" (2008), eqs. 1, 2 and 16-19, in axes x, y, z up.

    State: position and velocity in the world's axes, roll, pitch and yaw (Z-Y-X), and body rates p, q, r. With mass-
    normalised thrust c along the body's z axis,

        v' = c R e_z - g e_z - k v
        (roll, pitch, yaw)' = W(roll, pitch) (p, q, r)
        (p, q, r)' = (commands - rates) / tau

    The action is collective thrust, roll, pitch and yaw rate, as autopilots take them in their attitude mode: c = g
    (1 + a_0 / 2), so that action 0 hovers, tilts of up to 45 degrees, and a yaw rate of up to 3 rad/s. The autopilot
    asks for roll and pitch rates of 5 / s times the tilt's error, 3 rad/s at most; steps of 0.1 s are too long to
    balance the vehicle by its rates. Its rate loop is the torque J (commands - rates) / tau + rates x J rates, which
    leaves a first-order lag of tau = 0.1 s. k = 0.3 1/s is linear rotor drag. A step is one Runge-Kutta step of fourth
    order over 0.1 s.

    Roll and pitch are limited to 45 degrees, as by an autopilot: at the limit the angle stops, and so does the body
    rate towards it. The arena is [-4, 4]^2 x [0, 4] m; at its sides, floor and ceiling the vehicle stops along that
    axis, without bouncing. Episodes begin at rest, level, with any yaw. The agent's frame is the world's, turned by
    yaw.
    """

    arena = Arena(
        low=(-HALF, -HALF, 0.0), high=(HALF, HALF, HEIGHT), start_low=(-0.8, -0.8, 1.2), start_high=(0.8, 0.8, 2.8),
        region_radius=(0.6, 0.8), obstacle_radius=(0.6, 1.0), gap=0.1, passage=0.5, speed=0.2, lag=5.0, scale=HALF,
    )  # fmt: skip
    action_size = 4
    time_step = 0.1
    max_rate, max_tilt, thrust_range = 3.0, math.pi / 4, 0.5
    """Body rates, rad/s; roll and pitch, rad; thrust at action 1 beyond that of hovering, as a part of it."""
    tilt_gain = 5.0
    """Rates asked for by the error of roll and pitch, 1/s."""
    rate_lag, drag = 0.1, 0.3
    """tau, s, and k, 1/s."""
    moving: ClassVar[Mapping[str, StateField]] = {
        "position": StateField(
            shape=(3,), unit="m", description="Where the quadrotor is; the arena is [-4, 4]^2 x [0, 4]."
        ),
        "velocity": StateField(shape=(3,), unit="m/s", description="Its velocity along the world's axes."),
        "attitude": StateField(shape=(3,), unit="rad", description="Roll, pitch and yaw (Z-Y-X)."),
        "rates": StateField(shape=(3,), unit="rad/s", description="Body rates about its axes ahead, left and up."),
    }
    num_draws = 1

    def dynamics(self, state: State, action: torch.Tensor) -> dict[str, torch.Tensor]:
        """Position, velocity, attitude and rates one step later."""
        thrust, roll, pitch, turn = (part.clamp(-1.0, 1.0) for part in action.unbind(-1))
        lift = GRAVITY * (1.0 + self.thrust_range * thrust)
        gain = self.tilt_gain * self.max_tilt  # what the autopilot asks for while the vehicle is level
        controls = (lift, gain * roll, gain * pitch, self.max_rate * turn)
        position = split(state["position"])
        motion = (*split(state["velocity"]), *split(state["attitude"]), *split(state["rates"]))
        position, motion = self._runge_kutta(position, motion, controls)
        return self._limited(position, motion)

    def _runge_kutta(self, position: Motion, motion: Motion, controls: Motion) -> tuple[Motion, Motion]:
        """The position depends on the velocity alone, so its increments follow from those of the velocity."""
        dt = self.time_step
        first = self._derivative(motion, controls)
        second = self._derivative(_plus(motion, first, dt / 2), controls)
        third = self._derivative(_plus(motion, second, dt / 2), controls)
        fourth = self._derivative(_plus(motion, third, dt), controls)
        # x + dt v + dt^2 / 6 (k1 + k2 + k3) is what the scheme gives for x' = v.
        between = tuple(b + c for b, c in zip(second, third, strict=True))
        moved = tuple(
            torch.add(torch.add(x, v, alpha=dt), a + bc, alpha=dt * dt / 6)
            for x, v, a, bc in zip(position, motion, first, between, strict=False)
        )
        changed = tuple(
            torch.add(m, torch.add(a + d, bc, alpha=2.0), alpha=dt / 6)
            for m, a, bc, d in zip(motion, first, between, fourth, strict=True)
        )
        return moved, changed

    def _derivative(self, motion: Motion, controls: Motion) -> Motion:
        u, v, w, roll, pitch, yaw, p, q, r = motion
        thrust, *rates_when_level, yaw_rate = controls
        sin_roll, cos_roll, sin_pitch, cos_pitch = torch.sin(roll), torch.cos(roll), torch.sin(pitch), torch.cos(pitch)
        sin_yaw, cos_yaw = torch.sin(yaw), torch.cos(yaw)
        upright, left = thrust * cos_roll, thrust * sin_roll
        ahead = upright * sin_pitch
        turn = torch.addcmul(q * sin_roll, r, cos_roll) / cos_pitch
        asked = (
            torch.sub(rate, tilt, alpha=self.tilt_gain).clamp(-self.max_rate, self.max_rate)
            for rate, tilt in zip(rates_when_level, (roll, pitch), strict=True)
        )
        commands = (*asked, yaw_rate)
        return (
            torch.sub(torch.addcmul(ahead * cos_yaw, left, sin_yaw), u, alpha=self.drag),
            torch.sub(torch.addcmul(ahead * sin_yaw, left, cos_yaw, value=-1.0), v, alpha=self.drag),
            torch.sub(upright * cos_pitch - GRAVITY, w, alpha=self.drag),
            torch.addcmul(p, turn, sin_pitch),
            torch.addcmul(q * cos_roll, r, sin_roll, value=-1.0),
            turn,
            *((command - rate) * (1.0 / self.rate_lag) for command, rate in zip(commands, (p, q, r), strict=True)),
        )

    def _limited(self, position: Motion, motion: Motion) -> dict[str, torch.Tensor]:
        """Within the arena and the tilt limits, and not moving against them."""
        u, v, w, roll, pitch, yaw, p, q, r = motion
        x, u = _stopped(position[0], u, -HALF, HALF)
        y, v = _stopped(position[1], v, -HALF, HALF)
        z, w = _stopped(position[2], w, 0.0, HEIGHT)
        roll, p = _stopped(roll, p, -self.max_tilt, self.max_tilt)
        pitch, q = _stopped(pitch, q, -self.max_tilt, self.max_tilt)
        return {
            "position": stacked(x, y, z), "velocity": stacked(u, v, w),
            "attitude": stacked(roll, pitch, wrapped(yaw)), "rates": stacked(p, q, r),
        }  # fmt: skip

    def place(self, start: torch.Tensor, draw: torch.Tensor) -> dict[str, torch.Tensor]:
        """The quadrotor at rest at its start, with any yaw."""
        yaw = (2.0 * draw[:, 0] - 1.0) * math.pi
        none = torch.zeros_like(yaw)
        still = stacked(none, none, none)
        attitude = stacked(none, none, yaw)
        return {"position": stacked(*start.unbind(-1)), "velocity": still, "attitude": attitude, "rates": still}

    def in_frame(self, state: State, parts: Coordinates) -> Coordinates:
        """A displacement ahead, to the left and up."""
        yaw = state["attitude"][:, 2].contiguous()
        return turned(parts, torch.cos(yaw), torch.sin(yaw))

    def ego(self, state: State) -> list[torch.Tensor]:
        """Position, velocity in the agent's frame, roll and pitch, cosine and sine of yaw, body rates."""
        x, y, z = split(state["position"])
        roll, pitch, yaw = split(state["attitude"])
        cosine, sine = torch.cos(yaw), torch.sin(yaw)
        velocity = turned(split(state["velocity"]), cosine, sine)
        tilts = [part / self.max_tilt for part in (roll, pitch)]
        rates = [part / self.max_rate for part in split(state["rates"])]
        place = [x / HALF, y / HALF, 2.0 * z / HEIGHT - 1.0]
        return [*place, *(part / 3.0 for part in velocity), *tilts, cosine, sine, *rates]

    def heading(self, state: State) -> torch.Tensor | None:
        """The yaw."""
        return state["attitude"][:, 2]


def _plus(motion: Motion, change: Motion, time: float) -> Motion:
    return tuple(torch.add(m, c, alpha=time) for m, c in zip(motion, change, strict=True))


def _stopped(value: torch.Tensor, rate: torch.Tensor, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A coordinate kept within its bounds, and its rate without the part that points out of them."""
    bounded = value.clamp(low, high)
    inward = torch.where(value > high, rate.clamp(max=0.0), torch.where(value < low, rate.clamp(min=0.0), rate))
    return bounded, inward
