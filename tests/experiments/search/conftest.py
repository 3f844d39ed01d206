"""Lets the tests of this folder import their own helpers, and knows the shaper that runs programs."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE)]


@pytest.fixture(autouse=True, scope="session")
def _program_shaper():
    from searching import register

    register()


@pytest.fixture
def screen():
    import io

    from rich.console import Console

    return Console(file=io.StringIO(), width=200)
