"""Scripted policies that solve the Fetch tasks: proof that they can be solved, and demonstrations.

An oracle maps `env.state` to actions `(N, 4)`, without memory: what to do next follows from where things are.

FetchSlide has none. Many of its goals lie beyond the arm's reach, so the puck must leave the gripper once, at the right
speed in the right direction. The fingers' faces stay aligned with x and y and have little friction, so a kick along any
other line sends the puck off it: kicks scripted along the line to the goal, at the speed whose sliding distance fits,
end within the threshold in about a third of the episodes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from cairngym.envs.checks import unknown_name
from cairngym.envs.data import State
from cairngym.envs.manipulation.fetch import REACH

Oracle = Callable[[State], torch.Tensor]
OPEN, CLOSED = 1.0, -1.0
SPEED = 0.3
"""Share of the way left that a push goes in a step; faster, the object slides past the goal."""


def reach(state: State) -> torch.Tensor:
    """Move the gripper to the goal."""
    return toward(state, state["goal"])


def push(state: State) -> torch.Tensor:
    """Go behind the object, as seen from the goal, over its top, come down, and push it along the line to the goal."""
    gripper, thing, goal = state["gripper_position"], state["object_position"], state["goal"]
    line = (goal - thing)[:, :2]
    distance = norm(line)
    line = line / distance.clamp(min=1e-6)
    offset = (gripper - thing)[:, :2]
    along = (offset * line).sum(-1, keepdim=True)
    aside = offset - along * line
    behind = (along < -0.02) & (norm(aside) < 0.03)
    low, high = thing[:, 2:], thing[:, 2:] + 0.12
    start = thing[:, :2] - 0.08 * line
    ahead = gripper[:, :2] - aside + line * (SPEED * distance).clamp(max=0.04)
    over, down = gripper[:, 2:] > high - 0.04, gripper[:, 2:] < low + 0.03
    pushing = torch.cat((torch.where(down, ahead, start), low), dim=-1)
    coming = torch.cat((torch.where(over, start, gripper[:, :2]), high), dim=-1)
    target = torch.where(behind, pushing, coming)
    return toward(state, torch.where(distance < 0.02, gripper, target))


def pick_and_place(state: State) -> torch.Tensor:
    """Come down over the object with open fingers, close them, and carry it to the goal."""
    gripper, thing, goal = state["gripper_position"], state["object_position"], state["goal"]
    offset = thing - gripper
    over = norm(offset[:, :2]) < 0.02
    held = over & (offset[:, 2:].abs() < 0.02)
    closed = state["finger_position"].sum(-1, keepdim=True) < 0.052
    above = thing + thing.new_tensor([0.0, 0.0, 0.08])
    target = torch.where(held, torch.where(closed, gripper + goal - thing, thing), torch.where(over, thing, above))
    return toward(state, target, torch.where(held, CLOSED, OPEN))


def toward(state: State, target: torch.Tensor, fingers: torch.Tensor | float = CLOSED) -> torch.Tensor:
    """The action float32 `(N, 4)` that brings the gripper's target to `target` `(N, 3)`."""
    shift = ((target - state["gripper_position"]) / REACH).clamp(-1.0, 1.0)
    fingers = torch.as_tensor(fingers, dtype=shift.dtype, device=shift.device).expand(len(shift), 1)
    return torch.cat((shift, fingers), dim=-1).to(torch.float32)


def norm(vector: torch.Tensor) -> torch.Tensor:
    """Length over the last axis, which is kept."""
    return (vector * vector).sum(-1, keepdim=True).sqrt()


ORACLES: dict[str, Oracle] = {"FetchReach-v4": reach, "FetchPush-v4": push, "FetchPickAndPlace-v4": pick_and_place}


def fetch_oracle(env_id: str) -> Oracle:
    """The scripted policy of a task.

    Raises:
        UnknownNameError: it has none.
    """
    if env_id not in ORACLES:
        raise unknown_name("task with an oracle", env_id, ORACLES)
    return ORACLES[env_id]
