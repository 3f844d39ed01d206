"""Finite MDPs as worlds: small enough that values, policies and visits can be computed exactly.

They are the oracles of the test-suites (value iteration, hand-computed returns) and the smallest envs to try a shaper
or an agent on. `Chain-N10-v0` is a corridor whose only reward lies at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import Observation, State, StateField, Task, TensorEnv, World
from cairngym.envs.episodes import Episodes
from cairngym.envs.random import Stream, uniform


class TabularWorld(World):
    """N copies of a finite Markov decision process.

    Args:
        transitions: float `(S, A, S)`, rows of probabilities of the next state.
        start: float `(S,)`, probabilities of the first state.
        num_envs: how many copies.
        device: where the tensors live.
    """

    def __init__(self, transitions: torch.Tensor, start: torch.Tensor, num_envs: int, device: str) -> None:
        self.num_envs, self.device = num_envs, torch.device(device)
        self.transitions, self.initial = transitions.to(self.device), start.to(self.device)
        rows = torch.cat((self.transitions.flatten(0, 1).sum(-1), self.initial.sum().view(1)))
        if not torch.allclose(rows, torch.ones_like(rows), atol=1e-5):
            raise ValueError("Expected rows of probabilities that sum to one in transitions (S, A, S) and start (S,).")
        self.num_states, self.num_actions = self.transitions.shape[:2]
        self.single_action_space = spaces.Discrete(self.num_actions)
        self.state_spec = {
            "node": StateField(shape=(), unit="state index", description="The MDP state.", dtype=torch.int64)
        }
        self._cumulative = self.transitions.cumsum(-1)
        self._node = torch.zeros(num_envs, dtype=torch.int64, device=self.device)

    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Draw first states."""
        draw = uniform(episodes.seed, episodes.env_id, episodes.number, Stream.LEVEL, 1)
        node = torch.searchsorted(self.initial.cumsum(0), draw[:, 0], right=True).clamp(max=self.num_states - 1)
        self._node = torch.where(mask, node, self._node)

    def advance(self, action: torch.Tensor) -> None:
        """Draw next states."""
        life = self.episodes
        draw = uniform(life.seed, life.env_id, life.number, Stream.DYNAMICS, 1, step=life.length)
        rows = self._cumulative[self._node, action]
        self._node = torch.searchsorted(rows, draw, right=True)[:, 0].clamp(max=self.num_states - 1)

    @property
    def state(self) -> State:
        """The MDP state of every copy."""
        return {"node": self._node}

    def get_state(self) -> dict[str, Any]:
        """Copy the MDP states."""
        return {"node": self._node.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._node = snapshot["node"].clone()


class TabularTask(Task):
    """Reach a goal state; other states may end the episode without success.

    Args:
        num_states: S.
        goals: states at which the task is done.
        failures: states that end the episode for nothing.
        horizon: steps after which an episode is truncated.
        potential: float `(S,)`, the task's progress; default is one at goals and zero elsewhere.
    """

    def __init__(
        self,
        num_states: int,
        goals: tuple[int, ...],
        *,
        failures: tuple[int, ...] = (),
        horizon: int = 100,
        potential: torch.Tensor | None = None,
    ) -> None:
        self.num_states, self.horizon = num_states, horizon
        self.goals, self.failures = torch.tensor(goals), torch.tensor(failures, dtype=torch.int64)
        self.potential = potential
        self.instruction = f"Reach one of the nodes {', '.join(map(str, goals))}."
        self.single_observation_space = spaces.Box(0, 1, (num_states,), np.float32)

    def observe(self, state: State) -> Observation:
        """The state one-hot, float32 `(B, S)`."""
        return torch.nn.functional.one_hot(state["node"], self.num_states).to(torch.float32)

    def success(self, state: State) -> torch.Tensor:
        """Whether a goal state is reached."""
        return torch.isin(state["node"], self.goals.to(state["node"].device))

    def failure(self, state: State) -> torch.Tensor:
        """Whether a failure state is reached."""
        return torch.isin(state["node"], self.failures.to(state["node"].device))

    def progress(self, state: State) -> torch.Tensor:
        """The given potential."""
        if self.potential is None:
            return super().progress(state)
        return self.potential.to(state["node"].device)[state["node"]]


def make_chain(
    env_id: str, *, num_envs: int = 1, device: str = "cpu", seed: int = 0, length: int = 10, **options: Any
) -> TensorEnv:
    """A corridor of `length` states: action 1 goes right, action 0 left; the last state is the goal."""
    del env_id
    if length < 2:
        raise ValueError(f"Expected a chain of length >= 2, got {length}.")
    nodes = torch.arange(length)
    transitions = torch.zeros(length, 2, length)
    transitions[nodes, 0, (nodes - 1).clamp(min=0)] = 1.0
    transitions[nodes, 1, (nodes + 1).clamp(max=length - 1)] = 1.0
    start = torch.zeros(length)
    start[0] = 1.0
    task = TabularTask(length, (length - 1,), horizon=4 * length, potential=nodes / (length - 1))
    return TensorEnv(TabularWorld(transitions, start, num_envs, device), task, seed=seed, **options)
