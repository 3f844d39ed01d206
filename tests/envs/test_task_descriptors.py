"""The behavior descriptors that tasks declare, against the maps and models they are about."""

import math

import mujoco
import pytest
import torch

import cairngym
from cairngym.envs.navigation.lidar.make import make_lidar_rooms
from cairngym.envs.navigation.lidar.robot import Robot
from cairngym.envs.navigation.lidar.task import LidarTask


def made(env_id, **options):
    env = cairngym.make(env_id, **options)
    env.reset(seed=0)
    env.task.descriptor.check(env.state_spec)
    return env, env.task.descriptor


@pytest.mark.parametrize("env_id", ["PointMaze_UMaze-v3", "PointMaze_Large-v3"])
def test_mazes_divide_every_cell_in_four_by_four(env_id):
    env, place = made(env_id)
    paths = env.unwrapped.world.paths
    quarter = paths.scaling / 4
    offsets = torch.cartesian_prod(*2 * [torch.tensor([-1.5, -0.5, 0.5, 1.5])]) * quarter
    points = (paths.centers.float()[:, None] + offsets).flatten(0, 1)
    assert not place.clipped(points)[1].any()
    assert len(place.cell(points).unique()) == 16 * len(paths.centers)
    corner = torch.tensor([[place.low[0] + 0.01, place.low[1] + 0.01], [place.high[0] - 0.01, place.high[1] - 0.01]])
    assert paths.cell(corner).tolist() == [[paths.maze.shape[0] - 1, 0], [0, paths.maze.shape[1] - 1]]
    assert torch.equal(place(env.state), env.state["position"].float())


@pytest.mark.parametrize("env_id", ["FetchPush-v4", "FetchReach-v4", "FetchSlide-v4"])
def test_fetch_covers_the_table(env_id):
    env, place = made(env_id)
    model = env.unwrapped.world.driver.model
    body = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "table0")
    middle, half = model.body_pos[body], model.geom_size[model.body_geomadr[body]]
    for axis in range(2):
        assert place.low[axis] == pytest.approx(middle[axis] - half[axis], abs=0.01)
        assert place.high[axis] == pytest.approx(middle[axis] + half[axis], abs=0.01)
    thing = "gripper_position" if "Reach" in env_id else "object_position"
    assert torch.equal(place(env.state), env.state[thing][:, :2].float())
    assert not place.clipped(place(env.state))[1].any()


def test_minigrid_has_a_cell_for_every_cell():
    env, place = made("MiniGrid-DoorKey-8x8-v0", num_envs=3, bank_size=16)
    assert torch.equal(place(env.state), env.state["agent_pos"].float())
    for sides in ((8, 8), (7, 25)):
        place = type(place)(entries=place.entries, low=(-0.5, -0.5), high=(sides[0] - 0.5, sides[1] - 0.5), cells=sides)
        cells = torch.cartesian_prod(*map(torch.arange, sides)).float()
        assert torch.equal(place.cell(cells), torch.arange(math.prod(sides)))


def test_lidar_rooms_hold_every_way_through_them():
    env = make_lidar_rooms("LidarRooms-Small-v0", num_envs=64)
    env.reset(seed=0)
    place = LidarTask(Robot(), 200, 8).descriptor
    place.check(env.state_spec)
    seen = [place(env.state), env.state["goal"]]
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        env.step(torch.rand((64, 2), generator=generator) * torch.tensor([1.0, 2.0]) - torch.tensor([0.0, 1.0]))
        seen.append(place(env.state))
    seen = torch.cat(seen)
    assert not place.clipped(seen)[1].any()
    assert place.cells == (24, 24)
    assert len(place.cell(seen).unique()) > 60
    assert LidarTask(Robot(), 200).descriptor is None
