"""Several robots identified alike: what they have in common, and what a file must say."""

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.identification.fit import Estimate, Identification
from cairngym.sim2real.identification.fleet import (
    excitations,
    identify_fleet,
    load_fleet_config,
    together,
    write_summary,
)
from cairngym.sim2real.identification.oracle_excitation import OracleConfig
from cairngym.sim2real.identification.plant import load_plant
from cairngym.sim2real.identification.problem import Problem
from cairngym.sim2real.identification.signal_parameters import SensorDelay
from cairngym.sim2real.randomization.config import RandomizationConfig
from cairngym.sim2real.randomization.events import FieldEvent, SensorNoise
from cairngym.sim2real.simulated import SimulatedRobot

ROBOT = {
    "model": "PointMaze_Open-v3",
    "excitation": {"duration_s": 1.2, "logs": 2, "frequencies": [2.0, 6.0], "sines": 2, "candidates": 2},
    "sensors": ["qvel"],
    "identification": {
        "measurements": [
            {"channel": "qpos", "quantity": "qpos", "noise": 0.001},
            {"channel": "qvel", "quantity": "qvel", "noise": 0.01},
        ],
        "parameters": [
            {"parameter": "gain", "names": ["motor_x"], "low": 0.1, "high": 2.0, "relative": True},
            {"parameter": "gain", "names": ["motor_y"], "low": 0.1, "high": 2.0, "relative": True},
        ],
        "fit": {"starts": 1, "least_rows": 10, "warm_up_s": 0.5},
    },
}


@pytest.fixture
def config(tmp_path):
    return load_fleet_config(written(tmp_path, ROBOT))


def written(folder, data):
    (folder / "robot.yaml").write_text(yaml.safe_dump(data))
    return folder / "robot.yaml"


def estimate(label, value, error, *, identified=True):
    return Estimate(
        label=label, unit="1", value=value, nominal=1.0, low=0.1, high=2.0, error=error,
        interval=(value - 2 * error, value + 2 * error), identified=identified, at_bound=False,
    )  # fmt: skip


def outcome(config, estimates, noise):
    model = load_plant(config.model).model
    found = Identification(
        estimates=estimates, combinations=(), singular=np.ones(2), correlation=np.eye(2), noise_ratio=1.0,
        whiteness=0.0, costs=(1.0,), noise={"qvel": noise}, values=np.array([one.value for one in estimates]),
        problem=Problem(model, config.identification.parameters, ()),
    )  # fmt: skip
    return SimpleNamespace(found=found, noise=found.noise)


def test_robots_are_taken_together_as_computed_by_hand(config):
    """Means 0.6 and variance 0.01 between robots; mean squared error (0.01 + 0.04 + 0.04) / 3 = 0.03."""
    own, other = [(0.5, 0.1, (0.1, 1.0)), (0.6, 0.2, (0.2, 2.0)), (0.7, 0.2, (0.3, 3.0))], (1.9, 0.5)
    outcomes = {
        f"unit {k}": outcome(config, (estimate("gain motor_x", *one), estimate("gain motor_y", *other)), noise)
        for k, (*one, noise) in enumerate(own)
    }
    fleet = together(config, outcomes)
    x, y = fleet.estimates
    assert x.value == pytest.approx(0.6)
    assert x.error == pytest.approx(0.04**0.5)
    assert x.interval == pytest.approx((0.2, 1.0))
    assert y.error == pytest.approx(0.5)
    assert y.interval == pytest.approx((0.9, 2.0)), "within the bounds"
    gains = [event for event in fleet.identified.events if isinstance(event, FieldEvent)]
    assert [(event.field, event.low, event.high) for event in gains] == [
        ("actuator_gainprm", pytest.approx(0.6), pytest.approx(0.6)),
        ("actuator_gainprm", pytest.approx(1.9), pytest.approx(1.9)),
    ]
    ranged = [event for event in fleet.identified_randomized.events if isinstance(event, FieldEvent)]
    assert (ranged[0].low, ranged[0].high) == pytest.approx((0.2, 1.0))
    narrow = together(replace(config, deviations=1.0), fleet.outcomes).identified_randomized
    assert (narrow.events[0].low, narrow.events[0].high) == pytest.approx((0.4, 0.8))
    with pytest.raises(ValueError, match="deviations >= 0"):
        replace(config, deviations=-1.0)
    for preset in (fleet.identified, fleet.identified_randomized):
        sensing = [event for event in preset.events if isinstance(event, SensorNoise)]
        assert [(event.field, event.component, event.std) for event in sensing] == [("qvel", 0, 0.2), ("qvel", 1, 2.0)]


def test_what_one_robot_does_not_tell_is_not_told(config):
    known = (estimate("gain motor_x", 0.5, 0.01), estimate("gain motor_y", 0.6, 0.01))
    unknown = (known[0], replace(known[1], identified=False, error=float("inf")))
    fleet = together(config, {"a": outcome(config, known, (0.1, 0.1)), "b": outcome(config, unknown, (0.1, 0.1))})
    x, y = fleet.estimates
    assert x.identified
    assert (y.identified, y.value, y.error) == (False, 1.0, float("inf"))
    told = [event.names for event in fleet.identified_randomized.events if isinstance(event, FieldEvent)]
    assert told == [("motor_x",)]


def test_units_of_a_fleet_are_identified_each_alone(config, tmp_path):
    weak = RandomizationConfig(events=tuple(
        FieldEvent(field="actuator_strength", names=(name,), operation="scale", low=0.4, high=0.9)
        for name in ("motor_x", "motor_y")
    ))  # fmt: skip
    truth, seen = {}, []

    def connect(unit):
        robot = SimulatedRobot(config.model, randomization=weak, unit=unit, randomization_seed=3)
        robot.reset()
        truth[f"unit {unit}"] = robot.env.unwrapped.world.driver.field("actuator_gainprm")[0, :, 0].tolist()
        return robot

    robots = {f"unit {unit}": (lambda unit=unit: connect(unit)) for unit in (0, 1)}
    fleet = identify_fleet(config, robots, lambda name, *_: seen.append(name))
    assert seen == ["unit 0", "unit 1"]
    assert truth["unit 0"] != pytest.approx(truth["unit 1"], rel=0.02)
    for name, one in fleet.outcomes.items():
        assert [estimate.value for estimate in one.found.estimates] == pytest.approx(truth[name], rel=1e-3)
        assert one.identified.in_noise() < 0.1 < one.nominal.in_noise()
    write_summary(fleet, tmp_path / "found.json")
    told = json.loads((tmp_path / "found.json").read_text())
    assert told["robots"] == seen
    assert told["estimates"][0]["of_each"] == pytest.approx([truth[name][0] for name in seen], rel=1e-3)


def test_a_sensor_that_the_robots_lack_is_refused_before_anything_is_played(config):
    asked = replace(config, sensors=("qvell",))
    with pytest.raises(UnknownNameError, match=r"Unknown sensor 'qvell'\. Did you mean 'qvel'"):
        identify_fleet(asked, {"one": lambda: SimulatedRobot(config.model)})


def test_the_noise_of_what_nothing_of_the_model_measures_is_that_of_the_logs(config):
    noisy = RandomizationConfig(events=(SensorNoise(field="velocity", component=1, std=0.5),))
    oracle = OracleConfig(duration_s=1.0, logs=2, noise=0.1)
    fleet = identify_fleet(
        replace(config, excitation=oracle, sensors=("velocity",)),
        {"one": lambda: SimulatedRobot(config.model, randomization=noisy)},
    )
    assert fleet.noise["velocity"][1] == pytest.approx(0.5, rel=0.3)
    stds = {event.component: event.std for event in fleet.identified.events if isinstance(event, SensorNoise)}
    assert stds == {k: pytest.approx(value, rel=1e-2) for k, value in enumerate(fleet.noise["velocity"])}
    gains = [one.value for one in fleet.estimates]
    assert gains == pytest.approx([1.0, 1.0], rel=1e-2), "the model's own, from the oracle's episodes"


def test_no_robot_is_refused(config):
    with pytest.raises(ValueError, match="at least one robot"):
        identify_fleet(config, {})


def test_commands_swing_about_the_centre_that_is_asked_for(config):
    asked = replace(config.excitation, center=(0.5, 0.0), amplitude=0.4, logs=1)
    plant = load_plant(config.model)
    (found,) = excitations(asked, config.identification, plant)
    np.testing.assert_allclose(found.command[0], (0.5, 0.0), atol=1e-12)
    # Half of the range is left above 0.5, of which four tenths may be used; all of it on either side of 0.
    np.testing.assert_allclose(np.abs(found.command - (0.5, 0.0)).max(axis=0), (0.2, 0.4), rtol=1e-9)
    with pytest.raises(ValueError, match="2 commands within their limits"):
        excitations(replace(asked, center=(1.5, 0.0)), config.identification, plant)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sensor": ["qvel"]}, "Did you mean 'sensors'"),
        ({"excitation": {"kind": "orakle", "duration_s": 1.0}}, r"excitation\.kind: .*Did you mean 'oracle'"),
        ({"excitation": {"kind": "oracle", "duration_s": 1.0, "sines": 3}}, r"excitation\.sines: unknown key"),
        ({"excitation": {"kind": "oracle", "duration_s": 0.0}}, "longer than 0 s"),
        ({"excitation": {"kind": "oracle", "duration_s": 1.0, "noise": -1.0}}, "noise >= 0"),
        ({"excitation": [1.0]}, "excitation: expected a mapping"),
        ({"identification": {**ROBOT["identification"], "fit": {"step": 2.0}}}, "step of finite differences"),
        ({"identification": {**ROBOT["identification"], "fit": {"first_states": "raed"}}}, "Did you mean 'read'"),
        ({"model": None}, "model: expected it, got nothing"),
        ({"excitation": {"duration_s": 1.0, "candidate": 3}}, "Did you mean 'candidates'"),
        ({"identification": {**ROBOT["identification"], "fit": {"warm_up_s": -1.0}}}, "windows longer than 0 s"),
    ],
)
def test_wrong_files_are_refused_with_the_place(tmp_path, change, message):
    data = {key: value for key, value in {**ROBOT, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        load_fleet_config(written(tmp_path, data))


def test_packaged_robots_are_read_and_name_what_their_models_have():
    files = sorted(Path(str(resources.files("cairngym.configs.sim2real.robots"))).glob("*.yaml"))
    assert [file.stem for file in files] == ["fetch_push", "point_maze", "quadrotor"]
    for file in files:
        asked = load_fleet_config(file)
        model = load_plant(asked.model).model
        for one in asked.identification.parameters:
            low, high = one.bounds(model)
            assert (low <= one.first(model)).all(), one.label
            assert (one.first(model) <= high).all(), one.label
        assert all(len(one.addresses(model)) for one in asked.identification.measurements)


def test_fields_of_one_sensor_are_late_together(config):
    delay = SensorDelay(channel="qvel", fields=("position", "velocity"), low=0.0, high=0.1)
    asked = replace(config, identification=replace(config.identification, parameters=(delay,)), sensors=())
    found = outcome(asked, (replace(estimate("sensor delay qvel", 0.03, 0.0), low=0.0, high=0.1),), (0.1, 0.1))
    assert found.found.problem.model.opt.timestep == 0.01
    (event,) = together(asked, {"one": found}).identified.events
    assert (event.fields, event.low, event.high) == (("position", "velocity"), 3, 3)


def test_an_unknown_robot_names_the_nearest(tmp_path):
    from cairngym.commands.sim2real_fleet import Fleet, main

    with pytest.raises(UnknownNameError, match="Did you mean 'point_maze'"):
        main(Fleet(robot="pointmaze", output=tmp_path))
