"""Levels generated in the kernel follow upstream's distribution, can be solved, and are planned like any other."""

import dataclasses
from collections import deque
from functools import cache, partial

import contract
import numpy as np
import pytest
import torch
from minigrid.envs import MultiRoomEnv
from scipy.stats import chi2_contingency

import cairngym
from cairngym.envs.core import TensorEnv
from cairngym.envs.minigrid import ids
from cairngym.envs.minigrid.cells import BALL, BOX, CLOSED, DOOR, EMPTY, GOAL, KEY, LAVA, LOCKED, WALL
from cairngym.envs.minigrid.families import get_family
from cairngym.envs.minigrid.levels import generate, make_reference, read_level
from cairngym.envs.minigrid.procedural import key_corridor, multi_room
from cairngym.envs.minigrid.task import MiniGridTask
from cairngym.envs.minigrid.world import MiniGridWorld

FAMILIES = ("Empty", "DoorKey", "FourRooms", "MultiRoom", "KeyCorridor", "LavaGap", "LavaCrossing", "SimpleCrossing")
IDS = [env_id for env_id in ids() if env_id.removeprefix("MiniGrid-").startswith(FAMILIES)]
COMPARED = {
    "MiniGrid-Empty-Random-6x6-v0": 600,
    "MiniGrid-DoorKey-5x5-v0": 600,
    "MiniGrid-DoorKey-8x8-v0": 1200,
    "MiniGrid-FourRooms-v0": 1200,
    "MiniGrid-MultiRoom-N2-S4-v0": 600,
    "MiniGrid-MultiRoom-N4-S5-v1": 800,
    "MiniGrid-MultiRoom-N6-v0": 800,
    "MiniGrid-KeyCorridorS3R1-v0": 600,
    "MiniGrid-KeyCorridorS3R2-v0": 800,
    "MiniGrid-KeyCorridorS4R3-v0": 1000,
    "MiniGrid-LavaGapS7-v0": 600,
    "MiniGrid-LavaCrossingS9N2-v0": 800,
    "MiniGrid-SimpleCrossingS11N5-v0": 1000,
}
"""Ids whose levels are compared with upstream's, and with how many of those."""
GENERATED = 4096
ALPHA = 1e-4
NONE = -1


@dataclasses.dataclass(frozen=True)
class Sample:
    """Levels as arrays: `grid` (L, W, H, 3), `agent` (L, 3), `mission` (L,)."""

    grid: np.ndarray
    agent: np.ndarray
    mission: np.ndarray


@cache
def generated(env_id, count):
    env = cairngym.make(env_id, num_envs=count, levels="procedural", seed=11)
    obs, _ = env.reset(seed=11)
    agent = torch.cat((env.state["agent_pos"], env.state["agent_dir"].unsqueeze(1)), dim=1)
    texts = np.unique(obs["mission"].numpy(), axis=0, return_inverse=True)[1].reshape(-1)
    return env, Sample(env.state["grid"].numpy().astype(int), agent.numpy(), texts)


@cache
def from_upstream(env_id):
    env, count = make_reference(env_id), COMPARED[env_id]
    bank = generate(env_id, 5_000_000, count)
    planes = np.stack((bank.cells & 255, (bank.cells >> 8) & 255, (bank.cells >> 16) & 255), axis=-1)
    grid = planes.reshape(count, env.height, env.width, 3).swapaxes(1, 2)
    # Missions are numbered in the order of their tokens, which is the alphabetical one, on both sides.
    order = np.argsort(np.argsort(bank.missions))
    return Sample(grid, bank.agent, order[bank.mission])


def first_cell(mask):
    """Index of the first marked cell of every level, NONE where there is none."""
    flat = mask.reshape(len(mask), -1)
    return np.where(flat.any(axis=1), flat.argmax(axis=1), NONE)


def coarse(index, height, block):
    """The block of cells that an index x * height + y lies in."""
    return np.where(index < 0, NONE, index // height // block * 100 + index % height // block)


def features(sample):
    """What the levels are compared by: name -> one integer a level."""
    kind, color, state = np.moveaxis(sample.grid, -1, 0)
    height, block = kind.shape[2], 1 if kind.shape[2] <= 9 else 4
    kinds = {"walls": WALL, "lava": LAVA, "keys": KEY, "balls": BALL, "boxes": BOX, "goals": GOAL}
    count = {name: (kind == code).sum(axis=(1, 2)) for name, code in kinds.items()}
    doors = kind == DOOR
    rows = np.arange(len(kind))
    places = {"goal": kind == GOAL, "key": kind == KEY, "ball": kind == BALL, "locked door": doors & (state == LOCKED),
              "first door": doors & (state == CLOSED)}  # fmt: skip
    found = {name: first_cell(mask) for name, mask in places.items()}
    agent = sample.agent[:, 0] * height + sample.agent[:, 1]
    colors = {f"color of {name}": np.where(index < 0, NONE, color.reshape(len(kind), -1)[rows, index])
              for name, index in found.items()}  # fmt: skip
    reached = {f"agent to {name}": np.where(index < 0, NONE, abs(index // height - sample.agent[:, 0])
               + abs(index % height - sample.agent[:, 1])) for name, index in found.items()}  # fmt: skip
    halves = kind[:, : kind.shape[1] // 2] == WALL, kind[:, :, : height // 2] == WALL
    return count | colors | reached | {
        **{f"place of {name}": coarse(index, height, block) for name, index in found.items()},
        "doors": doors.sum(axis=(1, 2)),
        "locked doors": (doors & (state == LOCKED)).sum(axis=(1, 2)),
        "door colors": sum((doors & (color == c)).any(axis=(1, 2)).astype(int) for c in range(6)),
        "walls on the left": halves[0].sum(axis=(1, 2)),
        "walls above": halves[1].sum(axis=(1, 2)),
        "agent": coarse(agent, height, block),
        "direction": sample.agent[:, 2],
        "agent and direction": coarse(agent, height, block) * 4 + sample.agent[:, 2],
        "ahead": kind[rows, sample.agent[:, 0] + np.array([1, 0, -1, 0])[sample.agent[:, 2]],
                      sample.agent[:, 1] + np.array([0, 1, 0, -1])[sample.agent[:, 2]]],
        "mission": sample.mission,
    }  # fmt: skip


def p_value(ours, theirs):
    """Chi-square test that two samples of integers have one distribution; rare values are pooled."""
    values, index = np.unique(np.concatenate((ours, theirs)), return_inverse=True)
    table = np.stack([np.bincount(part, minlength=len(values)) for part in np.split(index, [len(ours)])])
    rare = table.sum(axis=0) * len(theirs) / (len(ours) + len(theirs)) < 5
    table = np.concatenate((table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)), axis=1)
    table = table[:, table.sum(axis=0) > 0]
    return 1.0 if table.shape[1] == 1 else float(chi2_contingency(table).pvalue)


def test_the_comparison_tells_distributions_apart():
    rng = np.random.default_rng(0)
    same = p_value(rng.integers(0, 6, 4096), rng.integers(0, 6, 800))
    other = p_value(rng.integers(0, 6, 4096), np.minimum(rng.integers(0, 7, 800), 5))
    assert same > 0.01
    assert other < ALPHA


@pytest.mark.parametrize("env_id", COMPARED)
def test_levels_are_distributed_as_upstream_makes_them(env_id):
    ours, theirs = generated(env_id, GENERATED)[1], from_upstream(env_id)
    expected = features(theirs)
    found = {name: p_value(values, expected[name]) for name, values in features(ours).items()}
    assert {name: p for name, p in found.items() if p < ALPHA} == {}


@pytest.mark.parametrize("env_id", COMPARED)
def test_every_cell_holds_things_as_often_as_upstream(env_id):
    ours, theirs = generated(env_id, GENERATED)[1].grid[..., 0], from_upstream(env_id).grid[..., 0]
    for kind in (EMPTY, WALL, DOOR, KEY, BALL, GOAL, LAVA):
        here, there = (ours == kind).mean(axis=0), (theirs == kind).mean(axis=0)
        pooled = (here * len(ours) + there * len(theirs)) / (len(ours) + len(theirs))
        spread = np.sqrt(pooled * (1 - pooled) * (1 / len(ours) + 1 / len(theirs)))
        # What is always so on one side must be so on the other; rare cells are left to the test above.
        common = (pooled * len(theirs) >= 5) & ((1 - pooled) * len(theirs) >= 5)
        assert (abs(here - there)[common] < 5.5 * spread[common]).all(), kind
        assert (abs(here - there)[~common] < 0.02).all(), kind


def neighbours(cell):
    return [(cell[0] + dx, cell[1] + dy) for dx, dy in ((1, 0), (0, 1), (-1, 0), (0, -1))]


def solvable(grid, start):
    """Search over (position, has the key) for the goal, or for a cell beside the ball."""
    lock = {tuple(cell[1:2]) for row in grid for cell in row if cell[0] == DOOR and cell[2] == LOCKED}
    first = (start, False)
    seen, queue = {first}, deque([first])
    while queue:
        cell, has_key = queue.popleft()
        beside = [(near, grid[near]) for near in neighbours(cell)]
        if grid[cell][0] == GOAL or any(thing[0] == BALL for _, thing in beside):
            return True
        has_key = has_key or any(thing[0] == KEY and (thing[1],) in lock for _, thing in beside)
        for near, (kind, _, state) in beside:
            is_open = kind in (EMPTY, GOAL) or (kind == KEY and has_key) or (kind == DOOR and state != LOCKED)
            if (is_open or (kind == DOOR and has_key)) and (near, has_key) not in seen:
                seen.add((near, has_key))
                queue.append((near, has_key))
    return False


def distances(grid, start):
    """Steps to every cell, through doors and things, round walls and lava."""
    steps, queue = {start: 0}, deque([start])
    while queue:
        cell = queue.popleft()
        for near in neighbours(cell):
            inside = 0 <= near[0] < grid.shape[0] and 0 <= near[1] < grid.shape[1]
            if inside and grid[near][0] not in (WALL, LAVA) and near not in steps:
                steps[near] = steps[cell] + 1
                queue.append(near)
    return steps


def shortest_plan(grid, start):
    """Steps to the key, to the locked door and to the goal or ball; without a lock straight to the goal."""
    kind = grid[..., 0]
    stops = [tuple(np.argwhere(mask)[0]) for mask in
             (kind == KEY, (kind == DOOR) & (grid[..., 2] == LOCKED), (kind == GOAL) | (kind == BALL))
             if mask.any()]  # fmt: skip
    steps = 0
    for stop in stops:
        steps, start = steps + max(1, distances(grid, start)[stop]), stop
    return steps


@pytest.mark.parametrize("env_id", IDS)
def test_every_level_can_be_solved_and_is_planned(env_id):
    env, sample = generated(env_id, GENERATED if env_id in COMPARED else 64)
    planned = env.state["planned"].tolist()
    for level in range(64):
        start = tuple(sample.agent[level, :2].tolist())
        assert sample.grid[level][start][0] == EMPTY
        assert solvable(sample.grid[level], start)
        assert planned[level] == shortest_plan(sample.grid[level], start)
    assert torch.equal(env.state["remaining"], env.state["planned"])
    assert int(env.state["stage"].max()) == 0


def play(env, steps):
    """Random actions, the same whatever the number of envs; what the first four envs saw."""
    obs, _ = env.reset(seed=5)
    rng = np.random.default_rng(3)
    seen = [obs["image"][:4].clone()]
    for _ in range(steps):
        actions = torch.from_numpy(rng.integers(0, 7, 64))[: env.num_envs]
        obs, reward, *_ = env.step(actions)
        seen += [obs["image"][:4].clone(), reward[:4].clone(), env.state["grid"][:4], env.state["planned"][:4]]
    return seen


def test_a_world_lives_the_same_life_whatever_the_batch():
    few = play(cairngym.make("MiniGrid-MultiRoom-N2-S4-v0", num_envs=4, levels="procedural"), 90)
    many = play(cairngym.make("MiniGrid-MultiRoom-N2-S4-v0", num_envs=64, levels="procedural"), 90)
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=True))


def test_episodes_have_levels_of_their_own_and_leave_their_plans_behind():
    env = cairngym.make("MiniGrid-MultiRoom-N2-S4-v0", num_envs=256, levels="procedural")
    env.reset(seed=2)
    grids = [env.state["grid"]]
    for _ in range(3):
        planned = env.state["planned"]
        for _ in range(40):
            *_, info = env.step(torch.zeros(256, dtype=torch.int64))
        assert info["_final_obs"].all()
        assert torch.equal(info["final_state"]["planned"], planned)
        assert not torch.equal(env.state["planned"], planned)
        grids.append(env.state["grid"])
    levels = torch.stack(grids).reshape(4 * 256, -1)
    assert len(torch.unique(levels, dim=0)) > 0.95 * len(levels)


def test_seeds_decide_the_levels():
    env = cairngym.make("MiniGrid-FourRooms-v0", num_envs=32, levels="procedural")
    grids = []
    for seed in (1, 2, 1):
        env.reset(seed=seed)
        grids.append(env.state["grid"])
    assert torch.equal(grids[0], grids[2])
    assert not torch.equal(grids[0], grids[1])


def test_a_snapshot_brings_the_plans_back():
    env = cairngym.make("MiniGrid-KeyCorridorS3R2-v0", num_envs=32, levels="procedural", seed=4)
    play(env, 30)
    snapshot, before = env.get_state(), dict(env.state)
    other = cairngym.make("MiniGrid-KeyCorridorS3R2-v0", num_envs=32, levels="procedural", seed=9)
    other.reset()
    other.set_state(snapshot)
    assert all(torch.equal(other.state[name], value) for name, value in before.items())
    for _ in range(300):  # over the end of the episodes
        actions = torch.randint(0, 7, (32,), generator=torch.Generator().manual_seed(1))
        assert torch.equal(env.step(actions)[0]["image"], other.step(actions)[0]["image"])
    assert torch.equal(env.state["remaining"], other.state["remaining"])


def test_injected_levels_leave_the_other_worlds_their_plans():
    env = cairngym.make("MiniGrid-DoorKey-6x6-v0", num_envs=8, levels="procedural")
    env.reset(seed=0)
    before = dict(env.state)
    reference = make_reference("MiniGrid-DoorKey-6x6-v0")
    reference.reset(seed=0)
    obs = env.world.inject([reference])
    assert np.array_equal(obs["image"][0].numpy(), reference.gen_obs()["image"])
    assert int(env.state["planned"][0]) == shortest_plan(env.state["grid"][0].numpy(), tuple(reference.agent_pos))
    assert all(torch.equal(env.state[name][1:], value[1:]) for name, value in before.items())


def with_generator(upstream, generator, num_envs):
    world = MiniGridWorld(read_level(upstream), upstream, num_envs, "cpu", generator=generator)
    env = TensorEnv(world, MiniGridTask(get_family(type(upstream).__name__), upstream, {WALL, GOAL}), seed=0)
    env.reset()
    return env.state["grid"].numpy(), env.state["agent_pos"].tolist()


def test_a_chain_that_fits_nowhere_ends_as_the_longest_one_found():
    upstream = MultiRoomEnv(2, 2, 4, width=11, height=11)
    upstream.reset(seed=0)
    generator = dataclasses.replace(multi_room.make(upstream), parameters=(20, 20, 4))
    grids, starts = with_generator(upstream, generator, 4)
    assert all(solvable(grid, tuple(start)) for grid, start in zip(grids, starts, strict=True))
    assert ((grids[..., 0] == DOOR).sum(axis=(1, 2)) >= 3).all()


def test_rooms_that_no_draw_connects_get_their_doors_in_order():
    upstream = make_reference("MiniGrid-KeyCorridorS3R3-v0")
    upstream.reset(seed=0)
    generator = dataclasses.replace(key_corridor.make(upstream), parameters=(BALL, 0))
    grids, starts = with_generator(upstream, generator, 16)
    assert all(solvable(grid, tuple(start)) for grid, start in zip(grids, starts, strict=True))


def test_more_rooms_than_can_be_listed_are_refused():
    with pytest.raises(ValueError, match="at most 20 rooms"):
        multi_room.make(MultiRoomEnv(2, 21, 4, width=11, height=11))


def test_families_without_a_generator_say_so():
    with pytest.raises(ValueError, match="no procedural generator"):
        cairngym.make("MiniGrid-Fetch-5x5-N2-v0", levels="procedural")


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_generated_worlds_keep_the_contract(check):
    check(partial(cairngym.make, "MiniGrid-MultiRoom-N2-S4-v0", levels="procedural"))
