"""The intrinsic curiosity module: what a model of the dynamics gets wrong is worth a visit."""

from __future__ import annotations

import torch
from torch import nn

from cairngym.envs.core import TensorEnv, Transition
from cairngym.reward_shaping.curiosity.dynamics import InverseBonus
from cairngym.reward_shaping.curiosity.learned import Encoding, make_network


class ICMShaper(InverseBonus):
    """b = eta / 2 ||f(phi(s), a) - phi(s')||^2, the error of a forward model on the features of an inverse model.

    Pathak et al., "Curiosity-driven exploration by self-supervised prediction" (ICML 2017, arXiv 1705.05363). Minimised
    is (1 - beta) L_inverse + beta L_forward. Phi learns from the inverse model alone: features that the forward model
    could shape too would shrink to become predictable.

    Noise that the actions influence keeps paying, since it is never predicted.

    Args:
        features: width of phi.
        eta: factor of the bonus, above zero.
        beta: share of the forward model in the loss, in [0, 1].
        normalize: divide the bonus by the std of its discounted returns, with `discount` and `warmup`, as Burda et al.
            ("Large-scale study of curiosity-driven learning", 2018) do; the first paper doesn't.
        hidden, learning_rate, discount, update_proportion, max_batch, minibatch, epochs, clip, warmup, encoding, seed:
            see `RNDShaper`; of both models.

    Raises:
        ValueError: an option out of its range.
        TypeError: actions that are neither in a Box nor choices.
    """

    def __init__(
        self,
        *,
        features: int = 32,
        eta: float = 0.01,
        beta: float = 0.2,
        normalize: bool = False,
        hidden: int = 64,
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
        if not 0 < eta < float("inf"):
            raise ValueError(f"Expected a finite eta above zero, got {eta}.")
        if not 0 <= beta <= 1:
            raise ValueError(f"Expected beta in [0, 1], got {beta}.")
        super().__init__(
            features=features, hidden=hidden, learning_rate=learning_rate, discount=discount, normalize=normalize,
            update_proportion=update_proportion, max_batch=max_batch, minibatch=minibatch, epochs=epochs, clip=clip,
            warmup=warmup, encoding=encoding, seed=seed,
        )  # fmt: skip
        self.eta, self.beta = eta, beta

    def build(self, env: TensorEnv, features: int, generator: torch.Generator) -> dict[str, nn.Module]:
        """The inverse and the forward model."""
        self._before: tuple[Transition, torch.Tensor] | None = None
        networks = super().build(env, features, generator)
        sizes = (self.embedding + self._code.width, self.hidden, self.embedding)
        return {**networks, "forward": make_network(sizes, generator)}

    def measure(self, inputs: torch.Tensor, transition: Transition) -> torch.Tensor:
        """Eta / 2 times the forward model's squared error, `(B,)`."""
        self._before = transition, self.encode(transition.obs)
        before, after = self.inverse.embed(torch.cat((self.inputs(self._before[1]), inputs))).chunk(2)
        return self.eta / 2 * self._error(before, after, self._code(transition.action))

    def before(self, transition: Transition, chosen: torch.Tensor) -> torch.Tensor:
        """Features of s for the steps `chosen` `(K,)`; most often computed for the bonus."""
        if self._before is None or self._before[0] is not transition:
            return super().before(transition, chosen)
        return self._before[1].index_select(0, chosen)

    def _error(self, before: torch.Tensor, after: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        predicted = self.networks["forward"](torch.cat((before, action), dim=1))
        return (predicted - after).square().sum(dim=1)

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        """Of both models; phi is held still for the forward model."""
        before, after, action = self.parts(rows)
        forward = self._error(before.detach(), after.detach(), action).mean() / 2
        return (1 - self.beta) * self.inverse_loss(before, after, action) + self.beta * forward
