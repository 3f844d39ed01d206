"""The forms of Python that a program may be written in, and where names, texts and numbers may stand.

The language is a small part of Python: functions of tensors with assignments to local names, `if` and `for` whose
course is known beforehand, and returns. A form that is not listed is refused, whatever Python version brings it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm.hints import decisive, dotted, why_not
from cairngym.reward_shaping.llm.refusal import ProgramRefused, refuse
from cairngym.reward_shaping.llm.source_text import read

_FORMS: tuple[type[ast.AST], ...] = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.For,
    ast.If, ast.Expr, ast.Pass, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Dict, ast.ListComp,
    ast.comprehension, ast.Compare, ast.Call, ast.keyword, ast.Constant, ast.Attribute, ast.Subscript, ast.Name,
    ast.List, ast.Tuple, ast.Slice, ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip
_REASONS: dict[str, str] = {
    "Import": "Imports are refused; `torch` and `math` are already there.",
    "ImportFrom": "Imports are refused; `torch` and `math` are already there.",
    "While": "`while` may not end; use `for` over range() of a number.",
    "Global": "`global` reaches outside the function; use `memory`.",
    "Nonlocal": "`nonlocal` reaches outside the function; use `memory`.",
    "Delete": "`del` is refused; names end with the function.",
    "Try": "`try` is refused; exceptions carry frames, and a reward must not hide its errors.",
    "TryStar": "`except*` is refused; exceptions carry frames, and a reward must not hide its errors.",
    "Raise": "`raise` is refused; exceptions carry frames, and a reward must always return.",
    "Assert": "`assert` is refused; a reward must always return.",
    "With": "`with` is refused; it calls private methods of objects.",
    "AsyncWith": "`async` is refused; a reward runs in one go.",
    "AsyncFor": "`async` is refused; a reward runs in one go.",
    "AsyncFunctionDef": "`async` is refused; a reward runs in one go.",
    "Await": "`await` is refused; a reward runs in one go.",
    "Match": "`match` is refused; its patterns look up attributes of classes. Use torch.where.",
    "NamedExpr": "`:=` is refused; assign on a line of its own.",
    "Lambda": "`lambda` is refused; define a helper function above.",
    "ClassDef": "`class` is refused; a program is functions only.",
    "Yield": "`yield` is refused; generators carry frames.",
    "YieldFrom": "`yield` is refused; generators carry frames.",
    "GeneratorExp": "Generators carry frames; write a list in [].",
    "SetComp": "Set comprehensions are refused; write a list in [].",
    "DictComp": "Dict comprehensions are refused; write the dict out.",
    "Set": "Sets are refused; write a tuple.",
    "JoinedStr": "f-strings are refused; format specifications reach attributes of objects.",
    "FormattedValue": "f-strings are refused; format specifications reach attributes of objects.",
    "TemplateStr": "t-strings are refused; format specifications reach attributes of objects.",
    "Starred": "`*` and `**` unpacking is refused; write the items out.",
    "TypeAlias": "Type aliases are refused; they are evaluated later, out of sight.",
    "Break": "`break` is refused; loop over exactly what is needed.",
    "Continue": "`continue` is refused; use `if`.",
    "MatMult": "`@` multiplies matrices; write (a * b).sum(dim=-1).",
    "LShift": "Shifts are refused; they make numbers of any size.",
    "RShift": "Shifts are refused; they make numbers of any size.",
    "In": "`in` is refused; compare with ==, and read memory with memory.get(name, default).",
    "NotIn": "`not in` is refused; compare with ==, and read memory with memory.get(name, default).",
}
UNUSED = "_"
"""A local name like any other, in spite of its underscore: what loops call a value that nobody reads."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_TEXT = re.compile(r"-?[A-Za-z][A-Za-z0-9_ -]{0,63}")
_ANNOTATION = (
    ast.Name, ast.Attribute, ast.Subscript, ast.Tuple, ast.List, ast.Constant, ast.BinOp, ast.BitOr, ast.expr_context,
)  # fmt: skip


@dataclass(frozen=True)
class _Names:
    """Functions that may be called, those above, and those that may not: the function itself and those below."""

    above: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


_NOTHING = _Names()


def parse(source: str) -> dict[str, ast.FunctionDef]:
    """Parse a program and refuse every form outside the language.

    Returns:
        Its functions by name, without annotations and docstrings, in the order they are defined; the last is `reward`.

    Raises:
        ProgramRefused: naming the first offending form.
    """
    tree = read(source)
    found: dict[str, ast.FunctionDef] = {}
    everything = {statement.name for statement in tree.body if isinstance(statement, ast.FunctionDef)}
    for statement in tree.body:
        if _is_text(statement):
            continue
        if not isinstance(statement, ast.FunctionDef):
            _check_forms(statement)
            raise refuse(statement, "Only functions may stand outside a function; move this into reward().")
        _check_function(statement, found, everything)
        found[statement.name] = statement
    _check_reward(found)
    return found


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _check_function(function: ast.FunctionDef, above: dict[str, ast.FunctionDef], everything: set[str]) -> None:
    check_name(function, function.name)
    if function.name in above:
        raise refuse(function, f"{function.name}() is defined twice; a program has one function of a name.")
    if "reward" in above:
        raise refuse(function, "reward() must be the last function; define its helpers above it.")
    if function.name in limits.RESERVED:
        raise refuse(function, f"{function.name!r} already means something here; choose another name.")
    if function.decorator_list:
        raise refuse(function.decorator_list[0], "Decorators are refused; they run when the function is defined.")
    if getattr(function, "type_params", None):
        raise refuse(function, "Type parameters are refused; they are evaluated later, out of sight.")
    _check_arguments(function.args, {*above, function.name})
    if function.returns is not None:
        _check_annotation(function.returns)
    function.returns = None
    names = _Names(frozenset(above), frozenset(everything - above.keys()))
    for statement in function.body:
        _check_forms(statement, names)


def _check_arguments(arguments: ast.arguments, taken: set[str]) -> None:
    if arguments.vararg or arguments.kwarg:
        raise refuse(arguments.vararg or arguments.kwarg, "`*` and `**` parameters are refused; name each one.")
    if arguments.kwonlyargs or arguments.posonlyargs:
        raise refuse((arguments.kwonlyargs or arguments.posonlyargs)[0], "Bare `*` and `/` are refused.")
    for index, argument in enumerate(arguments.args):
        check_name(argument, argument.arg)
        if argument.arg in {other.arg for other in arguments.args[:index]}:
            raise refuse(argument, f"The parameter {argument.arg!r} stands twice.")
        if argument.arg in (limits.RESERVED - set(limits.PARAMETERS)) | taken:
            raise refuse(argument, f"{argument.arg!r} already means something here; choose another name.")
        if argument.annotation is not None:
            _check_annotation(argument.annotation)
        argument.annotation = None
    for default in arguments.defaults:
        value = default.operand if isinstance(default, ast.UnaryOp) else default
        if not isinstance(value, ast.Constant):
            raise refuse(default, "Defaults must be constants; they run when the function is defined.")
        _check_forms(default)


def _check_annotation(annotation: ast.expr) -> None:
    """Annotations are dropped unevaluated; even so only plain types may stand there."""
    for node in ast.walk(annotation):
        if not isinstance(node, _ANNOTATION):
            raise refuse(annotation, "This type hint is not a type; only names such as torch.Tensor may stand there.")
        if isinstance(node, ast.Name | ast.Attribute):
            check_name(node, node.id if isinstance(node, ast.Name) else node.attr)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            _check_constant(node)


def _check_forms(root: ast.AST, names: _Names = _NOTHING) -> None:
    """Refuse the first node, in reading order, that is not of the language."""
    name = type(root).__name__
    if not isinstance(root, _FORMS) or name in _REASONS:
        reason = _REASONS.get(name)
        if reason is None:
            reason = f"{name} is not in the language."
        raise refuse(root, reason)
    if isinstance(root, ast.FunctionDef):
        raise refuse(root, "Functions are refused within functions; define helpers at the top.")
    _check_node(root, names)
    if isinstance(root, ast.Expr):
        if not _is_text(root):
            _check_forms(root.value, names)
            raise refuse(root, "This statement has no effect; assign what it computes, or remove it.")
        return
    for child in ast.iter_child_nodes(root):
        if type(child).__name__ in _REASONS and not hasattr(child, "lineno"):
            raise refuse(root, _REASONS[type(child).__name__])
        _check_forms(child, names)


def _check_node(node: ast.AST, names: _Names) -> None:
    if isinstance(node, ast.Name):
        if node.id != UNUSED:
            check_name(node, node.id)
        if isinstance(node.ctx, ast.Store) and node.id in limits.RESERVED | names.above:
            raise refuse(node, f"{node.id!r} already means something here; choose another name.")
    elif isinstance(node, ast.Attribute):
        if node.attr.startswith("_"):
            check_name(node, node.attr)
        if not isinstance(node.ctx, ast.Load):
            raise refuse(node, "Attributes cannot be written; only local names and memory[...] can.")
    elif isinstance(node, ast.Call):
        _check_call(node, names)
    elif isinstance(node, ast.keyword):
        if node.arg is None:
            raise refuse(node.value, _REASONS["Starred"])
        check_name(node, node.arg)
    elif isinstance(node, ast.Constant):
        _check_constant(node)
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.comprehension):
        _check_binding(node)
    elif isinstance(node, ast.Dict) and None in node.keys:
        raise refuse(node, _REASONS["Starred"])


def _check_call(node: ast.Call, names: _Names) -> None:
    """Refuse functions that do not exist, also where the program never comes, and before what they are given."""
    function = node.func
    if isinstance(function, ast.Name):
        check_name(function, function.id)
        if function.id in names.others:
            raise refuse(node, f"{function.id}() is not above: functions may only call those defined above them.")
        if function.id not in names.above and function.id not in limits.BUILTINS:
            raise refuse(node, why_not(f"{function.id}()", function.id, "function", [*limits.BUILTINS, *names.above]))
        return
    if not isinstance(function, ast.Attribute):
        raise refuse(node, "Only functions that have a name can be called.")
    root, _, path = (dotted(function) or "").partition(".")
    if root == "torch" and path not in limits.functions():
        valid = [f"torch.{name}" for name in limits.functions()]
        raise refuse(node, why_not(f"torch.{path}", decisive(path), "torch function", valid))
    if root == "math" and path not in limits.MATH:
        raise refuse(
            node, why_not(f"math.{path}", decisive(path), "function", [f"math.{name}" for name in limits.MATH])
        )
    if root == "memory" and path != "get":
        raise refuse(node, f"memory.{path}() is not in the language; use memory.get('name', default).")
    if root not in {"torch", "math"} and function.attr not in {*limits.methods(), "get", "size", "dim"}:
        valid = [f".{name}()" for name in limits.methods()]
        path = dotted(function) or function.attr
        raise refuse(node, why_not(f".{function.attr}()", decisive(path), "tensor method", valid))


def check_name(node: ast.AST, name: str) -> None:
    """Refuse private names.

    Raises:
        ProgramRefused: the name begins with an underscore, or is too long.
    """
    if name.startswith("_") or "__" in name:
        raise refuse(node, f"{name!r} is private; names that begin with or hold double underscores do not exist here.")
    if not _NAME.fullmatch(name):
        raise refuse(node, f"The name {name[:70]!r} is not of at most 64 letters, digits and underscores.")


def _check_constant(node: ast.Constant) -> None:
    value = node.value
    if isinstance(value, str):
        if not _TEXT.fullmatch(value) or "__" in value:
            raise refuse(node, f"The text {value[:40]!r} is not a plain name; text only names components and memory.")
    elif isinstance(value, bytes | complex):
        raise refuse(node, f"{type(value).__name__} values are refused; use numbers.")
    elif isinstance(value, int) and abs(value) > limits.MAX_INTEGER:
        raise refuse(node, f"The number is larger than 2**53 = {limits.MAX_INTEGER}.")


def _check_binding(node: ast.Assign | ast.AnnAssign | ast.AugAssign | ast.For | ast.comprehension) -> None:
    if isinstance(node, ast.AugAssign) and not isinstance(node.target, ast.Name):
        raise refuse(node, "Only local names can be updated; write memory['name'] = ... instead.")
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        _check_target(target, memory=isinstance(node, ast.Assign))
    if isinstance(node, ast.AnnAssign):
        _check_annotation(node.annotation)
        node.annotation = ast.copy_location(ast.Constant(None), node.annotation)
        if node.value is None:
            raise refuse(node, "A bare type hint has no effect; remove it.")
    elif isinstance(node, ast.For) and node.orelse:
        raise refuse(node, "`else` of a loop is refused.")
    elif isinstance(node, ast.comprehension) and (node.ifs or node.is_async):
        raise refuse(node.iter, "Conditions in comprehensions are refused; write the items out.")


def _check_target(target: ast.expr, *, memory: bool) -> None:
    if isinstance(target, ast.Name):
        return
    if isinstance(target, ast.Tuple | ast.List):
        for item in target.elts:
            _check_target(item, memory=False)
    elif isinstance(target, ast.Subscript):
        kept = isinstance(target.value, ast.Name) and target.value.id == "memory"
        if not (memory and kept and isinstance(target.slice, ast.Constant) and isinstance(target.slice.value, str)):
            raise refuse(
                target,
                "Items cannot be written; only memory['name'] = ... can. Use torch.where, or write the dict out.",
            )
    else:
        _check_forms(target)
        raise refuse(target, "Only local names and memory['name'] can be assigned to.")


def _check_reward(found: dict[str, ast.FunctionDef]) -> None:
    wanted = "def reward(state, action, next_state, memory)"
    if "reward" not in found:
        names = ", ".join(f"{name}()" for name in found) or "no function"
        raise ProgramRefused(f"Expected `{wanted}`, found {names}.")
    reward = found["reward"]
    parameters = tuple(argument.arg for argument in reward.args.args)
    if parameters != limits.PARAMETERS or reward.args.defaults:
        listed = ", ".join(parameters)
        raise refuse(
            reward, f"Expected the parameters (state, action, next_state, memory), without defaults, got ({listed})."
        )
