"""Plants led by mocap bodies: what their commands are, and simulations held against the env's own."""

from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch

from cairngym.sim2real.identification.driving import Commands, Target, drive, targets
from cairngym.sim2real.identification.excitation import simulate
from cairngym.sim2real.identification.experiment import Delays, Experiment
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.mocap import welded_bodies
from cairngym.sim2real.identification.parameters import Damping, Friction, Mass
from cairngym.sim2real.identification.plant import load_plant
from cairngym.sim2real.identification.probing import Prober
from cairngym.sim2real.identification.problem import Problem
from cairngym.sim2real.identification.segments import Segment
from cairngym.sim2real.identification.signal_parameters import ActionDelay, SensorBias, SensorDelay
from cairngym.sim2real.randomization.config import RandomizationConfig
from cairngym.sim2real.randomization.events import ActionDelay as ActionDelayEvent
from cairngym.sim2real.randomization.events import FieldEvent, SensorNoise
from cairngym.sim2real.randomization.events import SensorDelay as SensorDelayEvent
from cairngym.sim2real.simulated import SimulatedRobot

DT, STEP, BOX = 0.04, 0.002, "object0:joint"
MEASURED = (
    Measurement(channel="qpos", quantity="qpos", noise=0.002), Measurement(channel="qvel", quantity="qvel", noise=0.5),
    Measurement(channel="object_position", quantity="qpos", names=(BOX,), components=(0, 1, 2), noise=0.003),
)  # fmt: skip
PARAMETERS = (
    Friction(names=("*",), low=0.1, high=1.2), Damping(names=(BOX,), low=0.0, high=1.5),
    Mass(names=("object0",), low=0.4, high=2.5, relative=True), ActionDelay(low=0.0, high=0.1),
    SensorDelay(channel="object_position", low=0.0, high=0.12),
    SensorBias(channel="object_position", index=0, low=-0.05, high=0.05),
)  # fmt: skip
TRUTH = np.array([0.4, 0.5, 3.0, 0.034, 0.05, 0.02])


@pytest.fixture(scope="module")
def fetch():
    return load_plant("FetchPush-v4")


@pytest.fixture(scope="module")
def pushed():
    """A push on a robot with the parameters `TRUTH`: from above onto the box, then against it."""

    def field(name, names, value, component=None):
        return FieldEvent(
            field=name, names=names, operation="abs", low=value, high=value, shared=True, component=component
        )

    friction, damping, mass, action, camera, bias = TRUTH
    twin = RandomizationConfig(events=(
        field("geom_friction", ("*",), friction, 0), field("dof_damping", (BOX,), damping),
        field("body_mass", ("object0",), mass),
        ActionDelayEvent(low=round(action / STEP), high=round(action / STEP), mode="startup"),
        SensorDelayEvent(fields=("object_position",), low=round(camera / STEP), high=round(camera / STEP)),
        SensorNoise(field="object_position", component=0, bias_range=(bias, bias), bias_mode="startup"),
    ))  # fmt: skip
    random, rows = np.random.default_rng(0), []
    with SimulatedRobot("FetchPush-v4", randomization=twin) as robot:
        reading = robot.reset()
        for step in range(26):
            box = reading.values["qpos"][15:18] + ((0.0, -0.09, 0.0) if step < 12 else (0.0, 0.1, 0.0))
            shift = (box - reading.values["gripper_position"]) / 0.05
            command = np.clip(np.append(0.5 * shift, 0.0) + 0.1 * random.normal(size=4), -1, 1)
            rows.append((reading.time_s, command, dict(reading.values)))
            reading = robot.step(command)
    time, command, values = zip(*rows, strict=True)
    sensors = {name: np.stack([one[name] for one in values]) for name in ("qpos", "qvel", "object_position")}
    assert np.abs(np.ptp(sensors["qpos"][:, 15:17], axis=0)).max() > 0.02, "the box was pushed"
    return Segment(name="push", time_s=np.array(time), command=np.array(command), sensors=sensors)


def problem(fetch, segment, delays=None):
    noise = {one.channel: np.full(len(one.addresses(fetch.model)), one.noise) for one in MEASURED}
    one = Experiment(fetch, MEASURED, segment, delays or Delays(action=0.1, sensor=0.12), noise, read=True)
    return Problem(fetch.model, PARAMETERS, (one,), step=1e-3)


def test_what_fetch_does_with_actions_is_found_by_trying(fetch):
    hand = fetch.model.body("robot0:gripper_link").id
    assert (fetch.mocap.mocap.tolist(), fetch.mocap.welded.tolist()) == ([0], [hand])
    np.testing.assert_allclose(fetch.mocap.offset, [[0, 0, 0, 1, 0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(fetch.mocap.matrix[0], np.eye(7, 4) * [0.05, 0.05, 0.05, 0.0], atol=1e-8)
    fingers = [fetch.model.joint(f"robot0:{side}_gripper_finger_joint").qposadr[0] for side in "rl"]
    assert fetch.held.at.tolist() == fingers
    assert fetch.held.value.tolist() == [0.0, 0.0]
    assert load_plant("PointMaze_Open-v3").closed_loop is False


@pytest.mark.parametrize("late", [0, 17, 40])
def test_simulations_are_the_envs_own(fetch, late):
    """From the first reading, with the first delays' commands known: the env rounds actions to float32."""
    twin = RandomizationConfig(events=(ActionDelayEvent(low=late, high=late, mode="startup"),) if late else ())
    random, commands, qpos, qvel = np.random.default_rng(1), [], [], []
    with SimulatedRobot("FetchPush-v4", randomization=twin) as robot:
        reading = robot.reset()
        for _ in range(12):
            commands.append(random.uniform(-1, 1, 4))
            qpos.append(reading.values["qpos"])
            qvel.append(reading.values["qvel"])
            reading = robot.step(commands[-1])
    command, qpos, qvel = np.array(commands), np.array(qpos), np.array(qvel)
    told = Commands(past=targets(fetch, command[:3], qpos[:3]), rows=20 * np.arange(-3, 9), command=command[3:])
    states, sensors = drive(
        fetch, fetch.model, np.concatenate(([0.0], qpos[3], qvel[3])), told, 20 * 8, late * STEP
    )  # fmt: skip
    assert sensors.shape == (160, 0)
    found = np.split(states[19::20, 1:], [fetch.model.nq], axis=1)
    np.testing.assert_allclose(found[0], qpos[4:], atol=1e-6)
    np.testing.assert_allclose(found[1], qvel[4:], atol=1e-4)


def test_true_parameters_leave_nothing_of_a_push(fetch, pushed):
    one = problem(fetch, pushed)
    left = one.residual(one.vector(TRUTH))[: one.data_rows].reshape(one.experiments[0].measured.shape)
    scale = one.experiments[0].noise
    assert np.abs(left * scale)[:, :22].max() < 1e-5, "m and rad"
    assert np.abs(left * scale)[:, 43:].max() < 1e-3, "the camera's delay falls between two readings of the simulation"
    nominal = one.residual(one.vector())[: one.data_rows].reshape(left.shape)
    assert np.abs(nominal * scale)[:, :22].max() > 0.01


def test_sensors_parameters_do_not_ask_for_simulations(fetch, pushed, monkeypatch):
    one, calls = problem(fetch, pushed), []
    simulated = one.experiments[0].drive
    monkeypatch.setattr(one.experiments[0], "drive", lambda *args: calls.append(1) or simulated(*args))
    x = one.vector(TRUTH)
    columns = np.stack([x, x, x], axis=1)
    columns[5, 1], columns[0, 2] = 0.0, 0.3
    found = one.residual(columns)
    assert len(calls) == 2
    shift = (found[:, 1] - found[:, 0])[: one.data_rows].reshape(one.experiments[0].measured.shape)
    np.testing.assert_allclose(shift[:, 43], 0.02 / 0.003, rtol=1e-9)
    np.testing.assert_array_equal(found[:, 2], one.residual(columns[:, 2]))


def test_a_command_shares_the_step_that_it_comes_in(fetch):
    """Far from contacts results change with the delay nearly as a straight line does within one physics step."""
    command = np.zeros((3, 4))
    command[1] = 0.5
    told = Commands(past=(), rows=np.array([0, 20, 40]), command=command)
    first = np.concatenate(([0.0], fetch.home, np.zeros(fetch.model.nv)))
    ends = [drive(fetch, fetch.model, first, told, 50, late)[0][-1, 1:14] for late in (0.010, 0.0105, 0.011, 0.012)]
    moved = [one - ends[0] for one in ends[1:]]
    assert np.abs(moved[2]).max() > 1e-5
    np.testing.assert_allclose(moved[0], moved[2] / 4, atol=0.1 * np.abs(moved[2]).max())
    np.testing.assert_allclose(moved[1], moved[2] / 2, atol=0.1 * np.abs(moved[2]).max())


def test_excitations_play_on_mocap_bodies(fetch):
    command = np.zeros((6, 4))
    command[:, 2] = 1.0
    qpos, qvel, sensors = simulate(fetch, command, DT)
    assert (qpos.shape, qvel.shape, sensors.shape) == ((6, 22), (6, 21), (6, 0))
    data, heights = mujoco.MjData(fetch.model), []
    for row in qpos:
        data.qpos[:] = row
        mujoco.mj_kinematics(fetch.model, data)
        heights.append(data.xpos[fetch.mocap.welded[0], 2])
    assert (np.diff(heights) > 0.005).all(), "the hand rises by up to 5 cm a step"


LED = """<mujoco><worldbody><body name="lead" mocap="true"/>{more}
<body name="hand"><joint name="x" type="slide" axis="1 0 0"/><geom size="0.1"/></body></worldbody>
<equality><weld body1="{weld}" body2="hand"/></equality></mujoco>"""


class Led:
    """As much of a world as is probed: one mocap body led by what `place` says."""

    def __init__(self, model, place, constrain=lambda qpos: None):
        self.model, self.data, self._place, self._constrain = model, mujoco.MjData(model), place, constrain
        self.num_envs, self.driver = 1, SimpleNamespace(view=self.view, forward=self.forward)

    def view(self, name):
        return torch.from_numpy(getattr(self.data, name)[None])

    def forward(self):
        mujoco.mj_kinematics(self.model, self.data)

    def control(self, action):
        hand = self.model.body("hand").id
        self.data.mocap_pos[0] = self._place(self.data.xpos[hand], action[0].numpy())

    def constrain(self):
        self._constrain(self.data.qpos)


def probed(place, weld="lead", more="", constrain=lambda qpos: None):
    model = mujoco.MjModel.from_xml_string(LED.format(weld=weld, more=more))
    return Prober(Led(model, place, constrain), "Led-v0", 1)


def test_any_body_that_is_led_from_where_it_is_welded_is_found():
    found = probed(lambda hand, action: hand + (0.1, 0.0, 0.2) + 0.3 * action * np.array([0, 1, 0])).mocap_map()
    np.testing.assert_allclose(found.offset[0, :3], (0.1, 0.0, 0.2), atol=1e-12)
    np.testing.assert_allclose(found.matrix[0, :3, 0], (0.0, 0.3, 0.0), atol=1e-12)
    assert probed(lambda hand, action: np.ones(3)).mocap_map() is None


def test_other_ways_of_leading_are_refused():
    with pytest.raises(ValueError, match=r"Led-v0.*got another map"):
        probed(lambda hand, action: hand + action**2).mocap_map()
    with pytest.raises(ValueError, match="got another map"):
        probed(lambda hand, action: 2 * hand + action).mocap_map()
    with pytest.raises(ValueError, match="mocap body 0, to which no body is welded"):
        probed(lambda hand, action: hand + action, weld="still", more='<body name="still"/>').mocap_map()
    with pytest.raises(ValueError, match="hold coordinates where they are"):
        probed(lambda hand, action: hand, constrain=lambda qpos: np.multiply(qpos, 0.5, out=qpos)).held()


def test_welds_are_found_in_either_order(fetch):
    assert welded_bodies(fetch.model) == {0: fetch.model.body("robot0:gripper_link").id}
    model = mujoco.MjModel.from_xml_string(LED.format(weld="lead", more=""))
    assert welded_bodies(model) == {0: model.body("hand").id}
    swapped = LED.format(weld="hand", more="").replace('body2="hand"', 'body2="lead"')
    assert welded_bodies(mujoco.MjModel.from_xml_string(swapped)) == {0: model.body("hand").id}


def test_welds_that_were_set_by_hand_outlive_other_masses(fetch, pushed):
    one = problem(fetch, pushed)
    built = one._build(one.parameter_dict(one.vector(TRUTH)))
    np.testing.assert_array_equal(built.eq_data, fetch.model.eq_data)
    assert built.body("object0").mass[0] == pytest.approx(3.0)
    assert np.unique(built.geom_friction[:, 0]).tolist() == [0.4], "those without a name, too"


def test_components_that_a_joint_lacks_are_refused(fetch):
    with pytest.raises(ValueError, match="components of channel 'camera' from 0 to 6"):
        Measurement(channel="camera", quantity="qpos", names=(BOX,), components=(7,)).addresses(fetch.model)
    picked = Measurement(channel="camera", quantity="qpos", names=(BOX,), components=(2, 0))
    assert picked.addresses(fetch.model).tolist() == [17, 15]
    assert picked.coordinates(fetch.model) == [("qpos", 17), ("qpos", 15)]


def test_the_mean_of_targets_counts_how_long_each_is_in_force():
    from cairngym.sim2real.identification.driving import _mean

    known = [Target(control=np.full(1, value), pose=np.full((1, 7), value)) for value in (1.0, 2.0, 6.0)]
    mean = _mean(known, np.array([0.0, 3.25, 3.75]), 3, 0, 2)
    assert mean.control[0] == pytest.approx(0.25 * 1 + 0.5 * 2 + 0.25 * 6)


def test_readings_at_the_beginning_are_taken_as_they_are(fetch, pushed):
    one = problem(fetch, pushed).experiments[0]
    assert one.free.tolist() == []
    row = int(np.searchsorted(pushed.time_s, one.begins - 1e-9))
    np.testing.assert_allclose(one.state(fetch.model, np.zeros(0))[1:], np.concatenate(
        (pushed.sensors["qpos"][row], pushed.sensors["qvel"][row])
    ), atol=1e-12)  # fmt: skip
