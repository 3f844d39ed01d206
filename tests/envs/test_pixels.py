"""Pictures as observations: the contract, the true last picture, and the two renderers side by side."""

import copy
from functools import partial

import contract
import numpy as np
import pytest
import torch
from picture_toys import XML, BallWorld, MovingGoalWorld, make_ball, needs_opengl, projected, spot
from toy_worlds import make_line

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.physics.camera import Camera
from cairngym.envs.pixels import PixelObservation
from cairngym.envs.wrapper_registry import make_wrapper
from cairngym.envs.wrappers import FrameStack

MODES = ("SameStep", "NextStep", "Disabled")
ASLANT = Camera(lookat=(0.1, -0.2, 0.05), distance=3.5, azimuth=130.0, elevation=-40.0)
SIZE = {"width": 32, "height": 24}


@pytest.fixture(params=["opengl", "warp"])
def renderer(request):
    if request.param == "opengl":
        needs_opengl()
    else:
        pytest.importorskip("mujoco_warp")
    return request.param


def make_pixels(renderer, kinematics=True, keep="add", markers=True, **options):
    return PixelObservation(
        make_ball(kinematics=kinematics, **options), renderer=renderer, keep=keep, markers=markers, **SIZE
    )


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(renderer, check):
    check(partial(make_pixels, renderer))


@pytest.mark.parametrize("kinematics", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_every_picture_shows_what_its_observation_says(renderer, mode, kinematics):
    env = make_pixels(renderer, kinematics, num_envs=3, autoreset_mode=mode, markers=False)
    env.world.camera = BallWorld.camera
    obs, _ = env.reset(seed=3)
    contract.hasten(env)
    ends = 0
    for action in contract.actions_of(env, 12):
        shown = [obs]
        obs, _, terminated, truncated, info = env.step(action)
        done = terminated | truncated
        shown += [obs, info["final_obs"]]
        for each in shown:
            for picture, place in zip(each["pixels"].numpy(), each["achieved_goal"].tolist(), strict=True):
                if max(map(abs, place)) < 0.9:
                    assert spot(picture) == pytest.approx(projected(env.world.camera, (*place, 0.0), 32, 24), abs=0.7)
        if mode == "SameStep":
            assert not torch.equal(obs["pixels"][done], info["final_obs"]["pixels"][done]) or not done.any()
            assert torch.equal(obs["pixels"][~done], info["final_obs"]["pixels"][~done])
        ends += int(done.sum())
        if mode == "Disabled" and done.any():
            obs, _ = env.reset(options={"reset_mask": done})
    assert ends >= 3
    env.close()


def test_goals_are_drawn_where_the_observation_has_them_though_settle_moves_them(renderer):
    env = make_pixels(renderer, world=MovingGoalWorld(2))
    env.reset(seed=1)
    for _ in range(4):
        env.world.driver.view("qpos").fill_(3.0)  # out of sight
        obs, *_ = env.step(torch.zeros(2, 2))
        for picture, goal in zip(obs["pixels"].numpy(), obs["desired_goal"].tolist(), strict=True):
            assert spot(picture) == pytest.approx(projected(env.world.camera, (*goal, 0.0), 32, 24), abs=0.7)
    env.close()


@pytest.mark.parametrize("kinematics", [True, False])
def test_looking_changes_no_life(renderer, kinematics):
    plain, seen = make_ball(3, kinematics=kinematics), make_pixels(renderer, kinematics, num_envs=3)
    assert torch.equal(plain.reset(seed=4)[0]["observation"], seen.reset(seed=4)[0]["observation"])
    for action in contract.actions_of(plain, 20):
        a, b = plain.step(action), seen.step(action)
        assert torch.equal(a[0]["observation"], b[0]["observation"])
    state, other = plain.world.driver.get_state()["state"], seen.world.driver.get_state()["state"]
    assert torch.equal(state, other)


def test_renderers_agree():
    needs_opengl()
    pytest.importorskip("mujoco_warp")
    pictures = {}
    for name in ("opengl", "warp"):
        env = PixelObservation(make_ball(3), renderer=name, camera=ASLANT, markers=True, width=96, height=64)
        pictures[name] = env.reset(seed=5)[0]["pixels"].int()
    difference = (pictures["opengl"] - pictures["warp"]).abs().amax(-1)
    assert pictures["opengl"].amax(-1).gt(60).sum((1, 2)).min() > 20
    assert (difference > 60).float().mean() < 0.005  # rims


def test_fetch_by_both_renderers():
    needs_opengl()
    pytest.importorskip("mujoco_warp")
    pytest.importorskip("gymnasium_robotics")
    pictures = {}
    for name in ("opengl", "warp"):
        env = make_wrapper("pixels", cairngym.make("FetchPush-v4", num_envs=2), renderer=name, markers=True)
        env.reset(seed=0)
        for action in contract.actions_of(env, 2):
            obs, *_ = env.step(action)
        pictures[name] = obs["pixels"].float()
        assert obs["pixels"].shape == (2, 64, 64, 3)
        assert set(obs) == {"achieved_goal", "desired_goal", "pixels"}
    assert (pictures["opengl"] - pictures["warp"]).abs().mean() < 5.0  # OpenGL smooths edges
    assert pictures["opengl"].std() > 30.0
    assert (pictures["opengl"][0] - pictures["opengl"][1]).abs().mean() > 1.0


def test_spaces_and_names(renderer):
    env = make_pixels(renderer, keep="replace", num_envs=2)
    assert set(env.single_observation_space.spaces) == {"achieved_goal", "desired_goal", "pixels"}
    assert env.single_observation_space["pixels"].shape == (24, 32, 3)
    assert env.task.single_observation_space is env.single_observation_space
    obs, _ = env.reset()
    assert set(obs) == {"achieved_goal", "desired_goal", "pixels"}
    assert torch.equal(env.compute_reward(obs["desired_goal"], obs["desired_goal"]), torch.ones(2))
    stacked = FrameStack(env, frames=2, keys=("pixels",))
    assert stacked.reset()[0]["pixels"].shape == (2, 24, 32, 6)


def test_a_plain_observation_is_replaced_or_joined(renderer):
    plain = make_ball(2)
    plain.task = copy.copy(plain.task)
    plain.task.observe = plain.task.features
    plain.single_observation_space = plain.single_observation_space["observation"]
    replaced = PixelObservation(plain, renderer=renderer, **SIZE)
    assert set(replaced.reset()[0]) == {"pixels"}
    added = PixelObservation(plain, renderer=renderer, keep="add", **SIZE)
    assert set(added.reset()[0]) == set(added.single_observation_space.spaces) == {"observation", "pixels"}


def test_a_camera_of_the_model(renderer):
    env = PixelObservation(make_ball(1), renderer=renderer, camera="side", **SIZE)
    env.reset()
    env.world.driver.view("qpos").copy_(torch.tensor([[0.3, 0.0]]))
    picture = env.step(torch.zeros(1, 2))[0]["pixels"][0]
    side = Camera(lookat=(0.0, 0.0, 0.0), distance=3.0, azimuth=90.0, elevation=0.0)
    assert spot(picture) == pytest.approx(projected(side, (0.3, 0.0, 0.0), 32, 24), abs=0.7)


def test_a_closed_env_is_not_looked_at():
    env = make_pixels("warp")
    assert len(env.world.spectators) == 1
    env.close()
    assert env.world.spectators == ()


def test_auto_takes_opengl_on_threads():
    needs_opengl()
    by_name = [make_pixels(name, num_envs=2).reset(seed=2)[0]["pixels"] for name in ("auto", "opengl")]
    assert torch.equal(*by_name)


def test_bad_options():
    with pytest.raises(TypeError, match="runs on MuJoCo, got LineWorld"):
        PixelObservation(make_line())
    with pytest.raises(UnknownNameError, match="Did you mean 'opengl'"):
        PixelObservation(make_ball(), renderer="opngl")
    with pytest.raises(UnknownNameError, match="'add', 'replace'"):
        PixelObservation(make_ball(), keep="all")
    with pytest.raises(UnknownNameError, match="Did you mean 'side'"):
        PixelObservation(make_ball(), camera="sde")
    with pytest.raises(ValueError, match="1 to 4096 pixels"):
        PixelObservation(make_ball(), width=0)
    with pytest.raises(ValueError, match="without 'pixels'"):
        PixelObservation(make_pixels("warp"))
    blind = BallWorld(
        1, xml=XML.replace("<camera", "<!-- <camera").replace('0 1"/>\n    <site', '0 1"/> -->\n    <site')
    )
    with pytest.raises(ValueError, match="Expected a model with a camera"):
        PixelObservation(make_ball(world=blind), renderer="warp")


def test_on_the_warp_driver(renderer):
    pytest.importorskip("mujoco_warp")
    env = PixelObservation(make_ball(world=BallWorld(2, driver="warp")), renderer=renderer, **SIZE)
    obs, _ = env.reset(seed=1)
    env.world.driver.field("geom_rgba")[1] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    for _ in range(2):
        obs, *_ = env.step(torch.full((2, 2), 0.2))
    places = [projected(env.world.camera, (*place, 0.0), 32, 24) for place in obs["achieved_goal"].tolist()]
    assert spot(obs["pixels"][0], channel=0) == pytest.approx(places[0], abs=0.7)
    assert spot(obs["pixels"][1], channel=2) == pytest.approx(places[1], abs=0.7)
    assert np.asarray(obs["pixels"]).dtype == np.uint8
