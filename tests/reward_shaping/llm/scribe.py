"""A model that says what a test wants it to say."""

from cairngym.reward_shaping.llm.messages import Completion, Provenance
from cairngym.reward_shaping.llm.provider import Provider, ProviderError


class Scribe(Provider):
    """Answers with texts in order; (text, reason) gives the finish reason, an exception is raised.

    The first answer may be a list: the candidates of the first prompt.
    """

    def __init__(self, *answers):
        super().__init__()
        self.answers, self.asked = list(answers), []

    async def complete(self, request):
        self.asked.append(request)
        if not self.answers:
            raise ProviderError("nothing left to say")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        texts = answer[: request.n] if isinstance(answer, list) else [answer] * request.n
        pairs = [text if isinstance(text, tuple) else (text, "stop") for text in texts]
        return Completion(
            texts=tuple(pair[0] for pair in pairs), finish_reasons=tuple(pair[1] for pair in pairs), model="scribe",
            provenance=Provenance(source="test"),
        )  # fmt: skip


def program(expression="next_state.node / 9", name="near"):
    """A reward program on a chain."""
    return f"def reward(state, action, next_state, memory):\n    r = {expression}\n    return r, {{'{name}': r}}\n"


def answer(source):
    """A completion that holds code."""
    return f"First think.\n\n```python\n{source}```\n"


GOOD = answer(program())
