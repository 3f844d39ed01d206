"""How `cairn reward` has programs written: by which prompt, compiler and checks, and what becomes of answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.commands.reward_providers import BegunProvider, NotAskedError, NotingProvider
from cairngym.envs.checks import check_options, unknown_name
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion, Provenance
from cairngym.reward_shaping.llm.provider import Provider, ProviderError
from cairngym.reward_shaping.llm.writing import Attempt, Check, judge, write_program

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv

Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Method:
    """How a system's programs come about."""

    begin: Callable[[Provider], ChatRequest]
    """The prompt that programs answer; a system of several stages asks the earlier ones."""
    first: ChatRequest
    """The prompt that is asked first."""
    compile: Callable[[str], Any]
    check: Check | None
    """None where programs are compiled only."""
    note: str = ""
    """Why they are, if they are."""

    def verdict(self, source: str) -> Attempt:
        """What a program is worth that nobody was asked for."""
        attempt, _ = judge(self.first, source, "stop", self.compile, self.check, extract=_as_it_is)
        return attempt


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one candidate."""

    attempts: tuple[Attempt, ...]
    error: str = ""
    """What ended it before it was accepted or given up."""
    unasked: ChatRequest | None = None
    """The repair that nobody was asked for."""
    origin: tuple[str, Provenance] | None = None
    """The model that wrote the last attempt, and where it comes from."""

    @property
    def source(self) -> str:
        """The accepted program; empty where there is none."""
        return self.attempts[-1].source if self.attempts and self.attempts[-1].accepted else ""


def _as_it_is(text: str) -> str:
    return text


@contextmanager
def method(system: str, env: TensorEnv, options: Options, *, model: Provider | None = None) -> Iterator[Method]:
    """What a system writes programs with; its sandbox lives as long as the context.

    Args:
        system: one of `WRITERS`.
        env: what programs are for.
        options: the system's own.
        model: asked by a critic, where the system's options want one.

    Raises:
        UnknownNameError: a system that writes no programs.
        TypeError: an option that it does not have.
    """
    if system not in WRITERS:
        raise unknown_name("system that writes programs", system, WRITERS)
    writer = WRITERS[system]
    check_options(f"The system {system!r}", options, list(inspect.signature(writer).parameters)[2:])
    yield from writer(env, model, **options)


def _text2reward(
    env: TensorEnv, model: Provider | None, examples: int = 2, hints: str = "", potential: bool = False
) -> Iterator[Method]:
    from cairngym.reward_shaping.llm.text2reward.shaper import Text2RewardShaper, verifier

    del model
    shaper = Text2RewardShaper(examples=examples, hints=hints, invariant=potential, gamma=0.99 if potential else None)
    first = shaper.request(env)
    with verifier(env, score=potential) as (check, note):
        yield Method(
            begin=lambda _: first, first=first, compile=partial(shaper.compile, env), check=check, note=note
        )  # fmt: skip


def _auto_mc(env: TensorEnv, model: Provider | None, critic: bool = False) -> Iterator[Method]:
    from cairngym.reward_shaping.llm.auto_mc.critic import Critic
    from cairngym.reward_shaping.llm.auto_mc.design import Weights, compile_design
    from cairngym.reward_shaping.llm.auto_mc.prompts import designer_request
    from cairngym.reward_shaping.llm.rehearsal import rehearse, sandbox_for

    first, recorded = designer_request(env), rehearse(env)
    compiled = partial(compile_design, env, weights=Weights())
    if recorded is None:
        yield Method(begin=lambda _: first, first=first, compile=compiled, check=None, note=_UNVERIFIED)
        return
    with sandbox_for(env, recorded) as sandbox:
        judge = Critic(env, Weights(), sandbox=sandbox, model=model if critic else None)
        yield Method(begin=lambda _: first, first=first, compile=compiled, check=judge)


def _lare(env: TensorEnv, model: Provider | None, candidates: int = 3) -> Iterator[Method]:
    from cairngym.reward_shaping.llm.lare.authoring import factor_verdict, record_factors
    from cairngym.reward_shaping.llm.lare.prompts import proposal_request, summary_request
    from cairngym.reward_shaping.llm.program_term import compile_for
    from cairngym.reward_shaping.llm.rehearsal import sandbox_for

    del model
    first = proposal_request(env, candidates)
    with sandbox_for(env, record_factors(env)) as sandbox:
        yield Method(
            begin=lambda provider: summary_request(env, provider.complete_sync(first).texts), first=first,
            compile=partial(compile_for, env), check=lambda source: factor_verdict(sandbox.verify(source)),
        )  # fmt: skip


_UNVERIFIED = "it was compiled, but not tried on transitions: the env measures other things than its id says"
WRITERS: dict[str, Callable[..., Iterator[Method]]] = {"text2reward": _text2reward, "auto_mc": _auto_mc, "lare": _lare}
"""The systems whose answers are programs, by name."""


def candidates(
    written: Method,
    request: ChatRequest,
    provider: NotingProvider,
    completion: Completion,
    *,
    repairs: int,
    files: Sequence[Path] = (),
) -> list[Outcome]:
    """Judge the candidates that answer a prompt, and have each repaired, whatever becomes of the others.

    Args:
        written: the system's.
        request: the prompt.
        provider: who is asked for repairs.
        completion: the candidates.
        repairs: rounds for each.
        files: what they were pasted from, if they were.
    """
    known: dict[str, Outcome] = {}
    outcomes = []
    for number, text in enumerate(completion.texts):
        if text not in known:
            begun = BegunProvider(provider, request, completion, number)
            known[text] = _develop(written, request, begun, provider, repairs)
        outcomes.append(known[text])
    origins = [Provenance(source=f"pasted from {path.name}") for path in files] or [completion.provenance] * len(
        outcomes
    )
    return [
        _with_origin(outcome, provider, (completion.model, origin))
        for outcome, origin in zip(outcomes, origins, strict=True)
    ]


def _develop(
    written: Method, request: ChatRequest, begun: BegunProvider, provider: NotingProvider, repairs: int
) -> Outcome:
    attempts: list[Attempt] = []
    try:
        with begun:
            write_program(
                begun, request, written.compile, check=written.check, repairs=repairs, record=attempts.append
            )  # fmt: skip
    except NotAskedError as error:
        return Outcome(attempts=tuple(attempts), unasked=error.request)
    except ProviderError as error:
        unanswered = [exchange.request for exchange in provider.exchanges if exchange.completion is None]
        return Outcome(attempts=tuple(attempts), error=str(error), unasked=unanswered[-1] if unanswered else None)
    return Outcome(attempts=tuple(attempts))


def _with_origin(outcome: Outcome, provider: NotingProvider, first: tuple[str, Provenance]) -> Outcome:
    """The outcome with who wrote its last attempt: whoever was asked for it, else who wrote the first."""
    last = outcome.attempts[-1]
    return replace(outcome, origin=provider.provenance(last.request, last.answer) or first)


# Files ----------------------------------------------------------------------------------------------------------------


def save(outcomes: Sequence[Outcome], folder: Path, system: str, task: str) -> list[Path]:
    """Write the accepted programs to `candidate_<number>.py`, with where they come from in comments at the top.

    Raises:
        OSError: a file can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, outcome in enumerate(outcomes):
        path = folder / f"candidate_{number}.py"
        path.unlink(missing_ok=True)
        if outcome.source:
            path.write_text(header(outcome, system, task) + outcome.source.strip() + "\n", encoding="utf-8")
            paths.append(path)
    return paths


def header(outcome: Outcome, system: str, task: str) -> str:
    """Comment lines that say where a program comes from; the compiler reads over them."""
    model, origin = outcome.origin or ("", Provenance(source=""))
    last = outcome.attempts[-1]
    rounds = len(outcome.attempts)
    facts = {
        "system": f"{system}, after {rounds - 1} repair{'s' * (rounds != 2)}", "task": task, "model": model,
        "source": origin.source, "date": origin.date, "note": origin.note, "recording": origin.recording,
        "prompt": last.request.hash,
    }  # fmt: skip
    lines = [f"# {name}: {_one_line(value)}" for name, value in facts.items() if value]
    return "\n".join(lines) + "\n\n"


def _one_line(text: str) -> str:
    """`text` within one line, without letters that the compiler refuses in comments too."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
