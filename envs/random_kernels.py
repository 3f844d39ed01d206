"""Philox4x32-10 as a Warp function: the same numbers as `cairngym.envs.random` draws in torch."""

from __future__ import annotations

import warp as wp

from cairngym.envs.random import MULTIPLIERS, WEYL


def signed(word: int) -> int:
    """The 32-bit two's complement of an unsigned word: Warp literals are signed."""
    return word - (1 << 32) if word >= 1 << 31 else word


FACTOR_0, FACTOR_1 = map(signed, MULTIPLIERS)
WEYL_0, WEYL_1 = map(signed, WEYL)


@wp.struct
class Key:
    """What a draw is keyed by."""

    low: wp.uint32
    high: wp.uint32
    env: wp.uint32
    episode: wp.uint32


@wp.func
def high_word(a: wp.uint32, b: wp.uint32) -> wp.uint32:
    """Upper half of a 32 x 32 bit product."""
    return wp.uint32((wp.uint64(a) * wp.uint64(b)) >> wp.uint64(32))


@wp.func
def words(key: Key, stream: int, block: int, step: int) -> wp.vec4ui:
    """Four words of 32 bits for (seed, env, episode, stream, block, step)."""
    c0 = wp.uint32(block << 8) | wp.uint32(stream)
    c1 = wp.uint32(step)
    c2 = key.env
    c3 = key.episode
    k0 = key.low
    k1 = key.high
    for _round in range(10):
        h0 = high_word(wp.uint32(FACTOR_0), c0)
        l0 = wp.uint32(FACTOR_0) * c0
        h1 = high_word(wp.uint32(FACTOR_1), c2)
        l1 = wp.uint32(FACTOR_1) * c2
        c0 = h1 ^ c1 ^ k0
        c1 = l1
        c2 = h0 ^ c3 ^ k1
        c3 = l0
        k0 = k0 + wp.uint32(WEYL_0)
        k1 = k1 + wp.uint32(WEYL_1)
    return wp.vec4ui(c0, c1, c2, c3)


@wp.func
def below(word: wp.uint32, high: int) -> int:
    """An integer in [0, high) from one word, by multiply-shift."""
    return int(high_word(word, wp.uint32(high)))
