"""Videos of trained policies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cairngym.experiments.config import load_run
from cairngym.experiments.overlay import ConfigError
from cairngym.experiments.resolve import resolve
from cairngym.experiments.run import make_env, make_evaluation_env, make_run_agent
from cairngym.experiments.runfolder import RunFolder

if TYPE_CHECKING:
    import cv2

    from cairngym.agents.core import Agent
    from cairngym.envs.core import TensorEnv


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a video shows."""

    path: Path
    episodes: int
    successes: int
    frames: int


def record(
    run: Path, output: Path, *, episodes: int = 4, seed: int = 7, greedy: bool = False, fps: int = 10
) -> Recording:
    """Write a video of a run's policy on its evaluation env, episode after episode.

    Args:
        run: the run's folder.
        output: an .mp4 file.
        episodes: how many.
        seed: of the episodes and of the policy's sampling.
        greedy: play the likeliest action.
        fps: steps a second.

    Raises:
        ConfigError: the folder holds no trained run.
        TypeError: the env draws no pictures.
        OSError: the video can't be written.
    """
    agent, env = load_policy(run, seed)
    video = VideoFile(output, fps)
    successes = count = 0
    try:
        for _ in range(episodes):
            for frame, success in play(agent, env, greedy=greedy, seed=seed + count):
                video.write(frame)
                successes += success
            count += 1
    finally:
        video.close()
    return Recording(path=output, episodes=count, successes=successes, frames=video.frames)


def load_policy(run: Path, seed: int) -> tuple[Agent, TensorEnv]:
    """The agent of a run's checkpoint, and one copy of its evaluation env, reset.

    Raises:
        ConfigError: the folder holds no config or no checkpoint.
    """
    if not (run / "config.yaml").is_file():
        raise ConfigError(f"Expected a run's folder with a config.yaml in it, got {run}.")
    config = resolve(load_run(run / "config.yaml", {"agent": {"num_envs": 1}}))
    saved = RunFolder(run).load_checkpoint()
    if saved is None:
        raise ConfigError(f"{run} has no checkpoint.pt yet; let the run go on for a while.")
    agent = make_run_agent(config, make_env(config))
    agent.set_state(saved["state"])
    env = make_evaluation_env(config, num_envs=1, seed=seed)
    env.reset(seed=seed)
    return agent, env


def play(agent: Agent, env: TensorEnv, *, greedy: bool, seed: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Play one episode of a single env; yields every frame, and whether the episode has just succeeded.

    The env must reset itself within the step, so the frame after the last action is the next episode's first; it is
    left out, and the last one shown is held for a moment.
    """
    actor = agent.actor(1, deterministic=greedy, seed=seed)
    obs, _ = env.reset()
    frame = env.render([0])[0]
    yield frame, False
    over = False
    while not over:
        obs, _, terminated, truncated, info = env.step(actor.act(obs))
        over = bool((terminated | truncated)[0])
        if not over:
            frame = env.render([0])[0]
        yield frame, over and bool(info["episode"]["success_once"][0])
    for _ in range(5):
        yield frame, False


class VideoFile:
    """An .mp4 that appears under its name once it is complete.

    Args:
        path: where.
        fps: frames a second.
    """

    def __init__(self, path: Path, fps: int) -> None:
        self.path, self.fps, self.frames = path, fps, 0
        self._temporary = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: np.ndarray) -> None:
        """Add an RGB frame, uint8 `(height, width, 3)`."""
        import cv2

        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            size = (frame.shape[1], frame.shape[0])
            self._writer = cv2.VideoWriter(str(self._temporary), cv2.VideoWriter.fourcc(*"mp4v"), self.fps, size)
            if not self._writer.isOpened():
                raise OSError(f"OpenCV can't write {self.path}; check the folder's permissions and free space.")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            os.replace(self._temporary, self.path)
