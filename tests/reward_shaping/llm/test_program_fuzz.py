"""Random programs: the compiler only ever refuses, what it accepts runs or fails as declared, and nothing leaves it."""

import ast
import copy
import faulthandler
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from growing_programs import ACTION, SPEC, grown
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from program_corpus import ACCEPTED, SPECS, actions, draw
from test_escapes import ESCAPES

from cairngym.reward_shaping.llm import allowlist
from cairngym.reward_shaping.llm.confinement import memory_of_process
from cairngym.reward_shaping.llm.program import ProgramFailed, ProgramRefused, compile_program, extract_code

BATCH = 6
GROWN = 12
SOURCES = [source for _, source in ACCEPTED.values()]
WORDS = sorted(
    {
        "state",
        "next_state",
        "action",
        "memory",
        "torch",
        "math",
        "reward",
        "r",
        "x",
        "__class__",
        "open",
        "0",
        "1",
        "-1",
    }
    | {"None", "True", "1e9", "'a'", "dim", "shape", "dtype", "if", "else", "for", "in", "range", "return", "def"}
    | {"lambda", "10**6", *allowlist.BUILTINS, *allowlist.DTYPES}
    | {*list(allowlist.functions())[::4], *list(allowlist.methods())[::4]}
    | {*SPECS["manipulation"], *SPECS["navigation"]}
)
MARKS = [*"()[]{}.,:=+-*/%<>&|~^@#\"' \n\t\\", "\n    ", "**", "//", "==", "!=", ":=", "->", "...", "é", "\ufb01"]
TOKENS = [*WORDS, *MARKS]
CONSTANTS = [0, -1, 2, 0.5, 1e9, None, True, "a", 10**6, -(10**9), 2**53]
FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@pytest.fixture(autouse=True)
def bounded():
    """What takes 3 GB more than the process has is a MemoryError, and what takes minutes ends the process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory_of_process("VmSize") + 3 * 10**9, hard))
    faulthandler.dump_traceback_later(300, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def explains(problem):
    """A reason is there, is short, and is not that the compiler itself failed."""
    return bool(problem.reason) and len(str(problem)) < 2000 and "cannot follow" not in problem.reason


def attempt(source, kind="manipulation", seed=0):
    """Compile and, if accepted, run twice with memory; returns what became of it."""
    refusal = failure = None
    try:
        program = compile_program(source, SPECS[kind])
    except ProgramRefused as problem:
        refusal = problem
    if refusal is not None:
        assert explains(refusal), source
        return "refused"
    memory = {}
    try:
        for step in range(2):
            state, following = draw(SPECS[kind], BATCH, seed + step), draw(SPECS[kind], BATCH, seed + step + 9)
            holds_promises(program, state, actions(kind, BATCH, seed), following, memory)
    except ProgramFailed as problem:
        failure = problem
    if failure is not None:
        assert explains(failure), source
        return "failed"
    return "ran"


def holds_promises(program, state, action, following, memory):
    """One call: what comes back is as declared, shares nothing with the state, and no env saw another."""
    kept = {name: value.clone() for name, value in state.items()}
    before = {name: value.clone() for name, value in memory.items()}
    reward, components = program(state, action, following, memory)
    assert reward.shape == (BATCH,)
    assert reward.is_floating_point()
    assert tuple(components) == program.components
    assert all(value.shape == (BATCH,) and value.is_floating_point() for value in components.values())
    assert all(value.shape[0] == BATCH and value.is_floating_point() for value in memory.values())
    rows = torch.tensor([4, 1])
    alone, _ = program(
        {name: value[rows] for name, value in state.items()}, action[rows],
        {name: value[rows] for name, value in following.items()},
        {name: value[rows] for name, value in before.items()},
    )  # fmt: skip
    torch.testing.assert_close(alone, reward[rows], equal_nan=True)
    remembered = {name: value.clone() for name, value in memory.items()}
    for value in (reward, *components.values()):
        value.fill_(7.0)
    assert all(torch.equal(state[name], kept[name]) for name in state)
    assert all(torch.equal(memory[name].nan_to_num(), remembered[name].nan_to_num()) for name in memory)


@FUZZ
@given(st.text(max_size=300))
def test_any_text(text):
    attempt(text)
    refusal = None
    try:
        assert isinstance(extract_code(text), str)
    except ProgramRefused as problem:
        refusal = problem
    assert refusal is None or refusal.reason


@FUZZ
@given(st.lists(st.sampled_from(TOKENS), max_size=60))
def test_words_of_the_language_in_any_order(words):
    attempt("def reward(state, action, next_state, memory):\n    r = " + "".join(words) + "\n    return r, {'r': r}\n")


@FUZZ
@given(
    st.sampled_from(SOURCES),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 5), st.sampled_from(TOKENS)), max_size=4),
)
def test_accepted_programs_with_letters_changed(source, edits):
    for place, length, text in edits:
        at = place % (len(source) + 1)
        source = source[:at] + text + source[at + length :]
    for kind in SPECS:
        attempt(source, kind)


def expressions(tree):
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
    ]


def graft(source, donor, rng):
    """Replace random expressions of one program, by constants or by another's expressions, mostly of the same form."""
    tree, pool = ast.parse(source), expressions(ast.parse(donor))
    for _ in range(rng.randint(1, 3)):
        places = [
            (node, field, index, item)
            for node in ast.walk(tree)
            for field, value in ast.iter_fields(node)
            for index, item in (enumerate(value) if isinstance(value, list) else [(None, value)])
            if isinstance(item, ast.expr) and isinstance(getattr(item, "ctx", ast.Load()), ast.Load)
        ]
        node, field, index, item = rng.choice(places)
        alike = [other for other in pool if type(other) is type(item)]
        if pool and rng.random() < 0.8:
            fresh = copy.deepcopy(rng.choice(alike if alike and rng.random() < 0.7 else pool))
        else:
            fresh = ast.Constant(rng.choice(CONSTANTS))
        if index is None:
            setattr(node, field, fresh)
        else:
            getattr(node, field)[index] = fresh
    return ast.unparse(ast.fix_missing_locations(tree))


NAMES = sorted(ACCEPTED)
ALIKE = st.sampled_from(NAMES).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from([n for n in NAMES if ACCEPTED[n][0] == ACCEPTED[name][0]]))
)


@settings(FUZZ, max_examples=300)
@given(ALIKE, st.integers(0, 2**32))
def test_programs_grafted_on_each_other(pair, seed):
    name, donor = pair
    try:
        source = graft(ACCEPTED[name][1], ACCEPTED[donor][1], random.Random(seed))
    except (ValueError, RecursionError):  # what ast cannot write as text
        return
    attempt(source, ACCEPTED[name][0], seed % 1000)


@settings(FUZZ, max_examples=200)
@given(
    st.sampled_from(NAMES),
    st.sampled_from([e.source for e in ESCAPES if len(e.source) < 2000]),
    st.integers(0, 2**32),
)
def test_escapes_grafted_on_programs(name, escape, seed):
    try:
        source = graft(ACCEPTED[name][1], escape, random.Random(seed))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return
    attempt(source, ACCEPTED[name][0], seed % 1000)


def test_programs_that_grow():
    """Anything accepted, on anything accepted: each env is still scored by its own row, and nothing is written into."""
    ends, statements = [], 0
    for seed in range(GROWN):
        source, reasons = grown(random.Random(seed), 25)
        assert not [reason for reason in reasons if "cannot follow" in reason]
        program, memory = compile_program(source, SPEC, action=ACTION), {}
        statements += 25 - len(reasons)
        try:
            for step in range(2):
                state, following = draw(SPEC, BATCH, step), draw(SPEC, BATCH, step + 9)
                holds_promises(program, state, draw({"action": ACTION}, BATCH, step)["action"], following, memory)
            ends.append("ran")
        except ProgramFailed as failure:
            ends.append(failure.reason)
    assert ends.count("ran") >= 0.8 * GROWN, ends
    assert statements >= 5 * GROWN


WATCH = """
import random, sys
from test_program_fuzz import *
names = sorted(ACCEPTED)
donors = [ACCEPTED[name][1] for name in names]
for escape in ESCAPES:
    try:
        ast.unparse(ast.parse(escape.source))
        donors.append(escape.source)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        pass
rng = random.Random(int(sys.argv[1]))
sources = [(ACCEPTED[name][1], ACCEPTED[name][0]) for name in names]
while len(sources) < int(sys.argv[2]):
    name = rng.choice(names)
    try:
        sources.append((graft(ACCEPTED[name][1], rng.choice(donors), rng), ACCEPTED[name][0]))
    except (ValueError, RecursionError):
        pass
for source, kind in sources[: len(names)]:  # what torch loads on first use is loaded
    attempt(source, kind)
seen, armed, count = set(), [False], {"refused": 0, "failed": 0, "ran": 0}
sys.addaudithook(lambda event, arguments: seen.add((event, str(arguments)[:60])) if armed[0] else None)
for source, kind in sources:
    armed[0] = True
    end = attempt(source, kind)
    armed[0] = False
    count[end] += 1
parser = ("open", "('<reward program>', 'rb', 0)")
silent = {"compile", "exec", "builtins.id", "object.__getattr__"}
others = sorted(event for event in seen if event[0] not in silent and event != parser)
print(count, others[:10])
sys.exit(1 if others or min(count["ran"], count["refused"]) < 30 else 0)
"""


def watched(seed, count):
    return subprocess.run(
        [sys.executable, "-c", WATCH, str(seed), str(count)],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_no_file_socket_or_process_is_touched():
    """An audit hook sees the parser, the compiler and `exec` of the written program, and nothing else."""
    found = watched(seed=0, count=400)
    assert found.returncode == 0, found.stdout + found.stderr[-2000:]
