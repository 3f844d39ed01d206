"""How a comparison tells where it stands: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cairngym.experiments.config import RunConfig
from cairngym.experiments.runfolder import RunFolder


class ProgressDisplay:
    """Follows the runs' metrics.jsonl; the runs themselves know nothing of it.

    Args:
        runs: every run of the comparison with its folder.
        console: where to write.
        period: seconds between looks at the files; plain lines come at a fifteenth of that rate.
    """

    def __init__(self, runs: Sequence[tuple[RunConfig, RunFolder]], console: Console, *, period: float = 1.0) -> None:
        self.runs, self.console, self.period = runs, console, period
        self.active: set[int] = set()
        self._total = sum(config.steps for config, _ in runs)
        self._known = [config.steps if folder.finished else 0 for config, folder in runs]
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn(),
            TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=console, transient=True,
        )  # fmt: skip
        self._overall = self._bars.add_task("all runs", total=self._total, note="")
        self._rows: dict[int, TaskID] = {}
        self._began, self._spoken = time.monotonic(), time.monotonic()

    def __enter__(self) -> Self:
        self._initial = sum(self._known)
        if self.console.is_terminal:
            self._bars.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def end(self, index: int) -> None:
        """Take note that a run is over."""
        with self._guard:
            self.active.discard(index)
            row = self._rows.pop(index, None)
            if row is not None:
                self._bars.remove_task(row)

    def _follow(self) -> None:
        while not self._over.wait(self.period):
            with self._guard:
                self._look()
            if not self.console.is_terminal and time.monotonic() - self._spoken >= 15 * self.period:
                self._spoken = time.monotonic()
                self.say(self._line())

    def _look(self) -> None:
        for index, (config, folder) in enumerate(self.runs):
            if folder.finished:
                self._known[index] = config.steps
            elif (line := folder.last_metrics()) and line["step"] != self._known[index]:
                self._known[index] = min(line["step"], config.steps)
                self._show(index, line.get("success_rate", line.get("success")))
        self._bars.update(self._overall, completed=sum(self._known), note=self._rate())

    def _show(self, index: int, success: float | None) -> None:
        config = self.runs[index][0]
        if index not in self._rows:
            name = f"{config.task} {config.variant} seed {config.seed}"
            self._rows[index] = self._bars.add_task(name, total=config.steps, note="")
        note = f"success {success:4.0%}" if isinstance(success, float) else ""
        self._bars.update(self._rows[index], completed=self._known[index], note=note)

    def _rate(self) -> str:
        seconds = time.monotonic() - self._began
        return f"{max(0, sum(self._known) - self._initial) / max(seconds, 1e-9) / 1000:,.0f} k steps/s"

    def _line(self) -> str:
        done = sum(self._known)
        finished = sum(folder.finished for _, folder in self.runs)
        return f"{done / self._total:4.0%}  {finished}/{len(self.runs)} runs finished, {self._rate()}"
