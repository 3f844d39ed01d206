"""The report of a search, rebuilt from its folder alone: report.md, a picture, the archive and the best program."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cairngym.envs.files import replacing
from cairngym.experiments import tables
from cairngym.experiments.analysis import analyse, interval_text, steps_text
from cairngym.experiments.overlay import write_text
from cairngym.experiments.records import read_experiment
from cairngym.experiments.report import write_report
from cairngym.experiments.runfolder import disk_full
from cairngym.experiments.search.archive import Candidate, best, read_archive
from cairngym.experiments.search.completions import read_completions, usage
from cairngym.experiments.search.config import EVOLVED, SearchConfig
from cairngym.experiments.search.evolution import ARCHIVE, COMPLETIONS, SEARCH, read_config, stopped
from cairngym.experiments.search.figures import fitness_png
from cairngym.experiments.search.reflection import reflect
from cairngym.experiments.threshold import ALL_TASKS
from cairngym.reward_shaping.llm.messages import Usage

BEST = "best.py"
MAX_CELL = 160
"""Characters of a reason in the archive's table; archive.jsonl has all of it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies in the folder of a search."""

    folder: Path
    config: SearchConfig
    candidates: tuple[Candidate, ...]
    exchanges: int
    """Prompts that were answered, repairs included."""
    tokens: Usage
    best: Candidate | None
    stopped: tuple[int, str] | None

    @property
    def source(self) -> str:
        """The best program's text; empty where there is none."""
        return "" if self.best is None else (self.folder / self.best.source).read_text(encoding="utf-8")


def read_search(folder: Path) -> Found:
    """Read the folder of a search, finished or not.

    Raises:
        ConfigError: search.yaml can't be read or used.
        RecordError: the archive can't be understood.
        ValueError: a completion that was kept can't be.
    """
    config = read_config(folder)
    candidates = read_archive(folder / ARCHIVE)
    recordings = read_completions(folder / COMPLETIONS)
    return Found(
        folder=folder, config=config, candidates=tuple(candidates), exchanges=len(recordings),
        tokens=usage(recordings), best=best(candidates, len(config.rungs) - 1), stopped=stopped(folder),
    )  # fmt: skip


def write_search_report(folder: Path, to: Path | None = None) -> Path:
    """Write (or write again) the report of the search in `folder`; returns report.md.

    Args:
        folder: the search.
        to: a folder of its own for the report, to be kept where the runs are not: search.yaml, the archive and the
            final comparison's report are put beside it. None writes it into `folder`.

    Raises:
        ConfigError, RecordError, ValueError: a file of the search can't be understood.
        DiskFullError: no space left.
    """
    found, root = read_search(folder), to or folder
    with disk_full(root):
        (root / "plots").mkdir(parents=True, exist_ok=True)
        if to is not None:
            for name in (SEARCH, ARCHIVE):
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, to / name)
            if found.best is not None and (folder / "final").is_dir():
                write_report(folder / "final", to / "final")
        if found.best is not None:
            write_text(root / BEST, found.source)
        if found.candidates:
            with replacing(root / "plots" / "fitness.png") as file:
                file.write(fitness_png(found.candidates, len(found.config.rungs)))
        write_text(root / "report.md", render(found))
    return root / "report.md"


def render(found: Found) -> str:
    """The report as Markdown."""
    config = found.config
    parts = [
        [f"# {config.title or config.name}"],
        [config.description] if config.description else [],
        ["## Result", *_result(found)],
        ["## What the search cost", *_cost(found)],
        ["## The search", *_search(found)],
        ["## The best program", *_program(found)],
        ["## Method", *_method(config)],
    ]
    return "\n\n".join(block for part in parts for block in part) + "\n"


def _result(found: Found) -> list[str]:
    if found.best is None:
        return ["No program could be trained with, so there is nothing to compare."]
    if not (found.folder / "final" / "comparison.yaml").is_file():
        return ["The best program has not been compared yet."]
    experiment = read_experiment(found.folder / "final")
    cells = analyse(experiment)
    cell = cells[ALL_TASKS, EVOLVED]
    baseline = experiment.plan.baseline
    lines = [
        f"The best program of the archive, {found.best.name}, was trained with anew on {_seeds(experiment.plan.seeds)} "
        f"that the search had not seen: final success {interval_text(cell.success)} ({cell.finished} of "
        f"{cell.planned} runs finished); a run ends better than one of {baseline} with probability "
        f"{interval_text(cell.improvement)}. This comparison is the result. Everything below it was measured on the "
        "seeds that the program was chosen by, and is optimistic.",
        _markdown(tables.overview(experiment, cells)),
        "![Success over env steps](final/plots/success_steps.png)",
        "The whole comparison: [final/report.md](final/report.md).",
    ]
    if experiment.plan.illustrative:
        lines.insert(0, "> **Illustrative**: seeds or budgets are too few to conclude from.")
    return lines


def _seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"


def _markdown(table: tables.Table) -> str:
    header = f"| {' | '.join(table.header)} |"
    rule = f"| {' | '.join('---' if i < table.labels else '---:' for i in range(len(table.header)))} |"
    rows = [f"| {' | '.join(_cell(entry.text) for entry in row)} |" for row in table.rows]
    return "\n".join([header, rule, *rows])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _cost(found: Found) -> list[str]:
    trials = [trial for one in found.candidates for trial in one.trials]
    steps, runs = sum(trial.env_steps for trial in trials), sum(len(trial.runs) for trial in trials)
    accepted = sum(one.accepted for one in found.candidates)
    paid = (
        f"{found.tokens.prompt_tokens:,} tokens read and {found.tokens.completion_tokens:,} written"
        if found.tokens.total
        else "no tokens, since they were replayed from recordings (or their provider counts none)"
    )
    authors = dict.fromkeys(filter(None, (_author(one) for one in found.candidates)))
    return [
        f"- {steps_text(steps)} env steps of training in {runs} runs, evaluations not counted. A variant's own steps "
        "above do not contain them.\n"
        f"- {len(found.candidates)} candidates, of which {accepted} were accepted and trained with.\n"
        f"- {found.exchanges} prompts, repairs included: {paid}.\n"
        f"- Written by: {'; '.join(authors) or 'nobody'}."
    ]


def _author(candidate: Candidate) -> str:
    source, date = candidate.provenance.get("source", ""), candidate.provenance.get("date", "")
    named = dict.fromkeys(filter(None, (candidate.model, source, date)))
    return ", ".join(named)


def _search(found: Found) -> list[str]:
    rungs = len(found.config.rungs)
    blocks = [f"- {remark}" for remark in _remarks(found)]
    lines = ["\n".join(blocks)] if blocks else []
    if not found.candidates:
        return [*lines, "No candidate was made."]
    return [
        *lines,
        "![Fitness of every candidate over the rounds](plots/fitness.png)",
        "Fitness: success of the sampled policy on the unshaped task, mean over the last tenth of a run's evaluations "
        "and over seeds. Programs improve the best one of all rounds before theirs.",
        _archive_table(found.candidates, rungs),
    ]


def _remarks(found: Found) -> list[str]:
    """What a reader must know to judge the search."""
    remarks = []
    generic = [one.name for one in found.candidates if one.generic]
    if generic:
        remarks.append(
            f"**No reflection**: {', '.join(generic)} answer a prompt without figures of training, since no recording "
            "answers the one with them. Their author saw the parent program, and not how its training went."
        )
    if found.stopped:
        remarks.append(f"**Stopped early**, in round {found.stopped[0]} of {found.config.rounds}: {found.stopped[1]}")
    switched = [one.name for one in found.candidates if any(trial.switched_off for trial in one.trials)]
    if switched:
        remarks.append(
            f"Switched off in training, for rewards that were not finite or exploded: {', '.join(switched)}."
        )
    unverified = [one.name for one in found.candidates if one.accepted and one.verdict is None]
    if unverified:
        remarks.append(f"Not tried in the sandbox before training: {', '.join(unverified)}.")
    return remarks


def _archive_table(candidates: Sequence[Candidate], rungs: int) -> str:
    names = [f"rung {rung + 1}" for rung in range(rungs)]
    header = tables.Table(
        header=("candidate", "parent", "prompt", "verdict", *names),
        rows=tuple(
            tuple(map(tables.Entry, (one.name, one.parent or "-", _prompt(one), _verdict(one), *_fitness(one, rungs))))
            for one in candidates
        ),
        labels=4,
    )  # fmt: skip
    return _markdown(header)


def _prompt(candidate: Candidate) -> str:
    return f"{candidate.prompt[:8]}{' (generic)' if candidate.generic else ''}"


def _verdict(candidate: Candidate) -> str:
    repaired = f" after {candidate.repairs} repair{'s' * (candidate.repairs != 1)}" if candidate.repairs else ""
    note = f" ({candidate.note})" if candidate.note else ""
    broken = next((trial.problem for trial in candidate.trials if trial.problem), "")
    if candidate.accepted:
        said = f"accepted{repaired}{note}" + (f"; a run failed: {broken}" if broken else "")
    else:
        said = f"refused{repaired}{note}: {' '.join(candidate.problem.split())}"
    return said if len(said) <= MAX_CELL else said[: MAX_CELL - 1] + "…"


def _fitness(candidate: Candidate, rungs: int) -> list[str]:
    trials = [candidate.trial(rung) for rung in range(rungs)]
    return [
        "-" if trial is None else "failed" if trial.fitness is None else f"{trial.fitness:.3f} ({len(trial.runs)})"
        for trial in trials
    ]


def _program(found: Found) -> list[str]:
    trial = found.best.trial(len(found.config.rungs) - 1) if found.best else None
    if found.best is None or trial is None:
        return ["There is none."]
    return [
        f"{found.best.name}, also in [{BEST}]({BEST}):",
        f"```python\n{found.source.rstrip()}\n```",
        "What the model is told of its training, on the search's last rung:",
        f"```text\n{reflect(trial)}\n```",
    ]


def _method(config: SearchConfig) -> list[str]:
    rungs = "; ".join(
        f"rung {index + 1}: {steps_text(max(1, round(rung.share * config.steps)))} steps, "
        f"{_seeds(range(rung.seeds))}" + (f", {rung.keep:.0%} go on" if index < len(config.rungs) - 1 else "")
        for index, rung in enumerate(config.rungs)
    )
    reward = f"{'task reward + ' if config.keep_task else ''}{config.weight:g} * program"
    return [
        f"- Task: {config.task}. Agent: {config.agent.name}, which learns from {reward}.\n"
        f"- {config.candidates} candidates in each of {config.rounds} rounds, provider {config.provider}. {rungs}.\n"
        f"- A prompt of a later round holds the best program so far and what its training was like, in figures of two "
        "significant digits. Where answers are replayed and none is recorded for that very prompt, the answer to a "
        "prompt without figures is taken, and the archive says so.\n"
        f"- Evaluation of candidates: {config.evaluation.episodes} episodes every {config.evaluation.every} env steps, "
        f"seed {config.evaluation.seed}; of the final comparison: seed {config.final_evaluation().seed}. A run that "
        "fails twice counts as no success.\n"
        f"- Again: `cairn evolve {SEARCH}`, the resolved configuration, in this folder."
    ]
