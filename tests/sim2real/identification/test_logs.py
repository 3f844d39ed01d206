import json

import numpy as np
import pytest

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.identification.layout import LogError, LogLayout, Source, factor
from cairngym.sim2real.identification.log_csv import write_csv
from cairngym.sim2real.identification.log_mcap import write_mcap
from cairngym.sim2real.identification.logs import NOTES, read_log
from cairngym.sim2real.robot import Channel, RobotLog, RobotSpec

SPEC = RobotSpec(
    robot="arm", control_dt=0.02, command=Channel(name="action", size=2, unit="1", low=(-1.0,) * 2, high=(1.0,) * 2),
    rest=(0.0, 0.0), sensors=(Channel(name="qpos", size=2, unit="rad"), Channel(name="height", size=1, unit="m")),
)  # fmt: skip


def some_log(rows=40, seed=0):
    random = np.random.default_rng(seed)
    qpos = random.normal(size=(rows, 2))
    qpos[3, 1] = np.nan
    return RobotLog(
        spec=SPEC, time_s=1.0 + 0.02 * np.arange(rows), command=random.uniform(-1, 1, (rows, 2)),
        sensors={"qpos": qpos, "height": random.normal(size=(rows, 1))},
        episode=np.repeat([0, 1], [rows // 2, rows - rows // 2]),
    )  # fmt: skip


def same(found, log):
    np.testing.assert_array_equal(found.command, log.command)
    np.testing.assert_array_equal(found.episode, log.episode)
    assert set(found.sensors) == set(log.sensors)
    for name, values in log.sensors.items():
        np.testing.assert_array_equal(found.sensors[name], values)


def test_csv_comes_back_bit_for_bit(tmp_path):
    log = some_log()
    write_csv(log, tmp_path / "a.csv")
    found = read_log(tmp_path / "a.csv")
    same(found, log)
    np.testing.assert_array_equal(found.time_s, log.time_s)
    assert found.spec.control_dt == 0.02
    assert [channel.unit for channel in found.spec.sensors] == ["rad", "m"]


def test_mcap_comes_back(tmp_path):
    log = some_log()
    write_mcap(log, tmp_path / "a.mcap")
    found = read_log(tmp_path / "a.mcap")
    same(found, log)
    np.testing.assert_allclose(found.time_s, log.time_s, rtol=0, atol=1e-9)
    assert found.spec.robot == "arm"


def csv(path, text):
    path.write_text(text)
    return path


def rows(header, *, count=30, dt=0.02, scale=1.0, unit=1.0):
    lines = [f"{unit * dt * k!r},0.5,{scale * k!r}" for k in range(count)]
    return "\n".join([header, *lines])


def test_units_are_converted_with_a_note_and_others_refused(tmp_path):
    path = csv(tmp_path / "a.csv", rows("time [ms],command [1],qpos.0 [deg]", unit=1e3))
    log = read_log(path, expected={"qpos": "rad"})
    np.testing.assert_allclose(log.sensors["qpos"][:, 0], np.deg2rad(np.arange(30)))
    np.testing.assert_allclose(np.diff(log.time_s), 0.02)
    assert "a.csv: qpos converted from deg to rad" in log.meta[NOTES]
    with pytest.raises(LogError, match=r"'qpos' of a\.csv in m, or in a multiple of it, got deg"):
        read_log(path, expected={"qpos": "m"})
    with pytest.raises(LogError, match="got deg"):  # the file and the layout contradict each other
        read_log(path, layout=LogLayout(channels={"qpos": Source(key="qpos", unit="m")}))
    bare = read_log(csv(tmp_path / "b.csv", rows("time,command,qpos")), expected={"qpos": "rad"})
    assert "b.csv: qpos declares no unit; taken to be in rad" in bare.meta[NOTES]


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        ("mm", "m", 1e-3),
        ("rpm", "rad/s", 2 * np.pi / 60),
        ("deg", "deg", 1.0),
        ("m/s²", "m/s^2", 1.0),
        ("rev", "deg", 360),
    ],
)
def test_factors_between_units(given, wanted, expected):
    assert factor(given, wanted, "it") == pytest.approx(expected)


def test_wrong_rates_are_refused(tmp_path):
    text = "# control_dt: 0.01\n" + rows("time [s],command,qpos")
    with pytest.raises(LogError, match=r"0\.01 s apart, as it declares, got time stamps 0\.02 s apart"):
        read_log(csv(tmp_path / "a.csv", text))
    with pytest.raises(LogError, match="time stamps"):  # seconds that are milliseconds
        read_log(csv(tmp_path / "b.csv", "# control_dt: 0.02\n" + rows("time [s],command,qpos", unit=1e3)))
    assumed = read_log(csv(tmp_path / "c.csv", rows("time [s],command,qpos")))
    assert assumed.spec.control_dt == pytest.approx(0.02)
    assert "no control step declared" in assumed.meta[NOTES][0]


def test_falling_and_repeated_stamps_are_refused_with_their_row(tmp_path):
    lines = rows("time [s],command,qpos").split("\n")
    lines[5], lines[6] = lines[6], lines[5]
    with pytest.raises(LogError, match=r"got 0\.1 s in row 4 and 0\.08 s in row 5"):
        read_log(csv(tmp_path / "a.csv", "\n".join(lines)))
    lines[5] = lines[6]
    with pytest.raises(LogError, match="rising time stamps"):
        read_log(csv(tmp_path / "b.csv", "\n".join(lines)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time [s],command\n", "a header and rows"),
        ("time [s],command,q.0,q.2\n0,0,0,0\n", r"numbers 0 to 1 of 'q' in x.csv, got \[0, 2\]"),
        ("time [s],command,q.0 [rad],q.1 [deg]\n0,0,0,0\n", "one unit for the numbers of 'q'"),
        ("time [s],command,q\n0,0\n", "3 cells in row 0 of x.csv, got 2"),
        ("time [s],command,q\n0,0,fast\n", "numbers in row 0"),
        ("# control_dt: soon\ntime [s],command,q\n0,0,1\n", "seconds above 0"),
    ],
)
def test_broken_csv_is_refused(tmp_path, text, message):
    with pytest.raises(LogError, match=message):
        read_log(csv(tmp_path / "x.csv", text))


def test_missing_channels_name_the_nearest(tmp_path):
    path = csv(tmp_path / "a.csv", rows("time [s],command,wheel_angle"))
    with pytest.raises(UnknownNameError, match="Did you mean 'wheel_angle'"):
        read_log(path, layout=LogLayout(channels={"wheels": Source(key="wheel_angles")}))
    with pytest.raises(UnknownNameError, match="'command'"):
        read_log(csv(tmp_path / "b.csv", rows("time [s],comand,q")))
    with pytest.raises(UnknownNameError, match="Did you mean 'csv'"):
        read_log(path, format="cvs")
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_log(tmp_path / "none.csv")


def lerobot(folder, *, version="v3.0", fps=50):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    random = np.random.default_rng(0)
    features = {
        "observation.state": {"dtype": "float32", "shape": [3]}, "action": {"dtype": "float32", "shape": [2]},
        "observation.images.top": {"dtype": "video", "shape": [4, 4, 3]},
        "timestamp": {"dtype": "float32", "shape": [1]},
        "episode_index": {"dtype": "int64", "shape": [1]}, "frame_index": {"dtype": "int64", "shape": [1]},
    }  # fmt: skip
    (folder / "meta").mkdir(parents=True)
    info = {"codebase_version": version, "fps": fps, "robot_type": "so101", "features": features}
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    (folder / "data" / "chunk-000").mkdir(parents=True)
    states, actions = random.normal(size=(20, 3)), random.normal(size=(20, 2))
    for number in range(2):
        table = pyarrow.table({
            "observation.state": states[10 * number :][:10].tolist(), "action": actions[10 * number :][:10].tolist(),
            "timestamp": (np.arange(10) / 50).tolist(), "episode_index": [number] * 10, "frame_index": list(range(10)),
        })  # fmt: skip
        parquet.write_table(table, folder / "data" / "chunk-000" / f"file-{number:03d}.parquet")
    return states, actions


def test_lerobot_states_and_actions_are_read_over_files_and_episodes(tmp_path):
    states, actions = lerobot(tmp_path / "set")
    layout = LogLayout(channels={
        "joints": Source(key="observation.state", columns=(0, 2), unit="deg"), "all": Source(key="observation.state"),
    })  # fmt: skip
    log = read_log(tmp_path / "set", layout=layout, expected={"joints": "rad"})
    np.testing.assert_allclose(log.sensors["joints"], np.deg2rad(states[:, [0, 2]]))
    np.testing.assert_allclose(log.sensors["all"], states)
    np.testing.assert_allclose(log.command, actions)
    np.testing.assert_array_equal(log.episode, np.repeat([0, 1], 10))
    assert log.spec.control_dt == 0.02
    assert log.spec.robot == "so101"
    assert set(read_log(tmp_path / "set").sensors) == {"observation.state"}
    with pytest.raises(LogError, match=r"columns in \[0, 2\]"):
        read_log(tmp_path / "set", layout=LogLayout(channels={"q": Source(key="observation.state", columns=(3,))}))


def test_lerobot_of_another_version_or_rate_is_refused(tmp_path):
    lerobot(tmp_path / "old", version="v2.1")
    with pytest.raises(LogError, match=r"version 3, got v2\.1"):
        read_log(tmp_path / "old")
    lerobot(tmp_path / "slow", fps=25)
    with pytest.raises(LogError, match=r"0\.04 s apart, as it declares, got time stamps 0\.02"):
        read_log(tmp_path / "slow")


def test_minari_episodes_are_read(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    from gymnasium import spaces
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    random = np.random.default_rng(0)
    observations = [{"joints": random.normal(size=(n + 1, 2)), "goal": random.normal(size=(n + 1, 1))} for n in (5, 7)]
    actions = [random.uniform(-1, 1, (n, 1)) for n in (5, 7)]
    buffers = [
        EpisodeBuffer(
            id=k, observations=observations[k], actions=actions[k], rewards=[0.0] * len(actions[k]),
            terminations=[False] * len(actions[k]), truncations=[False] * (len(actions[k]) - 1) + [True], infos={},
        )
        for k in range(2)
    ]  # fmt: skip
    box = {"joints": spaces.Box(-9, 9, (2,), float), "goal": spaces.Box(-9, 9, (1,), float)}
    minari.create_dataset_from_buffers(
        "arm/test-v0", buffers, action_space=spaces.Box(-1, 1, (1,), float), observation_space=spaces.Dict(box),
    )  # fmt: skip
    log = read_log("minari:arm/test-v0", layout=LogLayout(control_dt=0.1))
    np.testing.assert_allclose(
        log.sensors["observation/joints"], np.concatenate([one["joints"] for one in observations])
    )
    np.testing.assert_array_equal(log.episode, np.repeat([0, 1], [6, 8]))
    np.testing.assert_allclose(log.command[:5], actions[0])
    np.testing.assert_allclose(log.command[5], actions[0][-1])
    with pytest.raises(LogError, match="control_dt in the layout"):
        read_log("minari:arm/test-v0")
    with pytest.raises(LogError, match="arm/none-v0"):
        read_log("minari:arm/none-v0", layout=LogLayout(control_dt=0.1))


def test_mcap_topics_and_fields_are_chosen_by_the_layout(tmp_path):
    writer_module = pytest.importorskip("mcap.writer")
    with (tmp_path / "a.mcap").open("wb") as stream:
        writer = writer_module.Writer(stream)
        writer.start()
        schema = writer.register_schema(name="x", encoding="jsonschema", data=b"{}")
        ids = {topic: writer.register_channel(topic=topic, message_encoding="json", schema_id=schema)
               for topic in ("/joint_states", "/cmd")}  # fmt: skip
        for k in range(30):
            for topic, message in (
                ("/joint_states", {"position": [float(k), -1.0], "velocity": [1.0, 2.0]}),
                ("/cmd", {"data": [0.1 * k]}),
            ):  # fmt: skip
                if topic == "/cmd" or k != 10:
                    stamp = int(k * 1e7) + (topic == "/cmd") * 1_000_000
                    data = json.dumps(message).encode()
                    writer.add_message(channel_id=ids[topic], log_time=stamp, publish_time=stamp, data=data)
        writer.finish()
    channels = {"q": Source(key="/joint_states.position"), "v": Source(key="/joint_states.velocity", columns=(1,))}
    layout = LogLayout(command=Source(key="/cmd.data"), channels=channels)
    log = read_log(tmp_path / "a.mcap", layout=layout)
    assert log.sensors["q"].shape == (30, 2)
    assert log.sensors["q"][7, 0] == 7
    assert log.sensors["q"][10, 0] == 9  # a lost message leaves its predecessor, a control step old
    np.testing.assert_allclose(log.command[:, 0], 0.1 * np.arange(30))
    assert log.spec.control_dt == pytest.approx(0.01)
    with pytest.raises(UnknownNameError, match="Did you mean 'position'"):
        read_log(tmp_path / "a.mcap", layout=LogLayout(
            command=Source(key="/cmd.data"), channels={"q": Source(key="/joint_states.positions")}))  # fmt: skip
    (tmp_path / "b.mcap").write_bytes(b"not at all")
    with pytest.raises(LogError, match="MCAP file with JSON"):
        read_log(tmp_path / "b.mcap")


def test_flight_logs_of_the_control_loop_are_read(tmp_path):
    from cairngym.sim2real.control.flight_log import record_type
    from cairngym.sim2real.control.recorder import FlightRecorder

    log = some_log()
    with FlightRecorder(tmp_path / "flight.log", SPEC, period_s=0.02) as recorder:
        for row in range(len(log)):
            one = np.zeros(1, dtype=record_type(SPEC))
            one["fresh"], one["time_s"], one["episode"] = 1, log.time_s[row], log.episode[row]
            one["command"] = log.command[row]
            one["sensors"] = np.concatenate([log.sensors[name][row] for name in ("qpos", "height")])
            recorder.record(one)
    found = read_log(tmp_path / "flight.log")
    same(found, log)
    assert found.spec == SPEC
    (tmp_path / "other.log").write_bytes(b"not at all\n")
    with pytest.raises(ValueError, match=r"other\.log"):
        read_log(tmp_path / "other.log")
