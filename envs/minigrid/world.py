"""N MiniGrid worlds stepped by one Warp kernel, on CPU threads or a GPU."""

from __future__ import annotations

import dataclasses
import importlib
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

from cairngym.envs.checks import check_options, check_shape
from cairngym.envs.core import Observation, Outcome, State, StateView, TaskSpec, TensorEnv, WorldSpec
from cairngym.envs.episodes import Episodes
from cairngym.envs.minigrid import missions, reference
from cairngym.envs.minigrid.cells import BYTE, COLOR, EMPTY_CELL, STATE
from cairngym.envs.minigrid.families import get_family
from cairngym.envs.minigrid.family import Generator
from cairngym.envs.minigrid.grid_kernels import Grids
from cairngym.envs.minigrid.levels import LevelBank, load_bank, make_reference, read_level
from cairngym.envs.minigrid.outputs import Outputs, allocate
from cairngym.envs.minigrid.plan import MAX_SUBGOALS, Plans, plan_levels
from cairngym.envs.minigrid.sight import sight_table
from cairngym.envs.minigrid.step_kernels import (
    DISABLED,
    NEXT_STEP,
    SAME_STEP,
    Ended,
    Levels,
    Life,
    Settings,
    begin_kernel,
    draw_level,
    measure,
    step_kernel,
)  # fmt: skip
from cairngym.envs.minigrid.task import MiniGridTask, state_spec
from cairngym.envs.minigrid.warp_setup import start_warp

MODES = {AutoresetMode.SAME_STEP: SAME_STEP, AutoresetMode.NEXT_STEP: NEXT_STEP, AutoresetMode.DISABLED: DISABLED}
WIDE_MACHINES = ("x86_64", "amd64", "arm64", "aarch64")
MIN_SLICE = 1024
"""Fewest worlds worth a thread of their own."""
PLAN_FIELDS = ("stage", "distance", "remaining", "planned")


def array(tensor: torch.Tensor, dtype: Any = None) -> wp.array:
    """View a torch tensor as a Warp array."""
    tensor = tensor.view(torch.uint8) if tensor.dtype is torch.bool else tensor
    return wp.from_torch(tensor, dtype=dtype)


class MiniGridWorld(WorldSpec):
    """N worlds of one MiniGrid id.

    Args:
        bank: the levels that episodes are drawn from.
        upstream: one upstream env of the id, used for its sizes and for pictures.
        num_envs: N.
        device: "cpu" or "cuda".
        generator: makes the levels in the kernel; None draws them from the bank.
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
        threads: int | None = None,
        copy: bool = True,
    ) -> None:
        start_warp()
        self.num_envs, self.device = num_envs, torch.device(device)
        self.upstream, self.bank = upstream, bank
        self.width, self.height = int(upstream.width), int(upstream.height)
        self.single_action_space = spaces.Discrete(int(upstream.action_space.n))
        self.state_spec = state_spec(self.width, self.height)
        self._family = get_family(type(upstream).__name__)
        self._generator, self._begin = generator, generator.begin if generator else draw_level
        self._drawn = 0 if generator else len(bank)
        self._words, self._constant = missions.longest(upstream.observation_space["mission"])
        self._copy, self._clock = copy, 0
        self._slices = self._cut(threads)
        self._pool = ThreadPoolExecutor(len(self._slices) - 1) if len(self._slices) > 1 else None
        self._launches: dict[AutoresetMode, list[wp.Launch]] = {}
        self._script = torch.zeros((0, 0), dtype=torch.int32, device=self.device)
        self._allocate_state()
        self._upload(dataclasses.replace(bank.take(0), missions=generator.missions) if generator else bank)

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
        self.current = torch.zeros(self.num_envs, dtype=torch.int32, device=self.device)
        self.current_mission = torch.zeros_like(self.current)
        self._ended = Ended()
        self._ended.grids = self._struct(ended_cells, ended_agent, ended_variables)
        self._ended.level = array(torch.zeros_like(self.current))
        self._ended.length = array(torch.zeros(self.num_envs, dtype=torch.int64, device=self.device))
        self._ended_cells, self._ended_agent = ended_cells, ended_agent
        self._sight = array(torch.from_numpy(sight_table().view(np.int16)).to(self.device), wp.uint16)

    def _struct(self, cells: torch.Tensor, agent: torch.Tensor, variables: torch.Tensor) -> Grids:
        grids = Grids()
        grids.cells, grids.agent, grids.variables = array(cells), array(agent), array(variables)
        grids.width, grids.height = self.width, self.height
        return grids

    def _upload(self, bank: LevelBank) -> None:
        """Put the bank on the device and plan its levels."""
        self.bank = bank
        texts = np.stack([missions.encode(text, self._words) for text in bank.missions])
        texts_on_device = torch.from_numpy(texts).to(self.device)
        self._mission = texts_on_device[:1].expand(self.num_envs, -1) if self._constant else None
        levels = Levels()
        for name in ("cells", "agent", "variables", "mission"):
            setattr(levels, name, array(torch.from_numpy(getattr(bank, name)).to(self.device)))
        levels.tokens = array(texts_on_device[:, :0].contiguous() if self._constant else texts_on_device)
        levels.count = self._drawn
        levels.current, levels.current_mission = array(self.current), array(self.current_mission)
        parameters = self._generator.parameters if self._generator else ()
        levels.parameters = array(torch.tensor(parameters, dtype=torch.int32, device=self.device))
        self._levels = levels
        self._plan(bank)
        self._launches = {}

    def _plan(self, bank: LevelBank) -> None:
        """Plan the bank's levels, behind the rows that generated levels use (two a world: this episode's, the last)."""
        offset, size = (
            (2 * self.num_envs, self.width * self.height) if self._generator else (0, self.width * self.height)
        )
        rows, subgoals = offset + len(bank), self._generator.subgoals if self._generator else MAX_SUBGOALS

        def zeros(*shape: int, dtype: torch.dtype = torch.int32) -> wp.array:
            return array(torch.zeros(shape, dtype=dtype, device=self.device))

        targets = torch.zeros((rows, *bank.targets.shape[1:]), dtype=torch.int32)
        targets[offset:] = torch.from_numpy(bank.targets)
        plans = Plans()
        plans.targets, plans.queue = array(targets.to(self.device)), zeros(rows, size)
        plans.subgoals, plans.steps = zeros(rows, subgoals, 3), zeros(rows, subgoals + 1)
        plans.distance = zeros(rows, subgoals, size, dtype=torch.int16)
        inputs = [self._levels.cells, self._levels.agent, self.width, self.height, plans, offset]
        wp.launch(plan_levels, dim=len(bank), inputs=inputs, device=str(self.device))
        self._plans = plans

    def start(self, task: TaskSpec, mask: torch.Tensor, episodes: Episodes) -> Observation:
        """Begin the masked worlds and observe all."""
        del task
        self.episodes = episodes
        self._seed()
        out = allocate(self.num_envs, self.device, 0 if self._constant else self._words, self._mission)
        inputs = [
            0, *map(wp.uint64, out.pointers[:2]), array(mask), self._settings(AutoresetMode.SAME_STEP), self._grids,
            self._levels, self._plans, self._life, self._sight,
        ]  # fmt: skip
        wp.launch(
            begin_kernel(self._begin), dim=self.num_envs, inputs=inputs, device=str(self.device), **self._stream()
        )
        self._clock += 1
        return out.observation(0)

    def _seed(self) -> None:
        """Share the counters of the episodes with the kernels."""
        life = Life()
        for name in ("number", "length", "returns", "succeeded", "terminated", "truncated"):
            setattr(life, name, array(getattr(self.episodes, name)))
        life.seed_low = wp.uint32(self.episodes.seed & 0xFFFFFFFF)
        life.seed_high = wp.uint32(self.episodes.seed >> 32)
        self._life, self._shared_seed = life, self.episodes.seed
        self._launches = {}

    def _settings(self, mode: AutoresetMode) -> Settings:
        settings = Settings()
        settings.num_envs, settings.horizon = self.num_envs, int(self.upstream.max_steps)
        settings.mode, settings.see_through = MODES[mode], int(self.upstream.see_through_walls)
        settings.num_actions = int(self.single_action_space.n)
        settings.wide = int(self.device.type == "cpu" and platform.machine().lower() in WIDE_MACHINES)
        return settings

    def _stream(self) -> dict[str, Any]:
        return {"stream": wp.stream_from_torch(self.device)} if self.device.type == "cuda" else {}

    def _record(self, mode: AutoresetMode) -> list[wp.Launch]:
        """Record one launch a slice; a step only changes its pointers."""
        kernel = step_kernel(self._family.rule, self._begin)
        actions = torch.zeros(self.num_envs, dtype=torch.int64, device=self.device)
        shared = [
            array(actions), self._settings(mode), self._grids, self._levels, self._plans, self._life, self._ended,
            self._sight, array(self._script),
        ]  # fmt: skip
        zero = wp.uint64(0)
        self._launches[mode] = [
            wp.launch(kernel, dim=stop - start, inputs=[start, zero, zero, zero, zero, *shared],
                      device=str(self.device), record_cmd=True)
            for start, stop in self._slices
        ]  # fmt: skip
        self._outputs = allocate(self.num_envs, self.device, 0 if self._constant else self._words, self._mission)
        return self._launches[mode]

    def transition(self, task: TaskSpec, action: torch.Tensor, episodes: Episodes, mode: AutoresetMode) -> Outcome:
        """Step every world: act, judge, count, reset and observe in one kernel."""
        del task
        if episodes.seed != self._shared_seed:
            self._seed()
        launches = self._launches.get(mode) or self._record(mode)
        out = self._outputs
        if self._copy:
            out = allocate(self.num_envs, self.device, 0 if self._constant else self._words, self._mission)
        actions = array(action)
        for launch in launches:
            for place, pointer in enumerate(out.pointers, start=1):
                launch.set_param_at_index(place, wp.uint64(pointer))
            launch.set_param_at_index(5, actions)
        self._run(launches)
        self._clock += 1
        statistics = {
            "return": out.returns, "length": out.length, "success_once": out.succeeded, "success_at_end": out.success,
        }  # fmt: skip
        return Outcome(
            obs=out.observation(0), reward=out.reward, terminated=out.terminated, truncated=out.truncated,
            success=out.success, final_obs=out.observation(1), final_state=self._view(out), episode=statistics,
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
        """Measurements of the worlds as they are now, computed when read."""
        return self._view(None)

    def _view(self, ended: Outputs | None) -> StateView:
        """Measurements now (None), or at the end of the step that `ended` came from."""
        return StateView(
            lambda name: self._measure(name, ended), tuple(self.state_spec), self._clock, lambda: self._clock
        )

    def _measure(self, name: str, ended: Outputs | None) -> torch.Tensor:
        if name in PLAN_FIELDS:
            return self._measure_plan(ended)[:, PLAN_FIELDS.index(name)].clone()
        if name == "step_count":
            return ended.length.clone() if ended else self.episodes.length.clone()
        agent, cells = self.agent, self.cells
        if ended is not None:
            done = (ended.terminated | ended.truncated).unsqueeze(1) & (self.episodes.length == 0).unsqueeze(1)
            agent = torch.where(done, self._ended_agent, agent)
            cells = torch.where(done, self._ended_cells, cells) if name == "grid" else cells
        if name == "agent_pos":
            return agent[:, :2].long()
        if name == "agent_dir":
            return agent[:, 2].long()
        if name == "carrying":
            return torch.stack((agent[:, 3] & BYTE, (agent[:, 3] >> COLOR) & BYTE), dim=1).long()
        planes = torch.stack((cells, cells >> COLOR, cells >> STATE), dim=-1).to(torch.uint8)
        return planes.view(self.num_envs, self.height, self.width, 3).transpose(1, 2).contiguous()

    def _measure_plan(self, ended: Outputs | None) -> torch.Tensor:
        values = torch.empty((self.num_envs, 4), dtype=torch.int64, device=self.device)
        final = int(ended is not None and self._clock > 0)
        nothing = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        over = (ended.terminated | ended.truncated) & (self.episodes.length == 0) if ended else nothing
        inputs = [
            final, self._grids, self._levels, self._life, self._ended, self._plans, array(over), array(nothing),
            array(values),
        ]  # fmt: skip
        wp.launch(measure, dim=self.num_envs, inputs=inputs, device=str(self.device), **self._stream())
        return values

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
        drawn = LevelBank.join([self.bank.take(self._drawn), *map(read_level, envs)])
        others = self.get_state()
        self._upload(drawn)
        self._plan_generated(others)
        for i, env in enumerate(envs):
            row = self._drawn + i
            plan_row = row + 2 * self.num_envs if self._generator else row
            self.cells[i] = torch.from_numpy(drawn.cells[row])
            self.agent[i] = torch.tensor([*drawn.agent[row].tolist(), reference.carried_cell(env)])
            self.variables[i] = torch.from_numpy(drawn.variables[row])
            self.current[i], self.current_mission[i] = plan_row, int(drawn.mission[row])
            self.episodes.length[i] = env.step_count
        nobody = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        return self.start(MiniGridTask(self._family, self.upstream, set()), nobody, self.episodes)

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

    def get_state(self) -> dict[str, Any]:
        """Copy the grids, the agents, the task's variables and which level each world lives in."""
        names = ("cells", "agent", "variables", "current", "current_mission")
        return {name: getattr(self, name).clone() for name in names}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy, in place."""
        if not hasattr(self, "_life") or self._shared_seed != self.episodes.seed:
            self._seed()
        self._plan_generated(snapshot)
        self._clock += 1

    def _plan_generated(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a snapshot; generated levels are generated anew first, for their plans are not part of it."""
        if self._generator:
            everyone = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
            self.start(MiniGridTask(self._family, self.upstream, set()), everyone, self.episodes)
        for name, value in snapshot.items():
            getattr(self, name).copy_(value)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def make_minigrid(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    levels: str = "bank",
    bank_size: int = 4096,
    split: str = "train",
    patterns: str | None = None,
    threads: int | None = None,
    copy: bool = True,
    **options: Any,
) -> TensorEnv:
    """Make a MiniGrid env.

    Args:
        env_id: a `MiniGrid-*` id.
        num_envs: how many worlds step together.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        levels: "bank" draws from levels made by minigrid's own generator; "procedural" generates in the kernel.
        bank_size: levels in the bank.
        split: "train" or "test", disjoint level seeds.
        patterns: folder of pattern images, for the WFC ids.
        threads: CPU threads a step may use; None takes every core.
        copy: False lets every step overwrite what the last one returned.
        options: `autoreset_mode`.
    """
    check_options(env_id, options, ("autoreset_mode",))
    upstream = make_reference(env_id, patterns)
    family = get_family(type(upstream).__name__)
    if levels not in ("bank", "procedural"):
        raise ValueError(f"Expected levels to be 'bank' or 'procedural', got {levels!r}.")
    generator = None
    if levels == "procedural":
        if family.generator is None:
            raise ValueError(f"{env_id} has no procedural generator; use levels='bank'.")
        module, _, function = family.generator.partition(":")
        generator = getattr(importlib.import_module(module), function)(upstream)
    bank = load_bank(env_id, min(bank_size, 64) if generator else bank_size, split, patterns)
    world = MiniGridWorld(bank, upstream, num_envs, device, generator=generator, threads=threads, copy=copy)
    return TensorEnv(world, MiniGridTask(family, upstream, bank.kinds()), seed=seed, **options)
