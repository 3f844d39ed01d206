"""`cairn evolve`, as a thin front."""

import pytest
from searching import RIGHT, SMALL, InProcess

from cairngym.commands import check
from cairngym.commands.evolve import Evolve, load, main
from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments import launcher
from cairngym.experiments.overlay import merge, plain, write_yaml
from cairngym.experiments.search.prompts import requests
from cairngym.reward_shaping.llm.recording import record_texts


def test_it_explains_itself(capsys):
    with pytest.raises(SystemExit) as leave:
        main(["--help"])
    assert leave.value.code == 0
    assert "cairn evolve eureka_keycorridor" in capsys.readouterr().out


def test_the_command_line_is_laid_over_the_config(tmp_path):
    write_yaml(tmp_path / "s.yaml", SMALL)
    options = Evolve(config=str(tmp_path / "s.yaml"), rounds=5, steps=2e3, provider="openai:m", set=("final.steps=7",))
    config = load(options)
    assert (config.rounds, config.steps, config.provider, config.final.steps) == (5, 2000, "openai:m", 7)
    with pytest.raises(ConfigError, match="Did you mean 'eureka_keycorridor'"):
        load(Evolve(config="eureka_keycoridor"))


def test_the_prompt_is_printed_without_asking(tmp_path, capsys):
    write_yaml(tmp_path / "s.yaml", SMALL)
    assert main([str(tmp_path / "s.yaml"), "--prompt", "--runs", str(tmp_path / "runs")]) == 0
    text = capsys.readouterr().out
    assert f"eureka/Chain-N10-v0: hash {requests(SMALL)[0].hash}, 2 candidates" in text
    assert "Reach one of the nodes 9." in text
    assert not (tmp_path / "runs").exists()


def test_a_search_is_run_and_published(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launcher, "LocalPool", lambda workers: InProcess())
    (first,) = requests(SMALL)
    record_texts(tmp_path / "c.jsonl", first, (RIGHT, ""), source="by hand", date="2026-01-31")
    write_yaml(tmp_path / "s.yaml", SMALL)
    arguments = ["s.yaml", "--provider", "recorded:c.jsonl", "--to", "results/small", "--set", "final.seeds=[0]"]
    assert main(arguments) == 0
    report = (tmp_path / "results/small/report.md").read_text()
    assert "**Stopped early**, in round 2 of 2: MissingRecordingError" in report
    assert "was trained with anew on 1 seed that" in report
    assert (tmp_path / "results/small/final/report.md").is_file()
    assert (tmp_path / "results/small/final/plots/success_steps.png").is_file()
    assert "Published: results/small/report.md" in capsys.readouterr().out
    assert check.main(["s.yaml"]) == 0  # no thresholds: every run has finished
    told = capsys.readouterr().out
    assert "pass  finished runs  = 2     2 of 2" in told
    bounds = {"final": {"thresholds": [{"variant": "evolved", "metric": "final_success", "minimum": 1.1}]}}
    write_yaml(tmp_path / "bounded.yaml", merge(plain(SMALL), bounds))
    assert check.main(["bounded.yaml"]) == 1
    assert "FAIL  final_success of evolved on all tasks" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="cairn evolve"):
        check.main(["s.yaml", "--name", "other"])
