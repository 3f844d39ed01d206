"""A policy trained by the gradient of a differentiable objective through differentiable dynamics.

No trial and error and no critic: whole episodes are unrolled under autograd, and their objective, for instance the
smooth robustness of a formula (Leung, Arechiga and Pavone 2023; "Grad" in comparisons with TGPO), is ascended.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import nn

from cairngym.agents.checkpoint import load_moments, to_plain
from cairngym.agents.core import Actor, Agent, Callback, Metrics
from cairngym.agents.dynamics_gradient_config import DynamicsGradientConfig
from cairngym.agents.inputs import Inputs, make_encoder
from cairngym.agents.networks import Trunk, check_same_networks, linear
from cairngym.agents.normalization import RunningNormalizer
from cairngym.agents.unit_actions import UnitActor, UnitBox
from cairngym.envs.core import Observation, State, TensorEnv


class DifferentiableWorld(Protocol):
    """What `env.world` must offer."""

    def dynamics(self, state: State, action: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """The fields of `state` that a step with `action` `(B, *action_shape)` moves, as they are after it.

        Pure torch operations on any batch size B, the same that `advance` moves the worlds by. Fields that are left out
        stand still; every field that the task observes or judges must be among those given or stand still indeed.
        """
        ...


class DifferentiableTask(Protocol):
    """What `env.task` must offer."""

    horizon: int
    """Steps of an episode."""

    def observe(self, state: State) -> Observation:
        """What the agent sees, differentiable in the fields that move."""
        ...

    def objective(self, states: Sequence[State], smooth: float | None = None) -> torch.Tensor:
        """How well whole episodes went, `(B,)`: zero or more exactly where the task is done, and then it pays one.

        Args:
            states: `horizon + 1` states of B episodes, the first right after the reset.
            smooth: None for the exact objective; else that of a smooth one, closer to the exact the larger this is.
        """
        ...


def check_differentiable(env: TensorEnv) -> None:
    """Refuse an env that cannot be differentiated through.

    Raises:
        TypeError: wrappers around it, a world without `dynamics`, or a task without `objective`.
    """
    if env.unwrapped is not env:
        raise TypeError(
            f"Expected an env without wrappers, got {type(env).__name__} around one: the gradient goes through the "
            "world's dynamics and the task's objective, past wrappers and shapers. Leave them out for this agent."
        )
    if not callable(getattr(env.world, "dynamics", None)):
        raise TypeError(
            f"Expected a world with differentiable dynamics(state, action), got {type(env.world).__name__}. Analytic "
            "worlds have it: those of StlLinear-…, StlUnicycle-… and StlQuadrotor-…; worlds of MuJoCo, grids and "
            "foreign envs do not. Learn by trial on this one, for instance with ppo, sac or cem."
        )
    if not callable(getattr(env.task, "objective", None)):
        raise TypeError(
            f"Expected a task with a differentiable objective(states, smooth), got {type(env.task).__name__}. "
            'Tasks of a formula have one: specify(env, "F[0,50] …") makes such a task of this world.'
        )


class Controller(nn.Module):
    """A deterministic policy: normalised features, an MLP, actions in [-1, 1]^A by tanh.

    Args:
        normalizer: of the features.
        trunk: the hidden layers.
        width: of the last of them.
        actions: A.
    """

    def __init__(self, normalizer: RunningNormalizer, trunk: Trunk, width: int, actions: int) -> None:
        super().__init__()
        self.normalizer, self.trunk = normalizer, trunk
        # First actions near the middle of the box, where tanh lets gradients through.
        self.head = linear(width, actions, 0.1)

    def forward(self, inputs: Inputs) -> torch.Tensor:
        """Actions `(B, A)` in [-1, 1]."""
        inputs = Inputs(inputs.symbols, self.normalizer(inputs.features))
        return self.head(self.trunk(inputs)).tanh()


class DynamicsGradient(Agent):
    """Ascends the mean smooth objective of episodes unrolled through the dynamics.

    Every iteration resets the env for N start states, unrolls the policy for the whole horizon and takes one step of
    Adam. The env is never stepped; N x horizon steps are counted. Success is the exact objective's sign.

    Args:
        env: a bare env; see `DifferentiableWorld` and `DifferentiableTask` for what it must offer.
        config: settings.

    Raises:
        TypeError: the env cannot be differentiated through, or its actions are no Box.
        ValueError: actions without finite bounds.
    """

    name: ClassVar[str] = "dynamics_gradient"
    stochastic: ClassVar[bool] = False

    def __init__(self, env: TensorEnv, config: DynamicsGradientConfig | None = None) -> None:
        self.env, self.config = env, config or DynamicsGradientConfig()
        check_differentiable(env)
        self.device, self.steps_done = env.device, 0
        self.encoder = make_encoder(env)
        self.box = UnitBox(env.single_action_space, self.name, env.device)
        hidden = tuple(self.config.hidden)
        with torch.random.fork_rng(devices=[]):  # same parameters on every device, and nobody else's draws moved
            torch.manual_seed(self.config.seed)
            trunk = Trunk(self.encoder, hidden, self.config.activation)
            normalizer = RunningNormalizer(self.encoder.normalized & self.config.normalize)
            self.model = Controller(normalizer, trunk, hidden[-1], self.box.size)
        self.model.to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.config.learning_rate, fused=True)

    # Learning ---------------------------------------------------------------------------------------------------------

    def learn(self, env: TensorEnv, steps: int, callbacks: Iterable[Callback] = ()) -> None:
        """Learn from at least `steps` more env steps, in whole iterations of `num_envs * horizon`.

        Args:
            env: has the spaces the agent was made for; it is reset in every iteration.
            steps: env steps, every one of the `num_envs` counted.
            callbacks: called with the metrics of every iteration, until one returns False.

        Raises:
            TypeError: the env cannot be differentiated through.
            ValueError: its objective does not depend on the actions.
        """
        check_differentiable(env)
        self.env, callbacks = env, tuple(callbacks)
        target = self.steps_done + steps
        while self.steps_done < target:
            metrics = self._iterate(env)
            # Every callback hears of the iteration, even where an earlier one asks to stop.
            if False in [callback(metrics) for callback in callbacks]:
                break

    def _iterate(self, env: TensorEnv) -> Metrics:
        start = time.perf_counter()
        env.reset()
        smooth = self.config.smooth_at(self.steps_done)
        states, features = self.unroll(env, dict(env.state))
        task = cast(DifferentiableTask, env.task)
        objective = task.objective(states, smooth)
        norm = self._ascend(objective)
        with torch.no_grad():
            exact = task.objective(states)
        self.model.normalizer.update(features)
        steps = env.num_envs * (len(states) - 1)
        self.steps_done += steps
        means = torch.stack((exact.ge(0.0).float().mean(), exact.mean(), objective.detach().mean()))
        done, exactly, smoothly = means.tolist()
        return {
            "step": self.steps_done, "success_rate": done, "episode_return": done,
            "episode_length": float(len(states) - 1), "episodes": env.num_envs, "objective/exact": exactly,
            "objective/smooth": smoothly, "gradient_norm": norm, "smooth": smooth,
            "steps_per_s": steps / (time.perf_counter() - start),
        }  # fmt: skip

    def unroll(self, env: TensorEnv, state: State) -> tuple[list[State], torch.Tensor]:
        """Let the policy run from B start states for the task's horizon, under autograd.

        Args:
            env: gives the dynamics, the observation and the horizon; it is not touched.
            state: every field `(B, ...)`, at the beginning of episodes.

        Returns:
            `horizon + 1` states, the first being `state`; and the raw features seen, float32 `(horizon * B, F)`.
        """
        world, task = cast(DifferentiableWorld, env.world), cast(DifferentiableTask, env.task)
        states, features = [state], []
        for _ in range(task.horizon):
            inputs = self.encoder(task.observe(states[-1]))
            features.append(inputs.features.detach())
            moved = world.dynamics(states[-1], self.box.to_env(self.model(inputs)))
            states.append({**states[-1], **moved})
        return states, torch.cat(features)

    def loss(self, objective: torch.Tensor) -> torch.Tensor:
        """Minus the mean objective, each trajectory's `(B,)` counted up to `enough`."""
        enough = self.config.enough
        return -(objective if enough is None else objective.clamp(max=enough)).mean()

    def _ascend(self, objective: torch.Tensor) -> float:
        """One step of Adam; returns the gradient's norm. A gradient that is not finite is not followed."""
        if not objective.requires_grad:
            raise ValueError(
                "Expected an objective that depends on the actions through the dynamics, got one without a gradient. "
                "Write dynamics, margins and objective in torch, without detach() or no_grad()."
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(objective).backward()
        parameters = list(self.model.parameters())
        bound = self.config.max_grad_norm
        norm = float(nn.utils.clip_grad_norm_(parameters, float("inf") if bound is None else bound))
        if norm < float("inf"):
            self.optimizer.step()
        return norm

    # Playing and saving -----------------------------------------------------------------------------------------------

    def actor(self, num_envs: int, *, deterministic: bool = False, seed: int = 0) -> Actor:
        """The present policy; it follows the agent's later learning, keeps no memory and draws nothing."""
        del num_envs, deterministic

        def policy(obs: Observation, generator: torch.Generator) -> torch.Tensor:
            del generator
            return self.model(self.encoder(obs))

        return UnitActor(policy, self.box, self.device, seed)

    def get_state(self) -> dict[str, Any]:
        """Copy everything but the env."""
        return {
            "model": {name: value.clone() for name, value in self.model.state_dict().items()},
            "optimizer": to_plain(self.optimizer.state_dict()),
            "steps_done": self.steps_done,
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot taken by `get_state`.

        Raises:
            ValueError: if it is of other networks.
        """
        check_same_networks(self.model, snapshot["model"])
        self.model.load_state_dict(snapshot["model"])
        load_moments(self.optimizer, snapshot["optimizer"])
        self.steps_done = snapshot["steps_done"]

    def forget_env(self) -> None:
        """Nothing to forget: every iteration begins new episodes."""
