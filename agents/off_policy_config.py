"""Settings of SAC and TD3, and the settings the literature found for the Fetch tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cairngym.agents.demonstration_sources import check_source
from cairngym.agents.hindsight import STRATEGIES
from cairngym.agents.networks import ACTIVATIONS, Activation
from cairngym.envs.checks import check_seed, unknown_name

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig:
    """What SAC and TD3 have in common."""

    num_envs: int = 32
    """Envs stepped together; whoever makes the env reads it."""
    gamma: float = 0.98
    """Discount."""
    learning_rate: float = 1e-3
    """Of Adam, for the critics, and for the actor where it has none of its own."""
    actor_learning_rate: float | None = None
    """Of Adam, for the actor and SAC's temperature; None takes `learning_rate`."""
    batch: int = 256
    """Transitions of one gradient step."""
    updates_per_step: float = 1.0
    """Gradient steps per env step, every one of the `num_envs` counted; may be a fraction such as 1/64."""
    warmup_steps: int = 1000
    """Transitions collected by uniform actions before the first gradient step."""
    policy_delay: int = 1
    """Gradient steps of the critics for each of the actor."""
    tau: float = 0.005
    """How far the target networks move towards the trained ones after every gradient step."""
    hidden: tuple[int, ...] = (256, 256, 256)
    """Widths of the hidden layers of the actor and of every critic."""
    activation: Activation = "relu"
    """Between the layers."""
    critics: int = 2
    """Size of the ensemble."""
    target_critics: int | None = None
    """How many critics, drawn anew for every gradient step, the target takes the minimum of (REDQ, Chen et al. 2021);
    None takes all."""
    layer_norm: bool = True
    """Whether the critics' hidden layers are normalised, which keeps values of unseen actions in bounds (RLPD, Ball et
    al. 2023)."""
    clip_targets: bool = True
    """Whether targets are clipped to the returns the task can pay, where they are known (see `return_bounds`)."""
    normalize: bool = True
    """Whether observations are centred and scaled by the statistics of those collected."""
    observation_clip: float = 10.0
    """Bound of normalised observations in standard deviations."""
    observation_floor: float = 0.01
    """Least standard deviation an observation is divided by, so that what hardly ever moves is not blown up."""
    capacity: int = 1_000_000
    """Transitions the replay holds."""
    n_step: int = 1
    """Rewards summed before the target bootstraps."""
    hindsight: str = "none"
    """Which goals replace the desired one in replay: "none", "future", "final" or "episode"; or "times", which replaces
    the times of an episode's plan (wrapper "temporal")."""
    hindsight_ratio: float = 0.8
    """Share of replayed transitions whose goal or plan is replaced; 0.8 is four for every original one."""
    demonstrations: str | None = None
    """Demonstrations that every batch is mixed with: a file, a Minari dataset, or the task's oracle, asked when
    learning begins (see `cairngym.agents.demonstration_sources`); None for none."""
    demonstration_episodes: int | None = None
    """How many of them, the first ones; None takes all of a file's, and 10 of an oracle's."""
    demonstration_ratio: float = 0.5
    """Share of a batch that comes from the demonstrations."""
    max_grad_norm: float | None = None
    """Largest norm of the gradient of the critics together, and of the actor's; None for any."""
    random_actions: float = 0.0
    """Probability of a uniform action after the warm-up."""
    stagger: bool = False
    """Whether the first episodes begin at random ages, so that time limits do not fall together."""
    period: int = 2048
    """Env steps between two updates of learned shapers."""
    report_period: int = 10_000
    """Env steps between two reports to the callbacks."""
    precision: Precision = "float32"
    """Of the hidden layers within a gradient step; heads, targets and parameters stay float32."""
    compile: bool = False
    """Whether torch.compile builds the losses; needs a C++ compiler."""
    save_replay: bool = True
    """Whether checkpoints hold the replay; without it a resumed run collects `warmup_steps` before it learns on."""
    seed: int = 0
    """Of everything random in the agent."""

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.activation not in ACTIVATIONS:
            raise unknown_name("activation", self.activation, ACTIVATIONS)
        if self.precision not in ("float32", "bfloat16"):
            raise unknown_name("precision", self.precision, ("float32", "bfloat16"))
        if self.hindsight not in STRATEGIES:
            raise unknown_name("hindsight strategy", self.hindsight, STRATEGIES)
        for name in ("num_envs", "batch", "critics", "capacity", "n_step", "policy_delay", "period", "report_period"):
            self._check_at_least(name, 1)
        self._check_at_least("warmup_steps", 0)
        for name in ("gamma", "tau", "hindsight_ratio", "demonstration_ratio", "random_actions"):
            self._check_share(name)
        for name in ("learning_rate", "updates_per_step", "observation_clip", "observation_floor"):
            self._check_positive(name)
        for name in ("actor_learning_rate", "max_grad_norm"):
            if getattr(self, name) is not None:
                self._check_positive(name)
        if self.demonstrations is not None:
            check_source(self.demonstrations)
        if self.demonstration_episodes is not None:
            self._check_at_least("demonstration_episodes", 1)
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"Expected at least one hidden layer of width >= 1, got {self.hidden}.")
        if self.target_critics is not None and not 1 <= self.target_critics <= self.critics:
            raise ValueError(
                f"Expected target_critics in [1, critics={self.critics}], got {self.target_critics}. "
                "Lower it, or raise critics."
            )
        if self.warmup_steps > self.capacity:
            raise ValueError(
                f"Expected warmup_steps <= capacity={self.capacity}, got {self.warmup_steps}; the replay could never "
                "hold them. Raise capacity."
            )

    def _check_at_least(self, name: str, least: int) -> None:
        if not getattr(self, name) >= least:
            raise ValueError(f"Expected {name} >= {least}, got {getattr(self, name)}.")

    def _check_share(self, name: str) -> None:
        if not 0.0 <= getattr(self, name) <= 1.0:
            raise ValueError(f"Expected {name} in [0, 1], got {getattr(self, name)}.")

    def _check_positive(self, name: str) -> None:
        if not 0.0 < getattr(self, name) < float("inf"):
            raise ValueError(f"Expected a finite {name} > 0, got {getattr(self, name)}.")


@dataclass(frozen=True, kw_only=True)
class SACConfig(OffPolicyConfig):
    """Settings of SAC; the defaults suit goal tasks with sparse rewards."""

    learn_temperature: bool = True
    """Whether the temperature follows the entropy; else it stays at `initial_temperature`."""
    initial_temperature: float = 0.1
    """First weight of the entropy, in units of reward."""
    target_entropy: float | None = None
    """Entropy of the policy on [-1, 1]^A that the temperature aims at, in nats; None takes -A."""
    entropy_backup: bool = False
    """Whether values count the entropy of later actions. Targets are then not clipped: returns with entropy may leave
    the task's range. Without it values are those of the task alone, as RLPD has them where rewards are sparse."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("initial_temperature")


@dataclass(frozen=True, kw_only=True)
class RLPDConfig(SACConfig):
    """Settings of RLPD: SAC's, with the defaults of Ball et al. (2023, table 4) for sparse rewards."""

    gamma: float = 0.99
    """Discount."""
    learning_rate: float = 3e-4
    """Of Adam, for all networks."""
    updates_per_step: float = 20.0
    """Gradient steps per env step."""
    warmup_steps: int = 5000
    """Transitions collected by uniform actions before the first gradient step."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of the actor and of every critic."""
    critics: int = 10
    """Size of the ensemble; the actor follows the mean of all."""
    target_critics: int | None = 2
    """How many critics, drawn anew for every gradient step, the target takes the minimum of."""
    initial_temperature: float = 1.0
    """First weight of the entropy, in units of reward."""
    target_entropy: float | None = None
    """Entropy of the policy on [-1, 1]^A that the temperature aims at, in nats; None takes -A / 2."""


@dataclass(frozen=True, kw_only=True)
class TD3Config(OffPolicyConfig):
    """Settings of TD3; `critics=1, policy_delay=1, target_noise=0.0` make it DDPG."""

    exploration_noise: float = 0.1
    """Standard deviation of the noise on the action played in the first env, in halves of the action's range."""
    exploration_noise_max: float | None = None
    """The same for the last env, those between evenly spread (as FastTD3, Seo et al. 2025, spreads them); None takes
    `exploration_noise`."""
    target_noise: float = 0.2
    """Standard deviation of the noise on the target policy's action."""
    target_noise_clip: float = 0.5
    """Bound of that noise."""
    policy_delay: int = 2
    """As for every agent; two by default (Fujimoto et al. 2018)."""
    action_penalty: float = 0.0
    """Weight of the mean square of the policy's actions in the actor's loss, which keeps tanh from saturating
    (Andrychowicz et al. 2017)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("exploration_noise", "target_noise", "target_noise_clip", "action_penalty"):
            self._check_at_least(name, 0)
        if self.exploration_noise_max is not None and self.exploration_noise_max < self.exploration_noise:
            raise ValueError(
                f"Expected exploration_noise_max >= exploration_noise={self.exploration_noise}, "
                f"got {self.exploration_noise_max}."
            )


def fetch_ddpg() -> TD3Config:
    """DDPG with hindsight as Andrychowicz et al. (2017) and Plappert et al. (2018) set it for the Fetch tasks.

    Their targets move by 0.05 after every 40 gradient steps of 256 transitions from each of 19 workers; one worker's
    updates come to 0.4 an env step. `tau` here is the usual 0.005 of every step, which follows faster.
    """
    return TD3Config(
        gamma=0.98, learning_rate=1e-3, batch=256, updates_per_step=0.4, tau=0.005, hidden=(256, 256, 256), critics=1,
        layer_norm=False, observation_clip=5.0, hindsight="future", hindsight_ratio=0.8, random_actions=0.3,
        exploration_noise=0.2, target_noise=0.0, policy_delay=1, action_penalty=1.0,
    )  # fmt: skip


def fetch_sac() -> SACConfig:
    """SAC with hindsight after RL Zoo's TQC settings of FetchPush: large batches, quick targets, a short horizon."""
    return SACConfig(
        gamma=0.95, learning_rate=1e-3, batch=2048, updates_per_step=1.0, tau=0.05, hidden=(512, 512, 512),
        layer_norm=False, normalize=False, hindsight="future", hindsight_ratio=0.8, entropy_backup=True,
    )  # fmt: skip
