"""Philox against Random123's known answers, and draws as pure functions of their key."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cairngym.envs.random import Stream, bits, integers, philox, uniform

ONES = 0xFFFFFFFF
KNOWN = [  # counter, key (low word first), answer: Random123's kat_vectors for philox4x32 of 10 rounds
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
SEEDS = st.integers(0, 2**63 - 1)
WORDS = st.integers(0, ONES)


def key_of(low, high):
    return low | high << 32


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_known_answers(counter, key, answer):
    words = tuple(torch.tensor([word]) for word in counter)
    assert philox(words, key_of(*key))[0].tolist() == list(answer)


def reference_philox(counter, key):
    """Philox4x32-10 in Python integers, after section 3.2 of the paper."""
    c, k = list(counter), [key & ONES, key >> 32]
    for _ in range(10):
        left, right = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [right >> 32 ^ c[1] ^ k[0], right & ONES, left >> 32 ^ c[3] ^ k[1], left & ONES]
        k = [(k[0] + 0x9E3779B9) & ONES, (k[1] + 0xBB67AE85) & ONES]
    return c


@given(st.tuples(WORDS, WORDS, WORDS, WORDS), SEEDS)
@settings(max_examples=100, deadline=None)
def test_philox_equals_python_integers(counter, key):
    words = tuple(torch.tensor([word]) for word in counter)
    assert philox(words, key)[0].tolist() == reference_philox(counter, key)


@given(SEEDS, st.integers(1, 20), st.integers(1, 9), st.sampled_from(Stream))
@settings(max_examples=50, deadline=None)
def test_draws_do_not_depend_on_the_batch(seed, num_envs, count, stream):
    ids, episode = torch.arange(num_envs), torch.arange(num_envs) * 3
    together = bits(seed, ids, episode, stream, count)
    assert together.shape == (num_envs, count)
    alone = [bits(seed, ids[i : i + 1], episode[i : i + 1], stream, count) for i in range(num_envs)]
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(bits(seed, ids, episode, stream, 12)[:, :count], together)


@given(SEEDS, st.integers(1, 2**31))
@settings(max_examples=50, deadline=None)
def test_integers_stay_in_range(seed, high):
    ids = torch.arange(50)
    draw = integers(seed, ids, ids, Stream.LEVEL, high, count=3)
    assert draw.dtype is torch.int64
    assert int(draw.min()) >= 0
    assert int(draw.max()) < high


def draws(**changes):
    ids = torch.arange(100)
    key = {"seed": 1, "env_id": ids, "episode": ids * 0, "stream": Stream.LEVEL, "count": 4, **changes}
    return bits(**key)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"seed": 1 + 2**32},
        {"env_id": torch.arange(100) + 100},
        {"episode": torch.ones(100, dtype=torch.int64)},
        {"stream": Stream.DYNAMICS},
        {"step": torch.ones(100, dtype=torch.int64)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_part_of_the_key_matters(change):
    agree = (draws() == draws(**change)).sum()
    assert agree == 0  # one of 400 pairs of 32-bit words agrees by chance with probability 1e-7


def test_no_word_repeats_within_an_episode():
    words = torch.cat([bits(3, torch.arange(50), torch.zeros(50, dtype=torch.int64), s, 64) for s in Stream], dim=1)
    # 12 800 words of 32 bits: 0.02 collisions are expected.
    assert len(words.unique()) >= words.numel() - 2


def test_integers_are_uniform():
    ids = torch.arange(30_000)
    draw = integers(11, ids, torch.zeros_like(ids), Stream.LEVEL, 7)[:, 0]
    assert stats.chisquare(np.bincount(draw.numpy(), minlength=7)).pvalue > 1e-3


@pytest.mark.parametrize("axis", ["env", "episode", "index"])
def test_uniform_is_uniform_along_every_axis(axis):
    n = 20_000
    line, still = torch.arange(n), torch.zeros(n, dtype=torch.int64)
    if axis == "index":
        draw = uniform(5, line[:1], still[:1], Stream.DYNAMICS, n)[0]
    else:
        pair = (line, still) if axis == "env" else (still, line)
        draw = uniform(5, *pair, Stream.DYNAMICS, 1)[:, 0]
    assert draw.dtype is torch.float32
    assert float(draw.min()) >= 0.0
    assert float(draw.max()) < 1.0
    assert stats.kstest(draw.numpy(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(draw[1:], draw[:-1])[0, 1]) < 4 / np.sqrt(n)
