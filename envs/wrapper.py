"""Wrappers: what changes the observation or the action on the way, and declares the spaces it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from cairngym.envs.core import Critic, Observation, State, StateField, TensorEnv
from cairngym.envs.relabelling import Relabeller


class TensorWrapper(TensorEnv):
    """A TensorEnv around another one; a subclass overrides only what it changes.

    Attributes of the inner env show through. Memory is kept by three hooks, called in this order at every step:
    `remember` with the true next values, `observation` for `final_obs`, `begin` where an episode ended, and
    `observation` again for what the agent sees; `observation` itself must not change the memory.

    Args:
        env: the env to wrap.
        observation_space: one env's new observation space; None keeps the inner one.
        action_space: one env's new action space; None keeps the inner one.

    Attributes:
        keeps_layout: whether the numbers of an observation mean what they do without the wrapper, though `observation`
            changes them, as noise does.
    """

    keeps_layout: bool = False

    def __init__(
        self,
        env: TensorEnv,
        *,
        observation_space: spaces.Space | None = None,
        action_space: spaces.Space | None = None,
    ) -> None:
        self.env = env
        self.num_envs, self.device = env.num_envs, env.device
        self.metadata, self.render_mode = env.metadata, env.render_mode  # VectorEnv's own would hide them
        self.single_observation_space = observation_space or env.single_observation_space
        self.single_action_space = action_space or env.single_action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not yet set: copying or unpickling
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def unwrapped(self) -> TensorEnv:  # type: ignore[override]
        """The env under every wrapper."""
        return self.env.unwrapped

    @property
    def state(self) -> State:
        """The inner env's measurements."""
        return self.env.state

    @property
    def state_spec(self) -> Mapping[str, StateField]:
        """The inner env's description of them."""
        return self.env.state_spec

    def observation(self, obs: Observation, state: State) -> Observation:
        """What the agent sees instead of `obs`; the same by default."""
        del state
        return obs

    def action(self, action: Any) -> Any:
        """What is done instead of `action`; the same by default."""
        return action

    def remember(self, obs: Observation, state: State) -> None:
        """Take in the true next observation and state of every env."""

    def begin(self, mask: torch.Tensor, obs: Observation, state: State) -> None:
        """Forget the old episode of the masked envs; `obs` and `state` are the new one's first."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset the inner env and the memory of the envs that were reset."""
        obs, info = self.env.reset(seed=seed, options=options)
        everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        mask = torch.as_tensor((options or {}).get("reset_mask", everyone), device=self.device)
        self.begin(mask, obs, self.state)
        return self.observation(obs, self.state), info

    def step(self, actions: Any) -> tuple[Observation, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step the inner env with the changed action and change what it shows."""
        obs, reward, terminated, truncated, info = self.env.step(self.action(actions))
        self.remember(info["final_obs"], info["final_state"])
        info["final_obs"] = self.observation(info["final_obs"], info["final_state"])
        self.begin(self.fresh(info), obs, self.state)
        return self.observation(obs, self.state), reward, terminated, truncated, info

    def fresh(self, info: Mapping[str, Any]) -> torch.Tensor:
        """Which envs the last step left at the first observation of a new episode, bool `(N,)`."""
        return self.unwrapped.episodes.length == 0

    def progress(self, state: State | None = None) -> torch.Tensor:
        """The inner task's progress."""
        return self.env.progress(state)

    def guide(self, critic: Critic, *, exploit: bool = False) -> None:
        """Hand the learner's values on to the inner env."""
        self.env.guide(critic, exploit=exploit)

    @property
    def relabeller(self) -> Relabeller | None:
        """The inner env's; None where this wrapper changes what is seen, which relabelled steps would not show."""
        return self.env.relabeller if type(self).observation is TensorWrapper.observation else None

    @property
    def observes_truth(self) -> bool:
        """As the inner env."""
        return self.env.observes_truth

    def render(self, env_ids: Sequence[int] | None = None) -> tuple[np.ndarray, ...]:
        """The inner env's frames."""
        return self.env.render(env_ids)

    def close(self, **kwargs: Any) -> None:
        """Close the inner env."""
        self.env.close(**kwargs)

    def __del__(self) -> None:
        """Leave the inner env open when only the wrapper goes away."""

    def get_state(self) -> dict[str, Any]:
        """Snapshot of the inner env; a subclass with memory adds its own."""
        return {"env": self.env.get_state()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""
        self.env.set_state(snapshot["env"])
