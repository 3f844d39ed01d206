"""Follow a program step by step on stand-ins, so that all it will ever do is known before it runs.

Branches and loops may depend on Python values only, never on tensors, so the course of a program is the same for every
batch; following it once shows each operation, each shape and each name it uses. What was not reached is not compiled.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm import arithmetic
from cairngym.reward_shaping.llm.answers import Answer, check_answer, storage
from cairngym.reward_shaping.llm.hints import why_not
from cairngym.reward_shaping.llm.indexing import subscript
from cairngym.reward_shaping.llm.invocation import call
from cairngym.reward_shaping.llm.ledger import Ledger
from cairngym.reward_shaping.llm.naming import attribute
from cairngym.reward_shaping.llm.refusal import refuse
from cairngym.reward_shaping.llm.remembering import Remembering
from cairngym.reward_shaping.llm.values import MEMORY, Fields, is_number, kind, stand_in

Locals = dict[str, Any]


class _Return(Exception):  # noqa: N818 (a signal, not an error)
    def __init__(self, node: ast.Return, value: Any) -> None:
        super().__init__()
        self.node, self.value = node, value


class Evaluator:
    """Evaluates `reward` of a parsed program.

    Args:
        functions: from `syntax_rules.parse`.
        state_spec: the fields that exist.
        action: what an action is.

    Attributes:
        reached: the nodes evaluated, by id.
        roles: what an attribute or a call turned out to be, by id: ("field", "goal"), ("torch", "linalg.norm").
        reads: fields read of "state" and of "next_state".
        remembering: what memory is read and written.
        action_used: whether the action is.
    """

    def __init__(
        self, functions: Mapping[str, ast.FunctionDef], state_spec: Mapping[str, StateField], action: StateField
    ) -> None:
        self.functions, self.state_spec, self.action = functions, state_spec, action
        self.ledger = Ledger({name: field for name, field in state_spec.items() if not field.privileged})
        self.reached: set[int] = set()
        self.roles: dict[int, tuple[str, str]] = {}
        self.reads: dict[str, set[str]] = {"state": set(), "next_state": set()}
        self.remembering = Remembering(self.ledger)
        self.action_used = False
        self.stack: list[str] = []
        self._given: list[torch.Tensor] = []

    def run(self) -> Answer:
        """Evaluate `reward` and examine what it returns.

        Raises:
            ProgramRefused: whatever is wrong first.
        """
        arguments = {"state": Fields("state"), "next_state": Fields("next_state"), "memory": MEMORY}
        node, value = self.function("reward", {**arguments, "action": self.given(stand_in(self.action))})
        answer = check_answer(node, value, set(map(storage, self._given)))
        self.remembering.check(node)
        return answer

    def given(self, tensor: torch.Tensor) -> torch.Tensor:
        """Note a tensor that the program does not make but is given."""
        self._given.append(tensor)
        return tensor

    def function(self, name: str, arguments: Locals) -> tuple[ast.AST, Any]:
        """Evaluate a function of the program; returns the node that returned and its value."""
        definition = self.functions[name]
        if len(self.stack) >= limits.MAX_CALLS:
            raise refuse(definition, f"Helper functions are nested more than {limits.MAX_CALLS} deep.")
        self.reached.add(id(definition))
        self.stack.append(name)
        try:
            self.block(definition.body, dict(arguments))
        except _Return as signal:
            return signal.node, signal.value
        finally:
            self.stack.pop()
        return definition, None

    # Statements

    def block(self, body: list[ast.stmt], scope: Locals) -> None:
        """Evaluate statements in turn."""
        for statement in body:
            self.ledger.step(statement)
            self.reached.add(id(statement))
            handler: Callable[[Any, Locals], None] = getattr(self, f"_{type(statement).__name__.lower()}_statement")
            handler(statement, scope)

    def _expr_statement(self, node: ast.Expr, scope: Locals) -> None:
        """Text that stands alone does nothing."""

    def _pass_statement(self, node: ast.Pass, scope: Locals) -> None:
        """Nothing."""

    def _return_statement(self, node: ast.Return, scope: Locals) -> NoReturn:
        raise _Return(node, None if node.value is None else self.value(node.value, scope))

    def _assign_statement(self, node: ast.Assign, scope: Locals) -> None:
        value = self.value(node.value, scope)
        for target in node.targets:
            self.bind(target, value, scope)

    def _annassign_statement(self, node: ast.AnnAssign, scope: Locals) -> None:
        assert node.value is not None
        self.bind(node.target, self.value(node.value, scope), scope)

    def _augassign_statement(self, node: ast.AugAssign, scope: Locals) -> None:
        assert isinstance(node.target, ast.Name)
        before = self.local(node.target, scope)
        scope[node.target.id] = arithmetic.binary(self.ledger, node, node.op, before, self.value(node.value, scope))

    def _if_statement(self, node: ast.If, scope: Locals) -> None:
        self.block(node.body if self.truth(node.test, scope) else node.orelse, scope)

    def _for_statement(self, node: ast.For, scope: Locals) -> None:
        for item in self.items(node.iter, self.value(node.iter, scope)):
            self.bind(node.target, item, scope)
            self.block(node.body, scope)

    def bind(self, target: ast.expr, value: Any, scope: Locals) -> None:
        """Assign to a local name, names in a tuple, or an entry of the memory."""
        if isinstance(target, ast.Name):
            if isinstance(value, Fields) or value is MEMORY:
                raise refuse(target, f"{kind(value).capitalize()} cannot be renamed; use it by its parameter.")
            scope[target.id] = value
        elif isinstance(target, ast.Subscript):
            assert isinstance(target.slice, ast.Constant)
            if self.value(target.value, scope) is not MEMORY:
                raise refuse(target, "Only the memory's items can be written.")
            self.remembering.keep(target, str(target.slice.value), value)
        else:
            assert isinstance(target, ast.Tuple | ast.List)
            items = self.items(target, value)
            if len(items) != len(target.elts):
                raise refuse(target, f"Expected {len(target.elts)} items to unpack, got {len(items)}.")
            for part, item in zip(target.elts, items, strict=True):
                self.bind(part, item, scope)

    # Expressions

    def value(self, node: ast.expr, scope: Locals) -> Any:
        """What an expression is worth."""
        self.ledger.step(node)
        self.reached.add(id(node))
        handler: Callable[[Any, Locals], Any] = getattr(self, f"_{type(node).__name__.lower()}")
        return handler(node, scope)

    def _constant(self, node: ast.Constant, scope: Locals) -> Any:
        return node.value

    def _name(self, node: ast.Name, scope: Locals) -> Any:
        return self.local(node, scope)

    def local(self, node: ast.Name, scope: Locals) -> Any:
        """The value of a local name."""
        if node.id in scope:
            self.action_used |= node.id == "action" and self.stack == ["reward"]
            return scope[node.id]
        if node.id in {"torch", "math", *limits.BUILTINS, *self.functions}:
            raise refuse(node, f"{node.id!r} is not a value; it can only be called or named with a dot.")
        raise refuse(
            node, why_not(f"{node.id!r}", node.id, "name", sorted({*scope, *limits.BUILTINS, *self.functions}))
        )

    def _tuple(self, node: ast.Tuple, scope: Locals) -> tuple[Any, ...]:
        return tuple(self._list(node, scope))

    def _list(self, node: ast.List | ast.Tuple, scope: Locals) -> list[Any]:
        if len(node.elts) > limits.MAX_ITEMS:
            raise refuse(node, f"More than {limits.MAX_ITEMS} items.")
        return [self.value(item, scope) for item in node.elts]

    def _dict(self, node: ast.Dict, scope: Locals) -> dict[Any, Any]:
        keys = [self.value(key, scope) for key in node.keys if key is not None]
        if not all(isinstance(key, str) for key in keys) or len(keys) > limits.MAX_ITEMS:
            raise refuse(node, f"A dict has at most {limits.MAX_ITEMS} items, each under a name.")
        if len(set(keys)) != len(keys):
            raise refuse(node, "A name stands twice in the dict.")
        return dict(zip(keys, [self.value(item, scope) for item in node.values], strict=True))

    def _listcomp(self, node: ast.ListComp, scope: Locals) -> list[Any]:
        if len(node.generators) > 1:
            raise refuse(node, "A comprehension has one `for`.")
        generator = node.generators[0]
        results = []
        inner = dict(scope)
        for item in self.items(generator.iter, self.value(generator.iter, scope)):
            self.bind(generator.target, item, inner)
            results.append(self.value(node.elt, inner))
        return results

    def _binop(self, node: ast.BinOp, scope: Locals) -> Any:
        left, right = self.value(node.left, scope), self.value(node.right, scope)
        return arithmetic.binary(self.ledger, node, node.op, left, right)

    def _unaryop(self, node: ast.UnaryOp, scope: Locals) -> Any:
        if isinstance(node.op, ast.Not):
            return not self.truth(node.operand, scope)
        return arithmetic.unary(self.ledger, node, self.value(node.operand, scope))

    def _boolop(self, node: ast.BoolOp, scope: Locals) -> bool:
        stop = isinstance(node.op, ast.Or)
        word = "or" if stop else "and"
        return stop if any(self.truth(item, scope, word) is stop for item in node.values) else not stop

    def _ifexp(self, node: ast.IfExp, scope: Locals) -> Any:
        return self.value(node.body if self.truth(node.test, scope) else node.orelse, scope)

    def _compare(self, node: ast.Compare, scope: Locals) -> Any:
        values = [self.value(item, scope) for item in (node.left, *node.comparators)]
        if len(node.ops) > 1 and any(isinstance(value, torch.Tensor) for value in values):
            raise refuse(node, "A chain of comparisons asks whether a tensor is true; write (a < b) & (b < c).")
        pairs = zip(node.ops, values[:-1], values[1:], strict=True)
        results = [arithmetic.compare(self.ledger, node, symbol, left, right) for symbol, left, right in pairs]
        return results[0] if len(results) == 1 else all(results)

    def truth(self, node: ast.expr, scope: Locals, word: str = "if") -> bool:
        """Whether a Python value is true; branches on tensors do not exist for a batch."""
        value = self.value(node, scope)
        if isinstance(value, torch.Tensor):
            instead = {"and": "&", "or": "|"}.get(word)
            fix = f"write (a) {instead} (b)" if instead else "use torch.where, and ~ for not"
            raise refuse(node, f"A tensor has one truth for each env, so `{word}` cannot ask for it; {fix}.")
        if not is_number(value):
            raise refuse(node, f"`{word}` asks whether {kind(value)} is true; compare numbers.")
        return bool(value)

    def items(self, node: ast.AST, value: Any) -> list[Any]:
        """What a loop or an unpacking goes through."""
        if isinstance(value, torch.Tensor):
            raise refuse(
                node, "A tensor cannot be looped over or unpacked; index its last axis, or use .unbind(dim=-1)."
            )
        if isinstance(value, dict):
            raise refuse(node, "A dict cannot be looped over; write a tuple.")
        if not isinstance(value, tuple | list | range):
            raise refuse(node, f"{kind(value).capitalize()} cannot be looped over; only range(), tuples and lists can.")
        if len(value) > limits.MAX_ITERATIONS:
            raise refuse(node, f"A loop over {len(value)} items; at most {limits.MAX_ITERATIONS} are allowed.")
        return list(value)

    def role(self, node: ast.AST, what: str, name: str) -> None:
        """Note what a node turned out to be."""
        if self.roles.setdefault(id(node), (what, name)) != (what, name):
            raise refuse(node, "This means different things in different calls of the helper; write two helpers.")

    def _attribute(self, node: ast.Attribute, scope: Locals) -> Any:
        return attribute(self, node, scope)

    def _subscript(self, node: ast.Subscript, scope: Locals) -> Any:
        return subscript(self, node, scope)

    def _call(self, node: ast.Call, scope: Locals) -> Any:
        return call(self, node, scope)

    def _slice(self, node: ast.Slice, scope: Locals) -> Any:
        raise refuse(node, "A slice stands only in brackets.")
