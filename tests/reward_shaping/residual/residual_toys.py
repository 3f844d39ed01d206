"""Base policies small enough to be followed by hand."""

import torch

from cairngym.envs.core import where
from cairngym.reward_shaping.residual.base import BasePolicy


class ChunkBase(BasePolicy):
    """Plans `chunk` actions at a time from what it sees then: the sign of the first number, at growing strength."""

    def __init__(self, env, num_envs, *, chunk=3, entry=None):
        self.chunk, self.entry = chunk, entry
        self.plan = torch.zeros(num_envs, chunk, 1, device=env.device)
        self.left = torch.zeros(num_envs, dtype=torch.int64, device=env.device)

    def begin(self, mask):
        self.left = torch.where(mask, 0, self.left)

    def act(self, obs, state, lives):
        seen = obs[self.entry] if self.entry else obs
        strength = 0.25 * torch.arange(1, self.chunk + 1, device=seen.device).view(1, -1, 1)
        self.plan = where(self.left == 0, torch.where(seen[:, :1] > 0, -1.0, 1.0).unsqueeze(1) * strength, self.plan)
        self.left = torch.where(self.left == 0, self.chunk, self.left) - 1
        return self.plan[torch.arange(len(self.left)), self.chunk - 1 - self.left]

    def get_state(self):
        return {"plan": self.plan.clone(), "left": self.left.clone()}

    def set_state(self, snapshot):
        self.plan, self.left = snapshot["plan"].clone(), snapshot["left"].clone()


class ShiftedBase(BasePolicy):
    """Goes to a place `shift` beside the goal of `goal_toys`; it has no memory."""

    def __init__(self, env, num_envs, *, shift=0.8):
        self.shift = shift

    def act(self, obs, state, lives):
        return (state["goal"] + self.shift - state["position"]).clamp(-1.0, 1.0)


class WrongBase(BasePolicy):
    """Answers `answer`, whatever is asked."""

    def __init__(self, env, num_envs, *, answer=None):
        self.answer = answer

    def act(self, obs, state, lives):
        return self.answer
