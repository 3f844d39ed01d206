"""Calls of torch functions and tensor methods on stand-ins: which arguments they take, and that no env sees another."""

from __future__ import annotations

import ast
import math
from typing import Any

import torch

from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm.allowlist import Operation
from cairngym.reward_shaping.llm.arithmetic import attempt, check_division
from cairngym.reward_shaping.llm.ledger import Ledger
from cairngym.reward_shaping.llm.refusal import refuse, unknown
from cairngym.reward_shaping.llm.values import (
    BATCH,
    BatchSize,
    Device,
    broadcast,
    elements,
    is_batched,
    is_number,
    kind,
    shown,
)

_INTEGERS = {"k", "chunks", "decimals", "steps", "dim0", "dim1", "start_dim", "end_dim"}
_FLAGS = {"keepdim", "descending", "stable", "largest", "sorted"}
_LISTS = {"size", "shape", "dims", "axes", "repeats"}
_TENSORS = {"condition", "index", "mask"}
_RANGE = {"start", "end", "step"}
_NUMBERS = {"p", "ord", "eps", "fill_value", "negative_slope", "beta", "threshold", "nan", "posinf",
            "neginf"}  # fmt: skip
_REFUSED_OPTIONS = {
    "out": "writes into another tensor", "requires_grad": "belongs to learning, not to a reward",
    "generator": "draws random numbers", "pin_memory": "reaches raw memory", "layout": "reaches raw memory",
    "memory_format": "reaches raw memory", "rounding_mode": "takes a text; use torch.floor or torch.trunc",
    "non_blocking": "is for moving between devices", "reduction": "takes a text; reduce with .mean(dim=-1)",
}  # fmt: skip

Bound = dict[str, Any]


def bind(node: ast.Call, operation: Operation, arguments: list[Any], options: dict[str, Any]) -> Bound:
    """Match arguments to parameters by torch's own names and check their kinds.

    Raises:
        ProgramRefused: too many, too few, unknown or misplaced arguments.
    """
    for name in options:
        if name in _REFUSED_OPTIONS:
            raise refuse(node, f"{name}= of {operation.name} is refused: it {_REFUSED_OPTIONS[name]}.")
        if name not in operation.parameters:
            raise refuse(node, f"{operation.name}: " + unknown("argument", name, operation.parameters))
    bound = dict(zip(operation.required, arguments, strict=False))
    rest = arguments[len(operation.required) :]
    if operation.variadic and rest:
        packed = len(rest) == 1 and isinstance(rest[0], tuple | list)
        bound[operation.variadic] = tuple(rest[0]) if packed else tuple(rest)
    elif not operation.variadic:
        if len(rest) > len(operation.optional):
            raise refuse(
                node, f"{operation.name} takes at most {len(operation.parameters)} arguments, got {len(arguments)}."
            )
        bound.update(zip(operation.optional, rest, strict=False))
    for name, value in options.items():
        if name in bound:
            raise refuse(node, f"{operation.name} got {name} twice.")
        bound[name] = value
    needed = (*operation.required, *((operation.variadic,) if operation.variadic else ()))
    missing = [name for name in needed if name not in bound]
    if missing:
        raise refuse(node, f"{operation.name} needs {', '.join(missing)}.")
    if operation.variadic and operation.kind != "create" and operation.name.startswith("torch.") and len(rest) > 1:
        raise refuse(node, f"{operation.name} takes {operation.variadic} as one tuple.")
    bound = {
        name: tuple(value) if name in _LISTS and isinstance(value, list) else value for name, value in bound.items()
    }
    for name, value in bound.items():
        _check_kind(node, operation, name, value)
    return bound


def _check_kind(node: ast.Call, operation: Operation, name: str, value: Any) -> None:
    wanted = _wanted(operation, name, value)
    if wanted:
        raise refuse(node, f"{name} of {operation.name} must be {wanted}, got {kind(value)}.")


def _wanted(operation: Operation, name: str, value: Any) -> str:
    """What `name` must be, when `value` is not."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if name in _LISTS:
        items = value if isinstance(value, tuple) else ()
        sized = name in {"size", "shape"}
        fine = 0 < len(items) <= limits.MAX_RANK and all(
            (isinstance(item, int) and not isinstance(item, bool)) or (sized and isinstance(item, BatchSize))
            for item in items
        )
        return "" if fine else "whole numbers, at most six"
    if name == "dim":
        several = operation.kind == "reduce" and isinstance(value, tuple | list) and 0 < len(value) <= limits.MAX_RANK
        fine = (
            whole
            or (several and all(type(item) is int for item in value))
            or (value is None and operation.kind == "reduce")
        )
        return "" if fine else "a whole number"
    if name == "dtype":
        return "" if isinstance(value, torch.dtype) else "a dtype such as torch.float32"
    if name == "device":
        return "" if isinstance(value, Device) else "the .device of a tensor, or left out"
    if name == "n":
        fine = whole and 1 <= value <= limits.MAX_DIFFERENCES
        return "" if fine else f"a whole number from 1 to {limits.MAX_DIFFERENCES}"
    if name in _INTEGERS:
        return "" if whole and abs(value) <= limits.MAX_ELEMENTS else f"a whole number up to {limits.MAX_ELEMENTS}"
    if name in _FLAGS:
        return "" if isinstance(value, bool) else "True or False"
    if name in _NUMBERS or (name in _RANGE and operation.kind == "create"):
        return "" if is_number(value) or (value is None and name in operation.optional) else "a number"
    if name == "tensors":
        parts = value if isinstance(value, tuple | list) else ()
        fine = 0 < len(parts) <= limits.MAX_ITERATIONS and all(isinstance(item, torch.Tensor) for item in parts)
        return "" if fine else f"a list of at most {limits.MAX_ITERATIONS} tensors"
    if name == "data":
        return ""
    if name in _TENSORS:
        return "" if isinstance(value, torch.Tensor) else "a tensor"
    optional = value is None and name in {"min", "max"} and name in operation.parameters
    return "" if isinstance(value, torch.Tensor) or is_number(value) or optional else "a tensor or a number"


def evaluate(ledger: Ledger, node: ast.Call, operation: Operation, function: Any, bound: Bound) -> Any:
    """What a call comes to.

    Args:
        ledger: counts it.
        node: where it stands.
        operation: its entry in the allow-list.
        function: torch's own.
        bound: its arguments by name.

    Raises:
        ProgramRefused: an env would see another, a tensor would be too large, or torch refuses.
    """
    items: list[Any] = []
    for value in bound.values():
        items.extend(value if isinstance(value, tuple | list) else (value,))
    tensors = [item for item in items if isinstance(item, torch.Tensor)]
    batched = any(map(is_batched, tensors))
    if operation.kind != "join" and operation.name.rpartition(".")[2] != "gather":
        # Whatever the result, an operation may make tensors as large as its arguments are together.
        ledger.allow(node, broadcast(node, [tuple(tensor.shape) for tensor in tensors]))
    if operation.name.rpartition(".")[2] in limits.INTEGER_DIVISIONS:
        check_division(node, bound["input"], bound["other"])
    if batched and operation.name not in {"torch.stack", "torch.unsqueeze", ".unsqueeze"}:
        _check_axes(node, operation, bound, tensors)
    bound = _placed(ledger, node, operation, bound, tensors)
    leading = [bound[name] for name in operation.required]
    if operation.variadic:
        leading.append(bound[operation.variadic])
    options = {name: value for name, value in bound.items() if name in operation.optional}
    result = attempt(ledger, node, function, *leading, **options)
    created = operation.kind == "create" and BATCH in items
    return ledger.result(node, result, batched=batched or created)


def _check_axes(node: ast.Call, operation: Operation, bound: Bound, tensors: list[torch.Tensor]) -> None:
    """Refuse operations along the batch's axis; stand-ins of length zero would not tell."""
    rank = max(tensor.ndim for tensor in tensors)
    axes: Any = bound.get("dims", bound.get("dim", operation.defaults.get("dim")))
    if operation.kind == "reduce" and axes is None:
        raise refuse(node, f"{operation.name} without dim mixes the envs; give dim=-1.")
    for axis in axes if isinstance(axes, tuple | list) else () if axes is None else (axes,):
        if not -rank <= axis < rank:
            raise refuse(node, f"dim={axis} of {operation.name}: the tensor has {rank} axes.")
        if axis % rank == 0:
            raise refuse(node, f"{operation.name} along axis 0 mixes the envs: the first axis is the batch.")
    name = operation.name.rpartition(".")[2]
    if name == "flatten" and rank > 1 and bound.get("start_dim", 0) % rank == 0:
        raise refuse(node, "flatten() would mix the envs; write flatten(1).")
    if name == "repeat" and (len(bound["repeats"]) != rank or bound["repeats"][0] != 1):
        raise refuse(node, f"repeat() must leave the batch alone: one count per axis ({rank}), the first 1.")
    alike = len({tensor.ndim for tensor in tensors}) == 1 and all(map(is_batched, tensors))
    if (operation.kind == "join" or name == "gather") and not alike:
        listed = ", ".join(shown(tuple(tensor.shape)) for tensor in tensors[:8])
        raise refuse(
            node, f"{operation.name} needs tensors of equally many axes, each with the batch first; got {listed}."
        )


def _placed(ledger: Ledger, node: ast.Call, operation: Operation, bound: Bound, tensors: list[torch.Tensor]) -> Bound:
    """The arguments as stand-ins take them: sizes with zero for the batch, checked before anything is made."""
    bound = {name: value for name, value in bound.items() if name != "device"}
    name = operation.name.rpartition(".")[2]
    if operation.variadic in {"size", "shape"} or "size" in bound:
        key = operation.variadic or "size"
        given: tuple[Any, ...] = bound[key]
        if any(not isinstance(size, BatchSize) and (size < -1 or size == 0) for size in given):
            raise refuse(node, f"{operation.name} got a size below one.")
        wanted = tuple(0 if isinstance(size, BatchSize) else size for size in given)
        if operation.variadic == "shape":
            wanted = _reshaped(node, tensors[0], wanted)
        ledger.allow(node, tuple(abs(size) for size in wanted))
        bound[key] = wanted
    if name == "repeat":
        counts = bound["repeats"]
        if any(count < 1 for count in counts):
            raise refuse(node, "repeat() got a count below one.")
        ledger.allow(node, (*(1,) * len(counts), math.prod(counts) * elements(tensors[0])))
    if name == "arange" and "steps" not in bound:
        start, end = (bound["start"], bound["end"]) if bound.get("end") is not None else (0, bound["start"])
        step = bound.get("step") or 1
        if not (math.isfinite((end - start) / step) and abs((end - start) / step) <= ledger.most_elements):
            raise refuse(node, f"torch.arange() of more than {ledger.most_elements} elements.")
        if bound.get("end") is None:
            bound = {"start": 0, **{key: value for key, value in bound.items() if key != "start"}, "end": end}
    if "data" in bound:
        bound["data"] = _literal(node, bound["data"], [0], 0)
    return bound


def _reshaped(node: ast.Call, tensor: torch.Tensor, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that -1 leaves, found from the elements of one env, as the stand-in has none."""
    count = elements(tensor)
    if is_batched(tensor) and wanted[0] == -1 and -1 not in wanted[1:] and math.prod(wanted[1:]) == count:
        return (0, *wanted[1:])
    inner = wanted[1:] if is_batched(tensor) else wanted
    known = math.prod(size for size in inner if size != -1)
    if is_batched(tensor) != (wanted[0] == 0) or 0 in inner or inner.count(-1) > 1 or known == 0 or count % known:
        target = "(" + ", ".join("B" if size == 0 else str(size) for size in wanted) + ")"
        raise refuse(node, f"{shown(tuple(tensor.shape))} cannot become {target}: the batch must stay first and whole.")
    return (*wanted[: len(wanted) - len(inner)], *(count // known if size == -1 else size for size in inner))


def _literal(node: ast.Call, data: Any, seen: list[int], depth: int) -> Any:
    """Numbers written out, as nested lists; shared lists count as often as they appear."""
    seen[0] += 1
    if seen[0] > limits.MAX_ITEMS or depth > limits.MAX_RANK:
        raise refuse(node, f"torch.tensor() of more than {limits.MAX_ITEMS} numbers.")
    if is_number(data):
        return data
    if not isinstance(data, tuple | list) or not data:
        raise refuse(node, f"torch.tensor() takes numbers, got {kind(data)}; join tensors with torch.stack.")
    return [_literal(node, item, seen, depth + 1) for item in data]
