"""Scripted controllers that carry out a layout's plan: the proof that accepted layouts can be solved.

Visits are made in the plan's order. On the way to a region the nearest circle that stands between is passed along a
tangent, as tangent bugs do (Kamon, Rimon & Rivlin, "TangentBug", IJRR 1998), with half the arena's passage as berth.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import torch

from cairngym.envs.data import State
from cairngym.envs.stl import plan_kernels as k
from cairngym.envs.stl.arena import ArenaWorld
from cairngym.envs.stl.layouts import Layouts, visit_table
from cairngym.envs.stl.linear import LinearWorld
from cairngym.envs.stl.quadrotor import GRAVITY, QuadrotorWorld
from cairngym.envs.stl.unicycle import UnicycleWorld, turned

TINY = 1e-9
BLOCKS = 0.6
"""Share of the berth within which a circle counts as standing in the way; the tangent keeps all of it."""
ROUNDS = 3
"""Circles that one way is led around at most, the first last."""


class Oracle:
    """Carries out the plans of an arena's layouts.

    Args:
        world: the arena (what `MonitoredWorld.inner` holds).
    """

    def __init__(self, world: ArenaWorld) -> None:
        self.world, self.itinerary = world, Itinerary(world.layouts)

    def act(self, state: State) -> torch.Tensor:
        """Actions `(N, action_size)` for a state of all N envs, with the field `stl_time`; call it at every step."""
        region, shunned = self.itinerary.next(state, state["stl_time"])
        here = state["position"]
        chosen = torch.arange(len(here), device=here.device)
        aim = aim_at(here, state["regions"][chosen, region])
        circles = state["obstacles"]
        door = state["regions"][chosen, shunned.clamp(min=0)].unsqueeze(1).clone()
        door[..., -1] = torch.where(shunned < 0, -1e3, door[:, 0, -1]).unsqueeze(1)  # no circle at all
        berth = self.world.arena.passage / 2
        waypoint = lead_around(here, aim, torch.cat((circles, door), dim=1), berth)
        return control(self.world, state, waypoint, aim)


class Itinerary:
    """Which visit of its plan every env is at.

    Args:
        layouts: the envs'.
    """

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        table = torch.from_numpy(visit_table(layouts.plans, layouts.template.names)).to(layouts.device)
        self._table, self._counts = table.long(), (table[..., k.REGION] >= 0).sum(-1)
        self._repeats = torch.tensor([plan.repeat for plan in layouts.plans], device=layouts.device)
        self._visit = torch.zeros(layouts.num_envs, dtype=torch.int64, device=layouts.device)
        self._arrived = torch.full_like(self._visit, -1)

    def next(self, state: State, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The region to be in, and the one not to touch until then (-1 for none), int64 `(N,)` each."""
        fresh, plan = time == 0, self._layouts.plan.long()
        self._visit, self._arrived = self._visit.masked_fill(fresh, 0), self._arrived.masked_fill(fresh, -1)
        visit = self._table[plan, self._visit]
        circle = state["regions"][torch.arange(len(time), device=time.device), visit[:, k.REGION]]
        inside = (state["position"] - circle[:, :-1]).norm(dim=-1) < circle[:, -1]
        came = inside & (time >= visit[:, k.EARLIEST]) & (self._arrived < 0)
        self._arrived = torch.where(came, time.long(), self._arrived)
        done = (self._arrived >= 0) & (time.long() - self._arrived >= visit[:, k.STAY])
        following = self._visit + 1
        last = following >= self._counts[plan]
        following = torch.where(last, self._counts[plan] - self._repeats[plan].clamp(min=1), following)
        # The last visit of a plan without repeats goes on for good.
        leaving = done & ~(last & (self._repeats[plan] == 0))
        self._visit = torch.where(leaving, following, self._visit)
        self._arrived = self._arrived.masked_fill(leaving, -1)
        visit = self._table[plan, self._visit]
        return visit[:, k.REGION], visit[:, k.SHUN]


def aim_at(here: torch.Tensor, circle: torch.Tensor) -> torch.Tensor:
    """The nearest point `(N, D)` of a region that lies half its radius or less from its centre."""
    off = here - circle[:, :-1]
    distance = off.norm(dim=-1, keepdim=True).clamp_min(TINY)
    return circle[:, :-1] + off * (k.DEPTH * circle[:, -1:] / distance).clamp(max=1.0)


def lead_around(here: torch.Tensor, aim: torch.Tensor, circles: torch.Tensor, berth: float) -> torch.Tensor:
    """Where to make for, `(N, D)`: the aim, or a tangent point of the circle in the way that is to be passed first.

    Args:
        here: `(N, D)`.
        aim: `(N, D)`.
        circles: `(N, M, D + 1)`.
        berth: m.
    """
    waypoint = aim
    for _ in range(ROUNDS):
        first, blocked = nearest_block(here, waypoint, circles, BLOCKS * berth)
        waypoint = torch.where(blocked.unsqueeze(-1), tangent_point(here, waypoint, first, berth), waypoint)
    return waypoint


def nearest_block(
    here: torch.Tensor, there: torch.Tensor, circles: torch.Tensor, berth: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The circle between two points that comes first, `(N, D + 1)`, and whether there is one, bool `(N,)`."""
    way, off = (there - here).unsqueeze(1), circles[..., :-1] - here.unsqueeze(1)
    share = ((off * way).sum(-1) / (way * way).sum(-1).clamp_min(TINY)).clamp(0.0, 1.0)
    near = (off - share.unsqueeze(-1) * way).norm(dim=-1)
    blocks = (near < circles[..., -1] + berth) & (share > 0.0)
    order = torch.where(blocks, share, torch.inf)
    first = order.argmin(-1)
    return circles[torch.arange(len(here), device=here.device), first], blocks.any(-1)


def tangent_point(here: torch.Tensor, there: torch.Tensor, circle: torch.Tensor, berth: float) -> torch.Tensor:
    """Where a tangent to a circle, widened by `berth`, touches it on the side of `there`; within it, outwards."""
    off, wide = circle[:, :-1] - here, circle[:, -1:] + berth
    distance = off.norm(dim=-1, keepdim=True).clamp_min(TINY)
    ahead, way = off / distance, there - here
    side = way - (way * ahead).sum(-1, keepdim=True) * ahead
    any_side = torch.roll(ahead, 1, -1) * torch.tensor([-1.0] + [1.0] * (ahead.shape[1] - 1), device=here.device)
    side = torch.where(side.norm(dim=-1, keepdim=True) < 1e-4, any_side, side)
    side = side - (side * ahead).sum(-1, keepdim=True) * ahead
    side = side / side.norm(dim=-1, keepdim=True).clamp_min(TINY)
    sine = (wide / distance).clamp(max=1.0)
    tangent = (distance**2 - wide**2).clamp_min(0.0).sqrt() * ((1 - sine**2).sqrt() * ahead + sine * side)
    outwards = (distance - wide) * ahead + wide * side
    return here + torch.where(distance > wide, tangent + 0.2 * wide * side, outwards)


@singledispatch
def control(world: Any, state: State, waypoint: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """Actions `(N, action_size)` that lead to a waypoint `(N, D)`, behind which lies the aim.

    Raises:
        TypeError: a world without a controller.
    """
    raise TypeError(f"Expected a LinearWorld, UnicycleWorld or QuadrotorWorld, got {type(world).__name__}.")


@control.register
def _linear(world: LinearWorld, state: State, waypoint: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """Straight there, at full speed."""
    wanted = (waypoint - state["position"]) / (world.time_step * world.max_speed)
    return wanted / wanted.abs().amax(-1, keepdim=True).clamp_min(1.0)


@control.register
def _unicycle(world: UnicycleWorld, state: State, waypoint: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """Turn the nearer end there and drive as far as that end looks there."""
    x, y = (waypoint - state["position"]).unbind(-1)
    ahead, left = turned((x, y), torch.cos(state["heading"]), torch.sin(state["heading"]))
    way = torch.where(ahead < 0.0, -1.0, 1.0)
    distance = (x * x + y * y).sqrt()
    angle = torch.atan2(left * way, ahead * way) * (distance > 1e-3)
    turn = (angle / (world.max_turn * world.time_step)).clamp(-1.0, 1.0)
    rest = angle - turn * world.max_turn * world.time_step
    speed = (distance / (world.max_speed * world.time_step)).clamp(max=1.0) * torch.cos(rest).clamp_min(0.0) ** 4
    return torch.stack((way * speed, turn), dim=-1)


CRUISE, BRAKE = 2.5, 3.0
"""Speed, m/s, and what is counted on to lose it before the aim, m/s^2."""
VELOCITY_GAIN = 2.5
"""1/s."""
TILT = 0.6
"""Roll and pitch that are asked for at most, rad."""


@control.register
def _quadrotor(world: QuadrotorWorld, state: State, waypoint: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """A cascade: velocity, acceleration, tilt; yaw is held."""
    here, velocity = state["position"], state["velocity"]
    left_over = (waypoint - here).norm(dim=-1, keepdim=True) + (aim - waypoint).norm(dim=-1, keepdim=True)
    off = waypoint - here
    speed = (2.0 * BRAKE * left_over).sqrt().clamp(max=CRUISE).minimum(3.0 * left_over)
    wanted = off / off.norm(dim=-1, keepdim=True).clamp_min(TINY) * speed
    force = VELOCITY_GAIN * (wanted - velocity) + world.drag * velocity
    roll, pitch, yaw = state["attitude"].unbind(-1)
    ahead, left = turned((force[:, 0], force[:, 1]), torch.cos(yaw), torch.sin(yaw))
    up = (GRAVITY + force[:, 2]).clamp(0.3 * GRAVITY, 1.7 * GRAVITY)
    thrust = up / (torch.cos(roll) * torch.cos(pitch)) / GRAVITY - 1.0
    tilts = [torch.atan2(push, up).clamp(-TILT, TILT) / world.max_tilt for push in (-left, ahead)]
    return torch.stack((thrust / world.thrust_range, *tilts, torch.zeros_like(thrust)), dim=-1).clamp(-1.0, 1.0)
