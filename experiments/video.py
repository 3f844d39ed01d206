"""Videos and contact sheets of trained policies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.trained import load_trained

if TYPE_CHECKING:
    import cv2

    from cairngym.agents.core import Agent
    from cairngym.envs.core import TensorEnv


HOLD = 5
"""Frames for which the end of an episode is held."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a video shows."""

    path: Path
    sheet: Path
    """The contact sheet beside the video."""
    episodes: int
    successes: int
    frames: int


def record(
    run: Path, output: Path, *, episodes: int = 4, seed: int = 7, greedy: bool = False, fps: int = 10
) -> Recording:
    """Write a video of a run's policy on its evaluation env, episode after episode, and a contact sheet beside it.

    Args:
        run: the run's folder.
        output: an .mp4 file.
        episodes: how many.
        seed: of the episodes and of the policy's sampling.
        greedy: play the likeliest action.
        fps: steps a second.

    Raises:
        ConfigError: the folder holds no trained run, or the output is no .mp4.
        TypeError: the env draws no pictures.
        OSError: the video can't be written.
    """
    if output.suffix != ".mp4":
        raise ConfigError(f"Expected an output that ends in .mp4, got {output}.")
    trained = load_trained(run, autoreset_mode="Disabled")
    agent, env = trained.agent, trained.make_env(1, seed)
    video, sheet = VideoFile(output, fps), ContactSheet(output.with_suffix(".png"))
    successes = 0
    try:
        for count in range(episodes):
            succeeded = False
            for frame, success in play(agent, env, greedy=greedy, seed=seed + count):
                video.write(frame)
                sheet.add(frame)
                succeeded = success
            video.hold(HOLD)
            sheet.end_episode(succeeded)
            successes += succeeded
    finally:
        video.close()
        env.close()
    sheet.save()
    return Recording(path=output, sheet=sheet.path, episodes=episodes, successes=successes, frames=video.frames)


def play(agent: Agent, env: TensorEnv, *, greedy: bool, seed: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Play one episode of a single env that does not reset itself; yields frames and whether it has succeeded."""
    actor = agent.actor(1, deterministic=greedy, seed=seed)
    obs, _ = env.reset()
    yield env.render([0])[0], False
    over = False
    while not over:
        obs, _, terminated, truncated, info = env.step(actor.act(obs))
        over = bool((terminated | truncated)[0])
        yield env.render([0])[0], bool(info["episode"]["success_once"][0])


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
        self._last: np.ndarray | None = None

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
        self._last = frame
        self.frames += 1

    def hold(self, count: int) -> None:
        """Show the last frame for `count` more."""
        if self._last is not None:
            for _ in range(count):
                self.write(self._last)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            os.replace(self._temporary, self.path)


class ContactSheet:
    """A PNG with one row for each episode: frames at even distances, from the first to the last.

    Args:
        path: where.
        columns: frames of an episode.
        size: pixels that the longer side of a frame is shrunk to.
    """

    GAP, LABEL = 6, 18

    def __init__(self, path: Path, *, columns: int = 6, size: int = 160) -> None:
        self.path, self.columns, self.size = path, columns, size
        self._episode: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []

    def add(self, frame: np.ndarray) -> None:
        """Take in the next frame of the episode, uint8 RGB `(height, width, 3)`."""
        import cv2

        height, width = frame.shape[:2]
        scale = min(1.0, self.size / max(height, width))
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        self._episode.append(cv2.resize(frame, small, interpolation=cv2.INTER_AREA))

    def end_episode(self, success: bool) -> None:
        """Make a row of the frames taken in since the last one."""
        import cv2

        frames, self._episode = self._episode, []
        chosen = np.unique(np.linspace(0, len(frames) - 1, self.columns).round().astype(int))
        height, width = frames[0].shape[:2]
        row = np.full((self.LABEL + height, self.columns * (width + self.GAP) - self.GAP, 3), 255, np.uint8)
        for column, index in enumerate(chosen):
            left = column * (width + self.GAP)
            row[self.LABEL :, left : left + width] = frames[index]
        label = f"episode {len(self._rows) + 1}: {'success' if success else 'no success'}, {len(frames) - 1} steps"
        cv2.putText(row, label, (2, self.LABEL - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
        self._rows.append(row)

    def save(self) -> None:
        """Write the rows, one under the other; the file appears once it is complete.

        Raises:
            OSError: it can't be written.
        """
        import cv2

        if not self._rows:
            return
        width = max(row.shape[1] for row in self._rows)
        padded = [
            np.pad(row, ((0, self.GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in self._rows
        ]
        _, png = cv2.imencode(".png", cv2.cvtColor(np.concatenate(padded), cv2.COLOR_RGB2BGR))
        temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.png")
        temporary.write_bytes(png.tobytes())
        os.replace(temporary, self.path)
