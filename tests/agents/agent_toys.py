"""Worlds small enough that the best return is known."""

from types import SimpleNamespace

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import StateField, Task, TensorEnv, World, where
from cairngym.envs.random import Stream, integers, uniform


class ToyWorld(World):
    """One number is drawn per step (or per episode) and shown; the action is kept for the task to judge."""

    def __init__(self, num_envs, action_space, draw, each_step=True):
        self.num_envs, self.device = num_envs, torch.device("cpu")
        self.single_action_space, self.draw, self.each_step = action_space, draw, each_step
        self.shown = draw(
            SimpleNamespace(seed=0, env_id=torch.arange(num_envs), number=torch.zeros(num_envs).long()), 0
        )
        self.asked, self.action = self.shown, torch.zeros_like(self.shown)
        self.age = torch.zeros(num_envs, dtype=torch.int64)
        age = StateField(shape=(), unit="step", description="Steps taken.", dtype=torch.int64)
        self.state_spec = {"age": age}
        self.life = None

    def begin(self, mask, episodes):
        self.life = episodes
        self.shown = where(mask, self.draw(episodes, 0), self.shown)
        self.asked = where(mask, self.shown, self.asked)
        self.age = torch.where(mask, 0, self.age)

    def advance(self, action):
        self.asked, self.action, self.age = self.shown, action, self.age + 1
        if self.each_step:
            self.shown = self.draw(self.life, self.age)

    @property
    def state(self):
        return {"shown": self.shown, "asked": self.asked, "action": self.action, "age": self.age}

    def get_state(self):
        return {name: value.clone() for name, value in self.state.items()}

    def set_state(self, snapshot):
        for name, value in snapshot.items():
            setattr(self, name, value.clone())


def draw_integer(high):
    def draw(life, age):
        step = torch.zeros_like(life.env_id) + age
        return integers(life.seed, life.env_id, life.number, Stream.DYNAMICS, high, step=step)[:, 0]

    return draw


def draw_float(life, age):
    step = torch.zeros_like(life.env_id) + age
    return uniform(life.seed, life.env_id, life.number, Stream.DYNAMICS, 1, step=step) * 2.0 - 1.0


class ToyTask(Task):
    terminate_on_success = False

    def __init__(self, space, observe, good, horizon=16, categories=None):
        self.single_observation_space, self.observe_, self.good, self.horizon = space, observe, good, horizon
        self.categories = categories or {}

    def observe(self, state):
        return self.observe_(state)

    def success(self, state):
        return self.good(state)


def identity(num_envs=64, actions=4, dict_obs=True):
    """Success where the action equals the code shown."""
    space = spaces.Box(0, actions - 1, (1,), np.int64)
    world = ToyWorld(num_envs, spaces.Discrete(actions), draw_integer(actions))
    task = ToyTask(
        spaces.Dict(code=space) if dict_obs else space,
        lambda s: {"code": s["shown"].unsqueeze(1)} if dict_obs else s["shown"].unsqueeze(1),
        lambda s: s["action"] == s["asked"],
        categories={"code": (tuple(range(actions)),)} if dict_obs else {},
    )
    return TensorEnv(world, task)


def tracking(num_envs=64, low=-2.0, high=2.0, tolerance=0.2):
    """Success where a continuous action lies near the number shown, stretched to the action's bounds."""
    world = ToyWorld(num_envs, spaces.Box(low, high, (1,), np.float32), draw_float)
    task = ToyTask(
        spaces.Box(-1.0, 1.0, (1,), np.float32),
        lambda s: s["shown"],
        lambda s: ((s["action"] - s["asked"] * high).abs() < tolerance * high).squeeze(1),
    )
    return TensorEnv(world, task)


def recall(num_envs=64, delay=3):
    """Success where the last action equals the code that was shown at the first step only."""
    world = ToyWorld(num_envs, spaces.Discrete(2), draw_integer(2), each_step=False)
    task = ToyTask(
        spaces.Dict(code=spaces.Box(0, 2, (1,), np.int64)),
        lambda s: {"code": torch.where(s["age"] == 0, s["shown"], 2).unsqueeze(1)},
        lambda s: (s["action"] == s["asked"]) & (s["age"] == delay),
        horizon=delay,
        categories={"code": ((0, 1, 2),)},
    )
    return TensorEnv(world, task)


def success_of(env, agent, deterministic=True, episodes=256):
    """Mean task reward per step under the agent, on an env of its own."""
    from cairngym.agents.evaluation import evaluate

    found = evaluate(agent, env, episodes=episodes, seed=11, deterministic=deterministic)
    return found.mean_return / found.mean_length
