"""Latent factors z = phi(s, a, s') of a step: the components of a reward program, or the raw state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from gymnasium import spaces

from cairngym.envs.checks import unknown_name
from cairngym.envs.core import State, StateField, TensorEnv, Transition
from cairngym.reward_shaping.llm.abstraction import visible
from cairngym.reward_shaping.llm.program import RewardProgram

Memory = dict[str, torch.Tensor]


class Factors(ABC):
    """What a step is described by; a pure function of the transition and of what the episode holds."""

    names: tuple[str, ...]
    """Of the factors, in order."""
    requires: tuple[str, ...]
    """The state fields that are read."""
    remembers: bool = False
    """Whether the factors depend on what came before in the episode."""

    @abstractmethod
    def __call__(self, transition: Transition, memory: Memory) -> torch.Tensor:
        """The factors, float32 `(B, F)`; items of `memory` are replaced, none is written into."""


class ProgramFactors(Factors):
    """The named components of a reward program; its reward is ignored.

    Args:
        program: compiled for the env's state.
    """

    def __init__(self, program: RewardProgram) -> None:
        self.program = program
        self.names, self.requires = program.components, program.fields
        self.remembers = bool(program.remembers)

    def __call__(self, transition: Transition, memory: Memory) -> torch.Tensor:
        """The components, float32 `(B, F)`.

        Raises:
            ProgramFailed: torch failed within it.
        """
        _, parts = self.program(transition.state, transition.action, transition.next_state, memory)
        return torch.stack([parts[name] for name in self.names], dim=1).to(torch.float32)


class StateFactors(Factors):
    """Every number of s' and of s' - s, and the action: return decomposition without a language model.

    Discrete actions are one-hot. What the state says of s is contained in the two, and small changes are not lost
    beside large values.

    Args:
        env: where the state is measured.
        fields: the state fields; default is all that are not privileged.

    Raises:
        UnknownNameError: a field that the env does not measure.
        ValueError: no field.
    """

    def __init__(self, env: TensorEnv, fields: Sequence[str] = ()) -> None:
        spec = env.state_spec
        for field in fields:
            if field not in spec:
                raise unknown_name("state field", field, spec)
        self.requires = tuple(fields) or tuple(visible(spec))
        if not self.requires:
            raise ValueError("Expected state fields to decompose returns by, got none: this env measures no state.")
        self.space = env.single_action_space
        state = [part for name in self.requires for part in _entries(name, spec[name])]
        self.names = (*state, *(f"{part} change" for part in state), *_action_entries(self.space))

    def __call__(self, transition: Transition, memory: Memory) -> torch.Tensor:
        """State, change and action, float32 `(B, F)`."""
        del memory
        before, after = self._flat(transition.state), self._flat(transition.next_state)
        return torch.cat((after, after - before, self._flat_action(transition.action)), dim=1)

    def _flat(self, state: State) -> torch.Tensor:
        rows = [state[name].to(torch.float32) for name in self.requires]
        return torch.cat([row.unsqueeze(1) if row.ndim == 1 else row.flatten(1) for row in rows], dim=1)

    def _flat_action(self, action: torch.Tensor) -> torch.Tensor:
        if isinstance(self.space, spaces.Discrete):
            codes = torch.arange(int(self.space.n), device=action.device) + int(self.space.start)
            return (action.view(-1, 1) == codes).to(torch.float32)
        return action.to(torch.float32).flatten(1)


def _entries(name: str, field: StateField) -> list[str]:
    size = math.prod(field.shape)
    return [name] if not field.shape else [f"{name}[{index}]" for index in range(size)]


def _action_entries(space: spaces.Space) -> list[str]:
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return [f"action {code}" for code in range(first, first + int(space.n))]
    return [f"action[{index}]" for index in range(math.prod(space.shape or (1,)))]
