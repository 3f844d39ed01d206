"""Factors by a language model: proposals, a summary of them, and repairs until the program passes verification."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.findings import Verdict
from cairngym.reward_shaping.llm.lare.prompts import proposal_request, summary_request
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion
from cairngym.reward_shaping.llm.program import RewardProgram
from cairngym.reward_shaping.llm.program_term import compile_for
from cairngym.reward_shaping.llm.provider import Provider, ProviderError
from cairngym.reward_shaping.llm.rehearsal import ENVS, STEPS, rehearse, sandbox_for
from cairngym.reward_shaping.llm.transitions import Recorded, record_transitions
from cairngym.reward_shaping.llm.writing import Written, write_program

OF_REWARDS = frozenset(
    {
        "constant", "cycle", "dominance", "loitering", "moving away", "progress", "reset", "saturation", "scale",
        "standing still", "sums",
    }
)  # fmt: skip
"""Checks that ask whether a reward teaches the task, which factors do not have to."""


class FactorsRefused(ValueError):  # noqa: N818 (a verdict, not a mistake)
    """Nothing that the model wrote passed; the message lists what was wrong with each attempt."""


def write_factors(
    provider: Provider, env: TensorEnv, *, candidates: int = 3, repairs: int = 5, verify: bool = True
) -> RewardProgram:
    """Have the factors of `env`'s task written; see `author_factors`.

    Raises:
        FactorsRefused: nothing that was written passed.
        ProviderError: the model can't be asked.
    """
    written = author_factors(provider, env, candidates=candidates, repairs=repairs, verify=verify)
    if written.program is None:
        raise FactorsRefused(
            f"Expected factors that pass verification, got {written.report()}\n"
            "Allow more repairs, ask another model, or give a program with source= or path=."
        )
    return written.program


def author_factors(
    provider: Provider, env: TensorEnv, *, candidates: int = 3, repairs: int = 5, verify: bool = True
) -> Written[RewardProgram]:
    """Ask for proposals, have them made into one program, and have that repaired.

    Args:
        provider: who writes.
        env: the task; it is as it was afterwards.
        candidates: independent proposals.
        repairs: rounds in which the model may mend what the compiler or the sandbox refuses.
        verify: whether compiled programs are tried in a sandbox; without it none is refused for what it computes.

    Raises:
        ProviderError: the model can't be asked.
    """
    compiled = functools.partial(compile_for, env)
    proposals = provider.complete_sync(proposal_request(env, candidates)).texts
    request = summary_request(env, proposals)
    if not verify:
        return write_program(provider, request, compiled, repairs=repairs)
    with sandbox_for(env, record_factors(env)) as sandbox:
        return write_program(
            provider, request, compiled, check=lambda code: factor_verdict(sandbox.verify(code)), repairs=repairs
        )


def factor_verdict(verdict: Verdict) -> Verdict:
    """What a verdict on a reward program says of its components as factors: what judges the reward is left out."""
    findings = tuple(finding for finding in verdict.findings if finding.check not in OF_REWARDS)
    refused = any(finding.severity == "error" for finding in findings)
    return replace(verdict, accepted=not refused, findings=findings)


def record_factors(env: TensorEnv) -> Recorded:
    """Transitions to try factors on: of a small env of the same id where there is one, else of `env` itself."""
    recorded = rehearse(env)
    if recorded is not None:
        return recorded
    snapshot = env.get_state()
    try:
        return record_transitions(env, max(2, ENVS * STEPS // env.num_envs))
    finally:
        env.set_state(snapshot)


def requests(env: TensorEnv, provider: Provider | None = None, **options: Any) -> tuple[ChatRequest, ...]:
    """The prompts that factors of `env`'s task are asked for by, as far as they can be known.

    The first is known; the summary's holds the answers to the first, and a repair's those to the summary.

    Args:
        env: the task; it is as it was afterwards.
        provider: what has been answered; the first prompt that it can't answer comes last. None knows no answer.
        options: as for `author_factors`.
    """
    listener = _Listener(provider)
    try:
        author_factors(listener, env, **options)
    except ProviderError:
        if not listener.stuck:
            raise
    return tuple(listener.asked)


class _Listener(Provider):
    """Keeps what is asked of another provider; a request that it has no answer for ends the writing."""

    def __init__(self, inner: Provider | None) -> None:
        super().__init__()
        self.inner, self.asked, self.stuck = inner, list[ChatRequest](), False

    async def complete(self, request: ChatRequest) -> Completion:
        """Note the request and pass it on."""
        self.asked.append(request)
        try:
            if self.inner is not None:
                return await self.inner.complete(request)
        except ProviderError:
            self.stuck = True
            raise
        self.stuck = True
        raise ProviderError("No provider answers; the prompts are only listed.")
