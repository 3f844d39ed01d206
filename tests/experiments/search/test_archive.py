"""The archive: what is written is read back, whole or not at all."""

import math
from dataclasses import replace

import pytest

from cairngym.experiments.records import RecordError
from cairngym.experiments.search.archive import Archive, Candidate, archived, best, read_archive, to_line
from cairngym.experiments.search.fitness import Course, Trial
from cairngym.reward_shaping.llm.findings import ComponentStatistics, Verdict, warning

COURSE = Course(values=(0.1, 0.2), least=0.1, mean=0.15, greatest=0.2)
TRIAL = Trial(
    rung=0, steps=10, fitness=0.5, runs={"1000": 0.5, "1001": None}, env_steps=20, promoted=True,
    components={"near": COURSE}, total=COURSE,
)  # fmt: skip


def one(name, round=1, **more):
    return Candidate(name=name, round=round, prompt="0123456789abcdef", **more)


def test_it_is_read_back(tmp_path):
    archive = Archive(tmp_path / "archive.jsonl")
    assert len(archive) == 0
    first = one("r1_c0", source="programs/r1_c0.py", verdict={"findings": []}, provenance={"source": "test"})
    archive.add([first, one("r1_c1", problem="line 1: no\n  such name")])
    archive.add_trials({"r1_c0": TRIAL})
    archive.add_trials({"r1_c0": replace(TRIAL, rung=1, fitness=0.75)})
    found = read_archive(tmp_path / "archive.jsonl")
    assert found == list(archive)
    assert found[0] == replace(first, trials=(TRIAL, replace(TRIAL, rung=1, fitness=0.75)))
    assert not found[1].accepted
    assert len((tmp_path / "archive.jsonl").read_text().splitlines()) == 2


def test_the_candidates_of_one_asking_are_told_apart(tmp_path):
    archive = Archive(tmp_path / "archive.jsonl")
    archive.add([one("r1_c0"), one("r1_c1", attempt=1), one("r2_c0", round=2)])
    assert [each.name for each in archive.select(1, 1)] == ["r1_c1"]


def test_a_verdict_is_archived_without_its_times():
    strange = ComponentStatistics(
        name="a", mean=0.1, std=0.0, minimum=0.1, maximum=0.1, share=1.0, correlation=math.nan
    )
    verdict = Verdict(accepted=True, findings=(warning("scale", "large"),), statistics=(strange,), wall_s=1.5)
    kept = archived(verdict)
    assert set(kept) == {"accepted", "findings", "statistics", "unchecked"}
    assert '"correlation": null' in to_line(one("r1_c0", verdict=kept))
    assert archived(None) is None


def test_the_best_is_the_earliest_of_the_fittest_on_the_rung():
    def at(name, *fitness):
        return one(name, trials=tuple(replace(TRIAL, rung=i, fitness=value) for i, value in enumerate(fitness)))

    candidates = [at("a", 0.9), at("b", 0.1, 0.4), at("c", 0.2, 0.6), at("d", 0.2, 0.6), at("e", 0.2, None)]
    assert best(candidates, 1).name == "c"
    assert best(candidates, 0).name == "a"
    assert best(candidates[:1], 1) is None
    assert best([at("z", 0.0, 0.0)], 1).name == "z"
    lively = one("f", trials=(replace(TRIAL, fitness=0.9, training_success=0.1),))
    assert best([*candidates, lively], 0).name == "f"


@pytest.mark.parametrize("line", ['{"name": ', "[]", '{"name": "a"}', '{"name": "a", "trials": [], "colour": 1}'])
def test_a_line_that_is_no_candidate_is_named(tmp_path, line):
    path = tmp_path / "archive.jsonl"
    path.write_text(to_line(one("r1_c0")) + line + "\n")
    with pytest.raises(RecordError, match=r"archive\.jsonl, line 2"):
        read_archive(path)
