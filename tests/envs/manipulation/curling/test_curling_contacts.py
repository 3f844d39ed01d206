"""The kernels against the Box2D package: rolling, walls, the arm, limits, impacts, and random episodes."""

import numpy as np
import pytest
import torch
from box2d_scene import BoxScene, random_actions

from cairngym.envs.manipulation.curling import scene
from cairngym.envs.manipulation.curling.body_kernels import BALL, POSE, VELOCITY
from cairngym.envs.manipulation.curling.make import make_curling

box2d = pytest.importorskip("Box2D")


def worlds(num_envs):
    env = make_curling("Curling-v0", num_envs=num_envs, autoreset_mode="Disabled")
    env.reset()
    return env.world


def place(world, i, ball=None, velocity=(0.0, 0.0), spin=0.0):
    """Put the ball of world i somewhere, on its way."""
    if ball is not None:
        world.rows[i, POSE + 3 * BALL : POSE + 3 * BALL + 2] = torch.tensor(ball)
    world.rows[i, VELOCITY + 3 * BALL : VELOCITY + 3 * BALL + 3] = torch.tensor((*velocity, spin))


def compare(actions, balls=None):
    """Poses of kernels and of Box2D, `(steps, N, 9)` each, and what touches: `(steps, N)` pairs, any link."""
    steps, count = actions.shape[:2]
    world, boxes = worlds(count), [BoxScene(box2d) for _ in range(count)]
    for i, ball in enumerate(balls or ()):
        place(world, i, *ball)
        boxes[i].place(*ball)
    ours, theirs = np.zeros((2, steps, count, 9))
    pairs, links = np.zeros((steps, count), int), np.zeros((steps, count), bool)
    for t in range(steps):
        world.advance(torch.from_numpy(actions[t]))
        ours[t] = world.rows[:, POSE:VELOCITY].numpy()
        for i, box in enumerate(boxes):
            box.step(actions[t, i])
            theirs[t, i] = box.poses()
            pairs[t, i], links[t, i] = box.touches()
    return ours, theirs, pairs, links


def test_ball_rolls_and_bounces_as_in_box2d():
    """Damping alone, each wall head on and at an angle, with spin, slow impacts that do not bounce, corners."""
    balls = [
        ((0.6, 0.5), (0.3, 0.2), 5.0), ((0.6, 0.5), (3.0, 0.0)), ((0.6, 0.5), (2.0, 3.0), -20.0),
        ((-0.9, 0.5), (-4.0, 1.5), 9.0), ((-0.9, -0.9), (-1.0, -3.0)), ((1.0, -1.0), (0.9, -0.4)),
        ((0.9, 0.9), (5.0, 5.0), 3.0), ((-0.8, 0.8), (-2.0, 2.3)),
    ]  # fmt: skip
    ours, theirs, pairs, _ = compare(np.zeros((150, len(balls), 2), np.float32), balls)
    assert (pairs.max(axis=0)[1:] > 0).all()
    assert pairs.max() == 2, "a corner"
    np.testing.assert_allclose(ours, theirs, atol=3e-5)
    np.testing.assert_allclose(ours[:, 0], theirs[:, 0], atol=1e-6)
    rolled = np.hypot(*(ours[:, 0, 6:8] - (0.6, 0.5)).T)
    speed = np.hypot(0.3, 0.2) * (1 - scene.TIME_STEP) ** np.arange(1, 151)
    np.testing.assert_allclose(rolled, np.cumsum(speed) * scene.TIME_STEP, atol=1e-5)


def test_arm_moves_as_in_box2d_up_to_its_limits():
    """Joint speeds are met; limits hold, and hold on as long as the motors have pushed against them."""
    actions = np.zeros((330, 4, 2), np.float32)
    actions[:, 0] = (0.3, -0.6)
    actions[:150, 1], actions[150:, 1] = (-1.0, 0.0), (1.0, 0.2)
    actions[:240, 2], actions[240:, 2] = (0.5, 1.0), (0.0, -1.0)
    actions[:, 3] = np.sin(np.arange(330) / 20)[:, None] * (1.0, -0.7)
    away = [((-1.2, 1.2), (0.0, 0.0)), ((1.2, 1.2), (0.0, 0.0)), ((1.2, 1.2), (0.0, 0.0)), ((-1.2, 1.2), (0.0, 0.0))]
    ours, theirs, _, links = compare(actions, away)
    free = np.cumsum(links, axis=0) == 0
    assert free[-1].sum() >= 2
    assert np.abs(ours - theirs)[free].max() < 1e-3
    limits = np.abs(ours[:, :, 2].max()), np.abs(ours[:, :, 5] - ours[:, :, 2]).max()
    assert limits[0] < scene.ANGLE_LIMITS[0] + 0.04
    stuck = ours[150:170, 1, 2]
    assert np.ptp(stuck) < 5e-3, "what the motor has pushed against the limit is taken back first"
    assert ours[-1, 1, 2] > stuck[-1] + 0.5


def test_random_episodes_follow_box2d_until_chaos():
    """300 steps of 24 worlds with impacts, pushing, and links pressed against walls.

    Errors of rounding, 1e-6 m, grow at every contact; after hundreds of them four worlds in five are within 1 mm.
    """
    ours, theirs, pairs, links = compare(random_actions(24, 300))
    error = np.abs(ours - theirs)[:, :, 6:8].max(axis=(0, 2))
    assert (links.any(axis=0)).sum() > 15
    assert (pairs.max(axis=0) >= 2).sum() > 5
    assert (error < 1e-3).mean() >= 0.8, np.sort(error)
    assert np.median(error) < 1e-4
    before = np.cumsum(pairs, axis=0) == 0
    assert np.abs(ours - theirs)[before].max() < 5e-5


def test_an_impact_passes_on_what_box2d_says():
    """The ball's velocity after the first touch of a moving link, for five angles of approach."""
    count = 5
    actions = np.zeros((60, count, 2), np.float32)
    actions[:, :, 0], actions[:, :, 1] = np.linspace(0.4, 1.0, count), np.linspace(1.0, 0.0, count)
    ours, theirs, _, links = compare(actions, [((-0.45, 0.1 * i), (0.0, 0.0)) for i in range(count)])
    first = links.argmax(axis=0)
    assert links.any(axis=0).all()
    for i, t in enumerate(first):
        gained = np.diff(ours[t - 1 : t + 3, i, 6:8], axis=0)
        assert np.abs(gained).max() > 0.5 * scene.TIME_STEP, "a push that can be felt"
        np.testing.assert_allclose(ours[: t + 4, i], theirs[: t + 4, i], atol=2e-5)


def test_balls_end_where_box2d_has_them():
    """Where the ball ends over many episodes of 160 steps: the same share moved, the same mean and spread."""
    ours, theirs, _, _ = compare(random_actions(100, 160, seed=7, hold=25))
    ends = [np.stack((side[-1, :, 6], side[-1, :, 7]), axis=1) for side in (ours, theirs)]
    moved = [(np.abs(end - scene.BALL_START).max(axis=1) > 1e-3).mean() for end in ends]
    assert moved[0] == pytest.approx(moved[1], abs=0.01)
    assert 0.3 < moved[0] < 1.0
    np.testing.assert_allclose(ends[0].mean(axis=0), ends[1].mean(axis=0), atol=0.02)
    np.testing.assert_allclose(ends[0].std(axis=0), ends[1].std(axis=0), atol=0.02)
