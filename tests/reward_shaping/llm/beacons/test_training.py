"""PPO reads the subgoals and learns from their reward."""

import pytest

import cairngym
from cairngym.agents.ppo import PPO, PPOConfig
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.beacons.observation import BeaconObservation
from cairngym.reward_shaping.llm.beacons.shaper import BeaconShaper


@pytest.mark.parametrize("kind", ["position", "object", "language"])
def test_ppo_learns_on_beacons(kind):
    inner = cairngym.make("MiniGrid-MultiRoom-N2-S4-v0", num_envs=32, bank_size=32, threads=1)
    env = ShapedEnv(BeaconObservation(inner, kind=kind), [Term(name="beacons", shaper=BeaconShaper(), weight=0.2)])
    agent = PPO(env, PPOConfig(rollout_steps=32, minibatch=256, hidden=(32,)))
    without = PPO(inner, PPOConfig(rollout_steps=32, minibatch=256, hidden=(32,)))
    assert agent.encoder.num_sites + agent.encoder.num_features > without.encoder.num_sites
    records = []
    agent.learn(env, 3 * 1024, [lambda metrics: records.append(metrics) or True])
    assert agent.steps_done == 3 * 1024
    assert any("beacons" in name for name in records[-1]), records[-1].keys()
