import numpy as np
import pytest

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.identification.layout import LogError
from cairngym.sim2real.identification.segments import cut
from cairngym.sim2real.identification.validation import overlapping
from cairngym.sim2real.robot import Channel, RobotLog, RobotSpec


def log(rows=100, *, drop=(), time=None, episode=None, command=None, q=None):
    keep = np.setdiff1d(np.arange(rows), drop)
    spec = RobotSpec(robot="x", control_dt=0.1, command=Channel(name="u", size=1, unit="1"), rest=(0.0,), sensors=())
    return RobotLog(
        spec=spec, time_s=(0.1 * np.arange(rows) if time is None else time)[keep],
        command=(np.zeros((rows, 1)) if command is None else command)[keep],
        sensors={"q": (np.arange(float(rows))[:, None] if q is None else q)[keep]},
        episode=(np.zeros(rows, int) if episode is None else episode)[keep],
    )  # fmt: skip


def test_gaps_cut_a_log_and_are_told():
    pieces, notes = cut(log(drop=(50, 51, 52)), channels=["q"])
    assert [len(piece) for piece in pieces] == [50, 47]
    assert pieces[1].sensors["q"][0, 0] == 53
    assert notes == ("log: cut at a gap of 0.4 s after 4.9 s",)


def test_one_lost_reading_is_a_gap_but_jitter_is_none():
    assert len(cut(log(drop=(50,)), channels=["q"])[0]) == 2
    jitter = 0.1 * np.arange(100) + np.random.default_rng(0).uniform(-0.02, 0.02, 100)
    assert len(cut(log(time=jitter), channels=["q"])[0]) == 1


def test_episodes_are_cut_even_where_time_goes_on_and_where_it_starts_again():
    episode = np.repeat([0, 1], 50)
    assert [len(one) for one in cut(log(episode=episode), channels=["q"])[0]] == [50, 50]
    again = np.tile(0.1 * np.arange(50), 2)
    assert [len(one) for one in cut(log(time=again, episode=episode), channels=["q"])[0]] == [50, 50]


def test_rows_without_a_command_end_a_piece():
    command = np.zeros((100, 1))
    command[[40, 41, 99]] = np.nan
    pieces, notes = cut(log(command=command), channels=["q"])
    assert [(one.sensors["q"][0, 0], len(one)) for one in pieces] == [(0, 40), (42, 57)]
    assert "cut at 3 rows without a command" in notes[0]


def test_missing_readings_stay_and_are_told():
    q = np.arange(100.0)[:, None].copy()
    q[10:15] = np.nan
    pieces, notes = cut(log(q=q), channels=["q"])
    assert len(pieces) == 1
    assert "q is missing in 5 of 100 rows" in notes[0]


def test_what_can_not_be_used_is_refused():
    with pytest.raises(LogError, match="at least 20 rows without a gap, got none in 10 rows"):
        cut(log(rows=10), channels=["q"])
    with pytest.raises(LogError, match=r"cut: log: cut at a gap"):
        cut(log(rows=45, drop=tuple(range(15, 45, 15))), channels=["q"])
    with pytest.raises(LogError, match="NaN in every row"):
        cut(log(q=np.full((100, 1), np.nan)), channels=["q"])
    with pytest.raises(LogError, match="infinite"):
        cut(log(q=np.full((100, 1), np.inf)), channels=["q"])
    with pytest.raises(UnknownNameError, match=r"channel of log 'qq'\. Did you mean 'q'"):
        cut(log(), channels=["qq"])
    with pytest.raises(LogError, match="finite time stamps"):
        cut(log(time=np.where(np.arange(100) == 7, np.nan, 0.1 * np.arange(100))), channels=["q"])


def test_short_pieces_are_left_out_with_a_note():
    pieces, notes = cut(log(drop=(10,)), channels=["q"])
    assert len(pieces) == 1
    assert "log[0:10]: left out, 10 rows are fewer than 20" in notes


def test_windows_share_their_lead_and_count_every_later_reading_once():
    (whole,), _ = cut(log(rows=47), channels=["q"])
    found = overlapping([whole], 1.0, 0.45)
    assert [(one.sensors["q"][0, 0], len(one)) for one in found] == [(0, 15), (10, 15), (20, 15), (30, 17)]
    compared = np.concatenate([one.sensors["q"][5:, 0] for one in found])
    np.testing.assert_array_equal(compared, np.arange(5, 47))
    assert [len(one) for one in overlapping([whole], 3.0, 0.45)] == [47]
    with pytest.raises(ValueError, match="at least 5 rows"):
        overlapping([whole], 0.3, 0.1)
