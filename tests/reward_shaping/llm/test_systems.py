"""The registry of systems: every one asks what its own module says, labelled with its name and the task's."""

import subprocess
import sys

import pytest

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.reward_shaping.llm import systems
from cairngym.reward_shaping.llm.auto_mc.prompts import designer_request
from cairngym.reward_shaping.llm.lare.prompts import proposal_request
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.oni import sheets
from cairngym.reward_shaping.llm.systems import list_systems, register_system, requests
from cairngym.reward_shaping.llm.text2reward.prompt import first_request

CHAIN, GRID = "Chain-N10-v0", "MiniGrid-MultiRoom-N2-S4-v0"


def test_names():
    assert list_systems() == ["auto_mc", "beacons", "calm", "lare", "oni", "text2reward"]


def test_prompts_are_those_of_the_modules():
    env = cairngym.make(CHAIN)
    assert requests("text2reward", env) == (first_request(env),)
    assert requests("text2reward", env, examples=0, potential=True) == (first_request(env, examples=0, potential=True),)
    assert requests("auto_mc", env) == (designer_request(env),)
    assert requests("lare", env, candidates=2) == (proposal_request(env, 2),)


def test_prompts_of_a_grid():
    env = cairngym.make(GRID, bank_size=64)
    assert requests("oni", env) == tuple(sheets.requests(env))
    pairs = requests("oni", env, preferences=True)
    assert pairs == tuple(sheets.requests(env, preferences=True))
    assert pairs[0].hash != requests("oni", env)[0].hash
    assert len(requests("beacons", env, levels=3)) == 3
    calm = requests("calm", env, count=1)
    assert calm[0].label == f"calm/{GRID}/subgoals"


@pytest.mark.parametrize("system", ["text2reward", "auto_mc", "lare", "oni", "beacons"])
def test_labels_name_system_and_task_and_prompts_are_the_same_again(system):
    env = cairngym.make(GRID, bank_size=64)
    asked = requests(system, env)
    assert asked
    assert all(request.label.split("/")[:2] == [system, GRID] for request in asked)
    other = cairngym.make(GRID, num_envs=3, seed=5, bank_size=64)
    other.reset(seed=9)
    assert [request.hash for request in requests(system, other)] == [request.hash for request in asked]


def test_unknown_names_and_options():
    env = cairngym.make(CHAIN)
    with pytest.raises(UnknownNameError, match=r"Unknown system 'text2rewards'. Did you mean 'text2reward'"):
        requests("text2rewards", env)
    with pytest.raises(TypeError, match=r"The system 'text2reward' has no option 'example'. Did you mean 'examples'"):
        requests("text2reward", env, example=1)
    with pytest.raises(TypeError, match="The system 'oni' has no option 'pairs'"):
        requests("oni", env, pairs=True)
    with pytest.raises(TypeError, match="Expected a MiniGrid env"):
        requests("beacons", env)


def test_a_system_of_ones_own(monkeypatch):
    monkeypatch.setattr(systems._systems, "_entries", dict(systems._systems._entries))
    register_system("toy", lambda env, count=1: [ChatRequest.ask("Hello", label=f"toy/{CHAIN}")] * count)
    assert len(requests("toy", cairngym.make(CHAIN), count=2)) == 2
    with pytest.raises(ValueError, match="already registered"):
        register_system("toy", "json:loads")


def test_the_registry_imports_neither_a_system_nor_torch():
    code = (
        "import sys\nfrom cairngym.reward_shaping.llm.systems import list_systems\nlist_systems()\n"
        "print(sorted(name.split('.')[3] for name in sys.modules if name.startswith('cairngym.reward_shaping.llm.')))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["['messages', 'systems']", "False"]
