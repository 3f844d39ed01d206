"""Episodes of a trained policy on a task with a formula, sample by sample, for figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cairngym.envs.stl.monitored import HIGH, LOW, MARGINS
from cairngym.reward_shaping.temporal.observation import TemporalObservation
from cairngym.reward_shaping.temporal.stages import temporal_wrapper
from cairngym.reward_shaping.temporal.task import stl_task

if TYPE_CHECKING:
    from cairngym.envs.core import State, TensorEnv
    from cairngym.experiments.trained import TrainedRun

Plan = tuple[tuple[int, str], ...]
"""Steps at which subgoals are due, and the subgoals."""
POSITION = "position"
"""The field that is drawn; else the first whose name ends so."""
CIRCLES = ("regions", "obstacles")
"""Fields `(N, K, D + 1)` of centres and radii."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where E episodes lead, in D dimensions; all lengths in m."""

    paths: np.ndarray
    """`(E, T + 1, D)`, NaN after an episode's end."""
    circles: Mapping[str, np.ndarray]
    """Centres and radii `(E, K, D + 1)` of "regions" and "obstacles"; none where the world has none."""
    names: tuple[str, ...]
    """Of the K regions."""
    bounds: tuple[np.ndarray, np.ndarray] | None
    """Least and greatest coordinates of the arena, `(D,)` each."""

    @property
    def dims(self) -> int:
        """D."""
        return self.paths.shape[2]


@dataclass(frozen=True, kw_only=True)
class Traces:
    """E episodes of at most T steps under a formula over P predicates; NaN stands after an episode's end."""

    formula: str
    horizon: int
    predicates: tuple[str, ...]
    unit: str
    """Of all margins; empty where they differ."""
    margins: np.ndarray
    """`(E, T + 1, P)`."""
    low: np.ndarray
    """`(E, T + 1)`: the least robustness still possible."""
    high: np.ndarray
    """`(E, T + 1)`: the greatest."""
    success: np.ndarray
    """bool `(E,)`."""
    length: np.ndarray
    """int64 `(E,)`: steps of each episode."""
    plans: tuple[Plan, ...]
    """Of each episode; empty without the wrapper "temporal"."""
    scene: Scene | None
    """None where no field says where the agent is."""

    @property
    def robustness(self) -> list[tuple[float, float]]:
        """Between which values each episode's robustness lies; one value where its trace is complete."""
        rows = range(len(self.length))
        return [(float(self.low[i, n]), float(self.high[i, n])) for i, n in zip(rows, self.length, strict=True)]


def record(trained: TrainedRun, env: TensorEnv, *, seed: int, greedy: bool = False) -> Traces:
    """Play the first episode of every copy of an env with a formula.

    Args:
        trained: whose policy plays.
        env: its copies are reset with `seed`; they reset themselves within the step that ends an episode.
        seed: of the episodes and of the policy's sampling.
        greedy: play the likeliest action.

    Raises:
        TypeError: the env's task has no formula.
    """
    task = stl_task(env)
    actor = trained.agent.actor(env.num_envs, deterministic=greedy, seed=seed)
    obs, _ = env.reset(seed=seed)
    where = position_field(env)
    fields = (MARGINS, LOW, HIGH, *([where] if where else []))
    first = {name: env.state[name] for name in CIRCLES if name in env.state_spec}
    plans = _plans(env)
    samples = [_read(env.state, fields)]
    alive = np.ones(env.num_envs, dtype=bool)
    success, length = ~alive, np.zeros(env.num_envs, dtype=np.int64)
    for _ in range(task.horizon):
        obs, _, terminated, truncated, info = env.step(actor.act(obs))
        actor.begin(info["_episode"])
        samples.append({name: _blank(value, alive) for name, value in _read(info["final_state"], fields).items()})
        done = (terminated | truncated).cpu().numpy()
        length += alive
        success |= alive & done & info["success"].cpu().numpy()
        alive &= ~done
        if not alive.any():
            break
    stacked = {name: np.stack([one[name] for one in samples], axis=1) for name in fields}
    units = {measure.unit for measure in task.measures.values()}
    return Traces(
        formula=str(task.formula), horizon=task.horizon, predicates=tuple(task.measures),
        unit=units.pop() if len(units) == 1 else "", margins=stacked[MARGINS], low=stacked[LOW], high=stacked[HIGH],
        success=success, length=length, plans=plans,
        scene=_scene(env, first, stacked[where]) if where else None,
    )  # fmt: skip


def position_field(env: TensorEnv) -> str | None:
    """The state field with two or three coordinates that says where the agent is, None if there is none."""
    placed = [name for name, field in env.state_spec.items() if field.shape in ((2,), (3,))]
    return next((name for name in placed if name == POSITION), next((n for n in placed if n.endswith(POSITION)), None))


def temporal_layer(env: TensorEnv) -> TemporalObservation | None:
    """The wrapper "temporal" around or inside `env`, None if there is none."""
    try:
        return temporal_wrapper(env)
    except TypeError:
        return None


def _plans(env: TensorEnv) -> tuple[Plan, ...]:
    """The plans of the episodes just begun."""
    wrapper = temporal_layer(env)
    if wrapper is None:
        return ((),) * env.num_envs
    due, targets = wrapper.pursuit.due.tolist(), wrapper.pursuit.target.tolist()
    horizon, names = wrapper.table.horizon, [str(target) for target in wrapper.grounding.targets]
    rows = zip(due, targets, strict=True)
    return tuple(tuple((d, names[t]) for d, t in zip(*row, strict=True) if d <= horizon) for row in rows)


def _read(state: State, fields: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: state[name].detach().cpu().to(torch.float32).numpy() for name in fields}


def _blank(values: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """`values` with NaN in the rows whose episode was over before."""
    return np.where(alive.reshape(-1, *(1,) * (values.ndim - 1)), values, np.nan)


def _scene(env: TensorEnv, circles: Mapping[str, torch.Tensor], paths: np.ndarray) -> Scene:
    dims = paths.shape[2]
    found = {name: value.cpu().numpy() for name, value in circles.items() if value.shape[-1] == dims + 1}
    world: Any = env.unwrapped.world
    count = found["regions"].shape[1] if "regions" in found else 0
    template, arena = getattr(world, "template", None), getattr(world, "arena", None)
    names = tuple(str(i + 1) for i in range(count)) if template is None else tuple(template.names)
    bounds = None if arena is None else (np.array(arena.low), np.array(arena.high))
    return Scene(paths=paths, circles=found, names=names, bounds=bounds)
