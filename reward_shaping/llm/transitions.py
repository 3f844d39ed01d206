"""Recorded transitions, which reward programs are checked on before an agent meets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from gymnasium import spaces

from cairngym.envs.core import TensorEnv
from cairngym.envs.random import Stream, uniform
from cairngym.reward_shaping.llm.scripted import Policy

MAX_BYTES = 64 * 2**20
"""Of a recording; longer ones would only slow every check down."""
RUNS = 2
"""Episodes that an env begins where the task's horizon is longer than the recording."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """B = T x N transitions on the CPU; row `t * num_envs + i` is env i's at step t of the recording."""

    state: dict[str, torch.Tensor]
    """`(B, *shape)` each."""
    action: torch.Tensor
    next_state: dict[str, torch.Tensor]
    """The true next ones, before any reset."""
    reward: torch.Tensor
    """The sparse task reward, float32 `(B,)`."""
    terminated: torch.Tensor
    truncated: torch.Tensor
    success: torch.Tensor
    progress: torch.Tensor
    """The task's progress at `state`, float32 `(B,)`."""
    next_progress: torch.Tensor
    episode: torch.Tensor
    """int64 `(B,)`; no two envs share a number."""
    step: torch.Tensor
    """int64 `(B,)`, counted from zero in each episode."""
    num_envs: int
    idle: torch.Tensor | None
    """The action nearest to doing nothing, `(*action_shape)`; None where actions are discrete."""

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor by a flat name: `state.<field>`, `next_state.<field>`, or the attribute's own."""
        flat: dict[str, torch.Tensor] = {}
        for name in (entry.name for entry in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Mapping):
                flat |= {f"{name}.{key}": tensor for key, tensor in value.items()}
            elif isinstance(value, torch.Tensor):
                flat[name] = value
        return flat

    @classmethod
    def from_tensors(cls, flat: Mapping[str, torch.Tensor], num_envs: int) -> Recorded:
        """Undo `tensors`."""
        parts: dict[str, Any] = {"state": {}, "next_state": {}, "idle": None}
        for name, tensor in flat.items():
            whole, _, key = name.partition(".")
            if key:
                parts[whole][key] = tensor
            else:
                parts[whole] = tensor
        return cls(**parts, num_envs=num_envs)


def record_transitions(
    env: TensorEnv,
    steps: int,
    policy: Policy | None = None,
    seed: int = 0,
    *,
    max_bytes: int = MAX_BYTES,
) -> Recorded:
    """Step `env` and keep every transition.

    With a policy, env i does something random instead in a share of its steps: 0, 1/2, 1/4, 3/4 … (the radical
    inverse of i), so that clean, clumsy and nearly random behaviour are all in the recording. Where the task's horizon
    is longer than the recording, episodes are cut after `steps / 2`, so that they are seen to begin more than once.

    Args:
        env: any TensorEnv that resets at the same step; it is reset.
        steps: of each env.
        policy: see `cairngym.reward_shaping.llm.scripted`; None acts at random.
        seed: of the env and of the random actions.
        max_bytes: recording stops before it grows beyond this.

    Raises:
        ValueError: `steps` below two, or not even two steps fit into `max_bytes`.
    """
    if steps < 2:
        raise ValueError(f"Expected at least 2 steps to record, got {steps}.")
    env.reset(seed=seed)
    recorder, t = _Recorder(env, seed), 0
    longest = env.task.horizon if env.task.horizon <= steps else max(1, steps // RUNS)
    while t < steps:
        recorder.step(policy, t, longest)
        t += 1
        if t == 1:
            steps = min(steps, max_bytes // recorder.row_bytes)
            if steps < 2:
                raise ValueError(
                    f"Expected max_bytes of at least {2 * recorder.row_bytes}, i.e. two steps of {env.num_envs} envs, "
                    f"got {max_bytes}. Record fewer envs."
                )
    return recorder.finish()


class _Recorder:
    """Steps an env and gathers rows."""

    def __init__(self, env: TensorEnv, seed: int) -> None:
        self.env, self.seed = env, seed
        self.rows: list[dict[str, torch.Tensor]] = []
        self.env_id = torch.arange(env.num_envs, device=env.device)
        self.clumsiness = radical_inverse(env.num_envs).to(env.device)
        self.length = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
        self.episode = self.env_id.clone()

    @property
    def row_bytes(self) -> int:
        """What one step of all envs takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.rows[0].values())

    def step(self, policy: Policy | None, t: int, longest: int) -> None:
        """Act once, keep the transition, and cut episodes that took `longest` steps."""
        env = self.env
        before, progress = dict(env.state), env.progress()
        action = self.act(policy, t)
        _, reward, terminated, truncated, info = env.step(action)
        after = dict(info["final_state"])
        row = {
            **{f"state.{name}": value for name, value in before.items()},
            **{f"next_state.{name}": value for name, value in after.items()},
            "action": action, "reward": info.get("task_reward", reward), "terminated": terminated,
            "truncated": truncated, "success": info["success"], "progress": progress,
            "next_progress": env.progress(after), "episode": self.episode, "step": self.length,
        }  # fmt: skip
        self.rows.append({name: value.detach().cpu().clone() for name, value in row.items()})
        self.length = self.length + 1
        over = terminated | truncated
        cut = ~over & (self.length >= longest)
        if bool(cut.any()):
            env.reset(options={"reset_mask": cut})
        self.episode = torch.where(over | cut, self.episode + env.num_envs, self.episode)
        self.length = torch.where(over | cut, 0, self.length)

    def act(self, policy: Policy | None, t: int) -> torch.Tensor:
        """The policy's actions, or random ones."""
        env, space = self.env, self.env.single_action_space
        size = 1 if isinstance(space, spaces.Discrete) else int(torch.tensor(space.shape or ()).prod())
        moment = torch.full_like(self.env_id, t)
        nothing = torch.zeros_like(self.env_id)
        draw = uniform(self.seed, self.env_id, nothing, Stream.SHAPER, size + 1, step=moment)
        random = random_action(space, draw[:, 1:])
        if policy is None:
            return random
        chosen = policy(env.state).to(random.dtype)
        clumsy = (draw[:, 0] < self.clumsiness).view(-1, *(1,) * (random.ndim - 1))
        return torch.where(clumsy, random, chosen)

    def finish(self) -> Recorded:
        """Everything recorded, as one batch."""
        flat = {name: torch.cat([row[name] for row in self.rows]) for name in self.rows[0]}
        space = self.env.single_action_space
        if isinstance(space, spaces.Box):
            low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
            flat["idle"] = torch.zeros(space.shape).clamp(low, high).to(torch.float32)
        return Recorded.from_tensors(flat, self.env.num_envs)


def random_action(space: spaces.Space, draw: torch.Tensor) -> torch.Tensor:
    """Actions `(N, ...)` from uniform draws `(N, size)`; a Box without bounds is taken as [-1, 1].

    Raises:
        TypeError: neither Discrete nor Box.
    """
    if isinstance(space, spaces.Discrete):
        return (draw[:, 0] * int(space.n)).long() + int(space.start)
    if not isinstance(space, spaces.Box):
        raise TypeError(f"Expected a Discrete or Box action space, got {space}.")
    low, high = torch.as_tensor(space.low), torch.as_tensor(space.high)
    bounded = torch.isfinite(low) & torch.isfinite(high)
    low = torch.where(bounded, low, -1.0).to(draw)
    high = torch.where(bounded, high, 1.0).to(draw)
    return low + (high - low) * draw.view(-1, *space.shape)


def radical_inverse(count: int) -> torch.Tensor:
    """The first `count` numbers of the van der Corput sequence in base two: 0, 1/2, 1/4, 3/4, 1/8 …, float32.

    Example:
        >>> radical_inverse(4).tolist()
        [0.0, 0.5, 0.25, 0.75]
    """
    index, value = torch.arange(count), torch.zeros(count)
    share = 0.5
    for _ in range(max(1, count.bit_length())):
        value = value + share * (index % 2)
        index, share = index // 2, share / 2
    return value
