from cairngym.sim2real.twin.metronome import Metronome


def test_beats_do_not_drift():
    clock = Metronome(0.25)
    clock.start(10.0)
    assert not clock.beat(10.2)
    assert clock.beat(10.3)
    assert clock.next_s == 10.5  # not 10.55
    assert clock.beat(10.5)
    assert (clock.beats, clock.overruns, clock.skipped) == (2, 0, 0)
    assert abs(clock.worst_s - 0.05) < 1e-9


def test_late_beats_are_caught_up_and_counted():
    clock = Metronome(1.0, patience=5)
    clock.start(0.0)
    beats = 0
    while clock.beat(4.5):
        beats += 1
    assert beats == 4
    assert clock.overruns == 3  # 3.5, 2.5 and 1.5 late; the last by half a period
    assert clock.skipped == 0


def test_very_late_beats_are_skipped():
    clock = Metronome(1.0, patience=5)
    clock.start(0.0)
    assert clock.beat(100.25)
    assert clock.skipped == 99
    assert not clock.beat(100.5)
    assert clock.next_s == 101.0
