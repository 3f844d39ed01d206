"""N tables with an arm and a ball, stepped by one Warp kernel, and whole episodes of policies in another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import warp as wp
from gymnasium import spaces

from cairngym.envs.core import Observation, State, TaskSpec, World
from cairngym.envs.episodes import Episodes
from cairngym.envs.fused import FeedForward, FusedWorld, Played, check_play
from cairngym.envs.manipulation.curling import picture, scene
from cairngym.envs.manipulation.curling.body_kernels import BALL, INNER, MOVING, OUTER, POSE, ROW, VELOCITY, first_row
from cairngym.envs.manipulation.curling.play_kernels import play_kernel
from cairngym.envs.manipulation.curling.step_kernels import step_worlds
from cairngym.envs.manipulation.curling.task import state_spec
from cairngym.envs.policy_kernels import launch_place, play_all
from cairngym.envs.warp_setup import start_warp

JOINTS = 2


class CurlingWorld(World, FusedWorld):
    """N tables; an action is the share of the largest speed at which each joint turns, `(N, 2)` in [-1, 1].

    Args:
        num_envs: N.
        device: "cpu" or "cuda".
        threads: CPU threads that `play` may use; None takes every core.

    Attributes:
        rows: float32 `(N, ROW)`, poses, velocities and impulses of every world, see `body_kernels`.
    """

    def __init__(self, num_envs: int, device: str, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"Expected threads >= 1, got {threads}.")
        start_warp()
        self.num_envs, self.device = num_envs, torch.device(device)
        self.single_action_space = spaces.Box(-1.0, 1.0, (JOINTS,), np.float32)
        self.state_spec = state_spec()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = 1 if self.device.type == "cuda" else threads or cores
        self._first = torch.tensor(first_row(), dtype=torch.float32, device=self.device)
        self._goals = torch.tensor(scene.GOALS, dtype=torch.float32, device=self.device)
        self._horizon = scene.HORIZON
        self.rows = self._first.repeat(num_envs, 1)

    # Stepping ---------------------------------------------------------------------------------------------------------

    def start(self, task: TaskSpec, mask: torch.Tensor, episodes: Episodes) -> Observation:
        """Begin the masked worlds and observe all."""
        self._horizon = task.horizon
        return super().start(task, mask, episodes)

    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Put ball and arm of the masked worlds where all episodes begin."""
        del episodes
        self.rows = torch.where(mask.unsqueeze(1), self._first, self.rows)

    def advance(self, action: torch.Tensor) -> None:
        """Move every world one step."""
        self.rows = self.rows.clone()
        arrays = [wp.from_torch(action.detach().contiguous()), wp.from_torch(self.rows)]
        wp.launch(step_worlds, dim=self.num_envs, inputs=arrays, **launch_place(self.device))

    # Measuring --------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Measurements of the worlds as they are now."""
        pose = self.rows[:, POSE:VELOCITY].view(-1, MOVING, 3)
        velocity = self.rows[:, VELOCITY : VELOCITY + 3 * MOVING].view(-1, MOVING, 3)
        angles, turns = pose[:, :, 2], velocity[:, :, 2]
        ball, half = pose[:, BALL, :2], 0.5 * scene.LINK_LENGTH
        off = ball.unsqueeze(1) - self._goals
        return {
            "ball": ball,
            "ball_velocity": velocity[:, BALL, :2],
            "joint_angles": torch.stack((angles[:, INNER], angles[:, OUTER] - angles[:, INNER]), dim=1),
            "joint_speeds": torch.stack((turns[:, INNER], turns[:, OUTER] - turns[:, INNER]), dim=1),
            "elbow": self._along(pose, OUTER, scene.OVERLAP - half),
            "tip": self._along(pose, OUTER, half),
            "distance_to_goals": (off[..., 0] ** 2 + off[..., 1] ** 2).sqrt(),
            "steps_left": (self._horizon - self.episodes.length).clamp(min=0),
        }

    @staticmethod
    def _along(pose: torch.Tensor, link: int, length: float) -> torch.Tensor:
        """The point `length` metres from the middle of a link towards its free end, `(N, 2)`."""
        x, y, angle = (part.contiguous() for part in pose[:, link].unbind(1))
        return torch.stack((x - length * torch.sin(angle), y + length * torch.cos(angle)), dim=1)

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Pictures of the tables from above."""
        return tuple(picture.draw(self.rows[i, :VELOCITY].tolist()) for i in env_ids)

    # Whole episodes ---------------------------------------------------------------------------------------------------

    def play(
        self, task: TaskSpec, genomes: torch.Tensor, policy: FeedForward, *, seeds: torch.Tensor, record: bool = False
    ) -> Played:
        """Play one episode of each policy, see `FusedWorld.play`; no seed changes anything here."""
        check_play(task, JOINTS, genomes, policy, seeds)
        count, steps = len(genomes), task.horizon if record else 0
        returns, last, trajectory = (
            torch.zeros(shape, dtype=torch.float32, device=self.device)
            for shape in ((count,), (count, 2), (count, steps, 2))
        )
        arrays = [wp.from_torch(tensor) for tensor in (self._first, returns, last, trajectory)]
        inputs = [wp.from_torch(genomes.detach().contiguous()), task.horizon, *arrays]
        play_all(play_kernel(policy), count, inputs, self._threads, self.device)
        return Played(
            returns=returns, descriptor=last, success=returns > 0, trajectory=trajectory if record else None,
            length=torch.full((count,), task.horizon, dtype=torch.int64, device=self.device),
        )  # fmt: skip

    # Snapshots --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Copy poses, velocities and impulses."""
        return {"rows": self.rows.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy.

        Raises:
            ValueError: the snapshot is of another number of worlds.
        """
        rows = snapshot["rows"]
        if rows.shape != (self.num_envs, ROW):
            raise ValueError(
                f"Expected a snapshot with rows of shape {(self.num_envs, ROW)}, got {tuple(rows.shape)}; take it from "
                "an env with as many worlds."
            )
        self.rows = rows.clone()
