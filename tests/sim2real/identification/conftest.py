import sys
from pathlib import Path

import mujoco
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hidden_models import PENDULUM

from cairngym.sim2real.identification.plant import plant_of


@pytest.fixture
def plant():
    return plant_of(mujoco.MjModel.from_xml_string(PENDULUM), name="pendulum", control_dt=0.02)
