"""What every physics env can be made with."""

import pytest
import torch

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.physics.world import EVALUATION_BEGINNINGS

REACH, MAZE, DOOR = "FetchReach-v4", "PointMaze_UMaze-v3", "AdroitHandDoorSparse-v1"


def beginnings(env, episodes):
    """First states of `episodes` episodes in a row, each field `(episodes, N, ...)`."""
    env.reset()
    seen = []
    for _ in range(episodes):
        seen.append({name: value.clone() for name, value in env.state.items()})
        env.reset()
    return {name: torch.stack([state[name] for state in seen]) for name in seen[0]}


@pytest.mark.parametrize("env_id", [REACH, "FetchPush-v4", MAZE, DOOR])
def test_evaluation_goes_through_five_fixed_beginnings(env_id):
    first = beginnings(cairngym.make(env_id, num_envs=2, seed=1, goals="evaluation"), EVALUATION_BEGINNINGS + 1)
    other = beginnings(cairngym.make(env_id, num_envs=2, seed=2, goals="evaluation"), EVALUATION_BEGINNINGS + 1)
    for name, values in first.items():
        assert torch.equal(values, other[name]), name
        assert torch.equal(values[0], values[EVALUATION_BEGINNINGS]), name
        assert torch.equal(values[1:, 0], values[:-1, 1]), name  # env 1 is one beginning ahead
    what = "goal" if "goal" in first else "handle_position"
    assert len({tuple(row) for row in first[what][:EVALUATION_BEGINNINGS, 0].tolist()}) == EVALUATION_BEGINNINGS


@pytest.mark.parametrize("env_id", [REACH, MAZE, DOOR])
def test_random_goals_differ_by_seed(env_id):
    states = [beginnings(cairngym.make(env_id, num_envs=1, seed=seed), 1) for seed in (1, 2)]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_horizon_truncates():
    env = cairngym.make(REACH, horizon=3)
    env.reset()
    ends = [bool(env.step(torch.zeros(1, 4))[3]) for _ in range(6)]
    assert ends == [False, False, True] * 2


def test_pictures_are_aimed():
    env = cairngym.make(REACH, render_size=(40, 30))
    assert env.world.render_size == (40, 30)


@pytest.mark.parametrize("env_id", [REACH, MAZE, DOOR])
def test_wrong_options_are_named(env_id):
    with pytest.raises(TypeError, match=r"Did you mean 'horizon'\?"):
        cairngym.make(env_id, horizn=5)
    with pytest.raises(UnknownNameError, match="Did you mean 'evaluation'"):
        cairngym.make(env_id, goals="evaluate")
    with pytest.raises(ValueError, match="horizon >= 1"):
        cairngym.make(env_id, horizon=0)
    with pytest.raises(UnknownNameError, match="physics driver"):
        cairngym.make(env_id, driver="thread")
    with pytest.raises(UnknownNameError, match="camera"):
        cairngym.make(env_id, camera="nowhere")
