"""What verification says about a reward program: findings, statistics of its components, and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]
MAX_FINDINGS = 64
MAX_COMPONENTS = 64
MAX_TEXT = 800
"""Characters of a message; what is longer is cut."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found wrong with a program."""

    severity: Severity
    """Errors refuse the program; warnings are shown and left to whoever decides."""
    check: str
    """The name of the check."""
    message: str
    """A sentence or two for the prompt that asks for a repair: what was found, and what to do."""


def error(check: str, message: str) -> Finding:
    """A finding that refuses the program."""
    return Finding(severity="error", check=check, message=message)


def warning(check: str, message: str) -> Finding:
    """A finding that does not."""
    return Finding(severity="warning", check=check, message=message)


@dataclass(frozen=True, kw_only=True)
class ComponentStatistics:
    """How one component, or their total, is spread over the recorded transitions."""

    name: str
    mean: float
    std: float
    minimum: float
    maximum: float
    share: float
    """Its part of the components' standard deviations outside of successes, in [0, 1]; 1 for the total."""
    correlation: float
    """With the change of the task's progress, by rank; NaN where one of them is constant."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a program may shape a reward, and why not."""

    accepted: bool
    """No finding is an error."""
    findings: tuple[Finding, ...] = ()
    statistics: tuple[ComponentStatistics, ...] = ()
    """The total first, then the components."""
    unchecked: tuple[str, ...] = ()
    """Checks that the recording gave nothing to hold against, each with the reason."""
    call_s: float = math.nan
    """Seconds of one call with a batch of `num_envs` rows, by the median."""
    cpu_s: float = math.nan
    """Seconds of processor time of the whole check."""
    wall_s: float = math.nan
    """Seconds until the verdict was there, as the caller saw it."""
    memory_bytes: int = 0
    """Memory that the check came to need beyond what the recording and torch take."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that refuse the program."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @classmethod
    def refusal(cls, check: str, message: str, *, wall_s: float = math.nan) -> Verdict:
        """The verdict on a program that could not be checked to the end."""
        return cls(accepted=False, findings=(error(check, message[:MAX_TEXT]),), wall_s=wall_s)

    def report(self) -> dict[str, Any]:
        """Everything as plain lists, dicts, numbers and strings; see `from_report`."""
        return {name: value for name, value in asdict(self).items() if name != "accepted"}

    @classmethod
    def from_report(cls, report: Any) -> Verdict:
        """Build the verdict from what `report` gave, trusting none of it.

        Raises:
            ValueError: it is not such a report.
        """
        report = mapping(report, "a report")
        findings = tuple(_finding(entry) for entry in listing(report, "findings", MAX_FINDINGS))
        return cls(
            accepted=not any(finding.severity == "error" for finding in findings),
            findings=findings,
            statistics=tuple(_statistics(entry) for entry in listing(report, "statistics", MAX_COMPONENTS + 1)),
            unchecked=tuple(text(entry, "unchecked") for entry in listing(report, "unchecked", MAX_FINDINGS)),
            call_s=number(report.get("call_s"), "call_s"),
            cpu_s=number(report.get("cpu_s"), "cpu_s"),
            wall_s=number(report.get("wall_s"), "wall_s"),
            memory_bytes=int(number(report.get("memory_bytes"), "memory_bytes", finite=True)),
        )

    def table(self) -> str:
        """The verdict in Markdown: what was found, and what the components are like."""
        lines = [f"**{'accepted' if self.accepted else 'refused'}**: {self._count()}; {self._costs()}", ""]
        if self.findings:
            lines += ["| | check | finding |", "|---|---|---|"]
            lines += [f"| {item.severity} | {cell(item.check)} | {cell(item.message)} |" for item in self.findings]
            lines.append("")
        if self.statistics:
            lines += ["| component | mean | std | min | max | share | rank correlation with progress |"]
            lines += ["|---|---|---|---|---|---|---|", *map(_row, self.statistics), ""]
        lines += [f"Not checked: {cell(entry)}" for entry in self.unchecked]
        return "\n".join(lines).rstrip() + "\n"

    def _count(self) -> str:
        errors = len(self.errors)
        warnings = len(self.findings) - errors
        return f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"

    def _costs(self) -> str:
        parts = []
        if math.isfinite(self.call_s):
            parts.append(f"{1e6 * self.call_s:.0f} µs a call")
        if math.isfinite(self.wall_s):
            parts.append(f"verified in {self.wall_s:.2f} s")
        if self.memory_bytes:
            parts.append(f"{self.memory_bytes / 2**20:.0f} MiB")
        return ", ".join(parts) or "not run"


def _row(entry: ComponentStatistics) -> str:
    values = (entry.mean, entry.std, entry.minimum, entry.maximum)
    spread = " | ".join(f"{value:.4g}" for value in values)
    return f"| {cell(entry.name)} | {spread} | {entry.share:.0%} | {entry.correlation:+.2f} |"


def cell(words: str) -> str:
    """Text that stays within one cell of a Markdown table."""
    return " ".join(words.split()).replace("|", "\\|")


# What a report may hold -----------------------------------------------------------------------------------------------


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Return `value` if it is a dict, else raise `ValueError`."""
    if not isinstance(value, dict):
        raise ValueError(f"Expected {what} to be an object, got {type(value).__name__}.")
    return value


def listing(report: Mapping[str, Any], name: str, most: int) -> list[Any]:
    """Return the list under `name`; raise `ValueError` for anything else, or for more than `most` entries."""
    value = report.get(name)
    if not isinstance(value, list | tuple) or len(value) > most:
        raise ValueError(f"Expected {name} to be a list of at most {most} entries.")
    return list(value)


def text(value: Any, what: str) -> str:
    """Return `value` if it is a string, cut and without what is not printable; else raise `ValueError`."""
    if not isinstance(value, str):
        raise ValueError(f"Expected {what} to be a string, got {type(value).__name__}.")
    return "".join(letter for letter in value[:MAX_TEXT] if letter.isprintable() or letter == "\n")


def number(value: Any, what: str, *, finite: bool = False) -> float:
    """Return `value` as a float; raise `ValueError` if it is no number, or not finite where it has to be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"Expected {what} to be a number, got {type(value).__name__}.")
    try:
        result = float(value)
    except OverflowError as problem:
        raise ValueError(f"Expected {what} to fit into a float.") from problem
    if finite and not math.isfinite(result):
        raise ValueError(f"Expected {what} to be finite, got {result}.")
    return result


def _finding(entry: Any) -> Finding:
    entry = mapping(entry, "a finding")
    severity: Severity = "warning" if entry.get("severity") == "warning" else "error"
    if entry.get("severity") not in ("error", "warning"):
        raise ValueError("Expected a severity of 'error' or 'warning'.")
    return Finding(
        severity=severity, check=text(entry.get("check"), "check"), message=text(entry.get("message"), "message")
    )


def _statistics(entry: Any) -> ComponentStatistics:
    entry = mapping(entry, "statistics")
    names = ("mean", "std", "minimum", "maximum", "share", "correlation")
    return ComponentStatistics(
        name=text(entry.get("name"), "name"), **{name: number(entry.get(name), name) for name in names}
    )


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What the checks of one program gave, before it is known what they cost."""

    findings: tuple[Finding, ...] = ()
    statistics: tuple[ComponentStatistics, ...] = ()
    unchecked: tuple[str, ...] = ()
    call_s: float = field(default=math.nan)
