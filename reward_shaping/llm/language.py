"""The language of reward programs, explained to whoever is to write one; generated from the compiler's own tables."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterable

from cairngym.reward_shaping.llm import allowlist as limits

WIDTH = 116
KINDS = {
    "elementwise": "of each element",
    "reduce": "over axes (name them: dim=-1, or dim=(1, 2); without dim the envs would be mixed)",
    "along": "along an axis",
    "join": "joining tensors that all have the batch first (give dim=-1, or dim=1)",
    "shape": "of shapes (the batch stays first and whole)",
    "create": "that make constants",
    "like": "that make constants of a tensor's shape",
}
SIGNATURE = '''\
def reward(state, action, next_state, memory):
    """Score B transitions at once."""
    ...
    return total, {"first_part": first_part, "second_part": second_part}'''
RULES = (
    "`torch` and `math` are there already; there is no `import`. Helper functions may be defined above `reward`, which "
    "must be the last function and have exactly these four parameters. Nothing else stands outside of functions.",
    "state and next_state are measured before and after the action. Read a measurement as an attribute, e.g. "
    "state.goal. Only the attributes listed in class State exist; do not invent others.",
    "total is a float tensor of shape (B,), and so is every component. There are 1 to "
    f"{limits.MAX_COMPONENTS} components; their names are plain text.",
    "All B envs are computed at once: never loop over envs, never ask `if`, `and`, `or`, `not`, `min()` or `max()` of "
    "a tensor. Choose with torch.where(condition, a, b); combine conditions with &, | and ~. Write the stages of a "
    "task as nested torch.where, or as a sum of terms that are each switched by a condition.",
    "Index tensors with numbers and slices that keep the first axis: x[:, 0], x[..., 0], x[:, None]. Not with a tensor "
    "or a mask: use torch.where, torch.gather, or multiply by the mask and sum.",
    "Whole numbers and truth values turn into floats with .float(); do so before subtracting uint8 values, which wrap "
    "around at zero.",
    "`for` may go over range() of a number, or over a list or tuple that is written out, at most "
    f"{limits.MAX_ITERATIONS} times. There is no while, break, lambda, class, try, with, assert, import, print, "
    "f-string, set, *args, `x in y`, or `:=`.",
    "Nothing is random, nothing is written into state, action or next_state, and tensors never become Python numbers "
    "(.item(), float(x), .tolist(), .numpy() do not exist).",
    "The result must be finite for every state: add a small number before dividing or before a square root or "
    "logarithm of something that may be zero.",
    "memory keeps values from step to step within an episode, one row for each env. Read with "
    'memory.get("name", default), where the default (a number, or a tensor with the batch first) stands where the '
    'episode has just begun; write with memory["name"] = tensor of the shape of the default. Everything read must also '
    "be written. It starts empty in every episode. Use it only where the state does not tell enough.",
)


def language() -> str:
    """The rules and every name there is, as one deterministic text."""
    return _text()


@functools.cache
def _text() -> str:
    rules = [_wrap(f"- {rule}", "  ") for rule in RULES]
    return "\n".join(("```python", SIGNATURE, "```", *rules, "- These names exist, and no others:", *_names()))


def _names() -> list[str]:
    groups: dict[str, list[str]] = {}
    for name, operation in limits.functions().items():
        groups.setdefault(operation.kind, []).append(name)
    lines = [_listed(f"functions in torch {KINDS[kind]}", names) for kind, names in groups.items()]
    shared = limits.functions()
    own = [name for name in limits.methods() if name not in shared]
    return [
        *lines,
        _listed("methods of tensors: the functions above that have one, and", [f".{name}()" for name in own]),
        _listed("attributes of tensors", [f".{name}" for name in sorted(limits.TENSOR_ATTRIBUTES)]),
        _listed("dtypes", [f"torch.{name}" for name in limits.DTYPES]),
        _listed("functions in math, of numbers only", sorted(limits.MATH)),
        _listed("constants in math and torch", list(limits.CONSTANTS)),
        _listed("functions of Python, of numbers and lists only", list(limits.BUILTINS)),
    ]


def _listed(what: str, names: Iterable[str]) -> str:
    return _wrap(f"  - {what}: {', '.join(names)}", "    ")


def _wrap(text: str, indent: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
