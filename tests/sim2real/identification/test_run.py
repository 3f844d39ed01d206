"""From logs in files to a report and presets, through the command."""

import json

import numpy as np
import pytest
import yaml
from hidden_models import PENDULUM, hidden, record, waves

from cairngym.commands.sim2real_identify import Identify, main
from cairngym.sim2real.identification.config import load_config, parse_config
from cairngym.sim2real.identification.inertia import Inertia
from cairngym.sim2real.identification.log_csv import write_csv
from cairngym.sim2real.identification.signal_parameters import SensorDelay
from cairngym.sim2real.randomization.config import load_config as load_randomization
from cairngym.sim2real.randomization.events import ActionDelay, FieldEvent
from cairngym.sim2real.robot import Channel, RobotLog, RobotSpec

DT = 0.02
CONFIG = {
    "measurements": [{"channel": "angle", "quantity": "sensor", "names": ["angle"], "unit": "rad"}],
    "parameters": [
        {"parameter": "mass", "names": ["bob"], "low": 0.5, "high": 3.0, "relative": True},
        {"parameter": "damping", "names": ["idle"], "low": 0.0, "high": 1.0},
        {"parameter": "damping", "names": ["hinge"], "low": 0.0, "high": 0.2},
        {"parameter": "action_delay", "low": 0.0, "high": 0.05},
    ],
    "fit": {"starts": 1, "window_s": 1.0},
}


@pytest.fixture
def files(tmp_path, plant):
    def heavier(model):
        body = model.body("bob").id
        model.body_mass[body] *= 1.5
        model.body_inertia[body] *= 1.5

    twin, random = hidden(plant.model, [heavier]), np.random.default_rng(0)
    spec = RobotSpec(
        robot="pendulum", control_dt=DT, command=Channel(name="command", size=1, unit="1"), rest=(0.0,),
        sensors=(Channel(name="angle", size=1, unit="deg"),),
    )  # fmt: skip
    for name in ("first", "second"):
        command = waves(len(name), 100, DT, 1, 0.8)
        qpos, _ = record(twin, command, dt=DT, delay_steps=2)
        angle = np.rad2deg(qpos[:, :1] + random.normal(0, 1e-3, (100, 1)))
        log = RobotLog(
            spec=spec, time_s=DT * np.arange(100), command=command, sensors={"angle": angle},
            episode=np.zeros(100, int),
        )  # fmt: skip
        write_csv(log, tmp_path / f"{name}.csv")
    (tmp_path / "model.xml").write_text(PENDULUM)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def command(files, **options):
    logs = tuple(str(files / f"{name}.csv") for name in ("first", "second"))
    return Identify(**{
        "logs": logs, "model": str(files / "model.xml"), "config": files / "config.yaml", "output": files / "out",
    } | options)  # fmt: skip


def test_the_command_writes_estimates_a_report_and_presets(files, capsys):
    assert main(command(files, spread=0.1)) == 0
    printed = capsys.readouterr().out
    assert "not identifiable: damping idle: the logs do not tell it" in printed
    assert "note: second.csv: angle converted from deg to rad" in printed
    found = json.loads((files / "out" / "identification.json").read_text())
    values = {one["label"]: one for one in found["estimates"]}
    assert values["mass bob"]["value"] == pytest.approx(0.45, rel=0.03)
    assert values["action delay"]["value"] == pytest.approx(0.01, abs=0.001)
    assert values["damping idle"]["identified"] is False
    assert values["damping idle"]["standard_error"] is None
    assert found["held_out"]["noise_units_identified"] < 1.5 < found["held_out"]["noise_units_nominal"]
    assert found["held_out"]["rmse_identified"]["angle"] == pytest.approx(1e-3, rel=0.3)
    page = (files / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "not identifiable" in page

    exact, ranged = (
        load_randomization(files / "out" / f"{name}.yaml") for name in ("identified", "identified_randomized")
    )
    events = {event.field: event for event in exact.events if isinstance(event, FieldEvent)}
    assert set(events) == {"body_mass", "dof_damping"}
    mass = events["body_mass"]
    assert (mass.names, mass.operation, mass.mode, mass.low) == (("bob",), "abs", "startup", mass.high)
    assert mass.low == pytest.approx(values["mass bob"]["value"])
    assert events["dof_damping"].names == ("hinge",)
    assert [event for event in exact.events if isinstance(event, ActionDelay)] == [
        ActionDelay(low=2, high=2, mode="startup")
    ]
    wide = next(event for event in ranged.events if getattr(event, "field", "") == "body_mass")
    assert (wide.low, wide.high) == (pytest.approx(0.9 * mass.low), pytest.approx(1.1 * mass.low))


def test_checking_only_reads_and_tells(files, capsys):
    assert main(command(files, check=True)) == 0
    printed = capsys.readouterr().out
    assert "first.csv[0:100]: 100 rows, 1.980 s" in printed
    assert not (files / "out").exists()


def test_nothing_identified_is_an_exit_code(files):
    idle = CONFIG | {"parameters": [CONFIG["parameters"][1]]}
    (files / "config.yaml").write_text(yaml.safe_dump(idle))
    assert main(command(files)) == 1


def test_a_config_reads_every_kind_of_parameter():
    one = {"low": 0.5, "high": 2.0}
    config = parse_config({
        **CONFIG, "parameters": [
            {"parameter": "inertia", "names": ["bob"], "stretch": [0.5, 2.0]},
            {"parameter": "sensor_delay", "channel": "angle", **one},
            *({"parameter": kind, "names": ["x"], **one} for kind in
              ("mass", "inertia_scale", "friction_loss", "armature", "gain", "servo_damping", "friction")),
            {"parameter": "center_of_mass", "names": ["x"], "axis": 1, **one},
            *({"parameter": kind, "channel": "angle", "index": 0, **one} for kind in ("sensor_gain", "sensor_bias")),
        ], "layout": {"control_dt": 0.1, "channels": {"angle": {"key": "q", "columns": [2], "unit": "deg"}}},
    }, "x.yaml")  # fmt: skip
    assert config.parameters[0] == Inertia(names=("bob",))
    assert config.parameters[1] == SensorDelay(channel="angle", low=0.5, high=2.0)
    assert config.layout.channels["angle"].columns == (2,)
    assert len({parameter.label for parameter in config.parameters}) == len(config.parameters)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameter": []}, "key 'parameter'. Did you mean 'parameters'"),
        ({"parameters": []}, "a list with an entry at least"),
        ({"parameters": [{"parameter": "mas", "names": ["bob"]}]}, "Did you mean 'mass'"),
        (
            {"parameters": [{"parameter": "mass", "names": ["bob"], "lo": 1}]},
            r"parameters\[0\]\.lo.*Did you mean 'low'",
        ),
        ({"parameters": [{"parameter": "mass", "names": ["bob"], "low": 1}]}, "high: missing"),
        ({"parameters": [{"parameter": "mass", "names": ["bob"], "low": 2, "high": 1}]}, "low < high"),
        (
            {"parameters": [{"parameter": "sensor_bias", "channel": "angel", "low": 0, "high": 1}]},
            "Did you mean 'angle'",
        ),
        ({"measurements": [{"channel": "angle", "quantity": "qpo"}]}, "Did you mean 'qpos'"),
        ({"measurements": CONFIG["measurements"] * 2}, "each channel once"),
        ({"fit": {"starts": 0}}, "at least one start"),
        ({"layout": {"channel": {}}}, "Did you mean 'channels'"),
        ({"layout": {"channels": {"q": {"column": [1]}}}}, "Did you mean 'columns'"),
    ],
)
def test_wrong_configs_are_refused_with_the_place(tmp_path, change, message):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(CONFIG | change))
    with pytest.raises(ValueError, match=message):
        load_config(path)


def test_every_public_name_is_what_its_module_defines():
    from cairngym.sim2real import identification

    assert callable(identification.collect)
    for name in identification.__all__:
        assert getattr(identification, name).__class__.__name__ != "module"
    with pytest.raises(AttributeError, match="no attribute 'colect'"):
        _ = identification.colect
