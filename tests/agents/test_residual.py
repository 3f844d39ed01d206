"""The residual agent: what it executes, stores and believes; each trap of the published code is a test."""

import ast
import dataclasses
import itertools
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from agent_toys import tracking
from goal_toys import make_line
from torch.nn import functional

import cairngym.agents
import cairngym.reward_shaping.residual
from cairngym.agents.critics import Minibatch
from cairngym.agents.demonstrations import collect
from cairngym.agents.evaluation import evaluate
from cairngym.agents.off_policy_config import RLPDConfig
from cairngym.agents.oracles import register_oracle
from cairngym.agents.ppo import PPO
from cairngym.agents.ppo_config import PPOConfig
from cairngym.agents.residual import Residual
from cairngym.agents.residual_base import CheckpointBase
from cairngym.agents.residual_config import ResidualConfig
from cairngym.agents.residual_demonstrations import with_base_actions
from cairngym.agents.residual_networks import BoxClip
from cairngym.agents.sac import RLPD
from cairngym.agents.td3 import TD3, TD3Config
from cairngym.reward_shaping.residual.wrapper import Residual as Wrapper

sys.path.append(str(Path(__file__).parents[1] / "reward_shaping" / "residual"))
from residual_toys import ChunkBase, ShiftedBase

SMALL = {
    "hidden": (16, 16), "batch": 32, "warmup_steps": 64, "capacity": 2048, "critics": 3, "updates_per_step": 0.1,
    "critic_only_updates": 4, "policy_delay": 2, "report_period": 400,
}  # fmt: skip
CHUNKS = partial(ChunkBase, entry="observation")
LINE = "ResidualGoalLine-v0"


def towards(obs, state):
    return (state["goal"] - state["position"]).clamp(-1.0, 1.0)


register_oracle("residual_goal_line", LINE, lambda env: towards)


def corrected(num_envs=8, base=ShiftedBase, scale=0.5, **options):
    inner = make_line(num_envs, **options)
    inner.id = LINE
    return Wrapper(inner, base=base, scale=scale)


def make(env=None, **changes):
    return Residual(env or corrected(), ResidualConfig(**{**SMALL, **changes}))


def fake_batch(agent, base, size=4):
    """A batch whose base actions are `base` `(size,)`."""
    draw = torch.Generator().manual_seed(1)
    wide = agent.features.size - 1
    features, following = (
        torch.cat((torch.randn(size, wide, generator=draw), torch.tensor(base).view(-1, 1)), 1) for _ in range(2)
    )
    return Minibatch(
        features=features, action=torch.rand(size, 1, generator=draw), reward=torch.tensor([-1.0, 0.0, -1.0, -1.0]),
        next_features=following, discount=torch.tensor([0.5, 0.5, 0.0, 0.5]),
        noise=torch.randn(size, agent.noise_draws, generator=draw),
    )  # fmt: skip


def stir(agent, seed=3):
    """Let the correction be something."""
    with torch.no_grad():
        agent.policy.head.weight.normal_(0.0, 1.0, generator=torch.Generator().manual_seed(seed))
    agent.networks["target_policy"].load_state_dict(agent.policy.state_dict())


# What it does --------------------------------------------------------------------------------------------------------


def test_it_begins_as_its_base_and_learns_to_correct_it():
    changes = {"hidden": (32, 32), "batch": 128, "updates_per_step": 0.25, "tau": 0.03, "learning_rate": 1e-3}
    agent = make(
        corrected(16, size=3.0), **changes, actor_learning_rate=1e-3, gamma=0.9, warmup_steps=400,
        critic_only_updates=50, demonstrations="oracle", demonstration_episodes=8, exploration_noise=0.1,
    )  # fmt: skip
    obs, _ = corrected(16, size=3.0).reset(seed=1)
    assert not agent.actor(16).act(obs).any()
    test, episodes = corrected(64, size=3.0), 64
    before = evaluate(agent, test, episodes, seed=3).successes_at_end
    heard = []
    agent.learn(agent.env, 2000, [heard.append])
    assert before < 0.3 * episodes
    assert evaluate(agent, test, episodes, seed=3).successes_at_end >= 0.9 * episodes
    assert {"residual_norm", "clipped_fraction", "action_change", "loss/actor", "q_mean"} <= heard[-1].keys()
    assert 0.0 < heard[-1]["residual_norm"] <= 0.5 + 4 * 0.1
    assert 0.0 <= heard[-1]["clipped_fraction"] <= 1.0


def test_smoothness_is_that_of_the_executed_actions():
    agent, heard = make(corrected(3, base=CHUNKS), warmup_steps=200), []
    seen = []
    step = agent.env.step

    def watched(action):
        seen.append((step(action), agent.env.unwrapped.episodes.length.clone()))
        return seen[-1][0]

    agent.env.step = watched
    agent.learn(agent.env, 90, [heard.append])
    changes = [
        abs(float(now[0][-1]["executed_action"][i] - before[0][-1]["executed_action"][i]))
        for before, now in itertools.pairwise(seen)
        for i in range(3)
        if before[1][i] > 0
    ]
    assert heard[-1]["action_change"] == pytest.approx(np.mean(changes), rel=1e-5)
    norms = [float((r[-1]["executed_action"] - r[-1]["base_action"]).abs().mean()) for r, _ in seen]
    assert heard[-1]["residual_norm"] == pytest.approx(np.mean(norms), rel=1e-5)


def test_the_critics_see_the_executed_action_and_the_correction_sees_the_bases():
    agent = make()
    stir(agent)
    batch = fake_batch(agent, [0.2, -0.4, 0.9, -1.0])
    other = torch.cat((batch.features[:, :-1], -batch.features[:, -1:]), 1)
    assert torch.equal(agent.critic(batch.features, batch.action), agent.critic(other, batch.action))
    assert not torch.equal(agent.policy.correction(batch.features), agent.policy.correction(other))
    executed = agent.policy(batch.features)
    by_hand = (batch.features[:, -1:] + 0.5 * agent.policy.correction(batch.features)).clamp(-1.0, 1.0)
    assert torch.equal(executed, by_hand)
    loss = agent.actor_loss(batch)[0]
    torch.testing.assert_close(loss, -agent.critic(batch.features, by_hand).mean())
    penalty = make(action_penalty=2.0)
    penalty.networks.load_state_dict(agent.networks.state_dict())
    dearer = 2.0 * agent.policy.correction(batch.features).square().mean()
    torch.testing.assert_close(penalty.actor_loss(batch)[0], loss + dearer)


def test_targets_ask_a_pair_of_critics_about_the_next_executed_action():
    agent = make(target_noise=0.2, target_noise_clip=0.1, gamma=0.5)
    stir(agent)
    batch = fake_batch(agent, [0.2, -0.4, 0.9, -1.0])._replace(noise=torch.tensor([[0.25], [-5.0], [0.0], [5.0]]))
    noise = torch.tensor([[0.05], [-0.1], [0.0], [0.1]])
    policy = agent.networks["target_policy"]
    action = (policy.base(batch.next_features) + 0.5 * policy.correction(batch.next_features)).clamp(-1, 1) + noise
    values = agent.networks["target_critic"](batch.next_features, action.clamp(-1.0, 1.0))
    for pair in ([2, 0], [1, 2]):
        expected = (batch.reward + batch.discount * values[pair].amin(0)).clamp(-2.0, 0.0)
        torch.testing.assert_close(agent.target(batch, torch.tensor(pair)), expected)
    assert agent.bounds == (-2.0, 0.0)


def test_what_is_stored_is_what_was_executed_with_the_bases_action_at_both_ends():
    env = corrected(4, base=CHUNKS)
    agent = make(env, warmup_steps=40, warmup_noise=1.0, exploration_noise=0.4, updates_per_step=0.05)
    stir(agent)
    told = []
    step = env.step
    env.step = lambda action: told.append(step(action)) or told[-1]
    agent.learn(env, 400)
    first, newest = agent.replay.first, agent.replay.ring
    assert (first.filled, newest.filled) == (10, 90)
    for t, (_, _, terminated, truncated, info) in enumerate(told):
        ring, row = (first, t) if t < 10 else (newest, t - 10)
        held = ring.columns
        assert torch.equal(held["action"][row], info["executed_action"])
        assert torch.equal(held["obs"]["base_action"][row], info["base_action"])
        assert torch.equal(held["next_obs"]["base_action"][row], info["final_obs"]["base_action"])
        assert torch.equal(held["truncated"][row], truncated)
        assert not terminated.any()
    away = torch.cat([(info["executed_action"] - info["base_action"]).abs() for *_, info in told[10:]])
    assert float(away.max()) > 0.5  # noise is in units of the action and may lead farther than the scale
    assert float(torch.cat([info["clipped"] for *_, info in told]).mean()) > 0.01


def test_the_warm_up_is_the_base_with_noise_and_is_kept_for_ever():
    env = corrected(8, base=CHUNKS)
    agent = make(env, warmup_steps=60, capacity=96, warmup_noise=0.2)
    agent.learn(env, 64)
    assert agent.updates_done == 4  # those of the critics alone; 0.8 are earned
    kept = {name: value.clone() for name, value in agent.replay.first.columns["obs"].items()}
    off = agent.replay.first.columns["action"] - kept["base_action"]
    assert 0.1 < float(off.abs().max()) <= 0.2 + 1e-6
    agent.learn(env, 400)
    assert agent.replay.first.filled == 8
    assert agent.replay.ring.filled == 12
    assert agent.replay.size == 160
    assert all(torch.equal(kept[name], value) for name, value in agent.replay.first.columns["obs"].items())
    drawn = agent.replay.sample(4000).obs["observation"]
    old = (drawn == kept["observation"].flatten(0, 1).T).any(1).float().mean()
    assert float(old) >= 0.39  # 64 of 160, and those that look the same
    counts = [agent.replay._owed]
    for _ in range(10):
        agent.replay.sample(3)
        counts.append(agent.replay._owed)
    assert max(counts) < 1.0
    assert make(corrected(), keep_warmup=False).replay.first.length == 0


def test_the_critics_learn_alone_first_and_at_once():
    agent = make(critic_only_updates=30, warmup_steps=64, policy_delay=1, updates_per_step=0.125)
    agent.learn(agent.env, 64)
    assert agent.updates_done == 31
    heads = [agent.policy.head.weight.clone()]
    assert heads[0].any()  # the 31st step moved it
    other = make(critic_only_updates=32, warmup_steps=64, policy_delay=1, updates_per_step=0.125)
    other.learn(other.env, 56)
    fresh = other.critic.head.weight.clone()
    assert other.updates_done == 0
    other._learn_from_replay(20)
    assert not other.policy.head.weight.any()
    assert not torch.equal(fresh, other.critic.head.weight)


def test_the_schedule_corrects_a_growing_share_of_the_decisions():
    agent = make(corrected(2000), progressive_steps=100_000, warmup_steps=0, exploration_noise=0.3)
    obs, _ = agent.env.reset(seed=1)
    base = agent.features.base_action(obs)
    for done, share in ((0, 0.0), (25_000, 0.25), (100_000, 1.0)):
        agent.steps_done = done
        drawn = float((agent._choose(obs) != base).float().mean())
        assert abs(drawn - share) < 0.04
        assert drawn == share or 0.0 < share < 1.0


# The traps -----------------------------------------------------------------------------------------------------------


def test_trap_1_heads_are_fitted_apart():
    """The square of the mean absolute error over heads would let a bad head push the others harder."""
    agent = make()
    batch = fake_batch(agent, [0.2, -0.4, 0.9, -1.0])

    def gradient():
        agent.critic.zero_grad()
        agent.critic_loss(batch, torch.tensor([0, 1]))[0].backward()
        return agent.critic.head.weight.grad[1].clone()

    plain = gradient()
    with torch.no_grad():
        agent.critic.head.bias[0] += 50.0
    assert torch.equal(gradient(), plain)
    assert plain.any()


@pytest.mark.parametrize(("gamma", "n_step"), [(0.9, 3), (0.5, 5), (0.9, 1)])
def test_trap_2_discount_and_steps_are_those_of_the_settings(gamma, n_step):
    """A hard-coded discount of 0.99 and a single step."""
    agent = make(corrected(4, horizon=8), gamma=gamma, n_step=n_step, warmup_steps=160)
    agent.learn(agent.env, 160)
    batch = agent.replay.sample(300)
    powers = {round(gamma**k, 6) for k in range(1, n_step + 1)}
    assert {round(value, 6) for value in batch.discount.tolist()} == powers
    whole = batch.discount.isclose(torch.tensor(gamma**n_step))
    assert float(batch.reward[whole].min()) == pytest.approx(-sum(gamma**k for k in range(n_step)))


def test_trap_3_time_limits_are_bootstrapped_and_ends_are_not():
    """Storing "terminated or truncated" as the end, and asking for n whole steps ahead, would lose both."""
    agent = make(corrected(4, horizon=2, fails_beyond=4.5), n_step=3, gamma=0.5, warmup_steps=400)
    agent.learn(agent.env, 400)
    ring = agent.replay.first
    assert ring.columns["truncated"].any()
    assert ring.columns["terminated"].any()
    batch = agent.replay.sample(500)
    assert set(batch.discount.tolist()) == {0.5, 0.25, 0.0}
    failed = batch.next_obs["achieved_goal"].abs()[:, 0] > 4.5
    assert torch.equal(batch.discount == 0.0, failed)


def test_trap_4_many_envs_keep_their_steps_apart():
    """A transform of n steps over one stream would join the steps of neighbours."""
    agent = make(corrected(5, base=CHUNKS, size=50.0), n_step=4, gamma=0.5, warmup_steps=400)
    agent.learn(agent.env, 400)
    held = agent.replay.first.columns
    lives = {}
    for i in range(5):
        for t in range(agent.replay.first.filled):
            goal, position = (float(held["obs"][name][t, i]) for name in ("desired_goal", "achieved_goal"))
            lives.setdefault((goal, round(position, 5)), []).append((t, i))
    batch = agent.replay.sample(200)
    for row in range(200):
        goal, position = (float(batch.obs[name][row]) for name in ("desired_goal", "achieved_goal"))
        steps = round(float(-torch.log2(batch.discount[row])))
        ends = [
            float(held["next_obs"]["achieved_goal"][t + steps - 1, i])
            for t, i in lives[goal, round(position, 5)]
            if t + steps <= agent.replay.first.filled
        ]
        assert float(batch.next_obs["achieved_goal"][row]) in ends


def test_trap_5_a_correction_that_left_the_box_finds_back():
    """Plain clipping has no gradient outside of the box."""
    wanted = torch.tensor([1.4, 1.4, -1.4, -1.4, 0.3], requires_grad=True)
    slope = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    (BoxClip.apply(wanted) * slope).sum().backward()
    assert wanted.grad.tolist() == [1.0, 0.0, 0.0, -1.0, 2.0]  # a descent on 1.4 with slope 1 leads back

    agent = make(corrected(scale=0.5), actor_learning_rate=0.02)
    with torch.no_grad():
        agent.policy.head.bias.fill_(2.0)
    batch = fake_batch(agent, [0.9, 0.9, 0.9, 0.9])

    class Wants(torch.nn.Module):
        def forward(self, features, action, members=None):
            return -(action - 0.7).square().T

    agent.frozen_critic, agent._actor_loss = Wants(), agent.actor_loss
    assert (agent.policy(batch.features) == 1.0).all()
    for _ in range(150):
        agent._descend(agent.actor_optimizer, agent.policy, agent.actor_loss(batch)[0])
    torch.testing.assert_close(agent.policy(batch.features), torch.full((4, 1), 0.7), atol=0.02, rtol=0.0)


def test_trap_6_the_batched_critics_are_their_single_selves():
    """A batched path that differs from one head at a time."""
    agent = make(critics=10)
    batch = fake_batch(agent, [0.2, -0.4, 0.9, -1.0])
    together = agent.critic(batch.features, batch.action)
    for k in range(10):
        x = torch.cat((batch.features[:, :-1], batch.action), 1)
        for layer in agent.critic.layers:
            x = functional.layer_norm(x @ layer.weight[k] + layer.bias[k], (16,)).relu()
        alone = (x @ agent.critic.head.weight[k] + agent.critic.head.bias[k])[:, 0]
        torch.testing.assert_close(together[k], alone)
    assert ResidualConfig().critics == 10
    assert ResidualConfig().layer_norm


def test_trap_7_nothing_is_fetched_and_no_service_is_needed():
    """Logging services and model hubs as hard dependencies of the base's weights."""
    folders = (Path(cairngym.agents.__path__[0]), Path(cairngym.reward_shaping.residual.__path__[0]))
    files = [*folders[0].glob("residual*.py"), *folders[1].glob("*.py")]
    assert len(files) >= 9
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            roots = {name.split(".")[0] for name in names}
            assert roots <= {*sys.stdlib_module_names, "torch", "numpy", "gymnasium", "cairngym"}, file


# Demonstrations ------------------------------------------------------------------------------------------------------


def test_the_base_watches_demonstrations_episode_by_episode():
    env = corrected(4, base=CHUNKS)
    shown = collect(towards, make_line(4, terminate_on_success=True), 7, seed=3)
    before = env.base.get_state()
    marked = with_base_actions(shown, env)
    assert all(torch.equal(before[name], value) for name, value in env.base.get_state().items())
    ends = shown.lengths.cumsum(0).tolist()
    assert len(set(shown.lengths.tolist())) > 1
    for first, end in zip([0, *ends[:-1]], ends, strict=True):
        alone, always = ChunkBase(env, 1, entry="observation"), torch.ones(1, dtype=torch.bool)
        alone.begin(always)
        wanted = [alone.act({"observation": shown.obs["observation"][first : first + 1]}, {}, None)]
        for t in range(first, end):
            wanted.append(alone.act({"observation": shown.next_obs["observation"][t : t + 1]}, {}, None))
        wanted = torch.cat(wanted)
        assert torch.equal(marked.obs["base_action"][first:end], wanted[:-1])
        assert torch.equal(marked.next_obs["base_action"][first:end], wanted[1:])
    assert torch.equal(marked.action, shown.action)


def test_half_of_a_batch_are_demonstrated_whole_actions():
    agent = make(corrected(8, base=CHUNKS), demonstrations="oracle", demonstration_episodes=5, warmup_steps=64)
    agent.learn(agent.env, 64)
    batch = agent.replay.sample(200)
    whole = (batch.obs["desired_goal"] - batch.obs["achieved_goal"]).clamp(-1.0, 1.0)
    assert int((whole == batch.action)[:, 0].sum()) >= 100
    assert agent.replay.demonstrations.columns["next_obs"]["base_action"].abs().min() >= 0.25
    rlpd = RLPD(
        make_demonstrated(), RLPDConfig(demonstrations="oracle", demonstration_episodes=5, hidden=(8,), warmup_steps=8)
    )
    rlpd.learn(rlpd.env, 8)
    own, others = agent.replay.demonstrations.columns, rlpd.replay.demonstrations.columns
    assert torch.equal(own["action"], others["action"])  # both learn from the same episodes
    assert torch.equal(own["obs"]["achieved_goal"], others["obs"]["achieved_goal"])


def make_demonstrated(num_envs=8):
    env = make_line(num_envs)
    env.id = LINE
    return env


def test_demonstrations_that_do_not_fit_are_refused():
    env = corrected(4)
    shown = collect(towards, make_line(4), 3)
    with pytest.raises(ValueError, match="Record them without it"):
        with_base_actions(dataclasses.replace(shown, obs={**shown.obs, "base_action": shown.action}), env)
    with pytest.raises(ValueError, match=r"none of 'goal'.*They hold the state fields none"):
        with_base_actions(dataclasses.replace(shown, state={}, next_state={}), env)
    with pytest.raises(ValueError, match="Expected demonstrated observations of"):
        with_base_actions(shown, Wrapper(tracking(4), base=CHUNKS))


# A saved agent as the base -------------------------------------------------------------------------------------------


def test_a_saved_agent_is_a_base(tmp_path):
    td3 = TD3(make_line(8), TD3Config(hidden=(16,), warmup_steps=64, batch=16, updates_per_step=0.2, capacity=512))
    td3.learn(td3.env, 160)
    td3.save(tmp_path / "checkpoint.pt")
    steps = td3.steps_done
    env = Wrapper(make_line(5), base="checkpoint", base_options={"path": str(tmp_path)}, scale=0.3)
    assert isinstance(env.base, CheckpointBase)
    obs, _ = env.reset(seed=2)
    for _ in range(12):
        plain = {name: entry for name, entry in obs.items() if name != "base_action"}
        assert torch.equal(obs["base_action"], td3.actor(5, deterministic=True).act(plain))
        obs, *_, info = env.step(torch.zeros(5, 1))
        assert torch.equal(info["executed_action"], info["base_action"])
    assert td3.steps_done == steps
    with pytest.raises(FileNotFoundError, match="Expected a checkpoint"):
        Wrapper(make_line(5), base="checkpoint", base_options={"path": str(tmp_path / "none.pt")})
    with pytest.raises(ValueError, match="Expected networks with"):
        Wrapper(tracking(5), base="checkpoint", base_options={"path": str(tmp_path)})


def test_a_recurrent_agents_memory_belongs_to_the_snapshot(tmp_path):
    ppo = PPO(make_line(4), PPOConfig(memory=8))
    with torch.no_grad():
        for parameter in ppo.model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    ppo.save(tmp_path / "ppo.pt")
    make_env = partial(Wrapper, base="checkpoint", base_options={"path": str(tmp_path / "ppo.pt")})
    env, other = make_env(make_line(4)), make_env(make_line(4))
    obs, _ = env.reset(seed=2)
    actor, fresh = ppo.actor(4, deterministic=True), torch.ones(4, dtype=torch.bool)
    shown = []
    for t in range(24):
        if t == 9:
            snapshot = env.get_state()
        actor.begin(fresh)
        plain = {name: entry for name, entry in obs.items() if name != "base_action"}
        assert torch.equal(obs["base_action"], actor.act(plain))
        shown.append(obs["base_action"])
        obs, *_, info = env.step(torch.zeros(4, 1))
        fresh = info["_episode"]
    assert snapshot["base"]["memory"].any()
    other.reset(seed=5)
    other.set_state(snapshot)
    for t in range(9, 23):
        assert torch.equal(other.step(torch.zeros(4, 1))[0]["base_action"], shown[t + 1])


# How it goes on ------------------------------------------------------------------------------------------------------


def test_saved_and_continued_equals_uninterrupted(tmp_path):
    changes = {"capacity": 160, "progressive_steps": 400, "demonstrations": "oracle", "demonstration_episodes": 3}

    def begin():
        return make(corrected(8, base=CHUNKS, seed=5), **changes)

    straight, first, second = begin(), begin(), begin()
    straight.learn(straight.env, 480)
    first.learn(first.env, 248)
    first.save(tmp_path / "agent.pt")
    second.load(tmp_path / "agent.pt")
    second.learn(second.env, 232)
    assert straight.updates_done == second.updates_done > 40
    one, other = straight.networks.state_dict(), second.networks.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(straight.replay.sample(32).action, second.replay.sample(32).action)


def test_gradients_are_cut_to_their_norm():
    agent = make(max_grad_norm=0.01)
    batch = fake_batch(agent, [0.2, -0.4, 0.9, -1.0])
    agent._descend(agent.critic_optimizer, agent.critic, agent.critic_loss(batch, torch.tensor([0, 1]))[0])
    total = torch.stack([parameter.grad.norm() for parameter in agent.critic.parameters()]).norm()
    assert float(total) == pytest.approx(0.01, rel=1e-3)


# What it refuses -----------------------------------------------------------------------------------------------------


def test_unfit_envs_and_settings_are_refused():
    with pytest.raises(TypeError, match='Put it in the wrapper "residual"'):
        make(make_line(4))
    agent = make()
    with pytest.raises(ValueError, match=r"Expected the scale 0.5 .* got 0.25"):
        agent.learn(corrected(scale=0.25), 8)
    for changes, message in (
        ({"hindsight": "future"}, 'Expected hindsight="none" for residual'),
        ({"random_actions": 0.1}, "Expected random_actions=0 for residual"),
        ({"warmup_noise": -0.1}, "Expected warmup_noise >= 0"),
        ({"critic_only_updates": -1}, "Expected critic_only_updates >= 0"),
        ({"progressive_steps": -1}, "Expected progressive_steps >= 0"),
        ({"max_grad_norm": 0.0}, "Expected a finite max_grad_norm > 0"),
        ({"demonstration_episodes": 0}, "Expected demonstration_episodes >= 1"),
        ({"demonstrations": "oracle:nose=1"}, "Did you mean 'noise'"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            ResidualConfig(**changes)


def test_one_env_and_episodes_of_one_step():
    heard = []
    agent = make(corrected(1, horizon=1), warmup_steps=20, critic_only_updates=2)
    agent.learn(agent.env, 60, [heard.append])
    assert agent.updates_done > 2
    assert heard[-1]["action_change"] is None  # no step follows another
    assert np.isfinite(heard[-1]["loss/critic"])


def test_rlpd_is_sac_with_the_published_settings():
    config = RLPDConfig()
    assert (config.critics, config.target_critics) == (10, 2)
    assert (config.updates_per_step, config.demonstration_ratio) == (20.0, 0.5)
    assert config.layer_norm
    assert not config.entropy_backup
    agent = RLPD(make_line(2), RLPDConfig(hidden=(8,)))
    assert agent.target_entropy == -0.5
    assert RLPD(make_line(2), RLPDConfig(hidden=(8,), target_entropy=-3.0)).target_entropy == -3.0
