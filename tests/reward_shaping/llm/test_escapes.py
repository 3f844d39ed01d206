"""Every way out that we know of is refused, at the line where it stands and for the reason stated beside it."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm.program import ProgramRefused, compile_program

CORPUS = Path(__file__).parent / "escapes"
SPEC = {
    "distance": StateField(shape=(), unit="m", description="To the goal."),
    "position": StateField(shape=(3,), unit="m", description="Where it is."),
    "grid": StateField(shape=(7, 7, 3), unit="type, colour, state", description="Cells.", dtype=torch.uint8),
}
FRAME = "def reward(state, action, next_state, memory):\n    r = -state.distance\n{body}\n    return r, {{'r': r}}\n"
GOOD = "def reward(state, action, next_state, memory):\n    r = -state.distance\n    return r, {'r': r}\n"


@dataclass(frozen=True)
class Escape:
    name: str
    reason: str
    source: str
    lines: range
    """Where it must be refused."""


def read(path):
    escapes = []
    for block in re.split(r"^(?=--- |\+\+\+ )", path.read_text(), flags=re.MULTILINE)[1:]:
        head, _, code = block.partition("\n")
        name, _, reason = head[4:].partition(" :: ")
        body = code.rstrip("\n")
        if head.startswith("---"):
            indented = "\n".join(f"    {line}" for line in body.split("\n"))
            escapes.append(Escape(name, reason, FRAME.format(body=indented), range(3, 4 + body.count("\n"))))
        else:
            escapes.append(Escape(name, reason, body, range(1, 2 + body.count("\n"))))
    return escapes


def plain(name, reason, source, lines=range(0)):
    return Escape(name, reason, source, lines)


def body(code):
    return FRAME.format(body=f"    {code}")


MANY = ",".join(f"'a{i}': 1" for i in range(300))
COMPONENTS = ",".join(f"'a{i}': r" for i in range(40))
CHAIN = "def f0(a):\n    return a\n" + "".join(f"def f{i}(a):\n    return f{i - 1}(a)\n" for i in range(1, 12))
MADE = [
    plain("deep parentheses", "brackets are open", body(f"x = {'(' * 5000}1{')' * 5000}")),
    plain("parentheses just too deep", "brackets are open", body(f"x = {'(' * 31}1{')' * 31}")),
    plain("deep lists", "brackets are open", body(f"x = {'[' * 200}{']' * 200}")),
    plain("deep minus signs", "parsed|nested|not Python", body(f"x = {'-' * 15000}1")),
    plain("deep not", "parsed|nested|not Python", body(f"x = {'not ' * 4000}1")),
    plain("deep tilde", "nested", body(f"x = {'~' * 90}1")),
    plain("a long sum", "nested", body("x = " + "+".join(["1"] * 2000))),
    plain("a long chain of attributes", "nested|parsed|not Python", body(f"x = state{'.a' * 4000}")),
    plain("a long chain of calls", "nested|parsed|not Python", body(f"x = r{'.exp()' * 2000}")),
    plain("a long chain of powers", "nested|parsed|not Python", body("x = " + "**".join(["1"] * 3000))),
    plain("deep indentation", "nested|not Python", "\n".join(f"{' ' * i}if 1:" for i in range(120))),
    plain("deep conditions", "nested", body(f"x = {'1 if 1 else ' * 200}1")),
    plain("a long source", "at most 20000", GOOD + "# x\n" * 10000),
    plain("many statements", "parts", FRAME.format(body="    x = 1\n" * 1500)),
    plain("a wide list", "More than 256 items", body(f"x = [{'1,' * 300}]")),
    plain("a wide tensor", "256 numbers", body(f"x = torch.tensor([[{'1,' * 200}], [{'1,' * 200}]])")),
    plain("a wide dict", "at most 256", body("x = {" + MANY + "}")),
    plain("many components", "1 to 32 components", GOOD.replace("{'r': r}", "{" + COMPONENTS + "}")),
    plain("a literal of many digits", "not Python|parsed|larger", body("x = " + "9" * 6000)),
    plain("a null byte", "null byte", GOOD + "\0import os"),
    plain("a null byte in a text", "null byte", GOOD.replace("'r'", "'r\0'")),
    plain("half a surrogate pair", "surrogate", GOOD + "# \ud800"),
    plain("a form feed before an import", "control character", "\f" + "import os\n" + GOOD),
    plain("a carriage return before an import", "Imports", GOOD + "# x\rimport os"),
    plain("a byte order mark and an import", "Imports|not Python|parsed", "\ufeffimport os\n" + GOOD),
    plain("a soft hyphen in a name", "not Python|ASCII", body("x\u00ad = 1")),
    plain("a right-to-left mark", "control character", body("x\u202e = 1")),
    plain("a right-to-left mark in a comment", "control character", body("x = 1  # \u202e x")),
    plain("an isolate in a text", "control character|plain name", body("x = 'a\u2066'")),
    plain("a line separator before an import", "control character", body("x = 1\u2028    import os")),
    plain("a next line before an import", "control character", body("x = 1\x85    import os")),
    plain("a form feed in a comment", "control character", body("x = 1  # \x0c import os")),
    plain("a vertical tab", "control character|not Python", body("x = 1\x0b")),
    plain("an end of file", "control character|not Python", GOOD + "\x1a"),
    plain("an escape sequence", "control character|not Python", GOOD + "# \x1b[2K\x1b[1A"),
    plain("a carriage return before a coding line", "Imports", "# x\rimport os\r" + GOOD),
    plain("statements on one line", "Imports", GOOD.replace("r = -", "r = 1; import os; r = -")),
    plain("lines that go on", "Imports", GOOD.replace("r = -", "x = 1; \\\n  import os; r = -")),
    plain("nothing", "empty", ""),
    plain("blanks", "empty", " \n\t\n"),
    plain("a long name", "at most 64", body(f"{'a' * 100} = 1")),
    plain("helpers nested deep", "nested more than", CHAIN + GOOD.replace("-state.distance", "f11(state.distance)")),
]
ESCAPES = [escape for path in sorted(CORPUS.glob("*.txt")) for escape in read(path)] + MADE


def test_the_frame_itself_is_accepted():
    assert compile_program(GOOD, SPEC).components == ("r",)
    assert compile_program(FRAME.format(body="    x = 1"), SPEC).fields == ("distance",)


def test_the_corpus_is_large_and_names_are_unique():
    names = [escape.name for escape in ESCAPES]
    assert len(names) >= 550
    assert len({escape.source for escape in ESCAPES}) == len(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("escape", ESCAPES, ids=[escape.name for escape in ESCAPES])
def test_refused_for_the_stated_reason(escape):
    with pytest.raises(ProgramRefused) as caught:
        compile_program(escape.source, SPEC)
    refusal = caught.value
    assert re.search(escape.reason, refusal.reason), refusal.reason
    assert len(refusal.reason) < 600
    if escape.lines:
        assert refusal.line in escape.lines or "Expected `def reward" in refusal.reason, str(refusal)
        assert refusal.column is not None


WATCH = """
import sys
from test_escapes import ESCAPES, GOOD, SPEC, ProgramRefused, compile_program
compile_program(GOOD, SPEC)
for escape in ESCAPES:  # once before, so that what Python itself loads on first use is loaded
    try:
        compile_program(escape.source, SPEC)
    except ProgramRefused:
        pass
seen = []
armed = [False]
sys.addaudithook(lambda event, arguments: seen.append((event, str(arguments)[:80])) if armed[0] else None)
for escape in ESCAPES:
    try:
        armed[0] = True
        compile_program(escape.source, SPEC)
        armed[0] = False
        sys.exit(f"accepted: {escape.name}")
    except ProgramRefused:
        armed[0] = False
# The parser looks for the line to show with a syntax error; there is no such file.
parser = ("open", "('<reward program>', 'rb', 0)")
others = sorted({event for event in seen if event[0] not in ("compile", "builtins.id") and event != parser})
print(len(seen), others[:20])
sys.exit(1 if others or not seen else 0)
"""


def test_nothing_of_a_refused_program_is_executed():
    """An audit hook sees the parser, and neither `exec` nor files, sockets, processes or imports."""
    found = subprocess.run(
        [sys.executable, "-c", WATCH], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr[-2000:]
