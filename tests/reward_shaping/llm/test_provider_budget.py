"""The budget stops before it is exceeded, never after; what it counts is what servers report, or the most."""

import asyncio

import pytest
from server import Reply

from cairngym.reward_shaping.llm.budget import Budget, Price, worst_case
from cairngym.reward_shaping.llm.messages import ChatRequest, Usage
from cairngym.reward_shaping.llm.provider import BudgetExhausted, UnreachableError

PRICES = {"tiny": Price(prompt=2.0, completion=10.0)}
ASK = ChatRequest.ask("hi", max_tokens=100)  # at most 2 bytes + 2 x 16 tokens read and 100 written
MOST = 134


def test_the_most_a_request_can_use_by_hand():
    request = ChatRequest.ask("größe", system="abc", max_tokens=50, n=3)
    assert worst_case(request) == Usage(prompt_tokens=7 + 3 + 3 * 16, completion_tokens=150)
    assert worst_case(ASK).total == MOST


def test_what_servers_report_is_what_counts(server, connect):
    server.default = Reply.chat("yes", usage=(1000, 500))
    provider = connect(prices=PRICES)
    provider.complete_all_sync([ASK] * 3)
    assert provider.spent == Usage(prompt_tokens=3000, completion_tokens=1500)
    assert provider.cost == pytest.approx(3 * (1000 * 2 + 500 * 10) / 1e6)


def test_a_request_that_could_exceed_the_tokens_is_not_sent(server, connect):
    server.default = Reply.chat("yes", usage=(30, 36))
    provider = connect(token_budget=2 * 66 + MOST - 1)
    provider.complete_sync(ASK)
    provider.complete_sync(ASK)
    with pytest.raises(BudgetExhausted, match=r"spent 132 of 265 tokens \(up to 134 more\)"):
        provider.complete_sync(ASK)
    assert len(server.requests) == 2
    provider.complete_sync(ChatRequest.ask("hi", max_tokens=99))  # one that can't exceed it still goes
    assert len(server.requests) == 3


def test_a_request_that_could_exceed_the_cost_is_not_sent(server, connect):
    most = PRICES["tiny"].cost(worst_case(ASK))
    server.default = Reply.chat("yes", usage=(0, 50))
    provider = connect(cost_budget=most + 0.0005, prices=PRICES)
    provider.complete_sync(ASK)
    assert provider.cost == pytest.approx(0.0005)
    provider.complete_sync(ASK)
    with pytest.raises(BudgetExhausted, match=r"\$0.0010 of \$0.0016"):
        provider.complete_sync(ASK)
    assert len(server.requests) == 2


def test_many_at_once_never_exceed_the_budget(server, connect):
    server.default = Reply.chat("yes", usage=(34, 100), delay=0.01)  # every answer uses its most
    provider = connect(token_budget=5 * MOST, concurrency=8)
    answers = asyncio.run(provider.complete_all([ASK] * 12, return_errors=True))
    assert sum(isinstance(answer, BudgetExhausted) for answer in answers) == 7
    assert len(server.requests) == 5
    assert provider.spent.total == 5 * MOST


def test_requests_wait_for_what_others_may_leave_over(server, connect):
    server.default = Reply.chat("yes", usage=(5, 5), delay=0.02)
    provider = connect(token_budget=MOST + 60, concurrency=8)
    completions = provider.complete_all_sync([ASK] * 7)  # 6 x 10 + 134: the last fits only once all others are back
    assert len(completions) == 7
    assert server.most_at_once == 1


def test_no_usage_and_lost_answers_count_at_their_most(server, connect):
    server.script(Reply.chat("yes", usage=None))
    provider = connect(retries=0, timeout=0.3)
    provider.complete_sync(ASK)
    assert provider.spent.total == MOST
    server.script(Reply.chat("late", delay=0.5))
    with pytest.raises(UnreachableError):
        provider.complete_sync(ASK)
    assert provider.spent.total == 2 * MOST


def test_attempts_refused_cost_nothing(server, connect):
    server.script(Reply.failure(500), Reply.failure(429), Reply.chat("yes", usage=(7, 7)))
    provider = connect(token_budget=MOST)
    provider.complete_sync(ASK)
    assert provider.spent.total == 14


def test_retries_stop_at_the_budget(server, connect):
    server.default = Reply.raw("{")  # a server that writes and then garbles it
    provider = connect(token_budget=2 * MOST, retries=9)
    with pytest.raises(BudgetExhausted):
        provider.complete_sync(ASK)
    assert len(server.requests) == 2


def test_a_cancelled_request_counts_and_lets_others_go_on(server, connect):
    server.script(Reply.chat("late", delay=0.4))
    provider = connect(token_budget=2 * MOST)
    waits = provider.submit(ASK)
    while not server.requests:
        pass
    second = provider.submit(ASK)
    waits.cancel()
    assert second.result(timeout=5).text == "HI"
    assert provider.spent.total == MOST + 15


def test_a_cost_limit_needs_the_price_of_every_model_asked(server, connect):
    provider = connect(cost_budget=1.0, prices=PRICES)
    with pytest.raises(ValueError, match=r"price of 'huge'.*\['tiny'\]"):
        provider.complete_sync(ChatRequest.ask("hi", model="huge"))
    assert server.requests == []


def test_a_reservation_is_released_once():
    async def scenario():
        budget = Budget(token_budget=1000, cost_budget=None, prices={})
        reservation = await budget.reserve(ASK, "tiny")
        assert budget.settle(reservation, Usage(prompt_tokens=1)) == 0.0
        with pytest.raises(KeyError):
            budget.settle(reservation, None)
        return budget.spent.total

    assert asyncio.run(scenario()) == 1


@pytest.mark.parametrize("prices", [(-1.0, 1.0), (1.0, float("inf")), (float("nan"), 1.0)])
def test_prices_are_finite_and_not_negative(prices):
    with pytest.raises(ValueError, match="finite prices"):
        Price(prompt=prices[0], completion=prices[1])
