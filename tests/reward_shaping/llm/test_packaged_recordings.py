"""The packaged recordings answer the very prompts that the packaged comparisons ask."""

from __future__ import annotations

from dataclasses import replace

import pytest

import cairngym
from cairngym.envs.core import TensorEnv
from cairngym.experiments.config import load_comparison
from cairngym.experiments.presets import packaged
from cairngym.experiments.search.config import load_search
from cairngym.experiments.search.prompts import requests as search_requests
from cairngym.reward_shaping.llm.recorded import RecordedProvider
from cairngym.reward_shaping.llm.systems import requests
from cairngym.reward_shaping.llm.writing import Attempt
from cairngym.reward_shaping.registry import make_shaper

GRIDS = [task.id for task in load_comparison(packaged("compare")["llm"]).tasks]
ARMS = [task.id for task in load_comparison(packaged("compare")["llm_fetch"]).tasks]


def small(task: str) -> TensorEnv:
    """An env with few levels, on which prompts do not depend."""
    return cairngym.make(task, num_envs=2, **({"bank_size": 64} if task.startswith("MiniGrid") else {}))


def asked(system: str, task: str) -> set[str]:
    env = small(task)
    return {request.hash for request in requests(system, env)}


def attempts(system: str, task: str, candidate: int) -> tuple[Attempt, ...]:
    """What the packaged answers to a task's prompts came to, without trying the program on transitions."""
    shaper = make_shaper(system, provider=f"recorded:{system}", candidate=candidate, verify=False)
    shaper.bind(small(task))
    written = shaper.written[-1] if isinstance(shaper.written, tuple) else shaper.written
    return written.attempts


@pytest.mark.parametrize("task", GRIDS)
@pytest.mark.parametrize("system", ["text2reward", "auto_mc", "lare", "oni", "beacons"])
def test_every_prompt_on_minigrid_is_answered(system, task):
    prompts = asked(system, task)
    assert prompts
    assert prompts <= set(RecordedProvider(system).hashes)


def test_every_judgement_of_a_task_is_answered():
    prompts = asked("calm", "MiniGrid-MultiRoom-N2-S4-v0")
    assert len(prompts) > 10
    assert prompts <= set(RecordedProvider("calm").hashes)


@pytest.mark.parametrize("task", ARMS)
@pytest.mark.parametrize("system", ["text2reward", "auto_mc", "lare"])
def test_every_prompt_on_arms_is_answered(system, task):
    assert asked(system, task) <= set(RecordedProvider(system).hashes)


@pytest.mark.parametrize("task", [*GRIDS, *ARMS])
@pytest.mark.parametrize("system", ["text2reward", "auto_mc"])
def test_every_candidate_becomes_a_program(system, task):
    """Refused ones by way of the repairs, which are recorded too."""
    for candidate in range(3):
        assert attempts(system, task, candidate)[-1].accepted


def test_candidates_that_are_refused_at_first_are_among_them():
    first, second = attempts("auto_mc", "MiniGrid-MultiRoom-N4-S5-v1", 0)
    assert "bytes per env" in first.problem
    assert second.request.messages[:2] == first.request.messages


def test_the_first_round_of_the_packaged_evolution_is_answered():
    config = load_search(packaged("search")["eureka_keycorridor"])
    (first,) = search_requests(replace(config, env={**config.env, "bank_size": 64}))
    assert len(RecordedProvider("eureka").complete_sync(first).texts) == config.candidates
