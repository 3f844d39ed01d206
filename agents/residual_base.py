"""Base policies that play by somebody who can be asked: a task's scripted oracle, or a saved agent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cairngym.agents.checkpoint import read_checkpoint
from cairngym.agents.core import Actor
from cairngym.agents.oracles import make_oracle
from cairngym.agents.registry import make_agent
from cairngym.envs.checks import unknown_name
from cairngym.envs.core import Observation, State, TensorEnv, clone
from cairngym.reward_shaping.residual.base import Lives
from cairngym.reward_shaping.residual.noise import ERROR_STREAM, NoisyBase, normal


class OracleBase(NoisyBase):
    """The task's scripted policy, which sees what is measured with an error and acts with noise.

    Errors are drawn once an episode, so that the policy aims beside the mark all the while, as one cloned from few
    demonstrations does; noise is drawn at every step.

    Args:
        env: gives the task and the action space.
        num_envs: how many copies; there is nothing to keep for each.
        noise: see `NoisyBase`.
        random_actions: see `NoisyBase`.
        errors: for state fields by name, the standard deviation of the error on each of their entries, in the field's
            unit.

    Raises:
        UnknownNameError: a task without a scripted policy, or a field it does not measure.
        ValueError: an option out of its range.
    """

    def __init__(
        self,
        env: TensorEnv,
        num_envs: int,
        *,
        noise: float = 0.0,
        random_actions: float = 0.0,
        errors: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(env, noise=noise, random_actions=random_actions)
        del num_envs
        self.oracle, self.errors = make_oracle(env), dict(errors or {})
        for name, error in self.errors.items():
            if name not in env.state_spec:
                raise unknown_name("state field", name, env.state_spec)
            if not 0.0 <= error < float("inf"):
                raise ValueError(f"Expected a finite error >= 0 of {name!r}, got {error}.")

    def decide(self, obs: Observation, state: State, lives: Lives) -> torch.Tensor:
        """The oracle's actions at what it believes to be the state."""
        return self.oracle(obs, self._believed(state, lives))

    def _believed(self, state: State, lives: Lives) -> State:
        if not self.errors:
            return state
        sizes = [state[name][0].numel() for name in self.errors]
        draws = normal(lives, ERROR_STREAM, sum(sizes)).split(sizes, 1)
        wrong = {
            name: state[name] + error * draw.view_as(state[name]).to(state[name].dtype)
            for (name, error), draw in zip(self.errors.items(), draws, strict=True)
        }
        return {**state, **wrong}


class CheckpointBase(NoisyBase):
    """Plays the likeliest action of a saved agent, frozen.

    What its actor remembers is the attribute `memory` of (dicts of) `(N, ...)` tensors, where it has one.

    Args:
        env: of the spaces that the agent was saved for. It is not touched.
        num_envs: how many copies.
        path: what `Agent.save` wrote, or the folder of a run.
        noise: see `NoisyBase`.
        random_actions: see `NoisyBase`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or was saved for other spaces.
        TypeError: an actor with a memory that it does not show.
    """

    def __init__(
        self, env: TensorEnv, num_envs: int, *, path: str, noise: float = 0.0, random_actions: float = 0.0
    ) -> None:
        super().__init__(env, noise=noise, random_actions=random_actions)
        file = Path(path)
        saved = read_checkpoint(file / "checkpoint.pt" if file.is_dir() else file, env.device)
        agent = make_agent(saved["agent"], env, **saved["config"])
        # What it learned from matters no more, and may be large.
        agent.set_state({name: None if name == "replay" else value for name, value in saved["state"].items()})
        self.actor = agent.actor(num_envs, deterministic=True)
        if type(self.actor).begin is not Actor.begin and not hasattr(self.actor, "memory"):
            raise TypeError(
                f"Expected an agent whose actor shows what it remembers, got {saved['agent']!r}, whose "
                f"{type(self.actor).__name__} forgets episodes but has no `memory`. Give it one, of (N, ...) tensors."
            )

    def decide(self, obs: Observation, state: State, lives: Lives) -> torch.Tensor:
        """The agent's actions."""
        del state, lives
        return self.actor.act(obs)

    def begin(self, mask: torch.Tensor) -> None:
        """Let the agent forget the masked envs' episode."""
        self.actor.begin(mask)

    def get_state(self) -> dict[str, Any]:
        """Copy what the agent remembers."""
        memory = getattr(self.actor, "memory", None)
        return {} if memory is None else {"memory": clone(memory)}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        if snapshot:
            self.actor.memory = clone(snapshot["memory"])  # type: ignore[attr-defined]
