"""Operators on Python numbers, done exactly, and on tensors, done on their stand-ins."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import torch

from cairngym.reward_shaping.llm.ledger import Ledger
from cairngym.reward_shaping.llm.refusal import refuse
from cairngym.reward_shaping.llm.values import BatchSize, broadcast, is_batched, is_number, kind, number

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Invert: operator.invert,
}  # fmt: skip
LARGEST_EXPONENT = 64


def binary(ledger: Ledger, node: ast.AST, symbol: ast.operator, left: Any, right: Any) -> Any:
    """`left symbol right`.

    Raises:
        ProgramRefused: it means nothing, or is too large.
    """
    function = _BINARY[type(symbol)]
    if isinstance(left, BatchSize) or isinstance(right, BatchSize):
        raise refuse(node, "The number of envs is only known as a size; a reward must not depend on it.")
    if isinstance(left, torch.Tensor) or isinstance(right, torch.Tensor):
        _check_operands(node, left, right)
        if isinstance(symbol, ast.FloorDiv | ast.Mod):
            check_division(node, left, right)
        return elementwise(ledger, node, function, left, right)
    if not (is_number(left) and is_number(right)):
        raise refuse(
            node, f"No arithmetic with {kind(left)} and {kind(right)}; only numbers and tensors are computed with."
        )
    if isinstance(symbol, ast.Pow) and isinstance(left, int) and abs(right) > LARGEST_EXPONENT:
        raise refuse(node, f"The power of an integer is larger than {LARGEST_EXPONENT}; write a float.")
    return exact(node, function, left, right)


def check_division(node: ast.AST, left: Any, right: Any) -> None:
    """Refuse `//` and `%` of whole tensors by anything but a positive number: a zero among them ends the process' step.

    Raises:
        ProgramRefused: as said.
    """
    whole = all(
        not value.is_floating_point() if isinstance(value, torch.Tensor) else not isinstance(value, float)
        for value in (left, right)
    )
    if whole and (isinstance(right, torch.Tensor) or right <= 0):
        raise refuse(node, "Whole numbers may only be divided by a positive constant; convert with .float() first.")


def compare(ledger: Ledger, node: ast.Compare, symbol: ast.cmpop, left: Any, right: Any) -> Any:
    """`left symbol right`.

    Raises:
        ProgramRefused: it cannot be known, or means nothing.
    """
    if isinstance(symbol, ast.Is | ast.IsNot):
        if left is not None and right is not None:
            raise refuse(node, "`is` only asks for None; use == for values.")
        return (left is right) == isinstance(symbol, ast.Is)
    function = _COMPARISONS[type(symbol)]
    if isinstance(left, BatchSize) or isinstance(right, BatchSize):
        raise refuse(node, "The number of envs is only known as a size; a reward must not depend on it.")
    if isinstance(left, torch.Tensor) or isinstance(right, torch.Tensor):
        return elementwise(ledger, node, function, left, right)
    texts = isinstance(left, str) and isinstance(right, str) and isinstance(symbol, ast.Eq | ast.NotEq)
    if not texts and not (is_number(left) and is_number(right)):
        raise refuse(node, f"{kind(left)} and {kind(right)} cannot be compared; only numbers and tensors can.")
    return function(left, right)


def unary(ledger: Ledger, node: ast.UnaryOp, value: Any) -> Any:
    """`-value`, `+value` or `~value`; `not` is the evaluator's.

    Raises:
        ProgramRefused: it means nothing.
    """
    if isinstance(value, torch.Tensor):
        return elementwise(ledger, node, _UNARY[type(node.op)], value)
    if not is_number(value):
        raise refuse(node, f"No arithmetic with {kind(value)}.")
    if isinstance(node.op, ast.Invert):
        raise refuse(node, "`~` is for bool tensors; use `not` for Python values.")
    return exact(node, _UNARY[type(node.op)], value)


def _check_operands(node: ast.AST, *operands: Any) -> None:
    for operand in operands:
        if not isinstance(operand, torch.Tensor) and not is_number(operand):
            raise refuse(node, f"No arithmetic between a tensor and {kind(operand)}.")


def elementwise(ledger: Ledger, node: ast.AST, function: Callable[..., Any], *operands: Any) -> Any:
    """Apply an operator to tensors and numbers, element by element.

    Raises:
        ProgramRefused: the shapes do not fit, or torch refuses.
    """
    _check_operands(node, *operands)
    tensors = [operand for operand in operands if isinstance(operand, torch.Tensor)]
    ledger.allow(node, broadcast(node, [tuple(tensor.shape) for tensor in tensors]))
    value = attempt(ledger, node, function, *operands)
    return ledger.result(node, value, batched=any(map(is_batched, tensors)))


def attempt(ledger: Ledger, node: ast.AST, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call a listed torch function on stand-ins; what torch says against it becomes the reason."""
    ledger.operation(node, [*arguments, *options.values()])
    try:
        with torch.no_grad():
            return function(*arguments, **options)
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise refuse(node, f"torch refuses these arguments: {text}") from None


def exact(node: ast.AST, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of numbers.

    Raises:
        ProgramRefused: it has no real result of bounded size.
    """
    try:
        value = function(*arguments)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise refuse(node, f"This cannot be computed: {error}.") from None
    return number(node, value)
