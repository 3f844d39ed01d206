"""LaRe against the episodic return alone, on a task whose every step matters."""

import pytest
from lare_toys import FACTORS, LENGTH, matching

from cairngym.agents.ppo import PPO, PPOConfig
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.lare.shaper import LaReShaper


def learned(shaper, seed, iterations=18):
    """The mean return of the last rollout; a random policy gets a quarter."""
    env = matching(32, seed)
    if shaper is not None:
        env = ShapedEnv(env, [Term(name="lare", shaper=shaper)])
    config = PPOConfig(rollout_steps=LENGTH, minibatch=256, epochs=4, hidden=(32,), learning_rate=3e-3, seed=seed)
    returns = []
    agent = PPO(env, config)
    agent.learn(env, iterations * 32 * LENGTH, [lambda metrics: returns.append(metrics["episode_return"])])
    return returns[-1]


@pytest.mark.parametrize("seed", [0, 1])
def test_redistributed_returns_teach_faster_than_the_return_at_the_end(seed):
    options = {"hidden": (32,), "warmup": 32, "updates": 16, "learning_rate": 3e-3, "seed": seed}
    alone = learned(None, seed)
    redistributed = learned(LaReShaper(source=FACTORS, **options), seed)
    assert alone < 0.8
    assert redistributed > 0.93
