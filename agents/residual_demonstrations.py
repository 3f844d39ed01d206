"""Demonstrations seen by somebody who corrects a base policy: what it would have done at every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from cairngym.agents.demonstrations import Demonstrations
from cairngym.agents.records import to_unit
from cairngym.envs.core import Observation, State
from cairngym.reward_shaping.residual.base import BASE_ACTION, Lives
from cairngym.reward_shaping.residual.wrapper import Residual


def with_base_actions(shown: Demonstrations, wrapper: Residual) -> Demonstrations:
    """Let the base policy watch whole episodes from their first step, all side by side, and note what it would do.

    The base draws as in episode 0 of envs numbered from -1 downward, which no env is.

    Args:
        shown: recorded in the env inside the wrapper.
        wrapper: whose base is asked; its own memory is not touched.

    Returns:
        The same steps, with the base's action in the observations of both ends, and the actions in [-1, 1]: executed
        ones, as the residual agent keeps them.

    Raises:
        ValueError: they were recorded inside the wrapper, or in another env, or lack state fields that the base reads.
    """
    if isinstance(shown.obs, dict) and BASE_ACTION in shown.obs:
        raise ValueError(
            'Expected demonstrations of whole actions, got residuals, recorded in the wrapper "residual". Record them '
            "without it."
        )
    shown.check_fits(wrapper.env)
    lengths, device = shown.lengths.to(wrapper.device), wrapper.device
    first = lengths.cumsum(0) - lengths
    longest, episodes = int(lengths.max()), torch.arange(len(lengths), device=device)
    base = wrapper.make_base(len(lengths))
    lives = Lives(wrapper.unwrapped.episodes.seed, -1 - episodes, torch.zeros_like(episodes), episodes)
    base.begin(torch.ones_like(episodes, dtype=torch.bool))

    def ask(obs: Observation, state: State, step: int, age: int) -> torch.Tensor:
        # An episode that is over shows its last step again; what the base answers then is not read.
        rows = first + lengths.clamp(max=step + 1) - 1
        now = lives._replace(length=torch.full_like(episodes, age))
        return wrapper.decided(base.act(_rows(obs, rows), _rows(state, rows), now), len(lengths))

    try:
        with torch.no_grad():
            actions = [ask(shown.obs, shown.state, 0, 0)]
            actions += [ask(shown.next_obs, shown.next_state, step, step + 1) for step in range(longest)]
    except KeyError as error:
        raise ValueError(
            f"Expected demonstrations with what the base policy reads, got none of {error}. They hold the state fields "
            f"{', '.join(shown.state) or 'none'}. Record them in this env."
        ) from error
    table = torch.stack(actions)
    episode = episodes.repeat_interleave(lengths)
    step = torch.arange(len(episode), device=device) - first[episode]
    return replace(
        shown, obs=wrapper.shown(shown.obs, table[step, episode]),
        next_obs=wrapper.shown(shown.next_obs, table[step + 1, episode]),
        action=to_unit(shown.action, wrapper.corrected_space),
    )  # fmt: skip


def _rows(value: Any, rows: torch.Tensor) -> Any:
    """The rows of `(S, ...)` tensors."""
    if isinstance(value, torch.Tensor):
        return value[rows]
    return {name: _rows(entry, rows) for name, entry in value.items()}
