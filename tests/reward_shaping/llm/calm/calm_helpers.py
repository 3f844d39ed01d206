"""A task, and a model that says what a test wants."""

from cairngym.reward_shaping.llm.messages import Completion, Provenance
from cairngym.reward_shaping.llm.provider import Provider, ProviderError

TASK = "MiniGrid-KeyCorridorS3R3-v0"


class Scribe(Provider):
    """Answers by a function of the request; None is an endpoint that is down."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.requests = answer, []

    async def complete(self, request):
        self.requests.append(request)
        text = self.answer(request)
        if text is None:
            raise ProviderError("the endpoint is down")
        return Completion(
            texts=(text,), finish_reasons=("stop",), model="a test", provenance=Provenance(source="a test")
        )
