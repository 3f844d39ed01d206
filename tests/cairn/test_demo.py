"""`cairn demo`: what is recorded is what was played, and where nothing can be recorded it says why."""

import pytest
import torch

import cairngym
from cairngym.agents import oracles
from cairngym.agents.demonstrations import Demonstrations, collect
from cairngym.cli import main as cairn
from cairngym.commands.demo import main

TASK = "Chain-N10-v0"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    monkeypatch.setattr(oracles, "_oracles", dict(oracles._oracles))
    oracles.register_oracle("right", r"Chain-.*", lambda env: right)
    monkeypatch.chdir(tmp_path)


def right(obs, state):
    return torch.ones(len(obs), dtype=torch.int64)


def told(capsys):
    return dict((line[:10].strip(), line[10:]) for line in capsys.readouterr().out.splitlines())


def test_an_oracle_is_recorded_into_a_file(tmp_path, capsys):
    assert main(["record", TASK, "--episodes", "3", "--env", "length=5", "--output", "right.npz"]) == 0
    lines = told(capsys)
    assert lines["task"] == TASK
    assert lines["shown by"] == "oracle right"
    assert lines["episodes"] == "3 of 4.0 steps, 12 in all"
    assert (lines["success"], lines["ends"]) == ("100.0%", "3 terminations, 0 truncations")
    env = cairngym.make(TASK, num_envs=3, length=5)
    expected, read = collect(right, env, 3).columns(), Demonstrations.load(tmp_path / "right.npz").columns()
    assert all(torch.equal(read[name], value) for name, value in expected.items())
    assert main(["show", "right.npz"]) == 0
    assert told(capsys)["return"] == lines["return"]


def test_a_noisy_oracle_is_recorded_into_a_minari_dataset_that_says_how(capsys):
    minari = pytest.importorskip("minari")
    command = ["record", TASK, "--episodes", "4", "--random-actions", "0.5", "--seed", "2", "--failures"]
    assert main([*command, "--output", "minari:chain/noisy-v0"]) == 0
    metadata = minari.load_dataset("chain/noisy-v0").storage.metadata
    assert {name: metadata[name] for name in ("algorithm_name", "random_actions", "seed", "episodes", "task")} == {
        "algorithm_name": "oracle right", "random_actions": 0.5, "seed": 2, "episodes": 4, "task": TASK,
    }  # fmt: skip
    assert metadata["cairngym_version"] == cairngym.__version__
    assert metadata["mean_length"] > 9.0
    capsys.readouterr()
    assert main(["show", "minari:chain/noisy-v0"]) == 0
    assert told(capsys)["random"] == "0.5"
    with pytest.raises(ValueError, match="already"):
        main([*command, "--output", "minari:chain/noisy-v0"])


def test_a_trained_run_is_recorded(tmp_path, capsys):
    assert cairn(["train", "--task", TASK, "--steps", "2048", "--agent.num-envs", "16", "--agent.rollout-steps", "16",
                  "--eval-episodes", "4"]) == 0  # fmt: skip
    run = tmp_path / "runs" / "adhoc" / TASK / "sparse" / "seed_0"
    assert main(["record", "--run", str(run), "--episodes", "2", "--failures", "--output", "ppo.npz"]) == 0
    lines = told(capsys)
    assert lines["shown by"] == "ppo sparse"
    assert len(Demonstrations.load(tmp_path / "ppo.npz")) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["record", TASK], ValueError, "--output FILE.npz"),
        (["record", "--output", "a.npz"], ValueError, "either a task"),
        (["record", TASK, "--run", "x", "--output", "a.npz"], ValueError, "either a task"),
        (["record", "--run", "nowhere", "--output", "a.npz"], ValueError, "run's folder"),
        (["record", "FetchSlide-v4", "--output", "a.npz"], KeyError, "no oracle"),
        (["record", "Chain-N11-v0", "--output", "a.npz"], KeyError, "Did you mean"),
        (["record", TASK, "--noise", "0.1", "--output", "a.npz"], ValueError, "random_actions instead"),
        (["show", "nowhere.npz"], FileNotFoundError, "no such file"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        main(arguments)
    assert not (tmp_path / "a.npz").exists()


def test_oracles_are_listed(capsys):
    assert main(["oracles"]) == 0
    assert "MiniGrid-*" in capsys.readouterr().out
