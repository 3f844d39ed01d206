"""The shaper whose reward a language model writes when it is bound to an env."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.abstraction import task_id
from cairngym.reward_shaping.llm.findings import Verdict
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.program import ProgramRefused, RewardProgram
from cairngym.reward_shaping.llm.program_term import ProgramTerm, compile_for, whole
from cairngym.reward_shaping.llm.provider import Provider, opened
from cairngym.reward_shaping.llm.rehearsal import rehearse, sandbox_for, verify_score
from cairngym.reward_shaping.llm.switching import LIMIT
from cairngym.reward_shaping.llm.text2reward.prompt import EXAMPLES, feedback_request, first_request
from cairngym.reward_shaping.llm.writing import Written, write_program

UNVERIFIED = "it was compiled, but not tried on transitions: the env has no id by which a small one could be made"


class Text2RewardShaper(ProgramTerm):
    """The value of a reward program that a language model writes from the env's description.

    At `bind` the prompt is built, answered, and what was answered is compiled, verified in a sandbox on transitions of
    a small env of the same id, and repaired where needed. An env without an id, or whose id measures other things than
    it does, is not verified, and says so in a warning and in `note`. With `invariant` the prompt asks for the score of
    a state, and what an agent might exploit is not held against it, since a potential has no exploits. The same prompt
    is asked once: binding again, to the same task, keeps the program.

    Args:
        provider: who answers, as `make_provider` takes it, or a provider, which is left open.
        candidate: which completion of the first prompt to use, from 0, with the repairs that it leads to.
        repairs: rounds of repair.
        verify: whether to try the program on transitions.
        examples: rewards for similar tasks in the prompt.
        hints: further knowledge of the task for the prompt.
        feedback: texts of feedback rounds, each about the program before it.
        invariant: make the score a potential; this and what follows as in `ProgramTerm`.
        gamma: the agent's discount.
        offset: of the potential.
        clip: bounds the score.
        limit: a score beyond it has exploded.

    Raises:
        ValueError: an option out of its range; at `bind`, no program was accepted.
        ProviderError: at `bind`, the provider has no answer.

    Attributes:
        written: how the program came about, round by round, after `bind`.
        note: what a reader of results should know of the program; empty where it was verified.
    """

    def __init__(
        self,
        *,
        provider: str | Provider = "recorded:",
        candidate: int = 0,
        repairs: int = 3,
        verify: bool = True,
        examples: int = EXAMPLES,
        hints: str = "",
        feedback: str | Sequence[str] = (),
        invariant: bool = False,
        gamma: float | None = None,
        offset: str | float = "zero",
        clip: float | None = None,
        limit: float = LIMIT,
    ) -> None:
        super().__init__(invariant=invariant, gamma=gamma, offset=offset, clip=clip, limit=limit)
        self.provider, self.verify, self.hints = provider, verify, hints
        self.candidate, self.repairs = whole("candidate", candidate), whole("repairs", repairs)
        self.examples = whole("examples", examples)
        self.feedback = (feedback,) if isinstance(feedback, str) else tuple(feedback)
        self.written: tuple[Written[RewardProgram], ...] = ()
        self.note = ""
        self._known: dict[str, tuple[Written[RewardProgram], ...]] = {}

    def request(self, env: TensorEnv) -> ChatRequest:
        """The first prompt for an env."""
        return first_request(
            env, examples=self.examples, hints=self.hints, potential=self.potential is not None
        )  # fmt: skip

    def load(self, env: TensorEnv) -> RewardProgram:
        """The accepted program of the last round.

        Raises:
            ValueError: a round gave none.
            ProviderError: the provider has no answer.
        """
        request = self.request(env)
        if request.hash not in self._known:
            verifying = verifier(env, self.verify, score=self.policy_invariant)
            with opened(self.provider) as provider, verifying as (check, self.note):
                self._known[request.hash] = self._write(env, request, provider, check)
        self.written = self._known[request.hash]
        if self.note:
            warnings.warn(f"The reward written for {task_id(env) or 'this env'}: {self.note}.", stacklevel=2)
        return compile_for(env, self.written[-1].source)

    def compile(self, env: TensorEnv, source: str) -> RewardProgram:
        """Compile what was answered.

        Raises:
            ProgramRefused: it is not of the language, or remembers where it is to be a potential.
        """
        program = compile_for(env, source)
        if self.potential is not None and program.remembers:
            raise ProgramRefused(
                f"The program remembers {', '.join(program.remembers)}, but memory is empty whenever a state is scored."
            )
        return program

    def _write(
        self, env: TensorEnv, request: ChatRequest, provider: Provider, check: Callable[[str], Verdict] | None
    ) -> tuple[Written[RewardProgram], ...]:
        """The first program, then one for each feedback."""
        compiled = partial(self.compile, env)
        rounds = [
            write_program(
                provider, request, compiled, check=check, repairs=self.repairs, candidate=self.candidate
            )
        ]  # fmt: skip
        for said in self.feedback:
            source = accepted(rounds[-1], request, self.candidate)
            again = feedback_request(request, source, feedback=said)
            rounds.append(write_program(provider, again, compiled, check=check, repairs=self.repairs))
        accepted(rounds[-1], request, self.candidate)
        return tuple(rounds)


def accepted(written: Written[RewardProgram], request: ChatRequest, candidate: int) -> str:
    """The text of an accepted program.

    Raises:
        ValueError: none was accepted; with what was wrong in each round.
    """
    if written.program is None:
        raise ValueError(
            f"Expected a reward program from {request.label}, candidate {candidate}, but none was accepted. Choose "
            f"another candidate, allow more repairs, or give a program with the shaper 'program'.\n{written.report()}"
        )
    return written.source


@contextmanager
def verifier(
    env: TensorEnv, verify: bool = True, *, score: bool = False
) -> Iterator[tuple[Callable[[str], Verdict] | None, str]]:
    """What verifies programs for an env, or scores that become potentials; and what to say where nothing does."""
    if not verify:
        yield None, ""
        return
    recorded = rehearse(env)
    if recorded is None:
        yield None, UNVERIFIED
        return
    with sandbox_for(env, recorded) as sandbox:
        yield (partial(verify_score, sandbox, env) if score else sandbox.verify), ""
