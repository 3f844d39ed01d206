"""`cairn bench shapers` in small."""

import json

import pytest

from cairngym.experiments.benchmark_shapers import BARS, PLAIN, Benchmark, Learner, missed, options_of, run, summary


def small(**options):
    return Benchmark(
        **{"env": "MiniGrid-Empty-5x5-v0", "batch": 8, "rollout": 4, "rounds": 2, "shapers": ("rnd",), **options}
    )


def test_the_share_of_the_samples_that_train_is_kept_whole():
    options = options_of(Benchmark(), "e3b")
    assert options["max_batch"] == 1024 * 64 // 4
    assert (options["update_proportion"], options["features"]) == (0.25, 32)
    assert "features" not in options_of(Benchmark(), "rnd")
    assert options_of(Benchmark(), "count") == {}


def test_figures_are_ratios_of_medians():
    plain = Learner(agent=None, steps=100, cpu=[1.0, 2.0, 9.0], wall=[4.0])
    rnd = Learner(agent=None, steps=100, cpu=[2.5, 2.5, 2.5], wall=[5.0])
    figures = summary(small(), {PLAIN: plain, "rnd": rnd})
    assert figures["rnd"] == {"steps_per_second": 20.0, "added": pytest.approx(0.25)}
    assert missed(figures) == []
    assert missed({"rnd": {"added": BARS["rnd"] + 0.01}, "count": {"added": 0.04}}) == ["rnd"]
    on_a_gpu = summary(small(device="cuda"), {PLAIN: plain, "rnd": rnd})
    assert on_a_gpu["rnd"]["added"] == pytest.approx(0.25)


def test_it_prints_and_writes(tmp_path, capsys):
    path = tmp_path / "shapers.json"
    assert run(small(out=path, hold=False)) == 0
    assert "| rnd |" in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert record["figures"]["rnd"]["steps_per_second"] > 0
    assert record["shapers"]["rnd"]["max_batch"] == 8
