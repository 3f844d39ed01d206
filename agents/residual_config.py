"""Settings of the residual agent; those of the literature stand beside each (ResFiT: Ankile et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass

from cairngym.agents.off_policy_config import TD3Config


@dataclass(frozen=True, kw_only=True)
class ResidualConfig(TD3Config):
    """Settings of `Residual`. Noise is in halves of the action's range, whatever the wrapper's scale."""

    gamma: float = 0.99
    """Discount."""
    learning_rate: float = 3e-4
    """Of Adam, for the critics."""
    actor_learning_rate: float | None = 1e-4
    """Of Adam, for the correction; ResFiT's 1e-6 is for networks on images that are 1024 wide."""
    updates_per_step: float = 4.0
    """Gradient steps of the critics per env step."""
    policy_delay: int = 4
    """Gradient steps of the critics for each of the correction."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the correction and of every critic."""
    critics: int = 10
    """Size of the ensemble; the correction follows the mean of all."""
    target_critics: int | None = 2
    """How many critics, drawn anew for every gradient step, the target takes the minimum of."""
    n_step: int = 3
    """Rewards summed before the target bootstraps."""
    warmup_steps: int = 10_000
    """Transitions of the base policy, with uniform noise, before the first gradient step."""
    warmup_noise: float = 0.2
    """Bound of that noise."""
    keep_warmup: bool = True
    """Whether these transitions stay in the replay for ever, beside the `capacity` newest ones: they anchor the values
    of what the base does."""
    critic_only_updates: int = 10_000
    """Gradient steps of the critics, made at once after the warm-up, before the correction changes; each value then
    means something where the first gradient of the correction asks for it."""
    progressive_steps: int = 0
    """Env steps over which the share of corrected decisions grows from none to all, each decision of each env by a draw
    of its own (Policy Decorator, Yuan et al. 2025); zero corrects all."""
    exploration_noise: float = 0.05
    """Standard deviation of the noise on the executed action of the first env."""
    target_noise: float = 0.05
    """Standard deviation of the noise on the target policy's executed action."""
    target_noise_clip: float = 0.3
    """Bound of that noise."""
    max_grad_norm: float | None = 1.0
    """Largest norm of the gradient of the critics together, and of the correction's; None for any."""
    action_penalty: float = 0.0
    """Weight of the mean square of the correction, in shares of the wrapper's scale, in the actor's loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("warmup_noise", "critic_only_updates", "progressive_steps"):
            self._check_at_least(name, 0)
        if self.hindsight != "none":
            raise ValueError(
                f'Expected hindsight="none" for residual, got {self.hindsight!r}: the base acted for the goal it was '
                "given, and what it would have done for another is not known."
            )
        if self.random_actions:
            raise ValueError(
                f"Expected random_actions=0 for residual, got {self.random_actions}: it explores around its base. "
                "Give warmup_noise or exploration_noise."
            )
