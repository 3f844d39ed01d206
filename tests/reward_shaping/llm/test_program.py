"""Reward programs: what is accepted gives what Python and torch would give, for each env by its own row."""

import math
import pickle
import types

import pytest
import torch
from program_corpus import ACCEPTED, SPECS, Plain, actions, body, by_python, draw, run, vector

from cairngym.reward_shaping.llm.program import ProgramFailed, ProgramRefused, RewardProgram, compile_program


def test_enough_rewards_are_accepted():
    assert len(ACCEPTED) >= 30


@pytest.mark.parametrize("name", ACCEPTED)
def test_gives_what_python_gives(name):
    kind, source = ACCEPTED[name]
    program, reference = compile_program(source, SPECS[kind]), by_python(source)
    memory, plain = {}, Plain()
    for step in range(3):
        state, following = draw(SPECS[kind], 16, 2 * step), draw(SPECS[kind], 16, 2 * step + 1)
        kept = {
            field: value.clone() for field, value in (*state.items(), *((f"next {k}", v) for k, v in following.items()))
        }
        reward, components = program(state, actions(kind, 16, step), following, memory)
        wanted, parts = reference(state, actions(kind, 16, step), following, plain)
        torch.testing.assert_close(reward, wanted, rtol=0, atol=0)
        assert list(components) == list(parts) == list(program.components)
        for part, value in parts.items():
            torch.testing.assert_close(components[part], value.float(), rtol=0, atol=0)
        after = {**state, **{f"next {k}": v for k, v in following.items()}}
        assert all(torch.equal(after[field], kept[field]) for field in kept)
        assert {key: value.tolist() for key, value in memory.items()} == {k: v.tolist() for k, v in plain.items()}
    assert set(program.remembers) == set(plain)
    assert set(program.fields) <= set(SPECS[kind])


@pytest.mark.parametrize("name", ACCEPTED)
def test_each_env_is_scored_by_its_own_row(name):
    """Any part of a batch, in any order, gets what it gets within the batch: nothing is mixed, whatever B is."""
    kind, source = ACCEPTED[name]
    program = compile_program(source, SPECS[kind])
    state, following, action = draw(SPECS[kind], 12, 0), draw(SPECS[kind], 12, 1), actions(kind, 12, 2)
    whole, _ = program(state, action, following, {})
    for rows in (torch.tensor([7]), torch.tensor([3, 0, 11]), torch.arange(11, -1, -1)):
        part, _ = program(
            {k: v[rows] for k, v in state.items()}, action[rows], {k: v[rows] for k, v in following.items()}, {}
        )
        torch.testing.assert_close(part, whole[rows])


def test_values_by_hand():
    program = body("r = 2.0 * next_state.x + state.p.sum(dim=-1) ** 2 - (action[:, 0] * 0.5)")
    state = {"x": torch.tensor([1.0, -2.0]), "p": torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])}
    reward, components = program(state, torch.tensor([[4.0, 0.0], [2.0, 0.0]]), state, {})
    assert reward.tolist() == [2 + 36 - 2, -4 + 1 - 1]
    assert components["r"].tolist() == reward.tolist()
    assert program.fields == ("p", "x")
    assert program.components == ("r",)
    assert program.remembers == ()


def test_python_numbers_decide_branches_loops_and_sizes():
    program = body(
        "r = torch.zeros_like(state.x)",
        "for i, (w, flag) in enumerate(zip((1.0, 10.0, 100.0), (True, False, True))):",
        "    if flag and i < 5 or not True:",
        "        r += w * (i + 1)",
        "    elif math.isinf(math.inf):",
        "        r = r - 0.5",
        "weights = {'a': 3, 'b': (4, 5)}",
        "r = r + weights['a'] + weights['b'][1:][0] + max(1, 2) + abs(-7) + round(2.6) + len((1, 2, 3)) + int(9.9)",
        "r = r * (2 if len([i for i in range(3)]) == 3 else 0)",
    )
    reward, _ = run(program, torch.zeros(2))
    assert reward.tolist() == [2 * (1 - 0.5 + 300 + 3 + 5 + 2 + 7 + 3 + 3 + 9)] * 2


def test_updates_do_not_write_into_the_state():
    program = body("r = state.x", "r += 1.0", "r *= 3.0")
    x = torch.tensor([1.0, 2.0])
    assert run(program, x)[0].tolist() == [6.0, 9.0]
    assert x.tolist() == [1.0, 2.0]


def test_what_is_never_reached_is_not_compiled():
    program = body("r = -state.x", "if 1 > 2:", "    r = state.p.sum(dim=-1)")
    assert program.fields == ("x",)


def test_gradients_are_not_kept():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not run(body("r = state.x * 2.0"), x)[0].requires_grad


def test_float64_stays_and_components_become_floats():
    spec = {"x": vector(0, torch.float64)}
    program = compile_program(
        "def reward(state, action, next_state, memory):\n    return state.x, {'won': state.x > 0, 'k': state.x.long()}",
        spec,
    )
    x = torch.tensor([1.5, -1.0], dtype=torch.float64)
    reward, components = program({"x": x}, torch.zeros(2), {"x": x}, {})
    assert reward.dtype is torch.float64
    assert components["won"].tolist() == [1.0, 0.0]
    assert {value.dtype for value in components.values()} == {torch.float32}


# Actions


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 24, 33])
def test_actions_of_any_size(size):
    program = body("r = -(action ** 2).mean(dim=-1) + 0.0 * action.shape[1]")
    state = {"x": torch.zeros(2), "p": torch.zeros(2, 3)}
    assert program(state, torch.full((2, size), 2.0), state, {})[0].tolist() == [-4.0, -4.0]


def test_an_action_that_does_not_fit_the_program():
    program = body("r = action[:, 3]")
    state = {"x": torch.zeros(2), "p": torch.zeros(2, 3)}
    with pytest.raises(ProgramFailed, match=r"line 2: With torch.float32 actions \(B, 2\)"):
        program(state, torch.zeros(2, 2), state, {})
    with pytest.raises(ProgramRefused, match="index 3 is out of bounds"):
        body("r = action[:, 3]", action=vector(2))
    declared = body("r = action[:, 1]", action=vector(2))
    with pytest.raises(ProgramFailed, match="Expected actions of shape"):
        declared(state, torch.zeros(2, 3), state, {})


# What fails while it runs


def test_a_state_that_is_not_as_declared():
    program = body("r = state.x + next_state.p.sum(dim=-1)")
    good = {"x": torch.zeros(2), "p": torch.zeros(2, 3)}
    action = torch.zeros(2, 2)
    for bad, reason in (
        ({"p": good["p"]}, "state has no field 'x'; it has: p"),
        ({"x": torch.zeros(2, 1), "p": good["p"]}, r"Expected state.x of shape \(2,\), got \(2, 1\)"),
        ({"x": torch.zeros(3), "p": good["p"]}, "Expected state.x of shape"),
        ({"x": torch.zeros(2).long(), "p": good["p"]}, "got torch.int64"),
    ):
        with pytest.raises(ProgramFailed, match=reason):
            program(bad, action, good, {})
    with pytest.raises(ProgramFailed, match=r"Expected next_state\.p"):
        program(good, action, {"p": torch.zeros(2, 4)}, {})


def test_torch_errors_carry_the_line():
    program = body("a = state.x", "r = torch.lerp(a, next_state.x, 0.5)")
    single, double = ({"x": torch.ones(2, dtype=dtype)} for dtype in (torch.float32, torch.float64))
    with pytest.raises(ProgramFailed) as caught:
        program(single, torch.zeros(2), double, {})
    assert caught.value.line == 3
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.line) == (str(caught.value), 3)


def test_values_that_are_not_finite_are_returned_as_they_are():
    reward, _ = run(body("r = torch.log(state.x) / 0.0 if False else torch.log(state.x)"), torch.tensor([0.0, -1.0]))
    assert reward[0] == -math.inf
    assert math.isnan(reward[1])


def test_indices_out_of_range_are_clamped():
    program = body(
        "i = (state.x[:, None] * 100).long()",
        "r = torch.gather(state.p, 1, i).squeeze(-1) + state.p.gather(1, action[:, :1].long()).squeeze(-1)",
    )
    state = {"x": torch.tensor([9.0, -9.0]), "p": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}
    assert program(state, torch.tensor([[-5.0, 0.0], [7.0, 0.0]]), state, {})[0].tolist() == [4.0, 10.0]


def test_pickles_as_source_and_spec():
    program = body("r = state.x * memory.get('k', 1.0)", "memory['k'] = r", action=vector(2))
    again = pickle.loads(pickle.dumps(program))
    assert isinstance(again, RewardProgram)
    assert (again.source, again.state_spec, again.action) == (program.source, program.state_spec, program.action)
    assert run(again, torch.tensor([3.0, 4.0]), {})[0].tolist() == [3.0, 4.0]


def test_runs_without_builtins_and_without_modules():
    program = body("r = torch.exp(state.x) * math.sqrt(4.0) + math.inf * 0.0")
    (kernel,) = program._kernels.values()
    scope = kernel.function.__globals__
    assert scope["__builtins__"] == {}
    assert set(scope) == {"__builtins__", "_device", "_torch_exp", "_math_sqrt", "_inf", "reward"}
    assert not any(isinstance(value, types.ModuleType) for value in scope.values())
