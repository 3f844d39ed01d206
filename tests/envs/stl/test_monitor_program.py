"""Programs: how long values take, what memory they need, and what is refused."""

import random

import pytest
import torch
from monitor_cases import Generator

from cairngym.envs.stl import monitor as module
from cairngym.envs.stl import monitor_kernels as k
from cairngym.envs.stl.evaluation import available, compiled
from cairngym.envs.stl.monitor import Monitor
from cairngym.envs.stl.monitor_chains import compile_formula
from cairngym.envs.stl.monitor_program import MAX_STEPS, Assembler, Extent, Program, Stream, Streams, horizon_of
from cairngym.envs.stl.parser import parse
from cairngym.envs.stl.robustness import robustness


def test_a_bounded_formula_waits_for_its_horizon_and_no_longer():
    generator = Generator(1)
    for _ in range(500):
        formula = generator.formula(4)
        program = compile_formula(formula)
        assert (program.last, program.extra) == (formula.horizon, 0), formula


def test_extents_are_those_of_offline_robustness():
    generator = Generator(2, bounded=False)
    for _ in range(500):
        formula, length = generator.formula(3), random.Random(0).randint(1, 30)
        operations = compiled(formula, "defined")
        defined = available(operations, length, "defined")[-1]
        assert max(0, length - Extent(length - 1).future(formula.nnf())) == defined, formula


@pytest.mark.parametrize(
    "text",
    ["a", "F[1,3] a", "G[2,4](a | F[0,2] b)", "a U[1,4] G[0,2] b", "(G[0,3] a) U[0,4] b", "(G[0,3] a) R[2,4] b",
     "(G[0,3] a) Ui[2,4] F[1,2] b", "(F[0,5] a) U[1,1] b", "!a W[0,3] b"],
)  # fmt: skip
def test_streams_hold_the_value_of_every_step(text, monkeypatch):
    """A program that reads a stream alone gives the robustness `lag` steps ago."""
    formula = parse(text).nnf()
    code = Assembler()
    stream = Streams(code, formula.predicates, Extent(40)).of(formula)
    assert stream.lag == formula.horizon
    program = Program(
        predicates=formula.predicates, rows=tuple(code.rows), slots=code.slots, low=stream.reference,
        high=stream.reference, last=40, extra=0,
    )  # fmt: skip
    monkeypatch.setattr(module, "compile_formula", lambda formula, horizon: program)
    monitor = Monitor(formula, 2)
    margins = torch.randn(2, 41, len(formula.predicates))
    found = []
    for step in range(41):
        row = margins[:, step]
        monitor.update(row) if step else monitor.begin(torch.tensor([True, True]), row)
        found.append(monitor.low)
    named = {name: margins[:, :, i] for i, name in enumerate(formula.predicates)}
    expected = robustness(formula, named, steps=41 - stream.lag)
    assert torch.equal(torch.stack(found[stream.lag :], 1), expected)


def test_windows_at_step_0_need_no_ring():
    short, long = (compile_formula(parse(f"F[0,{n}] a & G[5,{n}] b & (a U[3,{n}] b)")) for n in (9, 9000))
    assert (short.slots, len(short.rows)) == (long.slots, len(long.rows))


def test_memory_is_proportional_to_inner_windows():
    slots = [compile_formula(parse(f"F[0,9](a & F[0,{n}] b)")).slots for n in (10, 20, 30)]
    assert slots[1] - slots[0] == slots[2] - slots[1] == 10


def test_equal_parts_are_compiled_once():
    code = Assembler()
    streams = Streams(code, ("a", "b"), Extent(20))
    one, other = streams.of(parse("F[0,3](a | b)")), streams.of(parse("F[0,3](b | a)"))
    assert one == other == Stream(one.reference, 3)
    negated = streams.of(parse("!F[0,3](a | b)").nnf())
    loads = [row for row in code.rows if row[k.KIND] == k.LOAD]
    assert negated.reference < 0
    assert len(loads) == 4  # literals and their negations


def test_constants_fold():
    code = Assembler()
    a = code.emit(k.LOAD, 0, 1)
    assert [code.maximum(a, k.TRUE), code.maximum(a, ~k.TRUE), code.maximum()] == [k.TRUE, a, ~k.TRUE]
    assert [code.minimum(a, k.TRUE), code.minimum(a, ~k.TRUE), code.minimum()] == [a, ~k.TRUE, k.TRUE]
    assert [code.delay(k.TRUE, 5), code.gate(a, 3, 2)] == [k.TRUE, ~k.TRUE]
    assert len(code.rows) == 1


def test_a_path_has_no_delay_and_a_bush_falls_back_to_streams():
    path = compile_formula(parse("F[0,9](a & F[0,9](b & G[0,9] a))"))
    assert k.UNTIL not in {row[k.KIND] for row in path.rows}
    bush = compile_formula(parse("F[0,9](F[0,5] a & F[0,7] b)"))
    assert [row[k.X] for row in bush.rows if row[k.KIND] == k.DELAY] == [2]  # the shorter stream waits for the longer


def test_operators_without_end_run_on_after_it_only_where_they_must():
    assert compile_formula(parse("F a & G b & (a U b)"), 20).extra == 0
    assert compile_formula(parse("F(a & F(b & G c))"), 20).extra == 0
    assert compile_formula(parse("F(F a & G b)"), 20).extra > 0


def test_horizons():
    assert horizon_of(parse("F[0,5] G[1,2] a"), None) == horizon_of(parse("F[0,5] G[1,2] a"), 100) == 7
    assert horizon_of(parse("G a"), 7) == 7
    with pytest.raises(ValueError, match=r"horizon for G a, which has no end because of G a\. Pass horizon=T"):
        horizon_of(parse("G a"), None)
    with pytest.raises(ValueError, match=r"at least 5 steps for F\[0,5\] a, got horizon=4"):
        horizon_of(parse("F[0,5] a"), 4)
    for wrong in (-1, 2.0, True):
        with pytest.raises(ValueError, match="number of steps"):
            horizon_of(parse("G a"), wrong)
    with pytest.raises(ValueError, match=f"at most {MAX_STEPS} steps"):
        horizon_of(parse("F[0,100000000] a"), None)


def test_only_normal_forms_are_compiled():
    with pytest.raises(TypeError, match="negation normal form, got a Implies"):
        Streams(Assembler(), ("a", "b"), Extent(3)).of(parse("a -> b"))
