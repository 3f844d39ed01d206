"""From an answer of the model to candidates: compiled, tried in the sandbox, and repaired where that is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cairngym.experiments.overlay import write_text
from cairngym.experiments.runfolder import disk_full
from cairngym.experiments.search.archive import Candidate, archived
from cairngym.experiments.search.completions import Answered, KeepingProvider
from cairngym.experiments.search.config import SearchConfig
from cairngym.reward_shaping.llm.messages import Completion
from cairngym.reward_shaping.llm.program import ProgramRefused, RewardProgram
from cairngym.reward_shaping.llm.program_term import compile_for
from cairngym.reward_shaping.llm.provider import BudgetExhausted, MissingRecordingError
from cairngym.reward_shaping.llm.text2reward.shaper import verifier
from cairngym.reward_shaping.llm.writing import Attempt, continued, judge, repair_prompt

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv

PROGRAMS = "programs"
"""The folder of the candidates' programs within a search's."""


@dataclass(frozen=True)
class _Judged:
    """An answer with what it came to after its repairs."""

    attempt: Attempt
    completion: Completion
    """What the last attempt is from."""
    repairs: int = 0
    note: str = ""

    @property
    def text(self) -> str:
        """What tells it from others: its program, or its answer where that holds none."""
        return (self.attempt.source or self.attempt.answer).strip()


class Writer:
    """Makes candidates of answers; a context manager, since the sandbox that it starts has to end.

    Args:
        env: what the programs are for.
        config: of the search.
        provider: who repairs.
        folder: the search's, which the programs are written to.
    """

    def __init__(self, env: TensorEnv, config: SearchConfig, provider: KeepingProvider, folder: Path) -> None:
        self.env, self.config, self.provider, self.folder = env, config, provider, folder
        self._opened = ExitStack()
        self._note: str | None = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()

    def compile(self, source: str) -> RewardProgram:
        """Compile a program for the env, as the shaper will.

        Raises:
            ProgramRefused: it is not of the language, or has memory where it is to be a potential.
        """
        program = compile_for(self.env, source)
        if self.config.program.get("invariant") and program.remembers:
            raise ProgramRefused(
                f"The reward is used as a potential, a function of the state: it must do without memory, but it "
                f"remembers {', '.join(program.remembers)}."
            )
        return program

    def candidates(self, answered: Answered, like: Candidate, known: Mapping[str, str]) -> list[Candidate]:
        """Judge every candidate of a completion, have refused ones repaired, and write the programs down.

        Args:
            answered: the prompt and its candidates.
            like: what they have in common; its name is the stem of theirs and its `attempt` says where counting begins.
            known: names of earlier candidates by their programs' texts, which are not tried twice.

        Raises:
            ProviderError: the provider's in a repair, unless it only has no recording or no budget left.
            SandboxUnavailable: the sandbox does not start.
        """
        completion = answered.completion
        pairs = zip(completion.texts, completion.finish_reasons, strict=True)
        judged = [_Judged(self._judge(answered, text, finish), completion) for text, finish in pairs]
        if self.config.repair == "each" or not any(one.attempt.accepted for one in judged):
            judged = self._repaired(judged)
        begin = like.attempt * self.config.candidates
        names = [f"{like.name}_c{begin + index}" for index in range(len(judged))]
        judged = _distinct(judged, names, known)
        return [
            self._candidate(replace(like, name=name, generic=answered.generic), one)
            for name, one in zip(names, judged, strict=True)
        ]

    def _judge(self, answered: Answered, text: str, finish: str) -> Attempt:
        return self._attempt(Attempt(request=replace(answered.request, n=1), answer=text), finish)

    def _attempt(self, asked: Attempt, finish: str) -> Attempt:
        if self._note is None:
            check, self._note = self._opened.enter_context(verifier(self.env, self.config.verify))
            self._check = check
        judging = partial(judge, compile=self.compile, check=self._check)
        return judging(asked.request, asked.answer, finish)[0]

    def _repaired(self, judged: Sequence[_Judged]) -> list[_Judged]:
        """Every refused answer after its repairs; one that stands twice is repaired once."""
        done: dict[str, _Judged] = {}
        for one in judged:
            if one.text not in done:
                done[one.text] = one if one.attempt.accepted else self._repair(one)
        return [done[one.text] for one in judged]

    def _repair(self, judged: _Judged) -> _Judged:
        for count in range(1, self.config.repairs + 1):
            attempt = judged.attempt
            asked = continued(attempt.request, attempt.answer, repair_prompt(attempt))
            try:
                completion = self.provider.complete_sync(asked)
            except (MissingRecordingError, BudgetExhausted) as error:
                return replace(judged, note=f"not repaired: {type(error).__name__}")
            again = self._attempt(Attempt(request=asked, answer=completion.text), completion.finish_reasons[0])
            judged = _Judged(again, completion, count)
            if again.accepted:
                break
        return judged

    def _candidate(self, like: Candidate, judged: _Judged) -> Candidate:
        attempt, source = judged.attempt, ""
        if attempt.source:
            source = f"{PROGRAMS}/{like.name}.py"
            path = self.folder / source
            with disk_full(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, attempt.source.rstrip("\n") + "\n")
        unverified = self._note if self._note and attempt.accepted else ""
        return replace(
            like, model=judged.completion.model, provenance=asdict(judged.completion.provenance), source=source,
            problem=attempt.problem, repairs=judged.repairs, verdict=archived(attempt.verdict),
            note="; ".join(filter(None, (judged.note, unverified))),
        )  # fmt: skip


def _distinct(judged: Sequence[_Judged], names: Sequence[str], known: Mapping[str, str]) -> list[_Judged]:
    """Refuse programs that stood before, so that none is trained with twice."""
    seen = dict(known)
    result = []
    for one, name in zip(judged, names, strict=True):
        before = seen.setdefault(one.text, name)
        if before != name:
            same = replace(one.attempt, problem=f"It is the same as {before}.")
            one = replace(one, attempt=same, repairs=0)
        result.append(one)
    return result
