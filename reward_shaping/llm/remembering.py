"""The memory of a program: what it may keep from step to step, and how that is held while it runs.

Names and shapes are known once the program has been followed, so a memory never grows. Rows of NaN read as the default:
that is how an env begins an episode that remembers nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, MutableMapping

import torch

from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm.ledger import Ledger
from cairngym.reward_shaping.llm.refusal import refuse
from cairngym.reward_shaping.llm.values import elements, is_batched, is_number, kind, shown

Memory = MutableMapping[str, torch.Tensor]


class Remembering:
    """Notes what a program that is being followed reads from its memory and writes to it.

    Args:
        ledger: counts it.

    Attributes:
        recalled: shapes of what is read, by name.
        written: shapes of what is assigned, by name.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.recalled: dict[str, tuple[int, ...]] = {}
        self.written: dict[str, tuple[int, ...]] = {}

    def keep(self, node: ast.AST, name: str, value: object) -> None:
        """Follow `memory[name] = value`.

        Raises:
            ProgramRefused: the value is no tensor of the envs, has another shape than before, or is too much.
        """
        if not isinstance(value, torch.Tensor) or not is_batched(value):
            raise refuse(node, f"memory[{name!r}] must be a tensor with the batch first, got {kind(value)}.")
        if self.written.setdefault(name, tuple(value.shape)) != tuple(value.shape):
            raise refuse(
                node, f"memory[{name!r}] is written with two shapes, {shown(self.written[name])} and {kind(value)}."
            )
        if len(self.written) > limits.MAX_MEMORIES:
            raise refuse(node, f"More than {limits.MAX_MEMORIES} names in memory; stack what belongs together.")
        if sum(map(_count, self.written.values())) > self.ledger.most_remembered:
            raise refuse(
                node, f"The memory would hold more than {self.ledger.most_remembered} numbers per env; keep less."
            )
        self.ledger.made(node, elements(value) * value.element_size())  # a copy is kept

    def recall(self, node: ast.AST, name: str, default: object) -> torch.Tensor:
        """What `memory.get(name, default)` is worth.

        Raises:
            ProgramRefused: the default is neither a number nor a tensor of the envs, or has another shape than before.
        """
        shape: tuple[int, ...] = (0,)
        dtype = torch.float32
        if isinstance(default, torch.Tensor) and (default.ndim == 0 or is_batched(default)):
            shape = tuple(default.shape) or shape
            dtype = default.dtype if default.is_floating_point() else dtype
        elif not is_number(default):
            raise refuse(
                node, f"The default of memory.get is a number, or a tensor with the batch first; got {kind(default)}."
            )
        if self.recalled.setdefault(name, shape) != shape:
            raise refuse(node, f"memory.get({name!r}) has defaults of two shapes.")
        value = torch.empty(shape, dtype=dtype)
        self.ledger.operation(node, [value, value])
        return self.ledger.result(node, value, batched=True)

    def check(self, node: ast.AST) -> None:
        """Refuse, at `node`, what is read and never written, or written with another shape."""
        for name, shape in self.recalled.items():
            if name not in self.written:
                raise refuse(node, f"memory.get({name!r}, ...) is never written; assign memory[{name!r}] = ... too.")
            if self.written[name] != shape:
                raise refuse(
                    node, f"memory[{name!r}] is written with another shape than its default has; give both the same."
                )


def _count(shape: tuple[int, ...]) -> int:
    return elements(torch.empty(shape))


def forget(memory: Memory, mask: torch.Tensor) -> None:
    """Let the masked `(N,)` envs begin an episode that remembers nothing: their rows become NaN."""
    for name, value in memory.items():
        memory[name] = torch.where(mask.view(-1, *(1,) * (value.ndim - 1)), torch.nan, value)


class Notes:
    """The memory as a running program sees it; what it writes is kept apart until it has ended well."""

    __slots__ = ("batch", "before", "changed", "device")

    def __init__(self, before: Mapping[str, torch.Tensor], batch: int, device: torch.device) -> None:
        self.before, self.batch, self.device = before, batch, device
        self.changed: dict[str, torch.Tensor] = {}

    def __setitem__(self, name: str, value: torch.Tensor) -> None:
        # A copy: the value may be a part of the state, of the reward, or of a larger tensor.
        self.changed[name] = value.clone() if value.is_floating_point() else value.to(torch.float32)

    def recall(self, name: str, default: torch.Tensor | float) -> torch.Tensor:
        """What each env remembers, and the default where its episode has just begun."""
        if name in self.changed:
            return self.changed[name]
        if not isinstance(default, torch.Tensor):
            default = torch.full((self.batch,), float(default), device=self.device)
        elif not default.is_floating_point():
            default = default.to(torch.float32)
        held = self.before.get(name)
        if held is None:
            return default.expand(self.batch, *default.shape[1:]) if default.ndim else default.expand(self.batch)
        if held.shape[:1] != (self.batch,) or held.shape[1:] != default.shape[1:]:
            wanted = (self.batch, *default.shape[1:])
            raise ValueError(f"Expected memory[{name!r}] of shape {wanted}, got {tuple(held.shape)}.")
        return torch.where(torch.isnan(held), default, held)
