"""The code in what a language model answered."""

from __future__ import annotations

import re

from cairngym.reward_shaping.llm.refusal import ProgramRefused

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([A-Za-z0-9_+#.-]*)[^\n`]*$", re.MULTILINE)
_PYTHON = {"python", "py", "python3", "py3", "torch", "pytorch"}
_DEFINITION = re.compile(r"^[ \t]*def[ \t]+reward\b", re.MULTILINE)
MAX_COMPLETION = 200_000
"""Characters of a completion that are looked at."""


def extract_code(text: str) -> str:
    r"""Take the reward program out of a completion.

    The last fenced Python block that defines `reward` wins, then the last fenced Python block, then the last fence
    without a language that does; a fence left open (a completion cut off) reaches to the end. Text without any fence is
    taken as it is when it defines `reward`.

    Raises:
        ProgramRefused: nothing was answered, or no Python is in it.

    Example:
        >>> print(extract_code("Here it is: \n```python\nx = 1\n```"))
        x = 1
    """
    if not text.strip():
        raise ProgramRefused("The completion is empty; expected a ```python block that defines reward().")
    if len(text) > MAX_COMPLETION:
        raise ProgramRefused(f"The completion has {len(text)} characters; at most {MAX_COMPLETION} are read.")
    blocks = _blocks(text)
    python = [code for language, code in blocks if language in _PYTHON]
    plain = [code for language, code in blocks if not language]
    for candidates in (python, plain):
        defining = [code for code in candidates if _DEFINITION.search(code)]
        if defining or (candidates is python and python):
            return _dedent((defining or candidates)[-1])
    if blocks and not plain:
        languages = ", ".join(sorted({language for language, _ in blocks}))
        raise ProgramRefused(f"The completion's code is in {languages}; expected a ```python block.")
    if not blocks and _DEFINITION.search(text):
        return text
    if plain:
        return _dedent(plain[-1])
    raise ProgramRefused("The completion has no code; expected a ```python block that defines reward().")


def _blocks(text: str) -> list[tuple[str, str]]:
    """Every fenced block, as its language in lower case and its code."""
    blocks: list[tuple[str, str]] = []
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1].startswith(opened[1]) and not fence[2]:
            blocks.append((opened[2].lower(), text[opened.end() + 1 : fence.start()]))
            opened = None
    if opened is not None:
        blocks.append((opened[2].lower(), text[opened.end() + 1 :]))
    return blocks


def _dedent(code: str) -> str:
    """Remove the indentation of the first line from every line, as of a block within a list."""
    lines = code.strip("\n").split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[margin:] if not line[:margin].strip() else line for line in lines)
