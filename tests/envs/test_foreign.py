"""Foreign gymnasium envs as TensorEnvs: the contract, and the env itself as the oracle."""

from functools import partial

import contract
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import cairngym
from cairngym.envs.adapters import SnapshotError, from_gymnasium
from cairngym.envs.adapters.flatten import Flattener
from cairngym.envs.core import StateField
from cairngym.envs.random import Stream, integers


class Drift(gymnasium.Env):
    """A noisy walk with a nested observation, a text in it, and success in info where asked for."""

    def __init__(self, goal=2.0, report=True):
        self.goal, self.report = goal, report
        self.observation_space = spaces.Dict(
            {
                "arm": spaces.Dict({"joint": spaces.Box(-9.0, 9.0, (2,), np.float64), "mode": spaces.Discrete(3)}),
                "mission": spaces.Text(20),
                "side": spaces.MultiDiscrete([2, 4]),
                "lamp": spaces.MultiBinary(2),
            }
        )
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float64)

    def _look(self):
        side = np.array([self.x > 0, self.t % 4], np.int64)
        arm = {"joint": np.array([self.x, self.t / 10]), "mode": np.int64(self.t % 3)}
        return {"arm": arm, "mission": "go far", "side": side, "lamp": np.array([1, 0], np.int8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.normal() * 0.1), 0
        return self._look(), {"where": self.x}

    def step(self, action):
        assert action.dtype == np.float64
        self.x += float(action[0]) + float(self.np_random.normal() * 0.1)
        self.t += 1
        won = self.x > self.goal
        info = {"where": self.x, **({"success": won} if self.report and won else {})}
        return self._look(), float(won) - 0.01, bool(abs(self.x) > self.goal), self.t >= 9, info


def make_drift(num_envs=2, **options):
    with pytest.warns(UserWarning, match="'mission' is left out"):
        return from_gymnasium(Drift, num_envs, horizon=9, snapshot="deepcopy", **options)


def make_cartpole(num_envs=2, **options):
    return from_gymnasium("CartPole-v1", num_envs, snapshot="deepcopy", **options)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("make", [make_drift, make_cartpole])
def test_contract(make, check):
    check(make)


def test_trajectory_is_the_envs_own():
    env = make_drift(num_envs=3, seed=6)
    obs, _ = env.reset()
    zero = torch.zeros(3, dtype=torch.int64)
    episode = 0
    reference = Drift()
    seed = integers(6, torch.arange(3), zero + episode, Stream.LEVEL, 2**31)[1, 0]
    want, _ = reference.reset(seed=int(seed))
    for action in contract.actions_of(env, 30):
        assert obs["arm/joint"][1].tolist() == want["arm"]["joint"].astype(np.float32).tolist()
        assert obs["arm/mode"][1].tolist() == [want["arm"]["mode"]]
        assert obs["side"][1].tolist() == want["side"].tolist()
        want, reward, terminated, truncated, info = reference.step(action[1].numpy().astype(np.float64))
        obs, rewards, terminations, truncations, infos = env.step(action)
        assert float(rewards[1]) == pytest.approx(reward)
        assert (bool(terminations[1]), bool(truncations[1])) == (terminated, truncated)
        assert bool(infos["success"][1]) == info.get("success", False)
        if terminated or truncated:
            assert infos["final_obs"]["arm/joint"][1].tolist() == want["arm"]["joint"].astype(np.float32).tolist()
            episode += 1
            seed = integers(6, torch.arange(3), zero + episode, Stream.LEVEL, 2**31)[1, 0]
            want, _ = reference.reset(seed=int(seed))
    assert episode >= 3


def outward(num_envs):
    return torch.ones(num_envs, 1)


def test_success_is_reported_or_a_rewarded_termination_or_given():
    reported, guessed = make_drift(), make_drift_silent()
    ruled = make_drift(success=lambda obs, reward, terminated, info: info["where"] > 0.5)
    for env in (reported, guessed, ruled):
        env.reset(seed=0)
    for _ in range(20):
        a, b, c = (env.step(outward(2)) for env in (reported, guessed, ruled))
        assert torch.equal(a[4]["success"], b[4]["success"])
        assert torch.equal(a[4]["success"], a[4]["final_obs"]["arm/joint"][:, 0] > 2.0)
        assert torch.equal(c[4]["success"], c[4]["final_obs"]["arm/joint"][:, 0] > 0.5)


def make_drift_silent():
    with pytest.warns(UserWarning, match="left out"):
        return from_gymnasium(partial(Drift, report=False), 2)


def test_failure_is_no_success():
    env = make_drift_silent()
    env.reset(seed=0)
    ends = 0
    for _ in range(10):
        _, _, terminated, _, info = env.step(-outward(2))
        ends += int(terminated.sum())
        assert not info["success"].any()
    assert ends >= 2


def test_terminate_on_success_ends_where_the_env_goes_on():
    env = make_drift(success=lambda obs, *_: obs["arm/joint"][:, 0] > 0.8, terminate_on_success=True)
    env.reset(seed=0)
    for _ in range(12):
        _, _, terminated, _, info = env.step(outward(2))
        assert torch.equal(terminated, info["success"])


def test_state_and_progress_are_the_users():
    env = make_drift(
        state=lambda obs, info: {"far": obs["arm/joint"][:, 0].abs(), "where": info["where"]},
        state_spec={
            "far": StateField(shape=(), unit="m", description="Distance from the start."),
            "where": StateField(shape=(), unit="m", description="Position.", dtype=torch.float64),
        },
        progress=lambda state: (state["far"] / 2).clamp(0, 1),
    )
    env.reset(seed=0)
    assert set(env.state) == {"arm/joint", "arm/mode", "side", "lamp", "far", "where", "success"}
    for _ in range(12):
        _, _, _, _, info = env.step(outward(2))
        assert torch.equal(info["final_state"]["far"], info["final_obs"]["arm/joint"][:, 0].abs())
        assert torch.allclose(env.state["where"].float(), env.state["arm/joint"][:, 0])
        assert torch.equal(env.progress(), (env.state["far"] / 2).clamp(0, 1))


def test_default_progress_knows_success_alone():
    env = make_drift()
    env.reset(seed=0)
    for _ in range(12):
        info = env.step(outward(2))[4]
        assert torch.equal(env.progress(info["final_state"]), info["success"].float())


def test_shaping_a_foreign_env():
    env = cairngym.shape(make_drift(num_envs=4), "count", weight=0.5)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(outward(4))
    assert torch.allclose(reward, info["task_reward"] + 0.5 * info["reward_terms"]["count"])
    assert info["reward_terms"]["count"].abs().max() > 0


def test_processes_live_the_same_lives():
    loop = from_gymnasium("CartPole-v1", 2, seed=4)
    processes = from_gymnasium("CartPole-v1", 2, seed=4, asynchronous=True)
    try:
        contract.assert_same(loop.reset()[0], processes.reset()[0], "reset")
        for t, action in enumerate(contract.actions_of(loop, 40)):
            contract.assert_same(
                contract.frozen(loop.step(action)), contract.frozen(processes.step(action)), f"step {t}"
            )
        with pytest.raises(SnapshotError, match="snapshot='deepcopy'"):
            processes.get_state()
    finally:
        processes.close()


def test_horizon_is_the_specs_or_the_users():
    assert from_gymnasium("CartPole-v1").task.horizon == 500
    env = from_gymnasium("CartPole-v1", 2, horizon=5)
    env.reset(seed=0)
    truncations = [env.step([t % 2, t % 2])[3].tolist() for t in range(5)]
    assert truncations == [[False, False]] * 4 + [[True, True]]


class Drawn(Drift):
    """A walk that can be drawn."""

    def render(self):
        return np.full((2, 2, 3), int(self.t), np.uint8)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.filterwarnings("ignore:The observation's entry")
def test_render(asynchronous):
    env = from_gymnasium(Drawn, 2, asynchronous=asynchronous)
    env.reset(seed=0)
    env.step(outward(2))
    assert [frame.max() for frame in env.render([1])] == [1]
    assert len(env.render()) == 2
    env.close()


def test_render_needs_a_mode():
    env = make_drift()
    env.world.vector.envs[0].render = lambda: None
    env.reset(seed=0)
    with pytest.raises(TypeError, match="render_mode='rgb_array'"):
        env.render([0])


class Uncopyable(Drift):
    """An env that cannot be deep-copied."""

    def __deepcopy__(self, memo):
        raise OSError("a handle to a simulator")


def test_snapshots_that_cannot_be_made():
    env = from_gymnasium("CartPole-v1", 2)
    env.reset(seed=0)
    with pytest.raises(SnapshotError, match="resume with new episodes"):
        env.get_state()
    with pytest.warns(UserWarning, match="left out"):
        env = from_gymnasium(Uncopyable, 2, snapshot="deepcopy")
    env.reset(seed=0)
    with pytest.raises(SnapshotError, match="a handle to a simulator"):
        env.get_state()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: from_gymnasium("CartPole-v1", 0), ValueError, "num_envs >= 1"),
        (lambda: from_gymnasium("CartPole-v1", state=lambda o, i: {}), ValueError, "state and state_spec together"),
        (lambda: from_gymnasium("CartPole-v1", snapshot="pickle"), ValueError, "'none' or 'deepcopy', got 'pickle'"),
        (
            lambda: from_gymnasium("CartPole-v1", snapshot="deepcopy", asynchronous=True),
            ValueError,
            "other processes cannot be copied",
        ),
        (lambda: from_gymnasium(Drift, 1, goal=3.0), TypeError, r"\['goal'\] go to gymnasium.make"),
        (lambda: Flattener(spaces.Text(5)), TypeError, "at least one numeric entry"),
    ],
)
@pytest.mark.filterwarnings("ignore:The observation's entry")
def test_bad_requests(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("returned", "message"),
    [({"far": torch.zeros(3)}, r"'far' of shape \(2,\)"), ({"near": torch.zeros(2)}, "does not describe")],
)
def test_bad_state(returned, message):
    spec = {"far": StateField(shape=(), unit="m", description="Distance.")}
    env = make_drift(state=lambda obs, info: returned, state_spec=spec)
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0)


def test_state_names_must_be_free():
    spec = {"side": StateField(shape=(), unit="m", description="Taken.")}
    with pytest.raises(ValueError, match=r"\['side'\] are already taken"):
        make_drift(state=lambda obs, info: {}, state_spec=spec)


def test_unknown_actions_are_refused():
    env = Drift()
    env.action_space = spaces.MultiDiscrete([2, 2])
    with pytest.warns(UserWarning, match="left out"), pytest.raises(TypeError, match="Discrete actions or a Box"):
        from_gymnasium(lambda: env)


def test_flattener_reads_every_kind():
    flatten = Flattener(Drift().observation_space.spaces["arm"])
    assert flatten.categories == {"mode": ((0, 1, 2),)}
    lone = Flattener(spaces.Discrete(4, start=2))
    assert lone.space["observation"] == spaces.Box(2, 5, (1,), np.int64)
    assert lone(np.int64(3))["observation"].tolist() == [3]
    assert lone.categories == {"observation": ((2, 3, 4, 5),)}
    box = Flattener(spaces.Box(-1.0, 1.0, (3,), np.float64))
    assert box.space.dtype == np.float32
    assert box(np.array([0.1, 0.2, 0.3])).dtype == np.float32
    pair = Flattener(spaces.Tuple((spaces.Box(0, 255, (2, 2), np.uint8), spaces.MultiBinary(3))))
    assert {name: entry.dtype for name, entry in pair.space.items()} == {"0": np.uint8, "1": np.float32}
