"""Networks of the residual agent: what only the correction sees, and how it is added to the base's action."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from cairngym.agents.critics import Features, PolicyNetwork
from cairngym.agents.inputs import InputEncoder
from cairngym.agents.networks import Activation
from cairngym.agents.records import to_unit
from cairngym.envs.core import Observation
from cairngym.reward_shaping.residual.base import BASE_ACTION
from cairngym.reward_shaping.residual.wrapper import Residual


class BoxClip(torch.autograd.Function):
    """Clips to [-1, 1], with the gradient of a projection.

    Outside of the box a gradient that leads farther out is stopped, and one that leads back passes. Plain clipping
    stops both, so that a correction which has once left the box has no way back.
    """

    @staticmethod
    def forward(ctx: Any, wanted: torch.Tensor) -> torch.Tensor:
        """Clip."""
        ctx.save_for_backward(wanted)
        return wanted.clamp(-1.0, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        """Stop what a descent along it would push farther out."""
        (wanted,), (grad,) = ctx.saved_tensors, grads
        outward = ((wanted > 1.0) & (grad < 0.0)) | ((wanted < -1.0) & (grad > 0.0))
        return torch.where(outward, torch.zeros_like(grad), grad)


class ResidualFeatures(Features):
    """The inputs of the env without its base's action, normalised, and after them that action in [-1, 1]^A as it is.

    Args:
        wrapper: whose observations are read; wrappers around it must not change the entries.
        space: one env's observation space as the agent sees it.
        categories: which entries are codes, see `InputEncoder`.
        options: of `Features`.
    """

    def __init__(self, wrapper: Residual, space: spaces.Dict, categories: Any, **options: Any) -> None:
        rest = spaces.Dict({name: entry for name, entry in space.spaces.items() if name != BASE_ACTION})
        super().__init__(InputEncoder(rest, categories, wrapper.device), **options)
        self.corrected_space = wrapper.corrected_space
        self.size += int(wrapper.low.numel())

    def base_action(self, obs: Observation) -> torch.Tensor:
        """The base's action `(B, A)` in [-1, 1]."""
        return to_unit(obs[BASE_ACTION], self.corrected_space).flatten(1)  # type: ignore[index]

    def forward(self, obs: Observation) -> torch.Tensor:
        """`(B, size)` float32, the last A of them the base's action."""
        return torch.cat((super().forward(obs), self.base_action(obs)), dim=1)


class CorrectionNetwork(PolicyNetwork):
    """The base's action and a bounded correction of it, which is zero at first.

    Args:
        num_inputs: entries of an observation's features, the last of them the base's action.
        num_actions: A.
        scale: bound of the correction.
        hidden: widths of the hidden layers.
        activation: between the layers.
    """

    def __init__(
        self, num_inputs: int, num_actions: int, scale: float, hidden: tuple[int, ...], activation: Activation = "relu"
    ) -> None:
        super().__init__(num_inputs, num_actions, hidden, activation)
        self.scale, self.num_actions = scale, num_actions
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def base(self, features: torch.Tensor) -> torch.Tensor:
        """The base's action `(B, A)`."""
        return features[:, -self.num_actions :]

    def correction(self, features: torch.Tensor) -> torch.Tensor:
        """What is added to it, in shares of the scale, `(B, A)` in [-1, 1]."""
        return self.outputs(features).tanh()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """What is done, `(B, A)` in [-1, 1]."""
        return self.execute(features, self.correction(features))

    def execute(self, features: torch.Tensor, correction: torch.Tensor) -> torch.Tensor:
        """What is done under a correction in shares of the scale."""
        return BoxClip.apply(self.base(features) + self.scale * correction)
