"""Every candidate of a search with what became of it: archive.jsonl, one line each, replaced as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cairngym.experiments.overlay import write_text
from cairngym.experiments.records import RecordError
from cairngym.experiments.runfolder import disk_full
from cairngym.experiments.search.fitness import Course, Trial
from cairngym.reward_shaping.llm.findings import Verdict

TIMED = ("call_s", "cpu_s", "wall_s", "memory_bytes")
"""Parts of a verdict that differ from one verification to the next, and are not archived."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One answer of the model, and what became of its program."""

    name: str
    """For example "r2_c1", the second of round two; asking a round again goes on counting."""
    round: int
    """Counted from one."""
    attempt: int = 0
    """How often the round had been asked before."""
    parent: str = ""
    """The program that it was to improve; empty in the first round."""
    prompt: str
    """Hash of the prompt."""
    generic: bool = False
    """Whether the prompt without figures of training was answered."""
    model: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where the answer comes from, see `Provenance`."""
    source: str = ""
    """The file of its program, relative to the search's folder; empty where the answer holds none."""
    problem: str = ""
    """Why it is not trained with; empty for an accepted one."""
    repairs: int = 0
    """Rounds of repair that it took."""
    verdict: Mapping[str, Any] | None = None
    """What verification said; None where it was not asked."""
    note: str = ""
    """What a reader should know, such as that nothing verified it."""
    trials: tuple[Trial, ...] = ()
    """What came of it on every rung that it reached."""

    @property
    def accepted(self) -> bool:
        """Whether its program may be trained with."""
        return not self.problem

    def trial(self, rung: int) -> Trial | None:
        """What came of it on a rung; None where it did not get there."""
        return next((trial for trial in self.trials if trial.rung == rung), None)

    def fitness(self, rung: int) -> float | None:
        """Its fitness on a rung; None where it has none."""
        trial = self.trial(rung)
        return None if trial is None else trial.fitness


class Archive:
    """The candidates of a search, in order, on disk after every change.

    Args:
        path: archive.jsonl; read where it exists.

    Raises:
        RecordError: the file can't be understood.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._candidates = {one.name: one for one in read_archive(path)}

    def __iter__(self) -> Iterator[Candidate]:
        return iter(tuple(self._candidates.values()))

    def __len__(self) -> int:
        return len(self._candidates)

    def __getitem__(self, name: str) -> Candidate:
        return self._candidates[name]

    def select(self, round: int, attempt: int) -> list[Candidate]:
        """The candidates of one asking of a round."""
        return [one for one in self._candidates.values() if (one.round, one.attempt) == (round, attempt)]

    def add(self, candidates: Sequence[Candidate]) -> None:
        """Add the candidates of one asking, all at once.

        Raises:
            DiskFullError: no space left; the file is as it was.
        """
        self._write({**self._candidates, **{one.name: one for one in candidates}})

    def add_trials(self, trials: Mapping[str, Trial]) -> None:
        """Add what came of candidates on one rung, all at once.

        Raises:
            DiskFullError: no space left; the file is as it was.
        """
        added = {name: (*self[name].trials, trial) for name, trial in trials.items()}
        self._write({name: replace(one, trials=added.get(name, one.trials)) for name, one in self._candidates.items()})

    def _write(self, candidates: dict[str, Candidate]) -> None:
        with disk_full(self.path):
            write_text(self.path, "".join(to_line(one) for one in candidates.values()))
        self._candidates = candidates


def best(candidates: Iterable[Candidate], rung: int) -> Candidate | None:
    """The candidate of the greatest fitness on a rung; None where none got there.

    Of equal ones it is the one with more success while training, then the earliest, as in `promoted`.
    """
    found = [(one, trial) for one in candidates if (trial := one.trial(rung)) and trial.fitness is not None]
    ranked = sorted(found, key=lambda pair: (-(pair[1].fitness or 0.0), -pair[1].training_success))
    return ranked[0][0] if ranked else None


def archived(verdict: Verdict | None) -> dict[str, Any] | None:
    """A verdict as the archive has it: without times, which are never the same twice."""
    if verdict is None:
        return None
    return {"accepted": verdict.accepted, **{k: v for k, v in verdict.report().items() if k not in TIMED}}


def to_line(candidate: Candidate) -> str:
    """A candidate as a line of JSON; numbers that are not finite become null."""
    return json.dumps(_finite(asdict(candidate)), ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_archive(path: Path) -> list[Candidate]:
    """The candidates in a file, in order; none where there is no file.

    Raises:
        RecordError: a line that is no candidate.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_read(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _read(line: str, place: str) -> Candidate:
    try:
        data = json.loads(line)
        trials = tuple(_trial(trial) for trial in data.pop("trials"))
        return Candidate(**data, trials=trials)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordError(f"Expected a candidate in {place}, got {line[:60]!r} ({error}).") from error


def _trial(data: dict[str, Any]) -> Trial:
    total, success = _course(data.pop("total")), _course(data.pop("success"))
    components = {name: Course(**_tuple(found)) for name, found in data.pop("components").items()}
    return Trial(**data, total=total, success=success, components=components)


def _course(data: Mapping[str, Any] | None) -> Course | None:
    return None if data is None else Course(**_tuple(data))


def _tuple(data: Mapping[str, Any]) -> dict[str, Any]:
    return {**data, "values": tuple(data["values"])}
