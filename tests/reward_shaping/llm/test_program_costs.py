"""What accepted programs cost is bounded, and the bounds hold when it is measured."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from program_costs import BATCH, HEAD, SPEC, calls, measured, tried

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm import allowlist
from cairngym.reward_shaping.llm.ledger import Ledger
from cairngym.reward_shaping.llm.program import ProgramRefused, compile_program

LIMIT = 2**19
"""Bytes per env that no program exceeds where the state has no large fields."""
WILD = 400
END = "    return r, {'r': r}\n"
MANY_BY_MANY = """
    wide = state.x[:, None].expand(-1, 1000)
    near = torch.cosine_similarity(wide[:, :, None], wide[:, None, :], dim=1)
    r = r + near[:, 0]
"""


def program(body):
    return compile_program(HEAD + "".join(f"    {line}\n" for line in body) + END, SPEC)


def test_no_operation_takes_more_than_was_said():
    """Every operation of the allow-list on tensors of a thousand elements per env, as torch's own allocator sees it."""
    ends = [tried(call) for call in calls()]
    assert ends.count("ran") == len(ends) > 500


def test_the_measure_sees_what_an_operation_takes_while_it_lasts(monkeypatch):
    """Without the limit on broadcast arguments, one operation takes a thousand times its result, and is found out."""
    monkeypatch.setattr(Ledger, "allow", lambda self, node, shape: None)
    found = compile_program(HEAD + MANY_BY_MANY + END, SPEC)
    assert measured(found, batch=2) > 2 * 4 * 10**6
    assert found.bytes_per_env < 10**5
    call = "torch.cosine_similarity(state.x[:, None].expand(-1, 1000)[:, :, None], state.a[:, None, :, 0], dim=1)"
    with pytest.raises(AssertionError, match="bytes per env, said"):
        tried(call)


def test_what_grows_with_the_product_of_its_arguments_is_refused():
    with pytest.raises(ProgramRefused, match="1000000 elements per env is too large"):
        compile_program(HEAD + MANY_BY_MANY + END, SPEC)


def test_a_program_at_all_limits_stays_within_them():
    wide = "wide = state.x[:, None].expand(-1, 4096)"
    full = program([wide, *[f"m{i} = wide * {i}.5" for i in range(13)], "r = r + m12.sum(dim=-1)"])
    assert 13 * 4 * 4096 < full.bytes_per_env <= LIMIT
    assert measured(full) <= BATCH * full.bytes_per_env
    with pytest.raises(ProgramRefused, match=r"bytes per env\. Every operation counts"):
        program([wide, *[f"m{i} = wide * {i}.5" for i in range(16)]])
    most = allowlist.MAX_BYTES + allowlist.TEMPORARY_BYTES * allowlist.MAX_ELEMENTS
    assert most <= LIMIT


def test_large_fields_raise_the_limits_in_proportion():
    def scores(size, factor):
        spec = {"image": StateField(shape=(size,), unit="", description="Pixels.")}
        lines = ["    r = state.image.sum(dim=-1)\n", *["    x = state.image * 2.0\n"] * factor]
        return compile_program(HEAD.replace("    r = -state.x\n", "") + "".join(lines) + END, spec).bytes_per_env

    assert scores(30_000, 20) > LIMIT
    assert scores(30_000, 20) <= 30_000 * (256 + 4 * allowlist.TEMPORARY_BYTES)
    with pytest.raises(ProgramRefused, match="bytes per env"):
        scores(30_000, 70)
    with pytest.raises(ProgramRefused, match=r"read more than|bytes per env"):
        scores(4_000, 70)


def test_privileged_fields_do_not_raise_the_limits():
    small = StateField(shape=(), unit="", description="One.")
    large = StateField(shape=(10**6,), unit="", description="Many.", privileged=True)
    assert Ledger({"x": small}).most_bytes == allowlist.MAX_BYTES
    source = HEAD + "    x = torch.zeros(10000)\n" + END
    with pytest.raises(ProgramRefused, match="too large"):
        compile_program(source, {"x": small, "plan": large})


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([f"memory['m{i}'] = r" for i in range(17)], "More than 16 names in memory"),
        (["memory['m'] = state.x[:, None].expand(-1, 4000)"], "more than 3600 numbers per env"),
        ([f"memory['m{i}'] = state.a" for i in range(5)], "more than 3600 numbers per env"),
    ],
)
def test_memory_is_bounded_in_number_and_size(lines, reason):
    with pytest.raises(ProgramRefused, match=reason):
        program(lines)
    assert program(lines[:-1] or ["x = 1"]).bytes_per_env < LIMIT


def test_memory_does_not_grow_with_steps():
    grows = program(["n = memory.get('n', state.a)", "memory['n'] = n * 0.5 + state.a", "memory['k'] = r"])
    state = {"a": torch.ones(2, 300, 3), "x": torch.ones(2)}
    memory, sizes = {}, set()
    for _ in range(20):
        grows(state, torch.zeros(2, 1), state, memory)
        sizes.add(tuple((name, value.shape, value.untyped_storage().nbytes()) for name, value in memory.items()))
    assert len(sizes) == 1
    assert sum(value.untyped_storage().nbytes() for value in memory.values()) == 2 * 4 * (900 + 1)


CHILD = """
import faulthandler, re, resource, sys, torch
from pathlib import Path
faulthandler.enable()
from program_costs import try_many
try_many(1, 20, str)  # what torch loads on first use is loaded
resource.setrlimit(resource.RLIMIT_AS, (6 * 10**9, 6 * 10**9))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
counts = try_many(0, int(sys.argv[1]), lambda call: print(call, file=sys.stderr, flush=True))
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss would count the parent's
print(*counts.values(), peak[1])
"""


def test_the_worst_arguments_cost_little():
    """Huge and tiny numbers and tensors as arguments of any operation: no bomb, and the compiler never fails."""
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(WILD)], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    refused, failed, ran, kilobytes = map(int, ended.stdout.split()[-4:])
    assert refused + failed + ran == WILD
    assert min(refused, ran) > 0.2 * WILD
    assert kilobytes < 2 * 2**20
