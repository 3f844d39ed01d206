"""Answers about a chain, and a model that gives them."""

from cairngym.reward_shaping.llm.messages import Completion, Provenance
from cairngym.reward_shaping.llm.provider import Provider, ProviderError

TASK = "Chain-N10-v0"
HEAD = "def reward(state, action, next_state, memory):\n"
PROGRAM = HEAD + "    near = 0.1 * (next_state.node - state.node).float()\n    return near, {'near': near}\n"
INVENTED = HEAD + "    near = 0.1 * next_state.nodes.float()\n    return near, {'near': near}\n"
EXPLODING = HEAD + "    near = 1e9 * (next_state.node - state.node).float()\n    return near, {'near': near}\n"


def answer(source):
    """A completion that holds a program."""
    return f"First think.\n\n```python\n{source}```\n"


GOOD, BAD = answer(PROGRAM), answer(INVENTED)


class Scribe(Provider):
    """Gives texts in order, as many as are asked for at once; an exception among them is raised."""

    def __init__(self, *texts):
        super().__init__()
        self.texts, self.asked = list(texts), []

    async def complete(self, request):
        self.asked.append(request)
        taken = [self.texts.pop(0) for _ in range(request.n) if self.texts]
        if len(taken) < request.n:
            raise ProviderError("the model has left")
        if any(isinstance(text, Exception) for text in taken):
            raise next(text for text in taken if isinstance(text, Exception))
        return Completion(
            texts=tuple(taken), finish_reasons=("stop",) * len(taken), model="scribe-1",
            provenance=Provenance(source="http://scribe"),
        )  # fmt: skip
