"""Where demonstrations come from, written in one line: a file, a Minari dataset, or the task's oracle.

demonstrations: shown.npz                        what `Demonstrations.save` or `cairn demo record` wrote
demonstrations: minari:fetchpush/oracle-v0       a Minari dataset on this machine
demonstrations: oracle                           the task's own oracle, asked when learning begins
demonstrations: oracle:random_actions=0.1,seed=3 the same with noise, and from other levels
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.agents.demonstrations import Demonstrations, collect
from cairngym.envs.checks import check_options, check_seed

if TYPE_CHECKING:
    import torch

    from cairngym.envs.core import TensorEnv

ORACLE, MINARI = "oracle", "minari:"
EPISODES = 10
"""Episodes that an oracle shows where no number is asked for."""
PLAYERS = 16
"""Most envs that an oracle plays at once."""


@dataclass(frozen=True, kw_only=True)
class OracleOptions:
    """How an oracle shows a task."""

    noise: float = 0.0
    """Standard deviation of the noise on continuous actions, as a share of half their range."""
    random_actions: float = 0.0
    """Probability that an action is drawn uniformly."""
    seed: int | None = None
    """Of the levels and the noise; None takes the agent's."""
    failures: bool = False
    """Whether episodes count in which the task was not done."""

    def __post_init__(self) -> None:
        if self.seed is not None:
            check_seed(self.seed)
        if not self.noise >= 0.0 or not 0.0 <= self.random_actions <= 1.0:
            raise ValueError(
                f"Expected noise >= 0 and random_actions in [0, 1], got {self.noise} and {self.random_actions}."
            )


def check_source(source: str) -> None:
    """Refuse a source that can't be read, before anything is run.

    Raises:
        TypeError: an option that oracles do not have.
        ValueError: an option of a wrong kind, or no name.
    """
    if not source or source == MINARI:
        raise ValueError(f"Expected a file, {MINARI}ID or {ORACLE}[:option=value,…], got {source!r}.")
    if is_oracle(source):
        oracle_options(source)


def is_oracle(source: str) -> bool:
    """Whether the demonstrations are made when they are needed."""
    return source == ORACLE or source.startswith(ORACLE + ":")


def oracle_options(source: str) -> OracleOptions:
    """The options written behind `oracle:`.

    Example:
        >>> oracle_options("oracle:random_actions=0.1,seed=3")
        OracleOptions(noise=0.0, random_actions=0.1, seed=3, failures=False)
    """
    text = source.removeprefix(ORACLE).removeprefix(":")
    pairs = [pair.partition("=")[::2] for pair in text.split(",") if pair]
    check_options("A source of demonstrations", [name for name, _ in pairs], [f.name for f in fields(OracleOptions)])
    kinds: dict[str, Any] = {"noise": float, "random_actions": float, "seed": int, "failures": _truth}
    try:
        return OracleOptions(**{name: kinds[name](value) for name, value in pairs})
    except ValueError as error:
        raise ValueError(f"Expected {ORACLE}:option=value,…, got {source!r}: {error}") from error


def load_demonstrations(
    source: str, env: TensorEnv, *, episodes: int | None = None, seed: int = 0, device: torch.device | None = None
) -> Demonstrations:
    """Read demonstrations, or have the oracle of the env's task make them.

    An oracle plays in `env` itself, below its shapers. The env is then reset to episode 0 of its own seed, as fresh as
    it was made; learning that goes on in the middle of episodes must not ask for it.

    Args:
        source: see the module.
        env: they are to be learned from for.
        episodes: how many, the first ones; None takes all of a file's, and 10 of an oracle's.
        seed: of what an oracle plays, where `source` names none.
        device: where they go; default is the env's.

    Raises:
        FileNotFoundError: no such file or dataset.
        ValueError: fewer episodes than wanted, or demonstrations of another env.
        UnknownNameError: the task has no oracle.
        RuntimeError: the oracle fails too often.
    """
    check_source(source)
    if episodes is not None and episodes < 1:
        raise ValueError(f"Expected at least one demonstrated episode, got {episodes}.")
    device = device or env.device
    if is_oracle(source):
        shown = play_oracle(env, oracle_options(source), episodes or EPISODES, seed)
    elif source.startswith(MINARI):
        from cairngym.agents.minari_datasets import load_minari

        shown = load_minari(source.removeprefix(MINARI), device=device, episodes=episodes)
    else:
        shown = Demonstrations.load(Path(source), device)
    if episodes is not None and len(shown) < episodes:
        raise ValueError(
            f"Expected {episodes} demonstrated episodes in {source}, got {len(shown)}. Record more of them."
        )
    shown = shown if episodes is None else shown.first(episodes)
    shown.check_fits(env)
    return shown


def play_oracle(env: TensorEnv, options: OracleOptions, episodes: int, seed: int) -> Demonstrations:
    """Let the task's oracle play in `env`, which is then reset to episode 0 of its own seed."""
    from cairngym.agents.oracles import NoisyPolicy, make_oracle, plays_all
    from cairngym.reward_shaping.core import ShapedEnv

    while isinstance(env, ShapedEnv):  # what they remember is of the learner's own steps
        env = env.env
    own, seed = env.unwrapped.episodes.seed, seed if options.seed is None else options.seed
    policy = make_oracle(env)
    if options.noise or options.random_actions:
        policy = NoisyPolicy(policy, env, noise=options.noise, random_actions=options.random_actions, seed=seed)
    players = env.num_envs if plays_all(env) else min(env.num_envs, PLAYERS, episodes)
    try:
        return collect(policy, env, episodes, seed, only_successful=not options.failures, players=players)
    finally:
        env.reset(seed=own)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"expected true or false, got {text!r}")
    return text == "true"
