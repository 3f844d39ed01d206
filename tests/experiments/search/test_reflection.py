"""What is told of training, on figures made up to show one thing each."""

import pytest

from cairngym.experiments.search.fitness import Course, Trial
from cairngym.experiments.search.reflection import ASTRAY, LOST, advice, coarse, dominating, is_constant, reflect


def course(*values):
    return Course(values=values, least=min(values), mean=sum(values) / len(values), greatest=max(values))


def trial(components, *, success=(0.0, 0.3, 0.6), fitness=0.6, total=(0.1, 0.2), runs=2, **more):
    return Trial(
        rung=1, steps=3_000_000, fitness=fitness, runs={str(seed): fitness for seed in range(runs)},
        components={name: course(*values) for name, values in components.items()}, total=course(*total),
        success=course(*success), **more,
    )  # fmt: skip


def test_the_whole_text():
    text = reflect(trial({"near": (0.0123, 0.0456), "open": (0.1, 0.25)}, fitness=0.666))
    assert text == (
        "2 runs of 3000000 environment steps.\n"
        "\n"
        '- component "near": [0.012, 0.046]; least 0.012, mean 0.029, greatest 0.046\n'
        '- component "open": [0.1, 0.25]; least 0.1, mean 0.17, greatest 0.25\n'
        "- the reward (what the program returns): [0.1, 0.2]; least 0.1, mean 0.15, greatest 0.2\n"
        "- success of the task: [0, 0.3, 0.6]; least 0, mean 0.3, greatest 0.6\n"
        "\n"
        "Success at the end of training: 0.67."
    )


def test_small_differences_between_machines_do_not_show():
    first = reflect(trial({"near": (0.01234, 0.0456)}, fitness=0.6612))
    assert reflect(trial({"near": (0.01233, 0.0457 - 1e-4)}, fitness=0.6608)) == first


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (1e-9, "0"), (0.999, "1"), (-0.0451, "-0.045"), (123456.0, "120000"), (2e-5, "2e-05")],
)
def test_two_significant_digits(value, text):
    assert coarse(value) == text


def test_a_near_constant_component_is_named():
    assert is_constant(course(0.0, 0.0))
    assert is_constant(course(-1.0, -1.02))
    assert not is_constant(course(0.0, 0.001))
    (said,) = advice(trial({"flat": (0.5, 0.51), "near": (0.1, 0.4)}))
    assert 'component "flat" is near constant' in said


def test_a_dominating_component_is_named():
    assert dominating({"big": course(-9.0, -11.0), "small": course(0.5, 0.4)}) == "big"
    assert dominating({"one": course(1.0, 2.0), "two": course(0.5, 0.4)}) == ""
    assert dominating({"alone": course(1.0, 2.0)}) == ""
    assert dominating({}) == ""
    (said,) = advice(trial({"big": (5.0, 9.0), "small": (0.1, 0.2)}))
    assert 'component "big" makes up nearly all' in said


def test_a_task_that_never_succeeds_is_told_by_whether_the_reward_grew():
    assert advice(trial({"near": (0.1, 0.4)}, success=(0.0, 0.01), fitness=0.01, total=(0.1, 0.4))) == [ASTRAY]
    assert advice(trial({"near": (0.4, 0.1)}, success=(0.0, 0.01), fitness=0.01, total=(0.4, 0.1))) == [LOST]
    assert advice(trial({"near": (0.1, 0.4)}, success=(0.0, 0.1), fitness=0.0)) == []


def test_what_broke_is_told():
    found = Trial(rung=0, steps=10, fitness=0.2, runs={"0": 0.4, "1": None}, switched_off=1)
    said = advice(found)
    assert "In 1 of 2 runs the reward was switched off" in said[0]
    assert "1 of 2 runs broke down" in said[1]


def test_a_task_that_is_learned_asks_for_speed():
    (said,) = advice(trial({"near": (0.1, 0.4)}, success=(0.5, 1.0), fitness=0.97))
    assert "sooner" in said
    assert said in reflect(trial({"near": (0.1, 0.4)}, success=(0.5, 1.0), fitness=0.97))
