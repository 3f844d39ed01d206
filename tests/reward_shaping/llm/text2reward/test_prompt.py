import subprocess
import sys

import pytest

import cairngym
from cairngym.reward_shaping.llm.abstraction import abstraction
from cairngym.reward_shaping.llm.language import language
from cairngym.reward_shaping.llm.text2reward.library import LIBRARY
from cairngym.reward_shaping.llm.text2reward.prompt import chosen, feedback_request, first_request, requests


@pytest.fixture(scope="module")
def push():
    env = cairngym.make("FetchPush-v4", num_envs=2)
    env.unwrapped.id = "FetchPush-v4"
    return env


def test_the_stages_come_in_their_order(push):
    (request,) = requests(push)
    assert request.label == "text2reward/FetchPush-v4"
    assert [message.role for message in request.messages] == ["system", "user"]
    text = request.messages[1].content
    stages = ("usually made of", "## The environment", "## The language", "cheating", "## Examples", "## Your answer")
    places = [text.index(stage) for stage in stages]
    assert places == sorted(places)
    assert abstraction(push) in text
    assert language() in text
    assert text.count("Instruction:") == 3, "the task's and two examples'"


def test_examples_and_hints_are_optional(push):
    text = first_request(push, examples=0, hints="  The table is slippery. ").messages[1].content
    assert "## Examples" not in text
    assert "## What else is known\nThe table is slippery.\n\n## Your answer" in text
    many = first_request(push, examples=100).messages[1].content
    assert all(example.instruction in many for example in LIBRARY)
    with pytest.raises(ValueError, match="examples >= 0"):
        first_request(push, examples=-1)


def test_a_score_for_a_potential_is_asked_for_in_other_words(push):
    (plain,), (scored,) = requests(push), requests(push, potential=True)
    assert "made a potential" in scored.messages[1].content
    assert "cheating" not in scored.messages[1].content
    assert "made a potential" not in plain.messages[1].content


def test_the_nearest_examples_are_shown(push):
    assert [example.instruction.split()[0] for example in chosen(push, 2)] == ["Shove", "Take"]


def test_prompts_differ_between_tasks_and_not_between_copies(push):
    names = ("FetchPush-v4", "FetchReach-v4", "Chain-N10-v0", "PointMaze_UMaze-v3")
    hashes = [first_request(cairngym.make(name)).hash for name in names]
    assert len(set(hashes)) == len(names)
    assert hashes[0] == first_request(push).hash, "neither the number of envs nor the id counts"


def test_another_process_builds_the_same_prompt():
    script = (
        "import cairngym\n"
        "from cairngym.reward_shaping.llm.text2reward.prompt import first_request\n"
        "print(first_request(cairngym.make('Chain-N10-v0')).hash)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "17"}
    )
    assert run.stdout.strip() == first_request(cairngym.make("Chain-N10-v0")).hash


def test_feedback_goes_on_from_the_last_program(push):
    request = first_request(push)
    again = feedback_request(request, "def reward(): ...\n", behaviour="It waits.", feedback="Push harder.")
    assert again.messages[:2] == request.messages
    assert again.messages[2].role == "assistant"
    assert again.messages[2].content == "```python\ndef reward(): ...\n```"
    said = again.messages[3].content
    assert said.index("It waits.") < said.index("Push harder.")
    assert "how it behaves" not in feedback_request(request, "x", feedback="Faster.").messages[3].content
    assert "what a person" not in feedback_request(request, "x", behaviour="It waits.").messages[3].content
    with pytest.raises(ValueError, match="got neither"):
        feedback_request(request, "x", feedback="  ")
