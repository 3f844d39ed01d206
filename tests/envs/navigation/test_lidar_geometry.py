"""Beams, arcs, room and collisions of the lidar rooms against brute force in double precision."""

import numpy as np
import pytest
import torch
import warp as wp

from cairngym.envs.navigation.lidar import step_kernels as k
from cairngym.envs.navigation.lidar.body_kernels import arc, wrapped
from cairngym.envs.navigation.lidar.cells import UNSEEN, segments, unpack_clutter
from cairngym.envs.navigation.lidar.make import make_lidar_rooms
from cairngym.envs.warp_setup import start_warp

NAMES = ("Small", "Medium", "Large", "Maze")


@pytest.fixture(scope="module", autouse=True)
def warp_started():
    start_warp()


def make(name="Small", **options):
    env = make_lidar_rooms(f"LidarRooms-{name}-v0", **options)
    env.reset()
    return env


def obstacles(env, i):
    """Segments `(S, 4)` and discs `(D, 3)` of world i."""
    cells = env.world.floor_plan(i).ravel()
    return segments(cells, env.world.plan.size), unpack_clutter(cells, env.world.plan.size)[1]


def distance_to(points, lines, discs):
    """Metres `(P,)` from points `(P, 2)` to the nearest segment or disc."""
    start, end = lines[:, :2], lines[:, 2:]
    along = end - start
    off = points[:, None] - start
    share = ((off * along).sum(-1) / (along * along).sum(-1)).clip(0, 1)
    near = np.linalg.norm(off - share[..., None] * along, axis=-1).min(axis=1)
    if len(discs):
        near = np.minimum(near, (np.linalg.norm(points[:, None] - discs[:, :2], axis=-1) - discs[:, 2]).min(axis=1))
    return near


def brute_force_beams(place, angles, lines, discs, reach):
    """Metres `(B,)` from a point along every angle to the first segment or disc."""
    beam = np.stack((np.cos(angles), np.sin(angles)), axis=1)[:, None]
    start, along = lines[:, :2] - place, lines[:, 2:] - lines[:, :2]
    cross = beam[..., 0] * along[:, 1] - beam[..., 1] * along[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        length = (start[:, 0] * along[:, 1] - start[:, 1] * along[:, 0]) / cross
        share = (start[:, 0] * beam[..., 1] - start[:, 1] * beam[..., 0]) / cross
    hit = (length >= 0) & (share >= 0) & (share <= 1)
    found = np.where(hit, length, np.inf).min(axis=1)
    if len(discs):
        middle = discs[:, :2] - place
        ahead = (beam * middle).sum(-1)
        rest = discs[:, 2] ** 2 - ((middle**2).sum(-1) - ahead**2)
        met = np.where((rest >= 0) & (ahead > 0), ahead - np.sqrt(rest.clip(0)), np.inf)
        found = np.minimum(found, met.min(axis=1))
    return found.clip(max=reach)


def put_robots(env, rng):
    """Stand every robot somewhere at random, 5 cm from everything; returns poses `(N, 3)`."""
    size, poses = env.world.plan.size, []
    for i in range(env.num_envs):
        points = rng.uniform(0, size, (200, 2))
        free = points[distance_to(points, *obstacles(env, i)) > 0.05]
        boxes = unpack_clutter(env.world.floor_plan(i).ravel(), size)[0]
        inside = (np.abs(free[:, None] - boxes[:, :2]) < boxes[:, 2:]).all(-1).any(-1)
        poses.append([*free[~inside][0], rng.uniform(-np.pi, np.pi)])
    snapshot = env.get_state()
    snapshot["world"]["body"][:, :3] = torch.tensor(np.array(poses), dtype=torch.float32)
    env.set_state(snapshot)
    return env.world.body[:, :3].numpy().astype(np.float64)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reach", [8.0, 2.7])
def test_beams_are_brute_force_beams(name, reach):
    env = make(name, num_envs=40, seed=3, num_beams=61, lidar_range=reach)
    poses = put_robots(env, np.random.default_rng(0))
    beams = env.state["lidar"].numpy()
    around = 2 * np.pi * np.arange(61) / 61
    met_disc = met_limit = 0
    for i, (x, y, heading) in enumerate(poses):
        lines, discs = obstacles(env, i)
        want = brute_force_beams(np.array([x, y]), heading + around, lines, discs, reach)
        assert np.abs(beams[i] - want).max() < 1e-4
        met_limit += int((want == reach).sum())
        met_disc += int((want < brute_force_beams(np.array([x, y]), heading + around, lines, discs[:0], reach)).sum())
    assert met_limit > 0 or reach == 8.0
    assert met_disc > 0 or name == "Maze"


def test_beams_along_the_axes():
    env = make(num_envs=20, seed=4, num_beams=4)
    snapshot = env.get_state()
    snapshot["world"]["body"][:, k.X : k.Y + 1] = snapshot["world"]["body"][:, k.X : k.Y + 1].floor() + 0.5
    snapshot["world"]["body"][:, k.HEADING] = 0.0
    env.set_state(snapshot)
    for i, body in enumerate(env.world.body.numpy().astype(np.float64)):
        want = brute_force_beams(body[:2], np.arange(4) * np.pi / 2, *obstacles(env, i), 8.0)
        assert np.abs(env.state["lidar"][i].numpy() - want).max() < 1e-4


def test_cells_seen_are_those_beams_enter():
    env = make("Medium", num_envs=6, seed=2, num_beams=90, lidar_range=5.0)
    size = env.world.plan.size
    for i, body in enumerate(env.world.body.numpy().astype(np.float64)):
        seen = np.zeros((size, size), dtype=bool)
        angles = body[k.HEADING] + 2 * np.pi * np.arange(90) / 90
        lengths = brute_force_beams(body[:2], angles, *obstacles(env, i), 5.0)
        for angle, length in zip(angles, lengths, strict=True):
            t = np.linspace(0, length - 1e-4, 4000)[:, None]
            x, y = (body[:2] + t * [np.cos(angle), np.sin(angle)]).astype(int).T
            seen[y, x] = True
        got = (env.world.floor_plan(i) & UNSEEN) == 0
        assert not (seen & ~got).any()
        assert (got & ~seen).sum() <= 1  # slivers between two samples
        assert float(env.state["coverage"][i]) == pytest.approx(got.mean())


@wp.kernel(module="unique")
def drive_arcs(
    pose: wp.array(dtype=wp.vec3), speed: wp.array(dtype=wp.vec2), time: float, out: wp.array(dtype=wp.vec3)
):
    i = wp.tid()
    out[i] = arc(pose[i], speed[i][0], speed[i][1], time)


def test_arcs_are_finely_integrated_ones():
    rng = np.random.default_rng(1)
    pose = rng.uniform(-3, 3, (300, 3)).astype(np.float32)
    speed = np.stack((rng.uniform(-1, 1, 300), rng.uniform(-3, 3, 300)), axis=1).astype(np.float32)
    speed[:20, 1] = 0.0
    speed[20:40, 1] *= 1e-5
    out = wp.zeros(300, dtype=wp.vec3, device="cpu")
    inputs = [wp.array(pose, dtype=wp.vec3, device="cpu"), wp.array(speed, dtype=wp.vec2, device="cpu"), 0.4, out]
    wp.launch(drive_arcs, dim=300, inputs=inputs, device="cpu")
    x, y, heading = pose.astype(np.float64).T
    steps = 8_000
    for _ in range(steps):
        x, y = x + 0.4 / steps * speed[:, 0] * np.cos(heading), y + 0.4 / steps * speed[:, 0] * np.sin(heading)
        heading = heading + 0.4 / steps * speed[:, 1]
    got = out.numpy()
    assert np.abs(got[:, 0] - x).max() < 6e-5
    assert np.abs(got[:, 1] - y).max() < 6e-5
    assert np.abs(np.exp(1j * got[:, 2]) - np.exp(1j * heading)).max() < 1e-5
    assert np.abs(got[:, 2]).max() <= np.pi + 1e-6


@wp.kernel(module="unique")
def wrap_all(angle: wp.array(dtype=wp.float32), out: wp.array(dtype=wp.float32)):
    i = wp.tid()
    out[i] = wrapped(angle[i])


def test_wrapped():
    angle = np.array([0.0, 3.0, -3.0, 3.2, -3.2, 6.4, -9.5], dtype=np.float32)
    out = wp.zeros(len(angle), dtype=wp.float32, device="cpu")
    wp.launch(wrap_all, dim=len(angle), inputs=[wp.array(angle, dtype=wp.float32, device="cpu"), out], device="cpu")
    assert np.allclose(out.numpy(), np.angle(np.exp(1j * angle)), atol=1e-6)


def along_arc(body, speed, turn, count=400):
    """Points of a step of 0.2 s, in double precision."""
    t = np.linspace(0, 0.2, count)
    half = turn * t / 2
    chord = speed * t * np.sinc(half / np.pi)
    middle = body[k.HEADING] + half
    return body[:2] + (chord * [np.cos(middle), np.sin(middle)]).T


@pytest.mark.parametrize("name", ["Medium", "Maze"])
def test_collisions_are_where_the_disc_touches(name):
    env = make(name, num_envs=24, seed=6, autoreset_mode="Disabled")
    rng, collisions, free = np.random.default_rng(2), 0, 0
    plans = [obstacles(env, i) for i in range(24)]
    for _ in range(60):
        before = env.world.body.numpy().astype(np.float64).copy()
        over = env.episodes.ended.clone()
        action = torch.tensor(rng.uniform(-0.3, 1, (24, 2)), dtype=torch.float32)
        *_, info = env.step(action)
        touched = info["final_state"]["collision"]
        for i in np.flatnonzero(~over.numpy()):
            lines, discs = plans[i]
            room = distance_to(along_arc(before[i], float(action[i, 0]), 2 * float(action[i, 1])), lines, discs).min()
            after = distance_to(env.world.body[i : i + 1, :2].numpy().astype(np.float64), lines, discs)[0]
            assert after > 0.2 - 1e-5, "a robot never ends a step within a wall"
            if touched[i]:
                assert room < 0.2 + 1e-5
                collisions += 1
            else:
                assert room > 0.2 - 1e-3
                free += 1
    assert collisions > 10
    assert free > 100
