"""What every bonus with a model in it does: when it learns, what it learns from, and by what it is divided."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from cairngym.envs.core import Observation, TensorEnv, Transition, clone
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.curiosity.encoding import ObservationEncoder, Reservoir
from cairngym.reward_shaping.curiosity.normalization import ReturnScale, RunningMoments

Encoding = Literal["categories", "numbers"]


class LearnedBonus(Shaper):
    """A bonus of a model that learns from a sample of what is observed.

    A subclass says what the networks are (`build`), what they make of a step (`measure`), what of it is kept to learn
    from (`row`), and what is minimised (`loss`). Everything else is done here, in the same way for all of them:

    - `bind` builds networks and does not step the env; their weights depend on `seed` alone.
    - Some rows of every step are offered to a bounded uniform sample; rows that are not `valid` are left out.
    - `update` takes the sample into the observation statistics and then trains on it. Nothing else changes the model,
      so between two updates the bonus is the same function of the transition and of what the episode holds.
    - Features are normalised by running statistics and clipped; nothing is paid before there are any.
    - With `normalize`, bonuses are divided by the std of their discounted returns (see `ReturnScale`) and otherwise
      left as they are; nothing is paid in the first `warmup` steps of those returns.

    Raises:
        ValueError: an option out of its range.
    """

    stream = "intrinsic"

    def __init__(
        self,
        *,
        learning_rate: float,
        discount: float,
        normalize: bool,
        update_proportion: float,
        max_batch: int,
        minibatch: int,
        epochs: int,
        clip: float,
        warmup: int,
        encoding: Encoding,
        seed: int,
        **sizes: int,
    ) -> None:
        if not 0 <= discount < 1:
            raise ValueError(f"Expected discount in [0, 1), got {discount}.")
        if not 0 < update_proportion <= 1:
            raise ValueError(f"Expected update_proportion in (0, 1], got {update_proportion}.")
        positive = {**sizes, "max_batch": max_batch, "minibatch": minibatch, "epochs": epochs}
        if min(positive.values()) < 1 or min(learning_rate, clip) <= 0 or warmup < 0:
            raise ValueError(f"Expected {', '.join(positive)}, learning_rate and clip above zero.")
        if encoding not in ("categories", "numbers"):
            raise ValueError(f"Expected encoding 'categories' or 'numbers', got {encoding!r}.")
        self.learning_rate, self.discount, self.normalize = learning_rate, discount, normalize
        self.update_proportion, self.max_batch, self.minibatch = update_proportion, max_batch, minibatch
        self.epochs, self.clip, self.warmup, self.encoding, self.seed = epochs, clip, warmup, encoding, seed

    # What a subclass says ---------------------------------------------------------------------------------------------

    @abstractmethod
    def build(self, env: TensorEnv, features: int, generator: torch.Generator) -> dict[str, nn.Module]:
        """The networks by name; those without gradients are not trained."""

    @abstractmethod
    def measure(self, inputs: torch.Tensor, transition: Transition) -> torch.Tensor:
        """The bonus `(B,)` before it is divided, from the normalised features `(B, features)` of s'."""

    @abstractmethod
    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        """What is minimised, `()`, for rows of the sample."""

    @property
    def row_width(self) -> int:
        """Numbers in a row of the sample; its first `features` are those of s'."""
        return self.features

    def row(self, features: torch.Tensor, transition: Transition, chosen: torch.Tensor) -> torch.Tensor:
        """Rows to learn from, `(K, row_width)`, of the steps `chosen` `(K,)`; `features` `(B, features)` are of s'."""
        return features.index_select(0, chosen)

    def learned(self) -> None:
        """The networks have changed: called after `bind`, `update` and `set_state`."""

    # What all do ------------------------------------------------------------------------------------------------------

    def bind(self, env: TensorEnv) -> None:
        """Build the networks and the statistics for the env's observations; the env is not stepped."""
        categories = env.task.categories if self.encoding == "categories" else {}
        self._encoder = ObservationEncoder(env.single_observation_space, categories, env.device)
        self.features = self._encoder.features
        networks = self.build(env, self.features, torch.Generator().manual_seed(self.seed))
        self.networks = {name: network.to(env.device) for name, network in networks.items()}
        trained = [p for network in self.networks.values() for p in network.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(trained, lr=self.learning_rate, fused=True)
        self._generator = torch.Generator(env.device).manual_seed(self.seed)
        self._offered = math.ceil(self.update_proportion * env.num_envs)
        self._reservoir = Reservoir(self.max_batch, self.row_width, self._generator)
        self._moments = RunningMoments(self.features, env.device)
        self._scale = ReturnScale(env.num_envs, self.discount, env.device)
        self._ready = False
        self._found: tuple[Transition, torch.Tensor, torch.Tensor] | None = None
        self.learned()

    @property
    def ready(self) -> bool:
        """Whether bonuses are paid yet."""
        return self._ready

    def encode(self, obs: Observation) -> torch.Tensor:
        """Features of observations, float32 `(B, features)`."""
        return self._encoder(obs)

    def inputs(self, features: torch.Tensor) -> torch.Tensor:
        """Features as the networks take them: normalised by the statistics and clipped."""
        return self._moments.normalize(features, self.clip)

    @torch.no_grad()
    def found(self, transition: Transition) -> tuple[torch.Tensor, torch.Tensor]:
        """Features `(B, F)` of s' and the undivided bonus `(B,)`; computed once for `shape` and `observe`."""
        if self._found is None or self._found[0] is not transition:
            features = self.encode(transition.next_obs)
            self._found = transition, features, self.measure(self.inputs(features), transition)
        return self._found[1:]

    def shape(self, transition: Transition) -> torch.Tensor:
        """The bonus, float32 `(B,)`, at least zero; zero until `ready`."""
        if not self._ready:
            return torch.zeros_like(transition.reward, dtype=torch.float32)
        bonus = self.found(transition)[1]
        return bonus / self._scale.divisor if self.normalize else bonus

    def observe(self, transition: Transition) -> None:
        """Offer some steps for training and run the bonuses through the returns' filter."""
        if self._moments.count:
            features, bonus = self.found(transition)
            if self.normalize:
                self._scale.observe(bonus, transition.valid)
        else:
            features = self.encode(transition.next_obs)
        device = self._generator.device
        chosen = torch.randint(len(features), (self._offered,), generator=self._generator, device=device)
        valid = None if transition.valid is None else transition.valid[chosen]
        self._reservoir.add(self.row(features, transition, chosen), valid)
        self._found = None

    def begin(self, mask: torch.Tensor) -> None:
        """Forget what was computed for the last transition."""
        self._found = None

    def update(self) -> dict[str, float]:
        """Take the sample into the statistics, then train on it.

        Returns:
            `loss` (of the first minibatch) and, with `normalize`, `return_std`; nothing when nothing was observed.
        """
        sample = self._reservoir.rows()
        self._reservoir.clear()
        self._found = None
        if len(sample) == 0:
            return {}
        self._moments.update(sample[:, : self.features])
        self._scale.commit()
        self._ready = not self.normalize or self._scale.steps >= max(self.warmup, 1)
        losses = self.train(sample)
        self.learned()
        metrics = {"loss": float(losses[0])}
        return {**metrics, "return_std": float(self._scale.divisor)} if self.normalize else metrics

    @torch.enable_grad()
    def train(self, sample: torch.Tensor) -> list[torch.Tensor]:
        """Take `epochs` passes of gradient steps over rows `(K, row_width)`; returns the loss of each step."""
        losses = []
        for _ in range(self.epochs):
            order = torch.randperm(len(sample), generator=self._generator, device=sample.device)
            for chosen in order.split(self.minibatch):
                loss = self.loss(sample.index_select(0, chosen))
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()
                losses.append(loss.detach())
        return losses

    def get_state(self) -> dict[str, Any]:
        """Copy networks, optimiser, statistics, sample and generator."""
        return {
            **{name: clone(network.state_dict()) for name, network in self.networks.items()},
            "optimizer": copied(self._optimizer.state_dict()),
            "moments": self._moments.get_state(),
            "scale": self._scale.get_state(),
            "reservoir": self._reservoir.get_state(),
            "generator": self._generator.get_state(),
            "ready": self._ready,
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        for name, network in self.networks.items():
            network.load_state_dict(snapshot[name])
        self._optimizer.load_state_dict(copied(snapshot["optimizer"]))
        self._moments.set_state(snapshot["moments"])
        self._scale.set_state(snapshot["scale"])
        self._reservoir.set_state(snapshot["reservoir"])
        self._generator.set_state(snapshot["generator"].cpu())
        self._ready, self._found = snapshot["ready"], None
        self.learned()


def copied(value: Any) -> Any:
    """Copy a tensor or (nested) dicts and lists of tensors."""
    if isinstance(value, list):
        return [copied(item) for item in value]
    if isinstance(value, Mapping):
        return {name: copied(item) for name, item in value.items()}
    return clone(value)


def make_network(sizes: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """An MLP with ReLU between its layers and orthogonal weights drawn from `generator`."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
        nn.init.orthogonal_(linear.weight, math.sqrt(2), generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
