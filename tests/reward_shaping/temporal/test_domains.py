"""Time domains against enumeration; schedules against the plan read entry by entry; moves against detailed balance."""

import itertools

import numpy as np
import pytest
import torch

from cairngym.envs.stl.formula import Predicate, always, eventually, until
from cairngym.reward_shaping.temporal.domains import encode, propose, robustness, sample, valid
from cairngym.reward_shaping.temporal.grounding import ground
from cairngym.reward_shaping.temporal.network import Limit, close, dependants

A, B, C = (Predicate(name) for name in "abc")
NESTED = eventually(A & eventually(B & eventually(C, 1, 2), 0, 3), 0, 4)
FORMULAS = {
    "pair": eventually(A, 0, 4) & eventually(B, 1, 5) & always(~C, 0, 5),
    "nested": NESTED,
    "stay": eventually(A & eventually(always(B, 0, 2), 1, 3), 0, 4),
    "patrol": always(eventually(A, 0, 2), 0, 4) & eventually(B, 0, 3),
    "patrol later": eventually(A & always(eventually(B, 0, 2), 0, 3), 0, 2),
    "recurrence to a witness": until(eventually(A, 0, 2), B, 2, 5),
    "branches": (eventually(A, 0, 3) | NESTED | always(~B)) & eventually(C, 2, 6),
    "no choice": always(A, 0, 3) & B,
}
HORIZON = 7


def enumerated(branch):
    """Times of a branch's variables (M, n) that its own windows and the horizon allow, ends of chains included."""
    found = []
    for times in itertools.product(range(HORIZON + 1), repeat=len(branch.variables)):
        points = (0, *times)
        if all(points[u] - points[v] <= branch.gaps[u][v] for u, v in itertools.product(range(len(points)), repeat=2)):
            found.append(times)
    return torch.tensor(found, dtype=torch.int64).view(len(found), len(branch.variables))


def branches():
    return [
        pytest.param(branch, id=f"{name} {i}")
        for name, formula in FORMULAS.items()
        for i, branch in enumerate(ground(formula, HORIZON).branches)
    ]


def uniforms(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_windows_of_a_nested_formula_by_hand():
    (branch,) = ground(NESTED, 6).branches
    by_hand = [
        (t0, t1, t2)
        for t0 in range(5)
        for t1 in range(t0, t0 + 4)
        for t2 in range(t1 + 1, t1 + 3)
        if t2 <= 6
    ]  # fmt: skip
    every = torch.tensor(list(itertools.product(range(8), repeat=3)))
    assert every[valid(branch, every)].tolist() == [list(times) for times in by_hand]


def test_windows_of_a_chain_by_hand():
    branch = ground(always(eventually(A, 1, 3), 0, 5), 20, slack=1).branches[1]
    by_hand = [
        (s1, s2, s3)
        for s1 in range(1, 4)
        for s2 in range(s1 + 1, s1 + 4)
        for s3 in range(s2 + 1, s2 + 4)
        if 6 <= s3 <= 8
    ]  # fmt: skip
    every = torch.tensor(list(itertools.product(range(11), repeat=3)))
    assert every[valid(branch, every)].tolist() == [list(times) for times in by_hand]


@pytest.mark.parametrize("branch", branches())
def test_samples_are_valid_and_reach_the_whole_domain(branch):
    times = sample(branch, uniforms(6000, len(branch.variables)))
    assert times.dtype is torch.int64
    assert bool(valid(branch, times).all())
    domain = enumerated(branch)
    assert set(map(tuple, times.tolist())) == set(map(tuple, domain.tolist()))
    assert bool(valid(branch, domain).all())


@pytest.mark.parametrize("branch", branches())
def test_what_lies_outside_is_not_valid(branch):
    every = torch.tensor(list(itertools.product(range(-1, HORIZON + 2), repeat=min(3, len(branch.variables)))))
    if not branch.variables:
        return
    inside = enumerated(branch)
    rest = inside[:1, every.shape[1] :].expand(len(every), -1)
    every = torch.cat([every, rest], dim=1)
    expected = {tuple(row) for row in inside.tolist()}
    assert valid(branch, every).tolist() == [tuple(row) in expected for row in every.tolist()]


def test_sampling_is_uniform_top_down():
    (branch,) = ground(eventually(A & eventually(B, 0, 3), 0, 4), 5).branches
    grid = (torch.arange(60) + 0.5) / 60
    times = sample(branch, torch.cartesian_prod(grid, grid))
    assert times[:, 0].bincount().tolist() == [720] * 5
    assert times[times[:, 0] == 4, 1].bincount().tolist() == [0, 0, 0, 0, 360, 360]
    assert times[times[:, 0] == 1, 1].bincount().tolist() == [0, 180, 180, 180, 180]
    edge = torch.tensor([[0.0, 0.0], [np.nextafter(np.float32(1), np.float32(0))] * 2])
    assert sample(branch, edge).tolist() == [[0, 0], [4, 5]]


# --- moves ---


def test_moves_are_mirrored_at_the_ends_of_the_domain():
    (branch,) = ground(eventually(A, 2, 5), 9).branches
    steps = torch.arange(-6, 7)
    old = torch.full((13, 1), 3)
    moved, ratio = propose(branch, old, torch.zeros(13, dtype=torch.int64), steps)
    #   -6 -5 -4 -3 -2 -1  0  1  2  3  4  5  6: the places before 2 are 2, 3, 4, ..., those after 5 are 5, 4, 3, 2, 2
    assert moved[:, 0].tolist() == [5, 5, 4, 3, 2, 2, 3, 4, 5, 5, 4, 3, 2]
    assert ratio.tolist() == [0.0] * 13


def test_dependants_are_shifted_along_or_the_row_stays():
    (branch,) = ground(NESTED & eventually(A, 0, 7), 7).branches
    old = torch.tensor([[1, 2, 3, 6], [1, 2, 3, 6], [3, 5, 7, 0]])
    moved, _ = propose(branch, old, torch.tensor([0, 1, 0]), torch.tensor([2, 1, 1]))
    assert moved.tolist() == [[3, 4, 5, 6], [1, 3, 4, 6], [3, 5, 7, 0]]


def test_dependants_are_drawn_anew():
    (branch,) = ground(eventually(A & eventually(B, 0, 3), 0, 4) & eventually(C, 0, 7), 5).branches
    old = torch.tensor([[1, 2, 5]])
    moved, ratio = propose(branch, old, torch.tensor([0]), torch.tensor([3]), torch.tensor([[0.0, 0.99, 0.0]]))
    assert moved.tolist() == [[4, 5, 5]]
    np.testing.assert_allclose(ratio, [np.log(2 / 4)], rtol=1e-6)  # t1 in [4, 5] then, in [1, 4] before


def flows(branch, draws):
    """For all moves there are: how much flows from each time of the domain to each other, under a uniform target."""
    domain, n = enumerated(branch), len(branch.variables)
    place = {tuple(row): i for i, row in enumerate(domain.tolist())}
    steps, flow = torch.tensor([-3, -1, 1, 3]), np.zeros((len(domain), len(domain)))
    for which in range(n):
        rows = torch.cartesian_prod(torch.arange(len(domain)), torch.arange(4), torch.arange(len(draws)))
        uniform = None if draws.shape[1] == 0 else draws[rows[:, 2]]
        who = torch.full((len(rows),), which)
        moved, ratio = propose(branch, domain[rows[:, 0]], who, steps[rows[:, 1]], uniform)
        there = np.array([place[tuple(row)] for row in moved.tolist()])
        np.add.at(flow, (rows[:, 0].numpy(), there), ratio.exp().clamp(max=1).double().numpy() / len(draws))
    return flow


@pytest.mark.parametrize("branch", [b for b in branches() if "no choice" not in b.id])
def test_moves_that_shift_dependants_are_in_detailed_balance(branch):
    flow = flows(branch, torch.zeros(1, 0))
    np.testing.assert_allclose(flow, flow.T)
    assert flow.sum() > flow.trace()


@pytest.mark.parametrize("branch", [b for b in branches() if b.id.startswith(("stay", "nested", "patrol later"))])
def test_moves_that_redraw_dependants_are_in_detailed_balance(branch):
    # The domains of dependants have 1 to 4 values here, so twelve even draws stand for all.
    grid = (torch.arange(12) + 0.5) / 12
    axes = [torch.zeros(1), *[grid] * (len(branch.variables) - 1)]
    flow = flows(branch, torch.cartesian_prod(*axes))
    np.testing.assert_allclose(flow, flow.T, atol=1e-6)
    assert flow.sum() > flow.trace()


@pytest.mark.parametrize("branch", branches())
def test_only_dependants_have_domains_that_change(branch):
    gaps = np.array(branch.gaps)
    depends, domain = dependants(gaps), enumerated(branch).tolist()
    n = len(branch.variables)
    for i, j in itertools.combinations(range(n), 2):
        if depends[i, j]:
            continue
        fixed = [k for k in range(j) if k != i and not depends[i, k]]
        values = {}
        for row in domain:
            before = tuple(row[:j])
            values.setdefault(tuple(row[k] for k in fixed), {}).setdefault(before, set()).add(row[j])
        assert all(len({frozenset(v) for v in by.values()}) == 1 for by in values.values())


def test_dependants_of_independent_and_of_nested_times():
    (pair,) = ground(FORMULAS["pair"], HORIZON).branches
    assert not dependants(np.array(pair.gaps)).any()
    (nested,) = ground(NESTED & eventually(A, 0, 5), HORIZON).branches
    assert dependants(np.array(nested.gaps)).astype(int).tolist() == [
        [0, 1, 1, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_networks_without_times_are_found():
    assert close(2, [Limit(1, 2, -1), Limit(2, 1, 0)], 9) is None
    assert close(1, [Limit(0, 1, -10)], 9) is None
    gaps = close(2, [Limit(1, 2, -3)], 9)
    assert gaps.tolist() == [[0, 0, -3], [6, 0, -3], [9, 9, 0]]


# --- tables of branches ---


@pytest.fixture(scope="module")
def mixed():
    grounding = ground(FORMULAS["branches"] & (always(eventually(B, 0, 2), 0, 4) | eventually(A, 0, 2)), HORIZON)
    table = encode(grounding)
    assert table.num_branches == len(grounding.branches) > 6
    ids = torch.arange(400) % table.num_branches
    return grounding, table, ids, table.sample(ids, uniforms(400, table.num_variables))


def test_rows_of_a_table_are_what_their_branches_are_alone(mixed):
    grounding, table, ids, times = mixed
    draws = uniforms(400, table.num_variables)
    for index, branch in enumerate(grounding.branches):
        n, mine = len(branch.variables), ids == index
        assert int(table.variables[index]) == n
        assert torch.equal(times[mine, :n], sample(branch, draws[mine, :n]))
        assert not times[mine, n:].any()
        if n == 0:
            continue
        which = torch.randint(n, (400,), generator=torch.Generator().manual_seed(index))
        step = torch.randint(-4, 5, (400,), generator=torch.Generator().manual_seed(index))
        for again in (None, uniforms(400, table.num_variables, 1)):
            together = table.propose(
                ids[mine], times[mine], which[mine], step[mine], None if again is None else again[mine]
            )
            alone = propose(
                branch, times[mine, :n], which[mine], step[mine], None if again is None else again[mine, :n]
            )
            assert torch.equal(together.times[:, :n], alone.times)
            assert torch.equal(together.log_ratio, alone.log_ratio)
            assert bool(table.valid(ids[mine], together.times).all())


def test_a_row_does_not_depend_on_the_others(mixed):
    _, table, ids, times = mixed
    draws = uniforms(400, table.num_variables)
    assert torch.equal(table.sample(ids[7:8], draws[7:8]), times[7:8])
    one, all_rows = table.resolve(ids[7:8], times[7:8]), table.resolve(ids, times)
    assert all(torch.equal(value, vars(all_rows)[name][7:8]) for name, value in vars(one).items())


def at(point, times):
    return point.offset + (0 if point.variable is None else times[point.variable])


def test_schedules_hold_the_entries_of_the_plan_in_the_order_of_time(mixed):
    grounding, table, ids, times = mixed
    schedule = table.resolve(ids, times)
    for row, (index, chosen) in enumerate(zip(ids.tolist(), times.tolist(), strict=True)):
        branch = grounding.branches[index]
        goals = sorted((at(goal.time, chosen), goal.target) for goal in branch.subgoals)
        count = len(goals)
        assert schedule.subgoal_mask[row].tolist() == [i < count for i in range(schedule.subgoal_mask.shape[1])]
        got = list(zip(schedule.subgoal_time[row].tolist(), schedule.subgoal_target[row].tolist(), strict=True))
        assert sorted(got[:count]) == goals
        assert schedule.subgoal_time[row].tolist() == sorted(schedule.subgoal_time[row].tolist())
        assert all(time == HORIZON + 1 for time, _ in got[count:])
        windows = [(i.target, at(i.start, chosen), at(i.end, chosen)) for i in branch.invariants]
        active = schedule.invariant_mask[row]
        columns = (schedule.invariant_target, schedule.invariant_start, schedule.invariant_end)
        assert list(zip(*(column[row][active].tolist() for column in columns), strict=True)) == [
            window for window in windows if window[1] <= window[2]
        ]


def test_values_of_mixed_rows_are_those_of_single_branches(mixed):
    grounding, table, ids, times = mixed
    margins = torch.randn(400, HORIZON + 1, 3, generator=torch.Generator().manual_seed(3))
    value = table.resolve(ids, times).value(grounding.target_margins(margins))
    for index, branch in enumerate(grounding.branches):
        mine, n = ids == index, len(branch.variables)
        assert torch.equal(value[mine], robustness(grounding, branch, times[mine, :n], margins[mine]))


def test_empty_windows_keep_nothing():
    grounding = ground(until(A, B, 0, 3), 5)
    schedule = encode(grounding).resolve(torch.zeros(2, dtype=torch.int64), torch.tensor([[0], [2]]))
    assert schedule.invariant_mask.tolist() == [[False], [True]]
    margins = torch.tensor([[[-1.0, 2.0]] * 6, [[-1.0, 2.0]] * 6])
    assert schedule.value(grounding.target_margins(margins)).tolist() == [2.0, -1.0]


def test_wrong_shapes_are_named():
    table = encode(ground(NESTED, HORIZON))
    ids = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"Expected uniforms of shape \(4, 3\), i.e. \(B, num_variables\)"):
        table.sample(ids, torch.rand(4, 2))
    with pytest.raises(ValueError, match="Expected times of shape"):
        table.resolve(ids, torch.zeros(3, 3, dtype=torch.int64))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_table_gives_what_the_cpu_gives(mixed):
    grounding, _, ids, times = mixed
    table = encode(grounding, "cuda")
    draws = uniforms(400, table.num_variables)
    assert torch.equal(table.sample(ids.cuda(), draws.cuda()).cpu(), times)
    schedule = table.resolve(ids.cuda(), times.cuda())
    assert all(torch.equal(v.cpu(), vars(encode(grounding).resolve(ids, times))[k]) for k, v in vars(schedule).items())
