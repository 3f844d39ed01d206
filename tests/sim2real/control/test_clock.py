import math
import time

import pytest
from robot_doubles import ScriptedClock

from cairngym.sim2real.control.age import ReadingAge
from cairngym.sim2real.control.clock import LockstepClock, MonotonicClock, Schedule
from cairngym.sim2real.control.latency import Latencies
from cairngym.sim2real.robot import Reading


def test_slots_do_not_drift_whatever_ticks_take(clock):
    schedule = Schedule(clock, 0.01)
    for k in range(1000):
        slot = schedule.wait()
        assert (slot.number, slot.skipped) == (k, 0)
        assert slot.start_s == slot.due_s == pytest.approx(100.0 + 0.01 * k, abs=1e-9)
        clock.advance(0.0001 * (k % 90))


def test_a_tick_that_overruns_is_followed_at_once_by_the_open_slot(clock):
    schedule = Schedule(clock, 0.01)
    schedule.wait()
    clock.advance(0.034)
    slot = schedule.wait()
    assert (slot.number, slot.skipped) == (3, 2)
    assert slot.start_s == pytest.approx(100.034)
    slot = schedule.wait()
    assert (slot.number, slot.skipped, slot.start_s) == (4, 0, pytest.approx(100.04))


def test_a_late_awakening_skips_what_has_passed():
    class Sleepy(ScriptedClock):
        def wait_until(self, due_s):
            super().wait_until(due_s + 0.025 if due_s > 100.005 else due_s)

    schedule = Schedule(Sleepy(), 0.01)
    assert schedule.wait().skipped == 0
    slot = schedule.wait()
    assert (slot.number, slot.skipped, slot.due_s, slot.start_s) == (
        3, 2, pytest.approx(100.03), pytest.approx(100.035)
    )  # fmt: skip


def test_a_restart_begins_the_next_slot_now(clock):
    schedule = Schedule(clock, 0.01)
    schedule.wait()
    clock.advance(5.0)
    schedule.restart()
    slot = schedule.wait()
    assert (slot.number, slot.skipped, slot.due_s) == (1, 0, 105.0)
    assert schedule.wait().due_s == pytest.approx(105.01)


def test_lockstep_time_is_never_late():
    clock = LockstepClock()
    schedule = Schedule(clock, 0.02)
    slots = [schedule.wait() for _ in range(100)]
    assert [slot.skipped for slot in slots] == [0] * 100
    assert clock.now() == pytest.approx(99 * 0.02)
    assert clock.stopwatch() != clock.now()


def test_the_monotonic_clock_is_never_early():
    clock = MonotonicClock()
    for _ in range(20):
        due = time.monotonic() + 0.002
        clock.wait_until(due)
        assert time.monotonic() >= due
    clock.wait_until(time.monotonic() - 1.0)


def at(k, *, delay=0.001, time_s=None):
    return Reading(
        sequence=k, time_s=7.0 + 0.01 * k if time_s is None else time_s, received_s=0.01 * k + delay, values={}
    )


def test_age_is_the_time_since_arrival_while_delays_are_steady():
    age = ReadingAge(5.0)
    assert age.at(0.0) == math.inf
    for k in range(10):
        age.take(at(k))
    assert age.at(0.1) == pytest.approx(0.1 - 0.091)


def test_what_arrives_late_is_old_although_it_has_just_arrived():
    age = ReadingAge(5.0)
    for k in range(10):
        age.take(at(k))
    late = at(10, delay=0.101)
    age.take(late)
    assert age.at(late.received_s) == pytest.approx(0.1)
    arrivals_only = ReadingAge(0.0)
    for reading in (at(9), late):
        arrivals_only.take(reading)
    assert arrivals_only.at(late.received_s) == 0.0


def test_time_stamps_that_stand_still_grow_old():
    age = ReadingAge(5.0)
    for k in range(100):
        age.take(at(k, time_s=7.0 + 0.01 * min(k, 50)))
    assert age.at(0.991) == pytest.approx(0.49)


def test_clocks_that_drift_apart_do_not_age_readings():
    age = ReadingAge(1.0)
    for k in range(20_000):
        age.take(at(k, time_s=0.9995 * 0.01 * k))
    assert age.at(199.991) < 2 * 1.0 * 0.0005 + 1e-6


def test_quantiles_are_right_within_a_percent():
    latencies = Latencies()
    for k in range(1, 1001):
        latencies.add(1e-5 * k)
    summary = latencies.summary()
    assert summary.p50 == pytest.approx(5e-3, rel=0.011)
    assert summary.p99 == pytest.approx(9.9e-3, rel=0.011)
    assert (summary.max, summary.count) == (1e-2, 1000)
    empty = Latencies().summary()
    assert math.isnan(empty.p50)
    assert empty.count == 0


def test_one_stall_among_many_shows_in_the_maximum_only():
    latencies = Latencies()
    for _ in range(999):
        latencies.add(1e-4)
    latencies.add(50.0)
    latencies.add(math.nan)
    assert latencies.summary().max == 50.0
    assert latencies.summary().p99 == pytest.approx(1e-4, rel=0.011)
