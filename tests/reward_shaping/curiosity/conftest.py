"""Lets the tests of bonuses use the toy worlds of the env tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "envs"))
