"""Counter-based randomness: every draw is a pure function of (seed, env, episode, stream, index).

Env i therefore lives the same life whatever the batch size, the device or the order of resets. The generator is
Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011); the Warp kernels hold the same
function (`cairngym.envs.random_kernels.philox`), so torch and kernels draw the same numbers.
"""

from __future__ import annotations

import enum
import math

import torch

MASK32 = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


class Stream(enum.IntEnum):
    """What a draw is for; different streams of one episode are independent."""

    LEVEL = 0
    """Which level or initial state an episode starts from."""
    DYNAMICS = 1
    """Noise and moving obstacles within an episode."""
    STAGGER = 2
    """The length an env pretends to have lived when episodes are staggered."""
    SHAPER = 3
    """What a shaper draws."""


def _multiply(a: torch.Tensor, factor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """High and low 32 bits of a * factor, both operands being 32-bit values held in int64."""
    product = a * factor  # int64 wraps modulo 2**64, so that both halves are exact
    return (product >> 32) & MASK32, product & MASK32


def philox(counter: tuple[torch.Tensor, ...], key: int) -> torch.Tensor:
    """Philox4x32-10 of four counter words under a 64-bit key.

    Args:
        counter: four int64 tensors of equal shape holding 32-bit values.
        key: 64-bit integer.

    Returns:
        int64 `(*shape, 4)` of values in [0, 2**32).
    """
    c0, c1, c2, c3 = (c & MASK32 for c in counter)
    k0, k1 = key & MASK32, (key >> 32) & MASK32
    for _ in range(ROUNDS):
        high0, low0 = _multiply(c0, MULTIPLIERS[0])
        high1, low1 = _multiply(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & MASK32, (k1 + WEYL[1]) & MASK32
    return torch.stack((c0, c1, c2, c3), dim=-1)


def bits(
    seed: int,
    env_id: torch.Tensor,
    episode: torch.Tensor,
    stream: int,
    count: int,
    step: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw `count` words of 32 bits for every env.

    Args:
        seed: the run's seed.
        env_id: int64 `(B,)`.
        episode: int64 `(B,)`, the number of the episode each env lives.
        stream: see `Stream`.
        count: how many words per env.
        step: int64 `(B,)` for draws made anew at every step, None for draws made once an episode.

    Returns:
        int64 `(B, count)` of values in [0, 2**32).
    """
    blocks = math.ceil(count / 4)
    shape = (len(env_id), blocks)
    index = torch.arange(blocks, device=env_id.device) << 8 | int(stream)
    moment = torch.zeros_like(env_id) if step is None else step
    counter = (
        index.expand(shape),
        moment.unsqueeze(1).expand(shape),
        env_id.unsqueeze(1).expand(shape),
        episode.unsqueeze(1).expand(shape),
    )
    return philox(counter, seed).reshape(len(env_id), blocks * 4)[:, :count]


def uniform(
    seed: int,
    env_id: torch.Tensor,
    episode: torch.Tensor,
    stream: int,
    count: int,
    step: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw float32 `(B, count)` in [0, 1), 24 bits each; arguments as in `bits`.

    Example:
        >>> ids = torch.arange(3)
        >>> draws = uniform(7, ids, torch.zeros_like(ids), Stream.LEVEL, 2)
        >>> torch.equal(draws[1:], uniform(7, ids[1:], torch.zeros(2, dtype=torch.int64), Stream.LEVEL, 2))
        True
    """
    return (bits(seed, env_id, episode, stream, count, step) >> 8).to(torch.float32) * 2.0**-24


def integers(
    seed: int,
    env_id: torch.Tensor,
    episode: torch.Tensor,
    stream: int,
    high: int,
    count: int = 1,
    step: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw int64 `(B, count)` in [0, high) for 0 < high <= 2**31, by multiply-shift; arguments as in `bits`."""
    return (bits(seed, env_id, episode, stream, count, step) * high) >> 32
