"""The agent contract: learn, act, and save everything that decides what comes next."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from gymnasium.vector import AutoresetMode

from cairngym.agents.checkpoint import read_checkpoint, to_plain, write_checkpoint
from cairngym.envs.adapters import SnapshotError
from cairngym.envs.core import Critic, Observation, TensorEnv

Metrics = dict[str, Any]
Callback = Callable[[Metrics], bool | None]
"""Called with the metrics of every iteration; returning False ends `learn`."""


class Actor(ABC):
    """An agent's policy as it plays on N envs, with a memory and random numbers of its own."""

    @abstractmethod
    def act(self, obs: Observation) -> torch.Tensor:
        """Actions for the N envs, as the env's `step` takes them."""

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the episode of the masked `(N,)` envs; does nothing where there is no memory."""
        del mask


class Agent(ABC):
    """A learner: made for the spaces of an env, trained by `learn`, and saved whole.

    Attributes:
        name: what it is registered under; kept in its checkpoints.
        env: the env it was made for or last learned on; `save` includes its snapshot.
        config: the frozen dataclass it was made with.
        steps_done: env steps learned from so far, every one of the `num_envs` counted.
    """

    name: ClassVar[str]
    stochastic: ClassVar[bool] = True
    """Whether a sampled action may differ from the likeliest."""
    env: TensorEnv
    config: Any
    steps_done: int = 0

    @abstractmethod
    def learn(self, env: TensorEnv, steps: int, callbacks: Iterable[Callback] = ()) -> None:
        """Learn from at least `steps` more env steps, going on from where the last call ended."""

    @abstractmethod
    def actor(self, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> Actor:
        """The present policy for `num_envs` envs; it follows the agent's later learning."""

    @property
    def values(self) -> Critic | None:
        """Its present value of observations, `(B, ...) -> (B,)`; None where it has none."""
        return None

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Copy everything but the env: parameters, optimizer, normalizers, random numbers, counters."""

    @abstractmethod
    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`."""

    def act(self, obs: Observation, deterministic: bool = False, fresh: torch.Tensor | None = None) -> torch.Tensor:
        """Actions for a batch of observations.

        Args:
            obs: `(N, ...)` as the env gives it.
            deterministic: the likeliest action instead of a sampled one.
            fresh: bool `(N,)`, which envs show the first observation of an episode; matters to agents with a memory.
        """
        size = len(obs if isinstance(obs, torch.Tensor) else next(iter(obs.values())))
        players: dict[tuple[int, bool], Actor] = self.__dict__.setdefault("_players", {})
        if (size, deterministic) not in players:
            players[size, deterministic] = self.actor(size, deterministic=deterministic, seed=self.config.seed)
        player = players[size, deterministic]
        if fresh is not None:
            player.begin(fresh)
        return player.act(obs)

    def write_findings(self, folder: Path) -> None:
        """Write what a run's folder keeps of the search beside the checkpoint, for reports; nothing by default.

        Raises:
            OSError: if a file cannot be written; older ones are then untouched.
        """
        del folder

    def save(self, path: str | Path, env: TensorEnv | None = None) -> None:
        """Write everything, with the snapshot of `env` (default: the agent's own), in one atomic step.

        Raises:
            OSError: if the file cannot be written; an older file at `path` is then untouched.
        """
        target = env or self.env
        write_checkpoint(
            path,
            {
                "agent": self.name,
                "config": vars(self.config).copy(),
                "state": self.get_state(),
                "num_envs": target.num_envs,
                "env": env_snapshot(target),
            },
        )

    def load(self, path: str | Path, env: TensorEnv | None = None) -> None:
        """Return to what `save` wrote: the agent, and `env` (default: the agent's own) where its number of envs agrees.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is damaged, or was saved by another agent or with other networks.
        """
        target = env or self.env
        saved = read_checkpoint(path, target.device)
        if saved["agent"] != self.name:
            raise ValueError(
                f"Expected a checkpoint of the agent {self.name!r} at {path}, got one of {saved['agent']!r}. "
                "Make the agent it was saved by, or load it with load_agent()."
            )
        self.set_state(saved["state"])
        self.env = target
        if saved["env"] is not None and saved["num_envs"] == target.num_envs:
            target.set_state(saved["env"])
        else:
            self.forget_env()

    @abstractmethod
    def forget_env(self) -> None:
        """Begin new episodes at the next `learn`, the env's snapshot being of no use."""


def env_snapshot(env: TensorEnv) -> dict[str, Any] | None:
    """The env's snapshot, or None, with a warning, where it has none that a file can hold."""
    try:
        return to_plain(env.get_state(), "the env's snapshot")
    except (SnapshotError, TypeError) as error:
        warnings.warn(f"A run resumed from here starts with new episodes and fresh shapers: {error}", stacklevel=2)
        return None


def check_autoreset(env: TensorEnv) -> None:
    """Refuse an env that does not reset within the step that ends an episode.

    Raises:
        ValueError: naming the mode found and the one to make the env with.
    """
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.SAME_STEP:
        raise ValueError(
            f"Expected an env that resets within the step (autoreset_mode='SameStep'), got {mode}. "
            "Make it with autoreset_mode='SameStep'."
        )


def check_discounts(env: TensorEnv, gamma: float, intrinsic_gamma: float | None = None) -> None:
    """Refuse shapers built for another discount than the agent's.

    Args:
        env: any env, shaped or not.
        gamma: the agent's discount.
        intrinsic_gamma: the discount of its intrinsic value head, None when it has none.

    Raises:
        ValueError: naming the term and both discounts.
    """
    for term in getattr(env, "terms", ()):
        own = term.shaper.gamma
        separate = intrinsic_gamma is not None and term.shaper.stream == "intrinsic"
        expected = intrinsic_gamma if separate else gamma
        if own is not None and own != expected:
            raise ValueError(
                f"Expected the shaper {term.name!r} to be built for the agent's discount {expected}, got gamma={own}. "
                f"Give the shaper gamma={expected}, or the agent {'intrinsic_gamma' if separate else 'gamma'}={own}."
            )


def update_shapers(env: TensorEnv) -> Metrics:
    """Let the env's shapers learn, where it has any; metrics are named `shaper/<term>/<metric>`."""
    if not hasattr(env, "update_shapers"):
        return {}
    return {f"shaper/{name}": value for name, value in env.update_shapers().items()}
