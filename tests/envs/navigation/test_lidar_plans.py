"""Floor plans as they are drawn: connected, passable, different; starts, goals and the ways between them."""

import numpy as np
import pytest
import torch
import warp as wp
from scipy import ndimage, sparse
from scipy.sparse.csgraph import dijkstra

from cairngym.envs.life_kernels import Life, key_of
from cairngym.envs.navigation.lidar import step_kernels as k
from cairngym.envs.navigation.lidar.cells import (
    BOX,
    CLUTTER,
    DISC,
    DOWN,
    KIND,
    LEFT,
    RIGHT,
    UP,
    segments,
    unpack_clutter,
)
from cairngym.envs.navigation.lidar.field_kernels import cell_at
from cairngym.envs.navigation.lidar.make import make_lidar_rooms
from cairngym.envs.navigation.lidar.place_kernels import place_goal, place_start, room_of
from cairngym.envs.navigation.lidar.plan_kernels import CORRIDOR, Layout, Plans, build
from cairngym.envs.navigation.lidar.specs import FLOOR_PLANS, FloorPlan

NAMES = tuple(FLOOR_PLANS)
PIXELS = 20
"""Pixels of a metre in rasterised plans."""


def make(name="Small", **options):
    env = make_lidar_rooms(f"LidarRooms-{name}-v0", **options)
    env.reset()
    return env


def clearance(world, i):
    """Metres from every pixel of world i to the nearest wall or clutter."""
    size, cells = world.plan.size, world.floor_plan(i).ravel()
    free = np.ones((size * PIXELS + 1, size * PIXELS + 1), dtype=bool)
    for x1, y1, x2, y2 in np.round(segments(cells, size) * PIXELS).astype(int):
        free[min(y1, y2) : max(y1, y2) + 1, min(x1, x2) : max(x1, x2) + 1] = False
    rows, columns = np.mgrid[: len(free), : len(free)] / PIXELS
    boxes, discs = unpack_clutter(cells, size)
    for x, y, half_x, half_y in boxes:
        free &= (np.abs(columns - x) > half_x) | (np.abs(rows - y) > half_y)
    for x, y, radius in discs:
        free &= np.hypot(columns - x, rows - y) > radius
    return ndimage.distance_transform_edt(free) / PIXELS


@pytest.mark.parametrize(("name", "count"), [("Small", 500), ("Medium", 60), ("Large", 25), ("Maze", 60)])
def test_all_rooms_are_connected_by_wide_doors(name, count):
    world = make(name, num_envs=count, seed=11).world
    for i in range(count):
        # A disc of 0.44 m passes every door of 1 m, and nothing narrower than 0.88 m.
        regions, _ = ndimage.label(clearance(world, i) > 0.44)
        clear = np.argwhere((world.floor_plan(i) & CLUTTER) == 0)
        middles = np.round((clear + 0.5) * PIXELS).astype(int)
        found = set(regions[middles[:, 0], middles[:, 1]].tolist())
        assert len(found) == 1
        assert 0 not in found


@pytest.mark.parametrize("name", NAMES)
def test_starts_and_goals_stand_free(name):
    env = make(name, num_envs=60, seed=12)
    body = env.world.body.numpy()
    for i in range(60):
        room = clearance(env.world, i)
        at = {point: np.round(body[i, [column, column + 1]] * PIXELS).astype(int) for point, column in
              (("start", k.START_X), ("goal", k.GOAL_X))}  # fmt: skip
        for point, (x, y) in at.items():
            assert room[y, x] > 0.35 - 1.5 / PIXELS, point
    assert (env.state["distance_to_goal"] > env.task.threshold).all()
    assert (env.state["planned_distance"] > env.world.plan.min_path - 0.6).float().mean() > 0.99


def test_walls_are_the_same_from_both_sides():
    world = make("Large", num_envs=20, seed=13).world
    for i in range(20):
        plan = world.floor_plan(i)
        assert (((plan[:, :-1] & RIGHT) > 0) == ((plan[:, 1:] & LEFT) > 0)).all()
        assert (((plan[:-1] & UP) > 0) == ((plan[1:] & DOWN) > 0)).all()
        assert (plan[:, 0] & LEFT).all()
        assert (plan[:, -1] & RIGHT).all()
        assert (plan[0] & DOWN).all()
        assert (plan[-1] & UP).all()


@wp.kernel(module="unique")
def rooms_of_start_and_goal(layout: Layout, plans: Plans, life: Life, out: wp.array2d(dtype=wp.int32)):
    e = wp.tid()
    key = key_of(life, e)
    rooms = build(plans, layout, e, key)
    goal = cell_at(place_goal(plans, layout, e, key), layout.size)
    start = place_start(plans, layout, e, rooms, goal, key)
    out[e, 0] = room_of(plans, e, layout.size, rooms, goal)
    out[e, 1] = room_of(plans, e, layout.size, rooms, cell_at(wp.vec2(start[0], start[1]), layout.size))
    out[e, 2] = rooms
    for room in range(rooms):
        out[e, 3] = out[e, 3] + int(plans.rooms[e, room, CORRIDOR])


@pytest.mark.parametrize("name", NAMES)
def test_start_and_goal_are_in_different_rooms(name):
    world = make(name, num_envs=300, seed=14).world
    out = torch.zeros((300, 4), dtype=torch.int32)
    inputs = [world._layout, world._plans, world._life, wp.from_torch(out)]
    wp.launch(rooms_of_start_and_goal, dim=300, inputs=inputs, device="cpu")
    assert (out[:, 0] != out[:, 1]).all()
    assert int(out[:, 2].min()) >= 2
    assert int(out[:, 2].max()) < world._plans.rooms.shape[1], "no plan runs out of memory for rooms"
    assert (out[:, 3].sum() > 0) == (FLOOR_PLANS[name].corridors > 0)


def neighbours(plan):
    """Ways between the middles of cells as a sparse matrix of metres, by the definition in `field_kernels`."""
    size, ways = len(plan), {}

    def shut(x, y, dx, dy):
        return plan[y, x] & {(1, 0): RIGHT, (0, 1): UP, (-1, 0): LEFT, (0, -1): DOWN}[dx, dy]

    def clear(x, y):
        return not plan[y, x] & CLUTTER

    for y, x in np.ndindex(plan.shape):
        for dx, dy in ((1, 0), (0, 1)):
            if not shut(x, y, dx, dy) and clear(x, y) and clear(x + dx, y + dy):
                ways[x + size * y, x + dx + size * (y + dy)] = 1.0
    for y, x in np.ndindex(size - 1, size - 1):
        block = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)]
        sides = (shut(x, y, 1, 0), shut(x, y, 0, 1), shut(x + 1, y, 0, 1), shut(x, y + 1, 1, 0))
        if all(clear(*cell) for cell in block) and not any(sides):
            a, b, c, d = (cx + size * cy for cx, cy in block)
            ways[a, d] = ways[b, c] = np.sqrt(2)
    pairs = np.array(list(ways))
    graph = sparse.coo_matrix((list(ways.values()), pairs.T), shape=(size * size, size * size))
    return (graph + graph.T).tocsr()


@pytest.mark.parametrize("name", NAMES)
def test_field_is_dijkstra(name):
    world = make(name, num_envs=12, seed=15).world
    size = world.plan.size
    middles = np.stack((np.arange(size * size) % size, np.arange(size * size) // size), axis=1) + 0.5
    for i in range(12):
        plan, goal = world.floor_plan(i), world.body[i, k.GOAL_X : k.GOAL_Y + 1].numpy()
        target = int(goal[0]) + size * int(goal[1])
        graph = neighbours(plan)
        near = [target, *graph[target].indices]
        offsets = np.linalg.norm(middles[near] - goal, axis=1)
        want = dijkstra(graph, indices=near) + offsets[:, None]
        want[0] = np.inf  # from the goal's own cell ways lead straight, not by way of its middle
        want = want.min(axis=0)
        want[target] = offsets[0]
        clear = (plan.ravel() & CLUTTER) == 0
        assert np.isfinite(want[clear]).all()
        assert np.abs(world.field[i].numpy()[clear] - want[clear]).max() < 1e-3
        assert (world.field[i].numpy()[~clear] > 1e8).all()


def test_plans_differ_from_episode_to_episode_and_seed_to_seed():
    plans = [make(num_envs=64, seed=seed).world.cells for seed in (0, 1)]
    again = make_lidar_rooms("LidarRooms-Small-v0", num_envs=64, seed=0)
    again.reset()
    assert torch.equal(plans[0], again.world.cells)
    again.reset()
    test = make(num_envs=64, seed=0, split="test").world.cells
    for cells in (plans[1], again.world.cells, test):
        assert not (cells == plans[0]).all(dim=1).any()
    assert len({tuple(row.tolist()) for row in plans[0]}) == 64


def test_clutter_is_of_both_kinds_and_in_few_cells():
    cells = make("Large", num_envs=100, seed=1).world.cells.numpy()
    kind = cells >> KIND & 3
    share = [(kind == which).mean() for which in (DISC, BOX)]
    assert all(0.01 < part < 0.08 for part in share)
    assert set(np.unique(kind)) <= {0, DISC, BOX}


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"min_side": 0}, "min_side"), ({"min_side": 3, "max_side": 4}, "max_side"), ({"size": 4}, "one room")],
)
def test_floor_plans_that_cannot_be(fields, message):
    good = {"size": 8, "min_side": 2, "max_side": 4, "horizon": 10, "min_path": 1.0}
    with pytest.raises(ValueError, match=message):
        FloorPlan(**{**good, **fields})
