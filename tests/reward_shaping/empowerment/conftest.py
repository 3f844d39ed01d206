"""A level cache of the session's own, and the helpers of this folder on the path."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def level_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAIRNGYM_CACHE", str(tmp_path_factory.mktemp("levels")))
        yield
