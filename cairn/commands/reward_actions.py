"""What the subcommands of `cairn reward` do."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.commands import reward_prompts, reward_recording, reward_writing
from cairngym.commands.reward_providers import NotingProvider, pasted, read_text, replayed
from cairngym.commands.reward_tables import print_outcomes, print_verdict, printable, show_prompt
from cairngym.envs.checks import unknown_name
from cairngym.reward_shaping.llm.messages import ChatRequest, Completion
from cairngym.reward_shaping.llm.program import ProgramRefused, RewardProgram, extract_code
from cairngym.reward_shaping.llm.provider import Provider, make_provider
from cairngym.reward_shaping.llm.recorded import RecordedProvider

if TYPE_CHECKING:
    from cairngym.commands.reward import Asking, Check, Generate, Prompt, Record, Refine, Show, Task
    from cairngym.commands.reward_writing import Method, Outcome
    from cairngym.envs.core import TensorEnv


def prompt(options: Prompt) -> int:
    """Print prompts."""
    with task_env(options) as env:
        prompts = listed(options, env, options.after, options.repairs)
    chosen = reward_prompts.numbered(prompts, options.number)
    if options.json:
        print("\n".join(one.to_json(number) for number, one in chosen))
    else:
        shown = (show_prompt(one.request, number, len(prompts), one.state) for number, one in chosen)
        print("\n\n\n".join(shown))
    return 0


def generate(options: Generate) -> int:
    """Have programs written, and say what became of each."""
    folder = options.out or Path("rewards") / options.task / options.system
    with task_env(options) as env, _noting(options, folder) as noting:
        with reward_writing.method(options.system, env, values(options.option), model=noting) as written:
            request = written.first if options.completion else written.begin(noting)
            outcomes = _answered(options, written, request, noting)
        return _finish(outcomes, written, folder, options)


def check(options: Check) -> int:
    """Verify a program; 1 where it is refused."""
    with task_env(options) as env:
        try:
            source = program_text(options.file)
            with reward_writing.method(options.system, env, values(options.option)) as written:
                attempt = written.verdict(source)
        except ProgramRefused as refusal:
            print(f"refused: {printable(str(refusal))}")
            return 1
    if attempt.verdict is not None:
        print_verdict(attempt.verdict)
    else:
        print("accepted: it compiles" if attempt.accepted else f"refused: {printable(attempt.problem)}")
    _remark(written)
    return 0 if attempt.accepted else 1


def show(options: Show) -> int:
    """Draw a program, and say where the picture is."""
    from cairngym.experiments.reward_figures import check_episodes, draw_reward, watch_run, watch_scripted

    check_episodes(options.episodes)
    options = replace(options, task=_task_of(options.run, options.task))
    with task_env(options, num_envs=options.episodes) as env:
        program = compiled(options.system, env, program_text(options.file))
        if options.run is None:
            watched = watch_scripted(env, options.task, options.seed)
        else:
            watched = watch_run(options.run, episodes=options.episodes, seed=options.seed, greedy=options.greedy)
    drawn = draw_reward(program, watched, options.out or options.file.with_suffix(".png"), names=printable)
    print(f"{watched.policy[0].upper()}{watched.policy[1:]}: {drawn.successes} of {drawn.episodes} episodes succeeded.")
    print("\n".join(f"Shown: {line}." for line in drawn.lines))
    print(f"Picture: {drawn.path.resolve()}")
    return 0


def refine(options: Refine) -> int:
    """Print the prompt of a feedback round, or have it answered."""
    options = replace(options, task=_task_of(options.run, options.task))
    with task_env(options) as env:
        request = feedback_prompt(options, env)
        if options.provider is None and not options.completion:
            one = reward_prompts.Prompt(request=request)
            print(one.to_json(0) if options.json else show_prompt(request, 0, 1))
            return 0
        folder = options.out or Path("rewards") / options.task / f"{options.system}_refined"
        with _noting(options, folder) as noting:
            with reward_writing.method(options.system, env, values(options.option), model=noting) as written:
                outcomes = _answered(options, written, request, noting)
            return _finish(outcomes, written, folder, options)


def record(options: Record) -> int:
    """Record answers, and say where."""
    reward_recording.check_record(options)
    cassette, model = reward_recording.cassette_for(options, options.system), values(options.model_options)
    if options.prompts is not None:
        prompts = reward_prompts.read_prompts(options.prompts)
        lines = _recorded(options, prompts, cassette, model)
    else:
        with task_env(options) as env:
            if options.provider and reward_recording.can_write(options, options.system):
                chosen = values(options.option)
                lines = reward_recording.record_writing(options, options.system, env, chosen, cassette, model)
            else:
                lines = _recorded(options, listed(options, env, options.after, options.repairs), cassette, model)
    print("\n".join(lines or ["Nothing was left to record."]))
    return 0


def _recorded(
    options: Record, prompts: list[reward_prompts.Prompt], cassette: Path, model: dict[str, Any]
) -> list[str]:
    if options.provider:
        return reward_recording.record_answers(options, prompts, cassette, model)
    return reward_recording.record_files(options, prompts, cassette)


# Tasks, programs and prompts ------------------------------------------------------------------------------------------


@contextmanager
def task_env(options: Task, num_envs: int = 1) -> Iterator[TensorEnv]:
    """The env of the task asked for.

    Raises:
        ValueError: no task.
        UnknownNameError: no such task.
    """
    from cairngym.envs.registry import make
    from cairngym.experiments.extensions import import_modules

    import_modules(options.imports)
    if not options.task:
        raise ValueError("Which task? Give --task, e.g. --task FetchPush-v4; `cairn list envs` lists them.")
    env = make(options.task, num_envs=num_envs, **values(options.env))
    try:
        yield env
    finally:
        env.close()


def values(assignments: Sequence[str]) -> dict[str, Any]:
    """Options given as key=value.

    Raises:
        ConfigError: one without "=".
    """
    from cairngym.experiments.overlay import parse_overrides

    return parse_overrides(assignments)


def listed(options: Task, env: TensorEnv, after: str | None, repairs: int) -> list[reward_prompts.Prompt]:
    """The prompts of the system asked for, or what it comes to ask after recorded answers."""
    if after is None:
        return reward_prompts.system_prompts(options.system, env, values(options.option))
    recordings = replayed(after)
    return reward_prompts.following_prompts(options.system, env, values(options.option), recordings, repairs)


def program_text(path: Path) -> str:
    """A program's text, from a file that holds it or a completion with it.

    Raises:
        ProgramRefused: a completion without a program.
        OSError: the file can't be read.
    """
    text = read_text(path)
    return extract_code(text) if "```" in text else text


def compiled(system: str, env: TensorEnv, source: str) -> RewardProgram:
    """The program whose reward and components are drawn.

    Raises:
        UnknownNameError: a system that writes no programs.
        ProgramRefused: it is not of the language.
    """
    from cairngym.reward_shaping.llm.program_term import compile_for

    if system not in reward_writing.WRITERS:
        raise unknown_name("system that writes programs", system, reward_writing.WRITERS)
    if system == "auto_mc":
        from cairngym.reward_shaping.llm.auto_mc.design import compile_design

        return compile_design(env, source).paid
    return compile_for(env, source)


def feedback_prompt(options: Refine, env: TensorEnv) -> ChatRequest:
    """The prompt of a feedback round: what the run's policy does, and what a person says.

    Raises:
        ValueError: neither is given, or the system has no such round.
        ProgramRefused: the program is not of the language.
    """
    if not options.feedback.strip() and options.run is None:
        raise ValueError("Expected --run, a policy that learned from the program, or --feedback in words; got neither.")
    source, chosen = program_text(options.file), values(options.option)
    if options.system == "text2reward":
        from cairngym.reward_shaping.llm.behaviour import summarize_behaviour
        from cairngym.reward_shaping.llm.text2reward.prompt import feedback_request

        (first,) = reward_prompts.system_prompts("text2reward", env, chosen)
        program, played = compiled("text2reward", env, source), _played(options)
        behaviour = "" if played is None else summarize_behaviour(played, env.state_spec, program)
        return feedback_request(first.request, source, behaviour=behaviour, feedback=options.feedback)
    if options.system == "auto_mc":
        return _analysed(options, env, source)
    raise unknown_name("system with feedback rounds", options.system, ("text2reward", "auto_mc"))


def _analysed(options: Refine, env: TensorEnv, source: str) -> ChatRequest:
    """Auto MC-Reward's prompt, which takes failed episodes and no words of a person."""
    from cairngym.reward_shaping.llm.auto_mc.analysis import analyze
    from cairngym.reward_shaping.llm.auto_mc.design import compile_design
    from cairngym.reward_shaping.llm.auto_mc.prompts import refine_request

    played = _played(options)
    if played is None or options.feedback:
        raise ValueError("Expected --run without --feedback for auto_mc, whose analyzer reads failed episodes only.")
    return refine_request(env, source, analyze(played, compile_design(env, source).program))


def _played(options: Refine) -> Any:
    from cairngym.experiments.reward_figures import watch_run

    if options.run is None:
        return None
    return watch_run(options.run, episodes=options.episodes, seed=options.seed).played


def _task_of(run: Path | None, task: str) -> str:
    """The task asked for, else that of the run.

    Raises:
        ValueError: the run is of another task.
    """
    from cairngym.experiments.trained import run_config

    if run is None:
        return task
    found = run_config(run).task
    if task and task != found:
        raise ValueError(f"Expected a run of {task}, got one of {found} in {run}. Leave --task out.")
    return found


# Asking ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _noting(options: Asking, folder: Path) -> Iterator[NotingProvider]:
    """Whoever answers, with a transcript in `folder`; that of replayed recordings is written anew."""
    with ExitStack() as stack:
        inner: Provider | None = None
        if options.provider is not None or not options.completion:
            made = make_provider(options.provider or "recorded:", **values(options.model_options))
            inner = stack.enter_context(made)
        transcript = folder / "transcript.jsonl"
        if isinstance(inner, RecordedProvider):
            transcript.unlink(missing_ok=True)
        noting = NotingProvider(inner, transcript)
        stack.callback(noting.close)
        yield noting


def _answered(options: Asking, written: Method, request: ChatRequest, noting: NotingProvider) -> list[Outcome]:
    """What becomes of each answer to a prompt, pasted or asked for."""
    if options.candidates is not None and options.candidates < 1:
        raise ValueError(f"Expected --candidates of at least 1, got {options.candidates}.")
    if options.completion:
        completion: Completion = pasted(options.completion)
    else:
        completion = noting.complete_sync(replace(request, n=options.candidates or 1))
    return reward_writing.candidates(
        written, request, noting, completion, repairs=options.repairs, files=options.completion
    )


def _finish(outcomes: list[Outcome], written: Method, folder: Path, options: Asking) -> int:
    """Print the table, write the accepted programs, and say what to do about the others."""
    print_outcomes(outcomes)
    _remark(written)
    paths = reward_writing.save(outcomes, folder, options.system, options.task)
    print(f"{len(paths)} of {len(outcomes)} candidates accepted.")
    print("\n".join(f"Program: {path.resolve()}" for path in paths) or "No program was written.")
    if (folder / "transcript.jsonl").exists():
        print(f"Transcript: {(folder / 'transcript.jsonl').resolve()}")
    for number, outcome in enumerate(outcomes):
        if outcome.unasked is not None and not outcome.error:
            said = printable(outcome.unasked.messages[-1].content)
            print(
                f"\nTo have candidate {number} repaired, go on in the conversation that it comes from with:\n\n{said}"
            )
    errors = list(dict.fromkeys(outcome.error for outcome in outcomes if outcome.error))
    for error in errors:
        print(f"cairn reward: {' '.join(error.split())}", file=sys.stderr)
    return 0 if paths else 2 if errors else 1


def _remark(written: Method) -> None:
    if written.note:
        print(f"Note: {written.note}.")
