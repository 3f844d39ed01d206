"""From genomes and observations to actions: the small policies of the lineage of Novelty Search on any env."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from gymnasium import spaces

from cairngym.agents.inputs import make_encoder
from cairngym.agents.unit_actions import UnitBox
from cairngym.envs.core import Observation, TensorEnv
from cairngym.envs.fused import FeedForward, feed_forward


class Controller:
    """Plays genomes: features and one-hot symbols in, an action in the env's units out.

    Boxes are mapped from the outputs' [-1, 1]; of Discrete actions the one with the greatest output is taken.

    Args:
        env: gives the spaces.
        hidden: units of the hidden layers.
        bias: see `FeedForward`.

    Raises:
        TypeError: an action space that is neither Discrete nor a Box.
        ValueError: a Box without finite bounds.
    """

    def __init__(self, env: TensorEnv, hidden: tuple[int, ...], bias: Literal["shared", "unit"]) -> None:
        self.encoder, space = make_encoder(env), env.single_action_space
        self.box = None if isinstance(space, spaces.Discrete) else UnitBox(space, "an evolved policy", env.device)
        self.first_action = int(space.start) if isinstance(space, spaces.Discrete) else 0
        outputs = int(space.n) if isinstance(space, spaces.Discrete) else int(np.prod(space.shape or ()))
        inputs = self.encoder.num_symbols + self.encoder.num_features
        self.policy = FeedForward(inputs=max(1, inputs), hidden=hidden, outputs=outputs, bias=bias)

    @property
    def size(self) -> int:
        """Numbers of one genome."""
        return self.policy.size

    def act(self, genomes: torch.Tensor, obs: Observation) -> torch.Tensor:
        """Actions of N envs, genome i in env i, or one genome in all of them.

        Args:
            genomes: `(N, size)` or `(1, size)`.
            obs: `(N, ...)` as the env gives it.
        """
        inputs = self._dense(obs)
        alone = len(genomes) == 1
        outputs = feed_forward(genomes, self.policy, inputs.unsqueeze(0 if alone else 1)).flatten(0, 1)
        if self.box is None:
            return outputs.argmax(1) + self.first_action
        return self.box.to_env(outputs)

    def _dense(self, obs: Observation) -> torch.Tensor:
        symbols, features = self.encoder(obs)
        if not self.encoder.num_symbols:
            return features if features.shape[1] else features.new_zeros(len(features), 1)
        hot = features.new_zeros(len(features), self.encoder.num_symbols + 1)
        hot.scatter_(1, symbols.long(), 1.0)
        return torch.cat((hot[:, :-1], features), dim=1)
