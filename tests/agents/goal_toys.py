"""A point on a line that is sent to goals: small enough that every relabelled reward is known by hand."""

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import StateField, TensorEnv, World, where
from cairngym.envs.goals import GoalTask
from cairngym.envs.random import Stream, integers


class GoalLineWorld(World):
    """Position and goal `(N, 1)` in m within [-size, size]; the action in [-1, 1] is added to the position.

    Both begin at whole numbers, so actions of -1, 0 and 1 keep them exact.
    """

    def __init__(self, num_envs, size=5.0, device="cpu"):
        self.num_envs, self.device, self.size = num_envs, torch.device(device), size
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.state_spec = {
            "position": StateField(shape=(1,), unit="m", description="Where the point is."),
            "goal": StateField(shape=(1,), unit="m", description="Where it is to go."),
        }
        self.position = torch.zeros(num_envs, 1, device=self.device)
        self.goal = torch.zeros_like(self.position)

    def begin(self, mask, episodes):
        reach = int(self.size)
        draws = integers(episodes.seed, episodes.env_id, episodes.number, Stream.LEVEL, 2 * reach + 1, 2) - reach
        self.position = where(mask, draws[:, :1].float(), self.position)
        self.goal = where(mask, draws[:, 1:].float(), self.goal)

    def advance(self, action):
        self.position = (self.position + action).clamp(-self.size, self.size)

    @property
    def state(self):
        return {"position": self.position, "goal": self.goal}

    def get_state(self):
        return {"position": self.position.clone(), "goal": self.goal.clone()}

    def set_state(self, snapshot):
        self.position, self.goal = snapshot["position"].clone(), snapshot["goal"].clone()


class GoalLineTask(GoalTask):
    """Be within 0.5 m of the goal; reward -1 until then, 0 there. Beyond `fails_beyond` (if given) all is lost."""

    progress_scale = 10.0
    progress_fields = ("position", "goal")

    def __init__(self, horizon=10, terminate_on_success=False, fails_beyond=None):
        super().__init__(
            observation_size=1, goal_size=1, threshold=0.5, horizon=horizon, reward_range=(-1.0, 0.0),
            terminate_on_success=terminate_on_success,
        )  # fmt: skip
        self.fails_beyond = fails_beyond

    def features(self, state):
        return state["position"]

    def achieved_goal(self, state):
        return state["position"]

    def failure(self, state):
        if self.fails_beyond is None:
            return super().failure(state)
        return state["position"][:, 0].abs() > self.fails_beyond


def make_line(
    num_envs, *, seed=0, horizon=10, size=5.0, terminate_on_success=False, fails_beyond=None, device="cpu", **kw
):
    """The line as a TensorEnv; further options are TensorEnv's, such as `autoreset_mode`."""
    task = GoalLineTask(horizon, terminate_on_success, fails_beyond)
    return TensorEnv(GoalLineWorld(num_envs, size, device), task, seed=seed, **kw)
