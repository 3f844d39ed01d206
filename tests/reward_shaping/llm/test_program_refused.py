"""Refusals beside the corpus of escapes: answers that are no program, reasons that help, and where they point."""

import pickle
import re

import pytest
from program_corpus import POINT, body, vector

from cairngym.reward_shaping.llm.program import ProgramRefused, compile_program, extract_code

# What is refused, beside the corpus


@pytest.mark.parametrize("form", ["state.cube_pos", "state['cube_pos']", "next_state.cube_pos"])
def test_fields_that_do_not_exist_name_the_nearest(form):
    spec = {"cube_position": vector(), "goal_position": vector()}
    with pytest.raises(ProgramRefused) as caught:
        body(f"r = {form}.sum(-1)", spec=spec)
    owner = form.replace("[", ".").partition(".")[0]
    assert f"Unknown field of {owner} 'cube_pos'. Did you mean 'cube_position'" in caught.value.reason
    assert (caught.value.line, caught.value.column) == (2, 9)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def compute_reward(state, action):\n    return 1", r"Expected `def reward\(.*found compute_reward\(\)"),
        ("def reward(state, action):\n    return 1", r"got \(state, action\)"),
        ("def reward(self, state, action, next_state, memory):\n    return 1", r"got \(self, state"),
        ("def reward(state, action, state_after, memory):\n    return 1", r"got \(state, action, state_after"),
        ("x = 1", "Only functions may stand outside"),
        ("'''only text'''", "found no function"),
        ("function reward(state) { return 1; }", "not Python"),
        ("#include <iostream>\nint main() { return 0; }", "not Python"),
        ("fn reward(state: &State) -> f32 { 0.0 }", "not Python"),
        ("I cannot help with that.", "not Python"),
        ("```python\ndef reward(): pass\n```", "Markdown"),
        ("def reward(state, action, next_state, memory):\n    r = torch.exp(", "not Python.*cut off"),
        ("def reward(state, action, next_state, memory):\n    pass", "got None"),
        ("def reward(state, action, next_state, memory):\n    return -state.x", "got a tensor of shape"),
        ("def reward(state, action, next_state, memory):\n    return state.x, state.x", "got a tuple"),
        ("def reward(state, action, next_state, memory):\n    return 1.0, {'a': state.x}", "got the number 1.0"),
        ("def reward(state, action, next_state, memory):\n    return state.p, {'a': state.x}", r"shape \(B, 3\)"),
        ("def reward(state, action, next_state, memory):\n    return state.x, {}", "1 to 32 components"),
        ("def reward(state, action, next_state, memory):\n    return state.x, {'a': 1.0}", "component 'a' must be"),
        ("def reward(state, action, next_state, memory):\n    return state.x > 0, {'a': state.x}", "with .float"),
        ("def reward(state, action, next_state, memory):\n    return state.x, {'a': state.x, 'a': state.x}", "twice"),
        ("def f(x, x):\n    return x\ndef reward(state, action, next_state, memory):\n    return 1", "stands twice"),
        ("def reward(state, action, next_state, memory):\n    return state.x, {1: state.x}", "under a name"),
    ],
)  # fmt: skip
def test_answers_that_are_no_program(source, reason):
    with pytest.raises(ProgramRefused) as caught:
        compile_program(source, POINT)
    assert re.search(reason, caught.value.reason, re.DOTALL), caught.value.reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("r = state.x + state.p", r"\(B,\) and \(B, 3\) do not broadcast"),
        ("r = state.p + action[:, :2]", r"do not broadcast"),
        ("r = torch.maximum(state.x, 0.0)", "torch refuses these arguments.*must be Tensor"),
        ("r = torch.sqroot(state.x)", "Did you mean 'torch.sqrt'"),
        ("r = state.x.clmap(0, 1)", r"Did you mean '.clamp\(\)'"),
        ("r = torch.clamp(state.x, low=0)", "Unknown argument 'low'"),
        ("r = torch.sum(state.p, axis=-1)", "Unknown argument 'axis'"),
        ("r = rwd", "Unknown name 'rwd'|'rwd'"),
        ("r = state.p[:, 5]", "out of bounds"),
        ("r = torch.exp(1.0)", "takes a tensor, got the number"),
        ("r = state.x.norm(dim=2)", "dim=2"),
        ("r = torch.stack([state.x, state.p], dim=-1)", "torch refuses"),
        ("r = state.x.sum(dim=-1)", "mixes the envs"),
        ("r = torch.where(state.x > 0, 'a', 'b')", "must be a tensor or a number, got a text"),
        ("r = state", "cannot be renamed"),
        ("r = {'a': state.x}['b']", "Unknown key 'b'"),
        ("r = (state.x, state.x)[5]", "out of range"),
        ("a, b = state.x, state.x, state.x", "Expected 2 items to unpack, got 3"),
    ],
)
def test_reasons_help_to_repair(line, reason):
    with pytest.raises(ProgramRefused) as caught:
        body(line)
    assert re.search(reason, caught.value.reason), caught.value.reason
    assert caught.value.line == 2


def test_a_refusal_points_at_its_place():
    with pytest.raises(ProgramRefused) as caught:
        compile_program("def reward(state, action, next_state, memory):\n    é = 1\n    return open('x')", POINT)
    assert (caught.value.line, caught.value.excerpt) == (2, "    é = 1")
    with pytest.raises(ProgramRefused) as caught:
        body("r = state.x  # größer →", "q = (1, torch.load('x'))")
    line, pointer = str(caught.value).splitlines()[1:]
    assert line[pointer.index("^") :].startswith("torch.load")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.reason, again.line) == (str(caught.value), caught.value.reason, 3)


def test_a_source_that_is_not_text():
    with pytest.raises(TypeError, match="got bytes"):
        compile_program(b"def reward(): pass", POINT)


# Taking code out of completions

PROGRAM = "def reward(state, action, next_state, memory):\n    return state.x, {'x': state.x}"


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{PROGRAM}\n```",
        f"Thoughts.\n\n```py\nx = 1\n```\nThen:\n```Python\n{PROGRAM}\n```\nDone.",
        f"```\n{PROGRAM}\n```",
        f"```python\n{PROGRAM}\n```\nTo call it:\n```python\nreward(s, a, n, m)\n```",
        f"```json\n{{}}\n```\n~~~python\n{PROGRAM}\n~~~",
        f"1. First\n   ```python\n{PROGRAM.replace('def', '   def').replace('    return', '       return')}\n   ```",
        f"````python\n{PROGRAM}\n````",
        PROGRAM,
        f"```python\n{PROGRAM}",
        f"```python\r\n{PROGRAM}\r\n```".replace("\r\n", "\n"),
    ],
)
def test_code_is_found(text):
    assert extract_code(text).strip() == PROGRAM


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("I am sorry, but I cannot.", "no code"),
        ("```javascript\nfunction reward() {}\n```", "is in javascript"),
        ("```c++\nint x;\n```\n```rust\nfn f() {}\n```", r"is in c\+\+, rust"),
        ("a" * 300_000, "characters"),
    ],
)
def test_no_code(text, reason):
    with pytest.raises(ProgramRefused, match=reason):
        extract_code(text)
