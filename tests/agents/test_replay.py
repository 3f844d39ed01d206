import numpy as np
import pytest
import torch
from agent_toys import identity, tracking
from goal_toys import make_line
from hypothesis import given, settings
from hypothesis import strategies as st
from replay_toys import equal, make_record, make_replay, play, samples, walk
from scipy.stats import chisquare
from torch.utils._python_dispatch import TorchDispatchMode

from cairngym.agents.hindsight import Hindsight
from cairngym.agents.replay import Replay, record_step
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.potential import PotentialShaper

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True)


# n-step returns worked out by hand; rows are (step, goal, reward, step before the next observation, discount) ---------


def test_n_step_returns_of_a_truncated_episode():
    # Goal 2 is met after step 1 only: rewards -1, 0, -1, -1; gamma 0.5.
    assert samples(walk([0, 1, 2, 3, 4], 2, n_step=3, truncated=True)) == {
        (0, 2, -1.25, 2, 0.125),  # -1 + 0 - 1/4
        (1, 2, -0.75, 3, 0.125),  # 0 - 1/2 - 1/4
        (2, 2, -1.5, 3, 0.25),  # two steps to the end, which is no terminal
        (3, 2, -1.0, 3, 0.5),
    }


def test_n_step_returns_of_a_terminated_episode():
    assert samples(walk([0, 1, 2, 3, 4], 2, n_step=3, failed=True)) == {
        (0, 2, -1.25, 2, 0.125), (1, 2, -0.75, 3, 0.0), (2, 2, -1.5, 3, 0.0), (3, 2, -1.0, 3, 0.0),
    }  # fmt: skip


def test_termination_wins_over_truncation():
    assert samples(walk([0, 1], 9, failed=True, truncated=True)) == {(0, 9, -1.0, 0, 0.0)}


def test_a_window_stops_at_the_newest_step_written():
    assert samples(walk([0, 1, 2], 9, n_step=5)) == {(0, 9, -1.5, 1, 0.25), (1, 9, -1.0, 1, 0.5)}


def test_a_window_does_not_cross_the_write_head_of_a_wrapped_ring():
    # Four slots for six steps: slots hold 4, 5, 2, 3; after 5 comes the old slot of 2.
    assert samples(walk([0, 1, 2, 3, 4, 5, 6], 9, n_step=3, capacity=4)) == {
        (2, 9, -1.75, 4, 0.125), (3, 9, -1.75, 5, 0.125), (4, 9, -1.5, 5, 0.25), (5, 9, -1.0, 5, 0.5),
    }  # fmt: skip


def test_a_window_does_not_cross_into_the_next_episode():
    env = make_line(1, size=9.0)
    replay = make_replay(env, n_step=2)
    replay.add(make_record(env, [0], [0], [1], [9], truncated=[True]))
    replay.add(make_record(env, [1], [4], [5], [9]))
    replay.add(make_record(env, [2], [5], [6], [9]))
    replay.cut()
    replay.cut()
    replay.add(make_record(env, [3], [0], [1], [7]))
    assert samples(replay) == {
        (0, 9, -1.0, 0, 0.5), (1, 9, -1.5, 2, 0.25), (2, 9, -1.0, 2, 0.5), (3, 7, -1.0, 3, 0.5),
    }  # fmt: skip


def test_the_true_final_observation_is_kept_and_not_the_reset_one():
    env = make_line(3, horizon=4)
    replay = make_replay(env)
    play(replay, env, 40)
    batch = replay.sample(500)
    moved = batch.obs["achieved_goal"] + batch.action
    assert torch.equal(batch.next_obs["achieved_goal"], moved.clamp(-5.0, 5.0))
    assert (batch.discount == 0.5).all()


# Everything against lists ---------------------------------------------------------------------------------------------


class Lists:
    """Every step of every env in Python lists, and what a sample may be."""

    def __init__(self, env, gamma, n_step, strategy, length):
        self.env, self.gamma, self.n_step, self.strategy, self.length = env, gamma, n_step, strategy, length
        self.lives = [[[]] for _ in range(env.num_envs)]
        self.written = 0

    def add(self, number, after, goal, failed, done):
        for i, life in enumerate(self.lives):
            life[-1].append((number[i], after[i], goal[i], failed[i], self.written))
            if done[i]:
                life.append([])
        self.written += 1

    def cut(self):
        for life in self.lives:
            if life[-1]:
                life.append([])

    def find(self, number):
        for life in self.lives:
            for episode in life:
                for k, step in enumerate(episode):
                    if step[0] == number:
                        return episode, k
        raise AssertionError(f"{number} was never written")

    def goals(self, episode, k):
        """The goals that hindsight may put in at step k of an episode."""
        held = [step for step in episode if step[4] >= self.written - self.length]
        sources = {"none": [], "future": episode[k:], "final": episode[-1:], "episode": held}[self.strategy]
        return {step[1] for step in sources}

    def explain(self, number, goal, ratio):
        """Reward, discount and the number shown after it, of a sample that starts at `number` with `goal`."""
        episode, k = self.find(number)
        assert episode[k][4] >= self.written - self.length, f"{number} was overwritten"
        allowed = self.goals(episode, k)
        assert goal in (allowed if ratio == 1.0 and allowed else allowed | {episode[k][2]})
        total, taken = 0.0, 0
        for shown, after, _, failed, _ in episode[k : k + self.n_step]:
            reached = abs(after - goal) <= 0.5
            total += self.gamma**taken * (0.0 if reached else -1.0)
            taken += 1
            if failed or (reached and self.env.task.terminate_on_success):
                return total, 0.0, shown
        return total, self.gamma**taken, shown


@st.composite
def lives(draw):
    """A replay and the lists of the same random steps."""
    num_envs, length = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    ends, strategy = draw(st.booleans()), draw(st.sampled_from(["none", "future", "final", "episode"]))
    n_step, ratio = draw(st.integers(1, 4)), draw(st.sampled_from([1.0, 0.5]))
    rarity, event = draw(st.sampled_from([0.0, 0.1, 0.4, 0.9])), draw(st.sampled_from([0.0, 0.1, 0.4]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    env = make_line(num_envs, size=9.0, terminate_on_success=ends)
    options = {"capacity": length * num_envs, "gamma": 0.5, "n_step": n_step, "strategy": strategy, "ratio": ratio}
    replay, lists = make_replay(env, **options), Lists(env, 0.5, n_step, strategy, length)
    goal = random.integers(-2, 3, num_envs).astype(float)
    for step in range(draw(st.integers(1, 24))):
        number = 1000.0 * np.arange(num_envs) + step
        before, after = random.integers(-2, 3, (2, num_envs)).astype(float)
        failed, truncated = random.random((2, num_envs)) < rarity / 2
        record = make_record(env, number, before, after, goal, failed=failed, truncated=truncated)
        replay.add(record)
        done = failed | truncated | (ends & (after == goal))
        lists.add(number, after, goal, failed, done)
        goal = np.where(done, random.integers(-2, 3, num_envs), goal)
        if random.random() < event:
            for _ in range(random.integers(1, 12)):
                replay.cut()
                lists.cut()
            goal = random.integers(-2, 3, num_envs).astype(float)
        if random.random() < event:
            snapshot, replay = replay.get_state(), make_replay(env, **options)
            for _ in range(random.integers(0, 12)):  # what it held before must not matter
                replay.add(record._replace(truncated=torch.ones(num_envs, dtype=torch.bool)))
            replay.set_state(snapshot)
    return replay, lists, ratio


@SETTINGS
@given(lives())
def test_every_sample_is_explained_by_lists_of_all_episodes(life):
    replay, lists, ratio = life
    assert replay.size == min(lists.written, lists.length) * replay.env.num_envs
    for number, goal, reward, after, discount in samples(replay, 64):
        assert (reward, discount, after) == lists.explain(number, goal, ratio)


# Sampling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [5, 11], ids=["filling", "wrapped"])
def test_transitions_are_drawn_uniformly(steps):
    env = make_line(4, size=9.0)
    replay = make_replay(env, capacity=31)
    assert replay.ring.length == 7
    for k in range(steps):
        number = [k, 100 + k, 200 + k, 300 + k]
        replay.add(make_record(env, number, [0] * 4, [1] * 4, [9] * 4, truncated=[k % 3 == 0] * 4))
    drawn, counts = replay.sample(20_000).obs["observation"].unique(return_counts=True)
    held = range(max(0, steps - 7), steps)
    assert drawn.tolist() == sorted(100.0 * i + k for i in range(4) for k in held)
    assert replay.size == 4 * len(held)
    assert chisquare(counts.numpy()).pvalue > 1e-3


class Ops(TorchDispatchMode):
    """What is computed: its name, and how many numbers it makes and reads (views and look-ups of rows apart)."""

    def __init__(self):
        super().__init__()
        self.names, self.touched = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.names.add(func.overloadpacket.__name__)
        if func.is_view:
            return out
        lookup = func.overloadpacket.__name__ == "index_select"
        read = [] if lookup else [a for a in args if isinstance(a, torch.Tensor)]
        self.touched += sum(t.numel() for t in (*read, out) if isinstance(t, torch.Tensor))
        return out


@pytest.mark.parametrize("shaped", [False, True])
def test_sampling_touches_as_much_whatever_is_held_and_waits_for_nothing(shaped):
    touched = []
    for capacity in (16, 512):
        env = make_line(4)
        env = ShapedEnv(env, [Term(name="potential", shaper=PotentialShaper(gamma=0.5))]) if shaped else env
        replay = make_replay(env, capacity=capacity, n_step=3, strategy="episode", ratio=0.8)
        play(replay, env, capacity // 4 + 3)
        with Ops() as ops:
            replay.sample(16)
        touched.append(ops.touched)
        assert {"randint", "index_select"} <= ops.names
        # These read a value back to the host, which on a GPU waits for it.
        assert not ops.names & {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero"}
    assert touched[0] == touched[1]


def test_the_same_draws_follow_a_snapshot_bit_for_bit():
    env = make_line(3, horizon=2, terminate_on_success=True)
    for steps in (4, 50):  # partly filled, and wrapped
        replay = make_replay(env, capacity=60, n_step=2, strategy="episode", ratio=0.8)
        play(replay, env, steps)
        snapshot = replay.get_state()
        assert len(snapshot["ring"]["columns"]["reward"]) == min(steps, 20)
        twin = make_replay(env, capacity=60, n_step=2, strategy="episode", ratio=0.8, seed=9)
        play(twin, env, 50, seed=7)
        first = replay.sample(64)
        play(replay, env, 5, seed=3)
        then = replay.sample(64)
        twin.set_state(snapshot)
        assert all(equal(a, b) for a, b in zip(first, twin.sample(64), strict=True))
        play(twin, env, 5, seed=3)
        assert all(equal(a, b) for a, b in zip(then, twin.sample(64), strict=True))


def test_an_empty_replay_has_a_snapshot_too():
    env = make_line(2)
    replay, twin = make_replay(env), make_replay(env)
    play(twin, env, 3)
    twin.set_state(replay.get_state())
    assert twin.size == 0
    play(twin, env, 3)
    assert twin.size == 6


def test_entries_keep_their_shape_and_type_without_a_dict_of_goals():
    for env, dtype in ((identity(3), torch.int64), (tracking(3), torch.float32)):
        replay = Replay(env, capacity=30, gamma=0.9, generator=torch.Generator().manual_seed(0))
        obs, _ = env.reset()
        action = torch.zeros(3, dtype=torch.int64) if isinstance(obs, dict) else torch.zeros(3, 1)
        replay.add(record_step(env, obs, {}, action, env.step(action)))
        batch = replay.sample(8)
        shown = batch.obs["code"] if isinstance(obs, dict) else batch.obs
        assert (shown.dtype, shown.shape, batch.action.dtype) == (dtype, (8, 1), action.dtype)
        assert equal(batch.discount, torch.full((8,), 0.9))


# Bad input ------------------------------------------------------------------------------------------------------------


def test_bad_options_say_what_was_expected():
    env = make_line(8)
    with pytest.raises(ValueError, match="got 7 for 8 envs"):
        make_replay(env, capacity=7)
    with pytest.raises(ValueError, match="n_step >= 1"):
        make_replay(env, n_step=0)
    with pytest.raises(ValueError, match="gamma"):
        make_replay(env, gamma=1.5)
    with pytest.raises(ValueError, match="demonstration_ratio"):
        make_replay(env, demonstration_ratio=-0.5)


def test_an_empty_replay_and_an_empty_batch_are_refused():
    replay = make_replay(make_line(2))
    with pytest.raises(ValueError, match="got 4 of 0"):
        replay.sample(4)
    replay = walk([0, 1], 9)
    with pytest.raises(ValueError, match="got 0 of 1"):
        replay.sample(0)


def test_a_record_of_other_shape_or_names_is_refused():
    env = make_line(2)
    replay = make_replay(env)
    record = make_record(env, [0, 0], [0, 0], [1, 1], [9, 9])
    replay.add(record)
    with pytest.raises(ValueError, match="Expected 'action' of a step of shape"):
        replay.add(record._replace(action=torch.zeros(1, 1)))
    with pytest.raises(ValueError, match="'obs' of a step with the entries"):
        replay.add(record._replace(obs={"observation": torch.zeros(2, 1)}))
    with pytest.raises(ValueError, match="with the entries"):
        replay.add(record._replace(state={"position": torch.zeros(2, 1)}))


def test_a_snapshot_of_another_size_is_refused():
    replay = make_replay(make_line(2), capacity=20)
    for other in (make_replay(make_line(2), capacity=30), make_replay(make_line(4), capacity=40)):
        with pytest.raises(ValueError, match="same capacity and num_envs"):
            other.set_state(replay.get_state())


def test_success_may_be_left_out_of_a_record_where_rewards_tell():
    env = make_line(2, terminate_on_success=True)
    told, untold = (make_replay(env, strategy="episode", n_step=2) for _ in range(2))
    for k in range(3):
        record = make_record(env, [k, k], [k, 0], [k + 1, 1], [2, 9], failed=[False, k == 2])
        told.add(record)
        untold.add(record._replace(success=None))
    assert samples(told) == samples(untold)
    assert told.hindsight == Hindsight(strategy="episode", ratio=1.0)
