"""N MiniGrid worlds stepped by one Warp kernel, on CPU threads or a GPU."""

from __future__ import annotations

import itertools
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import warp as wp
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from cairngym.envs.checks import check_shape
from cairngym.envs.core import Observation, Outcome, State, TaskSpec, WorldSpec
from cairngym.envs.episodes import Episodes
from cairngym.envs.life_kernels import DISABLED, NEXT_STEP, SAME_STEP, Life
from cairngym.envs.minigrid import missions, reference
from cairngym.envs.minigrid.cells import EMPTY_CELL
from cairngym.envs.minigrid.families import get_family
from cairngym.envs.minigrid.family import Generator
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.minigrid.levels import LevelBank, read_level
from cairngym.envs.minigrid.measurements import Moment
from cairngym.envs.minigrid.outputs import Outputs, allocate
from cairngym.envs.minigrid.sight import sight_table
from cairngym.envs.minigrid.step_kernels import (
    Ended,
    Settings,
    begin_kernel,
    draw_level,
    step_kernel,
)  # fmt: skip
from cairngym.envs.minigrid.store import LevelStore, array
from cairngym.envs.minigrid.task import state_spec
from cairngym.envs.state_view import StateView
from cairngym.envs.warp_setup import start_warp

MODES = {AutoresetMode.SAME_STEP: SAME_STEP, AutoresetMode.NEXT_STEP: NEXT_STEP, AutoresetMode.DISABLED: DISABLED}
WIDE_MACHINES = ("x86_64", "amd64", "arm64", "aarch64")
MIN_SLICE = 1024
"""Fewest worlds worth a thread of their own."""
HELD_OUT = 1 << 31
"""Bit of the key, free in every seed, that sets the generated levels of the test split apart."""


class MiniGridWorld(WorldSpec):
    """N worlds of one MiniGrid id.

    Args:
        bank: the levels that episodes are drawn from.
        upstream: one upstream env of the id, used for its sizes and for pictures.
        num_envs: N.
        device: "cpu" or "cuda".
        generator: makes the levels in the kernel; None draws them from the bank.
        held_out: draw from a random stream of its own, for levels that no training has seen.
        threads: CPU threads a step may use; None takes every core.
        copy: whether every step returns tensors of its own; False overwrites those of the last step.
    """

    def __init__(
        self,
        bank: LevelBank,
        upstream: Any,
        num_envs: int,
        device: str,
        *,
        generator: Generator | None = None,
        held_out: bool = False,
        threads: int | None = None,
        copy: bool = True,
    ) -> None:
        start_warp()
        self.num_envs, self.device = num_envs, torch.device(device)
        self.upstream, self._held_out = upstream, held_out
        self.width, self.height = int(upstream.width), int(upstream.height)
        self.single_action_space = spaces.Discrete(int(upstream.action_space.n))
        self.state_spec = state_spec(self.width, self.height)
        self._family = get_family(type(upstream).__name__)
        self._begin = generator.begin if generator else draw_level
        self._copy, self._clock = copy, 0
        self._last: Moment | None = None
        self._last_at = -1
        self._slices = self._cut(threads)
        self._pool = ThreadPoolExecutor(len(self._slices) - 1) if len(self._slices) > 1 else None
        self._launches: dict[AutoresetMode, list[wp.Launch]] = {}
        self._script = torch.zeros((0, 0), dtype=torch.int32, device=self.device)
        self._allocate_state()
        words, constant = missions.longest(upstream.observation_space["mission"])
        self.store = LevelStore(
            bank, generator, num_envs=num_envs, width=self.width, height=self.height,
            words=words, constant=constant, device=self.device,
        )  # fmt: skip

    def _cut(self, threads: int | None) -> list[tuple[int, int]]:
        if threads is not None and threads < 1:
            raise ValueError(f"Expected threads >= 1, got {threads}.")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        wanted = 1 if self.device.type == "cuda" else min(threads or cores, max(1, self.num_envs // MIN_SLICE))
        edges = [round(i * self.num_envs / wanted) for i in range(wanted + 1)]
        return list(itertools.pairwise(edges))

    def _allocate_state(self) -> None:
        def grids() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            cells = torch.full((self.num_envs, self.width * self.height), EMPTY_CELL, dtype=torch.int32)
            agent = torch.tensor([1, 1, 0, EMPTY_CELL], dtype=torch.int32).repeat(self.num_envs, 1)
            variables = torch.zeros((self.num_envs, 8), dtype=torch.int32)
            return cells.to(self.device), agent.to(self.device), variables.to(self.device)

        self.cells, self.agent, self.variables = grids()
        ended_cells, ended_agent, ended_variables = grids()
        self._grids = self._struct(self.cells, self.agent, self.variables)
        self._ended = Ended()
        self._ended.grids = self._struct(ended_cells, ended_agent, ended_variables)
        self._ended.level = array(torch.zeros(self.num_envs, dtype=torch.int32, device=self.device))
        self.ended_cells, self.ended_agent = ended_cells, ended_agent
        self._sight = array(torch.from_numpy(sight_table().view(np.int16)).to(self.device), wp.uint16)

    def _struct(self, cells: torch.Tensor, agent: torch.Tensor, variables: torch.Tensor) -> Grids:
        grids = Grids()
        grids.cells, grids.agent, grids.variables = array(cells), array(agent), array(variables)
        grids.width, grids.height = self.width, self.height
        return grids

    def _allocate(self) -> Outputs:
        return allocate(self.num_envs, self.device, self.store.output_words, self.store.mission)

    def start(self, task: TaskSpec, mask: torch.Tensor, episodes: Episodes) -> Observation:
        """Begin the masked worlds and observe all."""
        del task
        self.episodes = episodes
        self._seed()
        return self._begin_and_observe(mask)

    def _begin_and_observe(self, mask: torch.Tensor) -> Observation:
        out = self._allocate()
        inputs = [
            0, *map(wp.uint64, out.pointers[:2]), array(mask), self._settings(AutoresetMode.SAME_STEP), self._grids,
            self.store.levels, self.store.plans, self._life, self._sight,
        ]  # fmt: skip
        wp.launch(begin_kernel(self._begin), dim=self.num_envs, inputs=inputs, device=str(self.device), **self.stream())
        self._clock += 1
        return out.observation(0)

    def _seed(self) -> None:
        """Share the counters of the episodes with the kernels."""
        life = Life()
        for name in ("number", "length", "returns", "succeeded", "terminated", "truncated"):
            setattr(life, name, array(getattr(self.episodes, name)))
        life.seed_low = wp.uint32(self.episodes.seed & 0xFFFFFFFF)
        life.seed_high = wp.uint32(self.episodes.seed >> 32 | (HELD_OUT if self._held_out else 0))
        self._life, self._shared_seed = life, self.episodes.seed
        self._launches = {}

    def _settings(self, mode: AutoresetMode) -> Settings:
        settings = Settings()
        settings.num_envs, settings.horizon = self.num_envs, int(self.upstream.max_steps)
        settings.mode, settings.see_through = MODES[mode], int(self.upstream.see_through_walls)
        settings.num_actions = int(self.upstream.action_space.n)
        settings.wide = int(self.device.type == "cpu" and platform.machine().lower() in WIDE_MACHINES)
        return settings

    def stream(self) -> dict[str, Any]:
        """Keyword for launches: torch's own stream on a GPU."""
        return {"stream": wp.stream_from_torch(self.device)} if self.device.type == "cuda" else {}

    def _record(self, mode: AutoresetMode) -> list[wp.Launch]:
        """Record one launch a slice; a step only changes its pointers."""
        kernel = step_kernel(self._family.rule, self._begin)
        actions = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        shared = [
            array(actions), self._settings(mode), self._grids, self.store.levels, self.store.plans, self._life,
            self._ended, self._sight, array(self._script),
        ]  # fmt: skip
        zero = wp.uint64(0)
        self._launches[mode] = [
            wp.launch(kernel, dim=stop - start, inputs=[start, zero, zero, zero, zero, *shared],
                      device=str(self.device), record_cmd=True)
            for start, stop in self._slices
        ]  # fmt: skip
        self._outputs = self._allocate()
        return self._launches[mode]

    def transition(self, task: TaskSpec, action: torch.Tensor, episodes: Episodes, mode: AutoresetMode) -> Outcome:
        """Step every world: act, judge, count, reset and observe in one kernel."""
        del task
        if episodes.seed != self._shared_seed:
            self._seed()
        launches = self._launches.get(mode) or self._record(mode)
        out = self._outputs
        if self._copy:
            out = self._allocate()
        actions = array(action)
        for launch in launches:
            for place, pointer in enumerate(out.pointers, start=1):
                launch.set_param_at_index(place, wp.uint64(pointer))
            launch.set_param_at_index(5, actions)
        self._run(launches)
        self._clock += 1
        self._last, self._last_at = Moment(self, out), self._clock
        statistics = {
            "return": out.returns, "length": out.length, "success_once": out.succeeded, "success_at_end": out.success,
        }  # fmt: skip
        return Outcome(
            obs=out.observation(0), reward=out.reward, terminated=out.terminated, truncated=out.truncated,
            done=out.done, success=out.success, final_obs=out.observation(1), final_state=self._view(self._last),
            episode=statistics,
        )  # fmt: skip

    def _run(self, launches: Sequence[wp.Launch]) -> None:
        if self._pool is None:
            launches[0].launch(**self.stream())
            return
        # A launch releases the GIL, so the slices run side by side; no torch call happens in the threads.
        futures = [self._pool.submit(launch.launch) for launch in launches[1:]]
        launches[0].launch()
        for future in futures:
            future.result()

    @property
    def state(self) -> State:
        """Measurements of the worlds as they are now, computed when read."""
        before = self._last if self._last_at == self._clock else None
        return self._view(Moment(self, None, before))

    def _view(self, moment: Moment) -> StateView:
        return StateView(moment, tuple(self.state_spec), self._clock, lambda: self._clock)

    def measured(self) -> tuple[Any, ...]:
        """What the kernel that measures plans reads."""
        return self._grids, self.store.levels, self._ended, self.store.plans

    def inject(self, references: Sequence[Any]) -> Observation:
        """Copy the state of upstream envs into the first worlds and return what all worlds observe now.

        Args:
            references: upstream envs of this id after `reset()`, at most N of them; wrappers are seen through.
        """
        if not hasattr(self, "_life"):
            raise RuntimeError("Call reset() on the env before world.inject().")
        if len(references) > self.num_envs:
            raise ValueError(f"Expected at most {self.num_envs} reference envs, got {len(references)}.")
        envs = [env.unwrapped for env in references]
        for env in envs:
            if type(env) is not type(self.upstream) or (env.width, env.height) != (self.width, self.height):
                raise ValueError(
                    f"Expected reference envs of {type(self.upstream).__name__} with {self.width} x {self.height} "
                    f"cells, got one of {type(env).__name__} with {env.width} x {env.height}."
                )
        others = self.get_state()
        rows = self.store.inject([read_level(env) for env in envs])
        self._launches = {}
        self.set_state(others)
        bank = self.store.bank
        for i, (env, row) in enumerate(zip(envs, rows, strict=True)):
            self.cells[i] = torch.from_numpy(bank.cells[row])
            self.agent[i] = torch.tensor([*bank.agent[row].tolist(), reference.carried_cell(env)])
            self.variables[i] = torch.from_numpy(bank.variables[row])
            self.store.current[i], self.store.current_mission[i] = self.store.plan_row(row), int(bank.mission[row])
            self.episodes.length[i] = env.step_count
        life = self.episodes
        for counter in (life.returns, life.succeeded, life.terminated, life.truncated):
            counter[: len(envs)] = 0  # an injected world lives on even where the one it replaces had ended
        nobody = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        return self._begin_and_observe(nobody)

    def script_obstacles(self, cells: Any) -> None:
        """Say where the moving obstacles go in the next step; None lets them move by themselves again.

        Args:
            cells: int `(N, 8)`, index x + width * y for every obstacle, -1 for obstacles that do not exist.
        """
        script = torch.zeros((0, 0), dtype=torch.int32)
        if cells is not None:
            script = torch.as_tensor(cells, dtype=torch.int32)
            check_shape("cells", script, (self.num_envs, 8), "(num_envs, 8)")
        self._script = script.to(self.device)
        self._launches = {}

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Minigrid's own RGB frames."""
        return tuple(reference.frame(self.upstream, self, i) for i in env_ids)

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {
            "cells": self.cells, "agent": self.agent, "variables": self.variables,
            "current": self.store.current, "current_mission": self.store.current_mission,
        }  # fmt: skip

    def get_state(self) -> dict[str, Any]:
        """Copy the grids, the agents, the task's variables and which level each world lives in."""
        return {name: tensor.clone() for name, tensor in self._tensors().items()}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy, in place; generated levels are generated anew first, for their plans are not part of it."""
        self._seed()
        if self.store.generator:
            self._begin_and_observe(torch.ones(self.num_envs, dtype=torch.bool, device=self.device))
        for name, tensor in self._tensors().items():
            tensor.copy_(snapshot[name])
        self._clock += 1

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
