"""What a trained policy does, in words: episodes played side by side, and a short text about them for a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch

from cairngym.envs.core import Observation, StateField, TensorEnv, clone
from cairngym.reward_shaping.llm.abstraction import visible
from cairngym.reward_shaping.llm.program import RewardProgram

Fields = dict[str, torch.Tensor]
FEW = 4
"""Numbers of a measurement that are told one by one; longer ones are left out, but for distances."""
TOTAL = "total"
"""The name of a program's reward among its components."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """One episode of each of N envs over T steps, on the CPU."""

    state: Fields
    """`(T, N, *shape)` each, without privileged measurements."""
    action: torch.Tensor
    """`(T, N, *shape)`."""
    next_state: Fields
    success: torch.Tensor
    """Whether the step was a success, bool `(T, N)`."""
    truncated: torch.Tensor
    """bool `(T, N)`."""
    lives: torch.Tensor
    """Whether the step belongs to the episode, bool `(T, N)`; false once it is over."""

    @property
    def lengths(self) -> torch.Tensor:
        """Steps of each episode, int64 `(N,)`."""
        return self.lives.sum(0)

    @property
    def succeeded(self) -> torch.Tensor:
        """Whether each episode had a success, bool `(N,)`."""
        return (self.success & self.lives).any(0)

    def final(self, values: torch.Tensor) -> torch.Tensor:
        """The rows of `values` `(T, N, ...)` at each episode's last step, `(N, ...)`."""
        return values[self.lengths - 1, torch.arange(values.shape[1])]


def play(env: TensorEnv, act: Callable[[Observation], torch.Tensor], seed: int = 0) -> Played:
    """Play one episode in every env, up to its end or to the task's horizon.

    Args:
        env: any TensorEnv that resets at the same step; it is reset.
        act: the policy.
        seed: of the env.
    """
    shown = tuple(visible(env.state_spec))
    obs, _ = env.reset(seed=seed)
    lives = torch.ones(env.num_envs, dtype=torch.bool)
    rows: list[dict[str, torch.Tensor]] = []
    for _ in range(env.task.horizon):
        before = clone({name: env.state[name] for name in shown})
        action = act(obs)
        obs, _, terminated, truncated, info = env.step(action)
        row = {
            **{f"state.{name}": value for name, value in before.items()},
            **{f"next_state.{name}": info["final_state"][name] for name in shown},
            "action": torch.as_tensor(action), "success": info["success"], "truncated": truncated, "lives": lives,
        }  # fmt: skip
        rows.append({name: value.detach().cpu().clone() for name, value in row.items()})
        lives = lives & ~(terminated | truncated).cpu()
        if not bool(lives.any()):
            break
    flat = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    return Played(
        state={name: flat[f"state.{name}"] for name in shown},
        next_state={name: flat[f"next_state.{name}"] for name in shown},
        action=flat["action"], success=flat["success"], truncated=flat["truncated"], lives=flat["lives"],
    )  # fmt: skip


def trace(program: RewardProgram, played: Played) -> Fields:
    """What a program pays along the episodes, `(T, N)` each: "total", then its components."""
    memory: Fields = {}
    steps: list[Fields] = []
    for t in range(len(played.lives)):
        state = {name: value[t] for name, value in played.state.items()}
        after = {name: value[t] for name, value in played.next_state.items()}
        total, components = program(state, played.action[t], after, memory)
        steps.append({**components, TOTAL: total})
    names = (TOTAL, *(name for name in steps[0] if name != TOTAL))
    return {name: torch.stack([step[name] for step in steps]) for name in names}


def summarize_behaviour(
    played: Played, state_spec: Mapping[str, StateField], program: RewardProgram | None = None
) -> str:
    """Tell in English what episodes were like: how often and how fast they succeeded, what was paid, how they ended.

    Args:
        played: the episodes.
        state_spec: what the measurements mean.
        program: the reward that the policy learned from, if its components are to be told.

    Returns:
        A dozen lines; the same for the same episodes.
    """
    lines = _outcomes(played)
    if program is not None:
        lines += ["What the reward paid a step, on average:", *_payments(trace(program, played), played)]
    measured = _measurements(played, state_spec)
    if measured:
        lines += ["What was measured, on average over the episodes:", *measured]
    return "\n".join(lines)


def _outcomes(played: Played) -> list[str]:
    won, count = played.succeeded, len(played.succeeded)
    lost, lengths = ~won, played.lengths
    lines = [f"The policy was watched for {count} episodes and succeeded in {int(won.sum())} of them."]
    if bool(won.any()):
        first = (played.success & played.lives).to(torch.uint8).argmax(0)[won] + 1
        lines.append(f"Where it succeeded, that was after {_spread(first)} steps.")
        undone = int((won & ~played.final(played.success)).sum())
        if undone:
            lines.append(f"In {undone} of the successful episodes the task was no longer done at the end.")
    if bool(lost.any()):
        timeouts = int((lost & played.final(played.truncated)).sum())
        ended = int(lost.sum()) - timeouts
        lines.append(f"Failing episodes took {_spread(lengths[lost])} steps; {timeouts} ran out of time.")
        if ended:
            lines.append(f"{ended} failing episode{'s' * (ended > 1)} ended before that.")
    return lines


def _spread(numbers: torch.Tensor) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low}" if low == high else f"{float(numbers.double().mean()):.0f} ({low} to {high})"


def _payments(paid: Fields, played: Played) -> list[str]:
    lines = []
    for name, values in paid.items():
        shown = values.double()[played.lives]
        constant = " (always the same)" if float(shown.max() - shown.min()) <= 1e-6 * float(shown.abs().max()) else ""
        means = (torch.where(played.lives, values.double(), 0.0).sum(0)) / played.lengths
        lines.append(f"- {name}: {_sides(means, played.succeeded)}{constant}")
    return lines


def _sides(values: torch.Tensor, won: torch.Tensor) -> str:
    """The means `(N,)` of successful and of failing episodes."""
    sides = (("successful", values[won]), ("failing", values[~won]))
    return ", ".join(f"{float(side.mean()):.3g} in {name} episodes" for name, side in sides if len(side))


def _measurements(played: Played, state_spec: Mapping[str, StateField]) -> list[str]:
    spec = visible(state_spec)
    lines = []
    for left, right in combinations(spec, 2):
        if _comparable(spec[left], spec[right]):
            far = [_distance(fields[left], fields[right]) for fields in (played.state, played.next_state)]
            unit = f", {spec[left].unit}"
            lines.append(_course(f"distance between {left} and {right}", far[0][0], played.final(far[1]), played, unit))
    for name, field in spec.items():
        size = int(torch.tensor(field.shape).prod()) if field.shape else 1
        if size <= FEW:
            begin = played.state[name][0].reshape(-1, size)
            end = played.final(played.next_state[name]).reshape(-1, size)
            labels = [name] if size == 1 else [f"{name}[{index}]" for index in range(size)]
            lines += [_course(label, begin[:, i], end[:, i], played, "") for i, label in enumerate(labels)]
    return lines


def _comparable(left: StateField, right: StateField) -> bool:
    """Whether the two are places, or the like, that may come to be the same."""
    same = (left.unit, left.shape, left.dtype) == (right.unit, right.shape, right.dtype)
    return same and len(left.shape) == 1 and left.dtype.is_floating_point and left.unit == "m"


def _distance(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm((left - right).double(), dim=-1)


def _course(label: str, begin: torch.Tensor, end: torch.Tensor, played: Played, unit: str) -> str:
    start = float(begin.double().mean())
    ends = _sides(end.double(), played.succeeded)
    return f"- {label}{unit}: {start:.3g} at the start; at the end {ends}"
