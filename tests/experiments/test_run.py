"""One run: its files, its resumption, and what happens when they are damaged."""

import errno
import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.strict_yaml import ConfigError, load_yaml
from cairngym.experiments.config import (
    AgentConfig,
    CheckpointConfig,
    EvaluationConfig,
    RunConfig,
    ShaperConfig,
    WrapperConfig,
    load_run,
)
from cairngym.experiments.launcher import train_job
from cairngym.experiments.overlay import write_yaml
from cairngym.experiments.resolve import resolve
from cairngym.experiments.run import make_env, make_evaluation_env, run
from cairngym.experiments.runfolder import DiskFullError, MixedRunsError, RunFolder, changes

TINY = RunConfig(
    task="Chain-N10-v0",
    steps=1024,
    agent=AgentConfig(options={"num_envs": 16, "rollout_steps": 8, "minibatch": 128, "hidden": [8]}),
    shapers=(ShaperConfig(name="potential"), ShaperConfig(name="count", weight=0.01)),
    evaluation=EvaluationConfig(every=384, episodes=8, seed=5),
    checkpoint=CheckpointConfig(every_s=1e9, every_steps=256),
    command="cairn train …",
)


def lines(folder: Path, *, timeless: bool = True) -> list[dict]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clocks = ("wall_s", "steps_per_s") if timeless else ()
    return [{key: value for key, value in record.items() if key not in clocks} for record in records]


def quiet(text: str) -> None:
    del text


def stop_at(step: int):
    """A run's `tell` can't stop it, a callback can: raise from the record of a step as a signal would."""
    from cairngym.experiments import run as module

    class Stopping(module.Session):
        def _after_iteration(self, metrics):
            super()._after_iteration(metrics)
            if self.agent.steps_done >= step:
                raise KeyboardInterrupt
            return True

    return Stopping


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(TINY, folder, tell=quiet)
    return folder


def test_a_run_writes_its_folder(whole):
    config = load_run(whole / "config.yaml")
    assert config.agent.options["gamma"] == config.shapers[0].options["gamma"]
    records = lines(whole, timeless=False)
    train = [record for record in records if record["phase"] == "train"]
    assert [record["step"] for record in train] == list(range(128, 1025, 128))
    assert [record["step"] for record in records if record["phase"] == "eval"] == [384, 768, 1024]
    assert {"success_rate", "episodes", "steps_per_s", "reward_terms/potential", "reward_terms/count"} <= set(train[0])
    walls = [record["wall_s"] for record in records]
    assert walls == sorted(walls)
    assert walls[0] > 0
    evaluation = next(record for record in records if record["phase"] == "eval")
    assert {"success", "success_greedy", "return", "length", "episodes", "wall_s"} <= set(evaluation)
    assert evaluation["episodes"] == 8


def test_the_summary_says_all_a_report_needs(whole):
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert (summary["task"], summary["variant"], summary["seed"]) == ("Chain-N10-v0", "sparse", 0)
    assert (summary["steps"], summary["resumes"], summary["notes"]) == (1024, 0, [])
    assert summary["command"] == "cairn train …"
    final, last = summary["final"], lines(whole)[-1]
    assert final["success"] == last["success"] == final["successes"] / final["episodes"]
    assert summary["versions"]["torch"] == torch.__version__.split("+")[0] or summary["versions"]["torch"]
    assert summary["hardware"]["usable_cores"] >= 1


def test_a_finished_run_is_left_as_it_is(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir() if path.name != ".lock"}
    said = []
    assert run(TINY, whole, tell=said.append)["steps"] == 1024
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir() if path.name != ".lock"} == before
    assert "finished already" in said[0]


@pytest.mark.parametrize("stop", [128, 384, 640, 1024])
def test_resuming_gives_the_same_run_bit_for_bit(whole, tmp_path, monkeypatch, stop):
    from cairngym.experiments import run as module

    session = module.Session
    monkeypatch.setattr(module, "Session", stop_at(stop))
    with pytest.raises(KeyboardInterrupt):
        run(TINY, tmp_path, tell=quiet)
    monkeypatch.setattr(module, "Session", session)
    kept = RunFolder(tmp_path).load_checkpoint()
    assert (0 if kept is None else kept["step"]) > stop - 256
    summary = run(TINY, tmp_path, tell=quiet)
    assert lines(tmp_path) == lines(whole)
    assert summary["resumes"] == (0 if kept is None else 1)
    walls = [record["wall_s"] for record in lines(tmp_path, timeless=False)]
    assert walls == sorted(walls)
    ours, theirs = (RunFolder(folder).load_checkpoint()["state"]["model"] for folder in (tmp_path, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def damage_flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 4, len(data) // 2):
        data[position] ^= 0xFF
    path.write_bytes(bytes(data))


def damage_foreign(path: Path) -> None:
    torch.save({"step": 3}, path)


def damage_misfit(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["state"]["model"] = {}
    torch.save(content, path)


@pytest.mark.parametrize("damage", [damage_cut, damage_flip, damage_foreign, damage_misfit])
def test_a_corrupt_checkpoint_is_kept_aside_and_the_run_begins_again(whole, tmp_path, monkeypatch, damage):
    from cairngym.experiments import run as module

    session = module.Session
    monkeypatch.setattr(module, "Session", stop_at(512))
    with pytest.raises(KeyboardInterrupt):
        run(TINY, tmp_path, tell=quiet)
    monkeypatch.setattr(module, "Session", session)
    damage(tmp_path / "checkpoint.pt")
    damaged = (tmp_path / "checkpoint.pt").read_bytes()
    said: list[str] = []
    summary = run(TINY, tmp_path, tell=said.append)
    assert (tmp_path / "checkpoint.pt.corrupt").read_bytes() == damaged
    assert (tmp_path / "metrics.jsonl.corrupt").exists()
    assert lines(tmp_path) == lines(whole)
    assert any("checkpoint.pt.corrupt" in line and line.startswith("Warning") for line in said)
    assert "began again at step 0" in summary["notes"][0]


def test_a_full_disk_keeps_the_old_checkpoint(whole, tmp_path, monkeypatch):
    place = RunFolder(tmp_path)
    place.save_checkpoint({"step": 1, "wall_s": 0.0, "resumes": 0, "notes": []})
    before = place.checkpoint.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"is full, so the run stopped.*Free some space"):
        place.save_checkpoint({"step": 2, "wall_s": 0.0, "resumes": 0, "notes": []})
    assert place.checkpoint.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt"]


def test_a_full_disk_stops_a_run_that_then_goes_on(whole, tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full_later(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_later)
    with pytest.raises(DiskFullError):
        run(TINY, tmp_path, tell=quiet)
    assert not (tmp_path / "summary.json").exists()
    run(TINY, tmp_path, tell=quiet)
    assert lines(tmp_path) == lines(whole)


def test_other_settings_are_not_mixed_in(whole, tmp_path):
    with pytest.raises(MixedRunsError, match=r"was made with other settings \(steps: 1024 -> 2048\).*--fresh"):
        run(replace(TINY, steps=2048), whole, tell=quiet)
    run(TINY, tmp_path / "r", tell=quiet)
    changed = replace(TINY, steps=256, command="another")
    assert run(changed, tmp_path / "r", fresh=True, tell=quiet)["steps"] == 256
    assert json.loads((tmp_path / ".old-r" / "summary.json").read_text())["steps"] == 1024


def test_a_setting_that_a_record_is_older_than_had_its_default(whole, tmp_path):
    record = load_yaml(whole / "config.yaml")
    assert record["agent"].pop("clip") == 0.2
    write_yaml(tmp_path / "config.yaml", record)
    assert changes(tmp_path, resolve(TINY)) == []
    other = replace(TINY, agent=replace(TINY.agent, options={**TINY.agent.options, "clip": 0.3}))
    assert changes(tmp_path, resolve(other)) == ["agent.clip: 0.2 -> 0.3"]


def test_how_often_it_saves_is_no_other_setting(whole):
    assert run(replace(TINY, checkpoint=CheckpointConfig(every_s=1.0)), whole, tell=quiet)["steps"] == 1024


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (replace(TINY, task="Chain-N11-v0"), UnknownNameError, "Unknown env id 'Chain-N11-v0'. Did you mean"),
        (replace(TINY, shapers=(ShaperConfig(name="cuont"),)), UnknownNameError, "Did you mean 'count'"),
        (replace(TINY, shapers=(ShaperConfig(name="count", options={"mod": 1}),)), TypeError, "Did you mean 'mode'"),
        (replace(TINY, agent=AgentConfig(name="pppo")), UnknownNameError, "Did you mean 'ppo'"),
        (replace(TINY, agent=AgentConfig(options={"gama": 1})), ConfigError, "gama: unknown key. Did you mean 'gamma'"),
        (replace(TINY, agent=AgentConfig(options={"gamma": "x"})), ConfigError, "gamma: expected a number"),
        (replace(TINY, agent=AgentConfig(options={"seed": 1})), ConfigError, "agent.seed: the agent draws from"),
        (replace(TINY, shapers=(ShaperConfig(name="count"),) * 2), ConfigError, "'count' stands more than once"),
        (replace(TINY, env={"lenth": 5}), TypeError, "lenth"),
        (
            replace(TINY, wrappers=(WrapperConfig(name="framestack"),)),
            UnknownNameError,
            "Unknown wrapper 'framestack'. Did you mean 'frame_stack'",
        ),
        (
            replace(TINY, wrappers=(WrapperConfig(name="frame_stack", options={"frame": 2}),)),
            TypeError,
            "Did you mean 'frames'",
        ),
        (
            replace(TINY, wrappers=(WrapperConfig(name="frame_stack", options={"frames": 0}),)),
            ValueError,
            "frames >= 1",
        ),
        (
            replace(TINY, shapers=(ShaperConfig(name="potential", options={"gamma": 0.5}),)),
            ValueError,
            "discount",
        ),
    ],
)
def test_bad_input_is_refused_with_the_nearest_name(tmp_path, config, error, message):
    with pytest.raises(error, match=message):
        run(config, tmp_path / "r", tell=quiet)
    assert not (tmp_path / "r" / "summary.json").exists()


def test_resolve_fills_defaults_and_is_idempotent():
    once = resolve(TINY)
    assert once.num_envs == 16
    assert once.shapers[0].options["gamma"] == once.agent.options["gamma"]
    assert resolve(once) == once
    other = resolve(replace(TINY, agent=AgentConfig(options={"gamma": 0.9})))
    assert other.shapers[0].options["gamma"] == 0.9


def test_weights_and_terms_reach_the_env():
    config = replace(TINY, shapers=(ShaperConfig(name="count", weight=0.25, term="novelty"),))
    (term,) = make_env(resolve(config)).terms
    assert (term.name, term.weight) == ("novelty", 0.25)


WRAPPED = replace(
    TINY, wrappers=(WrapperConfig(name="frame_stack", options={"frames": 2}), WrapperConfig(name="sticky_actions"))
)


def layers(env) -> list[str]:
    return [type(env).__name__, *(layers(env.env) if hasattr(env, "env") else [])]


def test_wrappers_go_on_in_order_inside_the_shapers_and_around_the_evaluation_env_too():
    config = resolve(WRAPPED)
    assert config.wrappers[1].options == {"probability": 0.25}
    assert resolve(config) == config
    assert layers(make_env(config))[:3] == ["ShapedEnv", "StickyActions", "FrameStack"]
    evaluation = make_evaluation_env(config, num_envs=3)
    assert layers(evaluation)[:2] == ["StickyActions", "FrameStack"]
    obs, _ = evaluation.reset(seed=0)
    assert obs.shape == (3, 2 * make_evaluation_env(resolve(TINY), num_envs=3).reset(seed=0)[0].shape[1])


def test_a_wrapped_run_resumes_bit_for_bit(tmp_path, monkeypatch):
    from cairngym.experiments import run as module

    run(WRAPPED, tmp_path / "whole", tell=quiet)
    with monkeypatch.context() as patch:
        patch.setattr(module, "Session", stop_at(640))
        with pytest.raises(KeyboardInterrupt):
            run(WRAPPED, tmp_path / "cut", tell=quiet)
    assert run(WRAPPED, tmp_path / "cut", tell=quiet)["resumes"] == 1
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_a_record_older_than_a_key_of_the_config_is_no_other_setting(whole, tmp_path):
    recorded = load_yaml(whole / "config.yaml")
    assert recorded.pop("wrappers") == []
    write_yaml(tmp_path / "config.yaml", recorded)
    assert changes(tmp_path, resolve(TINY)) == []
    (changed,) = changes(tmp_path, resolve(WRAPPED))
    assert changed.startswith("wrappers: [] -> [{'name': 'frame_stack', 'frames': 2}")


def start(folder: Path, config: RunConfig, **environment: str) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / "config.yaml", resolve(config))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = train_job("run", folder).command
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def wait_for(condition, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def has_checkpoint_and_more(folder: Path):
    def condition() -> bool:
        return (folder / "checkpoint.pt").exists() and (RunFolder(folder).last_metrics().get("step", 0) > 600)

    return condition


LONG = replace(TINY, steps=200_000, evaluation=EvaluationConfig(every=2048, episodes=8))


@pytest.mark.slow
def test_kill_9_loses_at_most_one_checkpoint_interval(tmp_path):
    config = replace(LONG, steps=6144)
    process = start(tmp_path / "killed", config)
    assert wait_for(has_checkpoint_and_more(tmp_path / "killed"))
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    place = RunFolder(tmp_path / "killed")
    assert not place.finished
    reached, saved = place.last_metrics()["step"], place.load_checkpoint()["step"]
    # One interval of 256 steps, plus the iteration of 128 during which the next checkpoint is being written.
    assert reached - saved <= 256 + 128
    run(config, tmp_path / "killed", tell=quiet)
    run(config, tmp_path / "whole", tell=quiet)
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_at_a_checkpoint(tmp_path, number):
    config = replace(LONG, checkpoint=CheckpointConfig(every_s=1e9))
    process = start(tmp_path, config)
    assert wait_for(lambda: RunFolder(tmp_path).last_metrics().get("step", 0) > 1000)
    process.send_signal(number)
    _, message = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"The run is saved; go on with: " in message
    place = RunFolder(tmp_path)
    assert place.load_checkpoint()["step"] == place.last_metrics()["step"] > 1000


def test_it_does_not_outlive_its_launcher(tmp_path):
    process = start(tmp_path, LONG, CAIRNGYM_PARENT_PID="1")
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert RunFolder(tmp_path).load_checkpoint()["step"] == 128


def test_evaluation_may_have_wrappers_of_its_own():
    config = replace(TINY, wrappers=(WrapperConfig(name="frame_stack", options={"frames": 2}),))
    plain = make_evaluation_env(config, num_envs=2)
    assert plain.single_observation_space.shape == (20,)
    other = WrapperConfig(name="frame_stack", options={"frames": 3})
    config = resolve(replace(config, evaluation=replace(config.evaluation, wrappers=(other,))))
    assert make_evaluation_env(config, num_envs=2).single_observation_space.shape == (30,)
    assert make_env(config).single_observation_space.shape == (20,)
    bare = replace(config, evaluation=replace(config.evaluation, wrappers=()))
    assert make_evaluation_env(bare, num_envs=2).single_observation_space.shape == (10,)
    with pytest.raises(UnknownNameError, match="frame_stack"):
        resolve(replace(config, evaluation=replace(config.evaluation, wrappers=(WrapperConfig(name="frame_stac"),))))


def test_a_run_goes_on_with_the_agent_it_starts_from(whole, tmp_path):
    config = replace(TINY, steps=1536, start_from=str(whole))
    said = []
    summary = run(config, tmp_path / "on", tell=said.append)
    assert summary["steps"] == 1536
    assert "at step 1,024" in said[0]
    assert next(record["step"] for record in lines(tmp_path / "on")) > 1024
    begun = RunFolder(whole).load_checkpoint()["state"]
    ended = RunFolder(tmp_path / "on").load_checkpoint()["state"]
    assert (begun["steps_done"], ended["steps_done"]) == (1024, 1536)


def test_a_run_that_started_from_another_resumes_from_its_own_checkpoint(whole, tmp_path, monkeypatch):
    from cairngym.experiments import run as module

    config, session = replace(TINY, steps=1536, start_from=str(whole)), module.Session
    straight = run(config, tmp_path / "straight", tell=quiet)
    monkeypatch.setattr(module, "Session", stop_at(1280))
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "stopped", tell=quiet)
    monkeypatch.setattr(module, "Session", session)
    resumed = run(config, tmp_path / "stopped", tell=quiet)
    assert (resumed["resumes"], straight["resumes"]) == (1, 0)
    assert resumed["final"] == straight["final"]


def test_a_run_can_only_start_from_a_finished_run_of_its_agent(whole, tmp_path):
    with pytest.raises(ConfigError, match=r"finished run of the agent 'ppo'.*got no finished run"):
        run(replace(TINY, start_from=str(tmp_path / "nothing")), tmp_path / "a", tell=quiet)
    maze = replace(TINY, task="PointMaze_Open-v3", agent=AgentConfig(name="td3", options={"num_envs": 2}), shapers=())
    with pytest.raises(ConfigError, match=r"of the agent 'td3' in .* got one of 'ppo'"):
        run(replace(maze, start_from=str(whole)), tmp_path / "b", tell=quiet)
