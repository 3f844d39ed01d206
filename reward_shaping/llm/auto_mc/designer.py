"""The designer: has a design written, judged by the critic, and repaired, in a bounded number of rounds."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.auto_mc.critic import Critic
from cairngym.reward_shaping.llm.auto_mc.design import Design, Weights, compile_design
from cairngym.reward_shaping.llm.auto_mc.prompts import designer_request
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.provider import Provider
from cairngym.reward_shaping.llm.rehearsal import sandbox_for
from cairngym.reward_shaping.llm.transitions import Recorded
from cairngym.reward_shaping.llm.writing import Written, write_program


class DesignRefused(ValueError):  # noqa: N818 (a verdict, not a mistake)
    """Nothing that the designer wrote passed; the message lists what was wrong with each attempt."""


def write_design(
    provider: Provider,
    env: TensorEnv,
    *,
    request: ChatRequest | None = None,
    candidate: int = 0,
    repairs: int = 3,
    recorded: Recorded | None = None,
    critic: Provider | None = None,
    weights: Weights | None = None,
) -> Written[Design]:
    """Have a design written.

    Args:
        provider: the designer.
        env: the task; it is left as it is.
        request: the first prompt; None asks for a first design, `refine_request` for a better one.
        candidate: which completion of it to go on with, from 0.
        repairs: rounds in which the designer may mend what the compiler or the critic refuses.
        recorded: transitions to try designs on in a sandbox, see `rehearsal.rehearse`; None compiles them only.
        critic: a model that is asked about every design that all else accepts; None asks nobody.
        weights: of the signs.

    Raises:
        ProviderError: a model can't be asked.
        SandboxUnavailable: the sandbox does not start.
    """
    weights = weights or Weights()
    with ExitStack() as stack:
        sandbox = None if recorded is None else stack.enter_context(sandbox_for(env, recorded))
        judge = Critic(env, weights, sandbox=sandbox, model=critic) if sandbox or critic else None
        compiled = partial(compile_design, env, weights=weights)
        return write_program(
            provider, request or designer_request(env), compiled, check=judge, repairs=repairs, candidate=candidate
        )


def accepted(written: Written[Design], what: str = "the designer") -> Design:
    """The accepted design.

    Args:
        written: what became of the request.
        what: who was asked, for the message.

    Raises:
        DesignRefused: none was accepted; with what was wrong in each attempt.
    """
    if written.program is None:
        raise DesignRefused(
            f"Expected a reward program from {what}, but none was accepted. Choose another candidate, allow more "
            f"repairs, or give a program with source= or path=.\n{written.report()}"
        )
    return written.program
