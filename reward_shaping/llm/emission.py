"""Write the program that runs: only what was reached, with every name resolved beforehand.

The code that runs has no `torch`, no `math` and no builtins. A torch function is one global that holds that function,
a field of the state is an item of a plain dict, a constant is its value; the only attributes left are tensor methods of
the allow-list. Globals begin with an underscore, which no name of a program does.
"""

from __future__ import annotations

import ast
import math
import types
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch

from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm.evaluator import Evaluator
from cairngym.reward_shaping.llm.refusal import ProgramRefused
from cairngym.reward_shaping.llm.source_text import FILENAME

_ATTRIBUTES = frozenset({"recall", "size", "dim"}) | limits.TENSOR_ATTRIBUTES | limits.PAIR_ATTRIBUTES


def emit(evaluator: Evaluator, device: torch.device) -> Callable[..., Any]:
    """Compile what the evaluator reached.

    Args:
        evaluator: one whose `run` returned.
        device: where tensors are made that the program writes out.

    Returns:
        `reward(state, action, next_state, memory)` on dicts of fields and `Notes`.
    """
    writer = _Writer(evaluator)
    module = ast.Module([writer.function(definition) for definition in writer.definitions()], [])
    ast.fix_missing_locations(module)
    _check(module, writer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = compile(module, FILENAME, "exec", flags=0, dont_inherit=True, optimize=2)
    scope: dict[str, Any] = {**writer.globals, "_device": device, "__builtins__": {}}
    exec(code, scope)
    return cast(types.FunctionType, scope["reward"])


def _check(module: ast.Module, writer: _Writer) -> None:
    """Refuse to compile anything this file did not mean to write, should a rule above it fail."""
    stored = {node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    named = {node.arg for node in ast.walk(module) if isinstance(node, ast.arg)} | {*writer.evaluator.functions}
    known = stored | named | {*writer.globals, "_device"}
    for node in ast.walk(module):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        allowed = known if isinstance(node, ast.Name) else _ATTRIBUTES | limits.methods().keys()
        if name and (name not in allowed or name.startswith("__")):
            raise ProgramRefused(f"The compiler would have to write {name!r}, which is not in the language.")


class _Writer:
    """Rewrites the reached part of a program's tree."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.globals: dict[str, Any] = {}

    def definitions(self) -> list[ast.FunctionDef]:
        functions = self.evaluator.functions.values()
        return [definition for definition in functions if id(definition) in self.evaluator.reached]

    def function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        arguments = ast.arguments(
            posonlyargs=[], args=[ast.arg(argument.arg) for argument in node.args.args], kwonlyargs=[], kw_defaults=[],
            defaults=[self.expression(default) for default in node.args.defaults],
        )  # fmt: skip
        written = ast.FunctionDef(name=node.name, args=arguments, body=self.block(node.body), decorator_list=[])
        if hasattr(node, "type_params"):
            written.type_params = []  # type: ignore[attr-defined, unused-ignore]
        return ast.copy_location(written, node)

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        reached = [statement for statement in body if id(statement) in self.evaluator.reached]
        kept = [self.statement(statement) for statement in reached if not isinstance(statement, ast.Expr | ast.Pass)]
        return kept or [ast.Pass()]

    def statement(self, node: ast.stmt) -> ast.stmt:
        written: ast.stmt
        if isinstance(node, ast.Return):
            written = ast.Return(None if node.value is None else self.expression(node.value))
        elif isinstance(node, ast.Assign):
            written = ast.Assign([self.target(target) for target in node.targets], self.expression(node.value))
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            written = ast.Assign([self.target(node.target)], self.expression(node.value))
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            # x += y would write into the tensor, which may be the state's own.
            before = ast.Name(node.target.id, ast.Load())
            written = ast.Assign([self.target(node.target)], ast.BinOp(before, node.op, self.expression(node.value)))
        elif isinstance(node, ast.If):
            written = ast.If(self.expression(node.test), self.block(node.body), self.block(node.orelse))
        elif isinstance(node, ast.For):
            written = ast.For(self.target(node.target), self.expression(node.iter), self.block(node.body), [])
        else:
            raise ProgramRefused(f"{type(node).__name__} cannot be compiled.", node.lineno)
        located = ast.copy_location(written, node)
        return ast.fix_missing_locations(located)

    def target(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Name):
            return ast.Name(node.id, ast.Store())
        if isinstance(node, ast.Tuple | ast.List):
            return ast.Tuple([self.target(item) for item in node.elts], ast.Store())
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            return ast.Subscript(self.expression(node.value), ast.Constant(node.slice.value), ast.Store())
        raise ProgramRefused(f"{type(node).__name__} cannot be assigned to.", node.lineno)

    def expression(self, node: ast.expr) -> ast.expr:
        """The same expression, resolved; None stands where the program never comes."""
        if id(node) not in self.evaluator.reached:
            return ast.copy_location(ast.Constant(None), node)
        what, name = self.evaluator.roles.get(id(node), ("", ""))
        written = self.resolved(node, what, name) if what else self.plain(node)
        return ast.copy_location(written, node)

    def resolved(self, node: ast.expr, what: str, name: str) -> ast.expr:
        """An attribute, a subscript or a call whose meaning is known."""
        if what == "constant":
            value = limits.CONSTANTS[name]
            return self.hold(f"_{name}", value) if math.isinf(value) or math.isnan(value) else ast.Constant(value)
        if what == "dtype":
            return self.hold(f"_dtype_{name}", limits.DTYPES[name])
        if isinstance(node, ast.Attribute | ast.Subscript):
            owner = self.expression(node.value)
            if what == "attribute":
                return ast.Attribute(owner, name, ast.Load())
            return ast.Subscript(owner, ast.Constant(name), ast.Load())
        assert isinstance(node, ast.Call)
        arguments = [self.expression(argument) for argument in node.args]
        options = [
            ast.keyword(option.arg, self.expression(option.value)) for option in node.keywords if option.arg != "device"
        ]
        if what == "math":
            return ast.Call(self.hold(f"_math_{name}", getattr(math, name)), arguments, options)
        if what == "builtin":
            return ast.Call(self.hold(f"_python_{name}", limits.BUILTINS[name]), arguments, options)
        assert isinstance(node.func, ast.Attribute)
        if what in {"method", "recall"}:
            method = "recall" if what == "recall" else name
            return ast.Call(ast.Attribute(self.expression(node.func.value), method, ast.Load()), arguments, options)
        if id(node.func.value) in self.evaluator.reached:  # a method that is replaced by a function
            arguments.insert(0, self.expression(node.func.value))
        elif limits.functions()[name].kind == "create":
            options.append(ast.keyword("device", ast.Name("_device", ast.Load())))
        held = self.hold(f"_torch_{name.replace('.', '_')}", limits.resolve(name))
        return ast.Call(held, arguments, options)

    def hold(self, name: str, value: Any) -> ast.Name:
        """A global of the compiled program."""
        self.globals[name] = value
        return ast.Name(name, ast.Load())

    def plain(self, node: ast.expr) -> ast.expr:
        """An expression that means what it means in Python."""
        if isinstance(node, ast.Constant):
            return ast.Constant(node.value)
        if isinstance(node, ast.Name):
            return ast.Name(node.id, ast.Load())
        if isinstance(node, ast.Tuple):
            return ast.Tuple([self.expression(item) for item in node.elts], ast.Load())
        if isinstance(node, ast.List):
            return ast.List([self.expression(item) for item in node.elts], ast.Load())
        if isinstance(node, ast.Dict):
            keys = [None if key is None else self.expression(key) for key in node.keys]
            return ast.Dict(keys, [self.expression(item) for item in node.values])
        if isinstance(node, ast.BinOp):
            return ast.BinOp(self.expression(node.left), node.op, self.expression(node.right))
        if isinstance(node, ast.UnaryOp):
            return ast.UnaryOp(node.op, self.expression(node.operand))
        if isinstance(node, ast.BoolOp):
            return ast.BoolOp(node.op, [self.expression(item) for item in node.values])
        if isinstance(node, ast.IfExp):
            return ast.IfExp(self.expression(node.test), self.expression(node.body), self.expression(node.orelse))
        if isinstance(node, ast.Compare):
            comparators = [self.expression(item) for item in node.comparators]
            return ast.Compare(self.expression(node.left), node.ops, comparators)
        return self.compound(node)

    def compound(self, node: ast.expr) -> ast.expr:
        """Brackets, comprehensions and calls of helpers."""
        if isinstance(node, ast.Subscript):
            return ast.Subscript(self.expression(node.value), self.expression(node.slice), ast.Load())
        if isinstance(node, ast.Slice):
            parts = [None if part is None else self.expression(part) for part in (node.lower, node.upper, node.step)]
            return ast.Slice(*parts)
        if isinstance(node, ast.ListComp):
            generator = node.generators[0]
            source = ast.comprehension(self.target(generator.target), self.expression(generator.iter), [], 0)
            return ast.ListComp(self.expression(node.elt), [source])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            options = [ast.keyword(option.arg, self.expression(option.value)) for option in node.keywords]
            function = ast.Name(node.func.id, ast.Load())
            return ast.Call(function, [self.expression(argument) for argument in node.args], options)
        raise ProgramRefused(f"{type(node).__name__} cannot be compiled.", node.lineno)
