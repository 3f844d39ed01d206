"""Checks that a reward program keeps its contract: what it returns, and that it is a pure function of a transition.

Each is a function of values already computed, and returns what it finds wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cairngym.reward_shaping.llm.findings import MAX_COMPONENTS, Finding, error, warning

RELATIVE, ABSOLUTE = 1e-4, 1e-6
"""How far the same row's reward may differ between batches of different sizes: what rounding can do, and no more."""


def contract(total: Any, components: Any, size: int) -> list[Finding]:
    """The types, shapes, dtypes and devices of what a call with `size` rows returned."""
    if not isinstance(components, Mapping):
        kind = type(components).__name__
        return [error("components", f"Expected the second value returned to be a dict of components, got {kind}.")]
    found = value_contract("the reward", total, size)
    if not components:
        found.append(error("components", "Expected at least one named component, got an empty dict."))
    if len(components) > MAX_COMPONENTS:
        found.append(error("components", f"Expected at most {MAX_COMPONENTS} components, got {len(components)}."))
    for name, value in list(components.items())[:MAX_COMPONENTS]:
        if not isinstance(name, str):
            found.append(error("components", f"Expected names of components to be strings, got {name!r}."))
        found += value_contract(f"component {name!r}", value, size)
    return found


def value_contract(what: str, value: Any, size: int) -> list[Finding]:
    """Whether `value` is a float tensor `(size,)` on the CPU, where the recording is."""
    if not isinstance(value, torch.Tensor):
        return [error("type", f"Expected {what} to be a tensor of shape (B,), got {type(value).__name__}.")]
    found = []
    if tuple(value.shape) != (size,):
        found.append(
            error(
                "shape",
                f"Expected {what} of shape (B,), i.e. ({size},), one number for each transition, got "
                f"{tuple(value.shape)}. Reduce over the last axis, not over the batch.",
            )
        )
    if value.dtype not in (torch.float32, torch.float64):
        found.append(error("dtype", f"Expected {what} to be float32, got {value.dtype}; convert it with .float()."))
    if value.device.type != "cpu":
        found.append(
            error("device", f"Expected {what} on the device of the state (cpu), got {value.device}; name no device.")
        )
    return found


def finite(values: Mapping[str, torch.Tensor], where: str, severity: str = "error") -> list[Finding]:
    """Whether every value is finite; `where` says on which transitions it was asked."""
    make = error if severity == "error" else warning
    found = []
    for what, value in values.items():
        broken = ~torch.isfinite(value)
        if bool(broken.any()):
            kind = "NaN" if bool(torch.isnan(value).any()) else "infinite"
            share = float(broken.float().mean())
            found.append(
                make(
                    "finite",
                    f"{what} is {kind} on {share:.0%} of {where}. Guard divisions, square roots and logarithms, for "
                    "instance by clamp(min=1e-6), and bound what grows.",
                )
            )
    return found


def unmutated(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> list[Finding]:
    """Whether a call left its inputs as they were."""
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    if not changed:
        return []
    return [error("mutation", f"The call changed its inputs {', '.join(changed)}. Make new tensors instead.")]


def deterministic(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> list[Finding]:
    """Whether asking twice gave the same, bit for bit."""
    if first.keys() != second.keys():
        return [error("determinism", "Asked twice about the same transitions, it returned components of other names.")]
    changed = [what for what, value in first.items() if not torch.equal(value, second[what])]
    if not changed:
        return []
    return [
        error(
            "determinism",
            f"Asked twice about the same transitions, it gave other values for {', '.join(changed)}. Draw nothing at "
            "random and keep nothing but what is in memory.",
        )
    ]


def independent(whole: Mapping[str, torch.Tensor], part: Mapping[str, torch.Tensor], how: str) -> list[Finding]:
    """Whether rows are scored as they are in the whole recording when asked `how` ("in another order" …)."""
    if whole.keys() != part.keys():
        return [error("batch", f"It returned components of other names for transitions asked {how}.")]
    changed = [what for what, value in whole.items() if not torch.allclose(value, part[what], RELATIVE, ABSOLUTE)]
    if not changed:
        return []
    return [
        error(
            "batch",
            f"{', '.join(changed)} of a transition changes when the transitions are asked {how}: it depends on other "
            "rows of the batch, which are other envs, or the future. Reduce over the last axis only, and do not "
            "normalise by statistics of the batch.",
        )
    ]


def bounded_memory(sizes: Sequence[Mapping[str, tuple[int, ...]]], num_envs: int) -> list[Finding]:
    """Whether memory holds one row for each env, and no more from call to call."""
    wrong = [name for name, shape in sizes[-1].items() if not shape or shape[0] != num_envs]
    if wrong:
        return [
            error(
                "memory",
                f"Expected what is kept in memory to have one row for each env, i.e. ({num_envs}, ...); "
                f"{', '.join(map(repr, wrong))} has not.",
            )
        ]
    if any(size != sizes[0] for size in sizes):
        return [
            error("memory", "What is kept in memory grows from call to call. Keep the same names, of the same shapes.")
        ]
    return []
