"""Files of one JSON object a line, appended to whole lines at a time: transcripts and cassettes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Secret:
    """Text that is shown to nobody: neither in reprs, so that tracebacks with local variables lack it, nor in files.

    Args:
        value: the secret; one shorter than eight characters is taken for none when texts are searched for it, since it
            may be any word.

    Example:
        >>> secret = Secret("sk-12345678")
        >>> secret, secret.redact("Incorrect API key provided: sk-12345678.")
        (Secret([redacted]), 'Incorrect API key provided: [redacted].')
    """

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself."""
        return self._value

    def redact(self, text: str) -> str:
        """`text` without the secret, plain or as JSON escapes it."""
        if len(self._value) < 8:
            return text
        return text.replace(self._value, "[redacted]").replace(json.dumps(self._value)[1:-1], "[redacted]")

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "Secret([redacted])" if self else "Secret()"


NO_SECRET = Secret()


def append_line(path: Path, record: Mapping[str, Any], secret: Secret = NO_SECRET) -> None:
    """Append an object as one line that is written whole or not at all, also with other processes writing.

    Args:
        path: the file; it and its folder are made where missing.
        record: what JSON can hold.
        secret: what must not reach the file.

    Raises:
        OSError: the line can't be written; the file is as it was.
    """
    line = secret.redact(json.dumps(record, ensure_ascii=False, allow_nan=False)).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    try:
        with _locked(file):
            end = os.fstat(file).st_size
            if end and _byte(file, end - 1) != b"\n":  # the last line was not ended, by an editor for one
                line = b"\n" + line
            if os.write(file, line) != len(line):
                os.ftruncate(file, end)
                raise OSError(28, f"No space left on the device of {path}")
    finally:
        os.close(file)


def parse_lines(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers, from 1, and the objects there; empty lines are left out.

    Raises:
        ValueError: a line that is no JSON object, by the file's name and line.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"Expected a JSON object at {name}:{number}, got {line[:60]!r} ({error}). Delete or mend the line."
            ) from None
        if not isinstance(record, dict):
            raise ValueError(f"Expected a JSON object at {name}:{number}, got {type(record).__name__}.")
        yield number, record


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file, in order.

    Raises:
        ValueError: a line that is no JSON object.
        OSError: the file can't be read.
    """
    return [record for _, record in parse_lines(path.read_text(encoding="utf-8"), str(path))]


def _byte(file: int, place: int) -> bytes:
    os.lseek(file, place, os.SEEK_SET)  # writes go to the end all the same, by O_APPEND
    return os.read(file, 1)


@contextlib.contextmanager
def _locked(file: int) -> Iterator[None]:
    """Hold other writers off while the end of the file is looked at; they let go when their process ends."""
    try:
        import fcntl
    except ImportError:  # Windows: appends of one write each do not interleave there, the rest is on a best-effort base
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
