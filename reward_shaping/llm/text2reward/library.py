"""Rewards for tasks that are not packaged here, as examples of how one is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from cairngym.envs.data import StateField

PLACE = (3,)
SPOT = (2,)


@dataclass(frozen=True, kw_only=True)
class Example:
    """A task in a sentence, what is measured in it, and a reward for it."""

    instruction: str
    tags: str
    """Further words that tell what kind of task it is; only searched."""
    fields: Mapping[str, StateField]
    source: str

    @property
    def document(self) -> str:
        """What a task is compared with."""
        return f"{self.instruction} {self.tags}"


def _metres(shape: tuple[int, ...], description: str) -> StateField:
    return StateField(shape=shape, unit="m", description=description)


def _cells(description: str) -> StateField:
    return StateField(shape=SPOT, unit="cell", description=description, dtype=torch.int64)


def _code(description: str) -> StateField:
    return StateField(shape=(), unit="", description=description, dtype=torch.int64)


LIBRARY = (
    Example(
        instruction="Bring the tip of the welding torch to the mark.",
        tags="move reach arm gripper hand tip goal target position",
        fields={"tip": _metres(PLACE, "Where the tip is."), "mark": _metres(PLACE, "Where it is wanted.")},
        source='''\
def reward(state, action, next_state, memory):
    """One stage: come nearer. Pay for the change of distance, so that waiting earns nothing."""
    before = torch.linalg.norm(state.tip - state.mark, dim=-1)
    after = torch.linalg.norm(next_state.tip - next_state.mark, dim=-1)
    nearer = 5.0 * (before - after)
    effort = -0.01 * (action * action).sum(dim=-1)
    return nearer + effort, {"nearer": nearer, "effort": effort}
''',
    ),
    Example(
        instruction="Shove the crate over the floor onto the pallet.",
        tags="push slide block puck object table goal behind contact",
        fields={
            "paddle": _metres(PLACE, "Where the paddle is."),
            "crate": _metres(PLACE, "Where the crate's centre is."),
            "pallet": _metres(PLACE, "Where the crate is wanted."),
        },
        source='''\
def potential(paddle, crate, pallet):
    """How well things stand: the crate near the pallet counts most, then the paddle behind the crate."""
    way = pallet - crate
    left = torch.linalg.norm(way, dim=-1, keepdim=True)
    behind = crate - 0.08 * way / (left + 1e-6)
    gap = torch.linalg.norm(paddle - behind, dim=-1)
    return -4.0 * left.squeeze(-1), -torch.clamp(gap, max=0.5)


def reward(state, action, next_state, memory):
    crate_before, paddle_before = potential(state.paddle, state.crate, state.pallet)
    crate_after, paddle_after = potential(next_state.paddle, next_state.crate, next_state.pallet)
    deliver = crate_after - crate_before
    approach = paddle_after - paddle_before
    return deliver + approach, {"deliver": deliver, "approach": approach}
''',
    ),
    Example(
        instruction="Take hold of the cup and set it on the shelf.",
        tags="grasp pick lift place carry block object gripper fingers air height",
        fields={
            "hand": _metres(PLACE, "Where the hand is."),
            "cup": _metres(PLACE, "Where the cup is."),
            "shelf": _metres(PLACE, "Where the cup is wanted."),
            "opening": _metres((), "How far the fingers are open."),
        },
        source='''\
def score(hand, cup, shelf, opening):
    """Stages: reach the cup with open fingers, close them, carry the cup. Each adds to the ones before."""
    to_cup = torch.linalg.norm(hand - cup, dim=-1)
    to_shelf = torch.linalg.norm(cup - shelf, dim=-1)
    reach = 1.0 - torch.tanh(5.0 * to_cup)
    near = to_cup < 0.03
    grip = torch.where(near, 1.0 - torch.clamp(opening / 0.08, 0.0, 1.0), torch.zeros_like(opening))
    held = near & (opening < 0.04)
    carry = torch.where(held, 1.0 - torch.tanh(3.0 * to_shelf), torch.zeros_like(to_shelf))
    return reach, grip, carry


def reward(state, action, next_state, memory):
    old_reach, old_grip, old_carry = score(state.hand, state.cup, state.shelf, state.opening)
    new_reach, new_grip, new_carry = score(next_state.hand, next_state.cup, next_state.shelf, next_state.opening)
    reach = new_reach - old_reach
    grip = 0.5 * (new_grip - old_grip)
    carry = 3.0 * (new_carry - old_carry)
    return reach + grip + carry, {"reach": reach, "grip": grip, "carry": carry}
''',
    ),
    Example(
        instruction="Turn the tap by its lever until it is open.",
        tags="door handle latch hinge valve open rotate angle pull hand palm nail hammer",
        fields={
            "hand": _metres(PLACE, "Where the hand is."),
            "lever": _metres(PLACE, "Where the end of the lever is."),
            "angle": StateField(shape=(), unit="rad", description="How far the tap is turned; open at 1.5."),
        },
        source='''\
def reward(state, action, next_state, memory):
    """Two stages: to the lever, then turning, which counts more."""
    before = torch.linalg.norm(state.hand - state.lever, dim=-1)
    after = torch.linalg.norm(next_state.hand - next_state.lever, dim=-1)
    approach = 2.0 * (before - after)
    turned = torch.clamp(next_state.angle, 0.0, 1.5) - torch.clamp(state.angle, 0.0, 1.5)
    turn = 4.0 * turned / 1.5
    return approach + turn, {"approach": approach, "turn": turn}
''',
    ),
    Example(
        instruction="Go and fetch the parcel from the yard, then hand it in at the counter.",
        tags="grid cell agent pick up key object ball box carrying mission get go",
        fields={
            "walker": _cells("Column and row of the walker."),
            "parcel": _cells("Column and row of the parcel."),
            "counter": _cells("Column and row of the counter."),
            "loaded": _code("1 once the parcel is carried, else 0."),
        },
        source='''\
def steps(a, b):
    return (a.float() - b.float()).abs().sum(dim=-1)


def standing(walker, parcel, counter, loaded):
    """Stage 1 counts up to 1 while the parcel is fetched, stage 2 from 1 to 2 while it is brought."""
    fetch = 1.0 - torch.clamp(steps(walker, parcel) / 20.0, max=1.0)
    bring = 2.0 - torch.clamp(steps(walker, counter) / 20.0, max=1.0)
    return torch.where(loaded == 1, bring, fetch)


def reward(state, action, next_state, memory):
    """Pay for reaching a stage further than ever in this episode, so that going back and forth earns nothing."""
    before = standing(state.walker, state.parcel, state.counter, state.loaded)
    after = standing(next_state.walker, next_state.parcel, next_state.counter, next_state.loaded)
    best = memory.get("best", before)
    gain = torch.clamp(after - best, min=0.0)
    memory["best"] = torch.maximum(best, after)
    return gain, {"gain": gain}
''',
    ),
    Example(
        instruction="Press the switch in the hall, then walk through the gate to the exit.",
        tags="grid cell agent mission door key locked unlock open toggle goal square rooms carrying",
        fields={
            "board": StateField(
                shape=(12, 9), unit="tile", description="0 floor, 1 wall, 2 switch, 3 exit.", dtype=torch.uint8
            ),
            "walker": _cells("Column and row of the walker."),
            "gate": _code("0 shut, 1 open."),
        },
        source='''\
def locate(board, tile):
    """Column and row of the only tile of a kind, by a mask."""
    mask = (board == tile).float()
    column = (mask * torch.arange(12).view(1, 12, 1)).sum(dim=(1, 2))
    row = (mask * torch.arange(9).view(1, 1, 9)).sum(dim=(1, 2))
    return torch.stack([column, row], dim=-1)


def standing(board, walker, gate):
    opened = gate == 1
    aim = torch.where(opened[:, None], locate(board, 3), locate(board, 2))
    distance = (walker.float() - aim).abs().sum(dim=-1)
    return opened.float(), -distance / 20.0


def reward(state, action, next_state, memory):
    opened, near = standing(state.board, state.walker, state.gate)
    opened_after, near_after = standing(next_state.board, next_state.walker, next_state.gate)
    unlock = 0.5 * (opened_after - opened)
    same = opened == opened_after
    approach = torch.where(same, near_after - near, torch.zeros_like(near))
    return unlock + approach, {"unlock": unlock, "approach": approach}
''',
    ),
    Example(
        instruction="Drive the cart to the charger without hitting the racks.",
        tags="navigate robot maze wall obstacle collision heading lidar path position goal drive move",
        fields={
            "cart": _metres(SPOT, "Where the cart is."),
            "heading": StateField(shape=(), unit="rad", description="Where it looks, counter-clockwise from x."),
            "charger": _metres(SPOT, "Where the charger is."),
            "clearance": _metres((), "Distance to the nearest rack."),
        },
        source="""\
def reward(state, action, next_state, memory):
    way = next_state.charger - next_state.cart
    before = torch.linalg.norm(state.charger - state.cart, dim=-1)
    after = torch.linalg.norm(way, dim=-1)
    nearer = before - after
    bearing = torch.atan2(way[:, 1], way[:, 0]) - next_state.heading
    facing = 0.02 * (torch.cos(bearing) - 1.0)
    danger = -0.2 * torch.clamp(0.3 - next_state.clearance, min=0.0)
    return nearer + facing + danger, {"nearer": nearer, "facing": facing, "danger": danger}
""",
    ),
    Example(
        instruction="Visit the north buoy and the south buoy in any order, and keep off the reef at all times.",
        tags="temporal logic formula region sequence patrol always eventually avoid until satisfy",
        fields={
            "boat": _metres(SPOT, "Where the boat is."),
            "buoys": _metres((2, 2), "Where the north and the south buoy are."),
            "reef": _metres(PLACE, "The reef: x, y and radius."),
        },
        source='''\
def reward(state, action, next_state, memory):
    """Remember which buoys were visited; pay once for each visit, and for coming nearer to one that is left."""
    north = memory.get("north", 0.0)
    south = memory.get("south", 0.0)
    old = torch.linalg.norm(state.boat[:, None] - state.buoys, dim=-1)
    new = torch.linalg.norm(next_state.boat[:, None] - next_state.buoys, dim=-1)
    north_after = torch.maximum(north, (new[:, 0] < 0.5).float())
    south_after = torch.maximum(south, (new[:, 1] < 0.5).float())
    memory["north"] = north_after
    memory["south"] = south_after
    visits = (north_after - north) + (south_after - south)
    aim = torch.where(north > 0, old[:, 1], old[:, 0])
    aim_after = torch.where(north > 0, new[:, 1], new[:, 0])
    done = (north > 0) & (south > 0)
    nearer = torch.where(done, torch.zeros_like(aim), 0.2 * (aim - aim_after))
    off = torch.linalg.norm(next_state.boat - next_state.reef[:, :2], dim=-1) - next_state.reef[:, 2]
    reef = -torch.clamp(0.2 - off, min=0.0)
    return visits + nearer + reef, {"visits": visits, "nearer": nearer, "reef": reef}
''',
    ),
    Example(
        instruction="Run forwards as fast as the legs allow and do not fall.",
        tags="walk ant legs torso locomotion velocity upright joint torque",
        fields={
            "velocity": StateField(shape=PLACE, unit="m/s", description="How fast the body moves."),
            "height": _metres((), "How high the body is."),
        },
        source="""\
def reward(state, action, next_state, memory):
    speed = 0.3 * torch.clamp(next_state.velocity[:, 0], -1.0, 3.0)
    upright = torch.where(next_state.height > 0.3, torch.zeros_like(speed), torch.full_like(speed, -0.5))
    effort = -0.02 * (action * action).mean(dim=-1)
    return speed + upright + effort, {"speed": speed, "upright": upright, "effort": effort}
""",
    ),
    Example(
        instruction="Roll the die in the hand until the wanted face is on top.",
        tags="turn pen rotate orientation direction fingers hand manipulate axis quaternion",
        fields={
            "normal": StateField(shape=PLACE, unit="1", description="Unit vector out of the wanted face."),
            "die": _metres(PLACE, "Where the die is."),
            "palm": _metres(PLACE, "Where the palm is."),
        },
        source='''\
def reward(state, action, next_state, memory):
    """The vertical part of the normal is the cosine of the angle that is left to turn."""
    turned = next_state.normal[:, 2] - state.normal[:, 2]
    dropped = torch.linalg.norm(next_state.die - next_state.palm, dim=-1) > 0.1
    held = torch.where(dropped, torch.full_like(turned, -0.2), torch.zeros_like(turned))
    return turned + held, {"turned": turned, "held": held}
''',
    ),
)
"""None of these tasks, nor their measurements, are packaged."""
