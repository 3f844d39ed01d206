"""Numbers that a search decides by, against numbers worked out by hand."""

import numpy as np
import pytest

from cairngym.experiments.search.fitness import Trial, course, mean_fitness, promoted, run_fitness


@pytest.mark.parametrize(
    ("success", "expected"),
    [
        ([0.3], 0.3),
        ([1.0, 0.2, 0.4], 0.4),
        ([1.0] * 9 + [0.5], 0.5),
        ([1.0] * 10 + [0.5], (1.0 + 0.5) / 2),  # a tenth of eleven, rounded up, is two
        ([0.9] * 18 + [0.1, 0.3], 0.2),
        ([1.0] * 27 + [0.1, 0.2, 0.6], 0.3),
    ],
)
def test_fitness_of_a_run_is_the_mean_of_its_last_tenth(success, expected):
    assert run_fitness(success) == pytest.approx(expected, abs=1e-15)


def test_fitness_is_not_the_best_that_was_ever_seen():
    assert run_fitness([0.0, 1.0, 1.0] + [0.25] * 17) == 0.25


def test_fitness_needs_an_evaluation():
    with pytest.raises(ValueError, match="at least one evaluation"):
        run_fitness([])


def test_seeds_are_averaged_and_failed_ones_count_zero():
    assert mean_fitness({"0": 0.6, "1": 0.3}) == pytest.approx(0.45)
    assert mean_fitness({"0": 0.6, "1": None, "2": 0.3}) == pytest.approx(0.3)
    assert mean_fitness({"0": None, "1": None}) is None


def trial(fitness, training=0.0):
    return Trial(rung=0, steps=10, fitness=fitness, training_success=training)


def test_halving_keeps_the_best():
    trials = {"a": trial(0.1), "b": trial(0.7), "c": trial(0.3), "d": trial(0.5)}
    assert promoted(trials, 0.5) == ["b", "d"]
    assert promoted(trials, 0.25) == ["b"]
    assert promoted(trials, 0.01) == ["b"]
    assert promoted(trials, 1.0) == ["b", "d", "c", "a"]


def test_the_share_kept_is_rounded_up_and_of_those_that_trained():
    trials = {"a": trial(0.1), "b": trial(None), "c": trial(0.3), "d": trial(0.2)}
    assert promoted(trials, 0.5) == ["c", "d"]
    assert promoted({"a": trial(None)}, 0.5) == []
    assert promoted({n: trial(0.1) for n in "abcdefghij"}, 0.3) == ["a", "b", "c"]  # 0.3 * 10 > 3 in floating point


def test_ties_go_to_success_while_training_then_to_the_earlier():
    trials = {"a": trial(0.0), "b": trial(0.0, 0.2), "c": trial(0.0), "d": trial(0.1)}
    assert promoted(trials, 1.0) == ["d", "b", "a", "c"]


def test_course_is_the_means_of_ten_equal_parts():
    step = np.arange(10, 210, 10)  # two values in each tenth of 200 steps
    found = course([(step, np.arange(20.0))], steps=200)
    assert found.values == tuple(0.5 + 2.0 * part for part in range(10))
    assert (found.least, found.mean, found.greatest) == (0.0, 9.5, 19.0)


def test_course_joins_runs_and_leaves_empty_parts_out():
    found = course([([50, 100], [1.0, 3.0]), ([50, 100], [2.0, 5.0])], steps=100)
    assert found.values == (1.5, 4.0)
    assert (found.least, found.mean, found.greatest) == (1.0, 2.75, 5.0)
    beyond = course([([130], [1.0])], steps=100)  # whole iterations may end behind the steps asked for
    assert beyond.values == (1.0,)
    with pytest.raises(ValueError, match="at least one value"):
        course([([], [])], steps=100)
