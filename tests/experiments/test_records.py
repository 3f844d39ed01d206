import json

import numpy as np
import pytest

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.records import RecordError, read_experiment, read_metrics


@pytest.fixture
def toy(synthetic):
    return synthetic(tasks=("Toy-A-v0",), variants=("sparse", "count"), seeds=2).write_all()


def _metrics(toy, seed=0):
    return toy.run_folder("Toy-A-v0", "count", seed) / "metrics.jsonl"


def _run(toy, seed=0):
    experiment = read_experiment(toy.folder)
    return next(run for run in experiment.runs if (run.variant, run.seed) == ("count", seed))


def test_finished_runs_are_read_in_the_order_of_the_plan(toy):
    experiment = read_experiment(toy.folder)
    assert [run.name for run in experiment.runs] == [
        f"Toy-A-v0 / {variant} / seed {seed}" for variant in ("sparse", "count") for seed in (0, 1)
    ]
    assert {run.status for run in experiment.runs} == {"finished"}
    assert experiment.missing == experiment.strangers == ()
    assert experiment.plan.illustrative


def test_numbers_of_a_run(toy):
    run = _run(toy)
    success = toy.learning_curve("Toy-A-v0", "count", 0)
    np.testing.assert_array_equal(run.evaluations.success, success)
    np.testing.assert_array_equal(run.evaluations.step, np.linspace(0, 1_000_000, 21).astype(int))
    assert run.evaluations.wall_s[-1] == pytest.approx(1_000_000 / 9_000)
    assert (run.final.success, run.final.successes, run.final.episodes) == (success[-1], round(success[-1] * 100), 100)
    np.testing.assert_allclose(run.terms["count"].value, 0.3 * (1 - np.array(success)) + 0.01)
    assert run.last_step == run.steps == 1_000_000


def test_tasks_with_a_slash_live_in_a_folder_without_one(synthetic):
    toy = synthetic(tasks=("user/Task-v0",), seeds=1).write_all()
    assert {run.task for run in read_experiment(toy.folder).runs} == {"user/Task-v0"}


def test_the_baseline_comes_first_among_variants(synthetic):
    toy = synthetic(variants=("count", "sparse", "rnd"))
    assert read_experiment(toy.folder).variants == ("sparse", "count", "rnd")


def test_unfinished_failed_and_missing_runs_are_told_apart(synthetic):
    toy = synthetic(tasks=("Toy-A-v0",), variants=("sparse", "count"), seeds=2)
    toy.write_run("Toy-A-v0", "sparse", 0)
    toy.write_run("Toy-A-v0", "sparse", 1, finished=False)
    failed = toy.write_run("Toy-A-v0", "count", 0, finished=False)
    (failed / "failure.json").write_text(json.dumps({"returncode": 3, "seconds": 1.0}))
    experiment = read_experiment(toy.folder)
    assert [run.status for run in experiment.runs] == ["finished", "unfinished", "failed"]
    assert experiment.missing == ("Toy-A-v0 / count / seed 1",)
    assert experiment.runs[1].final is None
    assert len(experiment.runs[1].evaluations) == 21
    assert experiment.runs[2].notes == ("ended with exit code 3",)
    assert [run.seed for run in experiment.select("Toy-A-v0", "sparse")] == [0]
    assert [run.seed for run in experiment.select("Toy-A-v0", "sparse", finished=False)] == [0, 1]


def test_a_folder_made_a_moment_ago_is_an_unfinished_run(synthetic):
    toy = synthetic(tasks=("Toy-A-v0",), variants=("sparse",), seeds=1)
    toy.run_folder("Toy-A-v0", "sparse", 0).mkdir(parents=True)
    (run,) = read_experiment(toy.folder).runs
    assert (run.status, run.last_step, run.wall_s, len(run.evaluations), run.terms) == ("unfinished", 0, 0.0, 0, {})


def test_runs_outside_the_plan_are_named_and_left_out(toy):
    other = toy.folder / "Toy-A-v0" / "older" / "seed_0"
    other.mkdir(parents=True)
    experiment = read_experiment(toy.folder)
    assert experiment.strangers == (other,)
    assert all(run.variant != "older" for run in experiment.runs)


@pytest.mark.parametrize("end", ['{"phase": "eval", "st', '{"phase": "eval", "step": 99, "succ\n', "\x00\x00"])
def test_a_half_written_last_line_is_cut_off_and_mentioned(toy, end):
    path = _metrics(toy)
    path.write_text(path.read_text() + end)
    run = _run(toy)
    assert len(run.evaluations) == 21
    assert run.notes == ("the last line of metrics.jsonl (43) was half written and is left out",)


def test_a_broken_line_in_the_middle_names_file_and_line(toy):
    lines = _metrics(toy).read_text().splitlines()
    lines[4] = lines[4][:20]
    _metrics(toy).write_text("\n".join(lines))
    with pytest.raises(RecordError, match=r"JSON object in .*metrics\.jsonl, line 5, got"):
        read_experiment(toy.folder)


@pytest.mark.parametrize("line", ["[1]", '{"step": 3}', '{"phase": "eval"}', '{"phase": "eval", "step": 2.5}'])
def test_lines_of_another_form_are_refused(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(RecordError, match=r"phase and integer step in .*line 1"):
        read_metrics(path)


def test_steps_that_go_back_are_refused(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"phase": "train", "step": 8}\n{"phase": "train", "step": 4}\n')
    with pytest.raises(RecordError, match="got 4 after 8 in line 2"):
        read_metrics(path)


def test_an_evaluation_repeated_at_the_same_step_counts_once(toy):
    path = _metrics(toy)
    last = json.loads(path.read_text().splitlines()[-1])
    path.write_text(path.read_text() + json.dumps(last | {"success": 0.125}) + "\n")
    run = _run(toy)
    assert len(run.evaluations) == 21
    assert run.evaluations.success[-1] == 0.125


@pytest.mark.parametrize("value", [None, float("nan")])
def test_an_evaluation_without_success_is_refused(toy, value):
    path = _metrics(toy)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["success"] = value
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(RecordError, match=r"number 'success' in every evaluation .* step 1000000"):
        read_experiment(toy.folder)


def test_metrics_without_evaluations_or_without_file_are_no_error(toy):
    lines = [line for line in _metrics(toy).read_text().splitlines() if '"train"' in line]
    _metrics(toy).write_text("\n".join(lines) + "\n")
    assert len(_run(toy).evaluations) == 0
    _metrics(toy).unlink()
    run = _run(toy)
    assert run.status == "finished"
    assert run.last_step == 0


def test_a_summary_without_final_numbers_is_refused(toy):
    path = _metrics(toy).with_name("summary.json")
    summary = json.loads(path.read_text())
    del summary["final"]["success_greedy"]
    path.write_text(json.dumps(summary))
    with pytest.raises(RecordError, match=r"numbers under final for success_greedy in .*summary\.json"):
        read_experiment(toy.folder)
    path.write_text("{")
    with pytest.raises(RecordError, match=r"Expected JSON in .*summary\.json"):
        read_experiment(toy.folder)


def test_a_run_in_the_wrong_place_is_refused(toy):
    path = _metrics(toy).with_name("config.yaml")
    path.write_text(path.read_text().replace("seed: 0", "seed: 5"))
    with pytest.raises(RecordError, match=r"Expected seed 0 in .*config\.yaml, got 5"):
        read_experiment(toy.folder)


def test_folders_that_are_no_experiment_are_refused(tmp_path, toy):
    for folder in (tmp_path / "nowhere", _metrics(toy).parent):
        with pytest.raises(FileNotFoundError, match=r"experiment folder with a comparison\.yaml"):
            read_experiment(folder)
    (toy.folder / "comparison.yaml").write_text("tasks: [\n")
    with pytest.raises(ConfigError, match=r"comparison\.yaml.*not readable as YAML"):
        read_experiment(toy.folder)


def test_a_baseline_that_is_no_variant_is_refused(synthetic):
    toy = synthetic(baseline="spars")
    with pytest.raises((UnknownNameError, ConfigError), match="Did you mean 'sparse'"):
        read_experiment(toy.folder)
