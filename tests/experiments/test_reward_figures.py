"""Pictures of reward programs, on episodes whose ends are known and on a run trained for a moment."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import cairngym
from cairngym.cli import main
from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.reward_figures import Watched, draw_reward, stretches, watch_run, watch_scripted
from cairngym.reward_shaping.llm.behaviour import Played, play
from cairngym.reward_shaping.llm.program_term import compile_for

TASK = "Chain-N10-v0"
SOURCE = """
def reward(state, action, next_state, memory):
    near = 0.1 * (next_state.node - state.node).float()
    cost = 0.0 * near - 0.01
    return near + cost, {"near": near, "cost": cost}
"""


def sided(count, right):
    """The first `right` of some envs walk to the end of the chain, the others away from it."""
    env = cairngym.make(TASK, num_envs=count)
    action = (torch.arange(count) < right).long()
    return env, Watched(task=TASK, policy="walkers", played=play(env, lambda obs: action))


def test_a_success_and_a_failure_are_shown(tmp_path):
    env, watched = sided(4, 2)
    assert (watched.successes, watched.chosen()) == (2, [0, 2])
    drawn = draw_reward(compile_for(env, SOURCE), watched, tmp_path / "new" / "out.png")
    assert (drawn.episodes, drawn.successes) == (4, 2)
    horizon = env.task.horizon
    assert drawn.lines == (
        "success at step 9: 9 steps, 0.81 in all",
        f"no success: {horizon} steps, {-0.01 * horizon:.3g} in all",
    )
    picture = cv2.imread(str(drawn.path))
    assert picture.shape[1] > picture.shape[0] > 500
    again = draw_reward(compile_for(env, SOURCE), watched, tmp_path / "again.png")
    assert again.path.read_bytes() == drawn.path.read_bytes()


def test_episodes_that_end_well_are_preferred():
    success = torch.tensor([[0, 1, 0, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]], dtype=torch.bool)
    lives = torch.ones_like(success)
    lives[3, 4] = False
    played = Played(state={}, action=lives, next_state={}, success=success, truncated=~lives, lives=lives)
    assert Watched(task=TASK, policy="", played=played).chosen() == [4, 0]
    four = {"success": success[:, :4], "truncated": ~lives[:, :4], "lives": lives[:, :4], "action": lives[:, :4]}
    assert Watched(task=TASK, policy="", played=replace(played, **four)).chosen() == [3, 0]


def test_one_kind_of_episode_takes_one_row(tmp_path):
    env, watched = sided(2, 2)
    assert watched.chosen() == [0]
    drawn = draw_reward(compile_for(env, SOURCE), watched, tmp_path / "out.png")
    assert len(drawn.lines) == 1
    both = draw_reward(compile_for(env, SOURCE), sided(2, 1)[1], tmp_path / "both.png")
    assert cv2.imread(str(drawn.path)).shape[0] < cv2.imread(str(both.path)).shape[0]


def test_what_is_remembered_begins_with_the_episode(tmp_path):
    counting = """
def reward(state, action, next_state, memory):
    steps = memory.get("steps", 0.0) + 1.0
    memory["steps"] = steps
    return steps, {"steps": steps}
"""
    env, watched = sided(2, 1)
    drawn = draw_reward(compile_for(env, counting), watched, tmp_path / "out.png")
    assert drawn.lines[0] == "success at step 9: 9 steps, 45 in all"


def test_scripted_episodes_end_either_way():
    env = cairngym.make("FetchPush-v4", num_envs=8)
    watched = watch_scripted(env, "FetchPush-v4", seed=7)
    assert bool(watched.played.succeeded[0])
    assert len(watched.chosen()) == 2
    assert watched.policy.startswith("a scripted policy")
    again = watch_scripted(env, "FetchPush-v4", seed=7)
    assert torch.equal(again.played.action, watched.played.action)


def test_without_a_scripted_policy_actions_are_random(monkeypatch):
    monkeypatch.setattr("cairngym.experiments.reward_figures.scripted", lambda env: None)
    watched = watch_scripted(cairngym.make(TASK, num_envs=64), TASK)
    assert watched.policy == "random actions"
    assert 0.3 < float(watched.played.action[0].double().mean()) < 0.7


def test_a_run_is_watched(tmp_path, capsys):
    settings = ["--steps", "2048", "--agent.num-envs", "64", "--agent.rollout-steps", "16", "--eval-episodes", "8"]
    folder = ["--folder", str(tmp_path / "run")]
    assert main(["train", "--task", TASK, *settings, *folder, "--eval-every", "2048"]) == 0
    capsys.readouterr()
    watched = watch_run(tmp_path / "run", episodes=8, seed=3)
    assert watched.task == TASK
    assert watched.policy == "the policy of sparse, seed 0, after 2,048 steps"
    assert watched.played.lives.shape[1] == 8
    assert torch.equal(watch_run(tmp_path / "run", episodes=8, seed=3).played.action, watched.played.action)
    greedy = watch_run(tmp_path / "run", episodes=8, seed=3, greedy=True)
    assert not torch.equal(greedy.played.action[:5], watched.played.action[:5])


def test_bad_input(tmp_path):
    env, watched = sided(2, 1)
    with pytest.raises(ConfigError, match=r"Expected an output that ends in \.png"):
        draw_reward(compile_for(env, SOURCE), watched, tmp_path / "out.jpg")
    with pytest.raises(ConfigError, match=r"Expected a run's folder with a config.yaml"):
        watch_run(tmp_path)
    with pytest.raises(ValueError, match="Expected episodes >= 1, got 0"):
        watch_run(tmp_path, episodes=0)


@pytest.mark.parametrize(
    ("flags", "ranges"), [([0, 0], []), ([1, 1], [(0, 2)]), ([1, 0, 1], [(0, 1), (2, 3)]), ([0, 1, 1, 0], [(1, 3)])]
)
def test_stretches(flags, ranges):
    assert stretches(np.array(flags, dtype=bool)) == ranges
