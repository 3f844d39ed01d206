"""A judge that is asked aside: the learner never waits, and a dead endpoint costs nothing but answers."""

import asyncio
import time

from calm_helpers import TASK, Scribe

import cairngym
from cairngym.envs.minigrid import cells as c
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal
from cairngym.reward_shaping.llm.calm.background import BackgroundJudge
from cairngym.reward_shaping.llm.calm.events import MOVED, Event
from cairngym.reward_shaping.llm.calm.judges import Question
from cairngym.reward_shaping.llm.calm.shaper import CalmShaper

GOAL = Subgoal(deed=2, kind=5)
QUESTIONS = [
    Question(GOAL, Event(MOVED, c.EMPTY_CELL, c.EMPTY_CELL, c.EMPTY_CELL, c.pack(c.BALL, color)).encode())
    for color in range(6)
]


class Slow(Scribe):
    """Answers after a while; a question is answered once or fails."""

    async def complete(self, request):
        await asyncio.sleep(0.2)
        return await super().complete(request)


def answered(judge, questions, seconds=20.0):
    end = time.monotonic() + seconds
    while None in (answers := judge.judge(questions)):
        assert time.monotonic() < end, f"waited in vain: {answers}"
        time.sleep(0.01)
    return answers


def test_it_never_waits_and_answers_later():
    with Slow(lambda request: "yes" if "red" in request.messages[-1].content else "no") as provider:
        judge = BackgroundJudge(provider, "Do it.")
        begun = time.monotonic()
        assert judge.judge(QUESTIONS) == [None] * 6
        assert judge.judge(QUESTIONS[:2]) == [None] * 2
        assert time.monotonic() - begun < 0.15  # one answer takes 0.2 s
        assert answered(judge, QUESTIONS) == [True, False, False, False, False, False]
        assert len(provider.requests) == 6  # each was asked once
        judge.close()


def test_an_endpoint_that_dies_is_asked_again_and_what_it_said_is_kept():
    down = [True]
    with Scribe(lambda r: None if down[0] and "red" in r.messages[-1].content else "no") as provider:
        judge = BackgroundJudge(provider, backoff=0.02)
        assert judge.judge(QUESTIONS[:3]) == [None] * 3
        while len(provider.requests) < 6:
            time.sleep(0.01)
        down[0] = False
        assert answered(judge, QUESTIONS[:3]) == [False] * 3
        told = [request.messages[-1].content for request in provider.requests]
        assert sum("red" not in content for content in told) == 2
        judge.close()


def test_what_can_not_be_read_is_not_asked_again():
    with Scribe(lambda request: "Perhaps.") as provider:
        judge = BackgroundJudge(provider)
        judge.judge(QUESTIONS[:1])
        while not provider.requests:
            time.sleep(0.01)
        time.sleep(0.05)
        assert judge.judge(QUESTIONS[:1]) == judge.judge(QUESTIONS[:1]) == [None]
        assert len(provider.requests) == 1
        judge.close()


def test_the_shaper_pays_once_the_model_has_spoken_and_its_updates_do_not_wait():
    with Slow(lambda request: "yes") as provider:
        judge = BackgroundJudge(provider)
        inner = cairngym.make(TASK, num_envs=4, bank_size=16, threads=1)
        env = ShapedEnv(inner, [Term(name="calm", shaper=CalmShaper(judge=judge, subgoals=[GOAL]))])
        env.reset(seed=0)
        env.step([0, 0, 0, 0])
        begun = time.monotonic()
        assert env.update_shapers()["calm/unanswered"] > 0
        assert time.monotonic() - begun < 0.15
        end, paid = time.monotonic() + 20, 0.0
        while paid < 4 and time.monotonic() < end:
            paid += float(env.step([0, 0, 0, 0])[4]["reward_terms"]["calm"].sum())
            env.update_shapers()
            time.sleep(0.01)
        assert paid == 4  # each env's subgoal ends once
        judge.close()
