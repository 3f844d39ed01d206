"""The Warp functions by themselves: random words, sight, toggling, packing."""

import numpy as np
import pytest
import torch
import warp as wp
from minigrid.core.grid import Grid
from minigrid.core.world_object import Ball, Box, Door, Floor, Goal, Key, Lava, Wall

from cairngym.envs.minigrid import cells as c
from cairngym.envs.minigrid.grid_kernels import toggled
from cairngym.envs.minigrid.sight import light_row, sight_table
from cairngym.envs.random import bits, integers, philox
from cairngym.envs.random_kernels import Key as RandomKey
from cairngym.envs.random_kernels import below, words
from cairngym.envs.warp_setup import start_warp

COLORS = ("red", "green", "blue", "purple", "yellow", "grey")


@pytest.fixture(scope="module", autouse=True)
def warp_started():
    start_warp()


def array(values, dtype):
    return wp.array(np.asarray(values), dtype=dtype, device="cpu")


@wp.kernel(module="unique")
def draw_words(
    low: wp.array(dtype=wp.uint32),
    high: wp.array(dtype=wp.uint32),
    env: wp.array(dtype=wp.uint32),
    episode: wp.array(dtype=wp.uint32),
    stream: wp.array(dtype=wp.int32),
    block: wp.array(dtype=wp.int32),
    step: wp.array(dtype=wp.int32),
    out: wp.array2d(dtype=wp.uint32),
):
    i = wp.tid()
    four = words(RandomKey(low[i], high[i], env[i], episode[i]), stream[i], block[i], step[i])
    for k in range(4):
        out[i, k] = four[k]


def kernel_words(low, high, env, episode, stream, block, step):
    """Run `words` on arrays of counters; int64 `(B, 4)`."""
    out = wp.zeros((len(low), 4), dtype=wp.uint32, device="cpu")
    unsigned = [array(np.asarray(v, dtype=np.uint32), wp.uint32) for v in (low, high, env, episode)]
    signed = [array(np.asarray(v, dtype=np.int32), wp.int32) for v in (stream, block, step)]
    wp.launch(draw_words, dim=len(low), inputs=[*unsigned, *signed, out], device="cpu")
    return torch.from_numpy(out.numpy().astype(np.int64))


def test_philox_known_answers():
    # Known-answer vectors of Random123 (kat_vectors, philox4x32 with 10 rounds).
    zeros, ones = torch.tensor([0]), torch.tensor([0xFFFFFFFF])
    pi = [torch.tensor([w]) for w in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)]
    want = {
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8): philox((zeros,) * 4, 0),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD): philox((ones,) * 4, 0xFFFFFFFFFFFFFFFF),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1): philox(tuple(pi), 0x299F31D0A4093822),
    }
    for answer, got in want.items():
        assert tuple(got[0].tolist()) == answer


def test_warp_philox_is_torch_philox():
    rng = np.random.default_rng(0)
    count = 2000
    env, episode = (rng.integers(0, 2**32, count, dtype=np.uint64) for _ in range(2))
    stream, block = rng.integers(0, 4, count), rng.integers(0, 2**20, count)
    step = rng.integers(0, 2**31, count)
    for seed in (0, 1, 2**32, 2**63 - 1, int(rng.integers(2**62))):
        counter = [torch.from_numpy(v.astype(np.int64)) for v in (block << 8 | stream, step, env, episode)]
        low, high = np.full(count, seed & 0xFFFFFFFF), np.full(count, seed >> 32)
        got = kernel_words(low, high, env, episode, stream, block, step)
        assert torch.equal(got, philox(tuple(counter), seed))


def test_kernels_draw_what_torch_draws():
    env, number, step = torch.arange(300), torch.arange(300) * 7, torch.arange(300) * 3
    seed = 2**40 + 17
    want = bits(seed, env, number, 1, 8, step)
    full = np.full(300, 1)
    low, high = full * (seed & 0xFFFFFFFF), full * (seed >> 32)
    blocks = [kernel_words(low, high, env, number, full, full * block, step) for block in (0, 1)]
    assert torch.equal(torch.cat(blocks, dim=1), want)


@wp.kernel(module="unique")
def draw_below(word: wp.array(dtype=wp.uint32), high: wp.array(dtype=wp.int32), out: wp.array(dtype=wp.int32)):
    i = wp.tid()
    out[i] = below(word[i], high[i])


def test_below_is_integers():
    env, number = torch.arange(500), torch.zeros(500, dtype=torch.int64)
    word = bits(9, env, number, 0, 1)[:, 0]
    for high in (1, 2, 7, 4096, 2**31 - 1):
        out = wp.zeros(500, dtype=wp.int32, device="cpu")
        inputs = [array(word.numpy().astype(np.uint32), wp.uint32), array(np.full(500, high), wp.int32), out]
        wp.launch(draw_below, dim=500, inputs=inputs, device="cpu")
        assert np.array_equal(out.numpy(), integers(9, env, number, 0, high)[:, 0].numpy())


def sweep(clear):
    """The view's mask from the table, row by row upwards; bool `(7, 7)` indexed [x, y]."""
    table, lit = sight_table(), 1 << 3
    mask = np.zeros((7, 7), dtype=bool)
    for y in range(6, -1, -1):
        both = int(table[lit, sum(int(clear[x, y]) << x for x in range(7))])
        mask[:, y] = [both >> x & 1 for x in range(7)]
        lit = both >> 7
    return mask


@pytest.mark.parametrize("density", [0.05, 0.2, 0.4, 0.7])
def test_sight_table_is_process_vis(density):
    rng = np.random.default_rng(int(density * 100))
    for _ in range(250):
        clear = rng.random((7, 7)) >= density
        grid = Grid(7, 7)
        for x, y in np.argwhere(~clear):
            grid.set(int(x), int(y), Wall())
        assert np.array_equal(sweep(clear), grid.process_vis(agent_pos=(3, 6)))


def test_sight_table_holds_light_row():
    table = sight_table()
    for lit, clear in ((0, 127), (8, 8), (8, 127), (65, 0b1010101), (127, 0)):
        final, above = light_row(lit, clear)
        assert int(table[lit, clear]) == final | above << 7
    assert light_row(8, 127) == (127, 127)
    assert light_row(8, 0) == (8, 0)
    assert light_row(0, 127) == (0, 0)


def every_object():
    """Every object of every colour in every state, and nothing."""
    yield None
    yield from (Wall(), Goal(), Lava())
    for color in COLORS:
        yield from (Floor(color), Key(color), Ball(color), Box(color))
        yield from (Door(color, is_open=o, is_locked=k) for o, k in ((True, False), (False, False), (False, True)))
        for inside in COLORS:
            yield from (Box(color, contains=kind(inside)) for kind in (Key, Ball, Box))


def described(thing):
    """What makes two objects alike."""
    if thing is None:
        return None
    return thing.encode(), described(getattr(thing, "contains", None))


def test_pack_round_trip():
    packed = {}
    for thing in every_object():
        cell = c.pack_object(thing)
        assert 0 <= cell < 2**31
        assert described(c.unpack_object(cell)) == described(thing)
        assert bool(cell & c.OPAQUE) == (thing is not None and not thing.see_behind())
        assert packed.setdefault(cell, described(thing)) == described(thing), "two objects share a code"
    assert len(packed) == sum(1 for _ in every_object())


@wp.kernel(module="unique")
def toggle_all(cell: wp.array(dtype=wp.int32), carried: wp.array(dtype=wp.int32), out: wp.array(dtype=wp.int32)):
    i = wp.tid()
    out[i] = toggled(cell[i], carried[i])


class Holder:
    """As much of an upstream env as `WorldObj.toggle` looks at."""

    def __init__(self, thing, carrying):
        self.grid, self.carrying = Grid(3, 3), carrying
        self.grid.set(1, 1, thing)


def test_toggled_is_upstream_toggle():
    hands = [None, *(kind(color) for kind in (Key, Ball, Box) for color in COLORS)]
    pairs = [(c.pack_object(thing), c.pack_object(hand)) for thing in every_object() for hand in hands]
    cell, carried = np.array(pairs).T
    out = wp.zeros(len(pairs), dtype=wp.int32, device="cpu")
    wp.launch(toggle_all, dim=len(pairs), inputs=[array(cell, wp.int32), array(carried, wp.int32), out], device="cpu")
    changed = 0
    for before, hand, got in zip(cell, carried, out.numpy(), strict=True):
        holder = Holder(c.unpack_object(int(before)), c.unpack_object(int(hand)))
        if holder.grid.get(1, 1) is not None:
            holder.grid.get(1, 1).toggle(holder, (1, 1))
        assert int(got) == c.pack_object(holder.grid.get(1, 1))
        changed += int(got) != int(before)
    assert changed > 1000
