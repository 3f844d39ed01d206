"""N robots in N floor plans, stepped by one Warp kernel on CPU threads or a GPU."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import torch
import warp as wp
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from cairngym.envs import life_kernels
from cairngym.envs.core import Observation, Outcome, State, TaskSpec, WorldSpec
from cairngym.envs.episodes import Episodes
from cairngym.envs.navigation.lidar import picture
from cairngym.envs.navigation.lidar import step_kernels as k
from cairngym.envs.navigation.lidar.lidar_kernels import BESIDE, Reals
from cairngym.envs.navigation.lidar.outputs import Outputs, allocate
from cairngym.envs.navigation.lidar.plan_kernels import ROOM_FIELDS, Layout, Plans
from cairngym.envs.navigation.lidar.robot import Robot
from cairngym.envs.navigation.lidar.specs import FloorPlan
from cairngym.envs.navigation.lidar.task import state_spec
from cairngym.envs.state_view import StateView
from cairngym.envs.warp_setup import start_warp

MODES = {
    AutoresetMode.SAME_STEP: life_kernels.SAME_STEP,
    AutoresetMode.NEXT_STEP: life_kernels.NEXT_STEP,
    AutoresetMode.DISABLED: life_kernels.DISABLED,
}
MIN_SLICE = 256
"""Fewest worlds worth a thread of their own."""
HELD_OUT = 1 << 31
"""Bit of the key, free in every seed, that sets the floor plans of the test split apart."""


def array(tensor: torch.Tensor, dtype: Any = None) -> wp.array:
    """View a torch tensor as a Warp array."""
    tensor = tensor.view(torch.uint8) if tensor.dtype is torch.bool else tensor
    return cast(wp.array, wp.from_torch(tensor, dtype=dtype))


class LidarWorld(WorldSpec):
    """N worlds of one id.

    Args:
        plan: how floor plans are drawn.
        robot: the robot in each.
        num_envs: N.
        device: "cpu" or "cuda".
        held_out: draw from a random stream of its own, for floor plans that no training has seen.
        threads: CPU threads a step may use; None takes every core.

    Attributes:
        cells: int16 `(N, C)`, the floor plans, see `cairngym.envs.navigation.lidar.cells`.
        field: float32 `(N, C)`, metres from the middle of every cell to the goal, 1e9 for those with clutter.
        body: float32 `(N, BODY_SIZE)`, the robots in the frame of their building, see `step_kernels`.
    """

    def __init__(
        self,
        plan: FloorPlan,
        robot: Robot,
        num_envs: int,
        device: str,
        *,
        held_out: bool = False,
        threads: int | None = None,
    ) -> None:
        start_warp()
        self.num_envs, self.device = num_envs, torch.device(device)
        self.plan, self.robot, self._held_out = plan, robot, held_out
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.state_spec = state_spec(robot.num_beams)
        self._slices = self._cut(threads)
        self._pool = ThreadPoolExecutor(len(self._slices) - 1) if len(self._slices) > 1 else None
        self._launches: dict[AutoresetMode, list[wp.Launch]] = {}
        self._allocate()
        self._layout = self._lay_out()

    def _cut(self, threads: int | None) -> list[tuple[int, int]]:
        if threads is not None and threads < 1:
            raise ValueError(f"Expected threads >= 1, got {threads}.")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = 1 if self.device.type == "cuda" else min(threads or cores, max(1, self.num_envs // MIN_SLICE))
        edges = [round(i * self.num_envs / wanted) for i in range(wanted + 1)]
        return list(itertools.pairwise(edges))

    def _allocate(self) -> None:
        count, n = self.plan.size**2, self.num_envs

        def zeros(*shape: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.zeros((n, *shape), dtype=dtype, device=self.device)

        self.cells, self.field = zeros(count, dtype=torch.int16), zeros(count, dtype=torch.float32)
        self._ways, self.body = zeros(count, dtype=torch.uint8), zeros(k.BODY_SIZE, dtype=torch.float32)
        plans, robots = Plans(), k.Robots()
        plans.cells, plans.field, plans.ways = array(self.cells, wp.uint16), array(self.field), array(self._ways)
        plans.address = wp.uint64(self.cells.data_ptr())
        plans.ways_address = wp.uint64(self._ways.data_ptr())
        plans.field_address = wp.uint64(self.field.data_ptr())
        rooms = count // self.plan.min_side + 2
        plans.rooms = array(zeros(rooms, ROOM_FIELDS, dtype=torch.int16))
        plans.queue = array(zeros(2 * count, dtype=torch.int16))
        # By numpy in double precision: the directions are the same on every device.
        last = self.robot.num_beams - 1
        angle = 2.0 * np.pi * np.arange(-(-(last + 1) // BESIDE) * BESIDE).clip(max=last) / (last + 1)
        beams = np.stack((np.cos(angle), np.sin(angle))).astype(np.float32).reshape(2, -1, BESIDE)
        robots.body, robots.beams = array(self.body), array(torch.from_numpy(beams).to(self.device), Reals)
        self._plans, self._robots = plans, robots

    def _lay_out(self) -> Layout:
        layout = Layout()
        for name in ("size", "min_side", "max_side", "min_path", "corridors", "loops", "clutter"):
            setattr(layout, name, getattr(self.plan, name))
        return layout

    def _settings(self, mode: AutoresetMode, horizon: int) -> k.Settings:
        settings, robot = k.Settings(), self.robot
        settings.num_envs, settings.horizon, settings.mode = self.num_envs, horizon, MODES[mode]
        settings.beams = robot.num_beams
        lengths = {"reach": robot.lidar_range, "radius": robot.robot_radius, "goal_radius": robot.goal_radius}
        speeds = {"max_speed": robot.max_speed, "max_turn": robot.max_turn, "time": robot.time_step}
        for name, value in {**lengths, **speeds}.items():
            setattr(settings, name, value)
        return settings

    def _seed(self) -> None:
        """Share the counters of the episodes with the kernels."""
        life = life_kernels.Life()
        for name in ("number", "length", "returns", "succeeded", "terminated", "truncated"):
            setattr(life, name, array(getattr(self.episodes, name)))
        life.seed_low = wp.uint32(self.episodes.seed & 0xFFFFFFFF)
        life.seed_high = wp.uint32(self.episodes.seed >> 32 | (HELD_OUT if self._held_out else 0))
        self._life, self._shared_seed = life, self.episodes.seed
        self._launches = {}

    def _stream(self) -> dict[str, Any]:
        return {"stream": wp.stream_from_torch(self.device)} if self.device.type == "cuda" else {}

    def start(self, task: TaskSpec, mask: torch.Tensor, episodes: Episodes) -> Observation:
        """Begin the masked worlds and observe all."""
        del task
        self.episodes = episodes
        self._seed()
        self._begin_and_observe(mask)
        return self._outputs.observation(0)

    def _begin_and_observe(self, mask: torch.Tensor) -> None:
        self._outputs = allocate(self.num_envs, self.robot.num_beams, self.device)
        settings = self._settings(AutoresetMode.SAME_STEP, self.plan.horizon)
        inputs = [
            wp.uint64(self._outputs.pointers[0]), array(mask), settings, self._layout, self._robots, self._plans,
            self._life,
        ]  # fmt: skip
        wp.launch(k.begin_robots, dim=self.num_envs, inputs=inputs, device=str(self.device), **self._stream())

    def _record(self, task: TaskSpec, mode: AutoresetMode) -> list[wp.Launch]:
        """Record one launch a slice; a step only changes its pointers."""
        actions = torch.zeros((self.num_envs, 2), dtype=torch.float32, device=self.device)
        shared = [
            array(actions), self._settings(mode, task.horizon), self._layout, self._robots, self._plans, self._life,
        ]  # fmt: skip
        zero = wp.uint64(0)
        self._launches[mode] = [
            wp.launch(k.step_robots, dim=stop - start, inputs=[start, zero, zero, zero, *shared],
                      device=str(self.device), record_cmd=True)
            for start, stop in self._slices
        ]  # fmt: skip
        return self._launches[mode]

    def transition(self, task: TaskSpec, action: torch.Tensor, episodes: Episodes, mode: AutoresetMode) -> Outcome:
        """Step every world: drive, judge, count, reset and observe in one kernel."""
        if episodes.seed != self._shared_seed:
            self._seed()
        launches = self._launches.get(mode) or self._record(task, mode)
        out = self._outputs = allocate(self.num_envs, self.robot.num_beams, self.device)
        actions = array(action.detach().contiguous())
        for launch in launches:
            for place, pointer in enumerate(out.pointers, start=1):
                launch.set_param_at_index(place, wp.uint64(pointer))
            launch.set_param_at_index(4, actions)
        self._run(launches)
        statistics = {
            "return": out.returns, "length": out.length, "success_once": out.succeeded, "success_at_end": out.success,
        }  # fmt: skip
        return Outcome(
            obs=out.observation(0), reward=out.reward, terminated=out.terminated, truncated=out.truncated,
            done=out.done, success=out.success, final_obs=out.observation(1), final_state=self._view(out, 1),
            episode=statistics, extra={"coverage": out.measured(1, "coverage", self.robot.lidar_range)},
        )  # fmt: skip

    def _run(self, launches: Sequence[wp.Launch]) -> None:
        if self._pool is None:
            launches[0].launch(**self._stream())
            return
        # A launch releases the GIL, so the slices run side by side; no torch call happens in the threads.
        futures = [self._pool.submit(launch.launch) for launch in launches[1:]]
        launches[0].launch()
        for future in futures:
            future.result()

    @property
    def state(self) -> State:
        """Measurements of the worlds as they are now."""
        return self._view(self._outputs, 0)

    def _view(self, out: Outputs, which: int) -> StateView:
        reach = self.robot.lidar_range
        # The step has written every measurement to memory of its own: they can be read at any later time.
        return StateView(lambda name: out.measured(which, name, reach), tuple(self.state_spec), 0, lambda: 0)

    def floor_plan(self, env_id: int) -> np.ndarray:
        """The cells of one world's building, uint16 `(size, size)` indexed [y, x]; see `cells`."""
        plan: np.ndarray = self.cells[env_id].cpu().numpy().view(np.uint16)
        return plan.reshape(self.plan.size, self.plan.size)

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Pictures of the buildings from above."""
        return tuple(picture.draw(self, env_id) for env_id in env_ids)

    def get_state(self) -> dict[str, Any]:
        """Copy the floor plans, the ways through them, and the robots."""
        return {name: tensor.clone() for name, tensor in self._tensors().items()}

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {"cells": self.cells, "field": self.field, "ways": self._ways, "body": self.body}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy, in place.

        Raises:
            ValueError: the snapshot is of another id.
        """
        if snapshot["cells"].shape != self.cells.shape:
            raise ValueError(
                f"Expected a snapshot with cells of shape {tuple(self.cells.shape)}, got "
                f"{tuple(snapshot['cells'].shape)}; take it from an env with the same id."
            )
        for name, tensor in self._tensors().items():
            tensor.copy_(snapshot[name])
        self._seed()
        self._begin_and_observe(torch.zeros(self.num_envs, dtype=torch.bool, device=self.device))

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
