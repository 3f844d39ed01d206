import pickle

import numpy as np
import pytest
import torch
from gymnasium import spaces

import cairngym
from cairngym.envs.core import StateField, TensorEnv, World, clone, where
from cairngym.envs.goals import GoalTask
from cairngym.reward_shaping.llm.scripted import Lookahead, scripted
from cairngym.reward_shaping.llm.transitions import Recorded, radical_inverse, random_action, record_transitions


class Shift(World):
    """A number `(N,)` that the action is added to; odd envs begin at -2, even ones at 2."""

    def __init__(self, num_envs):
        self.num_envs, self.device = num_envs, torch.device("cpu")
        self.single_action_space = spaces.Box(np.float32([-1.0]), np.float32([0.5]))
        self.state_spec = {name: StateField(shape=(1,), unit="m", description="A place.") for name in ("place", "goal")}
        self.place = torch.zeros(num_envs, 1)

    def begin(self, mask, episodes):
        self.place = where(mask, 2.0 - 4.0 * (episodes.env_id % 2).unsqueeze(1).float(), self.place)

    def advance(self, action):
        self.place = self.place + action

    @property
    def state(self):
        return {"place": self.place, "goal": torch.zeros_like(self.place)}

    def get_state(self):
        return {"place": self.place.clone()}

    def set_state(self, snapshot):
        self.place = snapshot["place"].clone()


class Home(GoalTask):
    """Come to zero."""

    def __init__(self, horizon, terminates):
        super().__init__(
            observation_size=1, goal_size=1, threshold=0.4, horizon=horizon, reward_range=(-1.0, 0.0),
            terminate_on_success=terminates,
        )  # fmt: skip

    def features(self, state):
        return state["place"]

    achieved_goal = features


def make_shift(num_envs=4, horizon=20, terminates=False):
    return TensorEnv(Shift(num_envs), Home(horizon, terminates))


def home(state):
    return (-state["place"]).clamp(-1.0, 0.5)


def sequences(recorded):
    """The rows of each env, in time."""
    return torch.arange(len(recorded)).view(-1, recorded.num_envs).T


def test_rows_are_the_transitions_made():
    env = make_shift()
    recorded = record_transitions(env, 30, home)
    assert len(recorded) == 120
    assert torch.allclose(recorded.state["place"] + recorded.action, recorded.next_state["place"])
    assert torch.equal(recorded.reward, env.compute_reward(recorded.next_state["place"], recorded.next_state["goal"]))
    assert torch.equal(recorded.progress, env.progress(recorded.state))
    assert torch.equal(recorded.next_progress, env.progress(recorded.next_state))
    assert torch.equal(recorded.success, recorded.next_state["place"][:, 0].abs() < 0.4)
    assert not recorded.terminated.any()
    assert recorded.idle.tolist() == [0.0]
    for rows in sequences(recorded):
        lasts = recorded.episode[rows[1:]] == recorded.episode[rows[:-1]]
        before, after = recorded.next_state["place"][rows[:-1]], recorded.state["place"][rows[1:]]
        assert torch.equal(before[lasts], after[lasts])
        assert torch.equal(recorded.step[rows[1:]][lasts], recorded.step[rows[:-1]][lasts] + 1)
        assert (recorded.step[rows[1:]][~lasts] == 0).all()
        assert torch.equal(recorded.truncated[rows[:-1]], ~lasts)


def test_final_states_come_from_before_the_reset():
    recorded = record_transitions(make_shift(terminates=True), 40, home)
    ends = recorded.terminated
    assert int(ends.sum()) > 8
    assert (recorded.next_state["place"][ends].abs() < 0.4).all()
    assert (recorded.next_progress[ends] == 1.0).all()


def test_episodes_have_numbers_of_their_own_and_begin_with_step_zero():
    recorded = record_transitions(make_shift(horizon=7), 30)
    assert int((recorded.step == 0).sum()) == len(recorded.episode.unique()) == 4 * 5
    assert (recorded.step < 7).all()
    env_of = {int(number): int(row) % 4 for row, number in enumerate(recorded.episode)}
    assert all(int(number) % 4 == env for number, env in env_of.items())


def test_long_episodes_are_cut_without_being_marked_as_ended():
    recorded = record_transitions(make_shift(horizon=1000), 24)
    assert not recorded.truncated.any()
    assert recorded.step.max() == 11
    begins = recorded.step == 0
    assert torch.equal(begins.view(24, 4).all(1).nonzero().squeeze(1), torch.tensor([0, 12]))
    assert (recorded.state["place"][begins].abs() == 2.0).all()


def test_an_episode_within_the_recording_is_not_cut():
    recorded = record_transitions(make_shift(horizon=20), 24)
    assert recorded.step.max() == 19


def test_clumsiness_goes_from_none_up():
    recorded = record_transitions(make_shift(num_envs=8, horizon=1000), 200, home)
    followed = (recorded.action == home(recorded.state)).view(200, 8).float().mean(0)
    assert followed[0] == 1.0
    assert torch.allclose(followed, 1.0 - radical_inverse(8), atol=0.12)


def test_the_first_envs_live_the_same_lives_in_a_larger_recording():
    few, many = (record_transitions(make_shift(num), 30, home, seed=4) for num in (2, 6))
    for name, value in few.tensors().items():
        if name not in ("idle", "episode"):  # episodes are numbered by how many envs there are
            other = many.tensors()[name]
            assert torch.equal(value.view(30, 2, -1), other.view(30, 6, -1)[:, :2]), name
    again = record_transitions(make_shift(2), 30, home, seed=4)
    assert all(torch.equal(value, again.tensors()[name]) for name, value in few.tensors().items())
    other = record_transitions(make_shift(2), 30, home, seed=5)
    assert not torch.equal(few.action, other.action)


def test_recordings_are_capped():
    whole = record_transitions(make_shift(), 50)
    row = (whole.size - 4) // 50
    assert len(record_transitions(make_shift(), 50, max_bytes=10 * row)) == 40
    with pytest.raises(ValueError, match="two steps of 4 envs"):
        record_transitions(make_shift(), 50, max_bytes=row)
    with pytest.raises(ValueError, match="at least 2 steps"):
        record_transitions(make_shift(), 1)


def test_recordings_pickle_and_take_apart():
    recorded = record_transitions(make_shift(), 10)
    for again in (pickle.loads(pickle.dumps(recorded)), Recorded.from_tensors(recorded.tensors(), 4)):
        assert again.tensors().keys() == recorded.tensors().keys()
        assert all(torch.equal(value, again.tensors()[name]) for name, value in recorded.tensors().items())
    assert all(value.device.type == "cpu" for value in recorded.tensors().values())


def test_the_sparse_reward_is_recorded_where_the_env_is_shaped():
    env = cairngym.shape(cairngym.make("Chain-N10-v0", num_envs=3), "potential", gamma=0.9)
    recorded = record_transitions(env, 60, scripted(env))
    assert set(recorded.reward.unique().tolist()) == {0.0, 1.0}
    assert recorded.idle is None
    assert recorded.action.dtype is torch.int64


def test_random_actions_fill_their_space():
    draw = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    box = spaces.Box(np.float32([-1.0, 2.0]), np.float32([0.5, 3.0]))
    actions = random_action(box, draw)
    assert torch.allclose(actions.amin(0), torch.tensor([-1.0, 2.0]), atol=0.01)
    assert torch.allclose(actions.amax(0), torch.tensor([0.5, 3.0]), atol=0.01)
    free = random_action(spaces.Box(-np.inf, np.inf, (2,), np.float32), draw)
    assert free.abs().max() <= 1.0
    some = random_action(spaces.Discrete(3, start=-1), draw)
    assert some.unique().tolist() == [-1, 0, 1]
    with pytest.raises(TypeError, match="MultiBinary"):
        random_action(spaces.MultiBinary(2), draw)


def test_the_radical_inverse_reverses_bits():
    for index, value in enumerate(radical_inverse(64).tolist()):
        assert value == int(f"{index:06b}"[::-1], 2) / 64


# Policies -------------------------------------------------------------------------------------------------------------


def test_looking_ahead_solves_a_chain_and_leaves_the_env_as_it_was():
    env = cairngym.make("Chain-N10-v0", num_envs=2)
    env.reset(seed=0)
    policy = scripted(env)
    assert isinstance(policy, Lookahead)
    before = clone(env.get_state())
    assert policy(env.state).tolist() == [1, 1]
    after = env.get_state()
    assert torch.equal(before["world"]["node"], after["world"]["node"])
    assert torch.equal(before["episodes"]["length"], after["episodes"]["length"])
    recorded = record_transitions(env, 18, policy)
    assert int(recorded.success[::2].sum()) == 2  # nine steps each


@pytest.mark.parametrize("env_id", ["MiniGrid-DoorKey-5x5-v0", "MiniGrid-MultiRoom-N2-S4-v0"])
def test_looking_ahead_solves_minigrid(env_id):
    env = cairngym.make(env_id, num_envs=2, bank_size=64)
    recorded = record_transitions(env, 80, scripted(env))
    assert int(recorded.success[::2].sum()) >= 1
    assert (recorded.next_progress[recorded.success] == 1.0).all()
    assert recorded.state["grid"].dtype is torch.uint8


@pytest.mark.parametrize("env_id", ["FetchReach-v4", "PointMaze_UMaze-v3", "StlLinear-Sequence-v0"])
def test_scripted_policies_bring_successes(env_id):
    env = cairngym.make(env_id, num_envs=4)
    recorded = record_transitions(env, 150, scripted(env))
    assert int(recorded.success.sum()) > 2
    assert recorded.next_progress.max() > 0.99
    assert int((recorded.step == 0).sum()) >= 8


@pytest.mark.parametrize("env_id", ["FetchSlide-v4", "AntMaze_UMaze-v4"])
def test_where_nobody_wrote_a_policy_there_is_none(env_id):
    assert scripted(cairngym.make(env_id)) is None


def test_continuous_actions_cannot_be_looked_ahead_by():
    with pytest.raises(TypeError, match="discrete"):
        Lookahead(make_shift())
