"""Every id does exactly what upstream minigrid does: views, rewards, flags, resets."""

import zlib

import numpy as np
import pytest
from minigrid.core.world_object import Key
from upstream_twins import (
    STEPS,
    Twins,
    cells_of,
    fresh_references,
    random_actions,
    stand_before,
)

from cairngym.envs.minigrid import ids
from cairngym.envs.minigrid.cells import DONE, DROP, FORWARD, LEFT, PICKUP, RIGHT, TOGGLE

LEVELS, LENGTH = 12, 120
EASY = ("Empty-Random-5x5", "Fetch-5x5-N2", "GoToDoor-5x5", "GoToObject-6x6-N2", "Empty-5x5")
"""Families whose tasks random play solves within the test."""


@pytest.mark.parametrize("env_id", ids())
def test_random_play(env_id):
    references = fresh_references(env_id, LEVELS)
    for i, env in enumerate(references[-5:]):
        env.step_count = max(0, env.max_steps - 20 * i - 3)
    twins = Twins(env_id, references)
    rng = np.random.default_rng(zlib.crc32(env_id.encode()))
    for _ in range(LENGTH):
        twins.step(random_actions(references, rng))
    assert twins.ends >= 5
    if any(name in env_id for name in EASY):
        assert twins.successes > 0


def prepare_success(env):
    """Put an upstream env one action before success; returns the action, None where that can't be."""
    kind = type(env).__name__
    if hasattr(env, "success_pos"):
        return FORWARD if stand_before(env, env.success_pos) else None
    if kind == "PutNearEnv":
        return DROP if carry_to(env, near=True) else None
    if kind == "FetchEnv":
        return PICKUP if stand_before_named(env, env.targetType, env.targetColor) else None
    if kind in ("GoToDoorEnv", "GoToObjectEnv"):
        return DONE if stand_before(env, env.target_pos) else None
    if kind == "RedBlueDoorEnv":
        env.red_door.is_open = True
        return TOGGLE if stand_before(env, place_of(env, env.blue_door)) else None
    if kind == "UnlockEnv":
        env.carrying = Key(env.door.color)
        return TOGGLE if stand_before(env, env.door.cur_pos) else None
    if hasattr(env, "obj"):
        return PICKUP if stand_before(env, env.obj.cur_pos) else None
    return FORWARD if stand_before(env, cells_of(env, "goal")[0]) else None


def place_of(env, thing):
    index = next(i for i, other in enumerate(env.grid.grid) if other is thing)
    return index % env.width, index // env.width


def stand_before_named(env, kind, color):
    found = [cell for cell in cells_of(env, kind) if env.grid.get(*cell).color == color]
    return stand_before(env, found[0])


def carry_to(env, near):
    """Let PutNear's agent hold its object before a free square, near the target or not."""
    env.carrying = env.grid.get(*env.move_pos)
    env.grid.set(*env.move_pos, None)
    for x in range(1, env.width - 1):
        for y in range(1, env.height - 1):
            beside = max(abs(x - env.target_pos[0]), abs(y - env.target_pos[1])) <= 1
            if env.grid.get(x, y) is None and beside == near and stand_before(env, (x, y)):
                return True
    return False


@pytest.mark.parametrize("env_id", [name for name in ids() if "Playground" not in name])
def test_success(env_id):
    references = fresh_references(env_id, 8)
    actions = [prepare_success(env) for env in references]
    ready = [i for i, action in enumerate(actions) if action is not None]
    assert len(ready) >= 4
    for env in references:
        env.step_count = 7
    # The last one succeeds in the very step of its time limit.
    references[ready[-1]].step_count = references[ready[-1]].max_steps - 1
    twins = Twins(env_id, references)
    actions = [DROP if action is None and int(references[0].action_space.n) > 3 else action or 0 for action in actions]
    _, reward, terminated, truncated, info = twins.step(np.array(actions))
    assert info["success"][ready].all()
    assert terminated[ready].all()
    assert truncated[ready[-1]]
    assert float(reward[ready[-1]]) == np.float32(1 - 0.9)


def prepare_failures(env):
    """Yield changes of an upstream env that make the next action fatal, as (name, action)."""
    kind = type(env).__name__
    if cells_of(env, "lava") and any(stand_before(env, cell) for cell in cells_of(env, "lava")):
        yield FORWARD
    if kind == "MemoryEnv" and stand_before(env, env.failure_pos):
        yield FORWARD
    if kind == "FetchEnv":
        named = (env.targetType, env.targetColor)
        wrong = [c for c in cells_of(env, "key", "ball") if (env.grid.get(*c).type, env.grid.get(*c).color) != named]
        if wrong and stand_before(env, wrong[0]):
            yield PICKUP
    if kind in ("GoToDoorEnv", "GoToObjectEnv"):
        yield TOGGLE
        if sum(np.abs(np.array(env.agent_pos) - env.target_pos)) > 1:
            yield DONE
    if kind == "RedBlueDoorEnv" and stand_before(env, place_of(env, env.blue_door)):
        yield TOGGLE
        env.blue_door.is_open = True
        if stand_before(env, place_of(env, env.red_door)):
            yield TOGGLE
    if kind == "PutNearEnv":
        if stand_before(env, env.target_pos):
            yield PICKUP
        if carry_to(env, near=False):
            yield DROP
        if stand_before(env, env.target_pos):
            yield DROP
    if kind == "DynamicObstaclesEnv" and stand_before(env, env.obstacles[0].cur_pos):
        yield FORWARD


FATAL = ("Lava", "DistShift", "Memory", "Fetch", "GoTo", "RedBlue", "PutNear", "Dynamic")


@pytest.mark.parametrize("env_id", [name for name in ids() if any(word in name for word in FATAL)])
def test_failure(env_id):
    seen = 0
    for variant in range(3):
        references = fresh_references(env_id, 8, seed=50)
        actions = np.full(8, -1)
        for i, env in enumerate(references):
            for number, action in enumerate(prepare_failures(env)):
                if number == variant:
                    actions[i] = action
                    break
        fatal = actions >= 0
        if not fatal.any():
            break
        twins = Twins(env_id, references)
        _, reward, terminated, _, info = twins.step(np.where(fatal, actions, LEFT))
        assert terminated[fatal].all()
        assert not info["success"][fatal].any()
        assert (reward[fatal] == (-1.0 if "Dynamic" in env_id else 0.0)).all()
        seen += int(fatal.sum())
    assert seen >= 4


POKED = (
    "BlockedUnlockPickup-v0", "DoorKey-8x8-v0", "KeyCorridorS4R3-v0", "LockedRoom-v0", "MultiRoom-N4-S5-v1",
    "ObstructedMaze-1Dlhb-v0", "ObstructedMaze-2Dlh-v0", "ObstructedMaze-Full-v0", "ObstructedMaze-Full-v1",
    "Playground-v0", "UnlockPickup-v0", "MemoryS9-v0", "PutNear-8x8-N3-v0", "GoToDoor-8x8-v0",
)  # fmt: skip


@pytest.mark.parametrize("name", POKED)
@pytest.mark.parametrize("hand", ["empty", "right key", "wrong key"])
def test_every_object_is_used(name, hand):
    env_id = "MiniGrid-" + name
    things = cells_of(fresh_references(env_id, 1)[0], "door", "key", "ball", "box")
    references = fresh_references(env_id, len(things))
    for env, cell in zip(references, things, strict=True):
        env.reset(seed=1000)
        stand_before(env, cell)
        color = getattr(env.grid.get(*cell), "color", "red")
        if hand != "empty":
            env.carrying = Key(color if hand == "right key" else next(c for c in ("red", "blue") if c != color))
    twins = Twins(env_id, references)
    for action in (TOGGLE, PICKUP, DROP, TOGGLE, PICKUP, FORWARD, RIGHT, DROP, TOGGLE, LEFT, PICKUP, FORWARD, DROP):
        twins.step(np.full(len(references), action))


MODES = ("SameStep", "NextStep", "Disabled")
RESET_IDS = ("Fetch-8x8-N3-v0", "GoToObject-8x8-N2-v0", "LavaGapS5-v0", "Dynamic-Obstacles-8x8-v0", "DoorKey-5x5-v0",
             "PutNear-6x6-N2-v0", "RedBlueDoors-6x6-v0")  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RESET_IDS)
def test_autoreset_modes(name, mode):
    references = fresh_references("MiniGrid-" + name, 12)
    for i, env in enumerate(references[::2]):
        env.step_count = env.max_steps - 2 - i
    twins = Twins("MiniGrid-" + name, references, mode=mode, bank_size=16)
    rng = np.random.default_rng(7)
    for t in range(60):
        twins.step(random_actions(references, rng))
        if mode == "Disabled" and t % 5 == 4 and twins.over.any():
            over = twins.over.copy()
            obs, _ = twins.env.reset(options={"reset_mask": over})
            twins.reseed(np.flatnonzero(over))
            twins.over[:] = False
            twins.compare_views(obs, "after reset_mask")
    assert twins.ends >= 6


def test_the_agent_moves_as_the_reference_says():
    # The table of directions that the tests place agents by is upstream's own.
    from minigrid.core.constants import DIR_TO_VEC

    assert np.array_equal(STEPS, DIR_TO_VEC)
