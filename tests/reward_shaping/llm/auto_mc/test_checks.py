"""Each check of the components finds the design made to fail it, and lets a sound one pass."""

from dataclasses import replace

import pytest
import torch
from auto_mc_toys import SPEC, line_program, walk

from cairngym.reward_shaping.llm.auto_mc import checks
from cairngym.reward_shaping.llm.auto_mc.checks import Evidence, gather, inspect
from cairngym.reward_shaping.llm.program import compile_program
from cairngym.reward_shaping.llm.transitions import Recorded

EPISODES, STEPS = 10, 12


def record_walks():
    """Ten envs that walk from 0 to 3 in steps of a quarter; odd ones turn back after six steps and fall at 0."""
    t = torch.arange(STEPS).unsqueeze(1).float()
    odd = torch.arange(EPISODES) % 2 == 1
    before = torch.where(odd & (t >= 6), 3.0 - t / 4, t / 4)
    after = torch.where(odd & (t >= 6), 2.75 - t / 4, (t + 1) / 4)
    last = t == STEPS - 1
    flat = {name: value.flatten() for name, value in (("before", before), ("after", after))}
    return Recorded(
        state={"x": flat["before"], "picture": torch.zeros(len(flat["before"]), 3, 4)},
        next_state={"x": flat["after"], "picture": torch.zeros(len(flat["before"]), 3, 4)},
        action=torch.zeros(len(flat["before"]), 1), reward=(last & ~odd).flatten().float(),
        terminated=last.expand(-1, EPISODES).flatten(), truncated=torch.zeros(STEPS * EPISODES, dtype=torch.bool),
        success=(last & ~odd).flatten(), progress=flat["before"] / 3, next_progress=flat["after"] / 3,
        episode=torch.arange(STEPS * EPISODES) % EPISODES, step=torch.arange(STEPS * EPISODES) // EPISODES,
        num_envs=EPISODES, idle=torch.zeros(1),
    )  # fmt: skip


WALKS = record_walks()
GOAL, CLOSER = "((y >= 3) & (x < 3)).float() - ((y <= 0) & (x > 0)).float()", "y - x"


def found(sparse, dense, recorded=WALKS):
    return {(finding.check, finding.severity) for finding in inspect(line_program(sparse, dense), recorded)}


def test_a_sound_design_passes():
    assert found(GOAL, CLOSER) == set()


@pytest.mark.parametrize(
    ("sparse", "dense", "check", "severity"),
    [
        ("(x == 0).float()", CLOSER, "sparse at reset", "error"),
        ("0 * x", CLOSER, "sparse never", "error"),
        ("(y > 0.3).float()", CLOSER, "sparse always", "error"),
        ("((y > 1) & (y < 2)).float()", CLOSER, "sparse always", "warning"),
        (f"-({GOAL})", CLOSER, "sparse against success", "error"),
        (f"({GOAL}).abs()", CLOSER, "sparse for failure", "error"),
        (GOAL, "0 * x", "dense never", "error"),
        (GOAL, "y + 1", "dense one-sided", "error"),
        (GOAL, "y - 4", "dense one-sided", "error"),
        (GOAL, "x - y", "dense against progress", "error"),
        (GOAL, "(y - x).abs() - 0.1 * (x < 0.1)", "dense against progress", "warning"),
        (GOAL, "y - x + 0.01", "still", "error"),
        (f"{GOAL} + (y >= x).float()", CLOSER, "still", "error"),
        (GOAL, "y - x - 0.01", "still", "warning"),
        (GOAL, "(y - x) * torch.where(x < 2, 1e-7 * torch.ones_like(x), torch.ones_like(x))", "dense noise", "error"),
    ],
)
def test_each_check_finds_the_design_made_to_fail_it(sparse, dense, check, severity):
    assert (check, severity) in found(sparse, dense)


def test_events_that_never_happen_are_only_warned_of_where_nothing_succeeded():
    nothing = replace(WALKS, success=torch.zeros_like(WALKS.success))
    assert ("sparse never", "warning") in found("0 * x", CLOSER, nothing)
    assert ("sparse never", "error") not in found("0 * x", CLOSER, nothing)


def test_hardly_dense_is_warned_of():
    dense = torch.zeros(1000)
    dense[:5], dense[5:9] = 1.0, -1.0
    rows = torch.zeros(1000)
    recorded = Recorded(
        state={}, action=rows, next_state={}, reward=rows, terminated=rows.bool(), truncated=rows.bool(),
        success=rows.bool(), progress=rows, next_progress=rows, episode=rows.long(), step=torch.arange(1000),
        num_envs=1, idle=None,
    )  # fmt: skip
    evidence = Evidence(sparse=rows, dense=dense, still_sparse=rows, still_dense=rows, recorded=recorded)
    assert [(entry.check, entry.severity) for entry in checks.density(evidence)] == [("dense rarely", "warning")]


def test_memory_is_played_in_order_and_settles_before_standing_still_is_judged():
    source = (
        "def reward(state, action, next_state, memory):\n"
        "    best = memory.get('best', state.x)\n"
        "    after = torch.maximum(best, next_state.x)\n"
        "    memory['best'] = after\n"
        "    return after, {'sparse': ((after >= 3) & (best < 3)).float(), 'dense': after - best}\n"
    )
    evidence = gather(compile_program(source, SPEC), WALKS)
    climbs = WALKS.next_state["x"] > WALKS.state["x"]
    assert torch.equal(evidence.dense > 0, climbs)
    assert not bool(evidence.dense[~climbs].any())
    assert not bool(evidence.still_dense.any())


def test_a_recording_that_holds_nothing_of_a_kind_finds_nothing_of_it():
    assert found(GOAL, CLOSER, walk()) == set()
