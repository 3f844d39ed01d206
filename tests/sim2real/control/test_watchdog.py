import math

import numpy as np
import pytest
from robot_doubles import REST, SPEC, moving

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.control.faults import COMMANDS, CONTINUE, Fault, Response, SafeStopError
from cairngym.sim2real.control.watchdog import Moving, Watchdog, WatchdogConfig, describe, flatten, slices
from cairngym.sim2real.robot import Reading

GO = REST + 0.5


def reading(k, values=None):
    return Reading(sequence=k, time_s=0.0, received_s=0.0, values=moving(k) if values is None else values)


def sense(watchdog, k, now, *, values=None, fresh=True, age=0.0, sent=GO):
    one = reading(k, values)
    watchdog.begin(now)
    watchdog.sense(one, flatten(SPEC, one), fresh=fresh, age_s=age, sent=sent)
    return watchdog.command


def test_sound_readings_let_the_policy_command():
    watchdog = Watchdog(WatchdogConfig(), SPEC)
    assert [sense(watchdog, k, 0.01 * k) for k in range(200)] == ["policy"] * 200
    assert watchdog.active == 0


def test_a_fault_stops_when_it_has_lasted():
    watchdog = Watchdog(WatchdogConfig(stale=Response(meanwhile="rest", stop_after_s=0.2)), SPEC)
    assert sense(watchdog, 0, 0.0, age=0.06) == "rest"
    assert sense(watchdog, 0, 0.15, age=0.21) == "rest"
    assert sense(watchdog, 1, 0.18) == "policy"
    assert sense(watchdog, 1, 0.25, age=0.06) == "rest"
    with pytest.raises(SafeStopError, match=r"0\.260 s old") as stop:
        sense(watchdog, 1, 0.46, age=0.26)
    assert stop.value.fault is Fault.STALE
    assert stop.value.reason.startswith("stale: ")


def test_the_gravest_response_decides():
    config = WatchdogConfig(stale=Response(meanwhile="rest", stop_after_s=9.0))
    watchdog = Watchdog(config, SPEC)
    nan = {"observation": np.full(3, np.nan), "position": np.zeros(2)}
    assert sense(watchdog, 0, 0.0, values=nan) == "hold"
    assert sense(watchdog, 0, 0.01, values=nan, age=1.0) == "rest"
    assert watchdog.active == Fault.STALE | Fault.NAN_READING


@pytest.mark.parametrize(
    "values",
    [
        {"observation": np.zeros(3)}, {"observation": np.zeros(2), "position": np.zeros(2)},
        {"observation": None, "position": np.zeros(2)},
        {"observation": np.array([0.0, np.inf, 0.0]), "position": np.zeros(2)},
    ],
)  # fmt: skip
def test_incomplete_readings_are_not_for_policies(values):
    watchdog = Watchdog(WatchdogConfig(), SPEC)
    assert sense(watchdog, 0, 0.0, values=values) == "hold"
    with pytest.raises(SafeStopError, match=r"lacks|finite"):
        sense(watchdog, 1, 0.11, values=values)


def test_the_number_that_is_not_finite_is_named():
    values = {"observation": np.zeros(3), "position": np.array([0.0, np.nan])}
    with pytest.raises(SafeStopError, match="number 1 of 'position'"):
        sense(Watchdog(WatchdogConfig(nan_reading=Response(stop_after_s=0.0)), SPEC), 0, 0.0, values=values)


def frozen_after(watchdog, change=lambda k: 0.0, sent=GO):
    """The time at which readings every 10 ms with one value, changed as told, stop the robot."""
    for k in range(1000):
        values = {"observation": np.ones(3) + change(k), "position": moving(k)["position"]}
        try:
            sense(watchdog, k, 0.01 * k, values=values, sent=sent)
        except SafeStopError as stop:
            return 0.01 * k if stop.fault is Fault.FROZEN else math.nan
    return math.inf


def test_repeated_values_are_a_fault_after_their_time():
    assert frozen_after(Watchdog(WatchdogConfig(), SPEC)) == pytest.approx(0.51, abs=0.011)
    quick = WatchdogConfig(moving=(Moving(within_s=0.1),))
    assert frozen_after(Watchdog(quick, SPEC)) == pytest.approx(0.11, abs=0.011)


def test_only_the_channels_named_have_to_move():
    assert frozen_after(Watchdog(WatchdogConfig(moving=(Moving(channel="position"),)), SPEC)) == math.inf
    assert frozen_after(Watchdog(WatchdogConfig(moving=()), SPEC)) == math.inf


def test_small_changes_count_as_none_where_told():
    noise = lambda k: 1e-3 * (k % 2)  # noqa: E731
    assert frozen_after(Watchdog(WatchdogConfig(), SPEC), noise) == math.inf
    tolerant = WatchdogConfig(moving=(Moving(tolerance=2e-3),))
    assert frozen_after(Watchdog(tolerant, SPEC), noise) == pytest.approx(0.51, abs=0.011)


def test_a_robot_told_to_rest_need_not_move():
    assert frozen_after(Watchdog(WatchdogConfig(), SPEC), sent=REST) == math.inf
    little = WatchdogConfig(moving=(Moving(command_above=0.6),))
    assert frozen_after(Watchdog(little, SPEC)) == math.inf


def test_deadlines_in_a_row():
    watchdog = Watchdog(WatchdogConfig(deadline_misses=5), SPEC)
    for missed in (3, 2, 0, 5, 0):
        watchdog.begin(0.0)
        watchdog.deadlines(missed)
        assert watchdog.active == 0
    watchdog.deadlines(2)
    with pytest.raises(SafeStopError, match="6 deadlines missed in a row"):
        watchdog.deadlines(4)


def test_a_new_episode_forgets():
    watchdog = Watchdog(WatchdogConfig(), SPEC)
    sense(watchdog, 0, 0.0, age=0.06)
    watchdog.reset(0.2)
    assert sense(watchdog, 0, 0.3, age=0.06) == "hold"


def test_every_fault_has_a_response():
    config = WatchdogConfig()
    assert {fault.label for fault in Fault if config.response(fault) == CONTINUE} == {
        "command_limit", "rate_limit", "workspace", "recorder"
    }  # fmt: skip
    assert config.response(Fault.CONNECTION).stop_after_s == 0.0
    assert "stale           hold    stops after 0.25 s" in describe(config)
    assert COMMANDS[:4] == ("policy", "hold", "rest", "stop")


def test_bad_configurations_are_refused():
    with pytest.raises(UnknownNameError, match="'observation'"):
        Watchdog(WatchdogConfig(moving=(Moving(channel="observations"),)), SPEC)
    with pytest.raises(ValueError, match="'panic'"):
        Response(meanwhile="panic")
    with pytest.raises(ValueError, match="stop_after_s"):
        Response(stop_after_s=math.nan)
    with pytest.raises(ValueError, match="nan_command to hold or rest"):
        WatchdogConfig(nan_command=CONTINUE)
    with pytest.raises(ValueError, match="stale_s"):
        WatchdogConfig(stale_s=0.0)
    with pytest.raises(ValueError, match="within_s"):
        Moving(within_s=-1.0)


def test_values_are_laid_out_in_the_specs_order():
    assert slices(SPEC) == {"observation": slice(0, 3), "position": slice(3, 5)}
    np.testing.assert_array_equal(flatten(SPEC, reading(3))[slices(SPEC)["position"]], moving(3)["position"])
