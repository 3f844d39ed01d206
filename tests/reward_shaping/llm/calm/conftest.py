"""A level cache of the session's own, the helpers on the path, and a task with recorded judgements."""

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


@pytest.fixture(scope="session")
def env(level_cache):
    from calm_helpers import TASK

    import cairngym

    return cairngym.make(TASK, num_envs=8, bank_size=8, threads=1)


@pytest.fixture(scope="session")
def asked(env):
    """The questions about the task, with their answers."""
    from cairngym.reward_shaping.llm.calm.prompts import sample

    return sample(env)


@pytest.fixture(scope="session")
def cassette(env, asked, tmp_path_factory):
    """Right judgements and a decomposition of the task."""
    from cairngym.reward_shaping.llm.calm.prompts import requests
    from cairngym.reward_shaping.llm.recording import record_texts

    path = tmp_path_factory.mktemp("cassettes") / "calm.jsonl"
    decomposition, *judgements = requests(env)
    said = '[{"do": "pick up", "object": "key"}, {"do": "open", "object": "door", "state": "locked"}]'
    record_texts(path, decomposition, (said,), source="a test", date="2026-01-01")
    for request, one in zip(judgements, asked, strict=True):
        record_texts(path, request, ("yes" if one.truth else "no",), source="a test", date="2026-01-01")
    return path
