"""The record, its mirrors, and the run folder's files."""

import errno
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cairngym.experiments.config import RunConfig, SinkConfig
from cairngym.experiments.runfolder import DiskFullError, FolderInUseError, RunFolder
from cairngym.experiments.sinks import JsonlSink, Sinks, open_sinks

RUN = RunConfig(task="Chain-N10-v0", sinks=SinkConfig(tensorboard=True))


class Collect:
    def __init__(self, fail: bool = False):
        self.logged, self.saved, self.closed, self.fail = [], [], False, fail

    def log(self, metrics, step):
        if self.fail:
            raise RuntimeError("service away")
        self.logged.append((dict(metrics), step))

    def save(self, path):
        self.saved.append(path)

    def close(self):
        self.closed = True


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_strict_json_and_complete_at_once(tmp_path):
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    sink.log({"phase": "train", "a": np.float32(0.5), "b": torch.tensor(2), "c": math.nan, "d": None}, 10)
    assert read(tmp_path / "metrics.jsonl") == [{"phase": "train", "a": 0.5, "b": 2, "c": None, "d": None, "step": 10}]
    sink.close()
    again = JsonlSink(tmp_path / "metrics.jsonl")
    again.log({"phase": "eval"}, 20)
    assert [line["step"] for line in read(tmp_path / "metrics.jsonl")] == [10, 20]


def test_a_full_disk_leaves_whole_lines_and_says_what_to_do(tmp_path):
    sink = JsonlSink(tmp_path / "metrics.jsonl")
    sink.log({"phase": "train"}, 1)

    class Full:
        def __init__(self, inner):
            self.inner = inner

        def write(self, data):
            self.inner.write(data[:5])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.inner, name)

    sink._file = Full(sink._file)
    with pytest.raises(DiskFullError, match=r"is full.*intact.*Free some space.*goes on from its last checkpoint"):
        sink.log({"phase": "train"}, 2)
    assert [line["step"] for line in read(tmp_path / "metrics.jsonl")] == [1]


def test_a_mirror_that_fails_is_dropped_and_the_record_goes_on(tmp_path):
    good, bad = Collect(), Collect(fail=True)
    sinks = Sinks(JsonlSink(tmp_path / "metrics.jsonl"), [bad, good])
    with pytest.warns(UserWarning, match="Collect failed and is left out from here on: service away"):
        sinks.log({"x": 1.0}, 1)
    sinks.log({"x": 2.0}, 2)
    sinks.save(tmp_path / "config.yaml")
    sinks.close()
    assert [step for _, step in good.logged] == [1, 2]
    assert good.saved == [tmp_path / "config.yaml"]
    assert (good.closed, bad.closed, bad.saved) == (True, False, [])
    assert len(read(tmp_path / "metrics.jsonl")) == 2


def test_tensorboard_mirrors_every_number(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sinks = open_sinks(RUN, tmp_path)
    sinks.log({"phase": "eval", "success": 0.25, "note": "text"}, 100)
    sinks.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["eval/success"]
    (scalar,) = events.Scalars("eval/success")
    assert (scalar.step, scalar.value) == (100, 0.25)


def test_wandb_gets_one_dictionary_a_log(tmp_path, monkeypatch):
    import wandb

    calls = []

    class Fake:
        def define_metric(self, *args, **kwargs):
            pass

        def log(self, metrics):
            calls.append(metrics)

        def finish(self):
            calls.append("finished")

    def init(**options):
        calls.append(options)
        return Fake()

    monkeypatch.setattr(wandb, "init", init)
    run = RunConfig(task="Chain-N10-v0", seed=3, sinks=SinkConfig(wandb="offline"))
    sinks = open_sinks(run, tmp_path)
    sinks.log({"phase": "train", "loss/value": 1.0}, 7)
    sinks.close()
    assert (calls[0]["mode"], calls[0]["config"]["seed"]) == ("offline", 3)
    assert calls[0]["id"] == "adhoc-Chain-N10-v0-sparse-seed_3"
    assert calls[1:] == [{"train/loss/value": 1.0, "step": 7}, "finished"]


def test_sinks_are_off_by_default(tmp_path):
    sinks = open_sinks(RunConfig(task="x"), tmp_path)
    sinks.log({"a": 1}, 1)
    sinks.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_metrics_are_cut_back_to_a_step_and_to_whole_lines(tmp_path):
    place = RunFolder(tmp_path / "run")
    lines = [{"phase": "train", "step": step} for step in (10, 20, 20, 30)]
    place.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"phase": "tr')
    assert place.cut_metrics(100) == 4
    assert place.last_metrics()["step"] == 30
    assert place.cut_metrics(20) == 3
    assert [line["step"] for line in read(place.metrics)] == [10, 20, 20]
    assert place.cut_metrics(0) == 0
    assert place.last_metrics() == {}


def test_last_metrics_looks_past_a_half_written_line(tmp_path):
    place = RunFolder(tmp_path / "run")
    place.metrics.write_text('{"phase": "eval", "step": 1}\n{"phase": "train", "step": 2}\n{"phase": "ev')
    assert place.last_metrics()["step"] == 2
    assert place.last_metrics("eval")["step"] == 1


def test_a_folder_has_one_trainer_at_a_time(tmp_path):
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    busy = pytest.raises(FolderInUseError, match="Another process is training in")
    with first.lock(), busy, second.lock(patience=0.2):
        pass
    with second.lock(patience=0.2):
        assert (tmp_path / "run" / ".lock").exists()
