"""What an experiment folder holds, read into frozen dataclasses; nothing here writes.

A run that is still going, was killed or failed is read as far as it got. What cannot be understood is an error that
names the file, the line and what was expected there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cairngym.envs.strict_yaml import load_yaml
from cairngym.experiments.config import Comparison, RunConfig, load_comparison

COMPARISON_FILE = "comparison.yaml"
TERM_PREFIX = "reward_terms/"


class RecordError(ValueError):
    """A file of an experiment folder that cannot be understood."""


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """Evaluations of one run in the order made; all of shape `(evaluations,)`."""

    step: np.ndarray
    """Env steps trained, all envs counted."""
    wall_s: np.ndarray
    """Training seconds, evaluation excluded."""
    success: np.ndarray
    """Success rate of the sampled policy."""
    success_greedy: np.ndarray
    """Success rate of the greedy policy; NaN where it was not evaluated."""

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True, kw_only=True)
class Series:
    """One training metric over env steps, where it was finite."""

    step: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Final:
    """The last evaluation of a finished run."""

    success: float
    success_greedy: float
    episodes: int
    successes: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder."""

    folder: Path
    task: str
    variant: str
    seed: int
    steps: int
    """Env steps it was given."""
    status: Literal["finished", "failed", "unfinished"]
    config: Mapping[str, Any]
    evaluations: Evaluations
    terms: Mapping[str, Series]
    """Mean of every reward term over training, unweighted."""
    last_step: int
    """Env steps seen in its metrics."""
    wall_s: float
    """Training seconds seen in its metrics."""
    final: Final | None
    """None unless finished."""
    summary: Mapping[str, Any]
    """What summary.json says; empty while there is none."""
    notes: tuple[str, ...]
    """What a reader of the report should know."""

    @property
    def name(self) -> str:
        """Task, variant and seed."""
        return run_name(self)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment folder: what was planned, and the runs found."""

    folder: Path
    plan: Comparison
    runs: tuple[Run, ...]
    """Runs of the plan, in its order."""
    missing: tuple[str, ...]
    """Runs of the plan that have no folder."""
    strangers: tuple[Path, ...]
    """Run folders that are not part of the plan and are left out."""
    linked: bool = True
    """Whether a report lies beside the runs and can link to their files."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Ids of the tasks."""
        return tuple(task.id for task in self.plan.tasks)

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the variants, the baseline first."""
        baseline = self.plan.baseline
        return (baseline, *(name for name in self.plan.variants if name != baseline))

    def select(self, task: str, variant: str, *, finished: bool = True) -> tuple[Run, ...]:
        """Runs of one cell; only the finished ones unless told otherwise."""
        return tuple(
            run
            for run in self.runs
            if run.task == task and run.variant == variant and (run.status == "finished" or not finished)
        )


def run_name(run: Run | RunConfig) -> str:
    """Task, variant and seed in words."""
    return f"{run.task} / {run.variant} / seed {run.seed}"


def read_experiment(folder: Path) -> Experiment:
    """Read an experiment folder.

    Raises:
        FileNotFoundError: no such folder, or no comparison.yaml in it.
        ConfigError: comparison.yaml or a run's config.yaml cannot be used.
        RecordError: another file cannot be understood.
    """
    path = Path(folder) / COMPARISON_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected an experiment folder with a {COMPARISON_FILE} in it (cairn compare writes one, usually under "
            f"runs/<experiment>), got {folder}."
        )
    plan = load_comparison(path)
    planned = {path.parent.joinpath(*run.folder.parts[1:]): run for run in _cells(plan)}
    return Experiment(
        folder=path.parent,
        plan=plan,
        runs=tuple(read_run(place, run) for place, run in planned.items() if place.is_dir()),
        missing=tuple(run_name(run) for place, run in planned.items() if not place.is_dir()),
        strangers=tuple(sorted(p for p in path.parent.glob("*/*/seed_*") if p.is_dir() and p not in planned)),
    )


def _cells(plan: Comparison) -> Iterator[RunConfig]:
    return (
        RunConfig(experiment=plan.name, task=task.id, variant=variant, seed=seed, steps=plan.steps_of(task, variant))
        for task in plan.tasks
        for variant in plan.variants
        for seed in plan.seeds
    )


def read_run(folder: Path, planned: RunConfig) -> Run:
    """Read one run folder, as far as the run got.

    Args:
        folder: the run folder.
        planned: which run it should hold.

    Raises:
        ConfigError: config.yaml cannot be read.
        RecordError: the run is another one than planned, or another file cannot be understood.
    """
    config_path, summary_path = folder / "config.yaml", folder / "summary.json"
    config = load_yaml(config_path) if config_path.is_file() else {}
    for key in ("task", "variant", "seed"):
        if key in config and config[key] != getattr(planned, key):
            raise RecordError(
                f"Expected {key} {getattr(planned, key)!r} in {config_path}, got {config[key]!r}; was it moved here?"
            )
    lines, notes = read_metrics(folder / "metrics.jsonl")
    summary = _read_json(summary_path)
    failure = _read_json(folder / "failure.json")
    finished = summary.get("status") == "finished"
    notes += [str(note) for note in summary.get("notes") or ()]
    if not finished:
        notes += [str(said[key]) for said in (summary, failure) for key in ("error", "reason") if said.get(key)]
        notes += [_ending(int(failure["returncode"]))] if "returncode" in failure else []
    return Run(
        folder=folder, task=planned.task, variant=planned.variant, seed=planned.seed,
        steps=int(config.get("steps") or planned.steps),
        status="finished" if finished else "failed" if summary or failure else "unfinished",
        config=config, evaluations=_evaluations(lines, folder), terms=_terms(lines),
        last_step=max((line["step"] for line in lines), default=0),
        wall_s=float(summary.get("wall_s") or max((line.get("wall_s") or 0.0 for line in lines), default=0.0)),
        final=_final(summary, summary_path) if finished else None, summary=summary, notes=tuple(notes),
    )  # fmt: skip


def _ending(returncode: int) -> str:
    return f"was killed by signal {-returncode}" if returncode < 0 else f"ended with exit code {returncode}"


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Read metrics.jsonl: its lines, and notes about what was left out.

    A last line that was only half written is cut off.

    Raises:
        RecordError: another line that is not an object with `phase` and `step`, or steps that go back.
    """
    if not path.is_file():
        return [], []
    texts = path.read_text(encoding="utf-8", errors="replace").split("\n")
    while texts and not texts[-1].strip():
        texts.pop()
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            if number == len(texts):
                return lines, [f"the last line of {path.name} ({number}) was half written and is left out"]
            raise RecordError(
                f"Expected a JSON object in {path}, line {number}, got {text[:60]!r} ({error})."
            ) from error
        if not isinstance(line, dict) or "phase" not in line or not isinstance(line.get("step"), int):
            raise RecordError(
                f"Expected an object with phase and integer step in {path}, line {number}, got {text[:60]!r}."
            )
        if lines and line["step"] < lines[-1]["step"]:
            raise RecordError(
                f"Expected steps that never go back in {path}, got {line['step']} after {lines[-1]['step']} in line "
                f"{number}; resuming a run cuts its metrics back to its checkpoint."
            )
        lines.append(line)
    return lines, []


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"Expected JSON in {path}, got: {error}. Delete it and resume the run.") from error
    if not isinstance(value, dict):
        raise RecordError(f"Expected a JSON object in {path}, got {type(value).__name__}.")
    return value


def _number(value: Any) -> float:
    """A metric as a float; null, absent and non-numbers are NaN."""
    return float(value) if isinstance(value, int | float) else math.nan


def _evaluations(lines: Sequence[Mapping[str, Any]], folder: Path) -> Evaluations:
    # An evaluation repeated at the same step (a resume just before it was recorded) replaces the earlier one.
    found = {line["step"]: line for line in lines if line["phase"] == "eval"}
    columns = {
        key: np.array([_number(line.get(key)) for line in found.values()], dtype=np.float64)
        for key in ("step", "wall_s", "success", "success_greedy")
    }
    for key in ("wall_s", "success"):
        if np.isnan(columns[key]).any():
            step = int(columns["step"][np.isnan(columns[key])][0])
            raise RecordError(
                f"Expected a number {key!r} in every evaluation of {folder / 'metrics.jsonl'}, got none at step {step}."
            )
    return Evaluations(**columns)


def _terms(lines: Sequence[Mapping[str, Any]]) -> dict[str, Series]:
    train = [line for line in lines if line["phase"] == "train"]
    names = dict.fromkeys(key for line in train for key in line if key.startswith(TERM_PREFIX))
    terms = {}
    for name in names:
        pairs = [(line["step"], _number(line.get(name))) for line in train]
        kept = np.array([pair for pair in pairs if math.isfinite(pair[1])], dtype=np.float64).reshape(-1, 2)
        if len(kept):
            terms[name.removeprefix(TERM_PREFIX)] = Series(step=kept[:, 0], value=kept[:, 1])
    return terms


def _final(summary: Mapping[str, Any], path: Path) -> Final:
    final = summary.get("final")
    values = {key: _number((final or {}).get(key)) for key in ("success", "success_greedy", "episodes")}
    missing = [key for key, value in values.items() if not math.isfinite(value)]
    if missing:
        raise RecordError(f"Expected numbers under final for {', '.join(missing)} in {path}, got {final!r}.")
    successes = final.get("successes") if final else None
    episodes = int(values["episodes"])
    return Final(
        success=values["success"], success_greedy=values["success_greedy"], episodes=episodes,
        successes=round(values["success"] * episodes) if successes is None else int(successes),
    )  # fmt: skip
