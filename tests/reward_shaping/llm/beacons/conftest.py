"""A level cache of the session's own, and the helpers of this folder and the env contract on the path."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[2] / "envs")]


@pytest.fixture(scope="session", autouse=True)
def level_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("levels")
        patch.setenv("CAIRNGYM_CACHE", str(folder))
        yield folder
