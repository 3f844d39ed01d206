"""Every entry of the allow-list can be called, gives what torch gives, and writes to none of its arguments."""

import types

import pytest
import torch

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm import allowlist
from cairngym.reward_shaping.llm.program import ProgramRefused, compile_program

FLOATS = StateField(shape=(3,), unit="", description="Three.")
SPEC = {
    "a": FLOATS,
    "b": FLOATS,
    "ones": FLOATS,
    "i": StateField(shape=(3,), unit="", description="Indices.", dtype=torch.int64),
    "cube": StateField(shape=(3, 2, 4), unit="", description="A block."),
}
ARGUMENTS = {
    "input": "state.a", "other": "state.b", "condition": "(state.a > 0)", "mask": "(state.a > 0)", "dim": "-1",
    "dims": "(1,)", "axes": "(0, 3, 1, 2)", "tensors": "[state.a, state.b]", "index": "state.i", "end": "state.b",
    "weight": "0.25", "exponent": "2.0", "min": "-0.5", "max": "0.5", "value": "7.0", "decimals": "1", "k": "2",
    "n": "1", "chunks": "3", "shape": "(state.a.shape[0], -1)", "start_dim": "1", "end_dim": "-1", "dim0": "1",
    "dim1": "2", "size": "(state.a.shape[0], 3)", "repeats": "(1, 2)", "p": "1", "ord": "1", "eps": "1e-6",
    "keepdim": "False", "descending": "True", "stable": "True", "largest": "False", "sorted": "True", "nan": "1.0",
    "posinf": "2.0", "neginf": "-2.0", "negative_slope": "0.1", "beta": "2.0", "threshold": "10.0", "fill_value": "3.0",
    "data": "[[1.0, 2.0], [3.0, 4.0]]", "dtype": "torch.float64", "device": "state.a.device", "start": "1",
    "steps": "5", "step": "2", "x": "state.a", "y": "state.b", "x1": "state.a", "x2": "state.b",
}  # fmt: skip
SPECIAL = {
    "logical_not": {"input": "(state.a > 0)"}, "permute": {"input": "state.cube"}, "transpose": {"input": "state.cube"},
    "broadcast_to": {"input": "state.a"}, "expand_as": {"other": "state.b"}, "arange": {"end": "7"},
    "linspace": {"end": "7"}, "flatten": {"input": "state.cube"}, "unbind": {"dim": "1"}, "chunk": {"dim": "1"},
    "squeeze": {"input": "state.a[:, :1]"}, "clamp_min": {"min": "0.1"}, "acos": {"input": "state.a.tanh()"},
    "sum": {"dim": "(1, 2)", "input": "state.cube"},
}  # fmt: skip
CALLS = [
    pytest.param(form, name, full, id=f"{form}{name}{'+' if full else ''}")
    for form, table in (("torch.", allowlist.functions()), (".", allowlist.methods()))
    for name in table
    for full in (False, True)
]
PROGRAM = """
def reward(state, action, next_state, memory):
    memory["value"] = {value}
    r = state.a.sum(dim=-1)
    return r, {{"r": r}}
"""


def written(form, name, full):
    """A call with its required arguments and dim, or with all of them, the optional ones by name."""
    operation = (allowlist.functions() if form == "torch." else allowlist.methods())[name]
    texts = {**ARGUMENTS, **SPECIAL.get(name, {})}
    placed = [texts[parameter] for parameter in (*operation.required, operation.variadic) if parameter]
    named = [f"{p}={texts[p]}" for p in operation.optional if full or p in {"dim", "min", "start_dim"}]
    owner = placed.pop(0) if form == "." else "torch"
    return f"{owner}.{name}({', '.join([*placed, *named])})"


def draw(generator, field):
    if field.dtype.is_floating_point:
        return torch.randn(5, *field.shape, generator=generator)
    return torch.randint(0, 3, (5, *field.shape), generator=generator)


@pytest.mark.parametrize(("form", "name", "full"), CALLS)
def test_gives_what_torch_gives(form, name, full):
    generator = torch.Generator().manual_seed(3)
    state = {name: draw(generator, field) for name, field in SPEC.items()}
    before = {field: value.clone() for field, value in state.items()}
    call = written(form, name, full)
    expected = eval(call, {"torch": torch, "state": types.SimpleNamespace(**state)})
    if not isinstance(expected, torch.Tensor):  # values and indices, or parts
        call, expected = f"{call}[0]", expected[0]
    if len(expected) != 5 or name in {"arange", "linspace"}:
        call, expected = f"torch.zeros(state.a.shape[0], 1) + {call}.flatten()", torch.zeros(5, 1) + expected.flatten()
    memory = {}
    program = compile_program(PROGRAM.format(value=call), SPEC)
    program(state, torch.zeros(5, 2), state, memory)
    wanted = expected if expected.is_floating_point() else expected.float()
    torch.testing.assert_close(memory["value"], wanted, rtol=0, atol=0, equal_nan=True)
    assert all(torch.equal(state[field], before[field]) for field in state)


def test_nothing_dangerous_is_listed():
    """No entry writes in place, is private, or has an argument through which another tensor could be written."""
    for operation in (*allowlist.functions().values(), *allowlist.methods().values()):
        assert not operation.name.endswith("_")
        assert "._" not in operation.name
        assert not {"out", "generator", "requires_grad", "pin_memory", "layout"} & set(operation.parameters)


@pytest.mark.parametrize("name", sorted(allowlist.methods()))
def test_methods_exist_under_no_other_meaning(name):
    assert callable(getattr(torch.Tensor, name))


@pytest.mark.parametrize("call", ["torch.sum(state.a, dim=-1, out=state.b)", "state.a.sum(dim=-1, out=state.b)"])
def test_no_way_to_write(call):
    with pytest.raises(ProgramRefused, match="out= of"):
        compile_program(PROGRAM.format(value=call), SPEC)
