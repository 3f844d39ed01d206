"""An experiment folder with made-up runs, for what reads such folders."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

SPEED = {"sparse": 0.2, "potential": 3.0, "count": 1.1, "rnd": 0.7}


class SyntheticExperiment:
    """Writes an experiment folder: plan first, then runs one by one."""

    def __init__(self, folder: Path, *, tasks=("Toy-A-v0", "Toy-B-v0"), variants=tuple(SPEED), seeds=3, **plan):
        self.folder, self.tasks, self.variants, self.seeds = folder, tasks, variants, range(seeds)
        self.steps = 1_000_000
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "name": folder.name, "title": "Toy comparison", "description": "Made-up numbers.", "baseline": "sparse",
            "illustrative": True, "tasks": [{"id": task} for task in tasks], "seeds": list(self.seeds),
            "variants": {v: {"shapers": [] if v == "sparse" else [{"name": v, "weight": 0.1}]} for v in variants},
            "steps": self.steps, "evaluation": {"every": 50_000, "episodes": 100, "env": {"split": "test"}}, **plan,
        }  # fmt: skip
        (folder / "comparison.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def run_folder(self, task, variant, seed):
        return self.folder / task.replace("/", "__") / variant / f"seed_{seed}"

    def write_all(self):
        for task in self.tasks:
            for variant in self.variants:
                for seed in self.seeds:
                    self.write_run(task, variant, seed)
        return self

    def write_run(self, task, variant, seed, success=None, *, finished=True):
        """Write one run; `success` is its success at each of the evenly spaced evaluations."""
        folder = self.run_folder(task, variant, seed)
        folder.mkdir(parents=True, exist_ok=True)
        if success is None:
            success = self.learning_curve(task, variant, seed)
        config = {"task": task, "variant": variant, "seed": seed, "steps": self.steps, "command": "cairn compare toy"}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        steps = np.linspace(0, self.steps, len(success)).astype(int)
        rate = 9_000 if variant in ("count", "rnd") else 12_000
        lines = []
        for step, value in zip(steps.tolist(), success, strict=True):
            wall = step / rate
            terms = {} if variant == "sparse" else {f"reward_terms/{variant}": 0.3 * (1 - value) + 0.01 * (seed + 1)}
            lines.append({"phase": "train", "step": step, "wall_s": wall, "success_rate": None, **terms})
            lines.append({"phase": "eval", "step": step, "wall_s": wall, "episodes": 100, "success": value,
                          "success_greedy": value * 0.9, "return": value, "length": 50.0})  # fmt: skip
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if finished:
            self.write_summary(folder, task, variant, seed, float(success[-1]), self.steps / rate)
        return folder

    def write_summary(self, folder, task, variant, seed, success, wall_s):
        summary = {
            "status": "finished", "experiment": self.folder.name, "task": task, "variant": variant, "seed": seed,
            "steps": self.steps, "wall_s": wall_s, "resumes": 0, "command": "cairn compare toy", "notes": [],
            "final": {"success": success, "success_greedy": success * 0.9, "episodes": 100,
                      "successes": round(success * 100), "return": success, "length": 50.0},
            "versions": {"cairngym": "0.1.0", "torch": "2.13.0"}, "hardware": {"cpu": "Toy CPU", "cores": 2},
        }  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(summary))

    def learning_curve(self, task, variant, seed):
        rng = np.random.default_rng([seed, self.tasks.index(task), self.variants.index(variant)])
        delay = rng.uniform(0.8, 1.3) * (1 + 0.5 * self.tasks.index(task))
        x = np.linspace(0, 1, 21) * SPEED.get(variant, 1.0) / delay
        return np.round(np.clip(1 / (1 + np.exp(-12 * (x - 0.55))) + rng.normal(0, 0.015, 21), 0, 1), 2).tolist()


@pytest.fixture
def synthetic(tmp_path):
    """Factory of synthetic experiments: `synthetic(**options)`."""
    return lambda name="toy", **options: SyntheticExperiment(tmp_path / name, **options)


@pytest.fixture(autouse=True)
def interruptible():
    """Children hear Ctrl-C even where the shell that started the tests ignores it, as one does for background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
