"""LaRe as a shaper: the return of an episode, redistributed over its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from cairngym.envs.core import TensorEnv, Transition, clone
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.llm.lare.decoder import Decoder, check_decoder
from cairngym.reward_shaping.llm.lare.decomposition import Loss
from cairngym.reward_shaping.llm.lare.episodes import EpisodeRing
from cairngym.reward_shaping.llm.lare.factors import Factors, ProgramFactors, StateFactors
from cairngym.reward_shaping.llm.lare.sources import FactorSource
from cairngym.reward_shaping.llm.program import ProgramFailed, forget
from cairngym.reward_shaping.llm.program_term import compile_for, number
from cairngym.reward_shaping.llm.provider import Provider
from cairngym.reward_shaping.llm.switching import Fuse

MAX_BYTES = 2**30
"""Of the episodes kept; a larger storage is refused."""


class _Described(NamedTuple):
    """The factors of one batch; nothing is kept yet."""

    factors: torch.Tensor
    """Finite, float32 `(B, F)`."""
    sound: torch.Tensor
    """bool `(B,)`, where they were finite as the program gave them."""
    memory: dict[str, torch.Tensor]
    """What the envs remember after it."""
    failure: str = ""
    """Why the program could not be evaluated."""


class LaReShaper(Shaper):
    """f_psi(z) - r: rewards learned from returns over latent factors z, in place of the task's reward r.

    Qu et al., "Latent Reward: LLM-Empowered Credit Assignment in Episodic Reinforcement Learning" (AAAI 2025, arXiv
    2412.11120). A language model writes which factors of a step matter (a reward program, whose components they are); a
    decoder weighs them such that the rewards of an episode add up to its return. With weight one, task and term
    together are the redistributed reward. `factors="state"` decomposes returns over the raw state instead, which needs
    no model: RD, and RRD with `loss="rrd"`.

    The decoder learns in `update` only, from the last `capacity` finished episodes. Until `warmup` of them were
    finished at an update nothing is paid, so that the task's own reward stands. Where success ends the episode a
    decoder that lags behind pays for staying near success instead, and soon sees none: if `loss` does not fall well
    below one while successes are rare, raise `updates` or `learning_rate`. With few factors `hidden=(64, 64)` and
    `learning_rate=1e-3` fit as well as the paper's settings, which are the default, in a fraction of the time.

    Where a program fails, or gives factors that are not finite, the term is switched off for the rest of the run: it
    pays nothing, a warning says so, and the metric `switched_off` is one.

    Args:
        factors: "program", or "state" for the raw state.
        source: text of the program.
        path: file that holds it.
        provider: asked for the program where neither is given, see `cairngym.reward_shaping.llm.provider`; default are
            the packaged recordings.
        candidates: programs asked for, of which the model makes one.
        repairs: rounds in which the model may mend what verification refuses.
        fields: state fields for `factors="state"`; default is all that are not privileged.
        keep_task: pay f_psi(z) and leave the task's reward in.
        loss: "rd" (whole episodes), "rrd" (a random subset of steps) or "unbiased" (the subset, without its bias).
        subset: steps drawn of each episode for the last two.
        capacity: episodes kept.
        warmup: episodes finished before anything is paid.
        batch: episodes of one gradient step.
        updates: gradient steps in one update.
        learning_rate: of Adam.
        hidden: widths of the decoder's hidden layers.
        clip: bound of normalised factors.
        seed: of the decoder and of everything drawn.

    Raises:
        ValueError: an option out of its range, or more than one source of factors.

    Example:
        >>> import cairngym
        >>> env = cairngym.make("Chain-N10-v0", num_envs=8)
        >>> env = cairngym.shape(env, "lare", factors="state", hidden=(16,), warmup=8)
        >>> obs, info = env.reset(seed=0)
        >>> for _ in range(40):
        ...     obs, reward, terminated, truncated, info = env.step([1] * 8)
        >>> metrics = env.update_shapers()
        >>> metrics["lare/episodes"], float(info["reward_terms"]["lare"][0])
        (32.0, 0.0)
    """

    stream = "task"

    def __init__(
        self,
        *,
        factors: Literal["program", "state"] = "program",
        source: str | None = None,
        path: str | Path | None = None,
        provider: str | Provider | None = None,
        candidates: int = 3,
        repairs: int = 5,
        fields: Sequence[str] = (),
        keep_task: bool = False,
        loss: Loss = "rd",
        subset: int = 64,
        capacity: int = 256,
        warmup: int = 64,
        batch: int = 32,
        updates: int = 64,
        learning_rate: float = 3e-4,
        hidden: Sequence[int] = (256, 256, 256),
        clip: float = 10.0,
        seed: int = 0,
    ) -> None:
        learning_rate, clip = number("learning_rate", learning_rate), number("clip", clip)
        check_decoder(hidden, loss, subset, learning_rate, clip)
        for name, value in (("capacity", capacity), ("batch", batch), ("updates", updates)):
            if value < 1:
                raise ValueError(f"Expected {name} >= 1, got {value}.")
        if warmup < 0:
            raise ValueError(f"Expected warmup >= 0, got {warmup}.")
        self.source = FactorSource(
            factors, source=source, path=path, provider=provider, candidates=candidates, repairs=repairs, fields=fields
        )
        self.keep_task, self.loss, self.subset, self.capacity, self.warmup = keep_task, loss, subset, capacity, warmup
        self.batch, self.updates, self.learning_rate = batch, updates, learning_rate
        self.hidden, self.clip, self.seed = tuple(hidden), clip, seed

    def bind(self, env: TensorEnv) -> None:
        """Obtain the factors and lay out an empty ring; the env is as it was."""
        self._env, self._longest = env, env.unwrapped.task.horizon
        self._build(self.source.make(env))

    def _build(self, factors: Factors) -> None:
        env, self.factors = self._env, factors
        self.requires, self.memory = factors.requires, factors.remembers
        width = len(factors.names)
        needed = EpisodeRing.bytes(env.num_envs, width, self._longest, self.capacity)
        if needed > MAX_BYTES:
            raise ValueError(
                f"Expected episodes that fit into {MAX_BYTES >> 20} MiB, got {needed >> 20} MiB for {self.capacity} "
                f"finished and {env.num_envs} running ones of {self._longest} steps with {width} factors. Lower "
                "capacity or the number of envs, name fewer fields, or give the env a shorter horizon."
            )
        self.ring = EpisodeRing(env.num_envs, width, self._longest, self.capacity, env.device)
        self.decoder = Decoder(
            width, hidden=self.hidden, loss=self.loss, subset=self.subset, learning_rate=self.learning_rate,
            clip=self.clip, seed=self.seed, device=env.device,
        )  # fmt: skip
        self.fuse = Fuse("lare", torch.finfo(torch.float32).max)
        self.fuse.bind(env.device)
        self._memory: dict[str, torch.Tensor] = {}
        self._seen, self._ready = 0, False
        self._last: tuple[Transition, _Described] | None = None

    @property
    def ready(self) -> bool:
        """Whether anything is paid yet."""
        return self._ready and not self.fuse.blown

    def _described(self, transition: Transition) -> _Described:
        """The factors, computed once for `shape` and `observe`."""
        if self._last is None or self._last[0] is not transition:
            if self.memory and transition.env_id is None:
                raise ValueError("What factors remember belongs to a running episode; keep the value collected.")
            self._last = transition, self._describe(transition)
        return self._last[1]

    @torch.no_grad()
    def _describe(self, transition: Transition) -> _Described:
        memory = dict(self._memory)
        try:
            factors = self.factors(transition, memory)
        except ProgramFailed as failure:
            nothing = torch.zeros(len(transition), len(self.factors.names), device=transition.reward.device)
            return _Described(nothing, nothing[:, 0] > 0, self._memory, f"its program failed: {failure}")
        return _Described(torch.nan_to_num(factors), self.fuse.sound(factors.abs().amax(dim=1)), memory)

    def shape(self, transition: Transition) -> torch.Tensor:
        """The redistributed reward less the task's, float32 `(B,)`; zero until `ready`."""
        if not self.ready:
            return torch.zeros_like(transition.reward, dtype=torch.float32)
        described = self._described(transition)
        with torch.no_grad():
            value = self.decoder.rewards(described.factors)
        value = value if self.keep_task else value - transition.reward
        return self.fuse.passed(value, described.sound)

    def observe(self, transition: Transition) -> None:
        """Add the step to the running episodes, and switch off if its factors are unsound."""
        if self.fuse.blown:
            return
        described = self._described(transition)
        if described.failure:
            self.fuse.blow(described.failure, len(transition))
        else:
            self.fuse.observe(described.sound, transition.valid)
        done = transition.terminated | transition.truncated
        self.ring.add(described.factors, transition.reward, done, transition.valid)
        self._memory, self._last = described.memory, None

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the running episodes of the masked envs."""
        self.ring.begin(mask)
        forget(self._memory, mask)
        self._last = None

    def update(self) -> dict[str, float]:
        """Take new episodes into the statistics, then train the decoder.

        Returns:
            `episodes` finished so far, `switched_off`, and once there are any, the mean `loss` in units of the mean
            square of R/T, and that unit's root as `scale`.
        """
        self._last = None
        finished, fuse = self.ring.finished, self.fuse.metrics()
        if self.fuse.blown or finished == 0:
            return {"episodes": float(finished), **fuse}
        self.decoder.acquaint(self.ring.since(self._seen))
        self._seen, self._ready = finished, finished >= self.warmup
        loss = self.decoder.train(self.ring, self.updates, self.batch)
        if not bool(torch.isfinite(loss)):
            self.fuse.blow("the loss of its decoder is not finite", 0)
        learned = {"loss": float(loss), "scale": float(self.decoder.scale)}
        return {"episodes": float(finished), **self.fuse.metrics(), **learned}

    def get_state(self) -> dict[str, Any]:
        """Copy the program's text, decoder, episodes, memory and fuse."""
        return {
            "program": self._source, "decoder": self.decoder.get_state(), "ring": self.ring.get_state(),
            "memory": clone(self._memory), "seen": self._seen, "ready": self._ready, "fuse": self.fuse.get_state(),
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy; its program takes the place of the present one.

        Raises:
            ValueError: its program reads fields that the present one does not, which nobody keeps.
        """
        if snapshot["program"] != self._source:
            self._adopt(snapshot["program"])
        self.decoder.set_state(snapshot["decoder"])
        self.ring.set_state(snapshot["ring"])
        self._memory = clone(snapshot["memory"])
        self._seen, self._ready, self._last = snapshot["seen"], snapshot["ready"], None
        self.fuse.set_state(snapshot["fuse"])

    @property
    def _source(self) -> str | None:
        return self.factors.program.source if isinstance(self.factors, ProgramFactors) else None

    def _adopt(self, source: str | None) -> None:
        factors: Factors = (
            StateFactors(self._env, self.source.fields) if source is None
            else ProgramFactors(compile_for(self._env, source))
        )  # fmt: skip
        further = sorted(set(factors.requires) - set(self.requires))
        if further:
            raise ValueError(
                f"The snapshot's factors read the fields {further}, which the present ones do not. Give its program as "
                "source, or the recordings that it came from."
            )
        self._build(factors)
