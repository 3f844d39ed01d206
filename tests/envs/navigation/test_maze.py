"""PointMaze and AntMaze: the contract, models, starts and goals, moving goals, progress, bad input, solvability."""

import math
import sys
import warnings
from functools import partial
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # importlib mode leaves it off
import contract

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.core import clone
from cairngym.envs.navigation.maze_config import ANT, MAZES, POINT
from cairngym.envs.navigation.maze_maps import MAPS, parse_map
from cairngym.envs.navigation.maze_model import maze_model
from cairngym.envs.navigation.maze_task import make_maze
from cairngym.envs.navigation.point_maze_oracle import PointMazeOracle

POCKET = [[1] * 6, [1, "r", "g", 1, 0, 1], [1] * 6]
TWO_GOALS = [[1] * 7, [1, "g", "r", 0, 0, "g", 1], [1] * 7]


@pytest.mark.parametrize("env_id", ["PointMaze_UMaze-v3", "PointMaze_Medium_Diverse_GR-v3", "AntMaze_UMaze-v4"])
@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(env_id, check):
    check(partial(make_maze, env_id))


@pytest.mark.parametrize("options", [{"reset_target": True}, {"goals": "evaluation", "continuing_task": False}])
@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract_of_options(options, check):
    near = [[1] * 4, [1, "c", "c", 1], [1] * 4]
    check(partial(make_maze, "PointMaze_UMaze-v3", maze_map=near, **options))


# Models ---------------------------------------------------------------------------------------------------------------


def test_walls_stand_where_the_map_says():
    model = maze_model(POINT, parse_map(MAPS["UMaze"]))
    boxes = [k for k in range(model.ngeom) if model.geom(k).name.startswith("block")]
    assert len(boxes) == 25 - 7
    middle = model.geom("block_2_1")
    assert middle.pos.tolist() == [-1.0, 0.0, 0.2]
    assert middle.size.tolist() == [0.5, 0.5, 0.2]
    wide = maze_model(ANT, parse_map(MAPS["UMaze"])).geom("block_2_1")
    assert wide.pos.tolist() == [-4.0, 0.0, 1.0]
    assert wide.size.tolist() == [2.0, 2.0, 1.0]


@pytest.mark.parametrize("env_id", ["PointMaze_Large-v3", "AntMaze_Medium-v4"])
def test_model_is_upstream_s(env_id):
    gymnasium = pytest.importorskip("gymnasium")
    gymnasium.register_envs(pytest.importorskip("gymnasium_robotics"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream would rather have AntMaze-v5
        reference = gymnasium.make(env_id)
    Path(reference.unwrapped.tmp_xml_file_path).unlink()
    config, theirs = MAZES[env_id], reference.unwrapped.model
    ours = maze_model(config.agent, parse_map(MAPS[config.map]))
    families = ("body_", "jnt_", "dof_", "geom_", "actuator_", "qpos", "pair_", "exclude_")
    names = {name for name in dir(theirs) if name.startswith(families)} - {"geom_rgba"}
    assert {"geom_pos", "geom_size", "geom_friction", "geom_contype", "body_mass", "dof_damping"} <= names
    assert not [name for name in names if not np.array_equal(getattr(ours, name), getattr(theirs, name))]
    options = [name for name in dir(theirs.opt) if not name.startswith("_")]
    assert "timestep" in options
    assert not [name for name in options if not np.array_equal(getattr(ours.opt, name), getattr(theirs.opt, name))]


# Starts and goals -----------------------------------------------------------------------------------------------------


def cells_of(env, name):
    return [tuple(cell) for cell in env.world.paths.cell(env.state[name].double()).tolist()]


@pytest.mark.parametrize("env_id", ["PointMaze_Large_Diverse_G-v3", "AntMaze_Medium_Diverse_GR-v4"])
def test_starts_and_goals_are_drawn_from_the_map_s_cells(env_id):
    env = make_maze(env_id, num_envs=400, dtype=torch.float64)
    env.reset(seed=0)
    maze, scaling = env.world.paths.maze, env.world.agent.scaling
    assert set(cells_of(env, "goal")) == set(maze.goals)
    assert set(cells_of(env, "position")) == set(maze.starts)
    assert not any(start == goal for start, goal in zip(cells_of(env, "position"), cells_of(env, "goal"), strict=True))
    for name in ("goal", "position"):
        number = env.world.paths.cell_number(env.state[name])
        offset = (env.state[name] - env.world.paths.centers[number]) / scaling
        assert 0.2 < float(offset.abs().max()) <= 0.25
        assert abs(float(offset.mean())) < 0.02
    start = env.state["position"] - env.state["goal"]
    assert float(start.norm(dim=1).min()) > 0.5 * scaling


def test_ant_starts_at_rest():
    env = make_maze("AntMaze_UMaze-v4", num_envs=4)
    obs, _ = env.reset(seed=0)
    assert torch.equal(obs["observation"], torch.tensor([[0.75, 1.0] + [0.0] * 25] * 4))
    assert torch.equal(env.state["height"], torch.full((4,), 0.75))


def test_cells_can_be_chosen():
    env = make_maze("PointMaze_Medium-v3", num_envs=3)
    env.reset(seed=0, options={"goal_cell": (1, 1), "reset_cell": [(6, 6), (4, 5), (1, 2)]})
    assert cells_of(env, "goal") == [(1, 1)] * 3
    assert cells_of(env, "position") == [(6, 6), (4, 5), (1, 2)]
    env.reset(options={"reset_cell": np.array([2, 2]), "goal_cell": None})
    assert cells_of(env, "position") == [(2, 2)] * 3
    assert (2, 2) not in cells_of(env, "goal")
    for _ in range(5):
        env.reset()
        positions = cells_of(env, "position")
        assert positions != [(2, 2)] * 3, "the cells outlived their reset"


def test_evaluation_goes_through_the_farthest_pairs():
    env = make_maze("PointMaze_Large-v3", num_envs=7, goals="evaluation")
    pairs = [tuple(tuple(cell) for cell in pair) for pair in env.world.paths.cells[env.world.evaluation_pairs].tolist()]
    length = env.world.paths.length[env.world.evaluation_pairs[:, 0], env.world.evaluation_pairs[:, 1]]
    assert float(length[0]) == pytest.approx(env.world.paths.diameter)
    assert bool((length > 0.6 * env.world.paths.diameter).all())
    assert len({goal for _, goal in pairs}) == len({start for start, _ in pairs}) == 5
    env.reset(seed=3)
    for episode in range(3):
        want = [pairs[(i + episode) % 5] for i in range(7)]
        assert list(zip(cells_of(env, "position"), cells_of(env, "goal"), strict=True)) == want
        env.reset()
    env.reset(options={"goal_cell": (1, 1)})
    assert cells_of(env, "goal") == [(1, 1)] * 7


def test_evaluation_pairs_of_one_start():
    env = make_maze("PointMaze_Medium_Diverse_G-v3", goals="evaluation")
    pairs = env.world.paths.cells[env.world.evaluation_pairs].tolist()
    assert [start for start, _ in pairs] == [[1, 1]] * 3
    assert sorted(goal for _, goal in pairs) == [[2, 6], [5, 1], [6, 5]]


# Goals that move ------------------------------------------------------------------------------------------------------


def at_goal(env, where):
    """Put the agents of `where` on their goals, at rest."""
    world = env.world
    world._readings["position"][where] = world.variables["goal"][where]
    world._qvel[where] = 0.0


def test_a_goal_reached_moves_after_the_step_that_reached_it():
    env = make_maze("PointMaze_UMaze-v3", num_envs=64, reset_target=True)
    env.reset(seed=0)
    old = env.state["goal"].clone()
    where = torch.arange(64) % 2 == 0
    at_goal(env, where)
    still = torch.zeros(64, 2)
    obs, reward, terminated, _, info = env.step(still)
    assert torch.equal(info["success"], where)
    assert torch.equal(reward, where.float())
    assert not terminated.any()
    assert torch.equal(obs["desired_goal"], old)
    assert torch.equal(reward, env.compute_reward(obs["achieved_goal"], obs["desired_goal"]))
    obs, reward, _, _, info = env.step(still)
    assert torch.equal(obs["desired_goal"][~where], old[~where])
    moved = (obs["desired_goal"] - obs["achieved_goal"])[where].norm(dim=1)
    assert float(moved.min()) > 0.45
    assert not info["success"].any()
    assert torch.equal(obs["desired_goal"], env.state["goal"])
    numbers = env.world.paths.cell_number(obs["desired_goal"][where].double())
    assert bool((numbers >= 0).all())
    assert len(set(numbers.tolist())) > 3


def test_a_goal_that_moves_is_drawn_anew_at_every_step():
    env = make_maze("PointMaze_UMaze-v3", num_envs=1, reset_target=True, maze_map=TWO_GOALS)
    env.reset(seed=0, options={"goal_cell": (1, 1)})
    seen = [env.state["goal"][0].clone()]
    for _ in range(20):
        at_goal(env, torch.tensor([True]))
        env.step(torch.zeros(1, 2))
        seen.append(env.state["goal"][0].clone())
    places = torch.stack(seen)
    assert len(places.unique(dim=0)) == 21
    assert float((places[1:] - places[:-1]).norm(dim=1).min()) > 0.45
    assert {bool(x > 0.0) for x in places[:, 0]} == {True, False}


def test_a_goal_stays_unless_asked_to_move():
    env = make_maze("PointMaze_UMaze-v3", num_envs=4)
    env.reset(seed=0)
    at_goal(env, torch.ones(4, dtype=torch.bool))
    goal = env.state["goal"].clone()
    for _ in range(3):
        obs, reward, terminated, _, _ = env.step(torch.zeros(4, 2))
        assert reward.tolist() == [1.0] * 4
        assert not terminated.any()
        assert torch.equal(obs["desired_goal"], goal)


# What is measured -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", ["PointMaze_Medium-v3", "AntMaze_Medium-v4"])
def test_state_is_what_mujoco_says(env_id):
    env = make_maze(env_id, num_envs=3, dtype=torch.float64)
    env.reset(seed=0)
    for action in contract.actions_of(env, 5):
        env.step(action)
    data, state = mujoco.MjData(env.world.model), env.state
    for i in range(3):
        env.world.driver.write_data(i, data)
        parts = [state[name][i].reshape(-1) for name in env.world.agent.readings]
        assert torch.equal(torch.cat(parts), torch.as_tensor(np.concatenate([data.qpos, data.qvel])))
    assert set(state) == set(env.state_spec)
    assert torch.equal(state["cell"], env.world.paths.cell(state["position"]))


def test_velocity_is_clipped_before_the_step():
    env = make_maze("PointMaze_Open-v3", num_envs=2, dtype=torch.float64)
    env.reset(seed=0, options={"reset_cell": (2, 1), "goal_cell": (2, 5)})
    env.world._qvel[0] = torch.tensor([50.0, -50.0])
    env.world._qvel[1] = torch.tensor([5.0, -5.0])
    env.world._readings["position"][1] = env.world._readings["position"][0]
    env.step(torch.zeros(2, 2))
    assert torch.equal(env.state["velocity"][0], env.state["velocity"][1])


def test_progress_follows_the_path():
    env = make_maze("PointMaze_UMaze-v3", num_envs=7, dtype=torch.float64)
    env.reset(seed=0)
    paths = env.world.paths
    goal = paths.centers[:1].expand(7, 2)
    along = paths.centers[[4, 5, 6, 3, 2, 1, 0]]  # cell by cell from (3, 1) to (1, 1)
    progress = env.progress({"position": along, "goal": goal})
    assert bool((progress[1:] > progress[:-1]).all())
    around = 2.0 * math.hypot(1.5, 0.5) + 1.0
    start = {"position": paths.centers[[4]], "goal": goal[:1]}
    assert float(env.progress(start)) == pytest.approx(1.0 - (around - 0.45) / (around + 1.0), abs=1e-6)
    assert float(progress[-1]) == 1.0
    near = {"position": goal[:1] + torch.tensor([[0.45 - 1e-9, 0.0]]), "goal": goal[:1]}
    beyond = {"position": goal[:1] + torch.tensor([[0.46, 0.0]]), "goal": goal[:1]}
    assert float(env.progress(near)) == 1.0 > float(env.progress(beyond)) > 0.99
    assert paths.distance(env.state["position"], env.state["goal"]).tolist() == env.state["path_distance"].tolist()


def test_state_stays_as_it_was_read_late():
    env = make_maze("PointMaze_UMaze-v3", num_envs=3)
    env.reset(seed=0)
    before = env.state
    want = env.world.paths.distance(before["position"], before["goal"]).float().clone()
    for action in contract.actions_of(env, 20):
        env.step(action)
    assert torch.equal(before["path_distance"], want)


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_compute_reward_is_inclusive(kind):
    env = make_maze("AntMaze_UMaze-v4")
    achieved = torch.tensor([[[0.0, 0.45], [0.45, 0.01]], [[0.0, 0.0], [3.0, 0.0]]], dtype=torch.float64)
    goal = torch.zeros(2, 2, 2, dtype=torch.float64)
    if kind == "numpy":
        achieved, goal = achieved.numpy(), goal.numpy()
    assert env.compute_reward(achieved, goal, {}).tolist() == [[1.0, 0.0], [1.0, 0.0]]


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goal_cell": (2, 1)}, "goal_cell .* to be a free cell, got the wall \\(2, 1\\). Free cells: \\(1, 1\\)"),
        ({"reset_cell": (5, 0)}, "reset_cell .* within the maze's 5 rows and 5 columns, got \\(5, 0\\)"),
        ({"reset_cell": (-1, 1)}, "within the maze's 5 rows"),
        ({"goal_cell": [(1, 1), (1, 1)]}, "goal_cell as integers \\(i, j\\) or of shape \\(3, 2\\)"),
        ({"goal_cell": (1.0, 1.0)}, "got float32"),
        ({"goal_cell": [(1, 1), (1, 2), (0, 0)]}, "got the wall \\(0, 0\\)"),
    ],
)
def test_bad_cells_are_refused(options, message):
    env = make_maze("PointMaze_UMaze-v3", num_envs=3)
    with pytest.raises(ValueError, match=message):
        env.reset(options=options)


def test_cells_out_of_reach_are_refused():
    env = make_maze("PointMaze_UMaze-v3", maze_map=POCKET)
    with pytest.raises(
        ValueError, match=r"goal_cell to be joined to the reset cell \(1, 1\).*within reach: \(1, 1\), \("
    ):
        env.reset(options={"goal_cell": (1, 4)})
    with pytest.raises(ValueError, match=r"goal_cell to be joined to the reset cell \(1, 4\)"):
        env.reset(options={"goal_cell": (1, 2), "reset_cell": (1, 4)})
    env.reset(options={"goal_cell": (1, 4), "reset_cell": (1, 4)})


def test_options_are_checked():
    with pytest.raises(UnknownNameError, match="'evaluation'"):
        make_maze("PointMaze_UMaze-v3", goals="evaluate")
    with pytest.raises(ValueError, match="continuing_task=True with reset_target=True"):
        make_maze("PointMaze_UMaze-v3", reset_target=True, continuing_task=False)
    with pytest.raises(ValueError, match="can't be reached"):
        make_maze("AntMaze_UMaze-v4", maze_map=[[1] * 5, [1, "r", 1, "g", 1], [1] * 5])
    env = make_maze("PointMaze_UMaze-v3")
    with pytest.raises(TypeError, match="Did you mean 'goal_cell'"):
        env.reset(options={"goal_cells": (1, 1)})
    env.reset(seed=0)
    for bad in (float("nan"), 1.5):
        with pytest.raises(ValueError, match="Expected finite actions within"):
            env.step(torch.full((1, 2), bad))


def test_extreme_actions_leave_the_ant_finite():
    env = make_maze("AntMaze_UMaze-v4", num_envs=4, horizon=20)
    env.reset(seed=0)
    for action in contract.actions_of(env, 40).sign():
        obs, *_, info = env.step(action)
        assert all(bool(torch.isfinite(value).all()) for value in obs.values())
        assert not info["physics_error"].any()


# Solvability ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_id", "goals"),
    [
        ("PointMaze_Open_Diverse_G-v3", "random"),
        ("PointMaze_UMaze-v3", "random"),
        ("PointMaze_Medium_Diverse_GR-v3", "random"),
        ("PointMaze_Large-v3", "evaluation"),
    ],
)
def test_oracle_solves_point_mazes(env_id, goals):
    env = make_maze(env_id, num_envs=128, goals=goals, continuing_task=False)
    env.reset(seed=0)
    oracle = PointMazeOracle(env.world.paths)
    over, solved = torch.zeros(128, dtype=torch.bool), torch.zeros(128, dtype=torch.bool)
    for _ in range(MAZES[env_id].horizon):
        _, _, terminated, truncated, info = env.step(oracle(env.state))
        solved |= info["success"] & ~over
        over |= terminated | truncated
        if over.all():
            break
    assert over.all()
    assert float(solved.float().mean()) >= 0.95


def test_nothing_solves_a_maze_by_standing_still():
    env = make_maze("PointMaze_UMaze-v3", num_envs=32, continuing_task=False)
    env.reset(seed=0)
    steps = [clone(env.step(torch.zeros(32, 2))[4]["success"]) for _ in range(20)]
    assert not torch.stack(steps).any()
