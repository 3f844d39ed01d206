"""Copies of an env's worlds that try out what its agent might do, under the world's own dynamics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from cairngym.envs.core import TensorEnv
from cairngym.envs.registry import make

Twin = Callable[[int], TensorEnv]
"""Makes an env of the same id and options with the number of envs it is given."""
NOISE_BIT = 20
"""Bit of the episode's number from which on it names a noise that no episode of the env lives."""


class Branches:
    """N worlds copied K x M times into a second env: K sequences of actions, each under the same M noises.

    The copies of a world draw by its own index, its step and a number of an episode that it never lives: one number a
    noise, the same for all K sequences, so that whatever differs between them comes of the actions alone, and nothing
    is learned of what will really happen.

    Args:
        env: the env whose worlds are branched; its own worlds are not touched.
        sequences: `(K, n, *action_shape)`, actions of the world itself, below every wrapper.
        noises: M.
        twin: makes the second env; None makes one of the same id.
        options: of the env, for `twin` None.

    Raises:
        ValueError: the env was not made by its id and no `twin` is given, or the twin is of another kind.
    """

    def __init__(
        self,
        env: TensorEnv,
        sequences: torch.Tensor,
        noises: int = 1,
        *,
        twin: Twin | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.env, self.noises = env.unwrapped, noises
        self.copies = len(sequences) * noises
        total = self.env.num_envs * self.copies
        self.twin = (twin(total) if twin else _made(self.env, total, options or {})).unwrapped
        self.twin.autoreset_mode = AutoresetMode.DISABLED
        self._check(total)
        order = sequences.repeat_interleave(noises, dim=0).repeat(self.env.num_envs, *(1,) * (sequences.ndim - 1))
        self._actions = [step.contiguous() for step in order.to(self.env.device).unbind(1)]
        self._noise = torch.arange(1, noises + 1, device=self.env.device).repeat(total // noises)
        self.twin.reset(seed=0)
        self._template = self.twin.get_state()

    def _check(self, total: int) -> None:
        if self.twin.num_envs != total:
            raise ValueError(f"Expected the twin to have the {total} envs it is asked for, got {self.twin.num_envs}.")
        same = self.twin.single_action_space == self.env.single_action_space
        if not same or list(self.twin.state_spec) != list(self.env.state_spec):
            raise ValueError(
                f"Expected a twin of the same id and options, with actions {self.env.single_action_space} and the "
                f"state fields {', '.join(self.env.state_spec)}; got {self.twin.single_action_space} and "
                f"{', '.join(self.twin.state_spec)}."
            )

    def play(self, read: Callable[[Mapping[str, torch.Tensor]], torch.Tensor]) -> torch.Tensor:
        """Play every sequence from where the worlds are and read the state at its end.

        Args:
            read: of a state, `(B, columns)`; an episode that terminates stays at its last reading.

        Returns:
            `(N, K, M, columns)`.
        """
        self._branch()
        lives, last = self.twin.episodes, len(self._actions) - 1
        over = torch.zeros_like(lives.terminated)
        reading: torch.Tensor | None = None
        for step, action in enumerate(self._actions):
            state = self.twin.step(action)[4]["final_state"]
            # Only ends are read on the way; the CPU knows for free whether there are any.
            if step == last or over.device.type != "cpu" or bool(lives.terminated.any()):
                now = read(state)
                reading = now if reading is None else torch.where(over.unsqueeze(1), reading, now)
            over = over | lives.terminated
            lives.truncated.zero_()  # a time limit is the task's, no end of what can be done
        if reading is None:
            raise ValueError("Expected sequences of at least one action.")
        return reading.view(self.env.num_envs, -1, self.noises, reading.shape[1])

    def _branch(self) -> None:
        snapshot = _spread(self.env.get_state(), self._template, self.env.num_envs, self.copies)
        lives = snapshot["episodes"]
        lives["number"] = lives["number"] + ((lives["length"] * self.noises + self._noise) << NOISE_BIT)
        for counter in ("terminated", "truncated"):
            lives[counter] = torch.zeros_like(lives[counter])
        self.twin.set_state(snapshot)

    def close(self) -> None:
        """Close the second env."""
        self.twin.close()


def _made(env: TensorEnv, total: int, options: Mapping[str, Any]) -> TensorEnv:
    if not env.id:
        raise ValueError(
            "Sampled empowerment plays in copies of the env, and this one was not made by an id: pass twin=…, "
            "a function of the number of envs that makes another one like it."
        )
    mode = {"autoreset_mode": AutoresetMode.DISABLED}
    return make(env.id, num_envs=total, device=str(env.device), seed=env.episodes.seed, **{**options, **mode})


def _spread(value: Any, template: Any, count: int, copies: int) -> Any:
    """A snapshot of `count` envs as one of `count * copies`, each env's copies side by side.

    Tensors that are as large in the twin are no env's own and stay.
    """
    if isinstance(value, Mapping):
        known = template if isinstance(template, Mapping) else {}
        return {name: _spread(item, known.get(name), count, copies) for name, item in value.items()}
    if not isinstance(value, torch.Tensor) or value.ndim == 0 or value.shape[0] != count:
        return value
    if isinstance(template, torch.Tensor) and template.shape == value.shape and copies > 1:
        return value
    return value.repeat_interleave(copies, dim=0)


def draw_sequences(space: spaces.Space, steps: int, samples: int, seed: int) -> torch.Tensor:
    """K sequences of n actions, drawn uniformly; all there are where these are no more than `samples`.

    Discrete sequences are all different. Returns int64 `(K, n)`, or float32 `(K, n, *shape)` within a box.

    Raises:
        TypeError: neither Discrete nor Box actions.
        ValueError: a box without bounds.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(space, spaces.Discrete):
        return int(space.start) + _numbers(_chosen(int(space.n), steps, samples, generator), int(space.n), steps)
    if not isinstance(space, spaces.Box):
        raise TypeError(f"Expected Discrete or Box actions, got {space}.")
    if not space.is_bounded():
        raise ValueError(f"Expected actions within bounds, to draw them uniformly; got {space}.")
    low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
    return low + (high - low) * torch.rand(samples, steps, *space.shape, generator=generator)


def _chosen(actions: int, steps: int, samples: int, generator: torch.Generator) -> torch.Tensor:
    """Numbers of different sequences, int64 `(K,)`."""
    everything = actions**steps
    if everything <= samples:
        return torch.arange(everything)
    if everything >= 2**62:
        raise ValueError(f"Expected fewer than 2^62 sequences, got {actions}^{steps}; choose fewer steps.")
    drawn = torch.zeros(0, dtype=torch.int64)
    while len(drawn) < samples:
        more = torch.randint(everything, (samples,), generator=generator)
        drawn = torch.unique(torch.cat((drawn, more)))
    return drawn[torch.randperm(len(drawn), generator=generator)[:samples]].sort().values


def _numbers(sequences: torch.Tensor, actions: int, steps: int) -> torch.Tensor:
    """The digits of sequence numbers, first action slowest, int64 `(K, n)`."""
    powers = torch.tensor([actions**power for power in reversed(range(steps))])
    return sequences.unsqueeze(1) // powers % actions


def sequence_number(actions: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """Which of count^n sequences these n actions `(B,)` make up, first action slowest; int64 `(B,)`."""
    number = torch.zeros_like(actions[0])
    for action in actions:
        number = number * count + action
    return number
