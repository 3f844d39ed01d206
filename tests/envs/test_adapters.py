"""Adapters against the envs they adapt, and against the contract."""

import warnings

import contract
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from toy_worlds import make_line

import cairngym
from cairngym.envs.adapters import NumpyVectorEnv, SingleEnv, make_single, make_vector


def test_single_is_the_first_of_many():
    one = make_single("Chain-N10-v0", length=4)
    obs, info = one.reset(seed=3)
    assert obs.tolist() == [1, 0, 0, 0]
    assert info == {"success": False, "is_success": False}
    for _ in range(2):
        assert one.step(1)[1:4] == (0.0, False, False)
    obs, reward, terminated, truncated, info = one.step(np.int64(1))
    assert obs.tolist() == [0, 0, 0, 1]  # the terminal observation, not the next episode's first
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info == {"success": True, "is_success": True}
    assert one.reset()[0].tolist() == [1, 0, 0, 0]
    assert one.step(0)[1:4] == (0.0, False, False)


def test_single_truncates_at_the_limit():
    one = make_single("Chain-N10-v0", length=2)
    one.reset(seed=0)
    assert [one.step(0)[2:4] for _ in range(8)] == [(False, False)] * 7 + [(False, True)]


def test_single_box_env_is_reproducible_and_renders():
    one, two = SingleEnv(make_line(autoreset_mode="Disabled")), SingleEnv(make_line(autoreset_mode="Disabled"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(one)
    one.reset(seed=8)
    two.reset(seed=8)
    for _ in range(5):
        action = one.action_space.sample()
        a, b = one.step(action), two.step(action)
        assert np.array_equal(a[0]["where"], b[0]["where"])
    assert one.render().shape == (4, 4, 3)
    snapshot = one.get_state()
    after = one.step(action)[0]["where"]
    one.set_state(snapshot)
    assert one.step(action)[0]["where"] == after


def test_gymnasium_makes_and_checks_the_chain():
    env = gymnasium.make("cairngym/Chain-N10-v0", render_mode="rgb_array")
    assert env.spec.id == "cairngym/Chain-N10-v0"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("cairngym/Chain-N10-v0").unwrapped)


def test_gymnasium_wrappers_find_what_they_need():
    env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("cairngym/Chain-N10-v0", length=3))
    env.reset(seed=0)
    env.step(1)
    assert env.step(1)[4]["episode"]["r"] == 1.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SingleEnv(make_line(2, autoreset_mode="Disabled")), ValueError, "num_envs=1, got 2"),
        (lambda: SingleEnv(make_line(1)), ValueError, "autoreset_mode='Disabled', got 'SameStep'"),
        (lambda: make_single("Chain-N10-v0", num_envs=2), TypeError, "no num_envs"),
        (lambda: make_single("Chain-N10-v0", render_mode="human"), ValueError, "'rgb_array' or None, got 'human'"),
        (lambda: make_vector("Chain-N10-v0", render_mode="human"), ValueError, "'rgb_array' or None, got 'human'"),
    ],
)
def test_bad_requests(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_make_vec_gives_tensors():
    env = gymnasium.make_vec("cairngym/Chain-N10-v0", num_envs=8, device="cpu", seed=3, autoreset_mode="NextStep")
    assert isinstance(env, cairngym.TensorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    obs, _ = env.reset()
    assert isinstance(obs, torch.Tensor)
    assert obs.shape == (8, 10)
    assert env.episodes.seed == 3


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_numpy_vector_equals_the_tensors(mode):
    tensors, arrays = make_line(3, autoreset_mode=mode), NumpyVectorEnv(make_line(3, autoreset_mode=mode))
    assert arrays.metadata["autoreset_mode"] is AutoresetMode(mode)
    first, _ = arrays.reset(seed=1)
    assert first in arrays.observation_space
    contract.assert_same(tensors.reset(seed=1)[0], {k: torch.as_tensor(v) for k, v in first.items()}, "reset")
    for action in contract.actions_of(tensors, 20):
        want = contract.frozen(tensors.step(action))
        obs, reward, terminated, truncated, info = arrays.step(action.numpy())
        assert isinstance(reward, np.ndarray)
        got = {"obs": obs, "reward": reward, "terminated": terminated, "truncated": truncated, **info}
        contract.assert_same(want, as_tensors(got), "step")
    assert len(arrays.render([1])) == 1
    arrays.close()
    assert arrays.tensor_env.closed


def as_tensors(value):
    return {k: as_tensors(v) for k, v in value.items()} if isinstance(value, dict) else torch.as_tensor(value)


def test_numpy_arrays_are_the_users_own():
    env = NumpyVectorEnv(make_line(2))
    obs, _ = env.reset(seed=0)
    info = env.step(np.zeros((2, 1)))[4]
    obs["where"][:] = 99.0
    info["final_state"]["position"][:] = 99.0
    assert env.tensor_env.state["position"].abs().max() < 1.0


class Codes(cairngym.Task):
    """A uint8 grid smaller than SB3's image network can read, and indices."""

    horizon = 6

    def __init__(self):
        self.single_observation_space = spaces.Dict(
            {"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Box(0, 3, (1,), np.int64)}
        )

    def observe(self, state):
        position = state["position"]
        grid = (position.abs() * 10).clamp(0, 255).to(torch.uint8)[:, None, None, None].expand(-1, 7, 7, 3)
        return {"image": grid.clone(), "direction": (position > 0).long()[:, None]}

    def success(self, state):
        return state["position"] >= 0.7


def make_codes(num_envs):
    from toy_worlds import LineWorld

    return cairngym.TensorEnv(LineWorld(num_envs), Codes())


class TestSB3:
    """The VecEnv that Stable-Baselines3 trains on."""

    @pytest.fixture(autouse=True)
    def _library(self):
        self.library = pytest.importorskip("stable_baselines3")
        from cairngym.envs.adapters import SB3VecEnv

        self.adapter = SB3VecEnv

    def test_infos_by_hand(self):
        env = self.adapter(cairngym.make("Chain-N10-v0", num_envs=2, length=3))
        assert env.reset().argmax(1).tolist() == [0, 0]
        env.step(np.array([1, 0]))
        obs, rewards, dones, infos = env.step(np.array([1, 0]))
        assert obs.argmax(1).tolist() == [0, 0]
        assert rewards.tolist() == [1.0, 0.0]
        assert dones.tolist() == [True, False]
        assert infos[0]["terminal_observation"].tolist() == [0, 0, 1]
        assert (infos[0]["episode"]["r"], infos[0]["episode"]["l"]) == (1.0, 2)
        assert infos[0]["is_success"] is True
        assert infos[0]["TimeLimit.truncated"] is False
        assert set(infos[1]) == {"TimeLimit.truncated", "success", "is_success"}
        for _ in range(10):
            _, _, dones, infos = env.step(np.array([0, 0]))
        assert dones.tolist() == [False, True]
        assert infos[1]["TimeLimit.truncated"] is True
        assert infos[1]["episode"]["l"] == 12

    def test_termination_at_the_limit_is_no_truncation(self):
        env = self.adapter(cairngym.make("Chain-N10-v0", num_envs=1, length=2))
        env.reset()
        for _ in range(7):
            env.step(np.array([0]))
        _, _, dones, infos = env.step(np.array([1]))
        assert dones.tolist() == [True]
        assert infos[0]["TimeLimit.truncated"] is False

    def test_shaped_reward_but_task_return(self):
        shaped = cairngym.shape(cairngym.make("Chain-N10-v0", num_envs=1, length=3), "potential", gamma=1.0)
        env = self.adapter(shaped)
        env.reset()
        _, first, _, _ = env.step(np.array([1]))
        _, _, _, infos = env.step(np.array([1]))
        assert first[0] != 0.0
        assert infos[0]["episode"]["r"] == 1.0

    def test_attributes_methods_and_wrapping(self):
        from stable_baselines3.common.monitor import Monitor

        env = self.adapter(cairngym.shape(make_line(3), "count"))
        env.reset()
        assert env.get_attr("num_envs") == [3, 3, 3]
        assert env.get_attr("device", indices=1) == [torch.device("cpu")]
        assert not env.has_attr("nothing_of_the_kind")
        assert [p.shape for p in env.env_method("progress", indices=[0, 2])] == [(3,), (3,)]
        env.set_attr("mark", 7)
        assert env.env.mark == 7
        with pytest.raises(ValueError, match="without indices"):
            env.set_attr("mark", 8, indices=0)
        assert env.env_is_wrapped(Monitor) == [True] * 3
        assert env.env_is_wrapped(type(env.env), indices=[1]) == [True]
        assert env.env_is_wrapped(gymnasium.wrappers.TimeLimit) == [False] * 3
        assert env.render().shape == (8, 8, 3)

    def test_seed_is_used_once(self):
        env = self.adapter(make_line(2))
        assert env.seed(5) == [5, 5]
        first = env.reset()["where"]
        assert not np.array_equal(env.reset()["where"], first)
        env.seed(5)
        assert np.array_equal(env.reset()["where"], first)

    def test_other_modes_are_refused(self):
        with pytest.raises(ValueError, match="autoreset_mode='SameStep'"):
            self.adapter(make_line(2, autoreset_mode="NextStep"))

    def test_ppo_trains_on_small_grids_and_indices(self):
        env = self.adapter(make_codes(4))
        assert env.observation_space["image"].dtype == np.float32
        assert env.observation_space["direction"].dtype == np.int64
        model = self.library.PPO("MultiInputPolicy", env, n_steps=32, batch_size=64, n_epochs=1, seed=0, device="cpu")
        model.learn(256)
        assert len(model.ep_info_buffer) > 10
        assert {len(entry) for entry in model.ep_info_buffer} == {3}
        assert len(model.ep_success_buffer) == len(model.ep_info_buffer)

    def test_evaluation_uses_the_task_return(self):
        from stable_baselines3.common.evaluation import evaluate_policy

        env = self.adapter(cairngym.make("Chain-N10-v0", num_envs=2, length=3))
        model = self.library.PPO("MlpPolicy", env, n_steps=8, batch_size=16, seed=0, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            returns, lengths = evaluate_policy(model, env, n_eval_episodes=4, return_episode_rewards=True)
        assert len(returns) == len(lengths) == 4
        assert set(returns) <= {0.0, 1.0}
