"""The wrapping that makes any bonus policy-invariant, held against brute force over the histories of a small world."""

import itertools

import numpy as np
import pytest
import torch

from cairngym.envs.core import Transition
from cairngym.envs.registry import make
from cairngym.envs.tabular import TabularTask, TabularWorld
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term
from cairngym.reward_shaping.curiosity.count import CountShaper
from cairngym.reward_shaping.invariance import check_policy_invariance
from cairngym.reward_shaping.invariant_bonus import InvariantBonusShaper

GAMMA, HORIZON, GOAL, PIT = 0.8, 3, 3, 4
MOVES = {0: (1, 2), 1: (0, PIT), 2: (2, GOAL)}
"""From each state, where the two actions lead: a loop to stay in, a pit, and a goal two steps away."""


class Novelty(Shaper):
    """A bonus with memory: 2 for a state not yet met in the episode, an unequal trickle otherwise."""

    memory = True

    def bind(self, env):
        self.met = torch.zeros(env.num_envs, 5, dtype=torch.bool)

    def shape(self, transition):
        node = transition.next_state["node"]
        return torch.where(self.met[torch.arange(len(node)), node], 0.3 * node, 2.0).float()

    def observe(self, transition):
        self.met[torch.arange(len(self.met)), transition.next_state["node"]] = True

    def begin(self, mask):
        self.met[mask] = False


class KeptAtLimits(InvariantBonusShaper):
    """Settles nothing at time limits, as would be right for a potential of the state."""

    def shape(self, transition):
        kept = transition.truncated & ~transition.terminated
        return torch.where(kept, self._bonus(transition), super().shape(transition))


class LastBonusKept(InvariantBonusShaper):
    """Pays the last step's bonus on top of the settlement."""

    def shape(self, transition):
        over = transition.terminated | transition.truncated
        return super().shape(transition) + torch.where(over, self._bonus(transition), 0.0)


class ForgetsTheDiscount(InvariantBonusShaper):
    """Pays back what was paid, but not what it has grown to."""

    def observe(self, transition):
        super().observe(transition)
        self._phi = self._phi * self.gamma


def wrapped(build=InvariantBonusShaper, inner=Novelty, **options):
    return build([Term(name="bonus", shaper=inner(), weight=0.7)], gamma=GAMMA, **options)


def histories():
    """Every sequence of actions from every state that one can start from, cut where the episode ends."""
    for start, actions in itertools.product(MOVES, itertools.product((0, 1), repeat=HORIZON)):
        states = [start]
        for action in actions:
            if states[-1] not in MOVES:
                break
            states.append(MOVES[states[-1]][action])
        yield tuple(states), actions[: len(states) - 1]


def play(shaper, paths):
    """What the shaper pays along each path, one env a path, lists of numbers."""
    env = make("Chain-N10-v0", num_envs=len(paths))
    shaper.bind(env)
    shaper.begin(torch.ones(len(paths), dtype=torch.bool))
    paid = [[] for _ in paths]
    for t in range(HORIZON):
        valid = torch.tensor([t < len(actions) for _, actions in paths])
        now = torch.tensor([states[min(t, len(states) - 1)] for states, _ in paths])
        after = torch.tensor([states[min(t + 1, len(states) - 1)] for states, _ in paths])
        ended = (after >= GOAL) & valid
        zero = torch.zeros(len(paths))
        transition = Transition(
            obs=zero, state={"node": now}, action=now, next_obs=zero, next_state={"node": after}, reward=zero,
            terminated=ended, truncated=valid & (t == HORIZON - 1), success=after == GOAL,
            env_id=torch.arange(len(paths)), valid=valid,
        )  # fmt: skip
        for path, value, real in zip(paid, shaper.shape(transition).tolist(), valid.tolist(), strict=True):
            if real:
                path.append(value)
        shaper.observe(transition)
        shaper.begin(torch.zeros(len(paths), dtype=torch.bool))
    return paid


def unrolled(shaper):
    """A world whose states are the histories, and the shaper's value of every step in it.

    A path cut by the time limit goes on as the path that begins where it was cut: the agent bootstraps there, and the
    episode to come owes nothing. So policies that never end are judged too.
    """
    paths = sorted(set(histories()))
    values = dict(zip(paths, play(shaper, paths), strict=True))
    nodes = {}
    for states, actions in paths:
        for t in range(len(actions)):
            nodes.setdefault((states[: t + 1], actions[:t]), len(nodes))
    goal, pit = len(nodes), len(nodes) + 1
    moves, table = torch.zeros(pit + 1, 2, pit + 1), torch.zeros(pit + 1, 2, pit + 1)
    for (states, actions), paid in values.items():
        for t, action in enumerate(actions):
            here, after = nodes[states[: t + 1], actions[:t]], states[t + 1]
            there = {GOAL: goal, PIT: pit}.get(after)
            if there is None:
                there = nodes[((after,), ()) if t + 1 == HORIZON else (states[: t + 2], actions[: t + 1])]
            moves[here, action, there], table[here, action, there] = 1.0, paid[t]
    moves[[goal, pit], :, [goal, pit]] = 1.0
    start = torch.zeros(pit + 1)
    start[nodes[(0,), ()]] = 1.0
    return TabularWorld(moves, start, 1, "cpu"), TabularTask(pit + 1, (goal,), failures=(pit,)), Written(table)


class Written(Shaper):
    """Pays what stands in a table of state, action and next state."""

    def __init__(self, table):
        self.table = table

    def shape(self, transition):
        return self.table[transition.state["node"], transition.action, transition.next_state["node"]]


def centered(*args, **options):
    """With a mean that is not zero, as after an update."""
    shaper = InvariantBonusShaper(*args, center=True, **options)
    bind = shaper.bind

    def bound(env):
        bind(env)
        shaper._mean = torch.tensor(0.9, dtype=torch.float64)

    shaper.bind = bound
    return shaper


@pytest.mark.parametrize("build", [InvariantBonusShaper, centered])
@pytest.mark.parametrize("inner", [Novelty, CountShaper])
def test_every_episode_sums_to_zero_however_it_ends(build, inner):
    inner = (lambda: CountShaper(key="node")) if inner is CountShaper else inner
    paths = sorted(set(histories()))
    ends = {states[-1] for states, _ in paths}
    assert {GOAL, PIT, 0} <= ends, "by success, by failure and by the time limit"
    for (states, _), paid, plain in zip(
        paths, play(wrapped(build, inner), paths), play(inner(), paths) if inner is Novelty else paths, strict=True
    ):
        assert sum(GAMMA**t * value for t, value in enumerate(paid)) == pytest.approx(0.0, abs=1e-5), states
        if build is InvariantBonusShaper and inner is Novelty:
            owed = sum(GAMMA ** (i - len(paid) + 1) * 0.7 * plain[i] for i in range(len(paid) - 1))
            assert paid[-1] == pytest.approx(-owed, abs=1e-5)
            assert paid[:-1] == pytest.approx([0.7 * value for value in plain[:-1]])


@pytest.mark.parametrize("build", [InvariantBonusShaper, centered])
def test_it_passes_the_invariance_check_with_every_history_a_state_of_its_own(build):
    world, task, written = unrolled(wrapped(build))
    report = check_policy_invariance(written, world, task, GAMMA)
    assert report, report
    assert report.regret < 1e-4


@pytest.mark.parametrize("build", [KeptAtLimits, LastBonusKept, ForgetsTheDiscount])
def test_what_goes_wrong_is_caught(build):
    world, task, written = unrolled(wrapped(build))
    assert not check_policy_invariance(written, world, task, GAMMA)


def test_the_bonus_alone_turns_the_optimal_policy():
    world, task, written = unrolled(Novelty())
    report = check_policy_invariance(written, world, task, GAMMA)
    assert not report
    assert report.regret > 0.1


def test_every_policy_of_a_horizon_keeps_its_return():
    """Enumerate every policy of the histories from the first state: returns with and without the term are equal."""
    paths = [path for path in sorted(set(histories())) if path[0][0] == 0]
    paid = dict(zip(paths, play(wrapped(), paths), strict=True))
    choices = sorted({(states[: t + 1], actions[:t]) for states, actions in paths for t in range(len(actions))})
    returns = set()
    for policy in itertools.product((0, 1), repeat=len(choices)):
        chosen = dict(zip(choices, policy, strict=True))
        states, actions = (0,), ()
        while (states, actions) in chosen:
            action = chosen[states, actions]
            states, actions = (*states, MOVES[states[-1]][action]), (*actions, action)
        task = GAMMA ** (len(actions) - 1) * (states[-1] == GOAL)
        shaped = task + sum(GAMMA**t * value for t, value in enumerate(paid[states, actions]))
        assert shaped == pytest.approx(task, abs=1e-5)
        returns.add(round(task, 6))
    assert returns == {0.0, GAMMA, round(GAMMA**2, 6)}


def env_of(**options):
    term = Term(name="pbim", shaper=InvariantBonusShaper([{"name": "count"}], gamma=GAMMA, **options))
    return ShapedEnv(make("Chain-N10-v0", num_envs=4, length=4), [term])


@pytest.mark.parametrize("center", [False, True])
def test_in_an_env_with_snapshots(center):
    env, other = env_of(center=center), env_of(center=center)
    env.reset(seed=0)
    actions = torch.randint(2, (60, 4), generator=torch.Generator().manual_seed(0))
    for action in actions[:25]:
        env.step(action)
    metrics = env.update_shapers()
    assert (metrics.get("pbim/mean", 0.0) > 0.1) is center
    for action in actions[25:30]:
        env.step(action)
    other.set_state(env.get_state())
    for action in actions[30:]:
        assert torch.equal(env.step(action)[1], other.step(action)[1])
    assert env.update_shapers() == other.update_shapers()


def test_the_mean_is_of_everything_paid_before_the_update():
    env = env_of(center=True)
    env.reset(seed=0)
    plain = ShapedEnv(make("Chain-N10-v0", num_envs=4, length=4), [Term(name="count", shaper=CountShaper())])
    plain.reset(seed=0)
    paid = []
    for action in torch.randint(2, (9, 4), generator=torch.Generator().manual_seed(0)):
        env.step(action)
        paid.append(plain.step(action)[4]["reward_terms"]["count"])
    assert env.update_shapers()["pbim/mean"] == pytest.approx(float(np.mean(torch.stack(paid).numpy())), rel=1e-6)


def test_what_it_declares_and_refuses():
    shaper = InvariantBonusShaper([{"name": "rnd"}], gamma=0.9)
    assert (shaper.stream, shaper.memory, shaper.policy_invariant, shaper.gamma) == ("task", True, True, 0.9)
    with pytest.raises(ValueError, match=r"discount 0.9, got 0.5"):
        InvariantBonusShaper([{"name": "potential", "gamma": 0.5}], gamma=0.9)
    with pytest.raises(ValueError, match=r"gamma in \(0, 1\]"):
        InvariantBonusShaper([{"name": "rnd"}], gamma=0.0)
    shaper.bind(make("Chain-N10-v0"))
    zero = torch.zeros(1)
    replayed = Transition(
        obs=zero, state={}, action=zero, next_obs=zero, next_state={}, reward=zero, terminated=zero.bool(),
        truncated=zero.bool(), success=zero.bool(), env_id=None,
    )  # fmt: skip
    with pytest.raises(ValueError, match="keep the value that was collected"):
        shaper.shape(replayed)
