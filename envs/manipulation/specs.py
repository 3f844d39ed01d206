"""The ids of the manipulation family, listed without importing a simulator."""

from __future__ import annotations

from cairngym.envs.manipulation.adroit_config import ADROIT
from cairngym.envs.manipulation.fetch_config import FETCH
from cairngym.envs.registry import EnvSpec

FETCH_MAKER = "cairngym.envs.manipulation.fetch_task:make_fetch"
FRANKA_REACH_MAKER = "cairngym.envs.manipulation.franka_reach_task:make_franka_reach"
CURLING_MAKER = "cairngym.envs.manipulation.curling.make:make_curling"
ADROIT_MAKER = "cairngym.envs.manipulation.adroit_task:make_adroit"


def specs() -> list[EnvSpec]:
    """The Fetch tasks, Adroit's sparse ones, the Franka arm's, and Curling."""
    return [
        *(EnvSpec(id=env_id, maker=FETCH_MAKER, family="fetch") for env_id in FETCH),
        *(EnvSpec(id=env_id, maker=ADROIT_MAKER, family="adroit") for env_id in ADROIT),
        EnvSpec(id="FrankaReach-v0", maker=FRANKA_REACH_MAKER, family="franka_reach"),
        EnvSpec(id="Curling-v0", maker=CURLING_MAKER, family="curling"),
    ]
