"""Layouts of regions and obstacles for a template in an arena, each with a plan that can be carried out in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import warp as wp

from cairngym.envs.checks import check_seed
from cairngym.envs.episodes import Episodes
from cairngym.envs.stl import layout_kernels, plan_kernels
from cairngym.envs.stl.templates import MAX_HORIZON, Plan, Template
from cairngym.envs.warp_setup import start_warp

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Regions, obstacles, starts and plans."""
FIXED = 1 << 31
"""Bit of the key, free in every seed, that sets the numbered layouts apart from those of episodes."""


@dataclass(frozen=True, kw_only=True)
class Arena:
    """Where regions, obstacles and starts may lie, and what any way in it takes at most.

    Raises:
        ValueError: bounds that are not 2-D or 3-D boxes, a start area that is not within, or sizes that do not fit.
    """

    low: tuple[float, ...]
    """Least coordinates, m, `(D,)`; D is 2 or 3."""
    high: tuple[float, ...]
    """Greatest coordinates, m, `(D,)`."""
    start_low: tuple[float, ...]
    start_high: tuple[float, ...]
    """The start area, a box within; layouts shrink towards its middle where the horizon is short. A box of no size is
    one point."""
    region_radius: tuple[float, float]
    """Least and greatest radius of a region, m, before its `size` factor."""
    obstacle_radius: tuple[float, float]
    """Least and greatest radius of an obstacle, m."""
    gap: float
    """Least distance between the surfaces of two regions, m."""
    passage: float
    """Least distance of an obstacle's surface to any other surface and to the arena's sides, m; starts and ways keep
    half of it."""
    speed: float
    """Metres per step that a good controller makes on any way, conservatively."""
    lag: float
    """Steps that it loses at every leg, by turning, speeding up or braking."""
    scale: float
    """Length that counts as far, m: half of the arena."""

    def __post_init__(self) -> None:
        sizes = {len(box) for box in (self.low, self.high, self.start_low, self.start_high)}
        if sizes not in ({2}, {3}):
            raise ValueError(f"Expected four corners of two or three coordinates each, got {sorted(sizes)}.")
        corners = zip(self.low, self.start_low, self.start_high, self.high, strict=True)
        if not all(a < b and a <= s <= e <= b for a, s, e, b in corners):
            raise ValueError(f"Expected a start area within the arena from {self.low} to {self.high}.")
        if min(self.speed, self.scale, self.gap, self.passage, *self.region_radius, *self.obstacle_radius) <= 0:
            raise ValueError("Expected radii, gap, passage, speed and scale above 0.")

    @property
    def dims(self) -> int:
        """D."""
        return len(self.low)


class Layouts:
    """Regions, obstacles, starts and plans of N envs, drawn by (seed, env, episode) when episodes begin.

    Args:
        template: the kind of task.
        arena: where.
        horizon: T, in steps.
        num_envs: N.
        device: "cpu" or "cuda".
        layout: the number of the layout of every env and episode, whose starts alone differ; None draws one per
            episode.

    Attributes:
        regions: float32 `(N, K, D + 1)`, centre and radius, m; never written to.
        obstacles: float32 `(N, M, D + 1)`.
        start: float32 `(N, D)`, where the episode began, m.
        plan: int32 `(N,)`, which of `plans` can be carried out in time.
        plans: the template's plans for the horizon.

    Raises:
        ValueError: no layout can be solved within the horizon; the message names one that suffices.
        TypeError: a layout that is not a whole number.
    """

    def __init__(
        self,
        template: Template,
        arena: Arena,
        horizon: int,
        num_envs: int,
        device: torch.device | str,
        *,
        layout: int | None = 0,
    ) -> None:
        start_warp()
        self.template, self.arena, self.horizon = template, arena, horizon
        self.num_envs, self.device, self.layout = num_envs, torch.device(device), layout
        self.plans: tuple[Plan, ...] = template.plans(horizon)
        number = check_seed(0 if layout is None else layout)
        known = self._find(horizon, number)
        if known is None:
            raise ValueError(self._too_short(number))
        regions, obstacles, start, plan = (tensor.to(self.device) for tensor in known)
        self._known: Tensors = (regions, obstacles, start, plan)
        self.regions, self.obstacles = regions.expand(num_envs, -1, -1), obstacles.expand(num_envs, -1, -1)
        if layout is None:
            self.regions, self.obstacles = self.regions.contiguous(), self.obstacles.contiguous()
        self.start, self.plan = start.repeat(num_envs, 1), plan.repeat(num_envs)
        self._rules = _rules(template, arena, self.plans, str(self.device))
        self._kept = _as_struct(self._known)

    def _find(self, horizon: int, number: int) -> Tensors | None:
        """One row of layout `number` on the CPU, or None where no attempt was accepted."""
        dims, regions = self.arena.dims, len(self.template.regions)
        tensors: Tensors = (
            torch.zeros(1, regions, dims + 1), torch.zeros(1, self.template.obstacles, dims + 1),
            torch.zeros(1, dims), torch.zeros(1, dtype=torch.int32),
        )  # fmt: skip
        found = torch.zeros(1, dtype=torch.int32)
        rules = _rules(self.template, self.arena, self.template.plans(horizon), "cpu")
        low, high = _key_words(number, FIXED)
        inputs = [_as_struct(tensors), rules, low, high, wp.from_torch(found)]
        wp.launch(layout_kernels.find_layout, dim=1, inputs=inputs, device="cpu")
        return tensors if bool(found[0]) else None

    def _too_short(self, number: int) -> str:
        """The error of a horizon within which no layout can be solved."""
        wider = range(self.horizon + 5, MAX_HORIZON + 1, 5)
        enough = next((longer for longer in wider if self._find(longer, number) is not None), None)
        hint = f"the smallest that works is about {enough}" if enough else f"not even {MAX_HORIZON} is enough"
        return (
            f"Expected a horizon within which {self.template.name} can be done in this arena, got {self.horizon} "
            f"steps: too short; {hint}."
        )

    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Draw what the masked `(N,)` envs' new episodes start with; tensors given out before stay as they were."""
        self.start, self.plan = self.start.clone(), self.plan.clone()
        kernel, circles = layout_kernels.begin_starts, self._known[:2]
        if self.layout is None:
            self.regions, self.obstacles = circles = self.regions.clone(), self.obstacles.clone()
            kernel = layout_kernels.begin_layouts
        low, high = _key_words(episodes.seed)
        inputs = [
            wp.from_torch(mask.view(torch.uint8)), wp.from_torch(episodes.env_id), wp.from_torch(episodes.number),
            low, high, self._rules, self._kept, _as_struct((*circles, self.start, self.plan)),
        ]  # fmt: skip
        stream = {"stream": wp.stream_from_torch(self.device)} if self.device.type == "cuda" else {}
        wp.launch(kernel, dim=self.num_envs, inputs=inputs, device=str(self.device), **stream)

    def get_state(self) -> dict[str, torch.Tensor]:
        """Copy what was drawn."""
        return {name: getattr(self, name).clone() for name in ("regions", "obstacles", "start", "plan")}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy.

        Raises:
            ValueError: a snapshot of other shapes, or of another fixed layout.
        """
        for name in ("regions", "obstacles", "start", "plan"):
            shape, got = tuple(getattr(self, name).shape), tuple(snapshot[name].shape)
            if got != shape:
                raise ValueError(f"Expected a snapshot with {name} of shape {shape}, got {got}.")
        if self.layout is None:
            self.regions, self.obstacles = snapshot["regions"].clone(), snapshot["obstacles"].clone()
        elif not all(torch.equal(snapshot[name], getattr(self, name)) for name in ("regions", "obstacles")):
            raise ValueError(f"Expected a snapshot of layout {self.layout}, got one of another; make the env with it.")
        self.start, self.plan = snapshot["start"].clone(), snapshot["plan"].clone()


def _key_words(seed: int, flag: int = 0) -> tuple[wp.uint32, wp.uint32]:
    return wp.uint32(seed & 0xFFFFFFFF), wp.uint32(seed >> 32 | flag)


def _as_struct(tensors: Tensors) -> plan_kernels.Layout:
    layout = plan_kernels.Layout()
    for name, tensor in zip(("regions", "obstacles", "start", "plan"), tensors, strict=True):
        setattr(layout, name, wp.from_torch(tensor))
    return layout


def _rules(template: Template, arena: Arena, plans: tuple[Plan, ...], device: str) -> plan_kernels.Rules:
    """The template and the arena as the kernels read them."""
    rules = plan_kernels.Rules()
    rules.dims, rules.regions, rules.obstacles = arena.dims, len(template.regions), template.obstacles
    middle = tuple((a + b) / 2 for a, b in zip(arena.start_low, arena.start_high, strict=True))
    boxes = {
        "low": arena.low, "high": arena.high, "middle": middle,
        "start_low": arena.start_low, "start_high": arena.start_high,
    }  # fmt: skip
    for name, corner in boxes.items():
        setattr(rules, name, wp.vec3(*(*corner, 0.0)[:3]))
    for name in ("gap", "passage", "speed", "lag", "region_radius", "obstacle_radius"):
        setattr(rules, name, getattr(arena, name))
    index = _index(template.names)
    rules.sizes = wp.array([region.size for region in template.regions], dtype=wp.float32, device=device)
    rules.hosts = wp.array([index[region.host] for region in template.regions], dtype=int, device=device)
    shunned = {visit.shun for plan in plans for visit in plan.visits}
    rules.shunned = wp.array([int(name in shunned) for name in template.names], dtype=int, device=device)
    rules.plans = wp.array(visit_table(plans, template.names), dtype=int, device=device)
    return rules


def _index(names: tuple[str, ...]) -> dict[str | None, int]:
    return {name: i for i, name in enumerate(names)} | {None: -1}


def visit_table(plans: tuple[Plan, ...], names: tuple[str, ...]) -> np.ndarray:
    """The plans as int32 `(P, V, VISIT_COLUMNS)`, see `plan_kernels`; plans with fewer visits end in rows of -1."""
    index = _index(names)
    table = np.full(
        (len(plans), max(len(plan.visits) for plan in plans), plan_kernels.VISIT_COLUMNS), -1, dtype=np.int32
    )
    for p, plan in enumerate(plans):
        for v, visit in enumerate(plan.visits):
            table[p, v] = (index[visit.region], visit.earliest, visit.latest, visit.gap, visit.stay, index[visit.shun])
    return table
