"""An oracle that solves levels by looking at upstream's own objects, and the shortest plans it finds."""

import heapq
from collections import deque

import numpy as np
from upstream_twins import STEPS, cells_of

from cairngym.envs.minigrid.cells import DONE, DROP, FORWARD, LEFT, PICKUP, RIGHT, TOGGLE


def index_of(env, thing):
    """Where an object lies (by identity), as a position."""
    place = next(i for i, other in enumerate(env.grid.grid) if other is thing)
    return place % env.width, place // env.width


def steps_between(env, start, goal, closed=()):
    """Cells from one position to another past walls and lava; None where there is no way."""
    steps, queue = {tuple(start): 0}, deque([tuple(start)])
    while queue:
        here = queue.popleft()
        if here == tuple(goal):
            return steps[here]
        for offset in STEPS:
            there = (int(here[0] + offset[0]), int(here[1] + offset[1]))
            inside = 0 <= there[0] < env.width and 0 <= there[1] < env.height
            if not inside or there in steps or there in closed:
                continue
            thing = env.grid.get(*there)
            if thing is None or thing.type not in ("wall", "lava") or there == tuple(goal):
                steps[there] = steps[here] + 1
                queue.append(there)
    return None


def key_of(env, door):
    """Where the key of a door lies, and whether a box hides it."""
    for cell in cells_of(env, "key", "box"):
        thing = env.grid.get(*cell)
        key = thing if thing.type == "key" else thing.contains
        if key is not None and key.type == "key" and key.color == env.grid.get(*door).color:
            return cell, thing.type == "box"
    raise LookupError(f"no key for the door at {door}")


def needed_doors(env, start, goal):
    """Locked doors without which there is no way, nearest first."""
    locked = [cell for cell in cells_of(env, "door") if env.grid.get(*cell).is_locked]
    needed = [door for door in locked if door != goal and steps_between(env, start, goal, closed={door}) is None]
    return sorted(needed, key=lambda door: steps_between(env, start, door))


def chores(env):
    """What there is to be done, in order: (what, position)."""
    kind = type(env).__name__
    if kind == "RedBlueDoorEnv":
        return [("open", index_of(env, env.red_door)), ("open", index_of(env, env.blue_door))]
    if kind == "PutNearEnv":
        return [("carry", tuple(map(int, env.move_pos))), ("put near", tuple(map(int, env.target_pos)))]
    if kind in ("GoToDoorEnv", "GoToObjectEnv"):
        return [("stand beside", tuple(map(int, env.target_pos)))]
    if kind == "UnlockEnv":
        goal = ("open", index_of(env, env.door))
        return [("carry", key_of(env, goal[1])[0]), goal]
    goal = ("carry", index_of(env, env.obj)) if hasattr(env, "obj") else ("reach", cells_of(env, "goal")[0])
    work = []
    for door in needed_doors(env, env.agent_pos, goal[1]):
        key, boxed = key_of(env, door)
        work += [("clear", key)] * boxed + [("carry", key), ("unlock", door)]
    return [*work, goal]


def planned_steps(env):
    """Steps of the shortest plan, from chore to chore."""
    place, total = tuple(env.agent_pos), 0
    for _, position in chores(env):
        total += max(1, steps_between(env, place, position))
        place = position
    return total


def route(env, arrived):
    """Actions along the shortest way, with the fewest turns, to a state with `arrived(x, y, direction)`."""
    start = (*map(int, env.agent_pos), int(env.agent_dir))
    queue, seen = [(0, start, ())], set()
    while queue:
        cost, state, actions = heapq.heappop(queue)
        if arrived(*state):
            return actions
        if state in seen:
            continue
        seen.add(state)
        x, y, direction = state
        heapq.heappush(queue, (cost + 1, (x, y, (direction + 3) % 4), (*actions, LEFT)))
        heapq.heappush(queue, (cost + 1, (x, y, (direction + 1) % 4), (*actions, RIGHT)))
        ahead = (int(x + STEPS[direction][0]), int(y + STEPS[direction][1]))
        if not (0 < ahead[0] < env.width - 1 and 0 < ahead[1] < env.height - 1):
            continue
        thing = env.grid.get(*ahead)
        if thing is None or thing.type in ("goal", "floor") or (thing.type == "door" and not thing.is_locked):
            heapq.heappush(queue, (cost + 1000, (*ahead, direction), (*actions, FORWARD)))
    raise LookupError("there is no way")


def walk(env, arrived):
    """Yield the actions of a route, opening doors on the way."""
    for action in route(env, arrived):
        ahead = env.grid.get(*env.front_pos)
        if action == FORWARD and ahead is not None and ahead.type == "door" and not ahead.is_open:
            yield TOGGLE
        yield action


def facing(position):
    """Stand beside a position and look at it."""
    return lambda x, y, direction: (x + STEPS[direction][0], y + STEPS[direction][1]) == tuple(position)


def near_target(env):
    """Look at a free square beside PutNear's target."""

    def arrived(x, y, direction):
        ahead = np.array((x, y)) + STEPS[direction]
        return env.grid.get(*map(int, ahead)) is None and max(abs(ahead - env.target_pos)) <= 1

    return arrived


def empty_hands(env):
    """Yield what puts down the thing in hand on the next free square."""
    if env.carrying is not None:
        while env.grid.get(*env.front_pos) is not None:
            yield RIGHT
        yield DROP


LAST = {"clear": TOGGLE, "carry": PICKUP, "unlock": TOGGLE, "open": TOGGLE, "stand beside": DONE}


def solve(env):
    """Yield actions that solve an upstream env; it must be stepped with each before the next is asked for."""
    for what, position in chores(env):
        if what == "carry":
            yield from empty_hands(env)
        if what == "reach":
            yield from walk(env, lambda x, y, _, goal=position: (x, y) == goal)
        elif what == "put near":
            yield from walk(env, near_target(env))
            yield DROP
        else:
            yield from walk(env, facing(position))
            yield LAST[what]
