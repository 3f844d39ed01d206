import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from robot_doubles import REST, SPEC

from cairngym.sim2real.control import recorder as recorders
from cairngym.sim2real.control.faults import Fault
from cairngym.sim2real.control.flight_log import note_records, read_flight_log, record_type, seal
from cairngym.sim2real.control.recorder import FlightRecorder


def row(k, *, fresh=True):
    """The record of tick k, whose numbers all tell k."""
    one = np.zeros(1, dtype=record_type(SPEC))
    for name in one.dtype.names:
        one[name] = k
    one["kind"], one["fresh"], one["episode"], one["sensors"] = 0, fresh, k // 10, k + 0.1 * np.arange(5)
    one["source"], one["over"], one["success"], one["crc"] = k % 5, 0, 0, 0
    return one


@pytest.fixture
def path(tmp_path):
    return tmp_path / "flight.log"


def write(path, count, **options):
    with FlightRecorder(path, SPEC, period_s=0.005, **options) as recorder:
        for k in range(count):
            recorder.record(row(k, fresh=k % 3 != 1))
        recorder.note("stale: reading 7 is 0.300 s old ✓")
    return recorder


def test_a_log_holds_what_was_recorded(path):
    recorder = write(path, 30, meta={"policy": "p.onnx"})
    log = read_flight_log(path)
    assert (recorder.written, recorder.dropped, recorder.error) == (31, 0, None)
    assert log.spec == SPEC
    assert log.period_s == 0.005
    assert log.meta["policy"] == "p.onnx"
    assert "numpy" in log.meta["versions"]
    assert log.ticks["slot"].tolist() == list(range(30))
    assert log.notes == ("stale: reading 7 is 0.300 s old ✓",)
    assert (log.torn_bytes, log.damaged) == (0, 0)


def test_the_rows_of_a_log_are_the_ticks_with_new_readings(path):
    write(path, 30)
    log = read_flight_log(path)
    new = [k for k in range(30) if k % 3 != 1]
    assert log.rows.tolist() == log.time_s.tolist() == new
    assert log.episode.tolist() == [k // 10 for k in new]
    assert len(log) == 20
    np.testing.assert_allclose(log.command, np.array(new)[:, None] * np.ones(2))
    np.testing.assert_allclose(log.sensors["observation"], np.array(new)[:, None] + [0.0, 0.1, 0.2])
    np.testing.assert_allclose(log.sensors["position"], np.array(new)[:, None] + [0.3, 0.4])


def test_flags_can_be_asked_for(path):
    write(path, 9)
    log = read_flight_log(path)
    assert np.flatnonzero(log.flagged(Fault.FROZEN)).tolist() == [2, 3, 6, 7]


def test_a_log_cut_anywhere_loses_the_torn_record_only(path):
    write(path, 4)
    content, size = path.read_bytes(), record_type(SPEC).itemsize
    header = content.index(b"\n") + 1
    for length in range(header, header + 4 * size + 1):
        path.write_bytes(content[:length])
        log = read_flight_log(path)
        assert log.ticks["slot"].tolist() == list(range((length - header) // size))
        assert log.torn_bytes == (length - header) % size
        assert log.damaged == 0


def test_damaged_records_are_left_out(path):
    write(path, 10)
    content = bytearray(path.read_bytes())
    content[content.index(b"\n") + 1 + 3 * record_type(SPEC).itemsize + 40] ^= 1
    path.write_bytes(content)
    log = read_flight_log(path)
    assert log.ticks["slot"].tolist() == [0, 1, 2, *range(4, 10)]
    assert log.damaged == 1


def test_long_notes_are_spread_over_records(path):
    text = "why? " * 400 + "because"
    with FlightRecorder(path, SPEC, period_s=0.005) as recorder:
        recorder.note(text)
        recorder.record(row(0))
        recorder.note("")
    log = read_flight_log(path)
    assert log.notes == (text, "")
    assert len(log.ticks) == 1
    assert len(note_records(text, 64)) % 64 == 0


def test_sealing_twice_changes_nothing():
    once = seal(row(3).tobytes())
    assert seal(once) == once != row(3).tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"time,x,y\n0,1,2\n", "flight log"),
        (b"", "flight log"),
        (b'{"format": "cairngym-flight-log", "version": 1', "flight log"),
        (b'{"format": "cairngym-flight-log", "version": 9}\n', "version 1"),
        (b'{"format": "cairngym-flight-log", "version": 1}\n', "channels"),
        (b"\x00\xff" * 100, "flight log"),
    ],
)
def test_other_files_are_refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_flight_log(path)


def test_other_columns_are_refused(path):
    write(path, 1)
    line, _, rest = path.read_bytes().partition(b"\n")
    header = json.loads(line)
    header["columns"][1][0] = "number"
    path.write_bytes(json.dumps(header).encode() + b"\n" + rest)
    with pytest.raises(ValueError, match="columns"):
        read_flight_log(path)


def test_a_log_that_is_there_is_kept(path):
    write(path, 2)
    with pytest.raises(FileExistsError, match="overwrite"):
        write(path, 3)
    assert len(read_flight_log(path).ticks) == 2
    write(path, 3, overwrite=True)
    assert len(read_flight_log(path).ticks) == 3


def test_a_place_that_can_not_be_written_is_told_at_once(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        FlightRecorder(tmp_path / "nowhere" / "x.log", SPEC, period_s=0.005)
    for overwrite in (False, True):
        with pytest.raises(OSError, match="ordinary file"):
            FlightRecorder(tmp_path, SPEC, period_s=0.005, overwrite=overwrite)
    assert tmp_path.is_dir()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_disk_that_is_full_from_the_beginning_is_told_at_once(path, monkeypatch, overwrite):
    if overwrite:
        path.write_bytes(b"")
    limited_write(monkeypatch, 10)
    with pytest.raises(OSError, match="space"):
        FlightRecorder(path, SPEC, period_s=0.005, overwrite=overwrite)
    assert path.exists() == overwrite  # what was there before is never removed


def limited_write(monkeypatch, room):
    """Let the recorder's files grow by `room` bytes more; the disk is full then, in the middle of a record."""
    true_write, left = os.write, [room]

    class System:
        def __getattr__(self, name):
            return getattr(os, name)

        def write(self, file, data):
            if left[0] == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            count = true_write(file, bytes(data[: left[0]]))
            left[0] -= count
            return count

    monkeypatch.setattr(recorders, "os", System())


def test_a_full_disk_ends_the_log_with_a_whole_record(path, monkeypatch):
    recorder = FlightRecorder(path, SPEC, period_s=0.005)
    limited_write(monkeypatch, int(3.5 * recorder.dtype.itemsize))
    for k in range(10):
        recorder.record(row(k))
    recorder.close()
    recorder.record(row(10))
    log = read_flight_log(path)
    assert log.ticks["slot"].tolist() == [0, 1, 2]
    assert (log.torn_bytes, log.damaged) == (0, 0)
    assert "space" in recorder.error
    assert (recorder.written, recorder.dropped) == (3, 8)


def test_a_full_queue_drops_and_counts(path, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(
        FlightRecorder, "_drain", lambda self, drain=FlightRecorder._drain: (gate.wait(30), drain(self))
    )
    with FlightRecorder(path, SPEC, period_s=0.005, capacity=8) as recorder:
        for k in range(20):
            recorder.record(row(k))
        assert recorder.dropped == 12
        gate.set()
    assert recorder.written == 8
    assert read_flight_log(path).ticks["slot"].tolist() == list(range(8))


KILLED = textwrap.dedent("""
    import sys, time
    import numpy as np
    sys.path.insert(0, sys.argv[2])
    from robot_doubles import SPEC
    from cairngym.sim2real.control.recorder import FlightRecorder

    recorder = FlightRecorder(sys.argv[1], SPEC, period_s=0.005, flush_s=0.01)
    one = np.zeros(1, dtype=recorder.dtype)
    for k in range(10**9):
        one["slot"] = k
        recorder.record(one)
        if recorder.written > 500:
            print("go", flush=True)
        time.sleep(0.0005)
""")


def test_a_killed_process_leaves_a_readable_log(path):
    command = [sys.executable, "-c", KILLED, str(path), os.path.dirname(__file__)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"go\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    log = read_flight_log(path)
    assert len(log.ticks) > 500
    assert log.ticks["slot"].tolist() == list(range(len(log.ticks)))
    assert log.damaged == 0


def test_rest_is_part_of_the_header(path):
    write(path, 1)
    assert read_flight_log(path).spec.rest == tuple(REST)
