"""What a program's expressions are worth before anything runs: Python values exactly, tensors by their shapes.

A batch of B envs is stood for by tensors whose first axis has length zero. They hold nothing, so that torch itself
tells the shape and dtype of every result at no cost, and a zero marks the batch's axis wherever it goes: a tensor
belongs to the envs when its first axis is zero, and no other axis may be.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import Any

import torch

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm.refusal import refuse


class BatchSize:
    """The number of envs: known to be a size, and to be nothing else."""


class Device:
    """Where the state lives."""


class Memory:
    """The parameter `memory`."""


@dataclass(frozen=True)
class Fields:
    """The parameter `state` or `next_state`."""

    name: str


BATCH = BatchSize()
DEVICE = Device()
MEMORY = Memory()


def stand_in(field: StateField) -> torch.Tensor:
    """A batch of a field's values that holds none."""
    return torch.empty((0, *field.shape), dtype=field.dtype)


def is_number(value: Any) -> bool:
    """Whether it is a Python number or truth value."""
    return isinstance(value, bool | int | float)


def is_batched(tensor: torch.Tensor) -> bool:
    """Whether each env has a row of it."""
    return tensor.ndim > 0 and tensor.shape[0] == 0


def shown(shape: tuple[int, ...]) -> str:
    """A shape as a reader knows it: "(B, 3)"."""
    axes = ["B" if size == 0 else str(size) for size in shape]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"


def kind(value: Any) -> str:
    """What a value is, for reasons; never its contents, which may be nested without end."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {shown(tuple(value.shape))}"
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return f"the number {value}"
    names = {
        str: "a text", tuple: "a tuple", list: "a list", dict: "a dict", range: "a range",
        BatchSize: "the number of envs", Device: "a device", Memory: "the memory", Fields: "the state",
        torch.dtype: "a dtype",
    }  # fmt: skip
    return names.get(type(value), "a tuple" if isinstance(value, tuple) else "a value")


def sizes(tensor: torch.Tensor) -> tuple[Any, ...]:
    """`tensor.shape` with the batch's axis named."""
    return tuple(BATCH if size == 0 else size for size in tensor.shape)


def number(node: ast.AST, value: Any) -> Any:
    """Return a Python number that is neither huge nor complex.

    Raises:
        ProgramRefused: it is one of these.
    """
    if isinstance(value, int) and abs(value) > limits.MAX_INTEGER:
        raise refuse(node, "This computes an integer larger than 2**53.")
    if not is_number(value):
        raise refuse(node, f"This computes {kind(value)}, not a real number.")
    return value


def elements(tensor: torch.Tensor) -> int:
    """Of one env's part of a tensor; of all of it where it belongs to no env."""
    return math.prod(tensor.shape[1:] if is_batched(tensor) else tensor.shape)


def broadcast(node: ast.AST, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape tensors broadcast to, with one batch axis at most.

    Raises:
        ProgramRefused: they do not broadcast, or each env would meet every other.
    """
    rank = max(map(len, shapes), default=0)
    result: list[int] = []
    for axis in range(-rank, 0):
        met = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(met) > 1:
            listed = " and ".join(map(shown, dict.fromkeys(shapes)))
            hint = "; add an axis with [:, None], or reduce with dim=-1" if 0 in met else ""
            raise refuse(node, f"The shapes {listed} do not broadcast{hint}.")
        result.append(met.pop() if met else 1)
    if result.count(0) > 1 or 0 in result[1:]:
        listed = " and ".join(map(shown, dict.fromkeys(shapes)))
        raise refuse(
            node, f"The shapes {listed} would pair every env with every other; squeeze(-1) one, or add [:, None]."
        )
    return tuple(result)
