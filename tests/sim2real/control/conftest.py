import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from robot_doubles import ScriptedClock, ScriptedRobot


@pytest.fixture
def clock():
    return ScriptedClock()


@pytest.fixture
def robot(clock):
    return ScriptedRobot(clock)
