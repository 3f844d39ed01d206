import pytest

from cairngym.envs.checks import UnknownNameError
from cairngym.experiments.analysis import analyse, measure
from cairngym.experiments.check import METRICS, Threshold, check_comparison, render_checks
from cairngym.experiments.records import read_experiment

A, B = "Toy-A-v0", "Toy-B-v0"


@pytest.fixture
def toy(synthetic):
    """One task where potential is at 0.8 after 500 k steps in two of three seeds, and sparse never is."""
    toy = synthetic(tasks=(A,), variants=("sparse", "potential"))
    for seed, success in enumerate(([0, 0.1, 0.2], [0, 0.0, 0.1], [0, 0.2, 0.3])):
        toy.write_run(A, "sparse", seed, success)
    for seed, success in enumerate(([0, 0.8, 0.9], [0, 0.9, 1.0], [0, 0.1, 0.5])):
        toy.write_run(A, "potential", seed, success)
    return toy


def _passes(toy, **threshold):
    return check_comparison([Threshold(**{"task": A, "variant": "potential"} | threshold)], toy.folder)[1].passed


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("final_success", 0.8),
        ("final_success_greedy", 0.72),
        ("steps_to_50", 500_000),
        ("steps_to_80", 500_000),
        ("seconds_to_80", 500_000 / 12_000),
        ("probability_of_improvement", 1.0),
        ("lead", 0.5 - 0.3),  # of three seeds the intervals reach the least and the most
    ],
)
def test_bounds_are_held_against_the_measured_value(toy, metric, value):
    assert _passes(toy, metric=metric, minimum=value * (1 - 1e-9), maximum=value * (1 + 1e-9))
    assert not _passes(toy, metric=metric, minimum=value * 1.001)
    assert not _passes(toy, metric=metric, maximum=value * 0.999)


def test_a_time_never_reached_fails_every_maximum_and_meets_what_the_budget_covers(toy):
    never = {"variant": "sparse", "metric": "steps_to_80"}
    assert not _passes(toy, **never, maximum=1e12)
    assert _passes(toy, **never, minimum=1_000_000)
    assert not _passes(toy, **never, minimum=1_000_001)


def test_exactly_the_level_counts_as_reached(synthetic):
    toy = synthetic(tasks=(A,), variants=("sparse", "potential"), seeds=1)
    toy.write_run(A, "sparse", 0)
    toy.write_run(A, "potential", 0, [0.0, 19 / 20, 1.0])
    assert _passes(toy, metric="steps_to_95", maximum=500_000)


def test_all_tasks_together_is_the_default(synthetic):
    toy = synthetic(tasks=(A, B), variants=("sparse", "potential"), seeds=1)
    for task, success in ((A, 1.0), (B, 0.5)):
        toy.write_run(task, "sparse", 0, [0.0, 0.5])
        toy.write_run(task, "potential", 0, [0.0, success])
    improvement = Threshold(variant="potential", metric="probability_of_improvement", minimum=0.75, maximum=0.75)
    success = Threshold(variant="potential", metric="final_success", minimum=0.75, maximum=0.75)
    assert [result.passed for result in check_comparison([improvement, success], toy.folder)] == [True] * 3


def test_intervals_that_overlap_have_no_lead(synthetic):
    toy = synthetic(tasks=(A,), variants=("sparse", "potential"), seeds=2)
    for seed, success in enumerate((0.4, 0.8)):
        toy.write_run(A, "sparse", seed, [0.0, success - 0.1])
        toy.write_run(A, "potential", seed, [0.0, success])
    cells = analyse(read_experiment(toy.folder))
    assert cells[A, "potential"].lead == pytest.approx(0.4 - 0.7)
    assert cells[A, "sparse"].lead is None
    assert not _passes(toy, metric="lead", minimum=0.0)


def test_unfinished_runs_fail_the_first_check_and_empty_cells_theirs(toy):
    for seed in range(3):
        (toy.run_folder(A, "potential", seed) / "summary.json").unlink()
    bound = Threshold(task=A, variant="potential", metric="final_success", minimum=0.0)
    runs, result = check_comparison([bound], toy.folder)
    assert (runs.passed, runs.measured, runs.wanted) == (False, "3 of 6", "= 6")
    assert (result.passed, result.measured) == (False, "no finished run")


def test_without_thresholds_only_the_runs_are_checked(toy):
    (result,) = check_comparison([], toy.folder)
    assert result.passed


def test_unknown_names_are_errors_with_the_nearest_valid_name(toy):
    cases = {"task": ("Toy-A-v1", A), "variant": ("potental", "potential")}
    for key, (wrong, right) in cases.items():
        with pytest.raises(UnknownNameError, match=f"Did you mean '{right}'"):
            _passes(toy, metric="final_success", minimum=0.0, **{key: wrong})
    with pytest.raises(UnknownNameError, match="Did you mean 'final_success'"):
        Threshold(variant="potential", metric="final_sucess", minimum=0.0)
    with pytest.raises(ValueError, match="other than the baseline 'sparse'"):
        _passes(toy, variant="sparse", metric="lead", minimum=0.0)


def test_bounds_must_be_given_and_possible():
    with pytest.raises(ValueError, match="got neither"):
        Threshold(variant="potential", metric="final_success")
    with pytest.raises(ValueError, match=r"minimum <= maximum for final_success, got 1\.0 and 0\.5"):
        Threshold(variant="potential", metric="final_success", minimum=1.0, maximum=0.5)


def test_every_metric_can_be_measured(toy):
    cells = analyse(read_experiment(toy.folder))
    for metric in METRICS:
        assert measure(cells[A, "potential"], metric).high > 0
    with pytest.raises(UnknownNameError, match="or 'steps_to_50'"):
        measure(cells[A, "potential"], "steps_to_51")


def test_the_table_names_what_failed(toy):
    bounds = [
        Threshold(task=A, variant="potential", metric="final_success", minimum=0.5),
        Threshold(task=A, variant="sparse", metric="steps_to_80", maximum=2_000_000),
    ]
    lines = render_checks(check_comparison(bounds, toy.folder)).splitlines()
    assert lines[2].split() == ["pass", "finished", "runs", "=", "6", "6", "of", "6"]
    assert lines[3].startswith("pass  final_success of potential on Toy-A-v0")
    assert ">= 0.5" in lines[3]
    assert "0.80 [0.50, 1.00]" in lines[3]
    assert lines[4].startswith("FAIL  steps_to_80 of sparse on Toy-A-v0")
    assert "> 1 M (0/3)" in lines[4]
    assert lines[-1] == "2 of 3 checks passed."
