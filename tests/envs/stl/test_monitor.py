"""The monitor against offline robustness of every prefix, extended by the best and the worst there can be."""

import math
import time

import pytest
import torch
from monitor_cases import TEMPORAL, A, B, Generator, bounds, lives
from oracles import robustness_at

from cairngym.envs.stl import monitor as module
from cairngym.envs.stl.formula import And, Constant, Not, Or, Predicate, always, eventually, release, until
from cairngym.envs.stl.monitor import Monitor
from cairngym.envs.stl.parser import parse


def check(formula, horizon, seed, tight=False):
    """Hold the interval at every tick against the bounds by definition; returns how many values were compared."""
    generator = torch.Generator().manual_seed(seed)
    compared, expected, before = 0, None, None
    for monitor, traces, episode, step in lives(formula, horizon, generator):
        if expected is None:
            ends = bounds(formula, traces.flatten(0, 1), monitor.predicates, monitor.last)
            expected = [end.reshape(*traces.shape[:2], -1) for end in ends]
        rows = torch.arange(len(step))
        worst, best = (end[rows, episode.clamp(min=0), step.clamp(0, monitor.last)] for end in expected)
        worst, best = torch.where(step < 0, -torch.inf, worst), torch.where(step < 0, torch.inf, best)
        low, high = monitor.low, monitor.high
        said = f"{formula} at steps {step.tolist()}: [{low}, {high}], by definition [{worst}, {best}]"
        assert ((low <= worst) & (high >= best)).all(), said
        over = step >= monitor.last
        assert torch.equal(low[over], high[over]), said
        assert torch.equal(low[over], worst[over]), said
        if tight:
            assert torch.equal(low, worst), said
            assert torch.equal(high, best), said
        if before is not None:
            same = step > 0
            assert ((low >= before[0]) & (high <= before[1]))[same].all(), said
        before = (low, high)
        compared += len(step)
    return compared


def wanted(formula, horizon):
    """Whether the traces are long enough for it, so that unbounded operators have something to read."""
    try:
        return Monitor(formula, 1, horizon=horizon).last >= 0
    except ValueError:
        return False


@pytest.mark.parametrize("seed", range(8))
def test_random_formulas(seed):
    generator = Generator(seed)
    compared = sum(check(generator.formula(3), None, seed * 1000 + i) for i in range(50))
    assert compared > 3000


@pytest.mark.parametrize("seed", range(4))
def test_random_formulas_with_operators_without_end(seed):
    generator = Generator(100 + seed, bounded=False, max_bound=2)
    compared = 0
    for i in range(50):
        formula, horizon = generator.formula(3), generator.draw.randint(6, 14)
        if wanted(formula, horizon):
            compared += check(formula, horizon, seed * 1000 + i)
    assert compared > 3000


@pytest.mark.parametrize("bounded", [True, False])
def test_no_smaller_interval_is_right_without_nesting(bounded):
    generator = Generator(7, bounded, constants=False)
    for i in range(100):
        check(generator.formula(3, nested=False), None if bounded else 12, i, tight=True)


@pytest.mark.parametrize("bounded", [True, False])
def test_no_smaller_interval_is_right_along_paths(bounded):
    generator = Generator(8, bounded, max_bound=3, constants=False)
    for i in range(60):
        formula = generator.path(generator.draw.randint(0, 3))
        horizon = None if bounded else 14
        for variant in (formula, Not(formula)):
            if wanted(variant, horizon):
                check(variant, horizon, i, tight=True)


def test_by_definition():
    """Against the recursive oracle, with tails that are weak and strong, one prefix at a time."""
    generator, draw = Generator(9, max_bound=3), torch.Generator().manual_seed(9)
    for _ in range(60):
        formula = generator.formula(2)
        monitor = Monitor(formula, 1)
        margins = torch.randint(-9, 10, (monitor.last + 1, len(monitor.predicates)), generator=draw) / 8.0
        for step in range(monitor.last + 1):
            row = margins[step : step + 1]
            monitor.update(row) if step else monitor.begin(torch.tensor([True]), row)
            trace = {name: margins[: step + 1, i].tolist() for i, name in enumerate(monitor.predicates)}
            trace = trace or {"": [0.0] * (step + 1)}
            assert float(monitor.low) <= robustness_at(formula, trace, 0, "strong"), formula
            assert float(monitor.high) >= robustness_at(formula, trace, 0, "weak"), formula
        assert float(monitor.low) == float(monitor.high) == robustness_at(formula, trace, 0), formula


def test_contains_every_continuation():
    generator, draw = Generator(10), torch.Generator().manual_seed(10)
    for _ in range(40):
        formula = generator.formula(3)
        monitor, other = Monitor(formula, 64), Monitor(formula, 64)
        shape = (64, monitor.last + 1, len(monitor.predicates))
        common = torch.randn(shape[1:], generator=draw)[None]
        everyone = torch.ones(64, dtype=torch.bool)
        middle = monitor.last // 2
        for step in range(monitor.last + 1):
            own = torch.where(
                torch.arange(shape[1])[None, :, None] <= middle, common, torch.randn(shape, generator=draw)
            )
            for watched, margins in ((monitor, own[:, step]), (other, common.expand(shape)[:, step])):
                watched.update(margins) if step else watched.begin(everyone, margins)
            if step == middle:
                low, high = other.low, other.high
        assert ((low <= monitor.low) & (monitor.high <= high)).all(), formula


def samples(text, margins, horizon=None):
    """The interval after each sample of one trace, a list of rows of margins."""
    monitor = Monitor(parse(text), 1, horizon=horizon)
    found = []
    for step, row in enumerate(margins):
        row = torch.tensor([row], dtype=torch.float32)
        monitor.update(row) if step else monitor.begin(torch.tensor([True]), row)
        found.append((float(monitor.low), float(monitor.high)))
    return found


INF = math.inf


def test_values_by_hand():
    assert samples("F[1,2] a", [[5], [1], [2], [9]]) == [(-INF, INF), (1, INF), (2, 2), (2, 2)]
    assert samples("G[1,2] a", [[-5], [1], [2], [-9]]) == [(-INF, INF), (-INF, 1), (1, 1), (1, 1)]
    # Both sides at each step; the left side is read before the witness.
    trace = [[3, -1], [2, -2], [1, 4], [9, 9]]
    assert samples("a U[0,2] b", trace) == [(-1, 3), (-1, 2), (2, 2), (2, 2)]
    assert samples("a Ui[0,2] b", trace) == [(-1, 3), (-1, 2), (1, 1), (1, 1)]
    assert samples("F G a", [[1], [-1], [2], [3]], horizon=3)[-1] == (3, 3)
    assert samples("G F a", [[1], [-1], [2], [-3]], horizon=3)[-1] == (-3, -3)


def test_decides_as_soon_as_possible():
    sequence = samples("F[0,3](a & F[0,3] b)", [[-1, 1], [1, -1], [-1, -1], [-1, 2], [-1, -1]])
    assert [low >= 0 for low, _ in sequence] == [False, False, False, True, True]
    missed = samples("F[0,3](a & F[0,3] b)", [[-1, 1]] * 4)
    assert [high < 0 for _, high in missed] == [False, False, False, True]  # three steps before the horizon
    patrol = samples("G[0,9] F[0,2] a", [[1], [-1], [-1], [-1], [1]])
    assert [high < 0 for _, high in patrol] == [False, False, False, True, True]
    answered = samples("G[0,3](!a | F[0,3] b)", [[1, 1], [1, -1], [-1, 1], [-1, -1]])
    assert [low >= 0 for low, _ in answered] == [False, False, False, True]  # no request is left open


def script(monitor, steps, seed=0):
    """The interval at each of some steps with random resets; env i gets the same whatever N is."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for step in range(steps):
        margins = torch.randn(64, len(monitor.predicates), generator=draw)[: monitor.num_envs]
        mask = torch.rand(64, generator=draw)[: monitor.num_envs] < (0.04 if step else 1.0)
        monitor.update(margins)
        monitor.begin(mask, -margins)
        found.append(torch.stack([monitor.low, monitor.high]))
    return torch.stack(found)


FORMULA = parse("F[0,6](a & F[1,5](b & G[0,3] c)) & (!b U[2,9] (a | G[0,2] b)) & G[0,8](a | F[0,4] c)")
ENDLESS = parse("G F a & F(b & F[0,3] G c) & (!a U F[1,4] b)")


@pytest.mark.parametrize(("formula", "horizon"), [(FORMULA, None), (ENDLESS, 17)])
def test_an_env_does_not_depend_on_the_others(formula, horizon):
    whole = script(Monitor(formula, 64, horizon=horizon), 60)
    assert len(whole[-1].unique()) > 20
    for num_envs in (1, 3, 16, 33):
        assert torch.equal(script(Monitor(formula, num_envs, horizon=horizon), 60), whole[..., :num_envs])


@pytest.mark.parametrize(("formula", "horizon"), [(FORMULA, None), (ENDLESS, 17)])
def test_tiles_of_one_env_as_on_a_gpu(formula, horizon, monkeypatch):
    expected = script(Monitor(formula, 37, horizon=horizon), 60)
    monkeypatch.setattr(module, "LANES", 1)
    assert torch.equal(script(Monitor(formula, 37, horizon=horizon), 60), expected)


def test_threads(monkeypatch):
    expected = script(Monitor(FORMULA, 64, threads=1), 40)
    monkeypatch.setattr(module, "MIN_SLICE", 16)
    monitor = Monitor(FORMULA, 64, threads=3)
    assert len(monitor._launches[module.UPDATE]) == 3
    assert torch.equal(script(monitor, 40), expected)


@pytest.mark.parametrize(("formula", "horizon"), [(FORMULA, None), (ENDLESS, 17)])
def test_snapshots(formula, horizon):
    monitor, other = (Monitor(formula, 20, horizon=horizon) for _ in range(2))
    script(monitor, 23)
    script(other, 8, seed=5)
    snapshot, low, high = monitor.get_state(), monitor.low, monitor.high
    expected = script(monitor, 40, seed=1)
    for restored in (monitor, other):
        restored.set_state(snapshot)
        assert torch.equal(restored.low, low)
        assert torch.equal(restored.high, high)
        assert torch.equal(script(restored, 40, seed=1), expected)


def test_begin_touches_the_masked_envs_only():
    monitor, other = (Monitor(FORMULA, 20) for _ in range(2))
    script(monitor, 7), script(other, 7)
    mask = torch.arange(20) % 3 == 0
    margins = torch.randn(20, 3)
    low, high = monitor.low, monitor.high
    monitor.begin(mask, margins)
    assert torch.equal(monitor.low[~mask], low[~mask])
    assert torch.equal(monitor.high[~mask], high[~mask])
    assert bool((monitor.low[mask] == -torch.inf).all())
    for step in range(monitor.last + 1):
        later = torch.randn(20, 3, generator=torch.Generator().manual_seed(step))
        monitor.update(later), other.update(later)
        assert torch.equal(monitor.low[~mask], other.low[~mask])
        assert torch.equal(monitor.high[~mask], other.high[~mask])
    assert torch.equal(monitor.low[mask], monitor.high[mask])


def test_intervals_read_are_not_overwritten():
    monitor = Monitor(FORMULA, 20)
    found = []
    for seed in range(30):
        copy = script(monitor, 1, seed)[0]
        found.append((monitor.low, monitor.high, copy))
    assert all(torch.equal(torch.stack([low, high]), copy) for low, high, copy in found)


def test_nothing_is_known_before_the_first_trace():
    monitor = Monitor(A | B, 3)
    assert (monitor.high - monitor.low == torch.inf).all()
    monitor.update(torch.ones(3, 2))
    assert (monitor.high - monitor.low == torch.inf).all()
    assert (monitor.predicates, monitor.last) == (("a", "b"), 0)


def test_margins_of_other_dtypes_and_layouts():
    monitor = Monitor(eventually(A & ~B, 0, 1), 2)
    margins = torch.tensor([[0.5, 2.0], [-0.25, 1.0]], dtype=torch.float64, requires_grad=True)
    monitor.begin(torch.tensor([True, True]), margins.T)
    assert monitor.low.tolist() == [0.25, -1.0]
    assert not monitor.low.requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("text", ["F[0,1500](a & F[0,{}] b)", "G[0,1500] F[3,{}] a", "G[0,1500](a U[0,{}] b)"])
def test_time_per_sample_does_not_grow_with_the_window(text):
    def seconds(width):
        monitor = Monitor(parse(text.format(width)), 1024)
        margins = torch.randn(8, 1024, len(monitor.predicates))
        monitor.begin(torch.ones(1024, dtype=torch.bool), margins[0])
        rounds = []
        for _ in range(3):
            start = time.thread_time()
            for step in range(2 * width):
                monitor.update(margins[step % 8])
            rounds.append((time.thread_time() - start) / (2 * width))
        return min(rounds)

    seconds(10)  # compile
    assert seconds(1000) < 2 * seconds(10)


def test_bad_margins():
    monitor = Monitor(eventually(A & ~B, 0, 3), 4)
    everyone = torch.ones(4, dtype=torch.bool)
    good = torch.zeros(4, 2)
    bad = good.clone()
    bad[2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"NaN for predicate 'b' in env 2"):
        monitor.begin(everyone, bad)
    monitor.begin(torch.tensor([True, True, False, True]), bad)  # not read
    with pytest.raises(ValueError, match=r"shape \(4, 2\)"):
        monitor.update(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="floating-point"):
        monitor.update(torch.zeros(4, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="mask"):
        monitor.begin(everyone[:3], good)
    with pytest.raises(ValueError, match=r"torch\.bool"):
        monitor.begin(torch.ones(4), good)
    before = monitor.get_state()
    with pytest.raises(ValueError, match="NaN"):
        monitor.update(bad)
    assert torch.equal(monitor.get_state()["memory"], before["memory"])


def test_what_is_not_a_number_is_false_where_it_is_not_searched(monkeypatch):
    """As on a GPU: neither the predicate nor its negation holds."""
    monkeypatch.setattr(Monitor, "_checked", lambda self, margins, mask=None: margins.contiguous())
    for formula in (A, ~A, always(A, 0, 2), always(~A, 0, 2), until(A, B), release(~A, A, 0, 2)):
        monitor = Monitor(formula, 1, horizon=2)
        monitor.begin(torch.tensor([True]), torch.full((1, len(monitor.predicates)), torch.nan))
        for _ in range(2):
            monitor.update(torch.full((1, len(monitor.predicates)), torch.nan))
        assert monitor.high.tolist() == monitor.low.tolist() == [-math.inf], formula


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_envs >= 1"):
        Monitor(A, 0)
    with pytest.raises(ValueError, match="threads >= 1"):
        Monitor(A, 1, threads=0)
    with pytest.raises(ValueError, match=r"horizon for F\[0,3\] G b, which has no end because of G b"):
        Monitor(parse("F[0,3] G b"), 1)
    with pytest.raises(ValueError, match="at least 7 steps"):
        Monitor(parse("F[0,3] G[0,4] b"), 1, horizon=6)
    with pytest.raises(ValueError, match=r"GiB for 100000 envs"):
        Monitor(parse("F F[0,1000000] b | G F[0,1000000] b"), 100000, horizon=2000000)
    with pytest.raises(ValueError, match="shape"):
        Monitor(A, 3).set_state(Monitor(FORMULA, 3).get_state())


def test_random_formulas_have_every_operator():
    generator = Generator(0, bounded=False)
    kinds = {type(part) for _ in range(300) for part in generator.formula(3).walk()}
    assert kinds >= {*TEMPORAL, And, Or, Not, Predicate, Constant}
