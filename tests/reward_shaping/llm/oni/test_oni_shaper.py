"""The shaper on real and scripted worlds: what it pays, when it learns, and how it resumes."""

import logging

import pytest
import torch
from oni_toys import TEXTS, Many, Stub, annotation_threads, by_word, happen, live, numbered, oni, wait_until

import cairngym
from cairngym.envs.registry import make
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.oni.shaper import OniShaper
from cairngym.reward_shaping.llm.oni.sheets import requests
from cairngym.reward_shaping.llm.provider import BudgetExhausted, UnreachableError
from cairngym.reward_shaping.llm.recording import record_texts
from cairngym.reward_shaping.registry import register_shaper

ENV = "MiniGrid-ObstructedMaze-1Dlhb-v0"


def grid(num_envs=16, **options):
    inner = make(ENV, num_envs=num_envs, threads=1, bank_size=32)
    shaper = OniShaper(**{"synchronous": True, **options})
    return ShapedEnv(inner, [Term(name="oni", shaper=shaper, weight=0.1)]), shaper


def play(env, steps, draws, every=20):
    rewards, metrics = [], []
    for step in range(1, steps + 1):
        action = torch.randint(0, 7, (env.num_envs,), generator=draws)
        rewards.append(env.step(action)[1])
        if step % every == 0:
            metrics.append(env.update_shapers())
    return torch.stack(rewards), metrics


def test_nothing_changes_between_updates():
    shaper = oni(beta=0.0)
    assert live(shaper, (1, 2), (1, 2)) == [[0, 0], [0, 0]]
    metrics = shaper.update()
    assert live(shaper, (1, 2), (3, 2)) == [[1, 0], [0, 0]]
    assert metrics["vocabulary"] == metrics["judged"] == 2
    assert metrics["paying"] == 0.5
    shaper.update()
    assert live(shaper, (3, 4)) == [[1, 0]]


def test_no_annotation_pays_nothing_and_still_counts():
    shaper = oni(annotator="none")
    live(shaper, (1, 2), (1, 3))
    metrics = shaper.update()
    assert metrics == {"vocabulary": 3, "judged": 0, "paying": 0}
    assert live(shaper, (1, 3)) == [[0, 0]]


@pytest.mark.parametrize("model", ["hash", "classifier", "ranking"])
def test_grids_pay_for_what_the_rules_like(model):
    env, shaper = grid(model=model, noise=0.0)
    env.reset(seed=0)
    draws = torch.Generator().manual_seed(0)
    rewards, metrics = play(env, 120, draws)
    assert metrics[-1]["oni/vocabulary"] > 15
    assert not rewards[:20].any(), "nothing is judged before the first update"
    assert rewards[20:].max() > 0
    paid = {text: float(shaper._values[index]) for index, text in enumerate(shaper.vocabulary.texts)}
    picked = [value for text, value in paid.items() if text.startswith("you pick up")]
    bumped = [value for text, value in paid.items() if text.startswith("you bump")]
    assert sum(picked) / len(picked) > 0.5 > sum(bumped) / len(bumped)
    assert torch.isfinite(rewards).all()


@pytest.mark.parametrize("model", ["hash", "classifier", "ranking"])
def test_a_synchronous_run_resumes_bit_for_bit(model):
    def fresh():
        return grid(model=model, noise=0.1)[0]

    whole = fresh()
    whole.reset(seed=4)
    draws = torch.Generator().manual_seed(0)
    play(whole, 50, draws)
    snapshot, drawn = whole.get_state(), draws.get_state()
    rewards, metrics = play(whole, 60, draws)
    again = fresh()
    again.reset(seed=99)
    play(again, 25, torch.Generator().manual_seed(5))
    again.set_state(snapshot)
    draws.set_state(drawn)
    resumed, measured = play(again, 60, draws)
    assert torch.equal(rewards, resumed)
    assert metrics == measured
    assert rewards.max() > 0


def test_env_i_is_paid_alike_among_few_and_many_once_captions_are_judged():
    learned, env = grid(24)[::-1]
    env.reset(seed=1)
    play(env, 200, torch.Generator().manual_seed(3))
    snapshot, paid = learned.get_state(), []
    for count in (3, 12):
        env, shaper = grid(count, annotator="none")
        env.reset(seed=1)
        shaper.vocabulary.set_state(snapshot["vocabulary"])
        shaper._reserve()
        shaper.known = snapshot["known"]
        env.update_shapers()
        draws = torch.Generator().manual_seed(2)
        rewards = [env.step(torch.randint(0, 7, (12,), generator=draws)[:count])[1][:3] for _ in range(60)]
        paid.append(torch.stack(rewards))
    assert torch.equal(*paid)
    assert paid[0].max() > 0


def test_an_endpoint_that_fails_leaves_the_learner_with_what_it_has(caplog):
    alive = {"now": False}

    def answer(request: ChatRequest):
        return by_word("unlock")(request) if alive["now"] else UnreachableError("no answer", retryable=True)

    with Stub(answer) as provider, caplog.at_level(logging.WARNING):
        shaper = oni(annotator=provider, beta=0.0)
        live(shaper, (1, 3))
        for _ in range(3):
            metrics = shaper.update()
            assert live(shaper, (1, 3)) == [[0, 0]]
        assert (metrics["failures"], metrics["judged"], metrics["stopped"]) == (3, 0, 0)
        alive["now"] = True
        assert shaper.update()["judged"] == 2
        assert live(shaper, (1, 3)) == [[0, 1]]
    assert caplog.text.count("will be tried again") == 1


def test_a_budget_used_up_is_no_end_of_the_run():
    prompts = []

    def answer(request):
        prompts.append(request)
        return by_word("event 1")(request) if len(prompts) == 1 else BudgetExhausted("nothing left")

    with Stub(answer) as provider:
        shaper = oni(annotator=provider, captioner=Many, per_prompt=2, beta=0.0)
        live(shaper, (11, 2))
        assert shaper.update()["judged"] == 2
        assert live(shaper, (11, 3)) == [[1, 0]]
        metrics = shaper.update()
        assert metrics["stopped"] == 1
        sent = len(prompts)
        live(shaper, (4, 5))
        shaper.update()
        assert len(prompts) == sent
        assert live(shaper, (11, 4)) == [[1, 0]]


def test_it_learns_aside_while_envs_step():
    env, shaper = grid(synchronous=False, latency=0.01)
    env.reset(seed=0)
    draws = torch.Generator().manual_seed(0)
    metrics = {}

    def judged():
        metrics.update(play(env, 10, draws, every=10)[1][0])
        return metrics["oni/judged"] > 15 and float(shaper._values.max()) > 0

    wait_until(judged)
    shaper.close()
    assert not [thread for thread in annotation_threads() if thread.is_alive()]
    play(env, 10, draws, every=5)


def test_recordings_of_a_task_answer_for_it(tmp_path):
    env = make(ENV, num_envs=8, threads=1, bank_size=32)
    for request in requests(env):
        lines = [f"{i}: {'FOO' if 'pick up' in text else 'BAR'}" for i, text in enumerate(numbered(request), start=1)]
        record_texts(tmp_path / "oni.jsonl", request, ("\n".join(lines),), source="by hand", date="2026-01-01")
    shaper = OniShaper(annotator=f"recorded:{tmp_path / 'oni.jsonl'}", synchronous=True)
    shaped = ShapedEnv(env, [Term(name="oni", shaper=shaper)])
    shaped.reset(seed=0)
    _, metrics = play(shaped, 80, torch.Generator().manual_seed(0))
    assert metrics[-1]["oni/unanswered"] == metrics[-1]["oni/unparsable"] == metrics[-1]["oni/failures"] == 0
    assert metrics[-1]["oni/judged"] == metrics[-1]["oni/vocabulary"]
    assert 0 < metrics[-1]["oni/paying"] < 1


def test_pairs_of_listed_captions_are_the_recorded_ones(tmp_path):
    env = make(ENV, num_envs=8, threads=1, bank_size=32)
    for request in requests(env, preferences=True):
        lines = [f"{i}: SAME" for i, _ in enumerate(numbered(request), start=1)]
        record_texts(tmp_path / "oni.jsonl", request, ("\n".join(lines),), source="by hand", date="2026-01-01")
    shaper = OniShaper(annotator=f"recorded:{tmp_path / 'oni.jsonl'}", model="ranking", synchronous=True)
    shaped = ShapedEnv(env, [Term(name="oni", shaper=shaper)])
    shaped.reset(seed=0)
    _, metrics = play(shaped, 80, torch.Generator().manual_seed(0))
    assert metrics[-1]["oni/judged"] > 5
    assert metrics[-1]["oni/unanswered"] == metrics[-1]["oni/failures"] == 0


def test_captions_for_people():
    shaper = oni()
    assert shaper.captions(happen(1, 0)) == [TEXTS[1], ""]


@pytest.mark.parametrize(
    "options",
    [{"beta": -1.0}, {"stream": "other"}, {"opponents": 0}, {"batch": 0}, {"capacity": 0}, {"noise": 2.0},
     {"backoff": 0.0}],
)  # fmt: skip
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match="Expected"):
        OniShaper(**options)


def test_an_unknown_provider_is_named():
    with pytest.raises(KeyError, match="rulez"):
        OniShaper(annotator="rulez")


def test_it_can_be_registered():
    name = "oni for a test"
    register_shaper(name, "cairngym.reward_shaping.llm.oni.shaper:OniShaper")
    env = cairngym.shape(make(ENV, num_envs=2, threads=1, bank_size=32), name, model="classifier", synchronous=True)
    env.reset(seed=0)
    assert env.step([0, 1])[4]["reward_terms"][name].shape == (2,)
