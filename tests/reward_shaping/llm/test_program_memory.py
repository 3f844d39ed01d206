"""What a program remembers, what it may know, and that it writes into nothing that it is given."""

import pickle

import pytest
import torch
from program_corpus import POINT, WHOLE, body, run, vector

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm.program import ProgramFailed, ProgramRefused, forget

# Memory


def test_memory_is_kept_by_the_caller_and_begins_anew_where_forgotten():
    program = body("n = memory.get('n', 0.0)", "memory['n'] = n + state.x", "r = n + 0.0 * state.x")
    memory = {}
    x = torch.tensor([1.0, 2.0, 3.0])
    assert [run(program, x, memory)[0].tolist() for _ in range(3)] == [[0, 0, 0], [1, 2, 3], [2, 4, 6]]
    held = memory["n"]
    forget(memory, torch.tensor([False, True, False]))
    assert held.tolist() == [3, 6, 9]
    assert run(program, x, memory)[0].tolist() == [3, 0, 9]
    assert program.remembers == ("n",)


def test_memory_of_vectors_and_of_defaults_that_differ_by_env():
    program = body(
        "first = memory.get('first', state.p)", "memory['first'] = first", "r = (state.p - first).sum(dim=-1)"
    )
    memory = {}
    assert run(program, torch.tensor([1.0, 2.0]), memory)[0].tolist() == [0, 0]
    assert run(program, torch.tensor([2.0, 5.0]), memory)[0].tolist() == [3, 9]
    forget(memory, torch.tensor([True, False]))
    assert run(program, torch.tensor([4.0, 6.0]), memory)[0].tolist() == [0, 12]


def test_memory_reads_what_was_just_written():
    program = body("memory['m'] = state.x > 0", "r = memory.get('m', 0.0) * 2.0")
    memory = {}
    assert run(program, torch.tensor([1.0, -1.0]), memory)[0].tolist() == [2.0, 0.0]
    assert memory["m"].dtype is torch.float32


def test_a_failing_call_leaves_memory_alone():
    spec = {"n": vector(0, WHOLE), "x": vector(0)}
    bad = {"x": torch.ones(1), "n": torch.tensor([3])}
    program = body("memory['a'] = state.x", "r = memory.get('b', 0.0)", "memory['b'] = r", spec=spec)
    memory = {"a": torch.zeros(1), "b": torch.zeros(1, 2)}
    with pytest.raises(ProgramFailed, match=r"line 3: Expected memory\['b'\] of shape \(1,\), got \(1, 2\)"):
        program(bad, torch.zeros(1), bad, memory)
    assert memory["a"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["r = memory.get('a', 0.0)"], "never written"),
        (["r = state.x", "memory['a'] = 1.0"], "must be a tensor with the batch first"),
        (["r = memory.get('a', 0.0)", "memory['a'] = state.p"], "another shape than its default"),
        (["r = state.x", "memory['a'] = r", "memory['a'] = state.p"], "written with two shapes"),
        (["r = memory.get('a', torch.zeros(3)).sum(-1)"], "default of memory.get"),
        (["r = memory.get(1, 0.0)"], "takes a name"),
    ],
)
def test_memory_misused(lines, reason):
    with pytest.raises(ProgramRefused, match=reason):
        body(*lines)


# What a program may know, and what it may touch

PLANNED = {
    **POINT,
    "remaining": StateField(shape=(), unit="step", description="Steps left on the way there.", privileged=True),
}


@pytest.mark.parametrize("form", ["state.remaining", "next_state['remaining']"])
def test_privileged_fields_are_refused(form):
    with pytest.raises(ProgramRefused) as caught:
        body(f"r = -{form}", spec=PLANNED)
    assert "remaining is privileged: it is computed from the solution" in caught.value.reason
    assert caught.value.line == 2


def test_privileged_fields_are_never_offered():
    with pytest.raises(ProgramRefused) as caught:
        body("r = -state.remainin", spec=PLANNED)
    assert "Valid: 'p', 'x'" in caught.value.reason.replace('"', "'")
    assert "'remaining'" not in caught.value.reason


def test_a_state_with_privileged_fields_can_be_given():
    program = body("r = -state.x", spec=PLANNED)
    state = {"x": torch.tensor([1.0, 2.0]), "remaining": torch.zeros(2)}
    assert program(state, torch.zeros(2, 1), state)[0].tolist() == [-1.0, -2.0]
    assert program.fields == ("x",)
    assert pickle.loads(pickle.dumps(program)).state_spec == PLANNED


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "value",
    [
        "state.x",
        "state.p[:, 1]",
        "state.x.float()",
        "state.p.unbind(-1)[0]",
        "action[:, 0]",
        "memory.get('m', state.x)",
    ],
)
def test_nothing_returned_is_part_of_what_was_given(value, dtype):
    """Whoever writes into a reward, say to scale it, must not write into the state, the action or the memory."""
    program = body("memory['m'] = state.x", f"r = {value}")
    state = {"x": torch.tensor([1.0, 2.0], dtype=dtype), "p": torch.ones(2, 3, dtype=dtype)}
    kept, action, memory = {name: field.clone() for name, field in state.items()}, torch.ones(2, 2), {}
    for _ in range(2):
        reward, components = program(state, action, state, memory)
        reward *= 100.0
        components["r"] *= 100.0
        state["x"] += 1.0
        assert memory["m"].tolist() == kept["x"].tolist()
        state["x"] -= 1.0
    assert all(torch.equal(state[name], kept[name]) for name in state)
    assert action.tolist() == [[1.0, 1.0]] * 2


def test_a_reward_that_is_remembered_can_be_written_into():
    program = body("r = 2.0 * state.x", "memory['last'] = r", "memory['part'] = (state.p * 3.0)[:, 0]")
    memory = {}
    run(program, torch.tensor([1.0, 2.0]), memory)[0].zero_()
    assert memory["last"].tolist() == [2.0, 4.0]
    assert memory["part"].untyped_storage().nbytes() == 2 * 4


def test_a_fault_of_the_compiler_is_a_refusal(monkeypatch):
    def fails(self):
        raise KeyError("by mistake")

    monkeypatch.setattr("cairngym.reward_shaping.llm.evaluator.Evaluator.run", fails)
    with pytest.raises(ProgramRefused, match="cannot follow this program \\(KeyError: 'by mistake'\\)"):
        body("r = state.x")
