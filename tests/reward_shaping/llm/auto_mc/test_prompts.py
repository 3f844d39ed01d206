"""The prompts: the same every time, without what is privileged, and with what each reader needs."""

import pytest
from auto_mc_toys import CHAIN, GRID, line_program, named, played

import cairngym
from cairngym.reward_shaping.llm.auto_mc.analysis import analyze
from cairngym.reward_shaping.llm.auto_mc.prompts import critic_request, designer_request, refine_request, requests


@pytest.fixture(scope="module")
def grid():
    return named("MiniGrid-DoorKey-5x5-v0")


def test_prompts_are_the_same_for_any_number_of_envs_and_any_moment(grid):
    other = named("MiniGrid-DoorKey-5x5-v0", num_envs=3, seed=5)
    other.reset()
    assert designer_request(other) == designer_request(grid)
    assert critic_request(other, GRID) == critic_request(grid, GRID)
    assert requests(grid) == (designer_request(grid),)


def test_labels_say_what_asks(grid):
    assert designer_request(grid).label == "auto_mc/MiniGrid-DoorKey-5x5-v0"
    assert critic_request(grid, GRID).label == "auto_mc/MiniGrid-DoorKey-5x5-v0/critic"


def test_the_designer_is_shown_the_task_the_language_and_no_privileged_field(grid):
    prompt = designer_request(grid).messages[-1].content
    assert grid.unwrapped.task.instruction in prompt
    for wanted in ("class State:", "agent_pos: torch.Tensor", "memory.get(", "torch.where", '"sparse"', '"dense"'):
        assert wanted in prompt
    for name, field in grid.state_spec.items():
        assert field.privileged is (f"{name}: torch.Tensor" not in prompt)
    assert prompt.index("Write your thoughts first") < prompt.index("one ```python block")


def test_different_tasks_are_asked_about_in_different_words(grid):
    assert designer_request(cairngym.make("Chain-N10-v0")).hash != designer_request(grid).hash


def test_the_critic_is_shown_the_task_and_the_program(grid):
    prompt = critic_request(grid, GRID).messages[-1].content
    assert grid.unwrapped.task.instruction in prompt
    assert f"```python\n{GRID.strip()}\n```" in prompt
    assert critic_request(grid, CHAIN).hash != critic_request(grid, GRID).hash


def test_a_refinement_goes_on_from_the_design_and_the_summary(grid):
    summary = analyze(played([[0.0], [1.0]], [2], truncated=[(1, 0)]), line_program("0 * x", "y - x"))
    request = refine_request(grid, GRID, summary)
    system, first, design, said = request.messages
    assert (system, first) == designer_request(grid).messages
    assert (design.role, design.content) == ("assistant", f"```python\n{GRID.strip()}\n```")
    assert summary.text() in said.content
    assert request.label == "auto_mc/MiniGrid-DoorKey-5x5-v0/refine"
    assert (request.n, request.settings) == (1, designer_request(grid).settings)
    assert refine_request(grid, GRID, summary).hash == request.hash
