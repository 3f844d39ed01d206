"""Errors at the public borders say what was expected, what came and how to fix it."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cairngym.envs.checks import UnknownNameError, check_action, check_options, check_seed, check_shape, unknown_name

CPU = torch.device("cpu")
DISCRETE = spaces.Discrete(3, start=1)
BOX = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 5.0], np.float32))


def test_unknown_name_is_a_key_error_that_reads_well():
    error = unknown_name("shaper", "potental", ["count", "potential"])
    assert isinstance(error, UnknownNameError)
    assert isinstance(error, KeyError)
    assert str(error) == "Unknown shaper 'potental'. Did you mean 'potential'? Valid: 'count', 'potential'."
    assert "and 30 more" in str(unknown_name("id", "x", [f"env-{i}" for i in range(50)]))


def test_check_options():
    check_options("It", ["a"], ["a", "b"])
    with pytest.raises(TypeError, match=r"It has no option 'wieght'. Did you mean 'weight'\? Valid: bias, weight."):
        check_options("It", ["wieght"], ["weight", "bias"])
    with pytest.raises(TypeError, match="Valid: none"):
        check_options("It", ["x"], [])


@pytest.mark.parametrize("seed", [0, 2**63 - 1, np.int64(7), torch.tensor(7)])
def test_good_seeds(seed):
    assert check_seed(seed) == int(seed)
    assert type(check_seed(seed)) is int


@pytest.mark.parametrize(
    ("seed", "error"),
    [(-1, ValueError), (2**63, ValueError), (1.0, TypeError), (True, TypeError), ([1], TypeError), (None, TypeError)],
)
def test_bad_seeds(seed, error):
    with pytest.raises(error, match="Expected"):
        check_seed(seed)


def test_check_shape():
    check_shape("x", torch.zeros(2, 3), (2, 3), "(num_envs, size)")
    with pytest.raises(ValueError, match=r"Expected x of shape \(2, 3\), i.e. \(num_envs, size\), got \(3,\)."):
        check_shape("x", torch.zeros(3), (2, 3), "(num_envs, size)")


@pytest.mark.parametrize("action", [[1, 3], np.array([1, 3], np.int32), torch.tensor([1, 3], dtype=torch.uint8)])
def test_discrete_actions_become_int64(action):
    got = check_action(action, DISCRETE, 2, CPU)
    assert got.dtype is torch.int64
    assert got.tolist() == [1, 3]


def test_box_actions_become_float32():
    got = check_action(np.array([[0.5, 5.0]]), BOX, 1, CPU)
    assert got.dtype is torch.float32
    assert got.tolist() == [[0.5, 5.0]]


@pytest.mark.parametrize(
    ("action", "space", "error", "message"),
    [
        ([1], DISCRETE, ValueError, r"shape \(2,\), i.e. \(num_envs,\), got \(1,\)"),
        ([[1], [2]], DISCRETE, ValueError, r"got \(2, 1\)"),
        ([1.0, 2.0], DISCRETE, TypeError, "integer actions"),
        ([True, False], DISCRETE, TypeError, "integer actions"),
        ([0, 1], DISCRETE, ValueError, r"\[1, 3\].*from 0 to 1"),
        ([1, 4], DISCRETE, ValueError, r"\[1, 3\].*from 1 to 4"),
        ([[0.0], [0.0]], BOX, ValueError, r"shape \(2, 2\), i.e. \(num_envs, \*action_shape\), got \(2, 1\)"),
        ([[0, 0], [0, 0]], BOX, TypeError, "floating-point"),
        ([[0.0, 0.0], [1.5, 0.0]], BOX, ValueError, "Clip them first"),
        ([[0.0, 0.0], [0.0, -0.5]], BOX, ValueError, "Clip them first"),
        ([[0.0, float("nan")], [0.0, 0.0]], BOX, ValueError, "finite"),
        ([0, 0], spaces.MultiBinary(2), TypeError, "Discrete or Box"),
    ],
)
def test_bad_actions(action, space, error, message):
    with pytest.raises(error, match=message):
        check_action(action, space, 2, CPU)
