"""Trained runs on hidden twins: which runs are found, which fleet they meet, and the reports written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.config import AgentConfig, EvaluationConfig, RunConfig, WrapperConfig
from cairngym.experiments.run import run
from cairngym.experiments.transfer import TransferConfig, evaluate_runs, find_runs, fleet_of, load_policy

EVENTS = [{"event": "field", "field": "actuator_gear", "names": ["motor_x", "motor_y"], "low": 0.1, "high": 1.0}]
TWINS = WrapperConfig(name="randomization", options={"config": {"events": EVENTS}, "seed": 3, "units": [4, 5]})
TRAINED = RunConfig(
    task="PointMaze_Open-v3",
    variant="nominal",
    steps=64,
    agent=AgentConfig(name="td3", options={"num_envs": 4, "hidden": [8], "batch": 8, "warmup_steps": 16}),
    evaluation=EvaluationConfig(every=64, episodes=2, wrappers=(TWINS,), success="at_end"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for variant, wrappers in (("tough", (TWINS,)), ("nominal", ())):
        config = replace(TRAINED, variant=variant, wrappers=wrappers)
        run(config, root / config.folder, tell=lambda text: None)
    return root


def test_runs_are_found_at_any_depth(runs, tmp_path):
    found = find_runs([runs])
    assert [place.parent.name for place in found] == ["nominal", "tough"]
    assert find_runs([found[0], runs]) == found
    with pytest.raises(ConfigError, match="finished runs"):
        find_runs([tmp_path])


def test_the_fleet_is_that_of_the_runs_unless_another_is_named(runs, tmp_path):
    config, policy = load_policy(find_runs([runs])[0])
    own = fleet_of(config, TransferConfig())
    assert (own.seed, own.units) == (3, (4, 5))
    assert own.config.events[0].field == "actuator_gear"
    other = fleet_of(config, TransferConfig(fleet="point_maze", units=3))
    assert (other.seed, other.units) == (3, (0, 1, 2))
    assert len(other.config.events) > 1
    with pytest.raises(ValueError, match="identification"):
        fleet_of(config, TransferConfig(excluded=(5,)))
    plain = replace(config, evaluation=replace(config.evaluation, wrappers=None))
    with pytest.raises(ConfigError, match="--fleet point_maze"):
        fleet_of(plain, TransferConfig())
    assert policy.name == "nominal seed 0"


def test_training_randomization_is_left_out_of_the_simulation(runs):
    _, policy = load_policy(find_runs([runs])[1])
    env = policy.wrap(policy.make_sim(2, 0))
    assert env is env.unwrapped
    env.close()


def test_a_report_for_each_task(runs, tmp_path):
    said = []
    options = TransferConfig(episodes=2, sweep=True, points=2, sweep_episodes=2)
    found = evaluate_runs(find_runs([runs]), tmp_path, options, tell=said.append)
    study = found["PointMaze_Open-v3"]
    assert [gap.variant for gap in study.gaps] == ["nominal", "tough"]
    assert study.units == (4, 5)
    assert study.played[0].sim.shape == (4,)
    assert study.played[0].twins.shape == (2, 2)
    folder = tmp_path / "PointMaze_Open-v3"
    names = {path.name for path in folder.iterdir()}
    assert names == {"report.md", "episodes.csv", "sweeps.csv", "gap.png", "agreement.png", "sweeps.png"}
    assert "actuator_gear" in (folder / "report.md").read_text()
    assert "[2/2]" in said[1]


def test_pairs_are_named_by_parts(runs, tmp_path):
    with pytest.raises(ConfigError, match="Parameters: actuator_gear"):
        evaluate_runs(find_runs([runs])[:1], tmp_path, TransferConfig(episodes=1, pair=("gear", "mass")), tell=print)
