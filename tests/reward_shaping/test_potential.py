import pytest
import torch

from cairngym.envs.core import TensorEnv, Transition
from cairngym.envs.registry import make
from cairngym.envs.tabular import TabularTask, TabularWorld
from cairngym.reward_shaping.potential import PotentialShaper
from cairngym.reward_shaping.registry import shape


def transition(before, after, terminated=False, truncated=False):
    state, next_state = ({"level": torch.tensor([value])} for value in (before, after))
    flag = torch.tensor([False])
    return Transition(
        obs=flag, state=state, action=flag, next_obs=flag, next_state=next_state, reward=torch.zeros(1),
        terminated=flag | terminated, truncated=flag | truncated, success=flag, env_id=None,
    )  # fmt: skip


def level(state):
    return state["level"]


@pytest.mark.parametrize(
    ("offset", "scale", "flags", "expected"),
    [
        ("zero", 1.0, {}, 0.9 * 0.75 - 0.25),
        ("goal", 1.0, {}, 0.9 * (0.75 - 1) - (0.25 - 1)),
        (0.5, 2.0, {}, 0.9 * 2.5 - 1.5),
        ("zero", 1.0, {"terminated": True}, -0.25),
        ("goal", 1.0, {"terminated": True}, 0.75),
        ("zero", 1.0, {"truncated": True}, 0.9 * 0.75 - 0.25),
        ("zero", 1.0, {"terminated": True, "truncated": True}, -0.25),
    ],
)
def test_by_hand(offset, scale, flags, expected):
    shaper = PotentialShaper(gamma=0.9, potential=level, offset=offset, scale=scale)
    assert shaper.shape(transition(0.25, 0.75, **flags)).tolist() == pytest.approx([expected])


def test_keep_is_the_naive_variant_and_says_so():
    naive = PotentialShaper(gamma=0.9, potential=level, scale=1.0, terminal="keep")
    assert naive.shape(transition(0.25, 0.75, terminated=True)).tolist() == pytest.approx([0.9 * 0.75 - 0.25])
    assert not naive.policy_invariant
    assert PotentialShaper().policy_invariant


def test_a_time_limit_bootstraps_to_the_value_of_an_episode_that_goes_on():
    # V(s_T) = 10, Phi(s_T) = 4, Phi(s_0) = 1: the target must be gamma V - Phi(s_0), as if there were no limit.
    shaper = PotentialShaper(gamma=0.99, potential=level, scale=1.0)
    target = shaper.shape(transition(1.0, 4.0, truncated=True)) + 0.99 * (10 - 4)
    assert target.tolist() == pytest.approx([8.9])
    assert (shaper.shape(transition(1.0, 4.0, terminated=True)) + 0.99 * 6).tolist() == pytest.approx([4.94])


def wandering_world(num_envs):
    """Five states at random, of which 3 is the goal and 4 is lost."""
    moves = torch.rand(5, 3, 5, generator=torch.Generator().manual_seed(1)).softmax(-1)
    start = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0])
    task = TabularTask(5, (3,), failures=(4,), horizon=6, potential=torch.tensor([0.1, 0.4, 0.7, 1.0, 0.2]))
    return TensorEnv(TabularWorld(moves, start, num_envs, "cpu"), task)


@pytest.mark.parametrize("offset", ["goal", "zero", 0.3])
def test_terms_telescope_along_every_episode(offset):
    gamma, count = 0.9, 64
    env = shape(wandering_world(count), "potential", gamma=gamma, offset=offset)
    phi = env.terms[0].shaper.phi
    env.reset(seed=0)
    total, power, first = torch.zeros(count), torch.ones(count), phi(env.state)
    ends = {"terminated": 0, "truncated": 0}
    for action in torch.randint(3, (60, count), generator=torch.Generator().manual_seed(0)):
        _, _, terminated, truncated, info = env.step(action)
        total, power = total + power * info["reward_terms"]["potential"], power * gamma
        last = torch.where(terminated, 0.0, phi(info["final_state"]))
        torch.testing.assert_close(total, power * last - first, atol=1e-5, rtol=0)
        done = terminated | truncated
        ends["terminated"] += int(terminated.sum())
        ends["truncated"] += int((truncated & ~terminated).sum())
        total, power = total.masked_fill(done, 0.0), power.masked_fill(done, 1.0)
        first = torch.where(done, phi(env.state), first)
    assert min(ends.values()) > 20


def test_goal_offset_has_no_cliff_at_success():
    env = shape(make("Chain-N10-v0"), "potential", gamma=1.0, offset="goal", scale=1.0)
    env.reset(seed=0)
    terms = [float(env.step([1])[4]["reward_terms"]["potential"]) for _ in range(9)]
    assert terms == pytest.approx([1 / 9] * 9)


def test_it_reads_only_the_fields_the_task_declares():
    env = make("Chain-N10-v0")
    assert PotentialShaper(requires=["a", "b"]).requires == ("a", "b")
    assert shape(env, "potential").terms[0].shaper.requires == ("node",), "all fields when none are declared"
    env.task.progress_fields = ("elsewhere",)
    with pytest.raises(ValueError, match="elsewhere"):
        shape(env, "potential")
    own = shape(env, "potential", potential=lambda state: state["node"] / 9, requires=["node"], scale=1.0, gamma=1)
    own.reset(seed=0)
    assert float(own.step([1])[1]) == pytest.approx(1 / 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.0}, r"gamma in \(0, 1\]"),
        ({"gamma": 1.1}, r"gamma in \(0, 1\]"),
        ({"gamma": float("nan")}, r"gamma in \(0, 1\]"),
        ({"scale": 0.0}, "positive scale"),
        ({"offset": "gaol"}, "'goal', 'zero' or a number"),
        ({"offset": float("inf")}, "finite offset"),
        ({"terminal": "maybe"}, "'zero' or 'keep'"),
        ({"potential": "distance"}, "function of the state"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PotentialShaper(**options)


def test_progress_needs_an_env():
    with pytest.raises(RuntimeError, match="bind"):
        PotentialShaper().shape(transition(0.0, 1.0))


def learn(shaper, reward, pit, steps, learners=40):
    """Median steps until Q-learners, whose values start at zero, would walk a corridor of ten cells to its end.

    Action 0 goes left, 1 right and, if there are pits, 2 falls into one, which ends the episode.
    """
    draws = torch.Generator().manual_seed(0)
    actions, rows = 2 + pit, torch.arange(learners)
    values = torch.zeros(learners, 10, actions)
    cell, age = torch.zeros(learners, dtype=torch.int64), torch.zeros(learners)
    solved = torch.full((learners,), float("inf"))
    for step in range(1, steps + 1):
        greedy = (values[rows, cell] + 1e-6 * torch.rand(learners, actions, generator=draws)).argmax(1)
        explored = torch.randint(actions, (learners,), generator=draws)
        action = torch.where(torch.rand(learners, generator=draws) < 0.1, explored, greedy)
        after = torch.where(action == 2, cell, (cell + 2 * (action == 1) - 1).clamp(0, 9))
        success, over = after == 9, (after == 9) | (action == 2)
        paid = reward * success
        if shaper is not None:
            flags = {"terminated": over, "truncated": over & False, "success": success}
            nothing = torch.zeros(learners)
            moved = Transition(
                obs=nothing, state={"level": cell / 9}, action=action, next_obs=nothing,
                next_state={"level": after / 9}, reward=nothing, env_id=None, **flags,
            )  # fmt: skip
            paid = paid + shaper.shape(moved)
        target = paid + 0.99 * torch.where(over, 0.0, values[rows, after].amax(1))
        values[rows, cell, action] += 0.2 * (target - values[rows, cell, action])
        age += 1
        done = over | (age >= 40)
        cell, age = after.masked_fill(done, 0), age.masked_fill(done, 0)
        if step % 50 == 0:
            walks = (values[:, :9].argmax(2) == 1).all(1)
            solved = torch.where(walks & solved.isinf(), float(step), solved)
    return float(solved.median())


def test_what_the_offset_does_to_a_learner_that_starts_from_zero():
    def steps(offset, scale, reward, pit):
        shaper = PotentialShaper(gamma=0.99, potential=level, offset=offset, scale=scale)
        return learn(shaper, reward, pit, steps=1500)

    sparse = learn(None, 1.0, False, steps=1500)
    assert steps("goal", 1.0, 0.3, pit=False) < sparse / 2, "no cliff at success, however small its reward"
    assert steps("zero", 1.0, 0.3, pit=False) == float("inf"), "success pays 0.3 - Phi < 0"
    assert steps("zero", 0.3, 0.3, pit=False) < sparse / 2
    assert steps("goal", 1.0, 1.0, pit=True) == float("inf"), "falling pays -Phi > 0"
    assert steps("zero", 0.3, 0.3, pit=True) < sparse / 2, "0 <= Phi <= r: neither"
