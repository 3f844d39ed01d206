import numpy as np
import pytest
from robot_doubles import REST, SPEC

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.control.faults import NONE, Fault
from cairngym.sim2real.control.limits import CommandLimits, LimitChain, RateLimit, Workspace
from cairngym.sim2real.robot import Channel

GO = np.array([1.0, 1.0])


def inside(x, y=0.0):
    return {"observation": np.zeros(3), "position": np.array([x, y])}


def test_commands_are_clipped_and_violations_told():
    limit = CommandLimits(SPEC.command)
    command, fault = limit.apply(np.array([1.5, -0.5]), inside(0))
    assert command.tolist() == [1.0, -0.5]
    assert fault == Fault.COMMAND_LIMIT
    assert limit.apply(np.array([0.1, 0.2]), inside(0))[1] == NONE


def test_rounding_is_clipped_without_a_fault():
    command, fault = CommandLimits(SPEC.command).apply(np.array([1.0 + 2e-7, 0.0]), inside(0))
    assert command[0] == 1.0
    assert fault == NONE


def test_a_channel_without_limits_passes_all():
    command, fault = CommandLimits(Channel(name="action", size=2, unit="N")).apply(1e9 * GO, {})
    assert command.tolist() == [1e9, 1e9]
    assert fault == NONE


def test_rates_are_limited_from_what_was_sent():
    limit = RateLimit([10.0, 1.0], dt=0.01, size=2)
    limit.reset(np.zeros(2))
    command, fault = limit.apply(GO, {})
    np.testing.assert_allclose(command, [0.1, 0.01])
    assert fault == Fault.RATE_LIMIT
    limit.sent(np.array([0.95, 0.995]))
    command, fault = limit.apply(GO, {})
    np.testing.assert_allclose(command, [1.0, 1.0])
    assert fault == NONE
    limit.sent(REST)
    np.testing.assert_allclose(limit.apply(-GO, {})[0], REST - [0.1, 0.01])


def workspace(margin=0.2):
    limit = Workspace(SPEC, "position", low=[-np.inf, -1.0], high=1.0, margin=margin)
    limit.reset(REST)
    return limit


def test_a_command_passes_inside_of_the_box():
    command, fault = workspace().apply(GO, inside(0.99, -0.5))
    assert command is GO
    assert fault == NONE
    assert workspace().apply(GO, inside(-50.0))[1] == NONE


def test_a_robot_that_leaves_rests_and_may_come_back():
    limit = workspace()
    seen = []
    for x in (0.9, 1.05, 1.05, 1.1, 1.08, 1.02, 0.98, 1.01):
        command, fault = limit.apply(GO, inside(x))
        seen.append(("rest" if command.tolist() == REST.tolist() else "pass", fault))
    out = Fault.WORKSPACE
    # The second 1.05 is the same reading once more: the robot is still leaving as far as one knows.
    assert seen == [
        ("pass", NONE), ("rest", out), ("rest", out), ("rest", out), ("pass", out), ("pass", out), ("pass", NONE),
        ("rest", out),
    ]  # fmt: skip


def test_a_robot_that_begins_outside_may_move_to_come_back():
    limit = workspace()
    assert limit.apply(GO, inside(1.1))[0] is GO
    assert limit.apply(GO, inside(1.15))[0].tolist() == REST.tolist()


def test_beyond_the_margin_is_a_fault_of_its_own():
    limit = workspace()
    assert limit.apply(GO, inside(1.199))[1] == Fault.WORKSPACE
    assert limit.apply(GO, inside(1.201))[1] == Fault.WORKSPACE_LEFT
    assert limit.apply(GO, inside(0.0, -1.3))[1] == Fault.WORKSPACE_LEFT
    assert workspace(margin=np.inf).apply(GO, inside(1e6))[1] == Fault.WORKSPACE


def test_limits_compose_in_order():
    chain = LimitChain([CommandLimits(SPEC.command), RateLimit(20.0, dt=0.01, size=2), workspace()])
    chain.reset(np.zeros(2))
    command, faults = chain.apply(np.array([5.0, 0.1]), inside(0.0))
    np.testing.assert_allclose(command, [0.2, 0.1])
    assert faults == Fault.COMMAND_LIMIT | Fault.RATE_LIMIT
    command, faults = chain.apply(np.array([0.1, 0.1]), inside(1.1))
    assert command.tolist() == REST.tolist()
    assert faults == Fault.WORKSPACE
    with pytest.raises(ValueError, match="finite"):
        chain.apply(np.array([np.nan, 0.0]), inside(0.0))


def test_bad_limits_are_refused():
    with pytest.raises(UnknownNameError, match="'position'"):
        Workspace(SPEC, "positon", low=0.0, high=1.0)
    with pytest.raises(ValueError, match="low below high"):
        Workspace(SPEC, "position", low=[0.0, 2.0], high=1.0)
    with pytest.raises(ValueError, match="2 of them"):
        Workspace(SPEC, "position", low=[0.0, 0.0, 0.0], high=1.0)
    with pytest.raises(ValueError, match="without NaN"):
        Workspace(SPEC, "position", low=np.nan, high=1.0)
    with pytest.raises(ValueError, match="margin"):
        Workspace(SPEC, "position", low=0.0, high=1.0, margin=-0.1)
    with pytest.raises(ValueError, match="rates above 0"):
        RateLimit([1.0, 0.0], dt=0.01, size=2)
    with pytest.raises(ValueError, match="period"):
        RateLimit(1.0, dt=-1.0, size=2)
