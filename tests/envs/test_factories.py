"""Factories by name."""

import fractions

import pytest

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.factories import Factories, load


def test_named_and_given_factories_are_loaded():
    assert load("fractions:Fraction") is fractions.Fraction
    assert load(dict) is dict


def test_names_are_registered_once_and_found():
    things = Factories("thing", {"half": "fractions:Fraction"})
    things.register("empty", dict)
    assert things.names() == ["empty", "half"]
    assert things.get("half")(1, 2) == fractions.Fraction(1, 2)
    with pytest.raises(ValueError, match="The thing 'empty' is already registered"):
        things.register("empty", list)
    with pytest.raises(UnknownNameError, match=r"Unknown thing 'hlf'\. Did you mean 'half'"):
        things.get("hlf")
