"""A small continuous world for tests: a point on a line, pushed by the action and by noise."""

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import StateField, Task, TensorEnv, World
from cairngym.envs.random import Stream, uniform


class LineWorld(World):
    """Position `(N,)` in m; action (0, 1) adds 0.3 x action + noise in [-0.1, 0.1)."""

    def __init__(self, num_envs=1, device="cpu"):
        self.num_envs, self.device = num_envs, torch.device(device)
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.state_spec = {"position": StateField(shape=(), unit="m", description="Where the point is.")}
        self.position = torch.zeros(num_envs, device=self.device)

    def begin(self, mask, episodes):
        draw = uniform(episodes.seed, episodes.env_id, episodes.number, Stream.LEVEL, 1)[:, 0]
        self.position = torch.where(mask, draw * 0.2 - 0.1, self.position)

    def advance(self, action):
        life = self.episodes
        draw = uniform(life.seed, life.env_id, life.number, Stream.DYNAMICS, 1, step=life.length)[:, 0]
        self.position = self.position + 0.3 * action[:, 0] + draw * 0.2 - 0.1

    @property
    def state(self):
        return {"position": self.position}

    def get_state(self):
        return {"position": self.position.clone()}

    def set_state(self, snapshot):
        self.position = snapshot["position"].clone()

    def render(self, env_ids):
        return tuple(np.full((4, 4, 3), i, np.uint8) for i in env_ids)


class LineTask(Task):
    """Reach 1 m; falling to -1 m fails."""

    horizon = 12

    def __init__(self, terminate_on_success=True):
        self.terminate_on_success = terminate_on_success
        self.single_observation_space = spaces.Dict(
            {"where": spaces.Box(-np.inf, np.inf, (1,), np.float32), "side": spaces.Box(0, 1, (1,), np.int64)}
        )
        self.categories = {"side": ((0, 1),)}

    def observe(self, state):
        where = state["position"][:, None]
        return {"where": where, "side": (where > 0).long()}

    def success(self, state):
        return state["position"] >= 1.0

    def failure(self, state):
        return state["position"] <= -1.0

    def progress(self, state):
        return state["position"].clamp(0.0, 1.0)


def make_line(num_envs=1, device="cpu", seed=0, *, terminate_on_success=True, world=LineWorld, **options):
    return TensorEnv(world(num_envs, device), LineTask(terminate_on_success), seed=seed, **options)
