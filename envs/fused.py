"""Whole episodes of many policies at once: what a world offers that plays policy and dynamics in one kernel."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from cairngym.envs.checks import check_shape

if TYPE_CHECKING:
    from cairngym.envs.world import TaskSpec


@dataclass(frozen=True, kw_only=True)
class FeedForward:
    """Layers of a policy as the lineage of Novelty Search defines them: sigmoid rescaled to [-1, 1] after every layer.

    A genome holds, layer by layer, the weights (row-major, the index of the input slowest) and then the bias or biases.

    Raises:
        ValueError: a layer without units, a kind of bias there is not.

    Example:
        >>> FeedForward(inputs=5, hidden=(5, 5), outputs=2).size
        63
        >>> FeedForward(inputs=5, hidden=(5, 5), outputs=2, bias="unit").size
        72
    """

    inputs: int
    hidden: tuple[int, ...]
    """Units of every hidden layer; none makes a policy of one layer."""
    outputs: int
    bias: Literal["shared", "unit"] = "shared"
    """One number for all units of a layer, or one for each."""

    def __post_init__(self) -> None:
        if min(self.inputs, *self.hidden, self.outputs) < 1:
            raise ValueError(f"Expected layers of at least one unit, got {self.inputs}, {self.hidden}, {self.outputs}.")
        if self.bias not in ("shared", "unit"):
            raise ValueError(f"Expected bias 'shared' or 'unit', got {self.bias!r}.")

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """Inputs and outputs of every layer, in order."""
        return tuple(itertools.pairwise((self.inputs, *self.hidden, self.outputs)))

    @property
    def size(self) -> int:
        """Numbers of one genome."""
        return sum(fan_in * fan_out + self.biases(fan_out) for fan_in, fan_out in self.layers)

    def biases(self, fan_out: int) -> int:
        """Numbers of the bias of a layer with `fan_out` units."""
        return fan_out if self.bias == "unit" else 1

    def check(self, genomes: torch.Tensor) -> None:
        """Raise `ValueError` where `genomes` are not `(P, size)`."""
        if genomes.ndim != 2 or genomes.shape[1] != self.size:
            raise ValueError(f"Expected genomes of shape (P, {self.size}), got {tuple(genomes.shape)}.")


@dataclass(frozen=True, kw_only=True)
class Played:
    """What whole episodes of P policies came to."""

    returns: torch.Tensor
    """float32 `(P,)`, undiscounted sparse return, the mean over the episodes of a policy."""
    descriptor: torch.Tensor
    """float32 `(P, D)`, of the last state: the numbers of `task.descriptor`, not clipped."""
    success: torch.Tensor
    """bool `(P,)`."""
    length: torch.Tensor
    """int64 `(P,)`, steps."""
    trajectory: torch.Tensor | None
    """float32 `(P, T, D)`, the descriptor's numbers after every step, the last ones repeated behind an episode's end;
    None where not asked for."""


class FusedWorld(ABC):
    """A world that plays whole episodes of any number of policies in one kernel, a thread a policy.

    What it plays equals stepping its TensorEnv with `feed_forward`, to the rounding of float32. It touches nothing of
    the N worlds that step.
    """

    @abstractmethod
    def play(
        self, task: TaskSpec, genomes: torch.Tensor, policy: FeedForward, *, seeds: torch.Tensor, record: bool = False
    ) -> Played:
        """Play one episode of each policy.

        Args:
            task: what is wanted; one of the tasks made for the world.
            genomes: float32 `(P, policy.size)` on the world's device.
            policy: the layers.
            seeds: int64 `(P,)`; policy i lives episode 0 of env 0 under seed i.
            record: whether to keep the trajectories.

        Raises:
            ValueError: genomes or seeds of another shape, a policy of other widths than the task's spaces.
        """


def check_inputs(genomes: torch.Tensor, policy: FeedForward, obs: torch.Tensor) -> None:
    """Raise `ValueError` where `genomes` are not `(P, policy.size)` or `obs` not `(P, K, policy.inputs)`."""
    policy.check(genomes)
    if obs.ndim != 3 or obs.shape[::2] != (len(genomes), policy.inputs):
        raise ValueError(f"Expected obs of shape ({len(genomes)}, K, {policy.inputs}), got {tuple(obs.shape)}.")


def check_play(task: TaskSpec, actions: int, genomes: torch.Tensor, policy: FeedForward, seeds: torch.Tensor) -> None:
    """Hold the arguments of `FusedWorld.play` against the task's observations and the number of its `actions`.

    Raises:
        ValueError: genomes or seeds of another shape, a policy of other widths than the task's spaces, a task without
            a descriptor.
        TypeError: genomes that are not float32, or seeds that are not int64.
    """
    policy.check(genomes)
    shape = task.single_observation_space.shape
    if shape != (policy.inputs,) or policy.outputs != actions:
        raise ValueError(
            f"Expected a policy from observations of shape {shape} to {actions} actions, got one with {policy.inputs} "
            f"inputs and {policy.outputs} outputs."
        )
    check_shape("seeds", seeds, (len(genomes),), "(policies,)")
    if genomes.dtype is not torch.float32 or seeds.dtype is not torch.int64:
        raise TypeError(f"Expected float32 genomes and int64 seeds, got {genomes.dtype} and {seeds.dtype}.")
    if task.descriptor is None:
        raise ValueError("Expected a task with a descriptor, got one without; set TaskSpec.descriptor.")


def feed_forward(genomes: torch.Tensor, policy: FeedForward, obs: torch.Tensor) -> torch.Tensor:
    """Act by every policy, in one batched product a layer; what the kernels do in float32.

    Args:
        genomes: `(P, policy.size)`.
        policy: the layers.
        obs: `(P, K, policy.inputs)`.

    Returns:
        `(P, K, policy.outputs)` in [-1, 1].
    """
    check_inputs(genomes, policy, obs)
    place, value = 0, obs
    for fan_in, fan_out in policy.layers:
        weights = genomes[:, place : place + fan_in * fan_out].reshape(-1, fan_in, fan_out)
        place += fan_in * fan_out
        count = policy.biases(fan_out)
        value = 2.0 * torch.sigmoid(torch.baddbmm(genomes[:, None, place : place + count], value, weights)) - 1.0
        place += count
    return value
