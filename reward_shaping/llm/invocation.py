"""What a program may call: its helpers, torch functions, tensor methods, `memory.get`, and a few of Python's own."""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING, Any

import torch

from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm import arithmetic, calls
from cairngym.reward_shaping.llm.allowlist import Operation
from cairngym.reward_shaping.llm.hints import decisive, dotted, why_not
from cairngym.reward_shaping.llm.naming import field
from cairngym.reward_shaping.llm.refusal import refuse
from cairngym.reward_shaping.llm.values import BATCH, MEMORY, Fields, is_batched, is_number, kind, sizes

if TYPE_CHECKING:
    from cairngym.reward_shaping.llm.evaluator import Evaluator

Locals = dict[str, Any]


def call(evaluator: Evaluator, node: ast.Call, scope: Locals) -> Any:
    """What a call comes to.

    Raises:
        ProgramRefused: the function does not exist, or not for these arguments.
    """
    evaluator.reached.add(id(node.func))
    if isinstance(node.func, ast.Name):
        return _by_name(evaluator, node, node.func, scope)
    if not isinstance(node.func, ast.Attribute):
        raise refuse(node, "Only functions that have a name can be called.")
    path = dotted(node.func)
    root, _, rest = (path or "").partition(".")
    if root == "torch":
        return _torch(evaluator, node, rest, scope)
    if root == "math":
        return _math(evaluator, node, rest, scope)
    owner = evaluator.value(node.func.value, scope)
    if owner is MEMORY:
        return _memory(evaluator, node, node.func.attr, scope)
    if isinstance(owner, torch.Tensor):
        return _method(evaluator, node, node.func.attr, owner, scope)
    if isinstance(owner, Fields):
        field(evaluator, node.func, owner, node.func.attr)
        raise refuse(node, f"{owner.name}.{node.func.attr} is a tensor; it cannot be called.")
    name = node.func.attr
    raise refuse(node, why_not(f".{name}()", name, f"method of {kind(owner)}", []))


def _given(evaluator: Evaluator, node: ast.Call, scope: Locals) -> tuple[list[Any], dict[str, Any]]:
    arguments = [evaluator.value(argument, scope) for argument in node.args]
    options: dict[str, Any] = {}
    for option in node.keywords:
        assert option.arg is not None
        if option.arg in options:
            raise refuse(node, f"The argument {option.arg!r} is given twice.")
        options[option.arg] = evaluator.value(option.value, scope)
    return arguments, options


def _by_name(evaluator: Evaluator, node: ast.Call, function: ast.Name, scope: Locals) -> Any:
    name = function.id
    if name in scope and name not in evaluator.functions:
        raise refuse(node, f"{name!r} is {kind(scope[name])}; it cannot be called.")
    if name in evaluator.functions:
        return _helper(evaluator, node, name, scope)
    if name in limits.BUILTINS:
        arguments, options = _given(evaluator, node, scope)
        if options:
            raise refuse(node, f"{name}() takes no named arguments here.")
        return _builtin(evaluator, node, name, arguments)
    raise refuse(node, why_not(f"{name}()", name, "function", [*limits.BUILTINS, *evaluator.functions]))


def _helper(evaluator: Evaluator, node: ast.Call, name: str, scope: Locals) -> Any:
    arguments, options = _given(evaluator, node, scope)
    definition = evaluator.functions[name].args
    names = [argument.arg for argument in definition.args]
    if len(arguments) > len(names) or any(option not in names[len(arguments) :] for option in options):
        raise refuse(node, f"{name}() takes ({', '.join(names)}).")
    bound = dict(zip(names, arguments, strict=False)) | options
    defaults = definition.defaults
    for parameter, default in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        bound.setdefault(parameter, evaluator.value(default, {}))
    missing = [parameter for parameter in names if parameter not in bound]
    if missing:
        raise refuse(node, f"{name}() needs {', '.join(missing)}.")
    return evaluator.function(name, bound)[1]


def _torch(evaluator: Evaluator, node: ast.Call, path: str, scope: Locals) -> Any:
    operation = limits.functions().get(path)
    if operation is None:
        raise refuse(node, why_not(f"torch.{path}", decisive(path), "torch function", _names()))
    arguments, options = _given(evaluator, node, scope)
    evaluator.role(node, "torch", path)
    return _operation(evaluator, node, operation, limits.resolve(path), arguments, options)


def _names() -> list[str]:
    return [f"torch.{name}" for name in limits.functions()]


def _method(evaluator: Evaluator, node: ast.Call, name: str, owner: torch.Tensor, scope: Locals) -> Any:
    if name in {"size", "dim"}:
        arguments, options = _given(evaluator, node, scope)
        evaluator.role(node, "method", name)
        return _size(node, name, owner, [*arguments, *options.values()])
    operation = limits.methods().get(name)
    if operation is None:
        raise refuse(node, why_not(f".{name}()", name, "tensor method", [f".{known}()" for known in limits.methods()]))
    arguments, options = _given(evaluator, node, scope)
    evaluator.role(node, "torch" if name in limits.REPLACED_METHODS else "method", name)
    function = limits.resolve(name) if name in limits.REPLACED_METHODS else getattr(torch.Tensor, name)
    return _operation(evaluator, node, operation, function, [owner, *arguments], options)


def _operation(
    evaluator: Evaluator, node: ast.Call, operation: Operation, function: Any, arguments: list[Any], options: Any
) -> Any:
    if operation.name.rpartition(".")[2] in {"max", "min"}:
        second = arguments[1] if len(arguments) > 1 else options.get("other")
        operation = limits.pair(operation.name) if isinstance(second, torch.Tensor) else operation
    bound = calls.bind(node, operation, arguments, options)
    first = bound.get(operation.required[0]) if operation.required else None
    if operation.kind not in {"create", "join"} and not any(
        isinstance(value, torch.Tensor) for value in bound.values()
    ):
        raise refuse(node, f"{operation.name} takes a tensor, got {kind(first)}; use math or torch.full_like.")
    return calls.evaluate(evaluator.ledger, node, operation, function, bound)


def _size(node: ast.Call, name: str, owner: torch.Tensor, arguments: list[Any]) -> Any:
    if name == "dim" and not arguments:
        return owner.ndim
    if name == "size" and not arguments:
        return sizes(owner)
    axis = arguments[0]
    if name == "dim" or len(arguments) > 1 or type(axis) is not int or not -owner.ndim <= axis < owner.ndim:
        raise refuse(node, f".{name}() of a tensor with {owner.ndim} axes got other arguments than an axis of it.")
    return sizes(owner)[axis]


def _math(evaluator: Evaluator, node: ast.Call, name: str, scope: Locals) -> Any:
    if name not in limits.MATH:
        raise refuse(
            node, why_not(f"math.{name}", decisive(name), "function", [f"math.{known}" for known in limits.MATH])
        )
    arguments, options = _given(evaluator, node, scope)
    if options or not all(map(is_number, arguments)):
        given = next((kind(value) for value in arguments if not is_number(value)), "named arguments")
        raise refuse(node, f"math.{name} takes numbers, got {given}; use torch.{name} for tensors.")
    evaluator.role(node, "math", name)
    return arithmetic.exact(node, getattr(math, name), *arguments)


def _memory(evaluator: Evaluator, node: ast.Call, name: str, scope: Locals) -> torch.Tensor:
    if name != "get":
        raise refuse(node, f"memory.{name}() is not in the language; use memory.get('name', default).")
    if len(node.args) != 2 or node.keywords:
        raise refuse(
            node, "Write memory.get('name', default): a new episode remembers nothing, so a default is needed."
        )
    key, default = (evaluator.value(argument, scope) for argument in node.args)
    if not isinstance(key, str):
        raise refuse(node, f"memory.get takes a name, got {kind(key)}.")
    evaluator.role(node, "recall", key)
    return evaluator.given(evaluator.remembering.recall(node, key, default))


def _builtin(evaluator: Evaluator, node: ast.Call, name: str, arguments: list[Any]) -> Any:
    evaluator.role(node, "builtin", name)
    if any(value is BATCH for value in arguments):
        raise refuse(node, "The number of envs is only known as a size; a reward must not depend on it.")
    if name == "len":
        return _length(node, arguments)
    if name in {"enumerate", "zip"}:
        return _zipped(evaluator, node, name, arguments)
    if name == "sum":
        return _sum(evaluator, node, arguments)
    if name == "abs" and len(arguments) == 1 and isinstance(arguments[0], torch.Tensor):
        return arithmetic.elementwise(evaluator.ledger, node, abs, arguments[0])
    if name == "float" and arguments and isinstance(arguments[0], str):
        if arguments[0] not in {"inf", "-inf", "nan"} or len(arguments) > 1:
            raise refuse(node, "float() of a text takes 'inf', '-inf' or 'nan'.")
        return float(arguments[0])
    if any(isinstance(value, torch.Tensor) for value in arguments):
        instead = {"max": "torch.maximum", "min": "torch.minimum"}.get(name, f"torch.{name} or a tensor method")
        raise refuse(node, f"{name}() leaves torch for Python values; use {instead}.")
    if not all(map(is_number, arguments)) or not arguments:
        given = next((kind(value) for value in arguments if not is_number(value)), "nothing")
        raise refuse(node, f"{name}() takes numbers, got {given}.")
    if name == "range":
        return _range(node, arguments)
    if name == "round" and len(arguments) > 1 and not -limits.MAX_DIGITS <= arguments[1] <= limits.MAX_DIGITS:
        raise refuse(node, f"round() to more than {limits.MAX_DIGITS} digits.")
    return arithmetic.exact(node, limits.BUILTINS[name], *arguments)


def _range(node: ast.Call, arguments: list[Any]) -> range:
    if not all(type(value) is int for value in arguments) or len(arguments) > 3 or 0 in arguments[2:]:
        raise refuse(node, "range() takes one to three whole numbers.")
    if len(range(*arguments)) > limits.MAX_ITERATIONS:
        raise refuse(node, f"range() of more than {limits.MAX_ITERATIONS} numbers.")
    return range(*arguments)


def _length(node: ast.Call, arguments: list[Any]) -> Any:
    value = arguments[0] if len(arguments) == 1 else None
    if isinstance(value, torch.Tensor) and value.ndim:
        return BATCH if is_batched(value) else len(value)
    if not isinstance(value, tuple | list | dict | range):
        raise refuse(node, f"len() takes a tuple, a list or a tensor, got {kind(value)}.")
    return len(value)


def _zipped(evaluator: Evaluator, node: ast.Call, name: str, arguments: list[Any]) -> list[Any]:
    if not arguments or (name == "enumerate" and len(arguments) != 1):
        raise refuse(node, f"{name}() takes {'one list' if name == 'enumerate' else 'lists'}.")
    lists = [evaluator.items(node, value) for value in arguments]
    return list(enumerate(lists[0])) if name == "enumerate" else list(zip(*lists, strict=False))


def _sum(evaluator: Evaluator, node: ast.Call, arguments: list[Any]) -> Any:
    if not 1 <= len(arguments) <= 2:
        raise refuse(node, "sum() takes a list.")
    total = arguments[1] if len(arguments) == 2 else 0
    for item in evaluator.items(node, arguments[0]):
        total = arithmetic.binary(evaluator.ledger, node, ast.Add(), total, item)
    return total
