"""Plans are shortest, and progress follows an oracle that solves the level."""

import numpy as np
import pytest
import torch
from solver import chores, planned_steps, solve
from upstream_twins import Twins, fresh_references, stand_before

import cairngym
from cairngym.envs.minigrid.cells import FORWARD, LEFT, RIGHT

LEVELS = 12
SOLVED = (
    "DoorKey-5x5-v0", "DoorKey-8x8-v0", "KeyCorridorS3R2-v0", "KeyCorridorS4R3-v0", "ObstructedMaze-1Dl-v0",
    "ObstructedMaze-1Dlh-v0", "ObstructedMaze-2Dl-v0", "ObstructedMaze-2Dlh-v0", "Unlock-v0", "UnlockPickup-v0",
    "MultiRoom-N2-S4-v0", "MultiRoom-N4-S5-v1", "MultiRoom-N6-v0", "RedBlueDoors-6x6-v0", "RedBlueDoors-8x8-v0",
    "PutNear-6x6-N2-v0", "PutNear-8x8-N3-v0", "LockedRoom-v0", "FourRooms-v0", "LavaGapS7-v0", "SimpleCrossingS9N3-v0",
    "LavaCrossingS9N2-v0", "Empty-Random-6x6-v0", "GoToDoor-8x8-v0", "GoToObject-8x8-N2-v0",
)  # fmt: skip
BEFORE_DONE = ("GoTo",)
"""Families whose last subgoal is reached one action before success."""


@pytest.mark.parametrize("name", SOLVED)
def test_planned_steps_are_the_oracles(name):
    references = fresh_references("MiniGrid-" + name, LEVELS)
    twins = Twins("MiniGrid-" + name, references)
    state = twins.env.state
    radius = 1 if "GoTo" in name else 0
    assert state["planned"].tolist() == [planned_steps(env) for env in references]
    assert torch.equal(state["remaining"], state["planned"]) or radius
    assert state["stage"].tolist() == [0] * LEVELS or radius


def follow(env_id, count=LEVELS):
    """Solve levels beside their twins; yields the row, stage, remaining steps, progress and success of each step."""
    references = fresh_references(env_id, count)
    twins = Twins(env_id, references, mode="Disabled")
    oracles = [solve(env) for env in references]
    history = [[] for _ in references]
    for _ in range(references[0].max_steps):
        actions = np.array([LEFT if twins.over[i] else next(oracles[i]) for i in range(count)])
        over = twins.over
        *_, info = twins.step(actions)
        state = info["final_state"]
        values = zip(
            state["stage"].tolist(), state["remaining"].tolist(), twins.env.progress(state).tolist(),
            info["success"].tolist(), strict=True,
        )  # fmt: skip
        for i, value in enumerate(values):
            if not over[i]:
                history[i].append(value)
        if twins.over.all():
            break
    assert twins.over.all(), "the oracle did not solve every level"
    return history


@pytest.mark.parametrize("name", SOLVED)
def test_progress_follows_the_oracle(name):
    env_id = "MiniGrid-" + name
    work = [len(chores(env)) for env in fresh_references(env_id, LEVELS)]
    planned = [planned_steps(env) for env in fresh_references(env_id, LEVELS)]
    for life, subgoals, steps in zip(follow(env_id), work, planned, strict=True):
        stages, remaining, progress, success = map(list, zip(*life, strict=True))
        assert success == [False] * (len(life) - 1) + [True]
        assert all(0.0 <= value <= 1.0 for value in progress)
        assert progress[-1] == 1.0
        assert remaining[-1] == 0
        assert stages[-1] == subgoals
        if not name.startswith(BEFORE_DONE):
            assert all(value < 1.0 for value in progress[:-1]), "progress is one before success"
            assert list(dict.fromkeys([0, *stages])) == list(range(subgoals + 1))
        if "Obstructed" not in name and "PutNear" not in name and "KeyCorridor" not in name:
            assert all(a >= b for a, b in zip([steps, *remaining], remaining, strict=False)), "the way grew longer"


PLAYED = (
    "DoorKey-8x8-v0", "KeyCorridorS4R3-v0", "PutNear-6x6-N2-v0", "PutNear-8x8-N3-v0", "Playground-v0", "LavaGapS7-v0",
    "ObstructedMaze-Full-v1", "RedBlueDoors-8x8-v0", "BlockedUnlockPickup-v0", "Dynamic-Obstacles-8x8-v0",
    "MemoryS9-v0", "Fetch-8x8-N3-v0",
)  # fmt: skip


@pytest.mark.parametrize("name", PLAYED)
def test_progress_stays_in_the_unit_interval(name):
    env = cairngym.make("MiniGrid-" + name, num_envs=64, bank_size=16, seed=1, threads=1)
    env.reset()
    generator = torch.Generator().manual_seed(0)
    actions = env.single_action_space.n
    for _ in range(150):
        *_, info = env.step(torch.randint(int(actions), (64,), generator=generator))
        for state in (info["final_state"], env.state):
            progress = env.progress(state)
            assert bool(((progress >= 0) & (progress <= 1)).all())
            assert bool((state["remaining"] >= 0).all())
            assert bool((state["remaining"] <= state["planned"]).all())
        assert bool((env.progress(info["final_state"])[info["success"]] == 1).all())


def test_progress_without_a_target_is_zero():
    env = cairngym.make("MiniGrid-Playground-v0", bank_size=4)
    env.reset()
    assert env.progress().tolist() == [0.0]
    assert env.state["planned"].tolist() == [0]


def test_distance_counts_cells_to_the_next_subgoal():
    references = fresh_references("MiniGrid-DoorKey-8x8-v0", 1)
    env = references[0]
    key = next(thing for thing in env.grid.grid if thing is not None and thing.type == "key")
    stand_before(env, key.cur_pos)
    twins = Twins("MiniGrid-DoorKey-8x8-v0", references)
    assert twins.env.state["distance"].tolist() == [1]
    before = twins.env.state["remaining"].item()
    for action in (LEFT, RIGHT):
        twins.step(np.array([action]))
        assert twins.env.state["remaining"].item() == before, "turning is no progress"


def test_dropping_the_key_takes_the_progress_back():
    references = fresh_references("MiniGrid-DoorKey-8x8-v0", 1)
    env = references[0]
    key = next(thing for thing in env.grid.grid if thing is not None and thing.type == "key")
    stand_before(env, key.cur_pos)
    twins = Twins("MiniGrid-DoorKey-8x8-v0", references)
    stages = []
    for action in (3, 4, 3):
        twins.step(np.array([action]))
        stages.append(twins.env.state["stage"].item())
    assert stages == [1, 0, 1]


def test_an_unlocked_door_stays_behind_the_agent():
    references = fresh_references("MiniGrid-DoorKey-8x8-v0", 1)
    env = references[0]
    twins = Twins("MiniGrid-DoorKey-8x8-v0", references)
    oracle = solve(env)
    while twins.env.state["stage"].item() < 2:
        twins.step(np.array([next(oracle)]))
    for action in (RIGHT, RIGHT, 4, 5, FORWARD):
        twins.step(np.array([action]))
        assert twins.env.state["stage"].item() == 2
