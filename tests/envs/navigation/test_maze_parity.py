"""PointMaze and AntMaze step as Gymnasium-Robotics 1.4's do, from the same state under the same actions."""

import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from cairngym.envs.navigation.maze_task import make_maze

STEPS = 50
WORLDS = 3
TOLERANCE = 1e-9


@pytest.fixture(scope="module", autouse=True)
def upstream():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gymnasium_robotics = pytest.importorskip("gymnasium_robotics")
        gymnasium.register_envs(gymnasium_robotics)


def references_of(env_id, seeds, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream would rather have AntMaze-v5, which we do not offer
        found = [gymnasium.make(env_id, **options) for _ in seeds]
    for reference, seed in zip(found, seeds, strict=True):
        reference.reset(seed=seed)
        Path(reference.unwrapped.tmp_xml_file_path).unlink()  # upstream leaves it behind
    return found


def twins(env_id, place=None, **options):
    """Reference envs, and ours with their state."""
    references = references_of(env_id, range(WORLDS), **options)
    for reference in references if place else ():
        place(reference.unwrapped)
    env = make_maze(env_id, num_envs=WORLDS, dtype=torch.float64, **options)
    env.reset(seed=0)
    env.world.inject(references)
    return references, env


def assert_near(ours, theirs, what):
    for i, row in enumerate(theirs):
        for name, value in row.items():
            np.testing.assert_allclose(ours[name][i], value, rtol=0, atol=TOLERANCE, err_msg=f"{what}, {name} of {i}")


def play(references, env, actions, adopt=False):
    """Step both, compare, and return how often each world succeeded."""
    reached = torch.zeros(WORLDS, dtype=torch.int64)
    for t, action in enumerate(actions):
        obs, reward, terminated, truncated, info = env.step(torch.as_tensor(action))
        steps = [reference.step(action[i]) for i, reference in enumerate(references)]
        assert_near(obs, [step[0] for step in steps], f"step {t}")
        assert_near(info["final_obs"], [step[0] for step in steps], f"final of step {t}")
        assert reward.tolist() == [step[1] for step in steps], t
        assert terminated.tolist() == [step[2] for step in steps], t
        assert truncated.tolist() == [step[3] for step in steps], t
        assert info["success"].tolist() == [step[4]["success"] for step in steps], t
        reached += info["success"]
        if adopt:
            for i, reference in enumerate(references):
                env.world.adopt(i, reference.unwrapped)
    return reached


def random_actions(env, steps=STEPS, seed=0):
    size = env.single_action_space.shape[0]
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (steps, WORLDS, size)).astype(np.float32)


def pushing(env, steps=STEPS):
    """Full force the same way for long, so that agents run into walls and stay there."""
    size = env.single_action_space.shape[0]
    held = np.random.default_rng(1).choice([-1.0, 1.0], (steps // 25, WORLDS, size)).astype(np.float32)
    return held.repeat(25, axis=0)


def contacts(env):
    """How many contacts with walls each world has."""
    import mujoco

    counts = []
    for i in range(WORLDS):
        data = mujoco.MjData(env.world.model)
        mujoco.mj_forward(env.world.driver.write_data(i, data), data)
        names = [env.world.model.geom(int(geom)).name for pair in data.contact.geom for geom in pair]
        counts.append(sum(name.startswith("block") for name in names))
    return counts


@pytest.mark.parametrize(
    "env_id", ["PointMaze_UMaze-v3", "PointMaze_Medium-v3", "PointMaze_Large-v3", "PointMaze_Open_Diverse_GR-v3"]
)
def test_point_maze(env_id):
    references, env = twins(env_id)
    play(references, env, random_actions(env))
    play(references, env, pushing(env, 200))
    assert sum(contacts(env)) > 0, "nobody touched a wall"


@pytest.mark.parametrize("env_id", ["AntMaze_UMaze-v4", "AntMaze_Medium_Diverse_G-v4"])
def test_ant_maze(env_id):
    references, env = twins(env_id)
    play(references, env, random_actions(env))


def beside_wall(maze):
    """Put the ant's legs against the wall to its left."""
    x, _ = maze.maze.cell_rowcol_to_xy((1, 1))
    maze.data.qpos[0] = x - 2.0 + 0.7


def test_ant_maze_at_the_wall():
    references, env = twins("AntMaze_UMaze-v4", place=beside_wall)
    touched = 0
    for part in np.split(random_actions(env), 10):
        play(references, env, part)
        touched += sum(contacts(env))
    assert touched > 0, "nobody touched a wall"


def near_goal(maze):
    """Put the goal 0.6 m from the agent."""
    maze.goal = maze.data.qpos[:2] + np.array([0.6, 0.0])


def rightwards(env, steps=STEPS):
    """Run or stagger towards the goal."""
    action = random_actions(env, steps)
    if action.shape[-1] == 2:
        action[..., 0] = 0.5
    return action


@pytest.mark.parametrize(("env_id", "steps"), [("PointMaze_UMaze-v3", 50), ("AntMaze_UMaze-v4", 150)])
def test_success_of_a_continuing_task(env_id, steps):
    references, env = twins(env_id, place=near_goal)
    reached = play(references, env, rightwards(env, steps))
    assert reached.sum() > 0
    assert env.task.terminate_on_success is False


def test_success_ends_an_episode():
    references, env = twins("PointMaze_UMaze-v3", place=near_goal, continuing_task=False)
    for t, action in enumerate(rightwards(env)):
        _, reward, terminated, truncated, info = env.step(torch.as_tensor(action))
        steps = [reference.step(action[i]) for i, reference in enumerate(references)]
        assert_near(info["final_obs"], [step[0] for step in steps], f"step {t}")
        assert reward.tolist() == [step[1] for step in steps]
        assert terminated.tolist() == [step[2] for step in steps]
        if terminated.any():
            assert torch.equal(terminated, info["success"])
            assert not truncated.any()
            return
    raise AssertionError("nobody reached the goal")


def test_horizon():
    references, env = twins("PointMaze_UMaze-v3")
    env.episodes.length += 298
    for reference in references:
        while not hasattr(reference, "_elapsed_steps"):
            reference = reference.env
        reference._elapsed_steps = 298
    actions = random_actions(env, 2)
    play(references, env, actions[:1])
    _, _, _, truncated, info = env.step(torch.as_tensor(actions[1]))
    steps = [reference.step(actions[1][i]) for i, reference in enumerate(references)]
    assert truncated.tolist() == [step[3] for step in steps] == [True] * WORLDS
    assert_near(info["final_obs"], [step[0] for step in steps], "the last step")


@pytest.mark.parametrize("env_id", ["PointMaze_UMaze-v3", "AntMaze_UMaze-v4"])
def test_goal_that_moves(env_id):
    references, env = twins(env_id, place=near_goal, reset_target=True)
    before = env.state["goal"].clone()
    reached = play(references, env, rightwards(env, 150), adopt=True)
    assert reached.sum() > 0
    assert not torch.equal(env.state["goal"], before)
