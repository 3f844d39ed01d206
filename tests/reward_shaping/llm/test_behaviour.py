import pytest
import torch
from scribe import program

import cairngym
from cairngym.envs.core import TensorEnv
from cairngym.envs.tabular import TabularTask, TabularWorld
from cairngym.reward_shaping.llm.behaviour import play, summarize_behaviour, trace
from cairngym.reward_shaping.llm.program_term import compile_for
from cairngym.reward_shaping.llm.rehearsal import rehearse

COUNTED = """
def reward(state, action, next_state, memory):
    steps = memory.get("steps", 0.0) + 1.0
    memory["steps"] = steps
    gain = (next_state.node - state.node).float()
    return gain + 0.0 * steps, {"gain": gain, "steps": steps, "one": torch.ones_like(gain)}
"""


def forks(num_envs=4, horizon=6):
    """A corridor of five nodes: env actions decide whether it ends at the goal (4) or at the pit (0)."""
    moves = torch.zeros(5, 2, 5)
    for node in range(5):
        moves[node, 0, max(node - 1, 0)] = moves[node, 1, min(node + 1, 4)] = 1.0
    world = TabularWorld(moves, torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]), num_envs, "cpu")
    return TensorEnv(world, TabularTask(5, (4,), failures=(0,), horizon=horizon))


def three_ways():
    """Envs 0 and 1 succeed after 2 and 4 steps, env 2 falls into the pit, env 3 runs out of time."""
    plans = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 1]])
    moment = iter(range(6))
    return lambda obs: plans[:, next(moment)]


@pytest.fixture
def env():
    return forks()


@pytest.fixture
def played(env):
    return play(env, three_ways())


def test_each_env_plays_one_episode(played):
    assert played.lengths.tolist() == [2, 4, 2, 6]
    assert played.succeeded.tolist() == [True, True, False, False]
    assert played.final(played.next_state["node"]).tolist() == [4, 4, 0, 2]
    assert played.final(played.truncated).tolist() == [False, False, False, True]
    assert played.state["node"][0].tolist() == [2, 2, 2, 2]


def test_components_are_traced_with_the_episode_s_memory(env, played):
    paid = trace(compile_for(env, COUNTED), played)
    assert list(paid) == ["total", "gain", "steps", "one"]
    assert paid["gain"][:2, 0].tolist() == [1.0, 1.0]
    assert paid["gain"][:4, 1].tolist() == [-1.0, 1.0, 1.0, 1.0]
    assert paid["steps"][:, 3].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_the_summary_tells_what_happened(env, played):
    text = summarize_behaviour(played, env.state_spec, compile_for(env, COUNTED))
    assert text.splitlines() == [
        "The policy was watched for 4 episodes and succeeded in 2 of them.",
        "Where it succeeded, that was after 3 (2 to 4) steps.",
        "Failing episodes took 4 (2 to 6) steps; 1 ran out of time.",
        "1 failing episode ended before that.",
        "What the reward paid a step, on average:",
        "- total: 0.75 in successful episodes, -0.5 in failing episodes",
        "- gain: 0.75 in successful episodes, -0.5 in failing episodes",
        "- steps: 2 in successful episodes, 2.5 in failing episodes",
        "- one: 1 in successful episodes, 1 in failing episodes (always the same)",
        "What was measured, on average over the episodes:",
        "- node: 2 at the start; at the end 4 in successful episodes, 1 in failing episodes",
    ]
    short = summarize_behaviour(played, env.state_spec).splitlines()
    assert short == text.splitlines()[:4] + text.splitlines()[-2:]


def test_it_is_the_same_for_the_same_episodes(env, played):
    program_ = compile_for(env, COUNTED)
    again = play(forks(), three_ways())
    assert summarize_behaviour(again, env.state_spec, program_) == summarize_behaviour(played, env.state_spec, program_)


def test_it_works_where_all_succeed_and_where_none_does():
    won = play(forks(), lambda obs: torch.ones(4, dtype=torch.int64))
    text = summarize_behaviour(won, forks().state_spec)
    assert "succeeded in 4 of them" in text
    assert "after 2 steps" in text
    assert "ailing" not in text
    lost = play(forks(), lambda obs: torch.zeros(4, dtype=torch.int64))
    text = summarize_behaviour(lost, forks().state_spec)
    assert "succeeded in 0 of them" in text
    assert "successful" not in text


def test_distances_between_places_are_told_and_privileged_measurements_are_not():
    env = cairngym.make("FetchReach-v4", num_envs=2)
    still = play(env, lambda obs: torch.zeros(2, 4))
    text = summarize_behaviour(still, env.state_spec)
    far = (still.state["gripper_position"][0] - still.state["goal"][0]).double().norm(dim=-1).mean()
    assert f"distance between gripper_position and goal, m: {float(far):.3g} at the start" in text
    grid = cairngym.make("MiniGrid-Empty-5x5-v0", num_envs=2, bank_size=64)
    turned = play(grid, lambda obs: torch.zeros(2, dtype=torch.int64))
    assert "remaining" not in turned.state
    assert "remaining" not in summarize_behaviour(turned, grid.state_spec)
    assert "agent_dir" in summarize_behaviour(
        turned, grid.state_spec, compile_for(grid, program("state.agent_dir / 4"))
    )


def test_a_task_that_does_not_stay_done_is_told():
    env = forks()
    env.task.terminate_on_success = False
    moment = iter(range(6))
    away = play(env, lambda obs: torch.full((4,), 1 if next(moment) < 4 else 0))
    assert away.succeeded.all()
    assert "In 4 of the successful episodes the task was no longer done" in summarize_behaviour(away, env.state_spec)


def test_rehearsals_hold_successes_and_leave_the_env_alone():
    env = cairngym.make("Chain-N10-v0", num_envs=3)
    env.reset(seed=0)
    before = env.get_state()
    env.unwrapped.id = ""
    assert rehearse(env) is None
    env.unwrapped.id = "Chain-N10-v0"
    recorded = rehearse(env, num_envs=4, steps=60)
    assert recorded.num_envs == 4
    assert bool(recorded.success.any())
    assert env.get_state()["world"]["node"].tolist() == before["world"]["node"].tolist()
    env.unwrapped.id = "no such id"
    assert rehearse(env) is None
