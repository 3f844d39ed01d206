"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import cairngym

MODULES = [info.name for info in pkgutil.walk_packages(cairngym.__path__, "cairngym.") if "__main__" not in info.name]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_every_folder_is_walked():
    folders = {name.split(".")[1] for name in MODULES}
    assert {"envs", "reward_shaping", "agents", "experiments", "configs", "sim2real"} <= folders
