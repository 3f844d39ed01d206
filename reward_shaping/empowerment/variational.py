"""Empowerment learned from what happens: how well actions can be read off what came of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from gymnasium import spaces

from cairngym.envs.core import Observation, State, TensorEnv, Transition, clone
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.curiosity.encoding import ObservationEncoder, Reservoir
from cairngym.reward_shaping.curiosity.normalization import RunningMoments
from cairngym.reward_shaping.empowerment.inverse_models import CategoricalInverse, GaussianInverse, InverseModel, Source
from cairngym.reward_shaping.empowerment.windows import Windows

MAX_SEQUENCES = 4096


class EmpowermentShaper(Shaper):
    """n-step empowerment of s', a variational lower bound learned from the agent's own transitions.

    For any model q and source omega, I(A; S_n | s) >= E[log q(a|s, s_n) - log omega(a|s)] (Mohamed and Rezende, 2015),
    a the n actions played from s on. The inverse model q, and the bound as a function of s, are learned in `update`
    from windows of n steps; the term is that function at s', clipped to what is possible: [0, n log A] for A discrete
    actions, and for continuous ones what `width` allows. Zero before the first `update`, and where the episode
    terminated, for nothing follows.

    Its exact counterpart is `exact.empowerment(..., steps)`, open-loop sequences from s, for the source "optimal"; the
    mutual information under that source for the others. What the agent cannot see of a state is averaged over.

    Args:
        steps: n; discrete actions may make up 4096 sequences at most.
        source: "optimal" seeks the source that makes the bound greatest (discrete actions only), "uniform" takes every
            action as likely as any other, "behavior" takes those of the agent; "auto" is "optimal" for discrete
            actions and "behavior" for continuous ones.
        fields: state fields to tell states apart, as numbers; None takes the observation.
        encoding: of the observation: "categories" makes codes one-hot where the task lists them, "numbers" does not.
        hidden: width of the hidden layers.
        learning_rate: of Adam.
        update_proportion: share of each step's envs whose window is offered for training, in (0, 1]; at least one.
        max_batch: windows kept at most between two updates, a uniform sample of those offered.
        minibatch: windows in one gradient step.
        epochs: passes over the sample in one update.
        clip: bound of normalised features.
        averaging: share of the old weights that each gradient step leaves in those which estimates are made with, in
            [0, 1); a running mean of what is learned.
        width: for continuous actions: least std of q, in half ranges of the action.
        stream: "intrinsic", or "task" to keep the term away from a second value head.
        seed: of the networks and the sampling; the global generators are not touched.

    Raises:
        ValueError: an option out of its range.
    """

    def __init__(
        self,
        *,
        steps: int = 1,
        source: Literal["auto"] | Source = "auto",
        fields: Sequence[str] | None = None,
        encoding: Literal["categories", "numbers"] = "categories",
        hidden: int = 64,
        learning_rate: float = 1e-3,
        update_proportion: float = 0.25,
        max_batch: int = 4096,
        minibatch: int = 256,
        epochs: int = 1,
        clip: float = 5.0,
        averaging: float = 0.97,
        width: float = 0.05,
        stream: Literal["task", "intrinsic"] = "intrinsic",
        seed: int = 0,
    ) -> None:
        if source not in ("auto", "optimal", "uniform", "behavior"):
            raise ValueError(f"Expected source 'auto', 'optimal', 'uniform' or 'behavior', got {source!r}.")
        if encoding not in ("categories", "numbers"):
            raise ValueError(f"Expected encoding 'categories' or 'numbers', got {encoding!r}.")
        if stream not in ("task", "intrinsic"):
            raise ValueError(f"Expected stream 'task' or 'intrinsic', got {stream!r}.")
        if not 0 < update_proportion <= 1:
            raise ValueError(f"Expected update_proportion in (0, 1], got {update_proportion}.")
        if not 0 <= averaging < 1:
            raise ValueError(f"Expected averaging in [0, 1), got {averaging}.")
        if not 0 < width < 0.48:
            raise ValueError(f"Expected width in (0, 0.48), got {width}; a wider one leaves nothing to be told apart.")
        if min(steps, hidden, max_batch, minibatch, epochs) < 1 or min(learning_rate, clip) <= 0:
            raise ValueError("Expected steps, hidden, max_batch, minibatch, epochs, learning_rate and clip above zero.")
        self.steps, self.source, self.encoding, self.hidden = steps, source, encoding, hidden
        self.learning_rate, self.update_proportion, self.max_batch = learning_rate, update_proportion, max_batch
        self.minibatch, self.epochs, self.clip = minibatch, epochs, clip
        self.averaging, self.width = averaging, width
        self.stream, self.seed = stream, seed
        self.fields = self.requires = tuple(fields or ())

    def bind(self, env: TensorEnv) -> None:
        """Build the networks and the statistics; the env is not stepped.

        Raises:
            TypeError: actions that are neither Discrete nor Box.
            ValueError: too many sequences, actions without bounds, or a source that these actions do not have.
        """
        categories = env.task.categories if self.encoding == "categories" else {}
        self._encoder = None if self.fields else ObservationEncoder(
            env.single_observation_space, categories, env.device
        )  # fmt: skip
        width = self._encoder.features if self._encoder else sum(
            math.prod(env.state_spec[name].shape) for name in self.fields if name in env.state_spec
        )  # fmt: skip
        start = torch.Generator().manual_seed(self.seed)
        self._model = self._build(env.single_action_space, width, start).to(env.device)
        self._average = copy.deepcopy(self._model).requires_grad_(False)
        self._learned = 0
        self._offset = int(getattr(env.single_action_space, "start", 0))
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=self.learning_rate)
        self._generator = torch.Generator(env.device).manual_seed(self.seed)
        self._offered = math.ceil(self.update_proportion * env.num_envs)
        shape = env.single_action_space.shape or ()
        self._windows = Windows(env.num_envs, self.steps, width, shape, env.single_action_space, self._generator)
        encoded = 1 if isinstance(self._model, CategoricalInverse) else self._windows.numbers
        self._reservoir = Reservoir(self.max_batch, 2 * width + encoded, self._generator)
        self._moments = RunningMoments(width, env.device)
        self._features = width

    def _build(self, space: spaces.Space, features: int, generator: torch.Generator) -> InverseModel:
        if isinstance(space, spaces.Discrete):
            if space.n**self.steps > MAX_SEQUENCES:
                raise ValueError(
                    f"Expected at most {MAX_SEQUENCES} sequences, got {space.n}^{self.steps}; choose fewer steps."
                )
            source: Source = "optimal" if self.source == "auto" else self.source
            return CategoricalInverse(features, int(space.n), self.steps, self.hidden, source, generator)
        if not isinstance(space, spaces.Box):
            raise TypeError(f"Expected Discrete or Box actions, got {space}.")
        source = "behavior" if self.source == "auto" else self.source
        return GaussianInverse(features, space, self.steps, self.hidden, source, self.width, generator)

    @property
    def bound(self) -> float:
        """Nats that the term never exceeds."""
        return self._model.bound

    def _encode(self, obs: Observation, state: State) -> torch.Tensor:
        if self._encoder is not None:
            return self._encoder(obs)
        return torch.cat([state[name].reshape(len(state[name]), -1).float() for name in self.fields], dim=1)

    @torch.no_grad()
    def empowerment(self, obs: Observation, state: State) -> torch.Tensor:
        """The estimate at any states, in nats, float32 `(B,)` in [0, bound]; zero before the first `update`."""
        features = self._encode(obs, state)
        if not self._moments.count:
            return torch.zeros_like(features[:, 0])
        return self._average.value(self._moments.normalize(features, self.clip))

    def shape(self, transition: Transition) -> torch.Tensor:
        """The estimate at s', float32 `(B,)`; zero where the episode terminated."""
        value = self.empowerment(transition.next_obs, transition.next_state)
        return torch.where(transition.terminated, 0.0, value)

    def observe(self, transition: Transition) -> None:
        """Offer the windows that this step completes, of some envs, for training."""
        before = self._encode(transition.obs, transition.state)
        after = self._encode(transition.next_obs, transition.next_state)
        action = transition.action - self._offset if self._offset else transition.action
        chosen = torch.randint(len(before), (self._offered,), generator=self._generator, device=self._generator.device)
        for start, actions, whole in self._windows.add(before, action, transition.terminated, transition.valid):
            rows = torch.cat((start[chosen], after[chosen], self._model.encode(actions[chosen])), dim=1)
            if rows.device.type == "cpu":  # where counting waits for nothing, only windows that exist are offered
                self._reservoir.add(rows[whole[chosen]])
            else:
                self._reservoir.add(rows, whole[chosen])

    def begin(self, mask: torch.Tensor) -> None:
        """Start new windows."""
        self._windows.begin(mask)

    def update(self) -> dict[str, float]:
        """Take the sample into the statistics, then train on it.

        Returns:
            `inverse_loss` and `behavior_loss` (negative log-likelihoods, nats), `value_loss` (squared error) of the
            last minibatch, and `mean`, the mean estimate over the sample; nothing when no window was completed.
        """
        sample = self._reservoir.rows()
        self._reservoir.clear()
        if len(sample) == 0:
            return {}
        width = self._features
        self._moments.update(torch.cat((sample[:, :width], sample[:, width : 2 * width])))
        before, after = (
            self._moments.normalize(part, self.clip) for part in (sample[:, :width], sample[:, width : 2 * width])
        )
        losses = self._train(before, after, sample[:, 2 * width :])
        with torch.no_grad():
            mean = float(self._average.value(before).mean())
        return {**{f"{name}_loss": float(loss) for name, loss in losses.items()}, "mean": mean}

    @torch.enable_grad()
    def _train(self, before: torch.Tensor, after: torch.Tensor, action: torch.Tensor) -> dict[str, torch.Tensor]:
        losses: dict[str, torch.Tensor] = {}
        for _ in range(self.epochs):
            order = torch.randperm(len(action), generator=self._generator, device=action.device)
            for chosen in order.split(self.minibatch):
                losses = self._model.losses(before[chosen], after[chosen], action[chosen])
                self._optimizer.zero_grad()
                torch.stack(list(losses.values())).sum().backward()
                self._optimizer.step()
                self._follow()
        return {name: loss.detach() for name, loss in losses.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights towards those learned, faster at first."""
        self._learned += 1
        kept = min(self.averaging, self._learned / (self._learned + 5))
        for average, learned in zip(self._average.parameters(), self._model.parameters(), strict=True):
            average.lerp_(learned, 1 - kept)

    def get_state(self) -> dict[str, Any]:
        """Copy networks, optimiser, statistics, windows, sample and generator."""
        return {
            "model": clone(self._model.state_dict()),
            "average": clone(self._average.state_dict()),
            "learned": self._learned,
            "optimizer": clone(self._optimizer.state_dict()),
            "moments": self._moments.get_state(),
            "windows": self._windows.get_state(),
            "reservoir": self._reservoir.get_state(),
            "generator": self._generator.get_state(),
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._model.load_state_dict(snapshot["model"])
        self._average.load_state_dict(snapshot["average"])
        self._learned = snapshot["learned"]
        self._optimizer.load_state_dict(clone(snapshot["optimizer"]))
        self._moments.set_state(snapshot["moments"])
        self._windows.set_state(snapshot["windows"])
        self._reservoir.set_state(snapshot["reservoir"])
        self._generator.set_state(snapshot["generator"].cpu())
