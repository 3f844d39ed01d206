"""Choices of branches and times against enumerated distributions."""

import math

import pytest
import torch
from plans import all_plans

from cairngym.envs.stl.parser import parse
from cairngym.reward_shaping.temporal.allocation import (
    AllocationConfig,
    chain,
    draw,
    exploit,
    explore,
    num_draws,
    select,
    take,
)
from cairngym.reward_shaping.temporal.domains import encode
from cairngym.reward_shaping.temporal.grounding import ground

TINY = "F[0,2](a & F[0,3] b) & F[1,3] c | F[0,4] b"
"""Two branches, one of three variables, whose second depends on the first; one of one variable."""


def tiny(text=TINY, horizon=5):
    grounding = ground(parse(text), horizon)
    table = encode(grounding)
    return table, *all_plans(table, grounding.branches, 1000)


def known_value(branch, times):
    """A value with two modes, unlike in every plan."""
    place = (times * torch.tensor([3.0, -2.0, 1.5])).sum(-1)
    return (1.7 * place).sin() + 0.4 * branch.float()


def index_of(branch, times):
    return ((branch * 10 + times[..., 0]) * 10 + times[..., 1]) * 10 + times[..., 2]


def shares(branch, times, plans):
    """How often every plan was drawn."""
    places = {int(code): i for i, code in enumerate(index_of(*plans))}
    counts = torch.zeros(len(places))
    codes, numbers = index_of(branch, times).unique(return_counts=True)
    for code, number in zip(codes.tolist(), numbers.tolist(), strict=True):
        counts[places[code]] += number
    return counts / counts.sum()


def distance(left, right):
    """Total variation."""
    return float((left - right).abs().sum() / 2)


def uniforms(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def q_of(table, plans):
    return (table.log_density(*plans) - math.log(table.num_branches)).exp()


def test_draws_are_distributed_as_their_density_says():
    table, *plans = tiny()
    q = q_of(table, plans)
    assert float(q.sum()) == pytest.approx(1.0)
    branch, times = draw(table, uniforms(20_000, 2, 4))
    assert branch.shape == (20_000, 2)
    assert distance(shares(branch.flatten(), times.flatten(0, 1), plans), q) < 0.02
    assert float(q.max() / q.min()) > 3, "the plans are not equally likely"


def test_density_of_dependent_times_by_hand():
    table = encode(ground(parse("F[0,2](a & F[0,3] b)"), 4))  # t1 in [t0, min(t0 + 3, 4)]
    times = torch.tensor([[0, 1], [1, 4], [2, 2]])
    expected = -torch.tensor([3.0 * 4, 3 * 4, 3 * 3]).log()
    torch.testing.assert_close(table.log_density(torch.zeros(3, dtype=torch.int64), times), expected)


@pytest.mark.parametrize(("draws", "moves"), [(2, 3), (8, 0), (4, 1)])
def test_long_chains_reach_their_target(draws, moves):
    """Rounds of a choice among the place and fresh draws, then moves; the target is q exp(V / beta)."""
    table, *plans = tiny()
    config = AllocationConfig(draws=draws, moves=moves, step=0.3)
    target = q_of(table, plans) * (known_value(*plans) / 0.8).exp()
    target = target / target.sum()
    rows, beta = 4_000, torch.full((4_000,), 0.8)
    branch, times = (column[:, 0] for column in draw(table, uniforms(rows, 1, 4, seed=1)))
    kept = []
    for turn in range(40):
        fresh = draw(table, uniforms(rows, draws - 1, 4, seed=10 + turn))
        all_branches = torch.cat((branch.unsqueeze(1), fresh[0]), dim=1)
        all_times = torch.cat((times.unsqueeze(1), fresh[1]), dim=1)
        values = known_value(all_branches, all_times)
        column = select(values / 0.8, uniforms(rows, seed=1000 + turn))
        branch, times = take(all_branches, all_times, column)
        value = values.gather(1, column.unsqueeze(1))[:, 0]
        numbers = uniforms(rows, moves, 3, seed=2000 + turn)
        times = chain(table, config, known_value, beta, branch, times, value, numbers)
        assert bool(table.valid(branch, times).all())
        if turn >= 20:
            kept.append((branch, times))
    found = shares(*map(torch.cat, zip(*kept, strict=True)), plans)
    assert distance(found, target) < 0.02
    assert distance(q_of(table, plans), target) > 0.2, "the value matters"


def test_moves_alone_keep_to_the_target_within_a_branch():
    table, *plans = tiny("F[0,2](a & F[0,3] b) & F[1,3] c")
    config = AllocationConfig(moves=120, step=0.3)
    target = table.log_density(*plans).exp() * (known_value(*plans) / 0.8).exp()
    rows = 4_000
    branch, times = (column[:, 0] for column in draw(table, uniforms(rows, 1, 4, seed=3)))
    beta, value = torch.full((rows,), 0.8), known_value(branch, times)
    moved = chain(table, config, known_value, beta, branch, times, value, uniforms(rows, 120, 3, seed=4))
    assert distance(shares(branch, moved, plans), target / target.sum()) < 0.05
    assert distance(shares(branch, times, plans), target / target.sum()) > 0.2


def test_training_mixes_uniform_and_guided_episodes():
    table, *_ = tiny()
    for share in (0.0, 0.4, 1.0):
        config = AllocationConfig(uniform=share, temperature=0.2)
        numbers = uniforms(20_000, num_draws(table, config), seed=5)
        branch, times = explore(table, config, known_value, numbers)
        first = draw(table, numbers[:, 2:].split(config.draws * 4, dim=1)[0].reshape(20_000, config.draws, 4))
        plain = (branch == first[0][:, 0]) & (times == first[1][:, 0]).all(1)
        assert bool(plain[numbers[:, 0] < share].all())
        assert bool(table.valid(branch, times).all())
        guided = known_value(branch, times)[numbers[:, 0] >= share]
        if share < 1:
            assert float(guided.mean()) > float(known_value(first[0], first[1]).mean()) + 0.5
            assert float(plain[numbers[:, 0] >= share].float().mean()) < 0.5


def test_without_a_critic_or_guidance_all_times_are_uniform():
    table, *plans = tiny()
    numbers = uniforms(20_000, num_draws(table, AllocationConfig()), seed=6)
    for config, score in ((AllocationConfig(), None), (AllocationConfig(guided=False), known_value)):
        assert distance(shares(*explore(table, config, score, numbers), plans), q_of(table, plans)) < 0.02


def test_a_critic_without_an_opinion_leaves_times_uniform():
    table, *plans = tiny()
    numbers = uniforms(20_000, num_draws(table, AllocationConfig(uniform=0.0)), seed=7)

    def rounding(branch, times):
        return 5.0 + 1e-6 * known_value(branch, times)

    config = AllocationConfig(uniform=0.0)
    assert distance(shares(*explore(table, config, rounding, numbers), plans), q_of(table, plans)) < 0.02


def test_an_episode_does_not_depend_on_those_that_begin_beside_it():
    table, *_ = tiny()
    config = AllocationConfig(uniform=0.0)
    numbers = uniforms(50, num_draws(table, config), seed=8)
    many, alone = explore(table, config, known_value, numbers), explore(table, config, known_value, numbers[17:18])
    assert torch.equal(many[0][17:18], alone[0])
    assert torch.equal(many[1][17:18], alone[1])


def test_evaluation_takes_the_highest_valued_candidate(monkeypatch):
    table, *_ = tiny()
    numbers = uniforms(30, 40, 4, seed=9)
    branch, times = exploit(table, known_value, numbers)
    every = known_value(*draw(table, numbers))
    torch.testing.assert_close(known_value(branch, times), every.amax(1))
    calls = []

    def counted(branch, times):
        calls.append(branch.numel())
        return known_value(branch, times)

    monkeypatch.setattr("cairngym.reward_shaping.temporal.allocation.MOST_ROWS", 300)
    assert torch.equal(exploit(table, counted, numbers)[1], times)
    assert calls == [300, 300, 300, 300]


def test_a_formula_with_nothing_to_choose():
    table = encode(ground(parse("G[0,4] a & F[3,3] b"), 4))
    config = AllocationConfig()

    def never(branch, times):
        raise AssertionError("nothing to ask")

    branch, times = explore(table, config, never, uniforms(6, num_draws(table, config)))
    assert branch.tolist() == [0] * 6
    assert times.shape == (6, 0)
    branches = encode(ground(parse("G[0,4] a | G[0,4] b"), 4))  # two branches, no times
    branch, _ = explore(
        branches,
        AllocationConfig(uniform=0.0, temperature=0.01),
        lambda b, t: b.float(),
        uniforms(50, num_draws(branches, config)),
    )
    assert branch.float().mean() > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uniform": 1.5}, r"uniform in \[0, 1\], got 1.5"),
        ({"draws": 1}, "draws >= 2, got 1"),
        ({"moves": -1}, "moves >= 0, got -1"),
        ({"candidates": 0}, "candidates >= 1, got 0"),
        ({"step": 0.0}, "step > 0, got 0.0"),
        ({"temperature": float("nan")}, "temperature > 0, got nan"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AllocationConfig(**options)
