"""Every bonus against a slow oracle: numpy, one env after the other, on random walks with both kinds of ends."""

from collections import Counter

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from toy_worlds import make_line

from cairngym.envs.registry import make
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.curiosity.count import CountShaper
from cairngym.reward_shaping.curiosity.e3b import E3BShaper
from cairngym.reward_shaping.curiosity.icm import ICMShaper
from cairngym.reward_shaping.curiosity.rdd import RDDShaper
from cairngym.reward_shaping.curiosity.rnd import RNDShaper

N, ROLLOUTS, STEPS = 5, 5, 16
SIZES = {"hidden": 8, "update_proportion": 0.5, "minibatch": 16, "warmup": 20, "learning_rate": 0.01}


def chain(**options):
    return make("Chain-N10-v0", num_envs=N, length=3, **options)  # the goal is near, so both kinds of ends occur


def line(**options):
    return make_line(N, **options)


def dense(network, x):
    """An MLP with ReLU, layer after layer, in float64."""
    layers = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    for i, layer in enumerate(layers):
        x = layer.weight.detach().double().numpy() @ x + layer.bias.detach().double().numpy()
        x = np.maximum(x, 0.0) if i + 1 < len(layers) else x
    return x


def flat(obs, env, i):
    """Env i's numbers in the order of its space."""
    if isinstance(obs, torch.Tensor):
        return obs[i].double().numpy().ravel()
    return np.concatenate([obs[name][i].double().numpy().ravel() for name in env.single_observation_space.spaces])


class Oracle:
    """What one env after the other is paid; statistics over every sample, filters and memories one by one."""

    def __init__(self, shaper, env):
        self.shaper, self.env = shaper, env
        self.samples, self.every, self.steps = [], [], 0
        self.returns, self.divisor = np.zeros(N), 1.0
        self.met = [[] for _ in range(N)]
        shaper._reservoir.rows = self._listen(shaper._reservoir.rows)

    def _listen(self, rows):
        def listening():
            self.sample = rows()
            return self.sample

        return listening

    def normalized(self, x):
        return np.clip((x - self.mean) / np.sqrt(self.variance + 1e-8), -self.shaper.clip, self.shaper.clip)

    def phi(self, x):
        return dense(self.shaper.networks["inverse"].embed, self.normalized(x))

    def raw(self, i, obs, action, next_obs):
        nets, x = self.shaper.networks, flat(next_obs, self.env, i)
        if isinstance(self.shaper, RNDShaper):
            x = self.normalized(x)
            return np.mean((dense(nets["predictor"], x) - dense(nets["target"], x)) ** 2)
        after = self.phi(x)
        if isinstance(self.shaper, E3BShaper):
            inverse = np.linalg.inv(self.shaper.ridge * np.eye(len(after)) + sum(np.outer(p, p) for p in self.met[i]))
            self.met[i].append(after)
            return after @ inverse @ after
        space = self.env.single_action_space
        code = np.eye(space.n)[int(action[i])] if hasattr(space, "n") else action[i].double().numpy()
        predicted = dense(nets["forward"], np.concatenate((self.phi(flat(obs, self.env, i)), code)))
        return self.shaper.eta / 2 * np.sum((predicted - after) ** 2)

    def step(self, obs, action, info, valid):
        """What every env is paid."""
        paid = np.zeros(N)
        self.steps += bool(self.samples)
        for i in range(N):
            if not self.samples or not valid[i]:
                continue
            raw = self.raw(i, obs, action, info["final_obs"])
            self.returns[i] = self.shaper.discount * self.returns[i] + raw
            self.every.append(self.returns[i])
            paid[i] = raw / self.divisor if self.ready else 0.0
        return paid

    ready = False

    def update(self):
        self.samples.append(self.sample[:, : self.shaper.features].double().numpy())
        everything = np.concatenate(self.samples)
        self.mean, self.variance = everything.mean(0), everything.var(0)
        if self.shaper.normalize:
            self.divisor = np.std(self.every) if self.every and np.std(self.every) > 1e-8 else 1.0
        self.ready = not self.shaper.normalize or self.steps >= self.shaper.warmup

    def begin(self, i):
        self.met[i].clear()


class CountOracle:
    """A dictionary for every env."""

    def __init__(self, shaper, env):
        self.memory = [Counter() for _ in range(N)]

    def step(self, obs, action, info, valid):
        paid = np.zeros(N)
        for i in range(N):
            if valid[i]:
                key = tuple(np.floor(float(v[i]) / 0.1) if v.is_floating_point() else int(v[i])
                            for _, v in sorted(info["final_state"].items()))  # fmt: skip
                self.memory[i][key] += 1
                paid[i] = self.memory[i][key] ** -0.5
        return paid

    def update(self):
        pass

    def begin(self, i):
        self.memory[i].clear()


BONUSES = {
    "count": (CountShaper, {}, CountOracle),
    "rnd": (RNDShaper, SIZES, Oracle),
    "rdd": (RDDShaper, SIZES, Oracle),
    "e3b": (E3BShaper, {**SIZES, "features": 3}, Oracle),
    "e3b divided": (E3BShaper, {**SIZES, "features": 3, "normalize": True}, Oracle),
    "icm": (ICMShaper, {**SIZES, "features": 3, "eta": 1.0}, Oracle),
    "icm divided": (ICMShaper, {**SIZES, "features": 3, "normalize": True}, Oracle),
}


@pytest.mark.parametrize("world", [chain, line])
@pytest.mark.parametrize("mode", list(AutoresetMode)[:2])
@pytest.mark.parametrize("bonus", BONUSES)
def test_bonuses_equal_an_oracle_that_goes_env_by_env(bonus, mode, world):
    build, options, oracle_of = BONUSES[bonus]
    shaper = build(**options)
    env = ShapedEnv(world(autoreset_mode=mode), [Term(name="bonus", shaper=shaper)])
    oracle = oracle_of(shaper, env)
    env.action_space.seed(0)
    obs, _ = env.reset(seed=3)
    resting, paid, ends = np.zeros(N, bool), 0, Counter()
    for _ in range(ROLLOUTS):
        for _ in range(STEPS):
            action = torch.as_tensor(env.action_space.sample())
            following, _, terminated, truncated, info = env.step(action)
            expected = oracle.step(obs, action, info, ~resting)
            np.testing.assert_allclose(info["reward_terms"]["bonus"], expected, rtol=1e-5, atol=1e-5)
            paid += int((expected > 0).sum())
            done = (terminated | truncated).numpy()
            ends.update({"terminated": int(terminated.sum()), "truncated": int((truncated & ~terminated).sum())})
            for i in np.flatnonzero(done):
                oracle.begin(i)
            resting = done if mode is AutoresetMode.NEXT_STEP else resting
            obs = following
        env.update_shapers()
        oracle.update()
    assert paid > 100
    assert min(ends.values()) > 0, "both kinds of ends occurred"
