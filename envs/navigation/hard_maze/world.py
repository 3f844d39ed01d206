"""N robots in N hard mazes, stepped by one Warp kernel, and whole episodes of policies in another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import warp as wp
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from cairngym.envs import life_kernels
from cairngym.envs.core import Observation, Outcome, State, TaskSpec, WorldSpec
from cairngym.envs.episodes import Episodes
from cairngym.envs.fused import FeedForward, FusedWorld, Played, check_play
from cairngym.envs.navigation.hard_maze import picture
from cairngym.envs.navigation.hard_maze import step_kernels as k
from cairngym.envs.navigation.hard_maze.maze_map import AREAS, CELL, HORIZON, WALLS, Robot, ways
from cairngym.envs.navigation.hard_maze.outputs import Outputs, allocate
from cairngym.envs.navigation.hard_maze.play_kernels import play_kernel
from cairngym.envs.navigation.hard_maze.task import state_spec
from cairngym.envs.policy_kernels import launch_place, play_all
from cairngym.envs.state_view import StateView
from cairngym.envs.warp_setup import start_warp

MODES = {
    AutoresetMode.SAME_STEP: life_kernels.SAME_STEP,
    AutoresetMode.NEXT_STEP: life_kernels.NEXT_STEP,
    AutoresetMode.DISABLED: life_kernels.DISABLED,
}
WHEELS = 2


def array(tensor: torch.Tensor) -> wp.array:
    """View a torch tensor as a Warp array."""
    return cast(wp.array, wp.from_torch(tensor.view(torch.uint8) if tensor.dtype is torch.bool else tensor))


class HardMazeWorld(WorldSpec, FusedWorld):
    """N hard mazes; an action is the share of `max_speed` at which each wheel rolls, `(N, 2)` in [-1, 1].

    As in libfastsim, the first wheel is the one at negative angles from the heading, where `heading` grows when the
    second rolls faster.

    Args:
        robot: what was chosen of the robot.
        num_envs: N.
        device: "cpu" or "cuda".
        threads: CPU threads that `play` may use; None takes every core.

    Attributes:
        bodies: float32 `(N, 6)`, the robots, see `robot_kernels.Body`.
    """

    def __init__(self, robot: Robot, num_envs: int, device: str, *, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"Expected threads >= 1, got {threads}.")
        start_warp()
        self.num_envs, self.device, self.robot = num_envs, torch.device(device), robot
        self.single_action_space = spaces.Box(-1.0, 1.0, (WHEELS,), np.float32)
        self.state_spec = state_spec()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._threads = 1 if self.device.type == "cuda" else threads or cores
        self._horizon = HORIZON
        self.bodies = torch.zeros((num_envs, k.BODY_SIZE), dtype=torch.float32, device=self.device)
        self._walls, self._areas = (
            torch.tensor(rows, dtype=torch.float32, device=self.device) for rows in (WALLS, AREAS)
        )
        self._ways = torch.from_numpy(ways()).to(self.device)

    def _settings(self, mode: AutoresetMode, horizon: int) -> k.Settings:
        settings = k.Settings()
        settings.num_envs, settings.horizon, settings.mode = self.num_envs, horizon, MODES[mode]
        maze = {"max_speed": self.robot.max_speed, "walls": array(self._walls), "areas": array(self._areas)}
        for name, value in maze.items():
            setattr(settings, name, value)
        return settings

    def _share_counters(self) -> None:
        """Let the kernels see the counters of the episodes."""
        life = life_kernels.Life()
        for name in ("number", "length", "returns", "succeeded", "terminated", "truncated"):
            setattr(life, name, array(getattr(self.episodes, name)))
        self._life = life

    # Stepping ---------------------------------------------------------------------------------------------------------

    def start(self, task: TaskSpec, mask: torch.Tensor, episodes: Episodes) -> Observation:
        """Begin the masked worlds and observe all."""
        self.episodes = episodes
        self._horizon = task.horizon
        self._share_counters()
        self._begin_and_observe(mask)
        return self._outputs.seen[0]

    def _begin_and_observe(self, mask: torch.Tensor) -> None:
        out = self._outputs = allocate(self.num_envs, self.device)
        settings = self._settings(AutoresetMode.SAME_STEP, self._horizon)
        inputs = [*map(wp.uint64, out.pointers), array(mask), settings, array(self.bodies), self._life]
        wp.launch(k.begin_robots, dim=self.num_envs, inputs=inputs, **launch_place(self.device))

    def transition(self, task: TaskSpec, action: torch.Tensor, episodes: Episodes, mode: AutoresetMode) -> Outcome:
        """Step every world: drive, judge, count, reset and observe in one kernel."""
        del episodes
        self._horizon = task.horizon
        out = self._outputs = allocate(self.num_envs, self.device)
        inputs = [
            *map(wp.uint64, out.pointers), array(action.detach().contiguous()), self._settings(mode, task.horizon),
            array(self.bodies), self._life,
        ]  # fmt: skip
        wp.launch(k.step_robots, dim=self.num_envs, inputs=inputs, **launch_place(self.device))
        statistics = {
            "return": out.returns, "length": out.length, "success_once": out.succeeded, "success_at_end": out.success,
        }  # fmt: skip
        return Outcome(
            obs=out.seen[0], reward=out.reward, terminated=out.terminated, truncated=out.truncated, done=out.done,
            success=out.success, final_obs=out.seen[1], final_state=self._view(out, 1), episode=statistics,
        )  # fmt: skip

    # Measuring --------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Measurements of the worlds as they are now."""
        return self._view(self._outputs, 0)

    def _view(self, out: Outputs, which: int) -> StateView:
        # The step has written every measurement to memory of its own: they can be read at any later time.
        return StateView(lambda name: self._measured(out, which, name), tuple(self.state_spec), 0, lambda: 0)

    def _measured(self, out: Outputs, which: int, name: str) -> torch.Tensor:
        position = out.poses[which, :, :2]
        simple = {
            "position": position, "heading": out.poses[which, :, 2], "lasers": out.seen[which, :, :3],
            "bumpers": out.seen[which, :, 3:], "stopped": out.stopped[which],
        }  # fmt: skip
        if name in simple:
            return simple[name]
        if name == "steps_left":
            return (self._horizon - out.steps[which]).clamp(min=0)
        off = position[:, None] - self._areas[:, :2]
        straight = (off * off).sum(-1).sqrt()
        if name == "distance_to_areas":
            return straight
        x, y = (position / CELL).to(torch.int64).clamp(0, self._ways.shape[1] - 1).unbind(1)
        return self._ways[:, y, x].T.maximum(straight)

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Pictures of the mazes from above."""
        return tuple(picture.draw(self.bodies[i].tolist(), self._outputs.seen[0, i, :3].tolist()) for i in env_ids)

    # Whole episodes ---------------------------------------------------------------------------------------------------

    def play(
        self, task: TaskSpec, genomes: torch.Tensor, policy: FeedForward, *, seeds: torch.Tensor, record: bool = False
    ) -> Played:
        """Play one episode of each policy, see `FusedWorld.play`; no seed changes anything here."""
        check_play(task, WHEELS, genomes, policy, seeds)
        count, horizon = len(genomes), task.horizon
        returns = torch.zeros(count, dtype=torch.float32, device=self.device)
        last = torch.zeros((count, WHEELS), dtype=torch.float32, device=self.device)
        steps = horizon if record else 0
        trajectory = torch.zeros((count, steps, 2), dtype=torch.float32, device=self.device)
        settings = self._settings(AutoresetMode.SAME_STEP, horizon)
        arrays = [array(tensor) for tensor in (genomes.detach().contiguous(), returns, last, trajectory)]
        play_all(play_kernel(policy), count, [arrays[0], settings, *arrays[1:]], self._threads, self.device)
        length = torch.full((count,), horizon, dtype=torch.int64, device=self.device)
        return Played(
            returns=returns, descriptor=last, success=returns > 0, length=length,
            trajectory=trajectory if record else None,
        )  # fmt: skip

    # Snapshots --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Copy the robots."""
        return {"bodies": self.bodies.clone()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy, in place.

        Raises:
            ValueError: the snapshot is of another number of worlds.
        """
        if snapshot["bodies"].shape != self.bodies.shape:
            raise ValueError(
                f"Expected a snapshot with bodies of shape {tuple(self.bodies.shape)}, got "
                f"{tuple(snapshot['bodies'].shape)}; take it from an env with as many worlds."
            )
        self.bodies.copy_(snapshot["bodies"])
        self._share_counters()
        self._begin_and_observe(torch.zeros(self.num_envs, dtype=torch.bool, device=self.device))
