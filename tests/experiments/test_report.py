import csv
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from cairngym.experiments import report
from cairngym.experiments.analysis import (
    analyse,
    curve,
    overall_curve,
    reached_text,
    seconds_text,
    steps_text,
)
from cairngym.experiments.records import read_experiment
from cairngym.experiments.report import write_report
from cairngym.experiments.statistics import Reached

A, B = "Toy-A-v0", "Toy-B-v0"
PLOTS = {"success_steps", "success_seconds", "success_overall", "final_success", "improvement", "profile"}


class _Page(HTMLParser):
    """Collects links and pictures, and checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.pictures, self.problems = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [attributes["href"]] if "href" in attributes else []
        self.pictures += [attributes[key] for key in ("src", "srcset") if key in attributes]
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append((tag, self.getpos()))


@pytest.fixture
def blank(monkeypatch):
    """Pictures are one pixel, for what is about the words and links of a report that another test draws."""
    pixel = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()
    named = report.plots
    monkeypatch.setattr(
        report, "plots", lambda *args: [replace(plot, draw=lambda theme: pixel) for plot in named(*args)]
    )


@pytest.fixture
def toy(synthetic):
    return synthetic().write_all()


def _rows(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_report_has_all_its_parts(toy, blank):
    paths = write_report(toy.folder)
    assert {path.stem for path in paths.plots.glob("*.png")} == PLOTS | {f"terms_{A}", f"terms_{B}"}
    assert len(_rows(paths.results)) == 2 * 4 * 3
    assert len(_rows(paths.summary)) == 3 * 4
    for path in (paths.html, paths.markdown):
        text = path.read_text()
        for words in ("Toy comparison", "Illustrative", "3 seeds", "cairn compare toy", "Toy CPU", "2.13.0",
                      "Probability of improvement over sparse", "Performance profile", "Time to success"):  # fmt: skip
            assert words in text


def test_page_is_self_contained_and_its_links_lead_somewhere(toy, blank):
    page = _Page(write_report(toy.folder).html.read_text())
    assert page.problems == page.open == []
    assert len(page.pictures) == 2 * 8
    assert all(picture.startswith("data:image/png;base64,") for picture in page.pictures)
    assert not [link for link in page.links if "//" in link or link.startswith("/")]
    targets = {link for link in page.links if not link.startswith("#")}
    assert f"{A}/potential/seed_2/" in targets
    assert all((toy.folder / target).exists() for target in targets)


def test_markdown_shows_plots_that_exist_and_tables_that_line_up(toy, blank):
    paths = write_report(toy.folder)
    text = paths.markdown.read_text()
    shown = re.findall(r"!\[[^]]*\]\((\S+)\)", text)
    assert len(shown) == 8
    assert all((toy.folder / path).is_file() for path in shown)
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) >= 7
    for block in blocks:
        assert len({line.rstrip().count("|") for line in block.splitlines()}) == 1
        assert set(block.splitlines()[1]) <= set("|-: ")


def test_writing_again_gives_the_same_files(toy):
    def content(paths):
        files = [paths.html, paths.markdown, paths.results, paths.summary, *sorted(paths.plots.iterdir())]
        return {path.name: path.read_bytes() for path in files}

    assert content(write_report(toy.folder)) == content(write_report(toy.folder))
    assert not list(toy.folder.rglob("*.tmp"))


def test_numbers_in_the_csv_files(synthetic):
    toy = synthetic(tasks=(A,), variants=("sparse", "potential"))
    for seed, ends in enumerate((0.1, 0.2, 0.3)):
        toy.write_run(A, "sparse", seed, [0.0, 0.0, ends])
        toy.write_run(A, "potential", seed, [0.0, ends + 0.4, ends + 0.7])
    paths = write_report(toy.folder)
    summary = {row["variant"]: row for row in _rows(paths.summary)}
    assert float(summary["potential"]["final_success"]) == pytest.approx(0.9)
    assert float(summary["potential"]["final_success_low"]) == pytest.approx(0.8)
    assert float(summary["potential"]["probability_of_improvement"]) == 1.0
    assert summary["sparse"]["probability_of_improvement"] == ""
    assert (summary["potential"]["steps_to_50"], summary["potential"]["steps_to_50_reached"]) == ("500000.0", "3")
    assert (summary["sparse"]["steps_to_50"], summary["sparse"]["steps_to_50_reached"]) == ("", "0")
    last = _rows(paths.results)[-1]
    assert (last["variant"], last["seed"], last["steps_to_95"]) == ("potential", "2", "1000000.0")
    assert float(last["final_success_high"]) == 1.0
    assert float(last["final_success_low"]) == pytest.approx(0.025 ** (1 / 100))


def test_unfinished_runs_are_listed_and_do_not_count(toy):
    (toy.run_folder(A, "rnd", 1) / "summary.json").unlink()
    metrics = toy.run_folder(B, "sparse", 0) / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"phase"')
    for path in (paths := write_report(toy.folder)).html, paths.markdown:
        text = path.read_text()
        assert "23 of 24 runs have finished" in text
        assert "Toy-A-v0 / rnd / seed 1" in text
        assert "was half written and is left out" in text
    rnd = next(row for row in _rows(paths.summary) if (row["task"], row["variant"]) == (A, "rnd"))
    assert (rnd["finished"], rnd["planned"]) == ("2", "3")


@pytest.mark.parametrize(("code", "words"), [(3, "ended with exit code 3"), (-9, "was killed by signal 9")])
def test_failed_runs_are_shown_with_their_log(toy, code, words):
    folder = toy.run_folder(A, "rnd", 1)
    (folder / "summary.json").unlink()
    (folder / "failure.json").write_text(f'{{"returncode": {code}, "seconds": 1.0, "log": "elsewhere/log.txt"}}')
    (folder / "log.txt").write_text("ValueError: out of luck")
    paths = write_report(toy.folder)
    link = f"{A}/rnd/seed_1/log.txt"
    page, text = paths.html.read_text(), paths.markdown.read_text()
    assert f'failed</span>: {A} / rnd / seed 1; {words}; <a href="{link}">log.txt</a>' in page
    assert '<td class=" status failed">failed</td>' in page
    assert link in _Page(page).links
    assert f"- **failed**: {A} / rnd / seed 1; {words}; [log.txt]({link})" in text
    statuses = {(row["variant"], row["seed"]): row["status"] for row in _rows(paths.results) if row["task"] == A}
    assert statuses["rnd", "1"] == "failed"
    assert list(statuses.values()).count("failed") == 1


def test_a_run_that_failed_before_it_began_has_no_dead_links(synthetic):
    toy = synthetic(tasks=(A,), variants=("sparse",), seeds=2)
    toy.write_run(A, "sparse", 0)
    folder = toy.run_folder(A, "sparse", 1)
    folder.mkdir(parents=True)
    (folder / "failure.json").write_text('{"returncode": 2, "seconds": 0.1}')
    page = _Page(write_report(toy.folder).html.read_text())
    targets = {link for link in page.links if not link.startswith("#")}
    assert f"{A}/sparse/seed_1/" in targets
    assert all((toy.folder / target).exists() for target in targets)


def test_the_report_names_the_wrappers_of_a_variant(synthetic):
    toy = synthetic(tasks=(A,), variants=("sparse", "count"))
    plan = toy.folder / "comparison.yaml"
    wrappers = "wrappers: [{name: frame_stack, frames: 2}, {name: action_delay}]"
    plan.write_text(plan.read_text().replace("  count:\n", f"  count:\n    {wrappers}\n"))
    text = write_report(toy.folder).markdown.read_text()
    assert "| count | task reward + 0.1 * count, wrapped in frame_stack(frames=2), wrapped in action_delay |" in text


def test_a_comparison_that_has_just_begun_has_a_report(synthetic):
    toy = synthetic(tasks=(A,))
    toy.write_run(A, "potential", 0, [0.0, 0.5], finished=False)
    paths = write_report(toy.folder)
    assert "not started" in paths.html.read_text()
    assert {path.stem for path in paths.plots.glob("*.png")} == {"success_steps", "success_seconds", f"terms_{A}"}


def test_an_empty_experiment_has_a_report(synthetic):
    paths = write_report(synthetic(tasks=(A,)).folder)
    assert "0 of 12 runs have finished" in paths.markdown.read_text()
    assert _rows(paths.results) == []


def test_text_from_configs_is_escaped(synthetic):
    toy = synthetic(title="<script>alert(1)</script>", description="a & b").write_all()
    text = write_report(toy.folder).html.read_text()
    assert "<script>" not in text
    assert "a &amp; b" in text


def test_old_plots_go_with_what_they_showed(toy):
    paths = write_report(toy.folder)
    (paths.plots / "terms_Gone-v0.png").write_bytes(b"")
    write_report(toy.folder)
    assert not (paths.plots / "terms_Gone-v0.png").exists()


def test_enough_seeds_carry_no_label(synthetic):
    toy = synthetic(tasks=(A,), variants=("sparse", "count"), seeds=6, illustrative=False).write_all()
    text = write_report(toy.folder).markdown.read_text()
    assert "Illustrative" not in text
    assert "Few seeds" not in text


def test_curves_over_steps_and_seconds(synthetic):
    toy = synthetic(tasks=(A,), variants=("sparse",), seeds=2)
    toy.write_run(A, "sparse", 0, [0.0, 0.4, 0.8])
    toy.write_run(A, "sparse", 1, [0.2, 1.0])
    experiment = read_experiment(toy.folder)
    steps = curve(experiment, A, "sparse", "step")
    np.testing.assert_array_equal(steps.x, [0, 500_000, 1_000_000])
    np.testing.assert_allclose(steps.band.value, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(steps.band.low, [0.0, 0.4, 0.8])
    seconds = curve(experiment, A, "sparse", "wall_s")
    assert seconds.x[-1] == pytest.approx(1_000_000 / 12_000)
    assert seconds.band.value[-1] == pytest.approx(0.9)
    assert overall_curve(experiment, "sparse").band.value[25] == pytest.approx(0.5)


def test_an_unfinished_run_does_not_bend_the_curve_of_finished_ones(synthetic):
    toy = synthetic(tasks=(A,), variants=("sparse",), seeds=2)
    toy.write_run(A, "sparse", 0, [0.0, 1.0])
    toy.write_run(A, "sparse", 1, [0.0, 0.0], finished=False)
    found = curve(read_experiment(toy.folder), A, "sparse", "step")
    assert found.runs == 1
    np.testing.assert_allclose(found.band.value, [0.0, 1.0])


def test_improvement_uses_only_tasks_that_both_have_finished(toy):
    for seed in range(3):
        (toy.run_folder(B, "sparse", seed) / "summary.json").unlink()
    cells = analyse(read_experiment(toy.folder))
    assert cells[B, "potential"].improvement is None
    assert cells["all", "potential"].improvement.value == cells[A, "potential"].improvement.value


def test_numbers_in_words():
    assert [steps_text(n) for n in (0, 950, 1000, 820_000, 1_250_000, 3e9)] == [
        "0", "950", "1 k", "820 k", "1.25 M", "3 G",
    ]  # fmt: skip
    assert [seconds_text(n) for n in (7.44, 59.99, 125, 12_000)] == ["7.4 s", "1m 00s", "2m 05s", "3h 20m"]
    assert reached_text(Reached(None, 2e6, 1, 3), "steps") == "> 2 M (1/3)"
    assert reached_text(Reached(1.2e6, 1.2e6, 3, 3), "steps") == "1.2 M (3/3)"


def test_a_report_in_a_folder_of_its_own_links_to_no_run(toy, tmp_path):
    paths = write_report(toy.folder, tmp_path / "kept")
    assert paths.html.parent == tmp_path / "kept"
    assert (tmp_path / "kept" / "comparison.yaml").read_text() == (toy.folder / "comparison.yaml").read_text()
    page = _Page(paths.html.read_text())
    assert [link for link in page.links if not link.startswith("#") and not (tmp_path / "kept" / link).is_file()] == []
    linked = re.findall(r"\]\(([^)]+)\)", paths.markdown.read_text())
    assert linked
    assert [link for link in linked if not (tmp_path / "kept" / link).is_file()] == []
