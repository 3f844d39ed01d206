"""Any existing gymnasium env as a TensorEnv: shapeable and trainable without porting it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import gymnasium
import torch
from gymnasium.vector import AutoresetMode

from cairngym.envs.adapters.flatten import Flattener
from cairngym.envs.adapters.foreign_world import SUCCESS, ForeignWorld, Measure, SnapshotError, SuccessRule
from cairngym.envs.core import State, StateField, TaskSpec, TensorEnv

__all__ = ["ForeignTask", "ForeignWorld", "SnapshotError", "from_gymnasium"]

NO_LIMIT = 2**31 - 1
"""The horizon of an env that has none."""


class ForeignTask(TaskSpec):
    """What the foreign env wants, as far as it says so.

    Args:
        flatten: reads its observations.
        horizon: steps after which an episode is truncated.
        terminate_on_success: ends the episode at success even where the env goes on.
        progress: the task's progress from the state, in [0, 1]; None knows only success.
    """

    def __init__(
        self,
        flatten: Flattener,
        *,
        horizon: int,
        terminate_on_success: bool,
        progress: Callable[[State], torch.Tensor] | None,
    ) -> None:
        self.flatten, self.horizon, self.terminate_on_success = flatten, horizon, terminate_on_success
        self.single_observation_space, self.categories = flatten.space, flatten.categories
        self._progress = progress

    def progress(self, state: State) -> torch.Tensor:
        """The given progress, or whether the step that led to `state` succeeded."""
        return state[SUCCESS].to(torch.float32) if self._progress is None else self._progress(state)


def from_gymnasium(
    make_env: Callable[[], gymnasium.Env] | str,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    *,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    asynchronous: bool = False,
    horizon: int | None = None,
    success: SuccessRule | None = None,
    terminate_on_success: bool = False,
    state: Measure | None = None,
    state_spec: Mapping[str, StateField] | None = None,
    progress: Callable[[State], torch.Tensor] | None = None,
    snapshot: Literal["none", "deepcopy"] = "none",
    **options: Any,
) -> TensorEnv:
    """Make a TensorEnv of any gymnasium env with Discrete or float Box actions.

    Observations may be Box, Discrete, or (nested) Dicts of them; see `Flattener` for what becomes of each. The task
    reward is the env's own. Stepping is as fast as a Python loop over the envs is.

    Args:
        make_env: makes one copy, or the id of one for `gymnasium.make`.
        num_envs: how many copies.
        device: where the tensors live.
        seed: every copy's episode draws its own seed from it.
        autoreset_mode: as for TensorEnv.
        asynchronous: one process per copy; pays where a step takes a millisecond or more.
        horizon: steps after which an episode is truncated; default is the limit of the env's spec, if it has one.
        success: whether a step succeeded, bool `(N,)`, from batched `(obs, reward, terminated, info)`; default is
            info["success"] or ["is_success"] where reported, else terminated with a reward above zero.
        terminate_on_success: end the episode at success even where the env goes on.
        state: further state fields, each `(N, *shape)`, from batched `(obs, info)`; `info` holds what the envs report
            at that moment, at a reset too, with zeros where `info["_<name>"]` is False.
        state_spec: what these fields mean.
        progress: the task's progress in [0, 1] from the state; default is one at success, else zero.
        snapshot: "deepcopy" lets `get_state` copy the envs; only without `asynchronous`.
        options: further arguments of `gymnasium.make` when `make_env` is an id.

    Raises:
        ValueError: state without state_spec or the other way round, deep copies of processes, num_envs below one.
        TypeError: spaces that do not fit, or options beside a callable.

    Example:
        >>> env = from_gymnasium("CartPole-v1", num_envs=4)
        >>> obs, info = env.reset(seed=0)
        >>> obs.shape, env.action_space
        (torch.Size([4, 4]), MultiDiscrete([2 2 2 2]))
    """
    _check_request(num_envs, state, state_spec, snapshot, asynchronous)
    maker = _maker(make_env, options)
    sample = maker()
    flatten = Flattener(sample.observation_space)
    limit = horizon or getattr(sample.spec, "max_episode_steps", None) or NO_LIMIT
    sample.close()
    world = ForeignWorld(
        [maker] * num_envs, flatten, device, asynchronous=asynchronous, snapshot=snapshot, rule=success, measure=state,
        measure_spec=state_spec or {},
    )  # fmt: skip
    task = ForeignTask(flatten, horizon=limit, terminate_on_success=terminate_on_success, progress=progress)
    return TensorEnv(world, task, seed=seed, autoreset_mode=autoreset_mode)


def _check_request(
    num_envs: int, state: Measure | None, spec: Mapping[str, StateField] | None, snapshot: str, asynchronous: bool
) -> None:
    if num_envs < 1:
        raise ValueError(f"Expected num_envs >= 1, got {num_envs}.")
    if (state is None) != (spec is None):
        raise ValueError("Expected state and state_spec together: the function, and a StateField for each it returns.")
    if snapshot not in ("none", "deepcopy"):
        raise ValueError(f"Expected snapshot 'none' or 'deepcopy', got {snapshot!r}.")
    if snapshot == "deepcopy" and asynchronous:
        raise ValueError("Envs in other processes cannot be copied; pass asynchronous=False or snapshot='none'.")


def _maker(make_env: Callable[[], gymnasium.Env] | str, options: dict[str, Any]) -> Callable[[], gymnasium.Env]:
    if isinstance(make_env, str):
        return partial(gymnasium.make, make_env, disable_env_checker=True, **options)
    if options:
        raise TypeError(f"Options {sorted(options)} go to gymnasium.make; give them to your own callable instead.")
    return make_env
