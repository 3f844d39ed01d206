"""The scripted controller of the Franka arm: damped least squares that keeps every check point off the obstacles.

Importing this module teaches `cairngym.envs.stl.oracle.Oracle` to act in a `FrankaWorld`.
"""

from __future__ import annotations

import torch

from cairngym.envs.data import State
from cairngym.envs.stl.franka import FrankaWorld
from cairngym.envs.stl.franka_kinematics import FrankaKinematics
from cairngym.envs.stl.franka_model import HOME, SPEEDS
from cairngym.envs.stl.oracle import control, lead_around

SPEED = 0.6
"""Of the end effector, m/s, where nothing slows it."""
BRAKING = 0.6
"""Share of the way left that is covered in a step, at most."""
DAMPING = 0.03
"""Of the least squares, m/rad (Nakamura & Hanafusa, J. Dyn. Sys. 1986)."""
POSTURE = 1.0
"""How fast the joints go back to `HOME` where that does not move the end effector, 1/s."""
CLEARANCE = 0.02
"""What check points keep from an obstacle's surface, m."""
LIMIT = 0.03
"""What joints keep from their limits, rad."""
HAND = 0.25
"""Above the end effector, m, is the hand, where an obstacle stands in the way as well."""
BERTH = 0.05
"""What the hand's axis keeps from an obstacle, m, when led around it."""
SWEEPS = 8
"""Over the check points, each of which corrects the joint speeds until it comes no nearer than it may."""


@control.register
def _franka(world: FrankaWorld, state: State, waypoint: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """Around what stands in the hand's way too, slowing down before the aim alone."""
    arm, angles = world.arm, state["joint_angles"].double()
    points, jacobians = arm.jacobians(angles)
    waypoint = lead_around(points[:, -1], waypoint.double(), hanging(points[:, -1], state["obstacles"].double()), BERTH)
    way = waypoint - points[:, -1]
    distance = way.norm(dim=-1, keepdim=True)
    left = distance + (aim.double() - waypoint).norm(dim=-1, keepdim=True)
    speed = (BRAKING * left / world.time_step).clamp(max=SPEED)
    rates = resolved(jacobians[:, -1], way / distance.clamp_min(1e-9) * speed, POSTURE * (posture(angles) - angles))
    rates = kept_clear(rates, points, jacobians, state["obstacles"].double(), world.time_step)
    rates = within_limits(rates, angles, arm, world.time_step)
    shares = rates / rates.new_tensor(SPEEDS)
    return (shares / shares.abs().amax(-1, keepdim=True).clamp_min(1.0)).float()


def hanging(tip: torch.Tensor, obstacles: torch.Tensor) -> torch.Tensor:
    """Obstacles `(B, M, 4)` lowered to the tip `(B, 3)`, by the length of the hand at most."""
    x, y, z, radius = obstacles.unbind(-1)
    return torch.stack((x, y, torch.minimum(z, torch.maximum(tip[:, None, 2], z - HAND)), radius), dim=-1)


def posture(angles: torch.Tensor) -> torch.Tensor:
    """The joint angles at rest, `(7,)`."""
    return angles.new_tensor(HOME)


def resolved(jacobian: torch.Tensor, velocity: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """Joint speeds `(B, 7)` for a velocity of the end effector, with `rest` in the null space.

    Args:
        jacobian: `(B, 3, 7)`, m/rad.
        velocity: `(B, 3)`, m/s.
        rest: `(B, 7)`, rad/s.
    """
    transposed = jacobian.transpose(1, 2)
    damped = jacobian @ transposed + DAMPING**2 * torch.eye(3, dtype=jacobian.dtype, device=jacobian.device)
    missing = velocity.unsqueeze(-1) - jacobian @ rest.unsqueeze(-1)
    return rest + (transposed @ torch.linalg.solve(damped, missing)).squeeze(-1)


def kept_clear(
    rates: torch.Tensor, points: torch.Tensor, jacobians: torch.Tensor, obstacles: torch.Tensor, time_step: float
) -> torch.Tensor:
    """The nearest joint speeds at which no check point uses up more than half of its clearance in a step.

    Args:
        rates: `(B, 7)`, rad/s.
        points: `(B, 8, 3)`, m.
        jacobians: `(B, 8, 3, 7)`, m/rad.
        obstacles: `(B, M, 4)`, centre and radius, m.
        time_step: s.
    """
    off = points.unsqueeze(1) - obstacles[:, :, None, :3]
    distance = off.norm(dim=-1)
    outwards = off / distance.clamp_min(1e-9).unsqueeze(-1)
    slopes = (outwards.unsqueeze(-2) @ jacobians.unsqueeze(1)).squeeze(-2).flatten(1, 2)
    least = (-0.5 * (distance - obstacles[:, :, None, 3] - CLEARANCE) / time_step).flatten(1, 2)
    squares = (slopes * slopes).sum(-1).clamp_min(1e-3)
    for _ in range(SWEEPS):
        for slope, floor, square in zip(slopes.unbind(1), least.unbind(1), squares.unbind(1), strict=True):
            short = (floor - (slope * rates).sum(-1)).clamp_min(0.0)
            rates = rates + slope * (short / square).unsqueeze(-1)
    return rates


def within_limits(rates: torch.Tensor, angles: torch.Tensor, arm: FrankaKinematics, time_step: float) -> torch.Tensor:
    """Joint speeds that stop at the joints' limits."""
    low, high = (arm.low + LIMIT - angles) / time_step, (arm.high - LIMIT - angles) / time_step
    return torch.minimum(torch.maximum(rates, low), high)
