"""`cairn sim2real envelope`: what it writes of a trained run, and what it refuses."""

import json

import pytest

from cairngym.cli import main as cairn
from cairngym.sim2real.randomization.config import load_config

SMALL = ("--episodes", "48", "--points", "3", "--sampled", "--share", "0.1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    command = [
        *("train", "--task", "PointMaze_Open-v3", "--steps", "512", "--agent.num-envs", "16"),
        *("--agent.rollout-steps", "16", "--eval-episodes", "2", "--folder", str(folder / "run")),
    ]
    assert cairn(command) == 0
    return folder / "run"


def test_a_run_is_swept_drawn_and_proposed(run, capsys, tmp_path):
    command = ["sim2real", "envelope", str(run), "--parameter", "body_mass:particle:scale:0.5,2", *SMALL]
    assert cairn([*command, "--parameter", "action_delay:0,4", "--pairs", "--pair-points", "2"]) == 0
    printed = capsys.readouterr().out
    assert "body_mass of particle (scale): survives [" in printed
    folder = run / "envelopes"
    found = json.loads((folder / "envelopes.json").read_text())
    mass, delay = found["envelopes"]
    assert mass["values"] == [0.5, 1.0, 2.0]
    assert delay["values"] == [0.0, 2.0, 4.0]
    assert mass["trials"] == 48
    assert mass["successes"][1] > 0
    assert len(found["pairs"][0]["successes"]) == 3
    events = load_config(folder / "proposed.yaml").events
    survived = [each["survived"] for each in (mass, delay) if each["survived"][0] < each["survived"][1]]
    assert [[event.low, event.high] for event in events] == survived
    for name in ("envelopes.png", "pair_0.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert cairn([*command, "--out", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "envelopes.json").read_text())
    assert again["envelopes"][0] == mass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "at least one --parameter"),
        (["--parameter", "body_mass:particle:scale"], "of the form FIELD:NAMES:OPERATION:LOW,HIGH"),
        (["--parameter", "body_mass:partikle:scale:0.5,2"], "Did you mean 'particle'"),
        (["--parameter", "action_delay:0,2", "--share", "0"], "share in (0, 1]"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_one_line(run, capsys, arguments, message):
    assert cairn(["sim2real", "envelope", str(run), "--episodes", "2", "--points", "2", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert cairn(["sim2real", "envelope", str(tmp_path), "--parameter", "action_delay:0,2"]) == 2
    assert "config.yaml" in capsys.readouterr().err
