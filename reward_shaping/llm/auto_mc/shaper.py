"""The shaper that pays the signs of a design's events and of its progress."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.abstraction import task_id
from cairngym.reward_shaping.llm.auto_mc.design import Design, Weights, compile_design
from cairngym.reward_shaping.llm.auto_mc.designer import accepted, write_design
from cairngym.reward_shaping.llm.auto_mc.prompts import designer_request
from cairngym.reward_shaping.llm.program import RewardProgram
from cairngym.reward_shaping.llm.program_term import ProgramTerm, given_text, number, whole
from cairngym.reward_shaping.llm.provider import Provider, opened
from cairngym.reward_shaping.llm.rehearsal import rehearse
from cairngym.reward_shaping.llm.writing import Written

RECORDED = "recorded:"
UNVERIFIED = "it was compiled, but not tried on transitions: the env has no id by which a small one could be made"


class AutoMCShaper(ProgramTerm):
    """r = 1.0 sgn(sparse) + 0.1 sgn(dense), where a language model writes sparse (events) and dense (progress).

    So the model decides directions and not sizes (Li et al., "Auto MC-Reward", CVPR 2024, arXiv 2312.09238). A step is
    paid one of nine values: ±1.1, ±1, ±0.9, ±0.1 or 0. A component that is NaN or infinite switches the term off, as in
    `ProgramTerm`; large ones are as good as small ones.

    At `bind` the designer is asked, and what it answers is compiled, tried in a sandbox on transitions of a small env
    of the same id, held against the checks in `checks`, shown to a second model where there is one, and repaired until
    nothing speaks against it. An env without an id is not verified, and says so in a warning and in `note`. The same
    prompt is asked once: binding again, to the same task, keeps the design.

    With `invariant` the potential is what standing still is paid; that of a design which pays for changes only is zero.

    Args:
        provider: the designer, as `make_provider` takes it, or a provider, which is left open.
        candidate: which completion of the first prompt to use, from 0, with the repairs that it leads to.
        repairs: rounds of repair.
        verify: whether to try designs on transitions.
        critic: a model that is asked whether a design agrees with the task, like `provider`; None asks nobody.
        sparse_weight: what the sign of an event is worth.
        dense_weight: what the sign of progress is worth.
        source: a design's text, instead of asking for one; it is compiled only.
        path: a file that holds it; a completion in Markdown will do, its code is taken out.
        invariant: make the score a potential, see `ProgramTerm`.
        gamma: the agent's discount, needed with `invariant`.
        offset: of the potential.

    Raises:
        ValueError: an option out of its range; at `bind`, no design was accepted (`DesignRefused`).
        ProviderError: at `bind`, a provider has no answer.

    Attributes:
        design: after `bind`.
        written: how it came about, attempt by attempt; None where it was given.
        note: what a reader of results should know of it; empty where it was verified.

    Example:
        >>> import cairngym
        >>> from cairngym.reward_shaping.core import ShapedEnv, Term
        >>> text = '''
        ... def reward(state, action, next_state, memory):
        ...     change = (next_state.node - state.node).float()
        ...     return change, {"sparse": (next_state.node == 2).float() * change, "dense": change}'''
        >>> env = ShapedEnv(cairngym.make("Chain-N10-v0"), [Term(name="mc", shaper=AutoMCShaper(source=text))])
        >>> obs, info = env.reset(seed=0)
        >>> [round(float(env.step([1])[1]), 3) for _ in range(3)]
        [0.1, 1.1, 0.1]
    """

    def __init__(
        self,
        *,
        provider: str | Provider = RECORDED,
        candidate: int = 0,
        repairs: int = 3,
        verify: bool = True,
        critic: str | Provider | None = None,
        sparse_weight: float = 1.0,
        dense_weight: float = 0.1,
        source: str | None = None,
        path: str | Path | None = None,
        invariant: bool = False,
        gamma: float | None = None,
        offset: str | float = "zero",
    ) -> None:
        super().__init__(invariant=invariant, gamma=gamma, offset=offset)
        if source is not None and path is not None:
            raise ValueError("Expected a design as source (its text) or as path (a file), got both.")
        self.provider, self.critic, self.verify = provider, critic, verify
        self.candidate, self.repairs = whole("candidate", candidate), whole("repairs", repairs)
        weights = number("sparse_weight", sparse_weight), number("dense_weight", dense_weight)
        self.weights = Weights(sparse=weights[0], dense=weights[1])
        self.source, self.path = source, path
        self.written: Written[Design] | None = None
        self.note = ""
        self._known: dict[str, tuple[Written[Design], str]] = {}

    def load(self, env: TensorEnv) -> RewardProgram:
        """The design that is given or written, as it is paid.

        Raises:
            ProgramRefused: the text given is no design.
            DesignRefused: nothing that was written is one.
            ProviderError: a provider has no answer.
            FileNotFoundError: no such file.
        """
        text = given_text(self.source, self.path)
        if text is None:
            text = self._asked(env)
        self.design = compile_design(env, text, self.weights)
        return self.design.paid

    def _asked(self, env: TensorEnv) -> str:
        """The text of the accepted design for an env; a model is asked once for each task."""
        request = designer_request(env)
        if request.hash not in self._known:
            self._known[request.hash] = self._write(env)
        self.written, self.note = self._known[request.hash]
        accepted(self.written, f"{request.label}, candidate {self.candidate}")
        if self.note:
            warnings.warn(f"The reward designed for {task_id(env) or 'this env'}: {self.note}.", stacklevel=2)
        return self.written.source

    def _write(self, env: TensorEnv) -> tuple[Written[Design], str]:
        recorded = rehearse(env) if self.verify else None
        critics = nullcontext() if self.critic is None else opened(self.critic)
        with opened(self.provider) as provider, critics as critic:
            assert provider is not None
            written = write_design(
                provider, env, candidate=self.candidate, repairs=self.repairs, recorded=recorded, critic=critic,
                weights=self.weights,
            )  # fmt: skip
        return written, UNVERIFIED if self.verify and recorded is None else ""
