"""What is read from run folders, against numbers worked out by hand."""

import json
from pathlib import Path

import pytest
import yaml

from cairngym.experiments.config import RunConfig
from cairngym.experiments.records import read_run
from cairngym.experiments.search.training import assess


def write_run(root: Path, seed: int, success, components, *, finished=True, off=0.0):
    """A run of 100 steps with evenly spaced evaluations; components has one value for each train line."""
    folder = root / f"seed_{seed}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"task": "T", "variant": "r1_c0", "seed": seed, "steps": 100}))
    lines = []
    for index, values in enumerate(zip(*components.values(), strict=True), start=1):
        named = {f"shaper/program/components/{name}": value for name, value in zip(components, values, strict=True)}
        step = 100 * index // len(next(iter(components.values())))
        named |= {"shaper/program/value": sum(values), "shaper/program/switched_off": off}
        lines.append({"phase": "train", "step": step, "success_rate": 0.5 if index == 1 else None, **named})
    for index, value in enumerate(success, start=1):
        lines.append({"phase": "eval", "step": 100 * index // len(success), "wall_s": 0.0, "success": value})
    lines.sort(key=lambda line: line["step"])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    final = {"success": success[-1], "success_greedy": 0.0, "episodes": 8, "successes": 1}
    if finished:
        (folder / "summary.json").write_text(json.dumps({"status": "finished", "final": final, "wall_s": 1.0}))
    else:
        (folder / "log.txt").write_text("Traceback …\nValueError: out of luck\n\n")
        (folder / "failure.json").write_text(json.dumps({"returncode": 1}))
    return read_run(folder, RunConfig(task="T", variant="r1_c0", seed=seed, steps=100))


def test_two_seeds(tmp_path):
    runs = [
        write_run(tmp_path, 1000, [0.0] * 18 + [0.5, 0.7], {"near": [1.0, 3.0], "far": [-1.0, -2.0]}),
        write_run(tmp_path, 1001, [0.9] * 19 + [0.1], {"near": [2.0, 6.0], "far": [-1.0, -4.0]}),
    ]
    trial = assess(1, 100, runs)
    assert trial.runs == {"1000": pytest.approx(0.6), "1001": pytest.approx(0.5)}
    assert trial.fitness == pytest.approx(0.55)
    assert (trial.rung, trial.steps, trial.env_steps, trial.problem) == (1, 100, 200, "")
    assert trial.components["near"].values == (1.5, 4.5)
    assert trial.components["far"].least == -4.0
    assert trial.total.values == (0.5, 1.5)
    assert trial.success.greatest == 0.9
    assert trial.success.values[0] == pytest.approx(0.45)
    assert trial.training_success == 0.5


def test_a_failed_run_counts_zero_and_says_why(tmp_path):
    runs = [
        write_run(tmp_path, 1000, [0.8] * 10, {"near": [1.0, 3.0]}),
        write_run(tmp_path, 1001, [0.8], {"near": [9.0]}, finished=False),
    ]
    trial = assess(0, 100, runs)
    assert (trial.fitness, trial.runs["1001"]) == (pytest.approx(0.4), None)
    assert trial.problem == "ValueError: out of luck"
    assert trial.components["near"].greatest == 3.0


def test_nothing_but_failures_is_no_fitness(tmp_path):
    trial = assess(0, 100, [write_run(tmp_path, 1000, [0.8], {"near": [9.0]}, finished=False)])
    assert (trial.fitness, trial.success, trial.components, trial.total) == (None, None, {}, None)


def test_runs_whose_program_was_switched_off_are_counted(tmp_path):
    runs = [write_run(tmp_path, seed, [0.1], {"near": [1.0]}, off=float(seed == 1001)) for seed in (1000, 1001)]
    assert assess(0, 100, runs).switched_off == 1
