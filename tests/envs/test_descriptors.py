"""Cells of a behavior descriptor against a numpy oracle, and what lies on and beyond the bounds."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cairngym
from cairngym.envs.data import StateField
from cairngym.envs.descriptors import BehaviorDescriptor

BOUND = st.floats(-1e3, 1e3, width=32)


def described(low, high, cells):
    entries = tuple(("place", axis) for axis in range(len(low)))
    return BehaviorDescriptor(entries=entries, low=tuple(low), high=tuple(high), cells=tuple(cells))


@st.composite
def grids(draw):
    """A descriptor, and rows some of which lie on, beyond and far beyond its bounds."""
    size = draw(st.integers(1, 4))
    low = draw(st.lists(BOUND, min_size=size, max_size=size))
    high = [value + draw(st.floats(0.125, 1e3, width=32)) for value in low]
    cells = draw(st.lists(st.integers(1, 60), min_size=size, max_size=size))
    anywhere = st.one_of(
        BOUND, st.floats(width=32, allow_nan=False), st.sampled_from((-math.inf, math.inf, *low, *high))
    )
    rows = draw(st.lists(st.lists(anywhere, min_size=size, max_size=size), min_size=1, max_size=8))
    return described(low, high, cells), np.array(rows, dtype=np.float32)


@settings(max_examples=50, deadline=None)
@given(grids())
def test_cells_equal_numpy(grid):
    descriptor, rows = grid
    low, high = np.float32(descriptor.low), np.float32(descriptor.high)
    counts = np.array(descriptor.cells)
    with np.errstate(over="ignore"):
        place = np.clip(np.floor((rows - low) / (high - low) * counts.astype(np.float32)), 0, counts - 1)
    expected = np.ravel_multi_index(tuple(place.astype(int).T), descriptor.cells)
    cell = descriptor.cell(torch.from_numpy(rows))
    np.testing.assert_array_equal(cell, expected)
    clipped, outside = descriptor.clipped(torch.from_numpy(rows))
    np.testing.assert_array_equal(clipped, np.clip(rows, low, high))
    np.testing.assert_array_equal(outside, ((rows < low) | (rows > high)).any(1))
    np.testing.assert_array_equal(descriptor.cell(clipped), cell)


@settings(max_examples=60, deadline=None)
@given(st.integers(-20, 20), st.integers(1, 40), st.integers(1, 64), st.integers(0, 10**6))
def test_cells_are_equal_parts_of_the_range(low, width, cells, share):
    """In rationals: away from the borders between cells, rounding decides nothing."""
    value = float(np.float32(low + width * share / 10**6))
    exact = (Fraction(value) - low) / width * cells
    if abs(exact - round(exact)) > Fraction(1, 100):
        cell = described((low,), (low + width,), (cells,)).cell(torch.tensor([[value]]))
        assert int(cell) == math.floor(exact)


def test_bounds_belong_to_the_outer_cells_and_what_is_far_beyond_does_too():
    descriptor = described((-1, 0), (1, 10), (4, 5))
    corners = torch.tensor([[-1, 0], [1, 10], [-1e30, 1e30], [math.inf, -math.inf], [0.5, 2.0]])
    assert descriptor.cell(corners).tolist() == [0, 19, 4, 15, 16]
    assert descriptor.clipped(corners)[1].tolist() == [False, False, True, True, False]
    assert descriptor.clipped(corners)[0].tolist()[2:4] == [[-1, 10], [1, 0]]
    whole = torch.tensor([[0, 9], [3, 4]])
    assert descriptor.cell(whole).tolist() == [14, 17]
    assert descriptor.cell(corners[:0]).tolist() == []


def test_what_is_not_a_number_has_no_cell():
    descriptor = described((-1, 0), (1, 10), (4, 5))
    assert descriptor.cell(torch.tensor([[math.nan, 3.0], [0.0, math.nan], [0.0, 0.0]])).tolist() == [-1, -1, 10]


def test_numbers_are_read_from_any_field_in_the_order_of_the_entries():
    entries = (("grid", 5), ("level", 0), ("grid", 0))
    descriptor = BehaviorDescriptor(entries=entries, low=(0,) * 3, high=(9,) * 3, cells=(3,) * 3)
    state = {"grid": torch.arange(12).view(2, 2, 3), "level": torch.tensor([7, 8]), "other": torch.zeros(2)}
    assert descriptor(state).tolist() == [[5, 7, 0], [11, 8, 6]]
    assert descriptor(state).dtype is torch.float32
    assert (descriptor.size, descriptor.fields) == (3, ("grid", "level"))
    spec = {"grid": StateField(shape=(2, 3), unit="cell", description="."), "level": _field(())}
    descriptor.check(spec)
    for wrong in ({"grid": spec["grid"]}, {**spec, "grid": _field((5,))}, {}):
        with pytest.raises(ValueError, match="Expected entries of the state fields"):
            descriptor.check(wrong)


def _field(shape):
    return StateField(shape=shape, unit="cell", description=".")


def test_tasks_declare_entries_that_their_worlds_measure():
    env = cairngym.make("Chain-N10-v0")
    assert env.task.descriptor is None
    env.task.descriptor = BehaviorDescriptor(entries=(("node", 0),), low=(0,), high=(10,), cells=(10,))
    env.task.descriptor.check(env.state_spec)
    env.reset(seed=0)
    assert env.task.descriptor(env.state).shape == (1, 1)


@pytest.mark.parametrize(
    ("low", "high", "cells", "message"),
    [
        ((), (), (), "at least one, got 0 entries"),
        ((0,), (1, 2), (3,), "as many low, high and cells"),
        ((0,), (0,), (3,), "low < high"),
        ((2,), (1,), (3,), "low < high"),
        ((0,), (math.inf,), (3,), "finite low < high"),
        ((math.nan,), (1,), (3,), "finite low < high"),
        ((0,), (1,), (0,), "cells >= 1"),
    ],
)
def test_bad_descriptors_are_refused(low, high, cells, message):
    with pytest.raises(ValueError, match=message):
        described(low, high, cells)
