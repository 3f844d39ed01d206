"""Measures: margins by name, and what is refused."""

import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.stl.measures import Measure, evaluate

STATE = {"x": torch.tensor([1.0, 2.0, 3.0])}


def measure(margin, **options):
    return Measure(margin=margin, unit="m", description="A margin.", **options)


GOOD = {"near": measure(lambda s: s["x"] - 2.0), "far": measure(lambda s: (2.0 - s["x"]).double())}


def test_columns_follow_the_names():
    margins = evaluate(GOOD, ("far", "near"), STATE)
    assert margins.dtype is torch.float32
    assert margins.tolist() == [[1.0, -1.0], [0.0, 0.0], [-1.0, 1.0]]


@pytest.mark.parametrize(
    ("margin", "error", "message"),
    [
        (lambda s: s["x"][:, None], ValueError, r"'bad' to return margins of shape \(B,\).*\(3, 1\)"),
        (lambda s: s["x"] > 1.0, TypeError, "'bad' to return a floating-point tensor.*torch.bool"),
        (lambda s: 1.0, TypeError, "'bad'.*got float"),
        (lambda s: s["x"] * float("nan"), ValueError, "NaN from 'bad'"),
        (lambda s: s["x"][:2], ValueError, "one batch size, got 3 from 'near', 2 from 'bad'"),
    ],
)
def test_bad_margins_are_named(margin, error, message):
    with pytest.raises(error, match=message):
        evaluate(GOOD | {"bad": measure(margin)}, ("near", "bad"), STATE)


def test_unknown_predicates_get_the_nearest_name():
    with pytest.raises(UnknownNameError, match=r"Unknown predicate 'nera'\. Did you mean 'near'"):
        evaluate(GOOD, ("nera",), STATE)


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"target_size": 2}, {"target": lambda s: s["x"][:, None]}])
def test_measures_that_contradict_themselves_are_refused(options):
    with pytest.raises(ValueError, match="Expected a"):
        measure(lambda s: s["x"], **options)
