"""Random network distillation: what a network can't predict yet has not been seen often."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from cairngym.envs.core import TensorEnv, Transition, clone
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.curiosity.encoding import ObservationEncoder, Reservoir
from cairngym.reward_shaping.curiosity.normalization import ReturnScale, RunningMoments


class RNDShaper(Shaper):
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

    stream = "intrinsic"

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
        encoding: Literal["categories", "numbers"] = "numbers",
        seed: int = 0,
    ) -> None:
        if not 0 <= discount < 1:
            raise ValueError(f"Expected discount in [0, 1), got {discount}.")
        if not 0 < update_proportion <= 1:
            raise ValueError(f"Expected update_proportion in (0, 1], got {update_proportion}.")
        if min(hidden, outputs, max_batch, minibatch, epochs) < 1 or min(learning_rate, clip) <= 0 or warmup < 0:
            raise ValueError(
                "Expected hidden, outputs, max_batch, minibatch, epochs, learning_rate and clip above zero."
            )
        if encoding not in ("categories", "numbers"):
            raise ValueError(f"Expected encoding 'categories' or 'numbers', got {encoding!r}.")
        self.hidden, self.outputs, self.learning_rate, self.discount = hidden, outputs, learning_rate, discount
        self.update_proportion, self.max_batch, self.minibatch = update_proportion, max_batch, minibatch
        self.epochs, self.clip, self.warmup, self.encoding, self.seed = epochs, clip, warmup, encoding, seed

    def bind(self, env: TensorEnv) -> None:
        """Build the networks and the statistics for the env's observations; the env is not stepped."""
        categories = env.task.categories if self.encoding == "categories" else {}
        self._encoder = ObservationEncoder(env.single_observation_space, categories, env.device)
        width, start = self._encoder.features, torch.Generator().manual_seed(self.seed)
        sizes = (width, self.hidden, self.outputs)
        self._target = _network(sizes, start).requires_grad_(False).to(env.device)
        self._predictor = _network((width, self.hidden, self.hidden, self.outputs), start).to(env.device)
        self._optimizer = torch.optim.Adam(self._predictor.parameters(), lr=self.learning_rate)
        self._generator = torch.Generator(env.device).manual_seed(self.seed)
        self._offered = math.ceil(self.update_proportion * env.num_envs)
        self._reservoir = Reservoir(self.max_batch, width, self._generator)
        self._moments = RunningMoments(width, env.device)
        self._scale = ReturnScale(env.num_envs, self.discount, env.device)
        self._ready = False
        self._error: tuple[Transition, torch.Tensor, torch.Tensor] | None = None

    @property
    def ready(self) -> bool:
        """Whether bonuses are paid yet."""
        return self._ready

    @torch.no_grad()
    def _errors(self, transition: Transition) -> tuple[torch.Tensor, torch.Tensor]:
        """Features `(B, F)` and prediction errors `(B,)` at s'; computed once for `shape` and `observe`."""
        if self._error is None or self._error[0] is not transition:
            features = self._encoder(transition.next_obs)
            self._error = transition, features, self._distance(self._moments.normalize(features, self.clip)).detach()
        return self._error[1:]

    def _distance(self, inputs: torch.Tensor) -> torch.Tensor:
        return (self._predictor(inputs) - self._target(inputs)).square().mean(dim=1)

    def shape(self, transition: Transition) -> torch.Tensor:
        """The bonus, float32 `(B,)`, at least zero; zero until `ready`."""
        if not self._ready:
            return torch.zeros_like(transition.reward, dtype=torch.float32)
        return self._errors(transition)[1] / self._scale.divisor

    def observe(self, transition: Transition) -> None:
        """Offer some observations for training and run the errors through the returns' filter."""
        if self._moments.count:
            features, errors = self._errors(transition)
            self._scale.observe(errors, transition.valid)
        else:
            features = self._encoder(transition.next_obs)
        chosen = torch.randint(
            len(features), (self._offered,), generator=self._generator, device=self._generator.device
        )
        valid = None if transition.valid is None else transition.valid[chosen]
        self._reservoir.add(features[chosen], valid)
        self._error = None

    def update(self) -> dict[str, float]:
        """Take the sample into the statistics, then train the predictor on it.

        Returns:
            `loss` (mean squared error of the first minibatch) and `return_std`; nothing when nothing was observed.
        """
        sample = self._reservoir.rows()
        self._reservoir.clear()
        self._error = None
        if len(sample) == 0:
            return {}
        self._moments.update(sample)
        self._scale.commit()
        self._ready = self._scale.steps >= max(self.warmup, 1)
        losses = self._train(self._moments.normalize(sample, self.clip))
        return {"loss": float(losses[0]), "return_std": float(self._scale.divisor)}

    @torch.enable_grad()
    def _train(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        losses = []
        for _ in range(self.epochs):
            order = torch.randperm(len(inputs), generator=self._generator, device=inputs.device)
            for chosen in order.split(self.minibatch):
                loss = self._distance(inputs[chosen]).mean()
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()
                losses.append(loss.detach())
        return losses

    def get_state(self) -> dict[str, Any]:
        """Copy networks, optimiser, statistics, sample and generator."""
        return {
            "target": clone(self._target.state_dict()),
            "predictor": clone(self._predictor.state_dict()),
            "optimizer": clone(self._optimizer.state_dict()),
            "moments": self._moments.get_state(),
            "scale": self._scale.get_state(),
            "reservoir": self._reservoir.get_state(),
            "generator": self._generator.get_state(),
            "ready": self._ready,
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._target.load_state_dict(snapshot["target"])
        self._predictor.load_state_dict(snapshot["predictor"])
        self._optimizer.load_state_dict(clone(snapshot["optimizer"]))
        self._moments.set_state(snapshot["moments"])
        self._scale.set_state(snapshot["scale"])
        self._reservoir.set_state(snapshot["reservoir"])
        self._generator.set_state(snapshot["generator"].cpu())
        self._ready, self._error = snapshot["ready"], None


def _network(sizes: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """An MLP with ReLU between its layers and orthogonal weights drawn from `generator`."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
        nn.init.orthogonal_(linear.weight, math.sqrt(2), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
