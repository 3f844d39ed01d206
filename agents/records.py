"""What a replay keeps of every step, and how actions are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from gymnasium import spaces

from cairngym.envs.core import Observation, State, TensorEnv
from cairngym.envs.goals import GoalTask
from cairngym.reward_shaping.core import Term


class Record(NamedTuple):
    """What one step of N envs gives; every tensor is `(N, ...)`."""

    obs: Observation
    """Acted on."""
    action: torch.Tensor
    """As the agent stores it, float32 `(N, A)` in [-1, 1] for boxes."""
    next_obs: Observation
    """The true next one, `info["final_obs"]`."""
    reward: torch.Tensor
    """The sparse task reward."""
    terminated: torch.Tensor
    truncated: torch.Tensor
    state: Mapping[str, torch.Tensor]
    """The fields named by `required_fields`, before the step."""
    next_state: Mapping[str, torch.Tensor]
    """The same after it, before any reset."""
    kept: torch.Tensor
    """Weighted sum of the shaper terms that have a memory, as they were collected."""
    success: torch.Tensor | None = None
    """`info["success"]`; None where it is the same as earning the greatest reward of the task's `reward_range`."""
    achieved: torch.Tensor | None = None
    """The goal truly achieved by the step, `(N, goal_size)`; None where `next_obs` shows it, or there are no goals."""


def memoryless(env: TensorEnv) -> tuple[Term, ...]:
    """The env's shaper terms that are judged anew at sampling."""
    return tuple(term for term in getattr(env, "terms", ()) if not term.shaper.memory)


def required_fields(env: TensorEnv, further: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The state fields that a replay of `env` must store, sorted: those of its shapers and `further` ones."""
    return tuple(sorted({*further, *(field for term in memoryless(env) for field in term.shaper.requires)}))


def read_state(env: TensorEnv, further: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """The required fields as they are now; to be called before the step whose record they go into."""
    fields = required_fields(env, further)
    if not fields:
        return {}
    state = env.state
    return {name: state[name] for name in fields}


def record_step(
    env: TensorEnv,
    obs: Observation,
    state: Mapping[str, torch.Tensor],
    action: torch.Tensor,
    step_result: tuple[Any, ...],
) -> Record:
    """Make the record of one step.

    Args:
        env: which was stepped, shaped or not.
        obs: acted on.
        state: what `read_state` gave before the step.
        action: as the agent stores it.
        step_result: what `env.step` returned.
    """
    _, reward, terminated, truncated, info = step_result
    task_reward = info.get("task_reward", reward)
    kept = torch.zeros_like(task_reward)
    for term in getattr(env, "terms", ()):
        if term.shaper.memory:
            kept = kept + term.weight * info["reward_terms"][term.name]
    return Record(
        obs=obs, action=action, next_obs=info["final_obs"], reward=task_reward, terminated=terminated,
        truncated=truncated, state=state, next_state={name: info["final_state"][name] for name in state}, kept=kept,
        success=info["success"], achieved=_achieved(env, info["final_obs"], info["final_state"]),
    )  # fmt: skip


def _achieved(env: TensorEnv, seen: Observation, state: State) -> torch.Tensor | None:
    """What is achieved in `state`, as the observation would show it if sensors did not err."""
    task = env.unwrapped.task
    if env.observes_truth or not isinstance(task, GoalTask) or not isinstance(seen, dict):
        return None
    return task.achieved_goal(state).to(seen["achieved_goal"].dtype) if "achieved_goal" in seen else None


def to_unit(action: torch.Tensor, space: spaces.Space) -> torch.Tensor:
    """Map actions from a bounded Box to float32 in [-1, 1], zero where its bounds meet; others stay as they are."""
    bounds = _bounds(space, action.device)
    if bounds is None:
        return action
    low, high = bounds
    unit = torch.where(high > low, (2.0 * action - (high + low)) / (high - low), 0.0)
    return unit.clamp(-1.0, 1.0).to(torch.float32)


def from_unit(action: torch.Tensor, space: spaces.Space) -> torch.Tensor:
    """The inverse of `to_unit`."""
    bounds = _bounds(space, action.device)
    if bounds is None:
        return action
    low, high = bounds
    return low + 0.5 * (action + 1.0) * (high - low)


def _bounds(space: spaces.Space, device: torch.device) -> tuple[torch.Tensor, torch.Tensor] | None:
    if not isinstance(space, spaces.Box) or not space.is_bounded():
        return None
    return tuple(torch.as_tensor(bound, dtype=torch.float32, device=device) for bound in (space.low, space.high))  # type: ignore[return-value]
