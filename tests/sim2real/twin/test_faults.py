import numpy as np
import pytest
from robot_toys import Cart

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.twin.config import Fault
from cairngym.sim2real.twin.faults import Faults


def readings(count=3):
    robot = Cart()
    return [robot.reset()] + [robot.step(np.array([1.0, 1.0])) for _ in range(count)]


def test_frozen_values_go_on_with_their_stamps():
    faults, (first, second, third, fourth) = Faults(), readings()
    faults.inject(Fault(kind="freeze_values", duration_s=1.0), 0.0)
    assert faults.altered(first, 0.1).values == first.values
    shown = faults.altered(second, 0.2)
    assert shown.values is first.values
    assert (shown.sequence, shown.time_s) == (second.sequence, second.time_s)
    assert faults.altered(third, 1.0) is third
    faults.inject(Fault(kind="freeze_values"), 2.0)
    assert faults.altered(fourth, 3.0).values is fourth.values


def test_frozen_stamps_go_on_with_their_numbers():
    faults, (first, second, *_) = Faults(), readings()
    faults.inject(Fault(kind="freeze_stamps"), 0.0)
    faults.altered(first, 0.1)
    shown = faults.altered(second, 0.2)
    assert shown.values is first.values
    assert (shown.sequence, shown.time_s) == (second.sequence, first.time_s)
    faults.inject(Fault(kind="none"), 0.3)
    assert faults.altered(second, 0.4) is second


@pytest.mark.parametrize("channel", [None, "position"])
def test_nan_takes_the_place_of_numbers(channel):
    faults, (first, *_) = Faults(), readings()
    faults.inject(Fault(kind="nan", channel=channel), 0.0)
    shown = faults.altered(first, 0.1).values
    assert np.isnan(shown["position"]).all()
    assert np.isnan(shown["observation"]).all() == (channel is None)
    assert np.isfinite(first.values["position"]).all()


def test_amounts_have_defaults_and_end():
    faults = Faults()
    faults.inject(Fault(kind="loss"), 0.0)
    faults.inject(Fault(kind="delay", amount=0.4, duration_s=1.0), 0.0)
    assert (faults.loss(0.5), faults.delay_s(0.5)) == (0.3, 0.4)
    assert (faults.loss(1.0), faults.delay_s(1.0)) == (0.3, 0.0)
    assert faults.stalled_until() == -np.inf
    faults.inject(Fault(kind="stall", duration_s=2.0), 5.0)
    assert faults.stalled_until() == 7.0


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"kind": "fire"}, UnknownNameError),
        ({"kind": "nan", "duration_s": -1.0}, ValueError),
        ({"kind": "nan", "duration_s": float("nan")}, ValueError),
        ({"kind": "stall"}, ValueError),
        ({"kind": "loss", "amount": 1.5}, ValueError),
        ({"kind": "loss", "amount": "much"}, TypeError),
        ({"kind": "loss", "share": 0.5}, TypeError),
        ({"kind": 3}, TypeError),
        ({}, TypeError),
    ],
)
def test_impossible_faults_are_refused(wrong, error):
    with pytest.raises(error):
        Fault.from_dict(wrong)
