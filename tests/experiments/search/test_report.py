"""The report of a search, from its folder alone."""

from dataclasses import replace

import pytest
from searching import SMALL

from cairngym.experiments.overlay import write_yaml
from cairngym.experiments.search.archive import Archive, Candidate
from cairngym.experiments.search.fitness import Course, Trial
from cairngym.experiments.search.report import read_search, write_search_report

COURSE = Course(values=(0.1, 0.2), least=0.1, mean=0.15, greatest=0.2)


def trial(rung, fitness, **more):
    return Trial(
        rung=rung, steps=100, fitness=fitness, runs={"1000": fitness, "1001": fitness}, env_steps=1500, total=COURSE,
        components={"near": COURSE}, success=COURSE, **more,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "small"
    (folder / "programs").mkdir(parents=True)
    write_yaml(folder / "search.yaml", replace(SMALL, title="A | title", description="What for."))
    for name in ("r1_c0", "r2_c0"):
        (folder / "programs" / f"{name}.py").write_text(f"def reward(): ...  # {name}\n")
    written = {"source": "written by hand", "date": "2026-01-31", "note": "", "recording": ""}
    Archive(folder / "archive.jsonl").add([
        Candidate(name="r1_c0", round=1, prompt="a" * 16, source="programs/r1_c0.py", provenance=written,
                  model="written by hand", trials=(trial(0, 0.5), trial(1, 0.4))),
        Candidate(name="r1_c1", round=1, prompt="a" * 16, problem="line 1: no | such\n  name", repairs=2),
        Candidate(name="r2_c0", round=2, prompt="b" * 16, source="programs/r2_c0.py", parent="r1_c0", generic=True,
                  verdict={"accepted": True}, trials=(trial(0, 0.6), trial(1, 0.625, switched_off=1))),
        Candidate(name="r2_c1", round=2, prompt="b" * 16, generic=True, trials=(trial(0, None, problem="killed"),)),
    ])  # fmt: skip
    return folder


def test_it_says_everything_that_bears_on_the_result(folder):
    text = write_search_report(folder).read_text()
    assert text.startswith("# A | title\n\nWhat for.\n\n## Result\n")
    assert "has not been compared yet" in text
    assert "7.5 k env steps of training in 10 runs" in text
    assert "4 candidates, of which 3 were accepted" in text
    assert "0 prompts, repairs included: no tokens" in text
    assert "Written by: written by hand, 2026-01-31." in text
    assert "**No reflection**: r2_c0, r2_c1 answer a prompt without figures" in text
    assert "Switched off in training, for rewards that were not finite or exploded: r2_c0." in text
    assert "| r1_c0 | - | aaaaaaaa | accepted | 0.500 (2) | 0.400 (2) |" in text
    assert "| r1_c1 | - | aaaaaaaa | refused after 2 repairs: line 1: no \\| such name | - | - |" in text
    assert "| r2_c1 | - | bbbbbbbb (generic) | accepted; a run failed: killed | failed | - |" in text
    assert "def reward(): ...  # r2_c0" in text
    assert '- component "near": [0.1, 0.2]' in text
    assert (folder / "best.py").read_text() == "def reward(): ...  # r2_c0\n"
    assert (folder / "plots" / "fitness.png").read_bytes()[:4] == b"\x89PNG"


def test_an_early_stop_is_told(folder):
    (folder / "stopped.json").write_text('{"round": 2, "reason": "BudgetExhausted: all is spent"}\n')
    assert (
        "**Stopped early**, in round 2 of 2: BudgetExhausted: all is spent" in write_search_report(folder).read_text()
    )


def test_it_is_the_same_when_written_again(folder):
    write_search_report(folder)
    before = {path.name: path.read_bytes() for path in (folder / "report.md", folder / "plots" / "fitness.png")}
    write_search_report(folder)
    assert {path.name: path.read_bytes() for path in (folder / "report.md", folder / "plots" / "fitness.png")} == before


def test_it_can_be_kept_elsewhere(folder, tmp_path):
    report = write_search_report(folder, tmp_path / "results" / "small")
    kept = sorted(path.relative_to(report.parent).as_posix() for path in report.parent.rglob("*") if path.is_file())
    assert kept == ["archive.jsonl", "best.py", "plots/fitness.png", "report.md", "search.yaml"]


def test_a_search_that_has_not_begun_has_a_report_too(tmp_path):
    (tmp_path / "small").mkdir()
    write_yaml(tmp_path / "small" / "search.yaml", SMALL)
    assert "No candidate was made." in write_search_report(tmp_path / "small").read_text()
    assert read_search(tmp_path / "small").best is None
