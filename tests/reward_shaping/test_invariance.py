import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cairngym.envs.core import TensorEnv
from cairngym.envs.registry import make
from cairngym.envs.tabular import TabularTask, TabularWorld
from cairngym.reward_shaping.composition import SumShaper
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.curiosity.count import CountShaper
from cairngym.reward_shaping.invariance import Model, check_policy_invariance, dead_end_world
from cairngym.reward_shaping.potential import PotentialShaper
from cairngym.reward_shaping.registry import shape


def random_world(seed, states=6, actions=3):
    """Sparse random moves; the last state is the goal, the one before is lost."""
    draws = torch.Generator().manual_seed(seed)
    weights = torch.rand(states, actions, states, generator=draws).pow(4)
    weights[weights < 0.15] = 0.0
    weights[..., 0] += 1e-3
    moves = weights / weights.sum(-1, keepdim=True)
    start = torch.full((states,), 1.0 / states)
    potential = torch.rand(states, generator=draws)
    potential[-1] = 1.0
    return TabularWorld(moves, start, 1, "cpu"), TabularTask(
        states, (states - 1,), failures=(states - 2,), potential=potential
    )


class AtTheLimit(PotentialShaper):
    """Forgets the potential at time limits as well."""

    def shape(self, transition):
        over = (transition.truncated | transition.terminated).float()
        return self.gamma * self.phi(transition.next_state) * (1 - over) - self.phi(transition.state)


class Visits(Shaper):
    """A bonus that is no potential: states of even number."""

    def shape(self, transition):
        return (transition.next_obs.argmax(1) % 2 == 0).float()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    gamma=st.sampled_from([0.5, 0.9, 0.97]),
    offset=st.sampled_from(["goal", "zero", -0.4, 3.0]),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_the_potential_keeps_the_optimal_policies_of_random_worlds(seed, gamma, offset, scale):
    world, task = random_world(seed)
    report = check_policy_invariance(PotentialShaper(gamma=gamma, offset=offset, scale=scale), world, task, gamma)
    assert report.invariant, report
    assert report.states == ()
    assert report.truncation == 0.0


def test_the_naive_variant_prefers_the_dead_end():
    world, task = dead_end_world()
    naive = PotentialShaper(gamma=0.99, scale=1.0, terminal="keep")
    report = check_policy_invariance(naive, world, task, gamma=0.99)
    assert not report
    assert report.states == (0,)
    assert report.regret == pytest.approx(1.0), "the whole task reward"
    assert report.missed == pytest.approx(2.97 - 1.0)
    assert report.failure_gain == pytest.approx(2.97)
    assert check_policy_invariance(PotentialShaper(gamma=0.99, scale=1.0), world, task, gamma=0.99)


def test_the_naive_variant_is_caught_on_random_worlds_too():
    caught = [
        not check_policy_invariance(
            PotentialShaper(gamma=0.9, offset="zero", scale=10.0, terminal="keep"), *random_world(seed), 0.9
        )
        for seed in range(10)
    ]
    assert sum(caught) >= 3


def test_forgetting_the_potential_at_time_limits_is_caught():
    world, task = random_world(0)
    report = check_policy_invariance(AtTheLimit(gamma=0.9, scale=1.0), world, task, gamma=0.9)
    assert not report
    assert report.regret < 1e-3, "without limits it is right"
    assert report.truncation == pytest.approx(0.9 * float(task.potential[:-2].max()), abs=1e-5)


def test_another_discount_than_the_agents_is_caught():
    world, task = random_world(3)
    assert not check_policy_invariance(PotentialShaper(gamma=0.5, scale=10.0), world, task, gamma=0.9)


def test_keeping_the_potential_with_the_goal_offset_is_a_penalty_for_failing():
    # A sure way through the state of potential 0 against a gamble that is lost half of the time.
    moves = torch.zeros(4, 2, 4)
    moves[0, 0, 2], moves[0, 0, 3], moves[0, 1, 1] = 0.5, 0.5, 1.0
    moves[1, :, 1] = 0.6
    moves[1, :, 3] = 0.4
    moves[2, :, 2] = moves[3, :, 3] = 1.0
    world = TabularWorld(moves, torch.tensor([1.0, 0.0, 0.0, 0.0]), 1, "cpu")
    task = TabularTask(4, (3,), failures=(2,), potential=torch.tensor([0.0, 0.0, 0.0, 1.0]))
    gamma = 0.5  # gamble 0.5; sure way 0.5 x 0.4 / (1 - 0.3) = 0.286
    options = {"gamma": gamma, "offset": "goal", "scale": 1.0}
    free = check_policy_invariance(PotentialShaper(**options), world, task, gamma)
    assert free
    assert free.failure_gain == pytest.approx(1.0), "dying early pays -Phi"
    penalised = check_policy_invariance(PotentialShaper(**options, terminal="keep"), world, task, gamma)
    assert not penalised
    assert penalised.failure_gain == pytest.approx(0.5), "what standing still pays"


@pytest.mark.parametrize(
    ("offset", "scale", "failure", "success"),
    [("goal", 1.0, 0.5, 1.5), ("zero", 1.0, -0.5, 0.5), ("zero", 0.4, -0.2, 0.8)],
)
def test_what_ends_pay_at_first(offset, scale, failure, success):
    world, task = dead_end_world()
    task.potential = torch.tensor([0.5, 0.0, 1.0])
    report = check_policy_invariance(PotentialShaper(offset=offset, scale=scale), world, task, 0.99)
    assert report
    assert (report.failure_gain, report.success_gain) == pytest.approx((failure, success))


def test_bonuses_are_no_potentials():
    world, task = random_world(1)
    assert not check_policy_invariance(Visits(), world, task, gamma=0.9)
    assert check_policy_invariance(Visits(), world, task, gamma=0.9, weight=1e-6)
    with pytest.raises(ValueError, match="keeps memory"):
        check_policy_invariance(CountShaper(), world, task, gamma=0.9)
    with pytest.raises(ValueError, match=r"gamma in \(0, 1\)"):
        check_policy_invariance(Visits(), world, task, gamma=1.0)


def test_what_was_learned_is_judged_as_it_stands():
    world, task = random_world(2)
    counter = CountShaper(mode="lifelong")
    fresh = check_policy_invariance(counter, world, task, gamma=0.9)
    counter._table[counter.slot({"node": torch.arange(6)})] = 10**8
    worn = check_policy_invariance(counter, world, task, gamma=0.9, bind=False)
    assert not fresh
    assert worn


def test_a_sum_of_potentials_is_one():
    world, task = random_world(4)
    first = {"name": "potential", "gamma": 0.9, "weight": 3.0}
    both = SumShaper([first, {**first, "term": "other", "offset": "zero", "weight": -1.0}])
    assert both.policy_invariant
    assert check_policy_invariance(both, world, task, gamma=0.9)


def test_value_iteration_against_a_closed_form():
    env = make("Chain-N10-v0")
    model = Model(
        transitions=env.world.transitions.double(),
        reward=(torch.arange(10) == 9).double().expand(10, 2, 10),
        terminal=torch.arange(10) == 9,
        gamma=0.9,
    )
    best, actions = model.optimal(1e-9)
    torch.testing.assert_close(best[:9], 0.9 ** torch.arange(8, -1, -1).double())
    assert actions[:9].tolist() == [[False, True]] * 9
    left = torch.tensor([[True, False]]).expand(10, 2)
    torch.testing.assert_close(model.regret(left)[:9], best[:9])


@pytest.mark.parametrize("offset", ["goal", "zero"])
def test_learned_values_under_time_limits_give_the_sparse_policy(offset):
    """Q-learning on real episodes, bootstrapped at time limits and not at ends, as the agents do."""
    gamma, count = 0.9, 512
    world, task = random_world(7)
    task.horizon = 3
    learned = TensorEnv(TabularWorld(world.transitions, world.initial, count, "cpu"), task)
    env = shape(learned, "potential", gamma=gamma, offset=offset)
    env.reset(seed=0)
    totals, visits = torch.zeros(6, 3), torch.zeros(6, 3)
    q = torch.zeros(6, 3)
    for sweep in range(60):
        totals.zero_()
        visits.zero_()
        for action in torch.randint(3, (20, count), generator=torch.Generator().manual_seed(sweep)):
            node = env.state["node"]
            _, reward, terminated, _, info = env.step(action)
            ahead = torch.where(terminated, 0.0, q[info["final_state"]["node"]].amax(1))
            index = (node, action)
            totals.index_put_(index, reward + gamma * ahead, accumulate=True)
            visits.index_put_(index, torch.ones(count), accumulate=True)
        rate = 1.0 if sweep < 30 else 1.0 / (sweep - 28)
        q = torch.where(visits > 0, q + rate * (totals / visits.clamp(min=1) - q), q)
    model = Model(
        transitions=world.transitions.double(),
        reward=(torch.arange(6) == 5).double().expand(6, 3, 6),
        terminal=torch.arange(6) >= 4,
        gamma=gamma,
    )
    chosen = torch.nn.functional.one_hot(q.argmax(1), 3).bool()
    assert float(model.regret(chosen).max()) < 0.02
    phi = env.terms[0].shaper.phi({"node": torch.arange(4)})
    torch.testing.assert_close(q[:4].amax(1), model.solve()[:4].amax(1).float() - phi, atol=0.05, rtol=0)
