"""Replayed steps under other times, beside envs that had those times from the beginning."""

from typing import NamedTuple

import pytest
import torch
from plans import make_task
from scipy.stats import chisquare

import cairngym
from cairngym.envs.core import Transition
from cairngym.envs.relabelling import Steps
from cairngym.envs.stl.monitored import MARGINS, TIME
from cairngym.reward_shaping.temporal.fields import BRANCH, BROKE, HITS, TIMES, measure
from cairngym.reward_shaping.temporal.observation import TemporalObservation

FORMULAS = {
    "F[0,6] a & F[0,8] G[0,2] b & G[0,12] d": 180,
    "F[0,12] a & F[0,12] b & F[0,12] c & G[0,12] d": 250,
    "F[0,8](a & F[1,4] b)": 150,
    "F[0,4] a & F[2,7](b & F[0,3](c & F[0,2] a))": 150,
    "d U[0,10] a & F[0,12] b": 150,
    "(!c) U[0,11] a & F[0,11] c": 150,
    "G[0,8] F[0,4] a": 150,
    "F[0,10] a | F[0,10] b & F[0,6] c": 100,
}
"""Formulas, and the fewest steps with other times to compare of each."""


class Planned(TemporalObservation):
    """Episodes get the plans given: branches `(N,)` and times `(N, V)`."""

    given = None

    def _choose(self, rows, obs, step, sight):
        if self.given is None:
            return super()._choose(rows, obs, step, sight)
        return tuple(part[rows] for part in self.given)


class Step(NamedTuple):
    steps: Steps  # (N, ...)
    success: torch.Tensor
    term: torch.Tensor


def make(text, num_envs=48, given=None, **options):
    env = Planned(make_task(text, num_envs, **options))
    env.given = given
    return cairngym.shape(env, "stages")


def commands(num_envs, steps=12, seed=0):
    """Actions `(T, N, 1)` that wander between the places."""
    generator = torch.Generator().manual_seed(seed)
    action, out = torch.zeros(num_envs, 1), []
    for k in range(steps):
        fresh = torch.rand(num_envs, 1, generator=generator) * 4 - 2
        action = torch.where(
            (torch.rand(num_envs, 1, generator=generator) < 0.3) | (k == 0), fresh.clamp(-1, 1), action
        )
        out.append(action)
    return out


def play(env, actions):
    """Every step of the first episodes."""
    names = {*env.relabeller.fields, *env.terms[0].shaper.requires}
    obs, _ = env.reset(seed=3)
    lived = []
    for action in actions:
        state = {name: env.state[name] for name in names}
        following, _, _, _, info = env.step(action)
        after = {name: info["final_state"][name] for name in names}
        lived.append(Step(Steps(obs, state, info["final_obs"], after), info["success"], info["reward_terms"]["stages"]))
        obs = following
    return lived


def window(lived, first, count):
    """Steps `(N, count, ...)` from `first` on, the last again where they end."""
    rows = [lived[min(k, len(lived) - 1)].steps for k in range(first, first + count)]
    return Steps(*(stacked(parts) for parts in zip(*rows, strict=True)))


def stacked(parts):
    if isinstance(parts[0], dict):
        return {name: torch.stack([part[name] for part in parts], 1) for name in parts[0]}
    return torch.stack(parts, 1)


def glimpse(env, lived, first, generator):
    """What is shown of later steps, drawn as a replay draws them."""
    pick = torch.randint(first, len(lived), (env.num_envs, env.relabeller.glimpses), generator=generator)
    row = torch.arange(env.num_envs).unsqueeze(1)
    after = window(lived, 0, len(lived)).next_state
    return {name: after[name][row, pick] for name in env.relabeller.glimpse_fields}


def relabel(env, lived, first, count=1):
    """Steps from `first` on under other times, those times, and where there were any to choose."""
    generator, own = torch.Generator().manual_seed(first), env.relabeller
    later = glimpse(env, lived, first, generator)
    uniforms = torch.rand(env.num_envs, own.draws, generator=generator)
    steps = window(lived, first, count)
    times, moved = own.other_times(at(steps.state, 0), later, uniforms)
    _, whole = own.resume(at(steps.state, 0), times)
    return own.relabel(steps, later, uniforms), times, moved & whole


def at(state, k):
    return {name: value[:, k] for name, value in state.items()}


def same(one, other):
    """Rows `(N,)` that agree bit for bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return torch.stack([same(one[name], other[name]) for name in one]).all(0)
    return (one == other).flatten(1).all(1) if one.ndim > 1 else one == other


def paid(env, steps, success, k):
    """The term "stages" of step k of a window."""
    obs, state, next_obs, next_state = (
        at(part, k) if isinstance(part, dict) else part[:, k] for part in steps
    )  # fmt: skip
    no = torch.zeros_like(success)
    transition = Transition(
        obs=obs, state=state, action=no, next_obs=next_obs, next_state=next_state, reward=success.float(),
        terminated=no, truncated=no, success=success, env_id=None,
    )  # fmt: skip
    return env.terms[0].shaper.shape(transition)


@pytest.mark.parametrize("dict_obs", [False, True], ids=["box", "dict"])
@pytest.mark.parametrize("text", FORMULAS)
def test_relabelled_steps_are_those_of_an_env_with_these_times_from_the_beginning(text, dict_obs):
    env, count = make(text, dict_obs=dict_obs), 3
    actions = commands(env.num_envs)
    lived = play(env, actions)
    other = hit = 0
    for first in range(len(actions)):
        before = lived[first].steps.state
        anew, times, moved = relabel(env, lived, first, count)
        assert bool(env.env.table.valid(before[BRANCH], times).all())
        twin = make(text, given=(before[BRANCH], times), dict_obs=dict_obs)
        lived_so = play(twin, actions)
        # The past is the same unless the twin hit a subgoal on its way that is ahead in the relabelled steps.
        fits = moved & (same(lived_so[first - 1].steps.state[TIMES], times) if first else moved)
        expected, inside = window(lived_so, first, count), min(count, len(actions) - first)
        for k in range(inside):
            for mine, want in zip(anew, expected, strict=True):
                mine, want = (at(part, k) if isinstance(part, dict) else part[:, k] for part in (mine, want))
                assert bool(same(mine, want)[fits].all()), f"step {first}+{k}"
            step = lived_so[first + k]
            assert torch.equal(paid(env, anew, step.success, k)[fits], step.term[fits])
        changed = fits & ~same(times, before[TIMES])
        other += int(changed.sum())
        hit += int((changed & (at(anew.next_state, 0)[HITS] > at(anew.state, 0)[HITS])).sum())
    assert other >= FORMULAS[text]
    assert hit > 0


# By hand -------------------------------------------------------------------------------------------------------------
# F[0,6] a & F[0,6] b with times for a and b; a sample is (a holds, b holds). The relabeller sees one env.


def make_pair(text="F[0,6] a & F[0,6] b & G[0,12] d"):
    return make(text, num_envs=1, given=(torch.zeros(1, dtype=torch.int64), torch.tensor([[2, 5]])))


def moment(env, step, times, margins, hit=(False, False)):
    """The state `(1, ...)` at a step of a plan of `make_pair` in which nothing was broken."""
    own = env.env
    pursuit = own.pursuer.begin(torch.zeros(1, dtype=torch.int64), torch.tensor([times]))
    now = torch.tensor([float(step)])
    stage = (pursuit.due <= step).sum(1)
    pursuit = pursuit._replace(stage=stage, hits=torch.tensor([hit]))
    fields = measure(pursuit, own.table.horizon, torch.zeros(1, own.features.num_targets, own.features.lead_size))
    return {**fields, MARGINS: torch.tensor([margins]), TIME: now}


def uniforms(*values):
    """Put a subgoal where it was reached if the first is less than a half; which; then a's time and b's."""
    return torch.tensor([values])


def later_of(env, *samples):
    """Glimpses `(1, M, ...)`: the given ones `(step, margins)`, the last again and again."""
    rows = [samples[min(k, len(samples) - 1)] for k in range(env.relabeller.glimpses)]
    return {
        MARGINS: torch.tensor([[margins for _, margins in rows]]),
        TIME: torch.tensor([[float(step) for step, _ in rows]]),
    }  # fmt: skip


NOWHERE, IN_A, IN_B = (-1.0, -1.0, 1.0), (1.0, -1.0, 1.0), (-1.0, 1.0, 1.0)


def test_times_ahead_are_drawn_from_the_next_step_to_the_ends_of_their_windows():
    env = make_pair()
    state, later = moment(env, 1, [2, 5], NOWHERE), later_of(env, (9, NOWHERE))
    for values, expected in (((0.9, 0.0, 0.0, 0.0), [2, 2]), ((0.9, 0.0, 0.999, 0.5), [6, 4])):
        times, moved = env.relabeller.other_times(state, later, uniforms(*values))
        assert times.tolist() == [expected]
        assert moved.tolist() == [True]


def test_subgoals_left_behind_keep_their_times_and_what_became_of_them():
    env = make_pair()
    state = moment(env, 3, [2, 5], NOWHERE, hit=(True, False))
    times, _ = env.relabeller.other_times(state, later_of(env, (9, NOWHERE)), uniforms(0.9, 0.0, 0.9, 0.999))
    assert times.tolist() == [[2, 6]]
    pursuit, whole = env.relabeller.resume(state, times)
    assert (pursuit.hits.tolist(), int(pursuit.stage), whole.tolist()) == ([[True, False]], 1, [True])


def test_a_plan_without_anything_ahead_stays():
    env = make_pair()
    state = moment(env, 7, [2, 5], NOWHERE, hit=(True, False))
    times, moved = env.relabeller.other_times(state, later_of(env, (9, IN_A)), uniforms(0.0, 0.0, 0.0, 0.0))
    assert times.tolist() == [[2, 5]]
    assert moved.tolist() == [False]


@pytest.mark.parametrize(
    ("values", "samples", "expected"),
    [
        ((0.4, 0.0, 0.0, 0.5), [(5, IN_A), (4, IN_A), (6, IN_B)], [4, 4]),  # a at the soonest, b drawn from 2 to 6
        ((0.4, 0.9, 0.0, 0.5), [(5, IN_A), (4, IN_A), (6, IN_B)], [2, 6]),  # b
        ((0.6, 0.0, 0.0, 0.5), [(5, IN_A)], [2, 4]),  # neither is asked for
        ((0.4, 0.0, 0.0, 0.5), [(5, IN_B)], [2, 4]),  # a was not reached
        ((0.4, 0.0, 0.0, 0.5), [(9, IN_A)], [2, 4]),  # too late
    ],
)
def test_a_subgoal_is_wanted_where_it_was_reached_later(values, samples, expected):
    env = make_pair()
    state = moment(env, 1, [2, 5], NOWHERE)
    times, _ = env.relabeller.other_times(state, later_of(env, *samples), uniforms(*values))
    assert times.tolist() == [expected]


def test_what_is_drawn_leaves_room_for_what_must_follow_and_for_what_is_settled():
    # b one to four steps after a; a has not come, so it cannot come before step 4, nor b before step 5.
    env = make("F[0,8](a & F[1,4] b)", 1, given=(torch.zeros(1, dtype=torch.int64), torch.tensor([[7, 9]])))
    own, later = env.relabeller, later_of(env, (9, NOWHERE[:2]))
    state = moment(env, 3, [7, 9], NOWHERE[:2])
    draws = {
        (u, v): own.other_times(state, later, uniforms(0.9, 0.0, u, v))[0].tolist()[0]
        for u in (0.0, 0.999)
        for v in (0.0, 0.999)
    }
    assert draws == {(0.0, 0.0): [4, 5], (0.0, 0.999): [4, 8], (0.999, 0.0): [8, 9], (0.999, 0.999): [8, 12]}
    # Once a is behind, at step 2, b keeps to four steps after it.
    state = moment(env, 3, [2, 5], NOWHERE[:2], hit=(True, False))
    times = {own.other_times(state, later, uniforms(0.9, 0.0, 0.0, v))[0].tolist()[0][1] for v in (0.0, 0.5, 0.999)}
    assert times == {4, 5, 6}
    # b reached at step 10 leaves a from 6 to 8.
    state = moment(env, 3, [7, 9], NOWHERE[:2])
    chosen = {
        tuple(own.other_times(state, later_of(env, (10, IN_B[:2])), uniforms(0.0, 0.9, u, 0.0))[0].tolist()[0])
        for u in (0.0, 0.5, 0.999)
    }
    assert chosen == {(6, 10), (7, 10), (8, 10)}


def test_times_are_drawn_evenly_and_are_valid():
    env = make("F[0,8](a & F[1,4] b) & F[0,6] c", 1)
    own, count, generator = env.relabeller, 4000, torch.Generator().manual_seed(0)
    pursuit = env.env.pursuer.begin(torch.zeros(count, dtype=torch.int64), torch.tensor([[5, 6, 4]]).repeat(count, 1))
    leads = torch.zeros(count, own.features.num_targets, own.features.lead_size)
    state = dict(measure(pursuit, 12, leads))
    state |= {TIME: torch.full((count,), 2.0), MARGINS: torch.full((count, 3), -1.0)}
    later = {
        name: state[name].unsqueeze(1).repeat(1, own.glimpses, *[1] * (state[name].ndim - 1))
        for name in (MARGINS, TIME)
    }
    times, moved = own.other_times(state, later, torch.rand(count, own.draws, generator=generator))
    assert bool(moved.all())
    assert bool(env.env.table.valid(state[BRANCH], times).all())
    a, b, c = times.unbind(1)
    for drawn, expected in ((a, range(3, 9)), (b - a, range(1, 5)), (c, range(3, 7))):
        values, counts = drawn.unique(return_counts=True)
        assert values.tolist() == list(expected)
        assert chisquare(counts.numpy()).pvalue > 1e-3


def test_a_break_that_a_hit_at_the_same_sample_would_undo_is_left_alone():
    # !c until a. c holds at step 3, a too, but b was pursued: had a been, its wait would have ended before step 3.
    env = make("(!c) U[0,8] a & F[0,8] b", 1, given=(torch.zeros(1, dtype=torch.int64), torch.tensor([[7, 4]])))
    names = [str(name) for name in env.env.grounding.predicates]
    margins = tuple({"a": 1.0, "b": -1.0, "c": 1.0}[name] for name in names)
    state = moment(env, 3, [7, 4], margins)
    _, whole = env.relabeller.resume({**state, BROKE: torch.tensor([[True]])}, torch.tensor([[4, 7]]))
    assert whole.tolist() == [False]
    _, whole = env.relabeller.resume({**state, BROKE: torch.tensor([[False]])}, torch.tensor([[4, 7]]))
    assert whole.tolist() == [True]
    _, whole = env.relabeller.resume({**state, BROKE: torch.tensor([[True]])}, torch.tensor([[8, 5]]))
    assert whole.tolist() == [True]
