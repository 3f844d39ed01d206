"""Random network distillation: what a network can't predict yet has not been seen often."""

from __future__ import annotations

import torch
from torch import nn

from cairngym.envs.core import TensorEnv, Transition
from cairngym.reward_shaping.curiosity.learned import Encoding, LearnedBonus, make_network


class RNDShaper(LearnedBonus):
    """Mean squared error of a predictor of a random target network at s', over the std of its discounted returns.

    Burda et al., "Exploration by random network distillation" (ICLR 2019, arXiv 1810.12894), with its three safeguards:
    observations are normalised by running statistics and clipped; bonuses are divided by the std of their discounted
    returns and otherwise left as they are; the stream is not episodic, so its returns run on where episodes end.

    Nothing is paid until there is something to compare with: the first `update` fits the observation statistics, and
    the divisor needs `warmup` steps after it. Between two updates the bonus is a fixed function of the observation.

    Give the stream a value head of its own (PPO: `intrinsic_gamma=0.99`): in one head with the task's reward, reaching
    the goal ends the bonuses, and the agent learns to stay away from it.

    Args:
        hidden: width of the hidden layers.
        outputs: how many random features are predicted.
        learning_rate: of the predictor's Adam.
        discount: of the intrinsic returns.
        update_proportion: share of each step's envs offered for training, in (0, 1]; at least one env.
        max_batch: observations kept at most between two updates, a uniform sample of those offered.
        minibatch: observations in one gradient step.
        epochs: passes over the sample in one update.
        clip: bound of normalised features.
        warmup: steps that the intrinsic returns are watched before they are trusted as a scale.
        encoding: "numbers" takes every entry as numbers; "categories" makes codes one-hot where the task lists them,
            which tells them apart better and costs about four times as much on MiniGrid.
        seed: of the networks and the sampling; the global generators are not touched.

    Raises:
        ValueError: an option out of its range.
    """

    def __init__(
        self,
        *,
        hidden: int = 64,
        outputs: int = 64,
        learning_rate: float = 1e-3,
        discount: float = 0.99,
        update_proportion: float = 0.25,
        max_batch: int = 4096,
        minibatch: int = 256,
        epochs: int = 1,
        clip: float = 5.0,
        warmup: int = 32,
        encoding: Encoding = "numbers",
        seed: int = 0,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate, discount=discount, normalize=True, update_proportion=update_proportion,
            max_batch=max_batch, minibatch=minibatch, epochs=epochs, clip=clip, warmup=warmup, encoding=encoding,
            seed=seed, hidden=hidden, outputs=outputs,
        )  # fmt: skip
        self.hidden, self.outputs = hidden, outputs

    def build(self, env: TensorEnv, features: int, generator: torch.Generator) -> dict[str, nn.Module]:
        """A random target and a deeper predictor of it."""
        target = make_network((features, self.hidden, self.outputs), generator).requires_grad_(False)
        return {
            "target": target,
            "predictor": make_network((features, self.hidden, self.hidden, self.outputs), generator),
        }

    def targets(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the predictor is trained to give, `(B, outputs)`."""
        return self.networks["target"](inputs)

    def measure(self, inputs: torch.Tensor, transition: Transition) -> torch.Tensor:
        """Mean squared distance between predictor and target, `(B,)`."""
        del transition
        return (self.networks["predictor"](inputs) - self.networks["target"](inputs)).square().mean(dim=1)

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        """Mean squared error of the predictor."""
        inputs = self.inputs(rows)
        return (self.networks["predictor"](inputs) - self.targets(inputs)).square().mean()
