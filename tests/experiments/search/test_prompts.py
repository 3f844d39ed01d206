"""Prompts: complete, the same everywhere, and without what no model may see."""

import re
from dataclasses import replace

import pytest
from searching import RIGHT, SMALL, program

import cairngym
from cairngym.experiments.search.prompts import first_request, generic_request, reflection_request, requests

KEY = "MiniGrid-KeyCorridorS3R3-v0"


@pytest.fixture(scope="module")
def first():
    return first_request(cairngym.make(KEY), replace(SMALL, task=KEY))


def test_the_first_prompt_holds_task_language_and_settings(first):
    text = first.messages[-1].content
    assert [message.role for message in first.messages] == ["system", "user"]
    assert (first.n, first.temperature, first.label) == (2, 1.0, f"eureka/{KEY}")
    assert "pick up the [colour] ball" in text
    assert "def reward(state, action, next_state, memory)" in text
    assert "added to the task's own sparse reward" in text


def test_privileged_measurements_are_not_in_it(first):
    env = cairngym.make(KEY)
    hidden = [name for name, field in env.state_spec.items() if field.privileged]
    assert hidden
    text = "\n".join(message.content for message in first.messages)
    assert not [name for name in hidden if re.search(rf"^\s+{name}: torch", text, re.MULTILINE)]


def test_it_is_the_same_for_any_seed_and_number_of_envs(first):
    again = first_request(cairngym.make(KEY, num_envs=5, seed=3), replace(SMALL, task=KEY, seed=7))
    assert again.hash == first.hash
    assert requests(replace(SMALL, task=KEY)) == (first,)


def test_it_says_when_the_sparse_reward_is_taken_away():
    env = cairngym.make("Chain-N10-v0")
    text = first_request(env, replace(SMALL, keep_task=False, weight=0.5)).messages[-1].content
    assert "multiplied by 0.5 and takes the place of the task's own reward" in text


def test_later_prompts_show_the_best_program_as_the_models_answer(first):
    request = reflection_request(first, 2, program("0.5 * next_state.node"), "- success: [0, 0.1]")
    assert [message.role for message in request.messages] == ["system", "user", "assistant", "user"]
    assert request.messages[:2] == first.messages
    assert request.messages[2].content == f"```python\n{program('0.5 * next_state.node').strip()}\n```"
    assert "- success: [0, 0.1]" in request.messages[3].content
    assert (request.n, request.label) == (2, f"eureka/{KEY}/round_2")


def test_generic_prompts_depend_on_round_and_program_alone(first):
    source = program("0.5 * next_state.node")
    second, third = (generic_request(first, round, 3, source) for round in (2, 3))
    assert second.hash != third.hash
    assert second.label == f"eureka/{KEY}/round_2"
    assert "round 2 of 3" in second.messages[-1].content
    assert second.hash == generic_request(first, 2, 3, source + "\n").hash
    assert second.hash != generic_request(first, 2, 3, RIGHT).hash
