"""Loading trained runs: what comes back, which envs they make, and folders that hold no usable run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cairngym.agents.registry import make_agent
from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.config import AgentConfig, EvaluationConfig, RunConfig
from cairngym.experiments.run import run
from cairngym.experiments.trained import load_trained

CONFIG = RunConfig(
    task="PointMaze_Open-v3",
    steps=64,
    agent=AgentConfig(name="td3", options={"num_envs": 4, "hidden": [8], "batch": 8, "warmup_steps": 16}),
    evaluation=EvaluationConfig(every=64, episodes=2, seed=11, success="at_end"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "one"
    run(CONFIG, place, tell=lambda text: None)
    return place


def test_the_agent_plays_as_it_was_saved(folder):
    trained = load_trained(folder)
    assert trained.steps == 64
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]
    assert len(saved["replay"]) > 0
    again = make_agent("td3", trained.make_env(4), seed=0, **CONFIG.agent.options)
    again.set_state(saved)
    obs, _ = trained.make_env(4).reset()
    actions = [agent.actor(4, deterministic=True, seed=0).act(obs) for agent in (trained.agent, again)]
    assert torch.equal(*actions)


def test_envs_are_the_evaluations_own(folder):
    trained = load_trained(folder)
    first = trained.make_env(2).reset()[0]
    assert all(torch.equal(first[name], value) for name, value in trained.make_env(2, 11).reset()[0].items())
    assert any(not torch.equal(first[name], value) for name, value in trained.make_env(2, 12).reset()[0].items())
    for mode in ("Disabled", "NextStep"):
        changed = load_trained(folder, autoreset_mode=mode)
        for env in (changed.make_env(2), changed.make_nominal(2, 0)):
            assert env.metadata["autoreset_mode"].value == mode


def test_folders_without_a_usable_run(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"a config\.yaml in it"):
        load_trained(tmp_path)
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    wider = replace(CONFIG, agent=replace(CONFIG.agent, options={**CONFIG.agent.options, "hidden": [16]}))
    run(wider, tmp_path / "wider", tell=lambda text: None)
    shutil.copy(tmp_path / "wider" / "checkpoint.pt", place / "checkpoint.pt")
    with pytest.raises(ConfigError, match="does not fit its config"):
        load_trained(place)
    (place / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match="can't be used"):
        load_trained(place)
    (place / "checkpoint.pt").unlink()
    with pytest.raises(ConfigError, match=r"no checkpoint\.pt yet"):
        load_trained(place)
