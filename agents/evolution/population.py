"""P policies on N worlds: flat parameter vectors, one batched product for all of them, and the episodes they play.

World i runs policy i // (N / P), so that the worlds of one policy stand side by side and a population's forward pass is
one batched matrix product a layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from cairngym.agents.core import Actor
from cairngym.agents.inputs import InputEncoder, Inputs
from cairngym.agents.networks import ACTIVATIONS, Activation
from cairngym.envs.core import Observation, TensorEnv

PATIENCE = 16
"""Steps between two looks at whether every world has played its episodes; a look waits for the device."""


def worlds_per_policy(num_envs: int, policies: int) -> int:
    """How many worlds each of `policies` policies gets.

    Raises:
        ValueError: `num_envs` is not a multiple of `policies`; the nearest number that is one is named.

    Example:
        >>> worlds_per_policy(1024, 64)
        16
    """
    if num_envs % policies or not num_envs:
        nearest = max(1, round(num_envs / policies)) * policies
        raise ValueError(
            f"Expected a number of envs that the {policies} policies of a population can share equally, got {num_envs}."
            f" Make the env with num_envs={nearest}, the nearest multiple, or change the population."
        )
    return num_envs // policies


class PolicyShape:
    """The layers of an MLP policy whose parameters are one flat vector of D numbers.

    A parameter is counted in units of `1 / sqrt(inputs of its layer)`: vectors drawn with one standard deviation for
    every entry then make layers whose outputs are of order one, whatever their widths.

    Args:
        encoder: makes the inputs.
        num_outputs: what the action distribution needs.
        hidden: widths of the hidden layers; none makes linear policies.
        activation: between the layers.

    Attributes:
        size: D, the numbers of one policy.
    """

    def __init__(
        self, encoder: InputEncoder, num_outputs: int, hidden: tuple[int, ...] = (), activation: Activation = "tanh"
    ) -> None:
        self.num_symbols, self.num_features = encoder.num_symbols, encoder.num_features
        self.widths = (encoder.num_symbols + encoder.num_features, *hidden, num_outputs)
        # One symbol a site is present, however many there could be.
        present = (encoder.num_sites + encoder.num_features, *hidden)
        self.scales = [max(1, inputs) ** -0.5 for inputs in present]
        self.activation = ACTIVATIONS[activation]()
        self.size = sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(self.widths))

    def stack(self, parameters: torch.Tensor) -> PolicyStack:
        """The policies with the given parameters, float32 `(P, D)`."""
        return PolicyStack(self, parameters)


class PolicyStack:
    """P policies that answer together.

    Args:
        shape: their layers.
        parameters: float32 `(P, D)`.

    Raises:
        ValueError: parameters of another shape.
    """

    def __init__(self, shape: PolicyShape, parameters: torch.Tensor) -> None:
        if parameters.ndim != 2 or parameters.shape[1] != shape.size:
            raise ValueError(
                f"Expected parameters of shape (P, {shape.size}), i.e. (policies, numbers of one policy), "
                f"got {tuple(parameters.shape)}."
            )
        self.shape, self.policies = shape, len(parameters)
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        place = 0
        for (inputs, outputs), scale in zip(itertools.pairwise(shape.widths), shape.scales, strict=True):
            block = parameters[:, place : place + (inputs + 1) * outputs].view(-1, inputs + 1, outputs) * scale
            self.layers.append((block[:, :-1], block[:, -1:]))
            place += (inputs + 1) * outputs
        first, bias = self.layers[0]
        symbols, features = first.split((shape.num_symbols, shape.num_features), dim=1)
        self.layers[0] = (features, bias)
        # The policies' symbols below each other, each policy's with a row of zeros for "no symbol".
        self.table = torch.cat((symbols, torch.zeros_like(symbols[:, :1])), 1).flatten(0, 1)
        self.first_row = torch.arange(self.policies, device=parameters.device) * (shape.num_symbols + 1)

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        """Outputs `(N, num_outputs)` of N worlds' inputs, N a multiple of P."""
        share = worlds_per_policy(len(inputs.features), self.policies)
        weight, bias = self.layers[0]
        out = torch.baddbmm(bias, inputs.features.view(self.policies, share, self.shape.num_features), weight)
        if self.shape.num_symbols:
            rows = inputs.symbols.view(self.policies, share, -1) + self.first_row.view(-1, 1, 1)
            present = functional.embedding_bag(rows.flatten(0, 1), self.table, mode="sum")
            out = out + present.view_as(out)
        for weight, bias in self.layers[1:]:
            out = torch.baddbmm(bias, self.shape.activation(out), weight)
        return out.flatten(0, 1)


class PolicyActor(Actor):
    """Plays by a function of the observation alone.

    Args:
        policy: the env's actions from its observations.
    """

    def __init__(self, policy: Callable[[Observation], torch.Tensor]) -> None:
        self.policy = policy

    @torch.no_grad()
    def act(self, obs: Observation) -> torch.Tensor:
        """Actions for the N envs."""
        return self.policy(obs)


@torch.no_grad()
def play_episodes(
    env: TensorEnv,
    act: Callable[[Observation], torch.Tensor],
    *,
    episodes: int = 1,
    gamma: float = 1.0,
    watch: Callable[[Mapping[str, Any]], None] | None = None,
) -> tuple[torch.Tensor, int]:
    """Play whole episodes from a reset, as many in every world, so that short ones are not counted more often.

    Worlds that are through are stepped along until the last one is, which counts as steps but for nothing else.

    Args:
        env: is reset first, every world to its next episode.
        act: the env's actions from its observations.
        episodes: how many each world plays.
        gamma: discount of the rewards of an episode.
        watch: given every step's `info`, in which `_episode` marks only the episodes that count.

    Returns:
        each world's mean (discounted) sum of `reward`, shaped where the env is, float32 `(N,)`; and the env steps
        made, every one of the N worlds counted.
    """
    obs, _ = env.reset()
    left = torch.full((env.num_envs,), episodes, device=env.device)
    returns, discount = torch.zeros(2, env.num_envs, device=env.device)
    discount += 1.0
    horizon, steps = env.unwrapped.task.horizon, 0
    while steps == 0 or (steps % PATIENCE and steps % horizon) or bool((left > 0).any()):
        obs, reward, _, _, info = env.step(act(obs))
        done = info["_episode"]
        counted = done & (left > 0)
        returns += torch.where(left > 0, discount * reward, 0.0)
        left -= counted.to(left.dtype)
        discount = torch.where(done, 1.0, discount * gamma)
        if watch is not None:
            watch({**info, "_episode": counted})
        steps += 1
    return returns / episodes, steps * env.num_envs
