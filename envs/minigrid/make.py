"""From an id and its options to a TensorEnv."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from cairngym.envs.checks import check_options
from cairngym.envs.core import TensorEnv
from cairngym.envs.minigrid.families import get_family
from cairngym.envs.minigrid.family import Family, Generator
from cairngym.envs.minigrid.levels import load_bank, make_reference
from cairngym.envs.minigrid.task import MiniGridTask
from cairngym.envs.minigrid.world import MiniGridWorld

SAMPLE = 64
"""Levels of the bank that a generated env is made with, for the kinds of objects it holds."""

OPTIONS = ("autoreset_mode", "levels", "bank_size", "split", "patterns", "threads", "copy")


def make_minigrid(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    levels: str = "bank",
    bank_size: int = 4096,
    split: str = "train",
    patterns: str | Path | None = None,
    threads: int | None = None,
    copy: bool = True,
    **options: Any,
) -> TensorEnv:
    """Make a MiniGrid env.

    Args:
        env_id: a `MiniGrid-*` id.
        num_envs: how many worlds step together.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        levels: "bank" draws from levels made by minigrid's own generator; "procedural" generates in the kernel.
        bank_size: levels in the bank.
        split: "train" or "test": disjoint level seeds, or disjoint random streams of generated levels.
        patterns: folder of pattern images, for the WFC ids.
        threads: CPU threads a step may use; None takes every core.
        copy: False lets every step overwrite what the last one returned.
        options: `autoreset_mode`.

    Raises:
        ValueError: an option out of range, or procedural levels of a family without a generator.
        FileNotFoundError: a WFC id without its pattern image.
    """
    check_options(env_id, options, OPTIONS)
    upstream = make_reference(env_id, patterns)
    family = get_family(type(upstream).__name__)
    generator = _generator(env_id, family, upstream, levels)
    bank = load_bank(env_id, min(bank_size, SAMPLE) if generator else bank_size, split, patterns)
    world = MiniGridWorld(
        bank, upstream, num_envs, device,
        generator=generator, held_out=generator is not None and split == "test", threads=threads, copy=copy,
    )  # fmt: skip
    return TensorEnv(world, MiniGridTask(family, upstream, bank.kinds()), seed=seed, **options)


def _generator(env_id: str, family: Family, upstream: Any, levels: str) -> Generator | None:
    if levels not in ("bank", "procedural"):
        raise ValueError(f"Expected levels to be 'bank' or 'procedural', got {levels!r}.")
    if levels == "bank":
        return None
    if family.generator is None:
        raise ValueError(f"{env_id} has no procedural generator; use levels='bank'.")
    module, _, function = family.generator.partition(":")
    made: Generator = getattr(importlib.import_module(module), function)(upstream)
    return made
