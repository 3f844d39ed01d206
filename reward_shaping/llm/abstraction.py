"""An env as the text that a language model reads: classes with typed, commented attributes, and what is wanted.

Everything is generated from what the env declares (`state_spec`, the action space, the task) and from what is known of
packaged worlds. The text is the same on every machine; privileged measurements are not in it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import replace

import torch
from gymnasium import spaces

from cairngym.envs.core import StateField, TaskSpec, TensorEnv
from cairngym.reward_shaping.llm.knowledge import knowledge

WIDTH = 116
NAMESPACE = "cairngym/"


def visible(state_spec: Mapping[str, StateField]) -> dict[str, StateField]:
    """The fields that a language model is shown and that its programs may read: all but privileged ones."""
    return {name: field for name, field in state_spec.items() if not field.privileged}


def action_field(space: spaces.Space) -> StateField:
    """What one env's action is, for `compile_program`.

    Raises:
        TypeError: neither Discrete nor Box.
    """
    if isinstance(space, spaces.Discrete):
        return StateField(shape=(), unit="index", description="Which action.", dtype=torch.int64)
    if isinstance(space, spaces.Box):
        return StateField(shape=tuple(space.shape), unit="", description="The action.")
    raise TypeError(f"Expected a Discrete or Box action space, got {space}.")


def task_id(env: TensorEnv) -> str:
    """The id that `cairngym.make` takes to make the env's task; empty for an env that was not made by one."""
    bare = env.unwrapped
    spec = getattr(bare, "spec", None)
    found = getattr(bare, "id", "") or getattr(spec, "id", "") or ""
    return str(found).removeprefix(NAMESPACE)


def abstraction(env: TensorEnv) -> str:
    """Describe an env to a reader who is to write a reward for it and sees nothing else of it.

    Args:
        env: any TensorEnv; neither its observations nor its present state are looked at.

    Returns:
        Python classes and comments, a few dozen lines.

    Example:
        >>> import cairngym
        >>> abstraction(cairngym.make("Chain-N10-v0")).splitlines()[0]
        'class State:'
    """
    parts = (_state(env), _transition(env), _task(env))
    return "\n\n\n".join("\n".join(lines) for lines in parts)


def _state(env: TensorEnv) -> list[str]:
    return [
        "class State:",
        '    """Measurements of B envs at one moment; each is a torch tensor whose first axis is the env."""',
        *(line for text in describe_fields(visible(env.state_spec)) for line in ("", text)),
    ]


def describe_fields(fields: Mapping[str, StateField]) -> list[str]:
    """One text of a line or more for each field: its name, type, shape, unit and meaning, as a class has them."""
    return ["\n".join(_attribute(name, field, field.description)) for name, field in fields.items()]


def _attribute(name: str, field: StateField, meaning: str) -> list[str]:
    """A typed attribute, its comment beside it where that fits, else above it."""
    line = f"    {name}: torch.Tensor  # {_tensor(field)}: {meaning}"
    if len(line) <= WIDTH:
        return [line]
    return [*_comment(meaning), f"    {name}: torch.Tensor  # {_tensor(field)}"]


def _comment(text: str, indent: str = "") -> list[str]:
    start = f"    # {indent}"
    further = f"{start}{indent}"
    return textwrap.wrap(
        text, WIDTH, initial_indent=start, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )


def _tensor(field: StateField) -> str:
    """Type, shape and unit: "float32 (B, 3) [m]"."""
    sizes = ", ".join(("B", *map(str, field.shape)))
    unit = "" if field.unit in ("", "1") else f" [{field.unit}]"
    return f"{str(field.dtype).removeprefix('torch.')} ({sizes}{',' if not field.shape else ''}){unit}"


def _transition(env: TensorEnv) -> list[str]:
    space, known = env.single_action_space, knowledge(env)
    lines = [
        "class Transition:",
        '    """What a reward is given for: B steps, one of each env."""',
        "",
        "    state: State  # before the action",
        *_attribute("action", replace(action_field(space), unit=""), _range(space)),
    ]
    first = int(space.start) if isinstance(space, spaces.Discrete) else None
    for index, meaning in enumerate(known.actions):
        lines += _comment(meaning if first is None else f"{first + index} {meaning}", "  ")
    lines.append("    next_state: State  # after it, at the end of the same episode where one ends")
    return lines


def _range(space: spaces.Space) -> str:
    if isinstance(space, spaces.Discrete):
        return f"one of {int(space.start)} … {int(space.start + space.n) - 1}"
    assert isinstance(space, spaces.Box)
    low, high = space.low.ravel(), space.high.ravel()
    if (low == low[0]).all() and (high == high[0]).all():
        return f"every number in [{low[0]:g}, {high[0]:g}]"
    bounds = ", ".join(f"[{least:g}, {most:g}]" for least, most in zip(low, high, strict=True))
    return f"numbers in {bounds}"


def _task(env: TensorEnv) -> list[str]:
    task = env.unwrapped.task
    lines = ["class Task:", '    """What is wanted of the agent, and how an episode ends."""', ""]
    for text in (*_wanted(task), *knowledge(env).facts):
        lines += _comment(text)
    return lines


def _wanted(task: TaskSpec) -> list[str]:
    low, high = task.reward_range
    ends = (
        "Success ends the episode."
        if task.terminate_on_success
        else "Success does not end the episode: it goes on to its last step, and the task should stay done."
    )
    return [
        f"Instruction: {task.instruction or 'none is given'}",
        f"An episode has at most {task.horizon} steps. {ends}",
        f"The task's own reward is sparse: {low:g} to {high:g} a step, the most where the task is done. The agent gets "
        "it in any case.",
    ]
