"""Motors against closed forms: PD drives, torque-speed lines in four quadrants, learned motors, in MuJoCo's step."""

import contract
import mujoco
import numpy as np
import pytest
import torch

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.physics.driver import make_driver
from cairngym.sim2real.randomization.actuators import ActuatorModels, dc_motor_limits, pd_effort
from cairngym.sim2real.randomization.events import ActuatorModel, FieldEvent
from cairngym.sim2real.randomization.learned_actuator import ActuatorData, ActuatorMeta, LearnedActuator, fit_actuator
from cairngym.sim2real.randomization.parts import PhysicsContext

DT, S = 0.002, 5
XML = f"""
<mujoco><option timestep="{DT}" gravity="0 0 0" integrator="Euler"><flag contact="disable"/></option>
 <worldbody>
  <body><joint name="hinge" axis="0 0 1" armature="0.5"/><geom size="0.1" mass="1e-6"/></body>
  <body pos="1 0 0"><joint name="slide" type="slide" axis="1 0 0"/><geom size="0.1" mass="2"/></body>
  <body pos="2 0 0"><joint name="other" axis="0 0 1" armature="0.5"/><geom size="0.1" mass="1e-6"/></body>
  <body pos="3 0 0"><freejoint name="free"/><geom size="0.1" mass="1"/></body>
 </worldbody>
 <actuator>
  <position name="servo" joint="hinge" kp="50" kv="3" ctrlrange="-1 1"/>
  <motor name="pusher" joint="slide" gear="4"/>
  <motor name="own" joint="other"/>
  <general name="slow" joint="other" dyntype="integrator"/>
  <motor name="thruster" joint="free" gear="0 0 1 0 0 0"/>
 </actuator></mujoco>
"""


class Plant:
    """N worlds of the model, driven at every physics step through actuator models."""

    def __init__(self, *events, num_envs=3, dt=DT):
        model = mujoco.MjModel.from_xml_string(XML)
        self.driver = make_driver(model, num_envs, "cpu", threads=1)
        self.context = PhysicsContext(driver=self.driver, substeps=S, timestep=dt)
        self.part = ActuatorModels(events, [None] * len(events), self.context)
        self.q, self.v, self.ctrl = (self.driver.view(name) for name in ("qpos", "qvel", "ctrl"))
        self.begin()

    def begin(self, mask=None):
        mask = torch.ones(self.driver.num_worlds, dtype=torch.bool) if mask is None else mask
        self.part.begin(mask, torch.zeros(len(mask), dtype=torch.int64))
        self.part.placed(mask, {"ctrl": self.ctrl.clone()})

    def substep(self, command):
        """One physics step under commands `(N, nu)`; returns the effort at each joint `(N, nv)`."""
        told = {"ctrl": command.to(self.driver.dtype)}
        self.part.before_step(0, told)
        self.ctrl.copy_(told["ctrl"])
        before = self.v.clone()
        self.driver.step(1)
        inertia = torch.tensor([0.5, 2.0, 0.5], dtype=torch.float64)
        return (self.v - before)[:, :3] / DT * inertia


def commands(n=3, **named):
    values = torch.zeros(n, 5, dtype=torch.float64)
    for name, value in named.items():
        values[:, ["servo", "pusher", "own", "slow", "thruster"].index(name)] = torch.as_tensor(value).double()
    return values


# Laws -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speed", "low", "high"),
    [(0.0, -12, 12), (5.0, -18, 6), (10.0, -24, 0), (15.0, -30, -6), (-5.0, -6, 18), (-10.0, 0, 24), (-15.0, 6, 30)],
)
def test_a_dc_motor_loses_effort_with_speed_and_brakes_beyond_its_no_load_speed(speed, low, high):
    limits = dc_motor_limits(torch.tensor(speed), stall_effort=12.0, no_load_speed=10.0)
    assert [float(limit) for limit in limits] == pytest.approx([low, high])


def test_dc_motor_limits_are_those_of_the_voltage_equation():
    supply, resistance, constant = 24.0, 0.8, 0.05
    speeds = torch.linspace(-600.0, 600.0, 13, dtype=torch.float64)
    low, high = dc_motor_limits(speeds, constant * supply / resistance, supply / constant)
    for voltage, limit in ((supply, high), (-supply, low)):
        assert torch.allclose(limit, constant * (voltage - constant * speeds) / resistance, atol=1e-12)


def test_an_ideal_drives_law():
    error, velocity = torch.tensor([0.2]), torch.tensor([3.0])
    wanted = {"position": 10 * 0.2 - 0.5 * 3.0, "velocity": 0.5 * 0.2, "effort": 0.2}
    for target, effort in wanted.items():
        assert float(pd_effort(error, velocity, 10.0, 0.5, target)) == pytest.approx(effort)


# In the physics -------------------------------------------------------------------------------------------------------


def test_a_pd_drive_gives_the_effort_of_its_law_at_every_physics_step():
    plant = Plant(ActuatorModel(kind="pd", actuators=("servo",), stiffness=20.0, damping=1.5))
    plant.q[:, 0] = torch.tensor([0.1, -0.3, 0.0])
    plant.v[:, 0] = torch.tensor([1.0, 0.0, -2.0])
    for _ in range(4):
        expected = 20.0 * (0.4 - plant.q[:, 0]) - 1.5 * plant.v[:, 0]
        effort = plant.substep(commands(servo=0.4))
        assert torch.allclose(effort[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_the_model_the_drive_replaces_gives_nothing_of_its_own():
    plant = Plant(ActuatorModel(kind="pd", actuators=("servo",)))  # no stiffness, no damping
    plant.q[:, 0], plant.v[:, 0] = 0.5, 1.0
    assert torch.allclose(plant.substep(commands(servo=1.0))[:, 0], torch.zeros(3, dtype=torch.float64), atol=1e-9)


def test_an_effort_reaches_the_joint_whatever_the_gear_and_the_limit_of_the_command():
    plant = Plant(ActuatorModel(kind="pd", actuators=("pusher", "servo"), target="effort", scale=10.0, offset=1.0))
    effort = plant.substep(commands(pusher=[0.5, -2.0, 0.0], servo=[0.5, 7.0, 0.0]))
    assert effort[:, 1].tolist() == pytest.approx([6.0, -19.0, 1.0])
    assert effort[:, 0].tolist() == pytest.approx([6.0, 11.0, 1.0], rel=1e-4)  # the servo's commands end at 1


def test_a_velocity_drive_and_its_effort_limit():
    plant = Plant(ActuatorModel(kind="pd", actuators=("own",), target="velocity", damping=2.0, effort_limit=5.0))
    plant.v[:, 2] = torch.tensor([1.0, -9.0, 9.0])
    assert plant.substep(commands(own=2.0))[:, 2].tolist() == pytest.approx([2.0, 5.0, -5.0], rel=1e-4)


def test_a_dc_motor_saturates_by_its_speed():
    event = ActuatorModel(
        kind="dc_motor", actuators=("own",), target="effort", stall_effort=12.0, no_load_speed=10.0, effort_limit=8.0
    )
    plant = Plant(event, num_envs=6)
    plant.v[:, 2] = torch.tensor([0.0, 5.0, 10.0, 11.0, -5.0, 30.0])
    effort = plant.substep(commands(6, own=100.0))[:, 2]
    assert effort.tolist() == pytest.approx([8.0, 6.0, 0.0, -1.2, 8.0, -8.0], rel=1e-4, abs=1e-6)


def test_a_dc_motor_reaches_no_more_than_its_no_load_speed():
    event = ActuatorModel(kind="dc_motor", actuators=("own",), target="effort", stall_effort=12.0, no_load_speed=10.0)
    plant = Plant(event)
    for _ in range(200):
        plant.substep(commands(own=100.0))
    # Euler's step of I dv/dt = stall (1 - v / v0) from rest, in closed form
    expected = 10.0 * (1.0 - (1.0 - 12.0 / 10.0 * DT / 0.5) ** 200)
    assert plant.v[:, 2].tolist() == pytest.approx([expected] * 3, rel=1e-4)


# Learned motors -------------------------------------------------------------------------------------------------------


def echo(path, history, dt, lag_weight):
    """A network whose effort is 3 * the oldest error it sees, plus a share of the newest velocity."""
    weight = torch.zeros(2 * history, 1, dtype=torch.float64)
    weight[0, 0], weight[-1, 0] = 3.0, lag_weight
    meta = ActuatorMeta(
        target="position", history=history, dt=dt, scales=(1.0, 1.0, 1.0), fit_error=0.0, samples=1, layers=1
    )
    LearnedActuator(meta, [weight], [torch.zeros(1, dtype=torch.float64)]).save(path)


def test_a_learned_motor_sees_errors_as_old_as_its_samples(tmp_path):
    echo(tmp_path / "m.npz", history=3, dt=2 * DT, lag_weight=0.5)
    plant = Plant(ActuatorModel(kind="mlp", actuators=("own",), path=str(tmp_path / "m.npz")))
    errors = []
    for step in range(9):
        target = 0.1 * step
        errors.append(target - plant.q[:, 2])
        velocity = plant.v[:, 2].clone()
        effort = plant.substep(commands(own=target))
        oldest = errors[max(step - 4, 0)]
        assert torch.allclose(effort[:, 2], 3.0 * oldest + 0.5 * velocity, atol=1e-5, rtol=1e-4)


def test_a_learned_motor_forgets_the_last_episode_and_goes_on_from_a_snapshot(tmp_path):
    echo(tmp_path / "m.npz", history=2, dt=DT, lag_weight=0.0)
    plant = Plant(ActuatorModel(kind="mlp", actuators=("own",), path=str(tmp_path / "m.npz")))
    plant.substep(commands(own=1.0))
    kept, physics = plant.part.get_state(), plant.driver.get_state()
    first = plant.substep(commands(own=0.0))
    assert first[0, 2] == pytest.approx(3.0, rel=1e-4)
    plant.driver.set_state(physics)
    plant.part.set_state(kept)
    assert torch.equal(plant.substep(commands(own=0.0)), first)
    plant.driver.set_state(physics)
    plant.part.set_state(kept)
    plant.begin(torch.tensor([True, False, False]))
    effort = plant.substep(commands(own=0.0))[:, 2]
    assert abs(float(effort[0])) < 0.01
    assert float(effort[1]) == pytest.approx(3.0, rel=1e-4)


def test_a_fitted_motor_moves_a_joint_as_the_motor_it_was_fitted_to(tmp_path):
    rng = np.random.default_rng(0)
    error, velocity = rng.uniform(-0.6, 0.6, (1000, 1)), rng.uniform(-6.0, 6.0, (1000, 1))
    top, bottom = np.minimum(6.0 * (1 - velocity / 8.0), 6.0), np.maximum(6.0 * (-1 - velocity / 8.0), -6.0)
    torque = np.clip(20.0 * error - 1.0 * velocity, bottom, top)
    data = ActuatorData(command=error, position=0 * error, velocity=velocity, torque=torque, dt=DT)
    fit_actuator(data, tmp_path / "m.npz", history=1, iterations=700, hidden=(16, 16))
    true = ActuatorModel(
        kind="dc_motor", actuators=("own",), stiffness=20.0, damping=1.0, stall_effort=6.0, no_load_speed=8.0,
        effort_limit=6.0,
    )  # fmt: skip
    learned = ActuatorModel(kind="mlp", actuators=("own",), path=str(tmp_path / "m.npz"))
    paths = []
    for event in (true, learned):
        plant = Plant(event, num_envs=1)
        paths.append([])
        for _ in range(500):
            plant.substep(commands(1, own=0.5))
            paths[-1].append(float(plant.q[0, 2]))
    reference, found = np.array(paths)
    assert np.abs(found - reference).max() < 0.03 < np.ptp(reference)


# Borders --------------------------------------------------------------------------------------------------------------


def test_a_world_moves_the_same_in_any_batch():
    event = ActuatorModel(kind="dc_motor", actuators=("servo", "own"), stiffness=9.0, damping=0.3, stall_effort=3.0,
                          no_load_speed=2.0)  # fmt: skip
    plants = [Plant(event, num_envs=n) for n in (2, 17)]
    for _ in range(20):
        for plant in plants:
            plant.substep(commands(plant.driver.num_worlds, servo=0.7, own=-0.4))
    assert torch.equal(plants[0].q, plants[1].q[:2])
    assert bool((plants[0].q[:, 0] > 0.0).all())


def test_what_cannot_be_replaced_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'servo'"):
        Plant(ActuatorModel(kind="pd", actuators=("servi",)))
    for name in ("slow", "thruster", "*"):
        with pytest.raises(ValueError, match="hinge or slide"):
            Plant(ActuatorModel(kind="pd", actuators=(name,)))
    with pytest.raises(ValueError, match="at most one actuator model"):
        Plant(*[ActuatorModel(kind="pd", actuators=("own",))] * 2)
    echo(tmp_path / "m.npz", history=2, dt=0.0031, lag_weight=0.0)
    with pytest.raises(ValueError, match="whole number of physics steps"):
        Plant(ActuatorModel(kind="mlp", actuators=("own",), path=str(tmp_path / "m.npz")))
    with pytest.raises(ValueError, match="target 'position'"):
        Plant(ActuatorModel(kind="mlp", actuators=("own",), path=str(tmp_path / "m.npz"), target="velocity"))
    with pytest.raises(FileNotFoundError, match="fit_actuator"):
        Plant(ActuatorModel(kind="mlp", actuators=("own",), path=str(tmp_path / "none.npz")))


def wrapped(*events, num_envs=3, **options):
    from cairngym.sim2real.randomization.config import RandomizationConfig
    from cairngym.sim2real.randomization.wrapper import Randomization

    env = cairngym.make("PointMaze_UMaze-v3", num_envs=num_envs, **{"seed": 4, **options})
    return Randomization(env, config=RandomizationConfig(events=events))


def test_strength_scales_the_new_motor_and_gains_it_does_not_have_are_refused():
    motor = ActuatorModel(kind="pd", target="effort", scale=50.0, effort_limit=20.0)
    paths = []
    for factor in (1.0, 0.5, 0.0):
        env = wrapped(motor, FieldEvent(field="actuator_strength", low=factor, high=factor))
        env.reset()
        start = env.unwrapped.world.driver.view("qpos").clone()
        env.step(torch.tensor([[0.1, -0.1]]).expand(3, 2))
        paths.append(env.unwrapped.world.driver.view("qvel").clone())
        assert start.shape == (3, 2)
        env.close()
    assert torch.allclose(paths[1] * 2.0, paths[0], rtol=0.02)
    assert bool((paths[0].abs() > 0.01).all())
    assert torch.equal(paths[2], torch.zeros_like(paths[2]))
    with pytest.raises(ValueError, match="no position servo"):
        wrapped(motor, FieldEvent(field="actuator_kp", low=0.5, high=2.0))


def test_a_world_with_other_motors_keeps_the_contract():
    event = ActuatorModel(
        kind="dc_motor", target="effort", scale=100.0, stall_effort=90.0, no_load_speed=4.0, effort_limit=80.0
    )
    for check in contract.CHECKS:
        check(lambda num_envs=1, seed=0, **options: wrapped(event, num_envs=num_envs, **options | {"seed": seed}))
