import subprocess
import sys
from dataclasses import dataclass

import pytest
from agent_toys import identity

from cairngym.agents import registry
from cairngym.agents.ppo import PPO
from cairngym.agents.ppo_config import PPOConfig
from cairngym.agents.registry import agent_config_class, list_agents, make_agent, register_agent


def test_lists_and_makes():
    assert {"ppo", "sb3-ppo", "sb3-dqn"} <= set(list_agents())
    assert agent_config_class("ppo") is PPOConfig
    agent = make_agent("ppo", identity(num_envs=4), hidden=[16, 8], seed=3)
    assert agent.config == PPOConfig(hidden=(16, 8), seed=3)


def test_near_names_are_offered():
    with pytest.raises(KeyError, match=r"Unknown agent 'poo'. Did you mean 'ppo'"):
        make_agent("poo", identity(num_envs=4))
    with pytest.raises(TypeError, match=r"no option 'learning_rat'. Did you mean 'learning_rate'"):
        make_agent("ppo", identity(num_envs=4), learning_rat=1e-3)


def test_registers_an_agent_once(monkeypatch):
    monkeypatch.setattr(registry, "_agents", dict(registry._agents))

    @dataclass(frozen=True, kw_only=True)
    class SlowConfig(PPOConfig):
        learning_rate: float = 1e-5

    class Slow(PPO):
        name = "slow"

    register_agent("slow", Slow, SlowConfig)
    assert make_agent("slow", identity(num_envs=4)).learning_rate == 1e-5
    with pytest.raises(ValueError, match="'slow' is already registered"):
        register_agent("slow", Slow, SlowConfig)


def test_names_are_listed_without_importing_torch():
    code = "import sys; from cairngym.agents.registry import list_agents; list_agents(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
