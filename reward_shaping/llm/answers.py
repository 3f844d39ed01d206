"""What a program returns: a reward and named components, one number for each env."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

import torch

from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm.refusal import refuse
from cairngym.reward_shaping.llm.values import is_batched, kind

WANTED = "Expected `return reward, {'name': component, ...}`"


@dataclass(frozen=True)
class Answer:
    """What is known of every answer of a program."""

    names: tuple[str, ...]
    """Of the components."""
    converted: tuple[str, ...]
    """Components that are not floats yet."""
    shared: tuple[str, ...]
    """Components that may be a part of another tensor, such as a field of the state, and are copied."""
    shares: bool
    """Whether the reward may be one."""


def check_answer(node: ast.AST, answer: Any, given: set[int]) -> Answer:
    """Examine what stands in for an answer.

    Args:
        node: where the program returned.
        answer: what it returned.
        given: storages of what it was given, by `storage`.

    Raises:
        ProgramRefused: it is not a float tensor `(B,)` and a dict of 1 to 32 tensors `(B,)`.
    """
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], dict):
        raise refuse(node, f"{WANTED}, got {kind(answer)}.")
    reward, components = answer
    if not isinstance(reward, torch.Tensor) or not is_batched(reward) or reward.ndim != 1:
        raise refuse(node, f"The reward must be a tensor of shape (B,), got {kind(reward)}.")
    if not reward.is_floating_point():
        raise refuse(node, f"The reward must be floats, got {reward.dtype}; convert with .float().")
    if not 1 <= len(components) <= limits.MAX_COMPONENTS:
        raise refuse(node, f"Expected 1 to {limits.MAX_COMPONENTS} components, got {len(components)}.")
    for name, value in components.items():
        if not isinstance(value, torch.Tensor) or not is_batched(value) or value.ndim != 1:
            raise refuse(node, f"The component {name!r} must be a tensor of shape (B,), got {kind(value)}.")
    converted = tuple(name for name, value in components.items() if not value.is_floating_point())
    shared = tuple(name for name, value in components.items() if name not in converted and _shared(value, given))
    return Answer(tuple(components), converted, shared, _shared(reward, given))


def storage(tensor: torch.Tensor) -> int:
    """What tells two tensors' memory apart, also where they hold nothing."""
    return tensor.untyped_storage()._cdata


def _shared(value: torch.Tensor, given: set[int]) -> bool:
    return value._is_view() or storage(value) in given
