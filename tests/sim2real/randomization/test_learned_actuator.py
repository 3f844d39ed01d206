"""Learned actuators: what is fitted, what is kept in a file, and what is refused."""

import numpy as np
import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.randomization.learned_actuator import ActuatorData, LearnedActuator, fit_actuator, samples
from cairngym.sim2real.robot import Channel, RobotLog, RobotSpec

STALL, NO_LOAD, LIMIT = 12.0, 10.0, 8.0


def motor(error, velocity):
    """A servo of 30 N m/rad and 0.6 N m s/rad behind a torque-speed line."""
    wanted = 30.0 * error - 0.6 * velocity
    top = np.clip(STALL * (1.0 - velocity / NO_LOAD), -LIMIT, LIMIT)
    bottom = np.clip(STALL * (-1.0 - velocity / NO_LOAD), -LIMIT, LIMIT)
    return np.clip(wanted, bottom, top)


def data_of(samples=800, joints=2, seed=0, **changes):
    rng = np.random.default_rng(seed)
    position = rng.normal(0.0, 0.5, (samples, joints))
    error, velocity = rng.normal(0.0, 0.3, (samples, joints)), rng.normal(0.0, 4.0, (samples, joints))
    content = dict(
        command=position + error, position=position, velocity=velocity, torque=motor(error, velocity), dt=0.01
    )
    return ActuatorData(**content | changes)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    path = tmp_path_factory.mktemp("motor") / "motor.npz"
    return fit_actuator(data_of(), path, history=2, iterations=500), path


def test_a_fit_predicts_the_motor_on_samples_it_has_not_seen(fitted):
    actuator, _ = fitted
    test = data_of(samples=400, seed=1)
    inputs, torque = samples(test, "position", 2)
    x = torch.from_numpy(inputs)
    found = actuator.torque(x[:, :2], x[:, 2:]).numpy()
    error = np.sqrt(np.mean((found - torque) ** 2))
    assert error < 0.1 * np.sqrt(np.mean(torque**2))
    assert error == pytest.approx(actuator.meta.fit_error, rel=0.4)
    assert actuator.meta.samples == round(0.8 * 799 * 2)
    assert actuator.meta.dt == 0.01


def test_a_file_gives_back_the_same_network(fitted):
    actuator, path = fitted
    again = LearnedActuator.load(path)
    x = torch.linspace(-1, 1, 12, dtype=torch.float64).view(6, 2)
    assert again.meta == actuator.meta
    assert torch.equal(again.torque(x, 3 * x), actuator.torque(x, 3 * x))


def test_a_torque_does_not_depend_on_its_batch(fitted):
    actuator = fitted[0].to(torch.device("cpu"), torch.float32)
    x = torch.randn(37, 3, 2, generator=torch.Generator().manual_seed(0))
    alone = torch.stack([actuator.torque(each, -each) for each in x])
    assert torch.equal(actuator.torque(x, -x), alone)


def test_the_same_seed_fits_the_same_and_leaves_torchs_own_draws_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two, other = (fit_actuator(data_of(100), iterations=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.weights[0], two.weights[0])
    assert not torch.equal(one.weights[0], other.weights[0])


def test_histories_hold_errors_then_velocities_and_end_at_their_episode():
    rows = np.arange(6.0)[:, None]
    data = ActuatorData(
        command=rows + 10, position=rows * 0 + 2, velocity=-rows, torque=rows * 100, dt=0.1,
        episode=np.array([0, 0, 0, 1, 1, 1]),
    )  # fmt: skip
    inputs, torque = samples(data, "position", 2)
    assert inputs.tolist() == [[8, 9, 0, -1], [9, 10, -1, -2], [11, 12, -3, -4], [12, 13, -4, -5]]
    assert torque.tolist() == [100, 200, 400, 500]
    assert samples(data, "velocity", 1)[0].tolist() == [[10 + 2 * t, -t] for t in range(6)]
    assert samples(data, "effort", 1)[0].tolist() == [[10 + t, -t] for t in range(6)]


def log_of(time_s):
    size = len(time_s)
    channels = [Channel(name=name, size=1, unit="1") for name in ("q", "v", "tau")]
    spec = RobotSpec(
        robot="arm", control_dt=0.1, command=Channel(name="target", size=1, unit="rad"), rest=(0.0,),
        sensors=tuple(channels),
    )  # fmt: skip
    values = {name: np.full((size, 1), float(k)) for k, name in enumerate(("q", "v", "tau"))}
    command, episode = np.arange(size, dtype=float)[:, None], np.zeros(size, np.int64)
    return RobotLog(spec=spec, time_s=time_s, command=command, sensors=values, episode=episode)


def test_a_robots_log_is_read_by_its_channels():
    data = ActuatorData.from_log(log_of(np.arange(5) * 0.1), position="q", velocity="v", torque="tau")
    assert data.dt == pytest.approx(0.1)
    assert data.command[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert data.torque[0, 0] == 2.0
    assert data.velocity[0, 0] == 1.0


def test_what_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'tau'"):
        ActuatorData.from_log(log_of(np.arange(5) * 0.1), position="q", velocity="v", torque="taau")
    with pytest.raises(ValueError, match="evenly spaced"):
        ActuatorData.from_log(log_of(np.array([0.0, 0.1, 0.5])), position="q", velocity="v", torque="tau")
    with pytest.raises(ValueError, match="one shape"):
        data_of(torque=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="finite"):
        fit_actuator(data_of(torque=np.full((800, 2), np.nan)))
    with pytest.raises(ValueError, match="at least 3 samples"):
        fit_actuator(data_of(2))
    with pytest.raises(UnknownNameError, match="Did you mean 'effort'"):
        fit_actuator(data_of(), target="efort")
    with pytest.raises(FileNotFoundError, match="fit_actuator"):
        LearnedActuator.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match="has written"):
        LearnedActuator.load(tmp_path / "bad.npz")
