"""A comparison: run once, resumed, never mixed, and reported on."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments import compare as module
from cairngym.experiments.compare import compare
from cairngym.experiments.config import (
    AgentConfig,
    CheckpointConfig,
    Comparison,
    EvaluationConfig,
    ShaperConfig,
    TaskConfig,
    VariantConfig,
    load_comparison,
    load_run,
)
from cairngym.experiments.launcher import Finished, Job, LocalPool
from cairngym.experiments.overlay import write_yaml
from cairngym.experiments.run import run
from cairngym.experiments.runfolder import MixedRunsError, RunFolder

SMALL = Comparison(
    name="small",
    tasks=(TaskConfig(id="Chain-N10-v0"),),
    variants={"sparse": VariantConfig(), "potential": VariantConfig(shapers=(ShaperConfig(name="potential"),))},
    seeds=(0, 1),
    steps=256,
    agent=AgentConfig(options={"num_envs": 16, "rollout_steps": 8, "minibatch": 128, "hidden": [8]}),
    evaluation=EvaluationConfig(every=128, episodes=8),
)


class InProcess:
    """A launcher that trains here, one run after another; some names fail."""

    def __init__(self, fail: tuple[str, ...] = (), stop_after: int | None = None):
        self.fail, self.stop_after, self.launched = fail, stop_after, []

    def launch(self, jobs: Iterable[Job]) -> Generator[Finished, None, None]:
        for job in jobs:
            if len(self.launched) == self.stop_after:
                raise KeyboardInterrupt
            self.launched.append(job.name)
            failed = any(word in job.name for word in self.fail)
            if failed:
                job.log.write_text("Traceback …\nValueError: out of luck\n")
            else:
                run(load_run(job.folder / "config.yaml"), job.folder, tell=lambda text: None)
            yield Finished(job=job, returncode=1 if failed else 0, seconds=0.1)


def screen() -> Console:
    return Console(file=io.StringIO(), width=200)


def shown(console: Console) -> str:
    return console.file.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, str]:
    root, console = tmp_path_factory.mktemp("runs"), screen()
    outcome = compare(SMALL, root, launcher=InProcess(), console=console, command="cairn compare small.yaml")
    assert (outcome.finished, outcome.failed) == (4, ())
    return root, shown(console)


def test_it_runs_everything_and_writes_the_report(done):
    root, text = done
    folder = root / "small"
    runs = sorted(path.parent.relative_to(folder).as_posix() for path in folder.rglob("summary.json"))
    assert runs == [f"Chain-N10-v0/{v}/seed_{s}" for v in ("potential", "sparse") for s in (0, 1)]
    assert load_comparison(folder / "comparison.yaml") == SMALL
    assert (folder / "report.html").stat().st_size > 1000
    assert f"Report: {folder / 'report.html'}" in text
    assert "4 runs: 0 finished before, 0 to resume, 4 to start." in text
    assert "[4/4] Chain-N10-v0 potential seed 1: success" in text
    assert load_run(folder / "Chain-N10-v0/sparse/seed_1/config.yaml").command == "cairn compare small.yaml"


def test_a_second_call_skips_finished_runs(done):
    root, _ = done
    launcher, console = InProcess(), screen()
    assert compare(SMALL, root, launcher=launcher, console=console).finished == 4
    assert launcher.launched == []
    assert "4 finished before" in shown(console)


def test_more_seeds_add_to_what_is_there(done, tmp_path):
    import shutil

    shutil.copytree(done[0], tmp_path / "runs")
    launcher = InProcess()
    compare(replace(SMALL, seeds=(0, 1, 2)), tmp_path / "runs", launcher=launcher, console=screen())
    assert launcher.launched == ["Chain-N10-v0 sparse seed 2", "Chain-N10-v0 potential seed 2"]


def test_other_settings_are_refused_before_anything_runs(done):
    root, _ = done
    launcher = InProcess()
    changed = replace(SMALL, agent=AgentConfig(options={**SMALL.agent.options, "gamma": 0.9}))
    with pytest.raises(MixedRunsError, match=r"seed_0 and 3 more was made.*agent\.gamma: 0\.99 -> 0\.9"):
        compare(changed, root, launcher=launcher, console=screen())
    assert launcher.launched == []
    assert load_comparison(root / "small" / "comparison.yaml") == SMALL


def test_fresh_moves_only_what_differs_aside(done, tmp_path):
    import shutil

    shutil.copytree(done[0], tmp_path / "runs")
    shaped = VariantConfig(shapers=(ShaperConfig(name="potential", weight=0.5),))
    changed = replace(SMALL, variants={"sparse": VariantConfig(), "potential": shaped})
    launcher = InProcess()
    compare(changed, tmp_path / "runs", launcher=launcher, fresh=True, console=screen())
    assert launcher.launched == ["Chain-N10-v0 potential seed 0", "Chain-N10-v0 potential seed 1"]
    aside = sorted((tmp_path / "runs" / "small" / ".old").glob("*/Chain-N10-v0/potential/seed_*/summary.json"))
    assert len(aside) == 2


def test_bad_names_are_refused_before_anything_runs(tmp_path):
    bad = VariantConfig(shapers=(ShaperConfig(name="potental"),))
    with pytest.raises(UnknownNameError, match="Did you mean 'potential'"):
        compare(replace(SMALL, variants={"sparse": bad}), tmp_path, launcher=InProcess(), console=screen())
    assert list(tmp_path.iterdir()) == []


def test_failures_are_told_with_their_logs_and_tried_again(tmp_path):
    console = screen()
    outcome = compare(SMALL, tmp_path, launcher=InProcess(fail=("potential",)), console=console)
    assert (outcome.finished, len(outcome.failed)) == (2, 2)
    place = RunFolder(tmp_path / "small" / "Chain-N10-v0" / "potential" / "seed_0")
    assert f"{place.log}: ValueError: out of luck" in shown(console)
    assert "2 runs failed; the same command tries them again" in shown(console)
    assert json.loads(place.failure.read_text())["returncode"] == 1
    launcher = InProcess()
    assert compare(SMALL, tmp_path, launcher=launcher, console=screen()).finished == 4
    assert len(launcher.launched) == 2
    assert not place.failure.exists()


def test_an_interrupted_comparison_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        compare(SMALL, tmp_path, launcher=InProcess(stop_after=1), console=screen())
    launcher = InProcess()
    assert compare(SMALL, tmp_path, launcher=launcher, console=screen()).finished == 4
    assert len(launcher.launched) == 3


def test_the_display_follows_the_runs(tmp_path):
    place = RunFolder(tmp_path / "a")
    (config,) = module.expand(replace(SMALL, variants={"sparse": VariantConfig()}, seeds=(0,)))
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with module.ProgressDisplay([(config, place)], console, period=0.02) as display:
        place.metrics.write_text('{"phase": "train", "step": 128, "success_rate": 0.5}\n')
        time.sleep(0.3)
        display.say("a line")
        display.end(0)
    assert "success  50%" in shown(console)
    assert " 50%" in shown(console)
    assert "a line" in shown(console)
    plain = screen()
    with module.ProgressDisplay([(config, place)], plain, period=0.02):
        time.sleep(0.6)
    assert " 50%  0/1 runs finished" in shown(plain)


def _wait_for(condition, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


LONG = replace(
    SMALL,
    steps=6144,
    seeds=(0,),
    checkpoint=CheckpointConfig(every_s=1e9, every_steps=512),
    evaluation=EvaluationConfig(every=2048, episodes=8),
)


def _start(root: Path) -> subprocess.Popen:
    write_yaml(root / "long.yaml", LONG)
    command = [sys.executable, "-m", "cairngym", "compare", str(root / "long.yaml"), "--runs", str(root / "runs")]
    return subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def _places(root: Path) -> list[RunFolder]:
    return [RunFolder(root / "runs" / "small" / "Chain-N10-v0" / v / "seed_0") for v in ("sparse", "potential")]


def _under_way(root: Path) -> bool:
    return all(
        (place.checkpoint.exists() and place.last_metrics().get("step", 0) > 1000) or place.finished
        for place in _places(root)
    )


@pytest.mark.slow
def test_kill_9_of_the_whole_comparison_loses_at_most_one_interval(tmp_path):
    process = _start(tmp_path)
    assert _wait_for(lambda: _under_way(tmp_path))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # The orphans notice at the end of their iteration, save and leave.
    assert _wait_for(lambda: all(_free(place) for place in _places(tmp_path)), 20)
    for place in _places(tmp_path):
        assert place.finished or place.last_metrics()["step"] - place.load_checkpoint()["step"] <= 512 + 128
    comparison = load_comparison(tmp_path / "long.yaml")
    outcome = compare(comparison, tmp_path / "runs", launcher=LocalPool(2), console=screen())
    assert outcome.finished == 2
    compare(comparison, tmp_path / "again", launcher=InProcess(), console=screen())
    for place in _places(tmp_path):
        other = RunFolder(tmp_path / "again" / place.path.relative_to(tmp_path / "runs"))
        assert place.read_summary()["final"] == other.read_summary()["final"]
        steps = [json.loads(line)["step"] for line in place.metrics.read_text().splitlines()]
        assert steps == sorted(steps)
        assert len(steps) == len(other.metrics.read_text().splitlines())


def _free(place: RunFolder) -> bool:
    try:
        with place.lock(patience=0):
            return True
    except RuntimeError:
        return False


@pytest.mark.slow
def test_ctrl_c_saves_every_run_and_says_how_to_go_on(tmp_path):
    process = _start(tmp_path)
    assert _wait_for(lambda: _under_way(tmp_path))
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Nothing is lost; go on with: cairn compare" in errors
    for place in _places(tmp_path):
        assert _free(place)
        assert place.finished or place.load_checkpoint()["step"] == place.last_metrics()["step"]


def test_variants_start_from_others_once_those_have_finished(tmp_path):
    variants = {"tuned": VariantConfig(start_from="sparse", steps={"Chain-N10-v0": 512}), "sparse": VariantConfig()}
    launcher = InProcess()
    outcome = compare(replace(SMALL, variants=variants), tmp_path, launcher=launcher, console=screen())
    assert (outcome.finished, outcome.failed) == (4, ())
    assert ["sparse" in name for name in launcher.launched] == [True, True, False, False]
    tuned = RunFolder(tmp_path / "small" / "Chain-N10-v0" / "tuned" / "seed_1")
    assert load_run(tuned.config).start_from == "../../sparse/seed_1"
    steps = [json.loads(line)["step"] for line in tuned.metrics.read_text().splitlines()]
    assert min(steps) > 256
    assert max(steps) == 512


def test_a_variant_whose_start_failed_fails_with_its_reason(tmp_path):
    variants = {"sparse": VariantConfig(), "tuned": VariantConfig(start_from="sparse")}
    with pytest.raises(ConfigError, match="expected a finished run"):
        compare(replace(SMALL, variants=variants), tmp_path, launcher=InProcess(fail=("sparse",)), console=screen())
