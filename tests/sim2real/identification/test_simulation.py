import mujoco
import numpy as np
import pytest
from hidden_models import record, segment, waves

from cairngym.sim2real.identification.beginnings import beginning, noise_of, positions, smooth
from cairngym.sim2real.identification.experiment import Delays, Experiment
from cairngym.sim2real.identification.inertia import Inertia, physical
from cairngym.sim2real.identification.layout import LogError
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.parameters import CenterOfMass, Damping, Friction, Gain, Mass
from cairngym.sim2real.identification.plant import load_plant, plant_of
from cairngym.sim2real.identification.problem import Problem
from cairngym.sim2real.identification.signal_parameters import ActionDelay

DT = 0.02
ALL = (
    Measurement(channel="qpos", quantity="qpos"), Measurement(channel="qvel", quantity="qvel"),
    Measurement(channel="rate", quantity="sensor", names=("rate",)),
)  # fmt: skip


def experiment(plant, *, rows=60, delay_steps=0, delays=None):
    command = waves(0, rows, DT, 1, 0.8)
    qpos, qvel = record(plant.model, command, dt=DT, delay_steps=delay_steps)
    one = segment("log", DT, command, qpos=qpos, qvel=qvel, rate=qvel[:, :1])
    noise = {"qpos": np.full(2, 1e-3), "qvel": np.full(2, 1e-3), "rate": np.full(1, 1e-3)}
    return Experiment(plant, ALL, one, delays or Delays(), noise)


def test_the_simulation_repeats_what_was_recorded(plant):
    problem = Problem(plant.model, (Damping(names=("hinge",), low=0.0, high=0.2),), (experiment(plant),))
    x = problem.vector()
    residual = problem.residual(x)[: problem.data_rows]
    assert np.abs(residual).max() * 1e-3 < 2e-3  # nothing but the smoothed first state is off
    settled = x.copy()
    for _ in range(4):
        jacobian = problem.jacobian(settled)[:, 1:]
        settled[1:] -= np.linalg.lstsq(jacobian, problem.residual(settled), rcond=None)[0]
    assert np.abs(problem.residual(settled)[: problem.data_rows]).max() * 1e-3 < 1e-4


def test_controls_are_the_held_commands_and_delays_count_in_fractions(plant):
    one = experiment(plant, delays=Delays(action=0.02))
    command = one.segment.command[:, 0]
    assert one.begins == pytest.approx(0.02)
    np.testing.assert_allclose(one.controls(0.0)[:4, 0], command[1])
    np.testing.assert_allclose(one.controls(0.01)[:4, 0], [command[0], command[0], command[1], command[1]], atol=1e-12)
    mixed = 0.5 * (command[0] + command[1])
    np.testing.assert_allclose(one.controls(0.0075)[:4, 0], [command[0], mixed, command[1], command[1]], atol=1e-12)


def test_the_jacobian_is_that_of_central_differences(plant):
    parameters = (
        Mass(names=("bob",), low=0.5, high=2.0, relative=True),
        ActionDelay(low=0.0, high=0.04, nominal=0.0121),
    )
    problem = Problem(plant.model, parameters, (experiment(plant, delays=Delays(action=0.04)),))
    x, found = problem.vector(), problem.jacobian(problem.vector())
    for at in range(len(x)):
        step = np.zeros(len(x))
        step[at] = 1e-5 * problem.scale[at]
        exact = (problem.residual(x + step) - problem.residual(x - step)) / (2 * step[at])
        np.testing.assert_allclose(found[:, at], exact, rtol=0, atol=2e-3 * np.abs(exact).max())


def test_columns_are_evaluated_as_they_are_alone(plant):
    problem = Problem(plant.model, (Mass(names=("bob",), low=0.5, high=2.0, relative=True),), (experiment(plant),))
    x = problem.vector()
    columns = np.stack([x * (1 + 0.01 * k) for k in range(11)], axis=1)
    together = problem.residual(columns)
    for k in (0, 5, 10):
        np.testing.assert_array_equal(together[:, k], problem.residual(columns[:, k]))


def test_models_with_parameters_are_those_that_mujoco_compiles(plant):
    problem = Problem(plant.model, (Mass(names=("bob",), low=0.5, high=3.0, relative=True),), (experiment(plant),))
    built = problem._build(problem.parameter_dict(problem.vector(np.array([0.6]))))
    from hidden_models import PENDULUM

    text = PENDULUM.replace(
        'name="bob" type="sphere" size="0.03" mass="0.3"', 'name="bob" type="sphere" size="0.03" mass="0.6"'
    )
    other = mujoco.MjModel.from_xml_string(text)
    for field in ("body_mass", "body_inertia", "body_subtreemass", "dof_invweight0", "body_invweight0", "dof_M0"):
        np.testing.assert_allclose(getattr(built, field), getattr(other, field), rtol=1e-9, err_msg=field)


def test_gains_move_the_bias_of_servos():
    xml = """<mujoco><worldbody><body><joint name="j"/><geom size="0.1"/></body></worldbody><actuator>
    <position name="p" joint="j" kp="100" kv="5"/><velocity name="v" joint="j" kv="7"/>
    <motor name="m" joint="j" gear="2"/>
    </actuator></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    for name in "pvm":
        Gain(names=(name,), low=1.0, high=500.0, nominal=50.0).write(model, np.array([50.0]))
    np.testing.assert_array_equal(model.actuator_gainprm[:, 0], 50.0)
    np.testing.assert_array_equal(model.actuator_biasprm[:, 1], [-50.0, 0.0, 0.0])
    np.testing.assert_array_equal(model.actuator_biasprm[:, 2], [-5.0, -50.0, 0.0])


def test_every_inertia_in_the_box_is_that_of_a_body_that_can_exist(plant):
    parameter = Inertia(names=("bob",))
    start, (low, high) = parameter.start(plant.model), parameter.bounds(plant.model)
    mass, center, _, moments = physical(start)
    body = plant.model.body("bob").id
    assert mass == pytest.approx(plant.model.body_mass[body])
    np.testing.assert_allclose(center, plant.model.body_ipos[body], atol=1e-9)
    np.testing.assert_allclose(np.sort(moments), np.sort(plant.model.body_inertia[body]), rtol=1e-6)
    random = np.random.default_rng(0)
    for _ in range(50):
        mass, _, quaternion, moments = physical(random.uniform(low, high))
        assert 0.5 * 0.3 * 0.999 <= mass <= 2.0 * 0.3 * 1.001
        assert moments.min() > 0
        assert moments.max() <= moments.sum() - moments.max() + 1e-12
        assert np.linalg.norm(quaternion) == pytest.approx(1.0)


def test_smoothing_and_noise_against_a_parabola():
    time = 0.1 * np.arange(40)
    values = 1.0 + 2.0 * time - 0.5 * time**2
    value, slope = smooth(time, values, 2.0, 20)
    assert (value, slope) == (pytest.approx(1 + 4 - 2), pytest.approx(2 - 2))
    noisy = np.stack([values, np.sin(time)], axis=1) + np.random.default_rng(0).normal(0, [0.01, 0.2], (40, 2))
    np.testing.assert_allclose(noise_of(noisy), [0.01, 0.2], rtol=0.5)
    assert np.isnan(smooth(time, np.full(40, np.nan), 2.0, 20)[0])


def test_first_states_take_speeds_from_positions_where_nothing_measures_them(plant):
    time = DT * np.arange(30)
    one = segment("log", DT, np.zeros((30, 1)), angle=(0.3 * time)[:, None])
    angle = (Measurement(channel="angle", quantity="sensor", names=("angle",)),)
    qpos, qvel, seen = beginning(plant.model, plant.home, angle, one, 10)
    np.testing.assert_allclose(qpos, [0.06, 0.0], atol=1e-9)
    np.testing.assert_allclose(qvel, [0.3, 0.0], atol=1e-6)
    np.testing.assert_array_equal(seen, [True, False])


@pytest.mark.parametrize("order", [1, -1])
def test_first_states_come_from_the_least_noisy_of_several_channels(plant, order):
    command = waves(0, 40, DT, 1, 0.8)
    qpos, _ = record(plant.model, command, dt=DT)
    camera = qpos + 0.3 + 0.01 * np.random.default_rng(0).normal(size=qpos.shape)
    one = segment("log", DT, command, encoder=qpos, camera=camera)
    both = (Measurement(channel="encoder", quantity="qpos"), Measurement(channel="camera", quantity="qpos"))
    for measurements in (both[::order], (both[0], Measurement(channel="camera", quantity="qpos", noise=0.01))[::order]):
        found, _, _ = beginning(plant.model, plant.home, measurements, one, 10)
        np.testing.assert_allclose(found, qpos[10], atol=5e-3)
        np.testing.assert_array_equal(positions(plant.model, plant.home, measurements, one), qpos)


@pytest.mark.parametrize("read", [True, False])
def test_first_states_trust_the_noise_of_all_segments(plant, read):
    """In this one a camera that is off happens to show none."""
    command = waves(0, 40, DT, 1, 0.8)
    qpos, _ = record(plant.model, command, dt=DT)
    one = segment("log", DT, command, encoder=qpos, camera=qpos + 0.3)
    both = (
        Measurement(channel="encoder", quantity="qpos", noise=0.01), Measurement(channel="camera", quantity="qpos"),
    )  # fmt: skip
    noise = {"encoder": np.full(2, 0.01), "camera": np.full(2, 0.05)}
    found = Experiment(plant, both, one, Delays(), noise, read=read)
    np.testing.assert_allclose(found.qpos, qpos[0], atol=0.0 if read else 5e-3)
    assert len(found.free) == (0 if read else 4)


def test_segments_too_short_for_delays_and_channels_of_another_size_are_refused(plant):
    with pytest.raises(LogError, match="longer than the delays"):
        experiment(plant, rows=20, delays=Delays(action=0.38))
    command = np.zeros((30, 1))
    with pytest.raises(LogError, match="to have 2 numbers, those of qpos, got 1"):
        Experiment(plant, ALL[:1], segment("log", DT, command, qpos=np.zeros((30, 1))), Delays(), {"qpos": np.ones(2)})


def test_plants_of_envs_know_what_actions_are():
    drive = load_plant("DifferentialDrive-v0")
    np.testing.assert_allclose(drive.command.matrix, np.eye(2) * 0.22 / 0.033, rtol=1e-6)
    assert drive.command.follow is None
    assert drive.control_dt == pytest.approx(0.1)
    reach = load_plant("FrankaReach-v0")
    np.testing.assert_allclose(reach.command.matrix, 0.05 * np.eye(7), atol=1e-9)
    np.testing.assert_allclose(reach.command.follow, np.eye(7), atol=1e-9)
    np.testing.assert_allclose(reach.command.offset, 0.0, atol=1e-7)
    with pytest.raises(ValueError, match="under MuJoCo"):
        load_plant("Chain-N10-v0")
    with pytest.raises(FileNotFoundError, match=r"none\.xml"):
        load_plant("none.xml")


def test_bounds_that_physics_excludes_are_refused(plant):
    with pytest.raises(ValueError, match="not negative"):
        Damping(names=("hinge",), low=-1.0, high=1.0).bounds(plant.model)
    with pytest.raises(ValueError, match="absolute bounds"):
        Friction(names=("bob",), low=0.5, high=2.0, relative=True, nominal=0.0).bounds(plant.model)
    with pytest.raises(ValueError, match="at least 0 s"):
        ActionDelay(low=-0.1, high=0.1).bounds(plant.model)
    with pytest.raises(ValueError, match="low < high"):
        Mass(names=("bob",), low=2.0, high=1.0)
    with pytest.raises(ValueError, match="begin within"):
        ActionDelay(low=0.0, high=0.1, begin=0.2).bounds(plant.model)
    with pytest.raises(ValueError, match="ten numbers"):
        Inertia(names=("bob",), begin=1.0)
    with pytest.raises(ValueError, match="a tuple of names"):
        Mass(names="bob", low=0.5, high=1.0)
    scaled = plant_of(plant.model, scale=(2.0,), offset=(0.5,))
    np.testing.assert_allclose((scaled.low, scaled.high), ([-1.25], [0.75]))
    with pytest.raises(ValueError, match="1 numbers of scale"):
        plant_of(plant.model, scale=(1.0, 2.0))


def test_ball_and_free_joints_have_several_numbers():
    flyer = load_plant("Quadrotor-v0").model
    assert Measurement(channel="q", quantity="qpos").addresses(flyer).tolist() == list(range(7))
    assert Measurement(channel="v", quantity="qvel", names=("attitude",)).addresses(flyer).tolist() == [3, 4, 5]
    drag = Damping(names=("attitude",), low=0.0, high=1.0)
    changed = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><joint name='attitude' type='ball'/><geom size='.1'/></body></worldbody></mujoco>"
    )
    drag.write(changed, np.array([0.5]))
    assert changed.dof_damping.tolist() == [0.5, 0.5, 0.5]
    drive = load_plant("DifferentialDrive-v0").model
    assert len(Measurement(channel="q", quantity="qpos", names=("root",)).addresses(drive)) == 7


LAGGING = """
<mujoco><option timestep="0.005" gravity="0 0 0"/>
<worldbody><body name="cart" simple="false"><joint name="x" type="slide" axis="1 0 0"/>
<joint name="tilt" axis="0 1 0" damping="1"/>
<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/></body></worldbody>
<actuator><general joint="x" dyntype="filterexact" dynprm="0.03" ctrlrange="-4 4"/></actuator></mujoco>
"""


def test_lagging_actuators_begin_at_what_the_commands_before_make_of_them():
    model = mujoco.MjModel.from_xml_string(LAGGING)
    command = np.repeat([2.0, -1.0, 3.0, 0.0, 1.0, 2.0, 3.0, 1.0, 0.0, 0.0], 2)[:, None]
    data, known = mujoco.MjData(model), []
    data.act[:] = 2.0
    for row in command[:, 0]:
        known.append((data.qpos.copy(), data.qvel.copy(), data.act.copy()))
        data.ctrl[:] = row
        mujoco.mj_step(model, data, nstep=4)
    qpos, qvel, act = (np.array(part) for part in zip(*known, strict=True))
    piece = segment("cart", 0.02, command, qpos=qpos, qvel=qvel)
    measurements = [Measurement(channel="qpos", quantity="qpos"), Measurement(channel="qvel", quantity="qvel")]
    noise = {"qpos": np.ones(2), "qvel": np.ones(2)}
    found = Experiment(plant_of(model), measurements, piece, Delays(action=0.06), noise)
    assert found.free.tolist() == [0, 1, 2, 3, 4], "the activation is fitted with the first state"
    zero = np.zeros(5)
    assert found.state(model, zero)[-1] == pytest.approx(act[3, 0], rel=1e-12)
    # Two physics steps late: the commands' steps fall on steps of 5 ms again, and the first one held before.
    late, level = np.concatenate(([2.0, 2.0], np.repeat(command[:3, 0], 4)[:-2])), 2.0
    for control in late:
        level = control + np.exp(-0.005 / 0.03) * (level - control)
    assert found.state(model, zero, 0.01)[-1] == pytest.approx(level, rel=1e-12)
    assert found.state(model, np.array([0, 0, 0, 0, 0.5]), 0.01)[-1] == pytest.approx(level + 0.5)


def test_small_steps_of_a_centre_of_mass_show():
    """MuJoCo takes one within 1e-6 m of the origin to be there."""
    model = mujoco.MjModel.from_xml_string(LAGGING)
    command = np.full((20, 1), 3.0)
    center = CenterOfMass(names=("cart",), axis=2, low=-5e-3, high=5e-3)
    qpos = np.zeros((20, 2))
    noise = {"qpos": np.ones(2)}
    one = Experiment(
        plant_of(model), [Measurement(channel="qpos", quantity="qpos")],
        segment("cart", 0.02, command, qpos=qpos), Delays(), noise,
    )  # fmt: skip
    problem = Problem(model, (center,), (one,))
    slope = problem.jacobian(problem.vector(), of=np.arange(1))[: problem.data_rows, 0]
    moved = [problem.residual(problem.vector(np.array([value])))[: problem.data_rows] for value in (-1e-3, 1e-3)]
    assert np.abs(slope).max() > 1e-3
    np.testing.assert_allclose(slope, (moved[1] - moved[0]) / 2e-3, rtol=0.02, atol=1e-5)
    with pytest.raises(ValueError, match="'cart', which MuJoCo has simplified"):
        Problem(mujoco.MjModel.from_xml_string(LAGGING.replace(' simple="false"', "")), (center,), (one,))
