"""What language models may cost: tokens and dollars, with a hard stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from cairngym.reward_shaping.llm.messages import ChatRequest, Usage
from cairngym.reward_shaping.llm.provider import BudgetExhausted

MESSAGE_TOKENS = 16
"""At most what a chat template adds around a message, and around the conversation."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a model's tokens cost, in US dollars per million.

    Raises:
        ValueError: a negative price.
    """

    prompt: float
    """For tokens read."""
    completion: float
    """For tokens written."""

    def __post_init__(self) -> None:
        if not (0 <= self.prompt < float("inf") and 0 <= self.completion < float("inf")):
            raise ValueError(f"Expected finite prices >= 0, got {self}.")

    def cost(self, usage: Usage) -> float:
        """What `usage` costs, in US dollars.

        Example:
            >>> Price(prompt=0.5, completion=2.0).cost(Usage(prompt_tokens=1_000_000, completion_tokens=500_000))
            1.5
        """
        return (self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens) / 1e6


@dataclass(frozen=True, eq=False)
class Reservation:
    """The most that one request may use, set aside until its answer says what it did use."""

    usage: Usage
    cost: float
    price: Price | None


class Budget:
    """Tokens and dollars that may be spent; a request that could exceed what is left is never sent.

    A request reserves its most before it is sent: `max_tokens` for each candidate, and for the prompt one token a byte,
    which no byte-level tokenizer exceeds, with a few more a message for the chat template. Its answer's usage then
    replaces the reservation. An answer that was lost, or that reports no usage, counts at its most.

    Belongs to one event loop.

    Args:
        token_budget: read and written together; None for no limit.
        cost_budget: in US dollars; None for no limit.
        prices: by model.
    """

    def __init__(self, *, token_budget: int | None, cost_budget: float | None, prices: Mapping[str, Price]) -> None:
        self.token_budget, self.cost_budget, self.prices = token_budget, cost_budget, prices
        self.spent, self.cost = Usage(), 0.0
        self._held: set[Reservation] = set()
        self._settled = asyncio.Event()

    async def reserve(self, request: ChatRequest, model: str) -> Reservation:
        """Set aside the most that `request` may use, after waiting for others under way where they hold it.

        Raises:
            BudgetExhausted: what is left, once all under way have cost nothing at all, would not be enough.
            ValueError: a cost limit, and no price for the model.
        """
        price = self.prices.get(model)
        if price is None and self.cost_budget is not None:
            raise ValueError(
                f"Expected the price of {model!r} since cost_budget is set, got prices of "
                f"{sorted(self.prices) or 'no model'}."
            )
        most = worst_case(request)
        reservation = Reservation(most, price.cost(most) if price else 0.0, price)
        while not self._fits(reservation, self._held):
            if not self._fits(reservation, ()):
                raise self._exhausted(reservation)
            await self._settled.wait()
        self._held.add(reservation)
        return reservation

    def settle(self, reservation: Reservation, usage: Usage | None) -> float:
        """Replace a reservation by what was used, None for all of it; returns its cost in US dollars."""
        used = reservation.usage if usage is None else usage
        cost = reservation.price.cost(used) if reservation.price else 0.0
        self._held.remove(reservation)
        self.spent, self.cost = self.spent + used, self.cost + cost
        self._settled.set()
        self._settled = asyncio.Event()
        return cost

    def _fits(self, reservation: Reservation, held: set[Reservation] | tuple[()]) -> bool:
        tokens = self.spent.total + sum(other.usage.total for other in held) + reservation.usage.total
        cost = self.cost + sum(other.cost for other in held) + reservation.cost
        return (self.token_budget is None or tokens <= self.token_budget) and (
            self.cost_budget is None or cost <= self.cost_budget
        )

    def _exhausted(self, reservation: Reservation) -> BudgetExhausted:
        parts = []
        if self.token_budget is not None:
            parts.append(f"{self.spent.total} of {self.token_budget} tokens (up to {reservation.usage.total} more)")
        if self.cost_budget is not None:
            parts.append(f"${self.cost:.4f} of ${self.cost_budget:.4f} (up to ${reservation.cost:.4f} more)")
        return BudgetExhausted(
            f"The budget is exhausted, so the request was not sent: spent {' and '.join(parts)}. Raise "
            "token_budget or cost_budget, ask for fewer candidates or a lower max_tokens, or replay with 'recorded:'."
        )


def worst_case(request: ChatRequest) -> Usage:
    """The most tokens that a request can use."""
    content = sum(len(message.content.encode()) for message in request.messages)
    overhead = MESSAGE_TOKENS * (len(request.messages) + 1)
    return Usage(prompt_tokens=content + overhead, completion_tokens=request.n * request.max_tokens)
