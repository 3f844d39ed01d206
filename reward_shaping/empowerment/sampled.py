"""Empowerment by trying it out: action sequences played from each state in copies of the world."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from gymnasium.vector import AutoresetMode

from cairngym.envs.core import State, StateField, TensorEnv, Transition, clone
from cairngym.envs.random import philox
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.empowerment.branching import Branches, Twin, draw_sequences
from cairngym.reward_shaping.empowerment.levels import moves_by_itself

Channel = Literal["auto", "distinct", "gaussian"]


class SampledEmpowermentShaper(Shaper):
    """n-step empowerment of s', estimated by K action sequences branched through the world's true dynamics.

    Every env's world is copied K x M times into a second env, where K sequences of n actions are played from it under M
    noises that are the same for all of them. The outcome of a sequence is what `fields` of the state show at its end:

    - "distinct": the capacity of the channel from the K sequences to the outcomes seen. With one noise that is the log
      of how many different outcomes there are; with more, Blahut and Arimoto's algorithm on their frequencies. At most
      log K; where all sequences are tried and nothing is random, it is the exact empowerment.
    - "gaussian": 0.5 log det(I + C / resolution^2), C the covariance of the outcomes over sequences, under each noise
      and averaged: how many outcomes the actions set apart for a sensor with Gaussian noise of std `resolution`.

    Common noise leaves nothing between sequences but what the actions do, so a world's noise adds nothing. One noise
    measures what the actions do given that noise, which is more than they do for someone who does not know it.

    The sequences are drawn once, by `seed`, and serve every env at every step: without noise the term is a fixed
    function of the state. Nothing is paid where the episode terminated, for nothing follows. Where a time limit cut it
    and the next has begun, the value of the state before stands in for the one that is gone.

    A step costs n steps of N x K x M worlds; neither the env's own worlds nor their lives are touched.

    Args:
        steps: n.
        samples: K; all sequences where these are fewer.
        noises: M, at most 1024.
        fields: state fields that make up the outcome; default is every one that no planner computes and that does not
            count steps.
        channel: "auto" is "gaussian" where all fields are floats and "distinct" where all are integers.
        resolution: in each field's unit, a number, or one for each field: std of the Gaussian sensor; under "distinct"
            the width of the cells that floats are cut into.
        twin: a function of the number of envs that makes another env like this; needed where the env was not made by
            its id.
        options: the options this env was made with, handed to `make` for the second one.
        stream: "intrinsic", or "task" to keep the term away from a second value head.
        seed: of the sequences.

    Raises:
        ValueError: an option out of its range.
    """

    memory = True

    def __init__(
        self,
        *,
        steps: int = 2,
        samples: int = 64,
        noises: int = 1,
        fields: Sequence[str] | None = None,
        channel: Channel = "auto",
        resolution: float | Mapping[str, float] = 0.1,
        twin: Twin | None = None,
        options: Mapping[str, Any] | None = None,
        stream: Literal["task", "intrinsic"] = "intrinsic",
        seed: int = 0,
    ) -> None:
        if min(steps, samples, noises) < 1 or noises > 1024:
            raise ValueError(
                f"Expected steps, samples >= 1 and noises in [1, 1024], got {steps}, {samples} and {noises}."
            )
        if channel not in ("auto", "distinct", "gaussian"):
            raise ValueError(f"Expected channel 'auto', 'distinct' or 'gaussian', got {channel!r}.")
        if stream not in ("task", "intrinsic"):
            raise ValueError(f"Expected stream 'task' or 'intrinsic', got {stream!r}.")
        widths = resolution.values() if isinstance(resolution, Mapping) else (resolution,)
        if not all(width > 0 for width in widths):
            raise ValueError(f"Expected a resolution above zero, got {resolution}.")
        self.steps, self.samples, self.noises, self.seed = steps, samples, noises, seed
        self.channel, self.resolution, self.stream = channel, resolution, stream
        self._given, self._twin, self._options = tuple(fields or ()), twin, options
        self._branches: Branches | None = None

    def bind(self, env: TensorEnv) -> None:
        """Make the second env and draw the sequences; the env itself is not stepped.

        Raises:
            ValueError: no field to read, fields of both kinds, or a world whose copies can't share their noise.
        """
        if moves_by_itself(env):
            raise ValueError(
                f"The obstacles of {env.unwrapped.id} move by their world's place in the batch, which copies of it do "
                "not share, so that noise would pass for what actions do. Choose an env without them."
            )
        self.fields = self._given or outcome_fields(env.state_spec)
        self.kind = self._kind(env.state_spec)
        sequences = draw_sequences(env.unwrapped.single_action_space, self.steps, self.samples, self.seed)
        self.close()
        self._branches = Branches(env, sequences, self.noises, twin=self._twin, options=self._options)
        self._resets = env.unwrapped.autoreset_mode is AutoresetMode.SAME_STEP
        self._held: torch.Tensor | None = None
        self._now: tuple[Transition, torch.Tensor] | None = None
        self._current = False

    def _kind(self, spec: Mapping[str, StateField]) -> Channel:
        missing = [name for name in self.fields if name not in spec]
        if missing or not self.fields:
            raise ValueError(f"Expected state fields among {', '.join(spec)}, got {missing or 'none'}.")
        if self.channel != "auto":
            return self.channel
        floats = [name for name in self.fields if spec[name].dtype.is_floating_point]
        if floats and len(floats) < len(self.fields):
            others = [name for name in self.fields if name not in floats]
            raise ValueError(
                f"The state fields {floats} are floats and {others} are not: name fields of one kind, or the channel."
            )
        return "gaussian" if floats else "distinct"

    @torch.no_grad()
    def empowerment(self) -> torch.Tensor:
        """The estimate at the state every env is in, in nats, float32 `(N,)`.

        Raises:
            RuntimeError: no env is bound yet.
        """
        if self._branches is None:
            raise RuntimeError("Sampled empowerment needs an env: call bind(env), or use cairngym.shape.")
        if self.kind == "gaussian":
            return gaussian_capacity(self._branches.play(self._numbers)).to(torch.float32)
        return distinct_capacity(self._branches.play(self._keys)[..., 0]).to(torch.float32)

    def _width(self, name: str) -> float:
        return self.resolution[name] if isinstance(self.resolution, Mapping) else self.resolution

    def _numbers(self, state: State) -> torch.Tensor:
        """The fields in units of their resolution, float64 `(B, columns)`."""
        parts = [state[name].reshape(len(state[name]), -1).double() / self._width(name) for name in self.fields]
        return torch.cat(parts, dim=1)

    def _keys(self, state: State) -> torch.Tensor:
        """A hash of the fields, int64 `(B, 1)`; two different readings share one with probability 2^-64."""
        hashes = [
            _hash(state[name].reshape(len(state[name]), -1), self._width(name), place)
            for place, name in enumerate(self.fields)
        ]
        return torch.stack(hashes, dim=1).sum(1, keepdim=True)

    def shape(self, transition: Transition) -> torch.Tensor:
        """The estimate at s', float32 `(B,)`, at least zero; zero where the episode terminated."""
        if transition.env_id is None:
            raise ValueError("Sampled empowerment is of running worlds; keep the value that was collected.")
        value = self._find(transition)
        if self._resets and self._held is not None:
            value = torch.where(transition.truncated, self._held, value)
        return torch.where(transition.terminated, 0.0, value)

    def _find(self, transition: Transition) -> torch.Tensor:
        if self._now is None or self._now[0] is not transition:
            self._now = transition, self.empowerment()
        return self._now[1]

    def observe(self, transition: Transition) -> None:
        """Keep the estimate, for the step after."""
        self._held, self._current = self._find(transition), True
        self._now = None

    def begin(self, mask: torch.Tensor) -> None:
        """Estimate the first states, unless the step that led there has."""
        del mask
        if self._resets and not self._current:
            self._held = self.empowerment()
        self._current, self._now = False, None

    def get_state(self) -> dict[str, Any]:
        """Copy the estimates kept; the sequences follow from the seed."""
        return {"held": clone(self._held)}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._held, self._current, self._now = clone(snapshot["held"]), False, None

    def close(self) -> None:
        """Close the second env."""
        if self._branches is not None:
            self._branches.close()
            self._branches = None


def outcome_fields(spec: Mapping[str, StateField]) -> tuple[str, ...]:
    """The state fields that no planner computes and that do not count steps."""
    return tuple(name for name, field in spec.items() if not field.privileged and field.unit != "step")


def distinct_capacity(keys: torch.Tensor, *, iterations: int = 60) -> torch.Tensor:
    """Capacity of the channels that samples show: K inputs, each with M outcomes.

    Args:
        keys: int64 `(N, K, M)`; outcomes of an env that have the same key are one.
        iterations: of Blahut and Arimoto's algorithm; a fixed number, so that no step waits for the device.

    Returns:
        float64 `(N,)`, in nats, at least 0 and at most log K. For M = 1, the log of the number of different outcomes.

    Example:
        >>> distinct_capacity(torch.tensor([[[5], [7], [5], [9]]])).exp()
        tensor([3.0000], dtype=torch.float64)
    """
    count, inputs, noises = keys.shape
    values, order = keys.reshape(count, -1).sort(dim=1)
    first = torch.ones_like(values, dtype=torch.bool)
    first[:, 1:] = values[:, 1:] != values[:, :-1]
    rank = first.cumsum(1) - 1
    if noises == 1:
        return (rank[:, -1] + 1).to(torch.float64).log()
    symbol = torch.empty_like(rank).scatter_(1, order, rank)
    own = symbol.view(count, inputs, noises)
    repeats = (own.unsqueeze(-1) == own.unsqueeze(-2)).sum(-1)
    log_own = (repeats.to(torch.float64) / noises).log()
    log_source = torch.full((count, inputs), 1.0 / inputs, dtype=torch.float64, device=keys.device).log()
    lower = torch.zeros(count, dtype=torch.float64, device=keys.device)
    for _ in range(iterations):
        share = (log_source.exp() / noises).repeat_interleave(noises, dim=1)
        mixture = torch.zeros_like(share).scatter_add_(1, symbol, share)
        log_mixture = mixture.gather(1, symbol).clamp(min=1e-300).log().view_as(log_own)
        moved = log_source + (log_own - log_mixture).mean(-1)
        lower = moved.logsumexp(1)
        log_source = (moved - lower.unsqueeze(1)).clamp(min=-400.0)
    return lower.clamp(min=0.0)


def gaussian_capacity(outcomes: torch.Tensor) -> torch.Tensor:
    """0.5 log det(I + C) of outcomes in units of the noise's std.

    Args:
        outcomes: `(N, K, M, D)`; C is their covariance over the K inputs, averaged over the M noises.

    Returns:
        float64 `(N,)`, in nats, at least 0.
    """
    count, inputs, noises, size = outcomes.shape
    centred = (outcomes.double() - outcomes.double().mean(1, keepdim=True)).view(count, -1, size)
    covariance = centred.transpose(1, 2) @ centred / (inputs * noises)
    factor = torch.linalg.cholesky_ex(covariance + torch.eye(size, dtype=torch.float64, device=outcomes.device)).L
    return factor.diagonal(dim1=1, dim2=2).log().sum(1).clamp(min=0.0)


def _hash(rows: torch.Tensor, width: float, field: int) -> torch.Tensor:
    """A number for every row of a field, int64 `(B,)`; floats are cut into cells of that width."""
    if rows.is_floating_point():
        rows = torch.floor(rows / width)
    if rows.dtype is torch.uint8:  # eight bytes at a time
        rows = torch.nn.functional.pad(rows, (0, -rows.shape[1] % 8)).view(torch.int64)
    rows = rows.long()
    return (rows * _multipliers(rows.shape[1], field).to(rows.device)).sum(1)


@functools.cache
def _multipliers(columns: int, field: int) -> torch.Tensor:
    """Random odd numbers of 64 bits, int64 `(columns,)`, other ones for every field."""
    index = torch.arange(columns)
    words = philox((index, index * 0 + field, index * 0, index * 0), key=1)
    return words[:, 0] << 32 | words[:, 1] | 1
