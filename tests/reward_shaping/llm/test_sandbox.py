import inspect
import json
import os
import time
from dataclasses import replace

import pytest
from line_recording import SPEC, record_line

from cairngym.reward_shaping.llm import sandbox as module
from cairngym.reward_shaping.llm.confinement import Limits
from cairngym.reward_shaping.llm.findings import Verdict
from cairngym.reward_shaping.llm.sandbox import Sandbox, SandboxUnavailable, Standards, environment, verify

GOOD = """
def distance(state):
    return torch.abs(state.position - state.goal).sum(dim=-1)

def reward(state, action, next_state, memory):
    gain = distance(state) - 0.99 * distance(next_state)
    price = -0.05 * (action * action).sum(dim=-1)
    return gain + price, {"gain": gain, "price": price}
"""
REMEMBERS = """
def reward(state, action, next_state, memory):
    off = torch.abs(next_state.position - next_state.goal).sum(dim=-1)
    best = memory.get("best", torch.abs(state.position - state.goal).sum(dim=-1))
    memory["best"] = torch.minimum(best, off)
    gain = torch.clamp(best - off, min=0.0)
    return gain, {"gain": gain}
"""
LAZY = """
def reward(state, action, next_state, memory):
    price = -torch.abs(next_state.position - state.position).sum(dim=-1)
    return price, {"price": price}
"""
MANY = """
def reward(state, action, next_state, memory):
    way = torch.cat((state.goal - state.position, next_state.goal - next_state.position, action), dim=-1)
    off = torch.linalg.norm(way[:, :2], dim=-1) + torch.linalg.vector_norm(way, dim=-1) + way.norm(dim=-1)
    turned = torch.nn.functional.cosine_similarity(way, torch.flip(way, dims=(-1,)), dim=-1)
    unit = torch.nn.functional.normalize(way + 1e-3, dim=-1)
    soft = torch.softmax(way, dim=-1) + torch.nn.functional.softplus(way) + torch.sigmoid(way)
    most = torch.topk(soft, 2, dim=-1)[0] + torch.sort(unit, dim=-1)[0][:, :2] + torch.cumsum(way, dim=-1)[:, 1:]
    side = torch.linalg.cross(way, unit, dim=-1).sum(dim=-1) + torch.linalg.vecdot(way, unit, dim=-1)
    rest = torch.logsumexp(way, dim=-1) + way.std(dim=-1) + way.median(dim=-1)[0] + torch.atan2(way[:, 0], off + 1.0)
    far = torch.where(off > 1.0, torch.tanh(off), torch.exp(-off))
    value = 0.01 * (turned + most.mean(dim=-1) + side + rest + far) - 0.05 * off
    return value, {"value": value}
"""
PLANNED = {**SPEC, "clock": replace(SPEC["clock"], privileged=True)}
# Stands in for a program that got around the allow-list: plain Python, compiled in the child like any other.
ESCAPED = """
from cairngym.reward_shaping.llm import worker

class Plain:
    def __init__(self, fields):
        self.__dict__.update(fields)

def compile_plainly(source, spec, action=None):
    names = {}
    exec(source, names)
    return names["reward"]

real = worker.compile_program
worker.compile_program = lambda source, spec, action=None: (
    compile_plainly(source, spec) if source.startswith("# escaped") else real(source, spec, action=action)
)
worker.main()
"""


class Rigged(Sandbox):
    command = ("-I", "-c", ESCAPED)


@pytest.fixture(scope="module")
def line():
    return record_line()


@pytest.fixture(scope="module")
def rigged(line):
    os.environ["CAIRNGYM_TEST_API_KEY"] = "sk-secret"
    limits = Limits(wall_s=6.0, cpu_s=1, memory_bytes=2**28)
    try:
        with Rigged(SPEC, line, limits=limits) as box:
            yield box
    finally:
        del os.environ["CAIRNGYM_TEST_API_KEY"]


def escaped(body):
    lines = "\n".join("    " + line for line in inspect.cleandoc(body).splitlines())
    return f"# escaped\ndef reward(state, action, next_state, memory):\n    import os\n{lines}\n"


def only(verdict):
    assert not verdict.accepted
    assert len(verdict.findings) == 1
    return verdict.findings[0]


# Programs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [GOOD, REMEMBERS], ids=["potential", "remembers"])
def test_a_good_program_is_accepted_with_its_figures(rigged, source):
    verdict = rigged.verify(source)
    assert verdict.accepted
    assert verdict.findings == ()
    assert 0 < verdict.call_s < 1
    assert verdict.call_s < verdict.cpu_s
    assert verdict.wall_s > 0
    assert verdict.memory_bytes >= 0
    assert verdict.statistics[0].name == "total"
    assert verdict.statistics[0].correlation > 0.2


def test_no_function_of_the_language_needs_what_the_child_has_given_up(rigged):
    verdict = rigged.verify(MANY)
    assert not {"failure", "refused", "process"} & {finding.check for finding in verdict.findings}
    assert verdict.statistics


def test_a_program_outside_the_language_is_refused_with_its_line(rigged):
    found = only(rigged.verify("import os\n\ndef reward(state, action, next_state, memory):\n    return 0, {}"))
    assert found.check == "refused"
    assert "line 1" in found.message


def test_a_field_that_does_not_exist_is_refused(rigged):
    found = only(rigged.verify(GOOD.replace("state.goal", "state.gaol")))
    assert found.check == "refused"
    assert "gaol" in found.message
    assert "goal" in found.message.replace("gaol", "")


def test_privileged_fields_are_refused_there_too(line):
    found = only(verify(GOOD.replace("state.goal", "state.clock"), PLANNED, line))
    assert found.check == "refused"
    assert "state.clock is privileged" in found.message


def test_what_the_checks_find_comes_back(rigged):
    verdict = rigged.verify(LAZY)
    assert not verdict.accepted
    assert "standing still" in {finding.check for finding in verdict.errors}


def test_standards_reach_the_checks(line):
    unsummed = GOOD.replace("return gain + price", "return 2.0 * gain + price")
    verdict = verify(unsummed, SPEC, line, standards=Standards(components_sum=True))
    assert [finding.check for finding in verdict.errors] == ["sums"]


@pytest.mark.parametrize(
    "source", ["", "   ", "reward = 1", "def reward(", "\x00", "\ud800", "I cannot help with that."]
)
def test_what_is_no_program_is_refused(rigged, source):
    assert not rigged.verify(source).accepted


def test_a_source_that_is_too_long_never_reaches_the_worker(rigged):
    assert only(rigged.verify("#" * 100_001)).check == "source"
    assert only(rigged.verify(None)).check == "source"


# Programs that got around the allow-list ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "check", "says"),
    [
        ("while True: pass", "time", "processor time"),
        ("import time; time.sleep(1000)", "time", "had not finished"),
        ("import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "time", ""),
        ("import torch; torch.zeros(10**10)", "failure", "allocate"),
        ("kept = []\nwhile True: kept.append(bytearray(10**7))", "failure", "MemoryError"),
        ("kept = []\nwhile True: kept.append([1] * 1000)", "failure", "MemoryError"),
        ("def again(): return again()\nagain()", "failure", "RecursionError"),
        ("while True: os.write(3, b'x' * 10**5)", "process", "more than 262144 bytes"),
        ("for _ in range(100): os.write(1, b'x' * 10**5)\nraise ValueError('wrote')", "failure", "wrote"),
        ("os.write(3, b'{\"a\": [}'); os._exit(0)", "process", "no report"),
        ("os.write(3, b'[' * 200000); os._exit(0)", "process", "no report"),
        ("os.write(3, b'[1]'); os._exit(0)", "process", "no report"),
        ("os.write(3, b'9' * 5000); os._exit(0)", "process", "no report"),
        ("os.write(3, b'{\"findings\": []}'); os._exit(0)", "process", "no report"),
        ("os._exit(0)", "process", "no report"),
        ("os._exit(7)", "process", "without an answer"),
        ("raise SystemExit(0)", "process", "without an answer"),
        ("import ctypes; ctypes.string_at(0)", "process", "signal 11"),
        ("os.close(3); import time; time.sleep(1000)", "process", "signal 9"),
    ],
)
def test_bombs_and_garbage_are_refusals(rigged, body, check, says):
    start = time.monotonic()
    found = only(rigged.verify(escaped(body)))
    assert found.check == check
    assert says in found.message
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError(repr(dict(os.environ)))", "ValueError: {}"),
        ("open('/etc/passwd')", "Error"),
        ("open('here', 'w')", "Error"),
        ("os.mkdir('/tmp/cairngym-escaped')", "Error"),
        ("os.unlink('/tmp/cairngym-escaped')", "PermissionError"),
        ("import socket; socket.socket()", "Error"),
        ("os.fork()", "Error"),
        ("import threading; threading.Thread(target=print).start()", "RuntimeError: can't start new thread"),
        ("os.execv('/bin/sh', ['/bin/sh', '-c', 'true'])", "PermissionError"),
        ("os.kill(os.getppid(), 9)", "PermissionError"),
        ("os.setuid(0)", "PermissionError"),
        ("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))", "Error"),
        ("os.read(4, 1)", "Bad file descriptor"),
        ("raise ValueError(os.read(0, 1))", "b''"),
    ],
)
def test_nothing_is_in_reach_of_a_child(rigged, body, says):
    found = only(rigged.verify(escaped(body)))
    assert found.check == "failure"
    assert says in found.message


def test_the_worker_outlives_its_children(rigged):
    rigged.verify(GOOD)
    worker = rigged._worker.pid
    rigged.verify(escaped("os._exit(3)"))
    assert rigged.verify(GOOD).accepted
    assert rigged._worker.pid == worker


def test_a_child_changes_nothing_for_the_next(rigged):
    assert only(rigged.verify(escaped("state['position'].zero_(); raise ValueError('zeroed')"))).check == "failure"
    assert rigged.verify(GOOD).accepted


def test_the_worker_s_environment_holds_nothing_of_ours(rigged):
    rigged.verify(GOOD)
    with open(f"/proc/{rigged._worker.pid}/environ", "rb") as file:
        held = file.read()
    assert b"secret" not in held
    assert "CAIRNGYM_TEST_API_KEY" in os.environ
    assert not any("KEY" in name for name in environment())


# The worker's own troubles --------------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_a_refusal_and_the_next_program_gets_another(rigged, monkeypatch):
    assert rigged.verify(GOOD).accepted
    monkeypatch.setattr(rigged, "_start", rigged._ends)
    os.kill(rigged._worker.pid, 9)
    found = only(rigged.verify(GOOD))
    assert (found.check, "lost" in found.message) == ("process", True)
    monkeypatch.undo()
    assert rigged.verify(GOOD).accepted


def test_a_worker_that_hangs_is_given_up(line, monkeypatch):
    class Hangs(Sandbox):
        command = ("-I", "-c", "import os, time; os.write(1, b'\\0' * 15 + b'\\0' * 1); time.sleep(600)")

    monkeypatch.setattr(module, "START_S", 1.0)
    with Hangs(SPEC, line) as box, pytest.raises(SandboxUnavailable, match=r"Run it by hand"):
        box.verify(GOOD)
    assert box._worker is None
    assert box._folder == ""


def test_a_worker_that_does_not_start_is_no_program_s_fault(line):
    class Absent(Sandbox):
        command = ("-I", "-c", "raise SystemExit('no torch')")

    with Absent(SPEC, line) as box, pytest.raises(SandboxUnavailable, match=r"cairngym has to be installed"):
        box.verify(GOOD)


def test_closing_ends_the_process_and_removes_its_folder(line):
    box = Sandbox(SPEC, line)
    assert box.verify(GOOD).accepted
    worker, folder = box._worker, box._folder
    assert os.path.isdir(folder)
    box.close()
    assert worker.poll() is not None
    assert not os.path.exists(folder)
    box.close()


def test_limits_must_be_positive():
    with pytest.raises(ValueError, match="wall_s"):
        Limits(wall_s=0.0)


# Verdicts -------------------------------------------------------------------------------------------------------------


def test_a_verdict_survives_its_report(rigged):
    verdict = rigged.verify(GOOD)
    again = Verdict.from_report(json.loads(json.dumps(verdict.report())))
    assert again == verdict


def test_the_table_shows_findings_and_components(rigged):
    table = rigged.verify(LAZY).table()
    lines = table.splitlines()
    assert lines[0].startswith("**refused**: ")
    assert " µs a call, verified in " in lines[0]
    assert "| error | standing still | Standing still pays more" in table
    assert any(line.startswith("| price | ") for line in lines)
    cells = [line.count("|") for line in lines if line.startswith("| ") and "standing" not in line]
    assert len(cells) > 3
