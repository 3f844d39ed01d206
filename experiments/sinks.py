"""Where metrics go: metrics.jsonl is the record, W&B and TensorBoard are mirrors of it."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from cairngym.experiments.config import RunConfig
from cairngym.experiments.overlay import plain
from cairngym.experiments.runfolder import disk_full

Metrics = Mapping[str, Any]


class Sink(Protocol):
    """Takes metrics in."""

    def log(self, metrics: Metrics, step: int) -> None:
        """Take one dictionary of metrics at an env step."""

    def save(self, path: Path) -> None:
        """Take a file of the run, such as its config or summary."""

    def close(self) -> None:
        """Finish writing."""


class JsonlSink:
    """Appends one JSON object a line, each complete on disk before `log` returns.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_full(path):
            self._file = path.open("ab", buffering=0)

    def log(self, metrics: Metrics, step: int) -> None:
        """Append a line; a full disk leaves the lines before it whole.

        Raises:
            DiskFullError: no space left.
        """
        record = {name: _number(value) for name, value in {**metrics, "step": step}.items()}
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        end = self._file.tell()
        with disk_full(self.path):
            try:
                if self._file.write(line) != len(line):
                    raise OSError(28, "No space left on device")
            except OSError:
                self._file.truncate(end)
                raise

    def save(self, path: Path) -> None:
        """Nothing to do: the file already lies in the run folder."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WandbSink:
    """Mirrors a run to Weights & Biases.

    Args:
        config: the run; its `sinks` say which project and mode.
        folder: where W&B keeps its files.
    """

    def __init__(self, config: RunConfig, folder: Path) -> None:
        import wandb

        self._run = wandb.init(
            project=config.sinks.project, mode="online" if config.sinks.wandb == "online" else "offline",
            dir=str(folder), config=plain(config),
            group=f"{config.experiment}/{config.task}", job_type=config.variant,
            name=f"{config.task} {config.variant} seed {config.seed}",
            id="-".join(str(config.folder).replace("/", "-").split()), resume="allow",
        )  # fmt: skip
        self._run.define_metric("*", step_metric="step")

    def log(self, metrics: Metrics, step: int) -> None:
        """Log one dictionary; `phase` becomes the metrics' prefix."""
        self._run.log({**_prefixed(metrics), "step": step})

    def save(self, path: Path) -> None:
        """Upload a file."""
        self._run.save(str(path), base_path=str(path.parent), policy="now")

    def close(self) -> None:
        """Finish the W&B run."""
        self._run.finish()


class TensorBoardSink:
    """Mirrors a run to TensorBoard event files.

    Args:
        folder: where the event files go.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def log(self, metrics: Metrics, step: int) -> None:
        """Write every number as a scalar."""
        for name, value in _prefixed(metrics).items():
            self._writer.add_scalar(name, value, step)

    def save(self, path: Path) -> None:
        """Write a text file as text."""
        self._writer.add_text(path.name, f"```\n{path.read_text(encoding='utf-8')}\n```")

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class Sinks:
    """The record and its mirrors as one sink; a mirror that fails is dropped with a warning, the record never is.

    Args:
        record: metrics.jsonl.
        mirrors: W&B, TensorBoard.
    """

    def __init__(self, record: JsonlSink, mirrors: list[Sink]) -> None:
        self._record, self._mirrors = record, list(mirrors)

    def log(self, metrics: Metrics, step: int) -> None:
        """Log to the record first, then to every mirror."""
        self._record.log(metrics, step)
        self._each("log", metrics, step)

    def save(self, path: Path) -> None:
        """Hand a file to every mirror."""
        self._each("save", path)

    def close(self) -> None:
        """Close every mirror, then the record."""
        self._each("close")
        self._record.close()

    def _each(self, method: str, *arguments: Any) -> None:
        for mirror in tuple(self._mirrors):
            try:
                getattr(mirror, method)(*arguments)
            except Exception as error:  # a mirror must never end a run, whatever its service does
                self._mirrors.remove(mirror)
                warnings.warn(f"{type(mirror).__name__} failed and is left out from here on: {error}", stacklevel=3)


def open_sinks(config: RunConfig, folder: Path) -> Sinks:
    """Open metrics.jsonl in `folder` and the mirrors that the run's config asks for.

    Raises:
        ImportError: a mirror's package is missing; says how to install it.
    """
    mirrors: list[Sink] = []
    try:
        if config.sinks.wandb != "off":
            mirrors.append(WandbSink(config, folder))
        if config.sinks.tensorboard:
            mirrors.append(TensorBoardSink(folder / "tensorboard"))
    except ImportError as error:
        raise ImportError(f"{error}. Install the sinks with: pip install 'cairngym[tensorboard]' wandb") from error
    return Sinks(JsonlSink(folder / "metrics.jsonl"), mirrors)


def _prefixed(metrics: Metrics) -> dict[str, float]:
    phase = metrics.get("phase", "")
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float) and name != "step"}
    return {f"{phase}/{name}" if phase else name: float(value) for name, value in numbers.items()}


def _number(value: Any) -> Any:
    """A plain value that strict JSON knows: scalars of numpy and torch unpacked, NaN and infinity as null."""
    plain_value = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain_value, float) and not math.isfinite(plain_value) else plain_value
