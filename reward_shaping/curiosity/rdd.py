"""Random distribution distillation: a predictor of noisy targets forgets its error like a count."""

from __future__ import annotations

import torch

from cairngym.reward_shaping.curiosity.learned import Encoding
from cairngym.reward_shaping.curiosity.rnd import RNDShaper


class RDDShaper(RNDShaper):
    """Mean squared distance between a predictor at s' and the mean of the distribution it is trained to predict.

    Fang et al., "Exploration by random distribution distillation" (arXiv 2505.11044). Every visit of a state draws a
    target afresh from N(mu(s), sigma^2 I), with mu a random network; the predictor f is trained on the draws, and

        b(s') = ||f(s') - mu(s')||^2 / d,    bounded in expectation by sigma^2 / n and E||f - f*||^2 / d,

    where f*, the best a predictor can do after n visits, is the mean of the n draws. The first part falls like a count
    does, however well the predictor fits: with one entry of a table for each state, E[b] = sigma^2 / n. The second is
    the prediction error that RND pays alone.

    Normalisation, warm-up and the stream are those of `RNDShaper`, whose advice on the value head holds here too.

    Args:
        sigma: standard deviation of the targets, above zero.
        hidden, outputs, learning_rate, discount, update_proportion, max_batch, minibatch, epochs, clip, warmup,
            encoding, seed: see `RNDShaper`.

    Raises:
        ValueError: an option out of its range.
    """

    def __init__(
        self,
        *,
        sigma: float = 1.0,
        hidden: int = 64,
        outputs: int = 64,
        learning_rate: float = 3e-4,
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
        if not 0 < sigma < float("inf"):
            raise ValueError(f"Expected a finite sigma above zero, got {sigma}; without noise it is the shaper 'rnd'.")
        super().__init__(
            hidden=hidden, outputs=outputs, learning_rate=learning_rate, discount=discount,
            update_proportion=update_proportion, max_batch=max_batch, minibatch=minibatch, epochs=epochs, clip=clip,
            warmup=warmup, encoding=encoding, seed=seed,
        )  # fmt: skip
        self.sigma = sigma

    def targets(self, inputs: torch.Tensor) -> torch.Tensor:
        """A fresh draw of N(mu, sigma^2 I) for every row, `(B, outputs)`."""
        mean = super().targets(inputs)
        noise = torch.randn(mean.shape, generator=self._generator, device=mean.device)
        return mean + self.sigma * noise
