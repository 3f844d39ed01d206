"""A run's folder: what lies in it, and how it survives a crash.

`config.yaml` is written first, `metrics.jsonl` grows line by line, `checkpoint.pt` is replaced atomically, and
`summary.json` comes last: a folder without it is an unfinished run.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.files import replacing
from cairngym.envs.strict_yaml import ConfigError, build, load_yaml
from cairngym.experiments.config import RunConfig
from cairngym.experiments.overlay import differences, merge, plain, write_text

IGNORED = ("command", "checkpoint", "sinks")
"""Keys of a run's config that do not bear on its results."""


class DiskFullError(OSError):
    """The disk is full; everything written before is intact."""


class CorruptCheckpointError(RuntimeError):
    """A checkpoint that can't be read."""


class FolderInUseError(RuntimeError):
    """Another process is training in the folder."""


class MixedRunsError(RuntimeError):
    """A run in the folder was made with other settings."""


@contextlib.contextmanager
def disk_full(path: Path) -> Iterator[None]:
    """Turn "no space left" into a message that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"The disk that holds {path} is full, so the run stopped; what was written before is intact. "
            "Free some space and give the same command again: the run goes on from its last checkpoint."
        ) from error


class RunFolder:
    """The files of one run.

    Args:
        path: the folder; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config, self.metrics = self.path / "config.yaml", self.path / "metrics.jsonl"
        self.checkpoint, self.summary = self.path / "checkpoint.pt", self.path / "summary.json"
        self.log, self.failure = self.path / "log.txt", self.path / "failure.json"
        with disk_full(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    @property
    def finished(self) -> bool:
        """Whether the run has written its summary."""
        return self.summary.is_file()

    def read_summary(self) -> dict[str, Any]:
        """The summary of a finished run."""
        return json.loads(self.summary.read_text(encoding="utf-8"))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run finished."""
        with disk_full(self.summary):
            write_text(self.summary, json.dumps(summary, indent=2, default=float) + "\n")

    @contextlib.contextmanager
    def lock(self, patience: float = 10.0) -> Iterator[None]:
        """Keep other processes out of the folder; the lock goes when the process does, however it ends.

        Raises:
            FolderInUseError: another process holds it for longer than `patience` seconds.
        """
        with disk_full(self.path), (self.path / ".lock").open("a+") as handle:
            deadline = time.monotonic() + patience
            while not _try_lock(handle.fileno()):
                if time.monotonic() > deadline:
                    raise FolderInUseError(
                        f"Another process is training in {self.path}. Wait for it, stop it, or choose another --folder."
                    )
                time.sleep(0.1)
            yield

    def save_checkpoint(self, content: Mapping[str, Any]) -> None:
        """Replace the checkpoint; a crash or a full disk leaves the old one.

        Raises:
            DiskFullError: no space left.
        """
        import torch

        from cairngym.agents.checkpoint import FORMAT, to_plain

        # Serialised in memory first: torch turns a full disk into an error that no longer says so.
        buffer = io.BytesIO()
        torch.save(to_plain({"format": FORMAT, **content}), buffer)
        with disk_full(self.checkpoint), replacing(self.checkpoint) as file:
            file.write(buffer.getbuffer())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Read the checkpoint onto the CPU; None where there is none.

        Raises:
            CorruptCheckpointError: it can't be read.
        """
        from cairngym.agents.checkpoint import read_checkpoint

        if not self.checkpoint.exists():
            return None
        try:
            content = read_checkpoint(self.checkpoint)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file fails in whatever way its bytes suggest
            raise CorruptCheckpointError(str(error)) from error
        missing = {"step", "wall_s", "resumes", "notes"} - set(content)
        if missing:
            raise CorruptCheckpointError(f"it lacks {', '.join(sorted(missing))}")
        return content

    def set_aside_checkpoint(self) -> str:
        """Rename a checkpoint that can't be used, with the metrics that belong to it; returns its new name."""
        aside = _free_name(self.checkpoint.with_name("checkpoint.pt.corrupt"))
        os.replace(self.checkpoint, aside)
        if self.metrics.exists():
            os.replace(self.metrics, _free_name(self.metrics.with_name("metrics.jsonl.corrupt")))
        return aside.name

    def cut_metrics(self, step: int) -> int:
        """Drop metrics after `step`, and a half-written last line; returns how many lines stay."""
        if not self.metrics.exists():
            return 0
        text = self.metrics.read_text(encoding="utf-8", errors="replace")
        kept = []
        for line in text.splitlines():
            record = _parse(line)
            if record is None or record.get("step", 0) > step:
                break
            kept.append(line + "\n")
        if "".join(kept) != text:
            with disk_full(self.metrics):
                write_text(self.metrics, "".join(kept))
        return len(kept)

    def last_metrics(self, phase: str | None = None) -> dict[str, Any]:
        """The newest complete metrics line (of a phase), read from the file's end; empty where there is none."""
        try:
            with self.metrics.open("rb") as handle:
                handle.seek(max(0, handle.seek(0, os.SEEK_END) - 65536))
                lines = handle.read().decode("utf-8", errors="replace").split("\n")[:-1]
        except OSError:
            return {}
        records = (_parse(line) for line in reversed(lines))
        return next((r for r in records if r and (phase is None or r.get("phase") == phase)), {})


def changes(folder: Path, config: RunConfig) -> list[str]:
    """Where the config recorded in `folder` differs from `config` in what bears on the results; `key: old -> new`.

    A key that the record does not have, being older than the key, had the default.
    """
    recorded = folder / "config.yaml"
    if not recorded.exists():
        return []
    defaults = plain(RunConfig(task=config.task))
    pair = (_completed(merge(defaults, load_yaml(recorded))), plain(config))
    old, new = ({key: value for key, value in each.items() if key not in IGNORED} for each in pair)
    return differences(old, new)


def _completed(recorded: dict[str, Any]) -> dict[str, Any]:
    """A recorded config with today's defaults of its agent, wrappers and shapers; as it is where it no longer fits."""
    from cairngym.experiments.resolve import resolve

    try:
        return plain(resolve(build(RunConfig, recorded, source="the record")))
    except (ConfigError, TypeError, UnknownNameError):  # of names and options that there are no more
        return recorded


def mixed_runs(folder: Path, changed: list[str], others: int = 0) -> MixedRunsError:
    """The error for a folder whose run was made with other settings."""
    more = f" and {others} more" if others else ""
    return MixedRunsError(
        f"{folder}{more} was made with other settings ({'; '.join(changed[:4])}). Results of different settings are "
        "not mixed: choose another name or folder, or give --fresh to move the old ones aside."
    )


def set_aside(folder: Path, aside: Path) -> None:
    """Move a run folder out of the way, never over another."""
    aside.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, _free_name(aside))


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _free_name(path: Path) -> Path:
    names = (path if n == 0 else path.with_name(f"{path.name}.{n}") for n in range(1000))
    return next(name for name in names if not name.exists())


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows has no flock; two processes in one folder are the user's own care there
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
