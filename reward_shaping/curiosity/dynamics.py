"""What bonuses on features of an inverse model share: how those are learned, from which rows."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from cairngym.envs.core import TensorEnv, Transition
from cairngym.reward_shaping.curiosity.inverse_model import ActionCode, InverseModel
from cairngym.reward_shaping.curiosity.learned import LearnedBonus


class InverseBonus(LearnedBonus):
    """A bonus whose features phi are those by which the action can be told from s and s'.

    A row of the sample holds s', s and the action. True next observations are used, so that no row joins the end of an
    episode to the beginning of the next.

    Args:
        features: width of phi.
        hidden: width of the hidden layers.
        options: see `LearnedBonus`.
    """

    def __init__(self, *, features: int, hidden: int, **options: Any) -> None:
        super().__init__(features=features, hidden=hidden, **options)
        self.embedding, self.hidden = features, hidden

    @property
    def row_width(self) -> int:
        """Of s', s and the action."""
        return 2 * self.features + self._code.width

    def build(self, env: TensorEnv, features: int, generator: torch.Generator) -> dict[str, nn.Module]:
        """The inverse model."""
        self._code = ActionCode(env.single_action_space, env.device)
        return {"inverse": InverseModel(features, self.hidden, self.embedding, self._code.width, generator)}

    @property
    def inverse(self) -> InverseModel:
        """The inverse model."""
        return cast(InverseModel, self.networks["inverse"])

    def row(self, features: torch.Tensor, transition: Transition, chosen: torch.Tensor) -> torch.Tensor:
        """Rows of s', s and the action."""
        action = self._code(transition.action.index_select(0, chosen))
        return torch.cat((features.index_select(0, chosen), self.before(transition, chosen), action), dim=1)

    def before(self, transition: Transition, chosen: torch.Tensor) -> torch.Tensor:
        """Features of s for the steps `chosen` `(K,)`."""
        obs = transition.obs
        if isinstance(obs, torch.Tensor):
            return self.encode(obs.index_select(0, chosen))
        return self.encode({name: entry.index_select(0, chosen) for name, entry in obs.items()})

    def parts(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Phi(s), phi(s') and the action's row."""
        after, before, action = rows.split((self.features, self.features, self._code.width), dim=1)
        both = self.inverse.embed(self.inputs(torch.cat((before, after))))
        phi_before, phi_after = both.chunk(2)
        return phi_before, phi_after, action

    def inverse_loss(self, before: torch.Tensor, after: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """How far the action is told wrongly from phi(s) and phi(s'), `()`."""
        return self._code.loss(self.inverse(before, after), action).mean()
