"""The trajectory analyzer: hand-made episodes come to the summary worked out by hand."""

import json

import pytest
import torch
from auto_mc_toys import BEST, line_program, named, played, walk

import cairngym
from cairngym.reward_shaping.llm.auto_mc.analysis import analyze, episodes, play
from cairngym.reward_shaping.llm.auto_mc.design import compile_design

DESIGN = line_program("(y >= 2).float()", "torch.where(x < 1.5, y - x, -x / 3)")


def three():
    """Env 0 runs out of time, env 1 succeeds, env 2 is lost in its second step."""
    x = [[0.0, 0.0, 1.0], [1.0, 1.0, 2.0], [1.2345, 2.0, 9.0]]
    return played(x, [3, 3, 2], success=[(2, 1)], truncated=[(2, 0)])


def test_hand_made_episodes_give_the_expected_json():
    assert analyze(three(), DESIGN, last=2).to_json() == {
        "episodes": 3,
        "failed": 2,
        "failed_share": 0.667,
        "length": {"least": 2, "mean": 2.5, "greatest": 3},
        "ended": {"ran out of time": 1, "ended early": 1},
        "events": {
            "sparse": {
                "failed": {"above": 0.5, "below": 0.0, "episodes": 0.5},
                "succeeded": {"above": 1.0, "below": 0.0, "episodes": 1.0},
            },
            "dense": {
                "failed": {"above": 2.0, "below": 0.5, "episodes": 1.0},
                "succeeded": {"above": 2.0, "below": 1.0, "episodes": 1.0},
            },
        },
        "examples": [
            {
                "env": 0,
                "length": 3,
                "ended": "ran out of time",
                "trace": {"step": [0, 1, 2], "sparse": [0.0, 0.0, 0.0], "dense": [0.5, 0.5, 0.5]},
                "last_steps": [
                    {"step": 1, "state": {"x": 1.0}, "action": [0.3]},
                    {"step": 2, "state": {"x": 1.23}, "action": [0.6]},
                ],
                "final_state": {"x": 1.73},
            },
            {
                "env": 2,
                "length": 2,
                "ended": "ended early",
                "trace": {"step": [0, 1], "sparse": [0.0, 1.0], "dense": [0.5, -0.667]},
                "last_steps": [
                    {"step": 0, "state": {"x": 1.0}, "action": [0.2]},
                    {"step": 1, "state": {"x": 2.0}, "action": [0.5]},
                ],
                "final_state": {"x": 2.5},
            },
        ],
        "left_out": ["picture"],
    }


def test_the_text_is_that_json_in_few_lines():
    summary = analyze(three(), DESIGN)
    assert json.loads(summary.text()) == summary.to_json()
    assert summary.text() == analyze(three(), DESIGN).text()
    assert len(summary.text().splitlines()) < 30


def test_where_all_succeed_nothing_failed():
    summary = analyze(played([[0.0]], [1], success=[(0, 0)]), DESIGN)
    assert (summary.failed, summary.failed_share, summary.length, summary.examples) == (0, 0.0, {}, [])
    assert summary.ended == {"ran out of time": 0, "ended early": 0}
    assert set(summary.events["dense"]) == {"succeeded"}
    assert json.loads(summary.text()) == summary.to_json()


def test_long_traces_and_many_failures_are_sampled_evenly_to_the_last():
    x = torch.arange(100.0).unsqueeze(1).expand(100, 7).tolist()
    summary = analyze(played(x, [100] * 7, truncated=[(99, env) for env in range(7)]), DESIGN, samples=5, examples=3)
    assert [entry.env for entry in summary.examples] == [0, 3, 6]
    assert summary.examples[0].trace["step"] == [0, 24, 49, 74, 99]
    assert [step["step"] for step in summary.examples[0].last_steps] == [96, 97, 98, 99]


def test_numbers_that_json_lacks_become_text():
    summary = analyze(played([[0.0], [float("nan")]], [2], truncated=[(1, 0)]), DESIGN)
    assert summary.examples[0].final_state == {"x": "nan"}
    assert json.loads(summary.text()) == summary.to_json()


@pytest.mark.parametrize("option", ["last", "examples", "samples"])
def test_numbers_below_one_are_refused(option):
    with pytest.raises(ValueError, match=f"Expected {option} >= 1, got 0"):
        analyze(three(), DESIGN, **{option: 0})


def test_a_recording_is_read_as_episodes_and_cut_ones_are_out_of_time():
    summary = analyze(episodes(walk(terminated=(False, True)), DESIGN), DESIGN)
    assert (summary.episodes, summary.failed, summary.ended["ended early"]) == (2, 1, 1)
    assert [step["state"]["x"] for step in summary.examples[0].last_steps] == [3.0, 2.0, 1.0, 0.0]
    late = analyze(episodes(walk(terminated=(False, False)), DESIGN), DESIGN)
    assert late.ended == {"ran out of time": 1, "ended early": 0}


def test_a_policy_is_watched_and_its_failures_are_analysed():
    env = cairngym.make("Chain-N10-v0", num_envs=3)
    program = compile_design(env, BEST).program
    moves = iter([[1, 1, 0]] * 9 + [[1, 0, 0]] * 1000)
    summary = analyze(play(env, lambda obs: torch.tensor(next(moves))), program)
    assert (summary.episodes, summary.failed) == (3, 1)
    assert summary.examples[0].env == 2
    assert summary.ended == {"ran out of time": 1, "ended early": 0}
    assert summary.events["sparse"]["succeeded"]["above"] == 8.0
    assert summary.events["sparse"]["failed"]["above"] == 0.0


def test_privileged_measurements_are_not_in_a_summary():
    env = named("MiniGrid-DoorKey-5x5-v0", num_envs=2, bank_size=64)
    source = (
        "def reward(state, action, next_state, memory):\n    d = state.agent_dir.float()\n"
        "    return d, {'sparse': d, 'dense': d}\n"
    )
    program = compile_design(env, source).program
    summary = analyze(play(env, lambda obs: torch.zeros(2, dtype=torch.int64)), program)
    assert (summary.failed, summary.left_out) == (2, ["grid"])
    assert set(summary.examples[0].final_state) == {"agent_pos", "agent_dir", "carrying", "step_count"}
