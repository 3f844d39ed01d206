"""Names behind a dot: fields of the state, what a tensor tells of itself, constants and dtypes."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import torch

from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm.hints import decisive, dotted, why_not
from cairngym.reward_shaping.llm.refusal import refuse, unknown
from cairngym.reward_shaping.llm.values import DEVICE, Fields, kind, sizes, stand_in

if TYPE_CHECKING:
    from cairngym.reward_shaping.llm.evaluator import Evaluator


def attribute(evaluator: Evaluator, node: ast.Attribute, scope: dict[str, Any]) -> Any:
    """What `owner.name` is worth.

    Raises:
        ProgramRefused: there is no such name, or it is a function that is not called.
    """
    path = dotted(node)
    if path is not None and path.partition(".")[0] in {"torch", "math"}:
        return _of_module(evaluator, node, path)
    owner, name = evaluator.value(node.value, scope), node.attr
    if isinstance(owner, Fields):
        return field(evaluator, node, owner, name)
    if isinstance(owner, torch.Tensor) and name in limits.TENSOR_ATTRIBUTES:
        evaluator.role(node, "attribute", name)
        return {"shape": sizes(owner), "ndim": owner.ndim, "dtype": owner.dtype, "device": DEVICE}[name]
    if name in limits.PAIR_ATTRIBUTES and isinstance(owner, tuple) and hasattr(owner, "indices"):
        evaluator.role(node, "attribute", name)
        return getattr(owner, name)
    if isinstance(owner, torch.Tensor) and name in limits.methods():
        raise refuse(node, f".{name} is a method; call it.")
    valid = [*limits.TENSOR_ATTRIBUTES, *limits.methods()] if isinstance(owner, torch.Tensor) else []
    raise refuse(node, why_not(f".{name}", name, f"attribute of {kind(owner)}", valid))


def _of_module(evaluator: Evaluator, node: ast.Attribute, path: str) -> Any:
    """A dtype or a constant of torch or math."""
    root, _, name = path.partition(".")
    if name in limits.CONSTANTS:
        evaluator.role(node, "constant", name)
        return limits.CONSTANTS[name]
    if root == "torch" and name in limits.DTYPES:
        evaluator.role(node, "dtype", name)
        return limits.DTYPES[name]
    if name in limits.functions() or name in limits.MATH:
        raise refuse(node, f"{path} is a function; call it.")
    valid = [f"{root}.{known}" for known in (*limits.CONSTANTS, *(limits.DTYPES if root == "torch" else ()))]
    raise refuse(node, why_not(path, decisive(name), f"name in {root}", valid))


def field(evaluator: Evaluator, node: ast.AST, owner: Fields, name: str) -> torch.Tensor:
    """A measurement of the state.

    Raises:
        ProgramRefused: there is none of that name, or only a planner knows it.
    """
    known = evaluator.state_spec.get(name)
    if known is None:
        visible = [other for other, entry in evaluator.state_spec.items() if not entry.privileged]
        raise refuse(node, unknown(f"field of {owner.name}", name, visible))
    if known.privileged:
        raise refuse(
            node, f"{owner.name}.{name} is privileged: it is computed from the solution, which a reward must not know."
        )
    evaluator.reads[owner.name].add(name)
    evaluator.role(node, "field", name)
    return evaluator.given(evaluator.ledger.result(node, stand_in(known), batched=True))
