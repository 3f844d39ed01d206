import itertools
import math

import numpy as np
import pytest
import torch
from agent_toys import ToyTask, ToyWorld, draw_float, identity, success_of, tracking
from goal_toys import make_line
from gymnasium import spaces

import cairngym
from cairngym.agents.critics import Minibatch
from cairngym.agents.demonstrations import collect
from cairngym.agents.evaluation import evaluate
from cairngym.agents.off_policy_config import SACConfig, TD3Config, fetch_ddpg, fetch_sac
from cairngym.agents.registry import agent_config_class, list_agents, load_agent, make_agent
from cairngym.agents.returns import return_bounds, return_interval
from cairngym.agents.sac import SAC
from cairngym.agents.td3 import TD3
from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term

NAMES = ("sac", "td3")
SMALL = {"hidden": (32, 32), "batch": 64, "warmup_steps": 64, "report_period": 500, "capacity": 4096}
LEARNING = {**SMALL, "batch": 128, "warmup_steps": 400, "updates_per_step": 0.25, "tau": 0.03}


def make(name, env=None, **changes):
    return make_agent(name, env or make_line(8), **{**SMALL, **changes})


def parameters(agent):
    return torch.cat([value.flatten().double() for value in agent.networks.state_dict().values()])


# What it must learn --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_reaches_goals_by_hindsight(name):
    agent = make(name, make_line(16), **{**LEARNING, "hindsight": "future", "gamma": 0.9})
    agent.learn(agent.env, 3600)
    assert evaluate(agent, make_line(64), 256, seed=3, deterministic=True).success >= 0.95


@pytest.mark.parametrize(
    ("name", "changes"),
    [("sac", {}), ("td3", {"precision": "bfloat16"}), ("sac", {"critics": 4, "target_critics": 2})],
)
def test_learns_to_repeat_a_number(name, changes):
    agent = make(name, tracking(num_envs=16), **{**LEARNING, "gamma": 0.0, **changes})
    agent.learn(agent.env, 2400)
    assert success_of(tracking(), agent) > 0.95


def test_learns_from_demonstrations(tmp_path):
    def expert(obs, state):
        del state
        return (obs["desired_goal"] - obs["achieved_goal"]).clamp(-1.0, 1.0)

    collect(expert, make_line(8), 20).save(tmp_path / "shown.npz")
    agent = make("sac", demonstrations=str(tmp_path / "shown.npz"), demonstration_ratio=0.25)
    agent.learn(agent.env, 64)
    assert agent.replay.demonstrations is not None
    batch = agent.replay.sample(64)
    toward = (batch.obs["desired_goal"] - batch.obs["achieved_goal"]).clamp(-1.0, 1.0)
    assert (toward == batch.action).sum() >= 16


# What it believes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.0), (0.0, 1.0), (-1.0, 2.0), (0.5, 1.0), (-2.0, -1.0)])
@pytest.mark.parametrize("ends", [False, True])
def test_return_intervals_hold_every_return_and_are_tight(low, high, ends):
    gamma, returns = 0.5, []
    for length in range(1, 11):
        last = (low, high)
        before = (low,) if ends else (low, high)
        for rewards in itertools.product(*[before] * (length - 1), last):
            returns.append(sum(gamma**t * r for t, r in enumerate(rewards)))
    least, most = return_interval(low, high, gamma, terminate_on_success=ends)
    slack = 3.0 * gamma**9  # what ten steps leave of an endless episode
    assert least - 1e-9 <= min(returns) <= least + slack
    assert most - slack <= max(returns) <= most + 1e-9


def test_without_a_discount_returns_may_be_unbounded():
    assert return_interval(-1.0, 0.0, 1.0, terminate_on_success=False) == (-np.inf, 0.0)
    assert return_interval(0.0, 1.0, 1.0, terminate_on_success=True) == (0.0, 1.0)


class Bonus(Shaper):
    def __init__(self, gamma=None):
        self.gamma, self.updates = gamma, 0

    def shape(self, transition):
        return torch.full_like(transition.reward, 2.0)

    def update(self):
        self.updates += 1
        return {"loss": 0.25}


def test_bounds_are_known_of_unshaped_tasks_only():
    assert return_bounds(make_line(2), 0.75) == (-4.0, 0.0)
    assert return_bounds(make_line(2, terminate_on_success=True), 0.75) == (-4.0, 0.0)
    shaped = ShapedEnv(make_line(8), (Term(name="bonus", shaper=Bonus()),))
    assert return_bounds(shaped, 0.75) is None
    assert make("sac").bounds == pytest.approx((-50.0, 0.0))
    assert make("sac", entropy_backup=True).bounds is None
    assert make("td3", clip_targets=False).bounds is None
    assert make("td3", shaped).bounds is None


def fake_batch(agent, size=4):
    draw = torch.Generator().manual_seed(1)
    wide = agent.features.size
    return Minibatch(
        features=torch.randn(size, wide, generator=draw), action=torch.rand(size, 1, generator=draw),
        reward=torch.tensor([-1.0, 0.0, -1.0, -1.0]), next_features=torch.randn(size, wide, generator=draw),
        discount=torch.tensor([0.5, 0.5, 0.0, 0.5]), noise=torch.randn(size, agent.noise_draws, generator=draw),
    )  # fmt: skip


class FixedCritic(torch.nn.Module):
    """Three critics that say the same of everything, and remember the action asked about."""

    VALUES = torch.tensor([[-3.0, -1.0, -9.0, 4.0], [-4.0, -6.0, -9.0, 3.0], [-2.0, -8.0, -9.0, 2.0]])

    def forward(self, features, action, members=None):
        del features
        self.action = action
        return self.VALUES if members is None else self.VALUES[members]


@pytest.mark.parametrize("name", NAMES)
def test_targets_are_the_clipped_least_of_the_critics_drawn(name):
    agent = make(name, critics=3, gamma=0.5)  # returns lie in [-2, 0]
    agent.networks["target_critic"] = FixedCritic()
    batch = fake_batch(agent)
    assert agent.target(batch).tolist() == [-2.0, -2.0, -1.0, 0.0]
    agent.bounds = None
    assert agent.target(batch).tolist() == [-3.0, -4.0, -1.0, 0.0]
    assert agent.target(batch, torch.tensor([2, 0])).tolist() == [-2.5, -4.0, -1.0, 0.0]
    assert agent.target(batch, torch.tensor([0])).tolist() == [-2.5, -0.5, -1.0, 1.0]


def test_entropy_is_backed_up_where_asked():
    agent = make("sac", critics=3, gamma=0.5, entropy_backup=True, initial_temperature=0.5)
    agent.networks["target_critic"] = FixedCritic()
    batch = fake_batch(agent)
    action, log_prob = agent.policy.sample(batch.next_features, batch.noise[:, :1])
    expected = torch.tensor([-3.0, -4.0, -1.0, 0.0]) - batch.discount * 0.5 * log_prob
    torch.testing.assert_close(agent.target(batch), expected)
    assert torch.equal(agent.networks["target_critic"].action, action)


def test_td3_smooths_its_target_policy_within_bounds():
    agent = make("td3", critics=3, target_noise=0.2, target_noise_clip=0.1)
    agent.networks["target_critic"] = FixedCritic()
    batch = fake_batch(agent)._replace(noise=torch.tensor([[0.25], [-5.0], [0.0], [5.0]]))
    plain = agent.networks["target_policy"](batch.next_features)
    agent.target(batch)
    asked = agent.networks["target_critic"].action
    torch.testing.assert_close(asked - plain, torch.tensor([[0.05], [-0.1], [0.0], [0.1]]))


def test_the_critics_loss_is_half_the_squared_error():
    agent = make("td3", critics=3)
    batch = fake_batch(agent)
    value, target = agent.critic(batch.features, batch.action), agent.target(batch)
    loss, means = agent.critic_loss(batch, None)
    by_hand = 0.5 * sum(((value[member] - target) ** 2).mean() for member in range(3))
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(means, torch.stack((by_hand, value.mean(), target.mean())).detach())
    assert not means.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_the_actors_loss_leaves_the_critics_alone(name):
    agent = make(name)
    loss, _ = agent.actor_loss(fake_batch(agent))
    loss.backward()
    assert all(parameter.grad is None for parameter in (*agent.critic.parameters(), *agent.frozen_critic.parameters()))
    assert all(parameter.grad is not None for parameter in agent.policy.parameters())


def test_the_actor_follows_the_mean_of_a_larger_ensemble_and_the_least_of_a_small_one():
    for changes, reduce in (({"critics": 3}, torch.amin), ({"critics": 3, "target_critics": 2}, torch.mean)):
        agent = make("sac", **changes)
        batch = fake_batch(agent)
        action, log_prob = agent.policy.sample(batch.features, batch.noise[:, 1:])
        expected = (0.1 * log_prob - reduce(agent.critic(batch.features, action), 0)).mean()
        torch.testing.assert_close(agent.actor_loss(batch)[1][0], expected.detach())


def test_td3s_actor_follows_the_first_critic_and_pays_for_large_actions():
    agent = make("td3", action_penalty=2.0)
    batch = fake_batch(agent)
    action = agent.policy(batch.features)
    expected = -agent.critic(batch.features, action)[0].mean() + 2.0 * action.square().mean()
    torch.testing.assert_close(agent.actor_loss(batch)[0], expected)


@pytest.mark.parametrize(("target", "cooler"), [(-20.0, True), (20.0, False)])
def test_the_temperature_falls_where_entropy_is_above_its_target(target, cooler):
    agent = make("sac", target_entropy=target)
    agent.update(fake_batch(agent))
    assert (agent.policy.log_temperature.item() < math.log(0.1)) is cooler
    fixed = make("sac", target_entropy=target, learn_temperature=False)
    fixed.update(fake_batch(fixed))
    assert fixed.policy.log_temperature.item() == pytest.approx(math.log(0.1))


def test_one_update_trains_everything_and_delays_the_actor():
    agent = make("td3", policy_delay=2)
    batch, tau = fake_batch(agent), agent.config.tau
    seen = []
    for _ in range(3):
        old = {name: value.clone() for name, value in agent.networks.state_dict().items()}
        agent.update(batch)
        now = agent.networks.state_dict()
        seen.append(not torch.equal(old["policy.head.weight"], now["policy.head.weight"]))
        name = "critic.head.weight"
        assert not torch.equal(old[name], now[name])
        follower = torch.lerp(old["target_" + name], now[name], tau)
        torch.testing.assert_close(now["target_" + name], follower, rtol=0.0, atol=0.0)
    assert seen == [True, False, True]


# How much it learns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_envs", "ratio", "steps"), [(8, 1 / 64, 640), (8, 0.4, 200), (3, 0.7, 300), (8, 1.5, 80), (5, 1 / 3, 150)]
)
def test_gradient_steps_keep_their_ratio_exactly(num_envs, ratio, steps):
    agent = make("td3", make_line(num_envs), updates_per_step=ratio, warmup_steps=0, batch=4, hidden=(4,))
    calls = []
    agent.update = lambda *_: calls.append(agent.steps_done)
    for part in (steps // 2, steps - steps // 2):
        agent.learn(agent.env, part)
        assert len(calls) == int(agent.steps_done * agent.ratio)
    for done in range(num_envs, steps, num_envs):
        assert sum(call <= done for call in calls) == int(done * agent.ratio)


def test_learning_begins_after_the_warm_up():
    agent = make("sac", warmup_steps=40, updates_per_step=0.25)
    agent.learn(agent.env, 32)
    assert agent.updates_done == 0
    agent.learn(agent.env, 16)
    assert agent.updates_done == 4


def test_the_warm_up_is_uniform_and_random_actions_keep_their_share():
    agent = make("td3", make_line(512), warmup_steps=512, exploration_noise=0.0, random_actions=0.25)
    obs, _ = agent.env.reset()
    warm = agent._choose(obs)
    assert abs(float(warm.mean())) < 0.15
    assert 0.27 < float(warm.square().mean()) < 0.4
    agent.steps_done = 512
    policy = agent.play(agent.features(obs), None)
    share = (agent._choose(obs) != policy).float().mean()
    assert 0.18 < float(share) < 0.32


def test_exploration_noise_is_spread_over_the_envs():
    agent = make("td3", exploration_noise=0.1, exploration_noise_max=0.5)
    torch.testing.assert_close(agent.noise_scales(5)[:, 0], torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))
    torch.testing.assert_close(make("td3").noise_scales(3)[:, 0], torch.full((3,), 0.1))
    wide = agent.explore(torch.zeros(4000, agent.features.size), agent.generator)
    assert wide[:400].std() < 0.2 < wide[-400:].std()
    assert wide.abs().max() <= 1.0


def test_target_critics_are_drawn_anew():
    agent = make("sac", critics=5, target_critics=2)
    drawn = agent._draw_members(500)
    assert drawn.shape == (500, 2)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert (torch.bincount(drawn.flatten(), minlength=5) > 150).all()
    assert make("sac", critics=5)._draw_members(3) is None


# How it goes on ------------------------------------------------------------------------------------------------------

RESUMED = [
    ("sac", {"hindsight": "future", "critics": 3, "target_critics": 2}),
    ("td3", {"hindsight": "future", "random_actions": 0.1, "n_step": 3}),
]


@pytest.mark.parametrize(("name", "changes"), RESUMED)
def test_saved_and_continued_equals_uninterrupted(tmp_path, name, changes):
    def begin():
        return make(name, make_line(8, seed=5), updates_per_step=0.3, capacity=320, **changes)

    straight, first, second = begin(), begin(), begin()
    straight.learn(straight.env, 800)
    first.learn(first.env, 408)
    first.save(tmp_path / "agent.pt")
    second.load(tmp_path / "agent.pt")
    assert second.steps_done == 408
    torch.rand(7)  # the global random numbers play no part
    second.learn(second.env, 392)
    assert straight.updates_done == second.updates_done > 200
    assert torch.equal(parameters(straight), parameters(second))
    for one, other in zip(straight.replay.sample(32), second.replay.sample(32), strict=True):
        entries = zip(one.values(), other.values(), strict=True) if isinstance(one, dict) else [(one, other)]
        assert all(torch.equal(a, b) for a, b in entries)


@pytest.mark.parametrize("name", NAMES)
def test_two_calls_of_learn_equal_one_and_seeds_differ(name):
    agents = [make(name, updates_per_step=0.2, seed=seed) for seed in (3, 3, 4)]
    agents[0].learn(agents[0].env, 400)
    for agent in agents[1:]:
        agent.learn(agent.env, 120)
        agent.learn(agent.env, 280)
    assert torch.equal(parameters(agents[0]), parameters(agents[1]))
    assert not torch.equal(parameters(agents[0]), parameters(agents[2]))


def test_without_its_replay_it_collects_before_it_learns_on(tmp_path):
    agent = make("sac", save_replay=False, updates_per_step=0.25)
    agent.learn(agent.env, 160)
    agent.save(tmp_path / "agent.pt")
    assert agent.get_state()["replay"] is None
    other = load_agent(tmp_path / "agent.pt", make_line(8))
    before = other.updates_done
    other.learn(other.env, 56)
    assert other.replay.size == 56
    assert other.updates_done == before
    other.learn(other.env, 8)
    assert other.updates_done == before + 2


def test_a_checkpoint_serves_another_number_of_envs(tmp_path):
    agent = make("td3")
    agent.learn(agent.env, 160)
    agent.save(tmp_path / "agent.pt")
    other = make("td3", make_line(4))
    other.load(tmp_path / "agent.pt")
    assert other.replay.size == 0
    other.learn(other.env, 80)
    assert other.steps_done == 240
    obs, _ = make_line(6).reset(seed=2)
    assert agent.actor(6).act(obs).shape == (6, 1)


def test_new_episodes_in_the_same_env_do_not_continue_the_old_ones():
    agent = make("td3", make_line(8, horizon=50))
    agent.learn(agent.env, 80)
    agent.forget_env()
    agent.learn(agent.env, 80)
    _, last = agent.replay.ring.span(torch.tensor([3, 15]), torch.tensor([0, 0]))
    assert last.tolist() == [9, 19]


def test_a_snapshot_without_replay_empties_it():
    agent = make("td3", save_replay=False)
    agent.learn(agent.env, 80)
    agent.set_state(agent.get_state())
    assert agent.replay.size == 0


def test_another_env_takes_over_what_was_seen():
    agent = make("td3")
    agent.learn(agent.env, 80)
    env = make_line(8, seed=9)
    agent.learn(env, 80)
    assert agent.replay.env is env
    assert agent.replay.size == 160


def test_normalised_features_and_the_policy_survive_a_checkpoint(tmp_path):
    agent = make("sac")
    agent.learn(agent.env, 80)
    agent.save(tmp_path / "agent.pt")
    other = load_agent(tmp_path / "agent.pt", make_line(8))
    assert agent.features.normalizer.count == other.features.normalizer.count == 80
    obs, _ = make_line(8, seed=3).reset()
    assert torch.equal(agent.actor(8, seed=1).act(obs), other.actor(8, seed=1).act(obs))
    assert not torch.equal(agent.actor(8, seed=1).act(obs), agent.actor(8, seed=2).act(obs))
    greedy = agent.actor(8, deterministic=True, seed=1).act(obs)
    assert torch.equal(greedy, agent.actor(8, deterministic=True, seed=2).act(obs))


def test_callbacks_hear_of_every_period_and_of_the_end_and_may_stop():
    heard = []
    agent = make("sac", updates_per_step=0.1, report_period=100)
    agent.learn(agent.env, 250, [heard.append])
    assert [metrics["step"] for metrics in heard] == [104, 200, 256]
    expected = {
        "success_rate", "episode_return", "episode_length", "episodes", "steps_per_s", "loss/critic", "loss/actor",
        "q_mean", "target_mean", "alpha", "entropy", "updates",
    }  # fmt: skip
    assert expected <= heard[0].keys()
    assert sum(metrics["episodes"] for metrics in heard) == 8 * (256 // 80)
    assert heard[0]["episode_length"] == 10.0
    agent.learn(agent.env, 500, [lambda metrics: metrics["step"] < 300, heard.append])
    assert agent.steps_done == heard[-1]["step"] == 304


def test_shapers_learn_every_period_and_report():
    shaper, heard = Bonus(), []
    env = ShapedEnv(make_line(8), (Term(name="bonus", shaper=shaper, weight=0.5),))
    agent = make("td3", env, period=64, updates_per_step=0.05)
    agent.learn(env, 256, [heard.append])
    assert shaper.updates == 4
    assert heard[-1]["shaper/bonus/loss"] == 0.25
    assert heard[-1]["reward_terms/bonus"] == 2.0
    assert heard[-1]["episode_return"] <= 0.0
    assert agent.replay.sample(64).reward.max() <= 1.0
    assert agent.replay.sample(64).reward.min() >= 0.0


class Drawer(TensorEnv):
    """Actions of shape (2, 2) with bounds of their own."""

    def __init__(self, num_envs=4):
        box = spaces.Box(np.array([[-1, 0], [2, -4]], np.float32), np.array([[1, 8], [3, 4]], np.float32))
        world = ToyWorld(num_envs, box, draw_float)
        task = ToyTask(spaces.Box(-1.0, 1.0, (1,)), lambda s: s["shown"], lambda s: s["shown"][:, 0] > 2.0)
        super().__init__(world, task)


def test_actions_of_any_shape_are_mapped_onto_their_box():
    agent = make("sac", Drawer(), batch=8)
    unit = torch.tensor([[-1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.5]])
    assert agent.box.to_env(unit).tolist() == [[[-1, 0], [2, -4]], [[1, 8], [3, 4]], [[0, 4], [2.5, 2]]]
    agent.learn(agent.env, 128)
    assert agent.replay.sample(8).action.shape == (8, 2, 2)
    assert agent.updates_done > 0


def test_bfloat16_stays_near_float32():
    exact, rough = (make("sac", precision=precision) for precision in ("float32", "bfloat16"))
    batch = fake_batch(exact)
    with rough._precision():
        loss, _ = rough.critic_loss(batch, None)
    torch.testing.assert_close(loss, exact.critic_loss(batch, None)[0], rtol=0.1, atol=0.02)
    rough.update(batch)
    assert {value.dtype for value in rough.critic.state_dict().values()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_compiled_losses_are_the_same_losses(name):
    plain, compiled = make(name), make(name, compile=True)
    for agent in (plain, compiled):
        agent.learn(agent.env, 96)
    torch.testing.assert_close(parameters(plain), parameters(compiled), rtol=1e-3, atol=1e-3)


# What it refuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_unfit_envs_are_refused(name):
    with pytest.raises(TypeError, match=f"{name} needs a Box; ppo takes Discrete"):
        make(name, identity(num_envs=4))
    with pytest.raises(ValueError, match="finite bounds"):
        make(name, tracking(num_envs=4, low=-np.inf, high=np.inf))
    with pytest.raises(TypeError, match="Expected a task with goals, got ToyTask"):
        make(name, tracking(num_envs=4), hindsight="future")
    with pytest.raises(ValueError, match="resets within the step"):
        make(name, make_line(4, autoreset_mode="NextStep"))
    shaped = ShapedEnv(make_line(8), (Term(name="bonus", shaper=Bonus(gamma=0.9)),))
    with pytest.raises(ValueError, match=r"discount 0.98, got gamma=0.9"):
        make(name, shaped).learn(shaped, 8)
    with pytest.raises(FileNotFoundError, match="Expected demonstrations at nowhere"):
        make(name, demonstrations="nowhere.npz").learn(make_line(8), 8)


def test_another_agents_networks_are_refused(tmp_path):
    agent = make("sac")
    with pytest.raises(ValueError, match="Expected networks with"):
        make("sac", critics=3).set_state(agent.get_state())
    agent.save(tmp_path / "agent.pt")
    with pytest.raises(ValueError, match="one of 'sac'"):
        make("td3").load(tmp_path / "agent.pt")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sac", {"gamma": 1.5}, r"Expected gamma in \[0, 1\], got 1.5"),
        ("td3", {"batch": 0}, "Expected batch >= 1"),
        ("sac", {"updates_per_step": 0.0}, "Expected a finite updates_per_step > 0"),
        ("td3", {"learning_rate": float("nan")}, "Expected a finite learning_rate > 0"),
        ("sac", {"initial_temperature": 0.0}, "Expected a finite initial_temperature > 0"),
        ("sac", {"target_critics": 3}, r"Expected target_critics in \[1, critics=2\], got 3"),
        ("td3", {"hindsight": "futur"}, "Did you mean 'future'"),
        ("td3", {"activation": "rleu"}, "Did you mean 'relu'"),
        ("sac", {"precision": "float16"}, "Did you mean 'bfloat16' or 'float32'"),
        ("td3", {"exploration_noise": 0.3, "exploration_noise_max": 0.1}, "exploration_noise_max >= exploration_noise"),
        ("td3", {"target_noise": -1.0}, "Expected target_noise >= 0"),
        ("sac", {"warmup_steps": 10, "capacity": 5}, "Expected warmup_steps <= capacity=5, got 10"),
        ("sac", {"hidden": ()}, "at least one hidden layer"),
        ("td3", {"seed": -1}, "Expected a seed in"),
    ],
)
def test_settings_out_of_range_are_refused(name, changes, message):
    with pytest.raises((ValueError, KeyError), match=message):
        agent_config_class(name)(**changes)


def test_they_are_registered():
    assert set(NAMES) <= set(list_agents())
    assert isinstance(make("sac"), SAC)
    assert isinstance(make("td3"), TD3)
    assert (agent_config_class("sac"), agent_config_class("td3")) == (SACConfig, TD3Config)
    assert fetch_ddpg().critics == 1
    assert fetch_sac().batch == 2048
    with pytest.raises(TypeError, match=r"no option 'update_per_step'. Did you mean 'updates_per_step'"):
        make_agent("sac", make_line(2), update_per_step=1.0)
    assert cairngym.list_envs()
