"""The decoder of LaRe: from the latent factors of a step to its reward, trained on returns alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from cairngym.envs.core import clone
from cairngym.reward_shaping.curiosity.normalization import RunningMoments
from cairngym.reward_shaping.llm.lare.decomposition import (
    LOSSES,
    Loss,
    decomposition_error,
    draw_steps,
    subset_variance,
)
from cairngym.reward_shaping.llm.lare.episodes import EpisodeRing, Episodes


class Decoder:
    """r_t = f_psi(z_t): an MLP with ReLU, fitted so that the rewards of an episode add up to its return.

    Factors are normalised by their running mean and std. Rewards are measured in the root mean square of R/T over all
    episodes seen, so that a sparse task's small returns are learned as fast as large ones. The last layer starts at
    zero: nothing is paid before something was learned.

    Args:
        factors: F.
        hidden: widths of the hidden layers; none makes the decoder linear.
        loss: "rd", "rrd" or "unbiased", see `decomposition`.
        subset: K, steps drawn of every episode for "rrd" and "unbiased".
        learning_rate: of Adam.
        clip: bound of normalised factors.
        seed: of the network and of everything drawn.
        device: where it lives.
    """

    def __init__(
        self,
        factors: int,
        *,
        hidden: Sequence[int],
        loss: Loss,
        subset: int,
        learning_rate: float,
        clip: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self.loss, self.subset, self.clip = loss, subset, clip
        self.network = _network((factors, *hidden, 1), torch.Generator().manual_seed(seed)).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.moments = RunningMoments(factors, device)
        self.returns = RunningMoments(1, device)
        self._scale()

    def _scale(self) -> None:
        square = self.returns.mean.square() + self.returns.variance if self.returns.count else self.returns.mean
        self.scale = torch.where(square > 0, square.sqrt(), 1.0).to(torch.float32)[0]

    def rewards(self, factors: torch.Tensor) -> torch.Tensor:
        """The reward of every step, float32 `(...)`, from its factors `(..., F)`."""
        return self._output(factors) * self.scale

    def _output(self, factors: torch.Tensor) -> torch.Tensor:
        rewards: torch.Tensor = self.network(self.moments.normalize(factors, self.clip))
        return rewards.squeeze(-1)

    def acquaint(self, episodes: Episodes) -> None:
        """Take episodes into the statistics, each once."""
        if len(episodes.length) == 0:
            return
        self.moments.update(episodes.factors[episodes.lived])
        self.returns.update((episodes.returned / episodes.length).unsqueeze(1))
        self._scale()

    @torch.enable_grad()
    def train(self, ring: EpisodeRing, updates: int, batch: int) -> torch.Tensor:
        """Take gradient steps on episodes drawn from `ring`.

        Returns:
            The mean loss, `()`, in units of the mean square of R/T.
        """
        losses = []
        for _ in range(updates):
            loss = self.errors(ring.sample(batch, self.generator)).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean()

    def errors(self, episodes: Episodes) -> torch.Tensor:
        """The loss of every episode, `(E,)`, as `train` minimises it."""
        target = episodes.returned / episodes.length / self.scale
        factors, mask = episodes.factors, episodes.lived
        if self.loss != "rd":
            factors, mask = draw_steps(episodes, self.subset, self.generator)
        rewards = torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, self._output(factors[mask]))
        error = decomposition_error(rewards, mask, target)
        return error - subset_variance(rewards, mask, episodes.length) if self.loss == "unbiased" else error

    def get_state(self) -> dict[str, Any]:
        """Copy network, optimiser, statistics and generator."""
        return {
            "network": clone(self.network.state_dict()),
            "optimizer": clone(self.optimizer.state_dict()),
            "generator": self.generator.get_state(),
            "moments": self.moments.get_state(),
            "returns": self.returns.get_state(),
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.network.load_state_dict(snapshot["network"])
        self.optimizer.load_state_dict(clone(snapshot["optimizer"]))
        self.generator.set_state(snapshot["generator"].cpu())
        self.moments.set_state(snapshot["moments"])
        self.returns.set_state(snapshot["returns"])
        self._scale()


def check_decoder(hidden: Sequence[int], loss: str, subset: int, learning_rate: float, clip: float) -> None:
    """Raise `ValueError` for settings that make no decoder."""
    if loss not in LOSSES:
        raise ValueError(f"Expected a loss of {', '.join(map(repr, LOSSES))}, got {loss!r}.")
    if any(width < 1 for width in hidden):
        raise ValueError(f"Expected hidden widths >= 1, got {tuple(hidden)}; an empty tuple makes the decoder linear.")
    least = 2 if loss == "unbiased" else 1
    if subset < least:
        raise ValueError(f"Expected subset >= {least} with loss {loss!r}, got {subset}.")
    for name, value in (("learning_rate", learning_rate), ("clip", clip)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"Expected a positive {name}, got {value}.")


def _network(sizes: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """An MLP whose hidden layers are orthogonal, drawn from `generator`, and whose last layer is zero."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
        nn.init.orthogonal_(layer.weight, math.sqrt(2.0), generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    nn.init.zeros_(layer.weight)
    return nn.Sequential(*layers[:-1])
