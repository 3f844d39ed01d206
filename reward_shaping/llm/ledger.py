"""What one call of a program costs per env, counted while it is followed, and refused where it is too much.

Time and memory of an operation are bounded by what it reads and what it returns: the largest tensors that it could make
meanwhile are as large as its broadcast arguments, which are held against the same limit as its result.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

import torch

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm import allowlist as limits
from cairngym.reward_shaping.llm.refusal import refuse
from cairngym.reward_shaping.llm.values import elements, shown


class Ledger:
    """Counts steps, operations, elements read and bytes made.

    Args:
        state_spec: the fields; large ones raise the limits in proportion.

    Attributes:
        bytes: of all results so far, per env; tensors that belong to no env count whole.
        largest: elements of the largest tensor so far, per env.
    """

    def __init__(self, state_spec: Mapping[str, StateField]) -> None:
        largest = max((math.prod(field.shape) for field in state_spec.values()), default=1)
        self.most_elements = max(limits.MAX_ELEMENTS, 4 * largest)
        self.most_bytes = max(limits.MAX_BYTES, 256 * largest)
        self.most_work = max(limits.MAX_WORK, 256 * largest)
        self.most_remembered = max(limits.MAX_REMEMBERED, 4 * largest)
        self.steps = self.operations = self.work = self.bytes = self.largest = 0

    def step(self, node: ast.AST) -> None:
        """Count one expression or statement."""
        self.steps += 1
        if self.steps > limits.MAX_STEPS:
            raise refuse(node, f"The program takes more than {limits.MAX_STEPS} steps; shorten its loops.")

    def operation(self, node: ast.AST, arguments: list[Any], count: int = 1) -> None:
        """Count operations on tensors, and what they read."""
        self.operations += count
        if self.operations > limits.MAX_OPERATIONS:
            raise refuse(node, f"More than {limits.MAX_OPERATIONS} tensor operations; shorten the loops.")
        for value in arguments:
            for tensor in value if isinstance(value, tuple | list) else (value,):
                self.work += elements(tensor) if isinstance(tensor, torch.Tensor) else 0
        if self.work > self.most_work:
            raise refuse(
                node,
                f"All operations together read more than {self.most_work} elements per env; use fewer, or smaller.",
            )

    def allow(self, node: ast.AST, shape: tuple[int, ...]) -> None:
        """Refuse a tensor of this shape before it is made, if it would be too large."""
        count = math.prod(size for axis, size in enumerate(shape) if axis or size)
        if count > self.most_elements:
            raise refuse(
                node, f"A tensor of {count} elements per env is too large; at most {self.most_elements} are allowed."
            )
        if len(shape) > limits.MAX_RANK:
            raise refuse(node, f"A tensor with {len(shape)} axes; at most {limits.MAX_RANK} are allowed.")
        self.largest = max(self.largest, count)

    def result(self, node: ast.AST, value: Any, *, batched: bool) -> Any:
        """Check what an operation came to; `batched` tells whether an argument belonged to the envs.

        Raises:
            ProgramRefused: it moves or loses the batch's axis, is empty, or is too much.
        """
        tensors = value if isinstance(value, tuple | list) else (value,)
        self.operation(node, [], count=len(tensors) - 1)
        for tensor in tensors:
            shape = tuple(tensor.shape)
            if batched and (not shape or 0 not in shape):
                raise refuse(
                    node, f"This mixes the envs: the result {shown(shape)} has no axis for the batch. Give dim=-1."
                )
            if 0 in shape[1:]:
                raise refuse(node, "The first axis is the batch of envs and must stay first; nothing may be empty.")
            if not batched and shape and shape[0] == 0:
                raise refuse(node, "This tensor would be empty.")
            self.allow(node, shape)
            self.made(node, elements(tensor) * tensor.element_size())
        return value

    @property
    def peak(self) -> int:
        """Bytes that one call takes at most, per env: all results, and what one operation takes while it lasts."""
        return self.bytes + limits.TEMPORARY_BYTES * self.largest

    def made(self, node: ast.AST, count: int) -> None:
        """Count bytes of a result."""
        self.bytes += count
        if self.bytes > self.most_bytes:
            raise refuse(
                node,
                f"All tensors together take more than {self.most_bytes} bytes per env. Every operation counts, in "
                f"every round of a loop and in every call; the one here takes {count}. Use far fewer whole-grid "
                "operations.",
            )
