"""`cairn bench oni` in small."""

import json

import pytest

from cairngym.experiments.benchmark_oni import ANNOTATED, PLAIN, UNANNOTATED, Benchmark, measure, run, summary


def small(**options):
    return Benchmark(
        **{
            "env": "MiniGrid-ObstructedMaze-1Dlhb-v0",
            "batch": 16,
            "rollout": 16,
            "rounds": 3,
            "latency": 0.0,
            **options,
        }
    )


def test_the_annotated_learner_is_asked_all_the_time_and_the_other_never():
    made = measure(small())
    assert [len(learner.seconds) for learner in made.values()] == [3, 3, 3]
    figures = summary(made)
    assert figures["annotated_over_unannotated"] == pytest.approx(
        figures["steps_per_second"][ANNOTATED] / figures["steps_per_second"][UNANNOTATED]
    )
    assert made[PLAIN].shaper is None
    assert made[UNANNOTATED].shaper.known == {}
    assert len(made[ANNOTATED].shaper.vocabulary) > 3
    assert len(made[ANNOTATED].shaper.annotation.collect()) + len(made[ANNOTATED].shaper.known) > 0
    made[ANNOTATED].shaper.close()


def test_it_prints_writes_and_holds_its_bar(tmp_path, capsys):
    path = tmp_path / "oni.json"
    assert run(small(out=path, bar=0.0)) == 0
    assert "Annotated / unannotated" in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert record["annotated_over_unannotated"] > 0
    assert run(small(bar=1e9)) == 1
