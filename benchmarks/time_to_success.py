"""Training wall time to 95 % success on one MiniGrid task: our PPO beside Stable-Baselines3's on `minigrid` itself.

    python benchmarks/time_to_success.py [--out benchmarks/results/time_to_success.json]

Both learn from the sparse reward alone, with two hidden layers of 64. Training stops when at least 95 % of the last
1024 (ours) or 200 (SB3) training episodes succeeded; ours is then confirmed on held-out levels. The clock runs from the
first training step, imports and set-up excluded.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from cairngym.experiments.provenance import hardware, versions


@dataclass(frozen=True, kw_only=True)
class TimeToSuccess:
    """What is measured."""

    env: str = "MiniGrid-DoorKey-8x8-v0"
    """The MiniGrid id."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of our runs."""
    sb3_seeds: tuple[int, ...] = (1,)
    """Seeds of Stable-Baselines3's runs; each takes minutes."""
    threads: int = 2
    """CPU threads for torch and for the worlds."""
    limit: int = 20_000_000
    """Env steps after which a run of ours gives up."""
    sb3_limit: int = 4_000_000
    """Env steps after which a run of Stable-Baselines3 gives up."""
    sb3_seconds: float = 1800.0
    """Seconds after which a run of Stable-Baselines3 gives up."""
    sb3_envs: int = 16
    """Processes that step `minigrid` for Stable-Baselines3."""
    target: float = 0.95
    """The success rate."""
    out: Path | None = None
    """JSON file for the result."""


def ours(config: TimeToSuccess, seed: int) -> dict[str, Any]:
    """One run of our PPO with its default settings."""
    import cairngym
    from cairngym.agents.evaluation import evaluate
    from cairngym.agents.registry import make_agent

    env = cairngym.make(config.env, 1024, seed=seed, threads=config.threads)
    agent = make_agent("ppo", env, seed=seed)
    recent: deque[tuple[int, float]] = deque()

    def watch(metrics: Mapping[str, Any]) -> bool:
        recent.append((metrics["episodes"], metrics["success_rate"] or 0.0))
        while sum(n for n, _ in recent) - recent[0][0] >= 1024:
            recent.popleft()
        episodes = sum(n for n, _ in recent)
        rate = sum(n * share for n, share in recent) / max(1, episodes)
        return not (episodes >= 1024 and rate >= config.target)

    start = time.perf_counter()
    agent.learn(env, config.limit, [watch])
    seconds = time.perf_counter() - start
    held_out = cairngym.make(config.env, 256, seed=0, split="test")
    confirmed = evaluate(agent, held_out, episodes=512, seed=10_000).success
    return {
        "name": "cairngym PPO", "seed": seed, "seconds": seconds, "steps": agent.steps_done,
        "reached": agent.steps_done < config.limit, "held_out_success": confirmed,
    }  # fmt: skip


def stable_baselines(config: TimeToSuccess, seed: int) -> dict[str, Any]:
    """One run of SB3's PPO on upstream envs in subprocesses, on the one-hot image."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    class Watch(BaseCallback):
        """Stops at the target."""

        def __init__(self) -> None:
            super().__init__()
            self.recent: deque[bool] = deque(maxlen=200)
            self.reached = False

        def _on_step(self) -> bool:
            for done, info in zip(self.locals["dones"], self.locals["infos"], strict=True):
                if done:
                    self.recent.append(info["episode"]["r"] > 0)
            full = len(self.recent) == self.recent.maxlen
            self.reached = full and sum(self.recent) >= config.target * len(self.recent)
            return not self.reached and time.perf_counter() - start < config.sb3_seconds

    envs = make_vec_env(
        upstream_factory(config.env), config.sb3_envs, seed=seed, vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": "spawn"},
    )  # fmt: skip
    model = PPO(
        "MlpPolicy", envs, seed=seed, n_steps=128, batch_size=512, n_epochs=4, learning_rate=1e-3, ent_coef=0.01,
        policy_kwargs={"net_arch": [64, 64]}, device="cpu",
    )  # fmt: skip
    watch = Watch()
    start = time.perf_counter()
    model.learn(config.sb3_limit, callback=watch)
    seconds = time.perf_counter() - start
    envs.close()
    return {
        "name": "SB3 PPO on minigrid", "seed": seed, "seconds": seconds, "steps": int(model.num_timesteps),
        "reached": watch.reached, "held_out_success": None,
    }  # fmt: skip


def upstream_factory(env_id: str) -> Callable[[], Any]:
    """Makes the upstream env with its image one-hot and flat."""

    def make() -> Any:
        import gymnasium
        import minigrid
        from minigrid.wrappers import ImgObsWrapper, OneHotPartialObsWrapper

        del minigrid  # imported for the ids it registers
        return gymnasium.wrappers.FlattenObservation(ImgObsWrapper(OneHotPartialObsWrapper(gymnasium.make(env_id))))

    return make


def main(config: TimeToSuccess) -> None:
    """Run every seed of both and print the medians."""
    import torch

    torch.set_num_threads(config.threads)
    runs = [ours(config, seed) for seed in config.seeds]
    for run in runs:
        print(run, flush=True)
    for seed in config.sb3_seeds:
        runs.append(stable_baselines(config, seed))
        print(runs[-1], flush=True)
    medians = {name: statistics.median(run["seconds"] for run in runs if run["name"] == name)
               for name in dict.fromkeys(run["name"] for run in runs)}  # fmt: skip
    for name, seconds in medians.items():
        print(f"{name}: median {seconds:.1f} s")
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"env": config.env, "runs": runs, "median_seconds": medians,
                  "versions": versions(), "hardware": hardware("cpu")}  # fmt: skip
        config.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(TimeToSuccess))
