"""Evolution of reward programs: a model proposes, training disposes, and the best so far is what is improved next."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cairngym.envs.strict_yaml import build, load_yaml
from cairngym.experiments.compare import Outcome, compare
from cairngym.experiments.launcher import Launcher, LocalPool
from cairngym.experiments.matrix import expand
from cairngym.experiments.overlay import differences, plain, write_text, write_yaml
from cairngym.experiments.resolve import resolve
from cairngym.experiments.runfolder import RunFolder, disk_full, mixed_runs, set_aside
from cairngym.experiments.search.archive import Archive, Candidate, best, read_archive
from cairngym.experiments.search.candidates import Writer
from cairngym.experiments.search.completions import Answered, KeepingProvider, ask
from cairngym.experiments.search.config import SearchConfig
from cairngym.experiments.search.fitness import promoted
from cairngym.experiments.search.prompts import first_request, generic_request, reflection_request, requests
from cairngym.experiments.search.reflection import reflect
from cairngym.experiments.search.training import train
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.provider import BudgetExhausted, MissingRecordingError, Provider, make_provider

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv

SEARCH, ARCHIVE, COMPLETIONS, STOPPED = "search.yaml", "archive.jsonl", "completions.jsonl", "stopped.json"
IGNORED = ("checkpoint", "provider_options")
"""Keys of a search that do not bear on its results."""


@dataclass(frozen=True, kw_only=True)
class SearchOutcome:
    """What a search came to."""

    folder: Path
    """The search's folder."""
    best: Candidate | None
    """The best program of the archive; None where no program could be trained with."""
    final: Outcome | None
    """The comparison that judges it; None where there is no program."""
    report: Path
    """report.md."""


def evolve(
    config: SearchConfig,
    root: Path = Path("runs/search"),
    *,
    provider: Provider | None = None,
    launcher: Launcher | None = None,
    fresh: bool = False,
    strict: bool = False,
    command: str = "",
    console: Console | None = None,
) -> SearchOutcome:
    """Search for a reward program, compare the best one on fresh seeds, and write the report.

    What was answered, archived and trained before is kept, so that stopping it at any moment, however roughly, loses at
    most what each running training has done since its last checkpoint. Given the same answers it comes to the same.

    Args:
        config: what to search for and how.
        root: the folder of all searches.
        provider: who writes, instead of `config.provider`; left open.
        launcher: what executes the runs; default is a process per core on this machine.
        fresh: move a search made with other settings aside instead of refusing to go on with it.
        strict: raise where no recording or no budget is left for a later round, instead of ending the rounds and
            comparing what was found; a search that ended so goes on.
        command: what was typed, for the record.
        console: where to tell the progress.

    Raises:
        MixedRunsError: the folder holds a search with other settings; names the keys.
        FolderInUseError: another process searches in it.
        ProviderError: the model can't be asked; the same call goes on from there.
        UnknownNameError, TypeError, ValueError: a task, agent, shaper or option that does not exist, before anything is
            asked.
    """
    console = console or Console()
    for run in expand(config.final_comparison(Path("program.py"))):
        resolve(run)
    folder = root / config.name
    _check_same(config, folder, fresh=fresh)
    with RunFolder(folder).lock():
        with disk_full(folder):
            write_yaml(folder / SEARCH, config)
        if strict:
            (folder / STOPPED).unlink(missing_ok=True)
        found = Search(config, folder, launcher or LocalPool(), console, strict=strict).run(provider)
        final = None
        if found is not None:
            comparison = config.final_comparison(folder / found.source)
            final = compare(comparison, folder, launcher=launcher, fresh=fresh, command=command, console=console)
        report = _report(folder, console)
    return SearchOutcome(folder=folder, best=found, final=final, report=report)


def _check_same(config: SearchConfig, folder: Path, *, fresh: bool) -> None:
    """Refuse to go on with a search that was made with other settings, or move it aside."""
    recorded = folder / SEARCH
    if not recorded.is_file():
        return
    defaults = plain(SearchConfig(name=config.name, task=config.task))
    pair = ({**defaults, **load_yaml(recorded)}, plain(config))
    old, new = ({key: value for key, value in each.items() if key not in IGNORED} for each in pair)
    changed = differences(old, new)
    if changed and not fresh:
        raise mixed_runs(folder, changed)
    if changed:
        set_aside(folder, folder.parent / ".old" / folder.name)


def _report(folder: Path, console: Console) -> Path:
    from cairngym.experiments.search.report import write_search_report

    report = write_search_report(folder)
    console.print(f"\nReport: {report.resolve()}", highlight=False, soft_wrap=True)
    return report


def read_config(folder: Path) -> SearchConfig:
    """The config of a search from its folder.

    Raises:
        ConfigError: it can't be read or used.
    """
    path = folder / SEARCH
    return build(SearchConfig, load_yaml(path), source=str(path))


def prompts(
    config: SearchConfig, folder: Path, first: ChatRequest, round: int, parent: Candidate | None
) -> tuple[ChatRequest, ...]:
    """The prompt of a round, then the one that is asked where that has no recording.

    Args:
        config: of the search.
        folder: the search's.
        first: the first round's prompt, which is asked as long as there is no program to improve.
        round: counted from one.
        parent: the best of the rounds before; None where there is none.
    """
    trial = None if parent is None else parent.trial(len(config.rungs) - 1)
    if parent is None or trial is None:
        return (first,)
    source = (folder / parent.source).read_text(encoding="utf-8")
    generic = generic_request(first, round, config.rounds, source)
    return reflection_request(first, round, source, reflect(trial)), generic


def next_requests(config: SearchConfig, folder: Path) -> tuple[ChatRequest, ...]:
    """What a search in `folder` asks next, as `prompts` has it; nothing where all rounds are over.

    So what its next round needs can be recorded once the rounds before it have been trained.
    """
    candidates, last = read_archive(folder / ARCHIVE), len(config.rungs) - 1
    round = 1 + max((one.round for one in candidates if one.fitness(last) is not None), default=0)
    if round > config.rounds:
        return ()
    (first,) = requests(config)
    return prompts(config, folder, first, round, best(candidates, last))


def stopped(folder: Path) -> tuple[int, str] | None:
    """The round before which a search stopped for want of answers, and why; None where it did not."""
    path = folder / STOPPED
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return int(found["round"]), str(found["reason"])


class Search:
    """The rounds of a search, up to its best program.

    Args:
        config: of the search.
        folder: its folder.
        launcher: what executes the runs.
        console: where to tell the progress.
        strict: raise where no recording or no budget is left, instead of ending the rounds.
    """

    def __init__(
        self, config: SearchConfig, folder: Path, launcher: Launcher, console: Console, *, strict: bool = False
    ) -> None:
        self.config, self.folder, self.launcher, self.console = config, folder, launcher, console
        self.strict = strict
        self.archive = Archive(folder / ARCHIVE)
        self.last = len(config.rungs) - 1

    @property
    def best(self) -> Candidate | None:
        """The best candidate so far."""
        return best(self.archive, self.last)

    def run(self, provider: Provider | None = None) -> Candidate | None:
        """Go through all rounds; returns the best candidate, if any could be trained with.

        Raises:
            ProviderError: the model can't be asked.
        """
        from cairngym.envs.registry import make

        env = make(self.config.task, **self.config.env)
        inner = provider or make_provider(self.config.provider, **self.config.provider_options)
        used = len({(one.round, one.attempt) for one in self.archive}) + sum(one.repairs for one in self.archive)
        keeping = KeepingProvider(inner, self.folder / COMPLETIONS, used=used)
        try:
            with Writer(env, self.config, keeping, self.folder) as writer:
                self._rounds(env, keeping, writer)
        finally:
            keeping.close()
            env.close()
            if provider is None:
                inner.close()
        return self.best

    def _rounds(self, env: TensorEnv, provider: KeepingProvider, writer: Writer) -> None:
        first = first_request(env, self.config)
        for round in range(1, self.config.rounds + 1):
            try:
                self._round(round, first, provider, writer)
            except (MissingRecordingError, BudgetExhausted) as error:
                if self.strict or not len(self.archive):
                    raise
                self._stop(round, error)
            if stopped(self.folder):
                break

    def _stop(self, round: int, error: Exception) -> None:
        """Put down that no further answers can be had, so that the result stays what it is when read again."""
        reason = f"{type(error).__name__}: {_first_line(error)}"
        with disk_full(self.folder):
            write_text(self.folder / STOPPED, json.dumps({"round": round, "reason": reason}) + "\n")
        self._say(f"Stopped in round {round}, with what was found until then (`--strict` goes on). {error}")

    def _round(self, round: int, first: ChatRequest, provider: KeepingProvider, writer: Writer) -> None:
        """Ask for candidates and train with them; where nothing came of any, ask again as often as configured."""
        before = [one for one in self.archive if one.round < round]
        parent = best(before, self.last)
        for attempt in range(self.config.retries + 1):
            candidates = self.archive.select(round, attempt)
            if not candidates:
                if stopped(self.folder):
                    return
                answered = self._ask(round, first, parent, provider)
                candidates = self._judged(round, attempt, parent, answered, writer)
            self._tell(round, candidates)
            if self._halve(round, attempt, candidates):
                return

    def _ask(self, round: int, first: ChatRequest, parent: Candidate | None, provider: KeepingProvider) -> Answered:
        return ask(provider, *prompts(self.config, self.folder, first, round, parent))

    def _judged(
        self, round: int, attempt: int, parent: Candidate | None, answered: Answered, writer: Writer
    ) -> list[Candidate]:
        known: dict[str, str] = {}
        for one in self.archive:
            if one.source:
                known.setdefault(self._program(one), one.name)
        like = Candidate(
            name=f"r{round}", round=round, attempt=attempt, parent=parent.name if parent else "",
            prompt=answered.request.hash,
        )  # fmt: skip
        candidates = writer.candidates(answered, like, known)
        self.archive.add(candidates)
        return candidates

    def _program(self, candidate: Candidate) -> str:
        return (self.folder / candidate.source).read_text(encoding="utf-8").strip()

    def _halve(self, round: int, attempt: int, candidates: list[Candidate]) -> bool:
        """Train with the accepted candidates, rung by rung; whether one came through."""
        alive = [one.name for one in candidates if one.accepted]
        place = self.folder / (f"round_{round}" + (f"_again_{attempt}" if attempt else ""))
        for rung, at in enumerate(self.config.rungs):
            if not alive:
                break
            if any(self.archive[name].trial(rung) is None for name in alive):
                programs = {name: self.folder / self.archive[name].source for name in alive}
                comparison = self.config.rung_comparison(rung, programs)
                trials = train(comparison, rung, place, self.launcher, self.console)
                chosen = promoted(trials, 1.0 if rung == self.last else at.keep)
                self.archive.add_trials({n: replace(t, promoted=n in chosen) for n, t in trials.items()})
            found = {name: self.archive[name].trial(rung) for name in alive}
            alive = [name for name, trial in found.items() if trial is not None and trial.promoted]
            self._say(f"Round {round}, rung {rung}: {_scores(self.archive, list(found), rung)}.")
        return bool(alive)

    def _tell(self, round: int, candidates: list[Candidate]) -> None:
        accepted = sum(one.accepted for one in candidates)
        self._say(f"Round {round} of {self.config.rounds}: {accepted} of {len(candidates)} candidates accepted.")
        for one in candidates:
            if not one.accepted:
                self._say(f"  {one.name} refused: {one.problem.splitlines()[0]}")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)


def _scores(archive: Archive, names: list[str], rung: int) -> str:
    """Fitness by candidate, with a star at those that go on."""
    parts = []
    for name in names:
        trial = archive[name].trial(rung)
        assert trial is not None
        fitness = "failed" if trial.fitness is None else f"{trial.fitness:.2f}"
        parts.append(f"{name} {fitness}{'*' if trial.promoted else ''}")
    return ", ".join(parts)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
