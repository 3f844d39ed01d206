"""One run: a task, an agent with its shapers and a seed, from the config to the summary, across crashes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.config import RunConfig, WrapperConfig
from cairngym.experiments.launcher import PARENT
from cairngym.experiments.overlay import write_yaml
from cairngym.experiments.provenance import hardware, versions
from cairngym.experiments.resolve import resolve
from cairngym.experiments.runfolder import (
    CorruptCheckpointError,
    RunFolder,
    changes,
    disk_full,
    mixed_runs,
    set_aside,
)
from cairngym.experiments.sinks import open_sinks

if TYPE_CHECKING:
    from cairngym.agents.core import Agent
    from cairngym.envs.core import TensorEnv

Tell = Callable[[str], None]


def run(config: RunConfig, folder: Path, *, fresh: bool = False, tell: Tell = print) -> dict[str, Any]:
    """Train to the end of the config's steps, going on from a checkpoint where there is one; returns the summary.

    Args:
        config: what to run.
        folder: the run's folder; a finished run in it is returned as it is.
        fresh: move a run with other settings aside instead of refusing.
        tell: takes lines for people.

    Raises:
        MixedRunsError: the folder holds a run with other settings.
        FolderInUseError: another process trains in it.
        DiskFullError: no space left; what was written is intact.
        KeyboardInterrupt: stopped by Ctrl-C, SIGTERM or the death of its launcher, after writing a checkpoint.
    """
    config = resolve(config)
    changed = changes(folder, config)
    if changed and not fresh:
        raise mixed_runs(folder, changed)
    if changed:
        set_aside(folder, folder.with_name(f".old-{folder.name}"))
    place = RunFolder(folder)
    with place.lock():
        if place.finished:
            tell(f"{folder} is finished already.")
            return place.read_summary()
        with disk_full(place.config):
            write_yaml(place.config, config)
        place.failure.unlink(missing_ok=True)
        return Session(config, place, tell).finish()


def make_env(config: RunConfig) -> TensorEnv:
    """The env a run trains on, in its wrappers and then its shapers."""
    from cairngym.envs.registry import make
    from cairngym.reward_shaping.registry import shape

    env = make(config.task, num_envs=config.num_envs, device=config.device, seed=config.seed, **config.env)
    env = wrap(config.wrappers, env)
    for shaper in config.shapers:
        env = shape(env, shaper.name, shaper.weight, term=shaper.term, **shaper.options)
    return env


def make_evaluation_env(config: RunConfig, *, num_envs: int, seed: int | None = None) -> TensorEnv:
    """The env a run is evaluated on: unshaped, with the evaluation's own seed, options and, where given, wrappers."""
    from cairngym.envs.registry import make

    options = {**config.env, **config.evaluation.env}
    seed = config.evaluation.seed if seed is None else seed
    wrappers = config.wrappers if config.evaluation.wrappers is None else config.evaluation.wrappers
    return wrap(wrappers, make(config.task, num_envs=num_envs, device=config.device, seed=seed, **options))


def wrap(wrappers: Iterable[WrapperConfig], env: TensorEnv) -> TensorEnv:
    """Put wrappers around `env`, the first innermost."""
    from cairngym.envs.wrapper_registry import make_wrapper

    for wrapper in wrappers:
        env = make_wrapper(wrapper.name, env, **wrapper.options)
    return env


def make_run_agent(config: RunConfig, env: TensorEnv) -> Agent:
    """The agent of a resolved config, drawing from the run's seed."""
    from cairngym.agents.registry import make_agent

    return make_agent(config.agent.name, env, seed=config.seed, **config.agent.options)


class Session:
    """What a process knows of the run it is training.

    Args:
        config: resolved.
        place: the run's folder, locked.
        tell: takes lines for people.
    """

    def __init__(self, config: RunConfig, place: RunFolder, tell: Tell) -> None:
        self.config, self.place, self.tell = config, place, tell
        self.notes: list[str] = []
        self.resumes = 0
        self._wall = 0.0
        self._build()
        self._restore()
        self.sinks = open_sinks(config, place.path)
        self.sinks.save(place.config)
        self._evaluation_env: TensorEnv | None = None
        self._saved_at, self._saved_step = time.monotonic(), self.agent.steps_done
        self._told_at = 0.0
        self._stop = threading.Event()

    def _build(self) -> None:
        import torch

        torch.manual_seed(self.config.seed)
        self.env = make_env(self.config)
        self.agent = make_run_agent(self.config, self.env)

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        try:
            saved = self.place.load_checkpoint()
            if saved is not None:
                self._take(saved)
        except CorruptCheckpointError as error:
            aside = self.place.set_aside_checkpoint()
            note = f"checkpoint.pt could not be used and is kept as {aside}; the run began again at step 0. {error}"
            self.tell(f"Warning: {note}")
            self._build()
            self.notes, self.resumes, self._wall = [note], 0, 0.0
        if self.agent.steps_done == 0 and self.config.start_from is not None:
            self._start_from(self.config.start_from)
        self.place.cut_metrics(self.agent.steps_done)

    def _start_from(self, start: str) -> None:
        """Take over the agent of a finished run, in new episodes and with an empty replay."""
        place = RunFolder((self.place.path / start).resolve())
        saved = place.load_checkpoint() if place.finished else None
        if saved is None or saved["agent"] != self.agent.name:
            found = "no finished run" if saved is None else f"one of {saved['agent']!r}"
            raise ConfigError(
                f"start_from: expected a finished run of the agent {self.agent.name!r} in {place.path}, got {found}."
            )
        # What was seen in another world is no experience of this one.
        self.agent.set_state({key: None if key == "replay" else value for key, value in saved["state"].items()})
        self.agent.forget_env()
        self.tell(f"Going on from {place.path} at step {self.agent.steps_done:,}.")

    def _take(self, saved: Mapping[str, Any]) -> None:
        import torch

        try:
            self.agent.set_state(saved["state"])
            if saved["env"] is None:
                self.agent.forget_env()
            else:
                self.env.set_state(saved["env"])
            torch.set_rng_state(saved["rng"])
        except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise CorruptCheckpointError(f"It does not fit this run: {type(error).__name__}: {error}") from error
        self.notes, self.resumes, self._wall = list(saved["notes"]), saved["resumes"] + 1, saved["wall_s"]
        if saved["env"] is None:
            self.notes.append(f"Resumed at step {saved['step']} with new episodes: the env gives no snapshots.")
        self.tell(f"Resuming at step {saved['step']:,}.")

    def _save(self) -> None:
        import torch

        from cairngym.agents.core import env_snapshot

        self.place.save_checkpoint(
            {
                "agent": self.agent.name, "config": vars(self.agent.config).copy(), "state": self.agent.get_state(),
                "num_envs": self.env.num_envs, "env": env_snapshot(self.env), "rng": torch.get_rng_state(),
                "step": self.agent.steps_done, "wall_s": self._wall, "resumes": self.resumes, "notes": self.notes,
            }
        )  # fmt: skip
        self._write_findings()
        self._saved_at, self._saved_step = time.monotonic(), self.agent.steps_done

    def _write_findings(self) -> None:
        with disk_full(self.place.path):
            self.agent.write_findings(self.place.path)

    def _save_due(self) -> bool:
        every = self.config.checkpoint
        steps = self.agent.steps_done - self._saved_step
        late = time.monotonic() - self._saved_at >= every.every_s
        return late or (every.every_steps is not None and steps >= every.every_steps)

    # Training ---------------------------------------------------------------------------------------------------------

    def finish(self) -> dict[str, Any]:
        """Train what is missing, evaluate, and write the summary."""
        try:
            remaining = self.config.steps - self.agent.steps_done
            if remaining > 0:
                with self._stoppable():
                    self._next_evaluation = self._following(self.agent.steps_done)
                    self._since = time.perf_counter()
                    self.agent.learn(self.env, remaining, [self._after_iteration])
            self._write_findings()
            summary = self._summary()
            self.place.write_summary(summary)
            self.sinks.save(self.place.summary)
            return summary
        finally:
            self.sinks.close()

    def _after_iteration(self, metrics: Mapping[str, Any]) -> bool:
        self._wall += time.perf_counter() - self._since
        step = self.agent.steps_done
        over = step >= self.config.steps
        self.sinks.log({"phase": "train", **metrics, "wall_s": round(self._wall, 4)}, step)
        self._tell_progress(metrics)
        if over or step >= self._next_evaluation:
            self._evaluate(step)
            self._next_evaluation = self._following(step)
        stop = not over and (self._stop.is_set() or _orphaned())
        if over or stop or self._save_due():
            self._save()
        if stop:
            raise KeyboardInterrupt(f"Stopped at step {step:,}.")
        self._since = time.perf_counter()
        return True

    def _following(self, step: int) -> int:
        every = self.config.evaluation.every
        return (step // every + 1) * every

    def _tell_progress(self, metrics: Mapping[str, Any]) -> None:
        if time.monotonic() - self._told_at < 5.0 and self.agent.steps_done < self.config.steps:
            return
        self._told_at = time.monotonic()
        success = metrics.get("success_rate")
        shown = "  -" if success is None else f"{success:4.0%}"
        speed = f"{metrics.get('steps_per_s', 0.0) / 1000:,.0f} k steps/s"
        self.tell(f"step {self.agent.steps_done:>12,}  success while training {shown}  {speed}")

    # Evaluating -------------------------------------------------------------------------------------------------------

    def _evaluate(self, step: int) -> dict[str, Any]:
        from cairngym.agents.evaluation import evaluate

        episodes = self.config.evaluation.episodes
        if self._evaluation_env is None:
            self._evaluation_env = make_evaluation_env(self.config, num_envs=min(episodes, self.config.num_envs))
        seed = self.config.evaluation.seed
        greedy = evaluate(self.agent, self._evaluation_env, episodes=episodes, seed=seed, deterministic=True)
        sampled = greedy
        if self.agent.stochastic:
            sampled = evaluate(self.agent, self._evaluation_env, episodes=episodes, seed=seed)
        counts = [e.successes if self.config.evaluation.success == "once" else e.successes_at_end
                  for e in (sampled, greedy)]  # fmt: skip
        record = {
            "phase": "eval", "wall_s": round(self._wall, 4), "episodes": sampled.episodes, "successes": counts[0],
            "success": counts[0] / episodes, "success_greedy": counts[1] / episodes,
            "return": sampled.mean_return, "length": sampled.mean_length,
        }  # fmt: skip
        self.sinks.log(record, step)
        return record

    def _summary(self) -> dict[str, Any]:
        config, step = self.config, self.agent.steps_done
        final = self.place.last_metrics("eval")
        if final.get("step") != step:
            final = self._evaluate(step)
        final = {key: value for key, value in final.items() if key not in ("phase", "step", "wall_s")}
        return {
            "status": "finished", "experiment": config.experiment, "task": config.task, "variant": config.variant,
            "seed": config.seed, "steps": step, "wall_s": round(self._wall, 3), "final": final,
            "versions": versions(), "hardware": hardware(config.device), "resumes": self.resumes,
            "command": config.command, "notes": self.notes,
        }  # fmt: skip

    # Stopping ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM stop the run after the present iteration; a second Ctrl-C stops it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def ask(number: int, frame: Any) -> None:
            del frame
            if self._stop.is_set() and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stop.set()

        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _orphaned() -> bool:
    """Whether the launcher that started this process is gone."""
    parent = os.environ.get(PARENT)
    return parent is not None and hasattr(os, "getppid") and os.getppid() != int(parent)
