"""From a stranger's text to a syntax tree of bounded size, whose names are what they look like."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings

from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm.refusal import ProgramRefused, refuse

FILENAME = "<reward program>"
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Controls, and separators and directions that show a line, to whoever reads it, as something else than it is."""
_CODING = re.compile(r"^[ \t\f]*#.*?coding[:=]", re.IGNORECASE)


def read(source: str) -> ast.Module:
    """Parse a source.

    Raises:
        ProgramRefused: it is no Python, too large, too deep, or not plain text.
    """
    _check_text(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, FILENAME)
    except SyntaxError as error:
        raise _not_python(source, error) from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise ProgramRefused(f"The source cannot be parsed: {error or type(error).__name__}.") from None
    _check_size(tree)
    _check_spelling(source)
    return tree


def _check_text(source: str) -> None:
    if not source.strip():
        raise ProgramRefused("The source is empty; expected `def reward(state, action, next_state, memory)`.")
    if len(source) > limits.MAX_CHARACTERS:
        raise ProgramRefused(f"The source has {len(source)} characters; at most {limits.MAX_CHARACTERS} are allowed.")
    if "\0" in source:
        raise ProgramRefused("The source holds a null byte.", source[: source.index("\0")].count("\n") + 1, 1)
    try:
        source.encode("utf-8")
    except UnicodeEncodeError:
        raise ProgramRefused("The source holds half of a surrogate pair, which is not text.") from None
    hidden = _HIDDEN.search(source)
    if hidden is not None:
        place = source.count("\n", 0, hidden.start()) + 1
        raise ProgramRefused(f"The source holds the control character U+{ord(hidden[0]):04X}.", place, 1)
    depth = 0
    for number, line in enumerate(source.splitlines(), 1):
        if number <= 2 and _CODING.match(line):
            raise ProgramRefused("A declared encoding is refused; sources are text already.", number, 1)
        if line.lstrip().startswith("```"):
            raise ProgramRefused("This is Markdown, not Python; take the code out with extract_code().", number, 1)
        for character in line:
            depth = depth + 1 if character in "([{" else max(0, depth - 1) if character in ")]}" else depth
            if depth > limits.MAX_BRACKETS:
                raise ProgramRefused(f"More than {limits.MAX_BRACKETS} brackets are open at once.", number, 1)


def _not_python(source: str, error: SyntaxError) -> ProgramRefused:
    what = "async" if re.search(r"\bawait\b|\basync\b", error.text or "") else ""
    hint = f" (`{what}` is refused)" if what else ""
    last = error.lineno is not None and error.lineno >= len(source.rstrip().splitlines())
    cut = " The source seems to be cut off." if last and "def " in source else ""
    return ProgramRefused(f"This is not Python: {error.msg}{hint}.{cut}", error.lineno, error.offset)


def _check_size(tree: ast.AST) -> None:
    """Bound the tree without recursion, so that everything after it may recurse."""
    pending: list[tuple[ast.AST, int]] = [(tree, 0)]
    count = 0
    while pending:
        node, depth = pending.pop()
        count += 1
        if depth > limits.MAX_DEPTH:
            raise refuse(node, f"Expressions are nested more than {limits.MAX_DEPTH} deep; use local names.")
        if count > limits.MAX_NODES:
            raise ProgramRefused(f"The program has more than {limits.MAX_NODES} parts; make it shorter.")
        pending.extend((child, depth + 1) for child in ast.iter_child_nodes(node))


def _check_spelling(source: str) -> None:
    """Refuse names outside ASCII: Python folds many letters into one (NFKC), so they may hide another name."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME and not token.string.isascii():
                line, column = token.start
                raise ProgramRefused(f"The name {token.string!r} has letters outside ASCII.", line, column + 1)
    except (tokenize.TokenError, SyntaxError) as error:
        raise ProgramRefused(f"This is not Python: {error}.") from None
