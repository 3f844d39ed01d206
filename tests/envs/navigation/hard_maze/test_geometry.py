"""The map, the lasers, the arcs and the collisions against brute force in double precision."""

import math

import numpy as np
import pytest
import torch

from cairngym.envs.navigation.hard_maze import maze_map as m
from cairngym.envs.navigation.hard_maze.make import make_hard_maze

WALLS = np.array(m.WALLS)
POSES = 2000
CHUNK = 100
"""Poses held against all points of the walls at once."""
REACH, RADIUS = 100.0, 10.0


def sampled_walls(spacing=0.5):
    """Points along all walls."""
    parts = []
    for wall in WALLS:
        share = np.linspace(0, 1, math.ceil(math.dist(wall[:2], wall[2:]) / spacing) + 1)[:, None]
        parts.append(wall[:2] + share * (wall[2:] - wall[:2]))
    return np.concatenate(parts)


POINTS = sampled_walls()


def offsets(place):
    """From places to all points of the walls, and how far that is."""
    off = (POINTS[None] - place[:, None]).astype(np.float32)
    return off, np.hypot(off[..., 0], off[..., 1])


def free_poses(count, seed, by_walls=False):
    """Poses `(count, 3)` whose disc is free, anywhere or a step away from touching a wall."""
    generator, found = np.random.default_rng(seed), []
    while sum(map(len, found)) < count:
        place = generator.uniform(0, 600, (CHUNK, 2))
        if by_walls:
            angle, far = generator.uniform(0, 2 * np.pi, CHUNK), generator.uniform(RADIUS, RADIUS + 3, CHUNK)
            place = generator.choice(POINTS, CHUNK) + far[:, None] * np.stack((np.cos(angle), np.sin(angle)), axis=1)
        room = offsets(place)[1].min(axis=1)
        inside = ((place > 0) & (place < 600)).all(axis=1)
        found.append(place[(room > RADIUS + 0.01) & inside])
    place = np.concatenate(found)[:count]
    return np.column_stack((place, generator.uniform(-np.pi, np.pi, count)))


def put(env, poses):
    """Robots at `poses`; the observation there."""
    snapshot = env.get_state()
    snapshot["world"]["bodies"].zero_()[:, :3] = torch.from_numpy(poses)
    env.set_state(snapshot)
    return env.task.observe(env.state).double().numpy()


def beam_lengths(poses, stretch):
    """Lasers `(P, 3)` by solving place + t beam = start + u along for every wall, walls longer by `stretch`."""
    along = WALLS[:, 2:] - WALLS[:, :2]
    slack = stretch / np.linalg.norm(along, axis=1)
    angles = poses[:, 2:] + np.deg2rad([45.0, 0.0, -45.0])
    beam = np.broadcast_to(
        np.stack((np.cos(angles), np.sin(angles)), axis=-1)[:, :, None], (len(poses), 3, len(WALLS), 2)
    )
    system = np.stack((beam, np.broadcast_to(-along, beam.shape)), axis=-1)
    singular = np.abs(np.linalg.det(system)) < 1e-9
    system[singular] = np.eye(2)
    right = np.broadcast_to((WALLS[:, :2] - poses[:, None, None, :2]), beam.shape)
    length, share = np.moveaxis(np.linalg.solve(system, right[..., None])[..., 0], -1, 0)
    hit = ~singular & (length >= 0) & (share >= -slack) & (share <= 1 + slack)
    return np.where(hit, length, REACH).min(axis=-1).clip(max=REACH)


def rolled(poses, left, right):
    """Poses after both wheels, 20 apart, have rolled; rotation about the point both arcs are about."""
    turn = (right - left) / 20.0
    x, y, heading = poses.T
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = (left + right) / 2 / turn
        curved = np.stack((x + radius * (np.sin(heading + turn) - np.sin(heading)),
                           y - radius * (np.cos(heading + turn) - np.cos(heading))))  # fmt: skip
    straight = np.stack((x + left * np.cos(heading), y + left * np.sin(heading)))
    return np.column_stack((np.where(np.abs(turn) > 1e-9, curved, straight).T, heading + turn))


def contacts(poses):
    """Room `(P,)` around poses, and libfastsim's bumpers `(P, 2 sides, 2)`: surely touched, and perhaps touched.

    They are touched where a covered point lies at an angle in (-90, 0) degrees, or in (0, 90), from the heading.
    """
    off, far = offsets(poses[:, :2])
    angle = np.arctan2(off[..., 1], off[..., 0]) - poses[:, None, 2]
    angle -= 2 * np.pi * np.round(angle / (2 * np.pi))
    sides = []
    for side in (-1, 1):
        for slack in (-0.06, 0.06):
            covered = (far < RADIUS + slack / 4) & (side * angle > -slack) & (side * angle < np.pi / 2 + slack)
            sides.append(covered.any(axis=1))
    return far.min(axis=1), np.stack(sides, axis=1).reshape(-1, 2, 2)


def test_lasers():
    env = make_hard_maze("HardMaze-v0", num_envs=POSES)
    env.reset()
    poses = free_poses(POSES, 0)
    seen = put(env, poses)[:, :3]
    # A beam that passes the end of a wall by less than 0.05 may hit it or not.
    nearest, farthest = beam_lengths(poses, 0.05), beam_lengths(poses, -0.05)
    assert (nearest - farthest > -1e-9).mean() > 0.99
    assert (seen > nearest - 0.01).all()
    assert (seen < farthest + 0.01).all()
    assert 0.3 < (seen == REACH).mean() < 0.8


def test_steps_and_collisions():
    env = make_hard_maze("HardMaze-v0", num_envs=POSES)
    env.reset()
    poses = free_poses(POSES, 1, by_walls=True)
    put(env, poses)
    generator = np.random.default_rng(2)
    action = generator.uniform(-1, 1, (POSES, 2))
    action[:200, 1] = action[:200, 0]
    env.step(torch.from_numpy(action))
    state = {name: env.state[name].double().numpy() for name in ("position", "heading", "stopped", "bumpers")}
    want = rolled(poses, *(4.0 * action.T))
    touched = [contacts(want[i : i + CHUNK]) for i in range(0, POSES, CHUNK)]
    room, sides = map(np.concatenate, zip(*touched, strict=True))
    sure = np.abs(room - RADIUS) > 0.01
    stopped = room <= RADIUS
    assert sure.mean() > 0.98
    assert 300 < stopped.sum() < POSES - 300
    assert (state["stopped"][sure] == stopped[sure]).all()
    place = np.where(stopped[:, None], poses[:, :2], want[:, :2])
    assert np.abs(state["position"] - place)[sure].max() < 2e-4
    assert np.abs(np.angle(np.exp(1j * (state["heading"] - want[:, 2])))).max() < 1e-5
    for side in range(2):
        surely, maybe = sides[:, side].T
        bumper = state["bumpers"][:, side] > 0
        assert bumper[surely & sure].all()
        assert not bumper[~maybe & sure].any()
        assert (surely == maybe).mean() > 0.9
        assert surely.sum() > 100


def test_no_wall_lets_the_robot_through():
    env = make_hard_maze("HardMaze-v0", num_envs=400)
    env.reset()
    place = free_poses(400, 3)
    put(env, place)
    generator = torch.Generator().manual_seed(0)
    wheels = torch.rand((400, 2), generator=generator) * 1.4 - 0.4
    start = env.state["position"].double().numpy()
    for _ in range(60):
        env.step(wheels.clamp(-1, 1))
        end = env.state["position"].double().numpy()
        for x0, y0, x1, y1 in WALLS:
            side = [(x1 - x0) * (at[:, 1] - y0) - (y1 - y0) * (at[:, 0] - x0) for at in (start, end)]
            step = end - start
            share = [(a - start[:, 0]) * step[:, 1] - (b - start[:, 1]) * step[:, 0] for a, b in ((x0, y0), (x1, y1))]
            assert not ((side[0] * side[1] < 0) & (share[0] * share[1] < 0)).any()
        start = end
    assert np.linalg.norm(start - place[:, :2], axis=1).max() > 150


def test_areas_are_far_around_the_walls():
    start = np.array(m.START[:2])
    cell = (start / m.CELL).astype(int)
    for way, (x, y, radius) in zip(m.ways(), m.AREAS, strict=True):
        straight = math.dist((x, y), start)
        assert 2.5 * straight < way[cell[1], cell[0]] < 1300
        assert m.distance_to_walls(np.array([[x, y]]))[0] >= radius + RADIUS - 1e-9
        pocket = way[int(315 / m.CELL), int(85 / m.CELL)]
        assert pocket > way[cell[1], cell[0]], "the pocket above the start is no dead end"
    free = np.isfinite(m.ways()[0])
    assert np.array_equal(free, np.isfinite(m.ways()[1]))
    assert free.mean() > 0.8


def test_ways_are_straight_where_nothing_is_between():
    way = m.ways()[0]
    for column, row in ((100, 100), (150, 30), (30, 90), (280, 20)):
        x, y = ((int(v / m.CELL) + 0.5) * m.CELL for v in (column, row))
        straight = math.dist((x, y), ((int(60 / m.CELL) + 0.5) * m.CELL,) * 2)
        assert straight - 1e-3 <= way[int(row / m.CELL), int(column / m.CELL)] <= 1.03 * straight


@pytest.mark.parametrize("speed", [0.0, 10.5, math.nan])
def test_robots_that_could_pass_through_walls_are_refused(speed):
    with pytest.raises(ValueError, match="max_speed"):
        make_hard_maze("HardMaze-v0", max_speed=speed)
