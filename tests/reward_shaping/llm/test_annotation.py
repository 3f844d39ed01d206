"""The line and its thread: newest first, bounded, failing and coming back, ending when told."""

import gc
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest
from oni.oni_toys import annotation_threads, wait_until

from cairngym.reward_shaping.llm.annotation import Annotation, Line
from cairngym.reward_shaping.llm.oni.annotators import RuleAnnotator
from cairngym.reward_shaping.llm.oni.questions import ask
from cairngym.reward_shaping.llm.provider import BudgetExhausted, UnreachableError


def nothing():
    pass


def test_the_newest_are_taken_first_and_the_oldest_dropped():
    line = Line(3)
    line.offer(["a", "b"])
    line.offer(["b", "c", "d"])
    assert line.dropped == 1
    assert line.take(2, wait=False) == ["d", "c"]
    line.offer(["d", "e"])
    assert line.take(5, wait=False) == ["e", "b"], "what is under way is not taken in again"
    assert line.take(5, wait=False) == []
    line.answer(["d", "c"], {"d": 1.0, "c": 0.0})
    assert line.collect() == {"d": 1.0, "c": 0.0}
    assert line.collect() == {}
    assert len(line) == 2


def test_what_is_given_back_waits_as_the_oldest():
    line = Line(4)
    line.offer(["a", "b", "c"])
    taken = line.take(2, wait=False)
    line.offer(["d"])
    line.give_back(taken)
    assert line.failures == 1
    assert line.take(9, wait=False) == ["d", "a", "c", "b"]


def test_what_is_dropped_may_be_offered_again():
    line = Line(1)
    line.offer(["a", "b"])
    assert len(line) == 1
    line.offer(["a"])
    assert (line.take(1, wait=False), line.dropped) == (["a"], 2)


def test_the_learner_never_waits_for_a_slow_annotator():
    slow = RuleAnnotator({"": 1.0}, latency=0.3)
    annotation = Annotation(ask(slow), slow.close, batch=2, capacity=5)
    begin = time.monotonic()
    for number in range(50):
        annotation.offer([f"caption {number}"])
        annotation.collect()
    assert time.monotonic() - begin < 0.25
    assert annotation.line.dropped >= 43, "five wait, two are under way at most"
    found = {}
    wait_until(lambda: found.update(annotation.collect()) or len(found) >= 3)
    assert "caption 49" in found
    annotation.close()
    wait_until(lambda: not annotation_threads())


def test_failures_are_tried_again_with_the_newest_first():
    seen, broken = [], threading.Event()
    broken.set()

    def answer(questions):
        seen.append(list(questions))
        if broken.is_set():
            raise UnreachableError("dead", retryable=True)
        return dict.fromkeys(questions, 1.0)

    annotation = Annotation(answer, nothing, batch=2, backoff=0.01, max_backoff=0.02)
    annotation.offer(["a", "b"])
    wait_until(lambda: annotation.line.failures >= 3)
    annotation.offer(["c"])
    broken.clear()
    found = {}
    wait_until(lambda: found.update(annotation.collect()) or len(found) == 3)
    assert found == {"a": 1.0, "b": 1.0, "c": 1.0}
    assert seen[:2] == [["b", "a"], ["b"]], "a single question finds out whether it is alive"
    assert not annotation.line.stopped
    annotation.close()


def test_waits_between_failures_grow():
    times = []

    def answer(questions):
        times.append(time.monotonic())
        raise UnreachableError("dead", retryable=True)

    annotation = Annotation(answer, nothing, backoff=0.04, max_backoff=0.16)
    annotation.offer(["a"])
    wait_until(lambda: len(times) >= 5)
    annotation.close()
    waits = [later - earlier for earlier, later in pairwise(times)]
    for wait, least in zip(waits, (0.04, 0.08, 0.16, 0.16), strict=False):
        assert wait >= 0.9 * least


def test_a_budget_used_up_ends_the_asking_and_keeps_what_was_paid_for():
    left = {"prompts": 2}

    def answer(questions):
        if left["prompts"] < len(questions):
            raise BudgetExhausted("no tokens left")
        left["prompts"] -= len(questions)
        return dict.fromkeys(questions, 1.0)

    for synchronous in (True, False):
        left["prompts"] = 2
        annotation = Annotation(answer, nothing, batch=3, synchronous=synchronous)
        annotation.offer(["a", "b", "c"])
        found = {}
        wait_until(lambda found=found, it=annotation: found.update(it.collect()) or it.line.stopped)
        found.update(annotation.collect())
        assert found == {"c": 1.0, "b": 1.0}
        assert annotation.line.stopped == "budget exhausted"
        annotation.offer(["d"])
        assert len(annotation.line) == 0
        annotation.close()


def test_a_fault_of_the_annotator_is_raised_where_the_learner_collects():
    def answer(questions):
        raise TypeError("a mistake in the annotator")

    annotation = Annotation(answer, nothing)
    annotation.offer(["a"])
    wait_until(lambda: annotation.line.stopped)
    with pytest.raises(RuntimeError, match="a mistake in the annotator"):
        annotation.collect()
    assert annotation.collect() == {}


def test_the_thread_ends_with_its_owner():
    slow = RuleAnnotator(latency=60.0)
    annotation = Annotation(ask(slow), slow.close)
    annotation.offer(["a"])
    wait_until(annotation_threads)
    begin = time.monotonic()
    del annotation
    gc.collect()
    assert not annotation_threads()
    assert time.monotonic() - begin < 4


def test_no_thread_holds_the_interpreter_at_its_exit():
    code = (
        "from cairngym.reward_shaping.llm.annotation import Annotation\n"
        "from cairngym.reward_shaping.llm.oni.annotators import RuleAnnotator\n"
        "from cairngym.reward_shaping.llm.oni.questions import ask\n"
        "import time\n"
        "slow = RuleAnnotator(latency=300.0)\n"
        "annotation = Annotation(ask(slow), slow.close)\n"
        "annotation.offer(['a'])\n"
        "time.sleep(0.1)\n"
        "print('left')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "left"
    assert not done.stderr.replace("Warp CUDA warning", "").count("Traceback")
