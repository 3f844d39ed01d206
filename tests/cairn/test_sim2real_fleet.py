"""The command `cairn sim2real fleet`."""

from __future__ import annotations

import json

import pytest
import yaml

import cairngym
from cairngym.cli import main
from cairngym.sim2real.randomization.config import load_config
from cairngym.sim2real.randomization.events import ActionDelay, FieldEvent
from cairngym.sim2real.randomization.wrapper import Randomization

ROBOT = {
    "model": "PointMaze_Open-v3",
    "excitation": {
        "duration_s": 2.0,
        "logs": 2,
        "amplitude": 0.2,
        "frequencies": [0.8, 2.5],
        "sines": 2,
        "candidates": 2,
    },
    "identification": {
        "measurements": [
            {"channel": "qpos", "quantity": "qpos", "noise": 0.001},
            {"channel": "qvel", "quantity": "qvel", "noise": 0.01},
        ],
        "parameters": [
            *(
                {"parameter": kind, "names": [name], "low": low, "high": high, "relative": kind == "gain"}
                for axis in "xy"
                for kind, name, low, high in (
                    ("gain", f"motor_{axis}", 0.1, 2.0),
                    ("damping", f"ball_{axis}", 0.0, 20.0),
                    ("friction_loss", f"ball_{axis}", 0.0, 20.0),
                )
            ),
            {"parameter": "action_delay", "low": 0.0, "high": 0.1},
        ],
        "fit": {"starts": 1, "least_rows": 10},
    },
}


def test_the_command_writes_presets_that_load_and_run(tmp_path, capsys):
    robot = tmp_path / "cart.yaml"
    robot.write_text(yaml.safe_dump(ROBOT))
    output = tmp_path / "found"
    asked = ["sim2real", "fleet", str(robot), "--fleet", "point_maze", "--units", "100", "--output", str(output)]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "unit 100: held-out error" in shown
    assert "gain motor_x" in shown
    exact, ranged = (load_config(output / kind / "cart.yaml") for kind in ("identified", "identified_randomized"))
    gain, wide = ((next(e for e in one.events if isinstance(e, FieldEvent))) for one in (exact, ranged))
    assert gain.low == gain.high < 1.0
    assert wide.low < gain.low < wide.high
    assert any(isinstance(event, ActionDelay) for event in exact.events)
    summary = json.loads((output / "identified" / "cart.json").read_text())
    assert summary["robots"] == ["unit 100"]
    held_out = summary["held_out_in_noise"]["unit 100"]
    assert held_out["identified"] < held_out["nominal"]
    env = Randomization(cairngym.make("PointMaze_UMaze-v3", num_envs=2), config=ranged, seed=0)
    env.reset(seed=0)
    _, reward, *_ = env.step(env.action_space.sample())
    assert reward.shape == (2,)


def test_an_unknown_robot_is_a_clear_error(tmp_path, capsys):
    assert main(["sim2real", "fleet", "quadrotr", "--output", str(tmp_path)]) == 2
    assert "Did you mean 'quadrotor'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("robot", ["point_maze", "quadrotor"])
def test_packaged_robots_load(robot):
    from importlib import resources

    from cairngym.commands.sim2real_fleet import ROBOTS
    from cairngym.sim2real.identification.fleet import load_fleet_config

    with resources.as_file(resources.files(ROBOTS)) as folder:
        config = load_fleet_config(folder / f"{robot}.yaml")
    assert config.sensors
    assert config.identification.parameters
