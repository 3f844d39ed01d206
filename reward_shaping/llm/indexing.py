"""Brackets: items of tuples, lists and dicts, fields of the state, and slices of tensors that keep the batch."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import torch

from cairngym.reward_shaping.llm import arithmetic
from cairngym.reward_shaping.llm.naming import field
from cairngym.reward_shaping.llm.refusal import refuse, unknown
from cairngym.reward_shaping.llm.values import MEMORY, BatchSize, Fields, is_batched, kind

if TYPE_CHECKING:
    from cairngym.reward_shaping.llm.evaluator import Evaluator

Locals = dict[str, Any]


def subscript(evaluator: Evaluator, node: ast.Subscript, scope: Locals) -> Any:
    """What `owner[index]` is worth.

    Raises:
        ProgramRefused: there is no such item, or it would mix the envs.
    """
    owner = evaluator.value(node.value, scope)
    if owner is MEMORY:
        raise refuse(node, "Read the memory with memory.get('name', default): a new episode remembers nothing.")
    index = _index(evaluator, node.slice, scope)
    if isinstance(owner, Fields):
        if not isinstance(index, str):
            raise refuse(node, f"{owner.name}[...] takes a field's name.")
        return field(evaluator, node, owner, index)
    if isinstance(owner, torch.Tensor):
        return _sliced(evaluator, node, owner, index)
    if isinstance(owner, dict):
        if not isinstance(index, str) or index not in owner:
            raise refuse(node, unknown("key", index if isinstance(index, str) else kind(index), owner))
        return owner[index]
    if isinstance(owner, tuple | list) and (type(index) is int or isinstance(index, slice)):
        try:
            return owner[index]
        except (IndexError, ValueError) as error:
            raise refuse(node, f"{error} (there are {len(owner)} items).") from None
    raise refuse(node, f"{kind(owner).capitalize()} cannot be indexed with {kind(index)}.")


def _index(evaluator: Evaluator, node: ast.expr, scope: Locals) -> Any:
    """What stands in the brackets."""
    evaluator.reached.add(id(node))
    if isinstance(node, ast.Slice):
        bounds = (node.lower, node.upper, node.step)
        parts = [None if part is None else evaluator.value(part, scope) for part in bounds]
        if not all(part is None or type(part) is int for part in parts):
            raise refuse(node, "Slices take whole numbers.")
        return slice(*parts)
    if isinstance(node, ast.Tuple):
        return tuple(_index(evaluator, item, scope) for item in node.elts)
    return evaluator.value(node, scope)


def _sliced(evaluator: Evaluator, node: ast.Subscript, owner: torch.Tensor, index: Any) -> Any:
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if isinstance(part, torch.Tensor):
            raise refuse(
                node, "Indexing by a tensor gives shapes that depend on the data; use torch.where or torch.gather."
            )
        if isinstance(part, bool | BatchSize) or not (part is None or part is ... or isinstance(part, int | slice)):
            raise refuse(node, f"A tensor cannot be indexed with {kind(part)}.")
    taken = sum(part is not None and part is not ... for part in parts)
    leading = bool(parts) and ((parts[0] is ... and taken < owner.ndim) or parts[0] == slice(None))
    if is_batched(owner) and not leading:
        raise refuse(
            node, "The first axis is the batch of envs; keep it whole: write x[:, 0], x[:, None] or x[..., 0]."
        )
    value = arithmetic.attempt(evaluator.ledger, node, owner.__getitem__, index)
    return evaluator.ledger.result(node, value, batched=is_batched(owner))
