"""Names to agents: `list_agents`, `make_agent`, `load_agent`, `register_agent`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.envs.checks import check_options, unknown_name
from cairngym.envs.factories import load

if TYPE_CHECKING:
    from cairngym.agents.core import Agent
    from cairngym.envs.core import TensorEnv

Named = str | Callable[..., Any]
"""A class, or "module:class" naming it, so that nothing is imported before it is used."""


@dataclass(frozen=True, kw_only=True)
class AgentEntry:
    """How a name becomes an agent."""

    agent: Named
    """`agent(env, config)` makes one."""
    config: Named
    """The frozen dataclass of its settings."""


def _sb3(algorithm: str) -> AgentEntry:
    return AgentEntry(agent=f"cairngym.agents.sb3:{algorithm}", config=f"cairngym.agents.sb3:{algorithm}Config")


def _evolution(module: str, agent: str) -> AgentEntry:
    package = "cairngym.agents.evolution"
    return AgentEntry(agent=f"{package}.{module}:{agent}", config=f"{package}.evolution_config:{agent}Config")


_agents: dict[str, AgentEntry] = {
    "bc": AgentEntry(
        agent="cairngym.agents.behavior_cloning:BehaviorCloning",
        config="cairngym.agents.behavior_cloning_config:BehaviorCloningConfig",
    ),
    "cem": AgentEntry(
        agent="cairngym.agents.evolution.cem:CEM", config="cairngym.agents.evolution.cem_config:CEMConfig"
    ),
    "cma_me": _evolution("cma_me", "CmaMe"),
    "deep_ga": _evolution("deep_ga", "DeepGA"),
    "dynamics_gradient": AgentEntry(
        agent="cairngym.agents.dynamics_gradient:DynamicsGradient",
        config="cairngym.agents.dynamics_gradient_config:DynamicsGradientConfig",
    ),
    "map_elites": _evolution("map_elites", "MapElites"),
    "novelty_search": _evolution("novelty_search", "NoveltySearch"),
    "ppo": AgentEntry(agent="cairngym.agents.ppo:PPO", config="cairngym.agents.ppo_config:PPOConfig"),
    "residual": AgentEntry(
        agent="cairngym.agents.residual:Residual", config="cairngym.agents.residual_config:ResidualConfig"
    ),
    "rlpd": AgentEntry(agent="cairngym.agents.sac:RLPD", config="cairngym.agents.off_policy_config:RLPDConfig"),
    "sac": AgentEntry(agent="cairngym.agents.sac:SAC", config="cairngym.agents.off_policy_config:SACConfig"),
    "serene": _evolution("serene", "Serene"),
    "sb3-a2c": _sb3("A2C"),
    "sb3-dqn": _sb3("DQN"),
    "sb3-ppo": _sb3("PPO"),
    "sb3-sac": _sb3("SAC"),
    "sb3-td3": _sb3("TD3"),
    "td3": AgentEntry(agent="cairngym.agents.td3:TD3", config="cairngym.agents.off_policy_config:TD3Config"),
}


def register_agent(name: str, agent: Named, config: Named) -> None:
    """Add an agent under `name`.

    Args:
        name: what `make_agent` will take; the class's own `name` must be the same.
        agent: the class, made by `agent(env, config)`, or "module:class".
        config: the frozen dataclass of its settings, or "module:class".

    Raises:
        ValueError: if the name is taken.
    """
    if name in _agents:
        raise ValueError(f"The agent {name!r} is already registered; choose another name.")
    _agents[name] = AgentEntry(agent=agent, config=config)


def list_agents() -> list[str]:
    """Every name that `make_agent` takes, sorted."""
    return sorted(_agents)


def agent_config_class(name: str) -> type[Any]:
    """The dataclass of an agent's settings.

    Raises:
        UnknownNameError: naming the nearest valid names.
    """
    found: type[Any] = load(_entry(name).config)  # type: ignore[assignment]
    return found


def make_agent(agent: str, env: TensorEnv, **config: Any) -> Agent:
    """Make an agent for an env's spaces.

    Args:
        agent: one of `list_agents()`.
        env: the env, shaped or not.
        config: settings that differ from the defaults; lists stand for tuples.

    Raises:
        UnknownNameError: unknown agent.
        TypeError: a setting it does not have.
        ValueError: a setting out of range.

    Example:
        >>> import cairngym
        >>> agent = make_agent("ppo", cairngym.make("Chain-N10-v0", num_envs=8), gamma=0.95)
        >>> agent.config.gamma
        0.95
    """
    cls = agent_config_class(agent)
    check_options(f"The agent {agent!r}", config, [field.name for field in dataclasses.fields(cls)])
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    return load(_entry(agent).agent)(env, cls(**values))


def load_agent(path: str | Path, env: TensorEnv) -> Agent:
    """Make the agent of a checkpoint and load it; `env` returns to where it was if its number of envs is the same.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or was saved for other spaces.
    """
    from cairngym.agents.checkpoint import read_checkpoint

    saved = read_checkpoint(path)
    agent = make_agent(saved["agent"], env, **saved["config"])
    agent.load(path, env)
    return agent


def _entry(name: str) -> AgentEntry:
    if name not in _agents:
        raise unknown_name("agent", name, _agents)
    return _agents[name]
