"""Lets the tests of this folder import the env contract and the agents' toy worlds."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(TESTS / "envs"), str(TESTS / "agents")]
