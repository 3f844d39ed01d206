"""Replay on the device: O(batch) sampling, n-step returns, hindsight, and shaped rewards judged anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from cairngym.agents.hindsight import NO_HINDSIGHT, Hindsight
from cairngym.agents.records import Record, from_unit, memoryless, read_state, record_step, required_fields
from cairngym.agents.ring import Ring, take
from cairngym.agents.windows import Sample, Window, make_windows
from cairngym.envs.core import Observation, TensorEnv, Transition

if TYPE_CHECKING:
    from cairngym.agents.demonstrations import Demonstrations

__all__ = ["Record", "Replay", "ReplayBatch", "read_state", "record_step", "required_fields"]


class ReplayBatch(NamedTuple):
    """B samples."""

    obs: Observation
    action: torch.Tensor
    reward: torch.Tensor
    """`(B,)`, the sum of gamma^k (task reward + weighted terms) over the steps taken."""
    next_obs: Observation
    """After the steps taken: n, or fewer where the episode or what is recorded of it ends."""
    discount: torch.Tensor
    """`(B,)`, gamma^(steps taken), zero where the last of them terminated."""


Draw = Callable[[int], ReplayBatch]
"""Makes so many samples."""


class Replay:
    """The newest transitions of N envs, sampled uniformly.

    A sample starts at one of the transitions held and takes up to `n_step` steps of its episode. It stops early at the
    episode's end and at the newest step written, and bootstraps from the true observation there unless the last step
    terminated. Under another goal in hindsight the task judges every step anew: reward, success, and termination where
    success terminates; and so do the shapers without memory, which are given the observations recorded. A sample whose
    episode was ended by a success that the new goal does not share stops there, as what would have followed is not
    known, and bootstraps. Under another plan only what is seen and those shapers' terms change.

    Sampling costs O(batch) whatever is held, and nothing in it waits for the device.

    Args:
        env: whose steps are kept; its task judges relabelled goals, and its shapers (`ShapedEnv`) transitions.
        capacity: how many transitions are kept, rounded down to whole steps of the N envs.
        gamma: the discount.
        n_step: how many steps a sample takes at most.
        hindsight: which goals, or plans, are put in.
        demonstration_ratio: share of every batch that comes from demonstrations, once there are any.
        kept: how many of the first transitions are held for ever, beside the newest ones, rounded up to whole steps.
        generator: every draw comes from it; must live on the env's device.

    Raises:
        TypeError: hindsight for a task without goals, or for an env without plans.
        ValueError: an option out of its range.
    """

    def __init__(
        self,
        env: TensorEnv,
        *,
        capacity: int,
        gamma: float,
        n_step: int = 1,
        hindsight: Hindsight = NO_HINDSIGHT,
        demonstration_ratio: float = 0.5,
        kept: int = 0,
        generator: torch.Generator,
    ) -> None:
        _check_options(env, capacity, gamma, n_step, demonstration_ratio)
        self.env, self.n_step, self.hindsight, self.generator = env, n_step, hindsight, generator
        self.demonstration_ratio = demonstration_ratio
        self.ring = Ring(capacity // env.num_envs, env.num_envs, env.device)
        self.first = Ring(math.ceil(kept / env.num_envs), env.num_envs, env.device)
        self._owed = 0.0  # samples of the first transitions that earlier batches were too small to hold
        self.demonstrations: Ring | None = None
        self.windows = make_windows(env, hindsight)
        self.terms = memoryless(env)
        self._offset = torch.arange(n_step, device=env.device)
        powers = torch.tensor([gamma**k for k in range(n_step + 1)], dtype=torch.float64)
        self._powers = powers.to(torch.float32).to(env.device)
        self._best = env.unwrapped.task.reward_range[1]

    @property
    def size(self) -> int:
        """How many transitions are held, demonstrations apart."""
        return (self.ring.filled + self.first.filled) * self.ring.num_envs

    @property
    def newest(self) -> Ring:
        """The ring that the last step went to."""
        return self.ring if self.ring.steps else self.first

    def add(self, record: Record) -> None:
        """Keep one step of every env, in place of the oldest when full.

        Raises:
            ValueError: names or shapes other than at the first call.
        """
        columns = record._asdict()
        if record.success is None:
            columns["success"] = record.reward == self._best
        if record.achieved is None:
            del columns["achieved"]
        ring = self.ring if self.first.steps == self.first.length else self.first
        ring.write(columns, record.terminated | record.truncated)

    def cut(self) -> None:
        """Say that the next records begin new episodes although the last ones did not end, as after a reset."""
        self.newest.cut()

    def load_demonstrations(self, dataset: Demonstrations) -> None:
        """Keep `dataset` beside the agent's own transitions; from then on batches are mixed.

        Raises:
            ValueError: it does not fit the env, or lacks state fields that shapers require.
        """
        self.demonstrations = dataset.ring(self.env, required_fields(self.env, self.windows.fields))

    def sample(self, batch: int) -> ReplayBatch:
        """Draw `batch` samples; `round(batch * demonstration_ratio)` of them, evenly spread, from demonstrations.

        Raises:
            ValueError: nothing to draw from.
        """
        shown = round(batch * self.demonstration_ratio) if self.demonstrations is not None else 0
        if batch < 1 or (shown < batch and not self.size):
            raise ValueError(
                f"Expected a batch of at least 1 and a replay that holds transitions, got {batch} of {self.size}. "
                "Add steps first."
            )
        if self.demonstrations is None:
            return self._own(batch)
        return self._mixed(batch - shown, self._own, shown, partial(self._sample, self.demonstrations))

    def _own(self, batch: int) -> ReplayBatch:
        """Samples of the agent's own transitions, the first and the newest by their numbers."""
        self._owed += batch * self.first.filled / (self.first.filled + self.ring.filled)
        first = min(int(self._owed), batch)
        self._owed -= first
        return self._mixed(batch - first, partial(self._sample, self.ring), first, partial(self._sample, self.first))

    def _mixed(self, some: int, draw: Draw, others: int, draw_others: Draw) -> ReplayBatch:
        """Two parts row by row, so that every part of the batch holds its share of both."""
        if not others:
            return draw(some)
        if not some:
            return draw_others(others)
        return _interleave(draw(some), draw_others(others), some, others)

    @torch.no_grad()
    def _sample(self, ring: Ring, batch: int) -> ReplayBatch:
        step, env = ring.draw(batch, self.generator)
        first, last = ring.span(step, env)
        steps = torch.minimum(step.unsqueeze(1) + self._offset, last.unsqueeze(1))
        rows = ring.locate(steps, env.unsqueeze(1))
        window = self.windows.window(ring, Sample(step, env, first, last, rows), self.generator)
        reward, terminated = self._judge(window)
        total, taken = self._returns(reward, terminated, last - step + 1)
        end = taken - 1
        obs, next_obs = window.ends(end)
        discount = torch.where(terminated.gather(1, end.unsqueeze(1)).squeeze(1), 0.0, self._powers[taken])
        return ReplayBatch(obs, take(ring.columns["action"], rows[:, 0]), total, next_obs, discount)

    def _judge(self, window: Window) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole reward and termination `(B, n)` of the steps of a window."""
        reward, terminated, success = window.outcome()
        whole = reward + take(window.held["kept"], window.flat)
        if self.terms:
            whole = whole + self._shaped(window, reward, terminated, success)
        return whole.view(window.rows.shape), terminated.view(window.rows.shape)

    def _shaped(
        self, window: Window, reward: torch.Tensor, terminated: torch.Tensor, success: torch.Tensor
    ) -> torch.Tensor:
        held, rows = window.held, window.flat
        obs, state, next_obs, next_state = window.seen()
        transition = Transition(
            obs=obs, state=state, action=from_unit(take(held["action"], rows), self.env.single_action_space),
            next_obs=next_obs, next_state=next_state, reward=reward, terminated=terminated,
            truncated=take(held["truncated"], rows), success=success, env_id=None,
        )  # fmt: skip
        total = torch.zeros_like(reward)
        for term in self.terms:
            total = total + term.weight * term.shaper.shape(transition).detach().to(torch.float32)
        return total

    def _returns(
        self, reward: torch.Tensor, terminated: torch.Tensor, ahead: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Discounted sums `(B,)` of rewards `(B, n)` and how many steps they span, `ahead` `(B,)` at most."""
        total, taken = reward[:, 0], torch.ones_like(ahead)
        going = ~terminated[:, 0]
        for k in range(1, self.n_step):
            going = going & (ahead > k)
            total = torch.where(going, total + self._powers[k] * reward[:, k], total)
            taken = taken + going
            going = going & ~terminated[:, k]
        return total, taken

    def get_state(self) -> dict[str, Any]:
        """Copy what is held, demonstrations included, and the generator's state."""
        shown = self.demonstrations.get_state() if self.demonstrations is not None else None
        first = self.first.get_state() if self.first.length else None
        return {
            "ring": self.ring.get_state(), "demonstrations": shown, "generator": self.generator.get_state(),
            "first": first, "owed": self._owed,
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy made by `get_state`.

        Raises:
            ValueError: it is of another capacity or number of envs.
        """
        self.ring.set_state(snapshot["ring"])
        self._owed = snapshot.get("owed", 0.0)
        if snapshot.get("first") is not None:
            self.first.set_state(snapshot["first"])
        shown = snapshot["demonstrations"]
        self.demonstrations = None
        if shown is not None:
            self.demonstrations = Ring(shown["length"], shown["num_envs"], self.env.device)
            self.demonstrations.set_state(shown)
        self.generator.set_state(snapshot["generator"].cpu())


def _interleave(own: Any, shown: Any, num_own: int, num_shown: int) -> Any:
    """Join two batches row by row so that every part of the result holds its share of both."""
    if isinstance(own, tuple):
        pairs = zip(own, shown, strict=True)
        return ReplayBatch(*(_interleave(a, b, num_own, num_shown) for a, b in pairs))
    if isinstance(own, Mapping):
        return {name: _interleave(own[name], shown[name], num_own, num_shown) for name in own}
    row = torch.arange(num_own + num_shown, device=own.device)
    before = row * num_shown // len(row)
    is_shown = (row + 1) * num_shown // len(row) > before
    return torch.cat([own, shown]).index_select(0, torch.where(is_shown, num_own + before, row - before))


def _check_options(env: TensorEnv, capacity: int, gamma: float, n_step: int, demonstration_ratio: float) -> None:
    if capacity < env.num_envs:
        raise ValueError(
            f"Expected a capacity of at least one step of every env, got {capacity} for {env.num_envs} envs. "
            f"Give capacity={env.num_envs} or more, or make fewer envs."
        )
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"Expected gamma in [0, 1], got {gamma}.")
    if n_step < 1:
        raise ValueError(f"Expected n_step >= 1, got {n_step}.")
    if not 0.0 <= demonstration_ratio <= 1.0:
        raise ValueError(f"Expected demonstration_ratio in [0, 1], got {demonstration_ratio}.")
