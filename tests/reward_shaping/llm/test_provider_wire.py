"""Whatever JSON comes, it is read or refused; nothing else is raised."""

import asyncio
import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from cairngym.reward_shaping.llm.provider import BadResponseError
from cairngym.reward_shaping.llm.wire import Answer, read_answer, read_stream, retry_after

NAMES = ("choices", "message", "delta", "content", "refusal", "finish_reason", "index", "usage", "prompt_tokens")
NAMES += ("completion_tokens", "model", "error", "text")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


def shaped(part):
    """Responses that are nearly right: a list of choices with texts, and anything in their places."""
    body = st.fixed_dictionaries({}, optional={"content": st.text(max_size=5) | ANYTHING, "refusal": ANYTHING})
    choice = st.fixed_dictionaries(
        {part: body | ANYTHING}, optional={"finish_reason": st.just("stop") | ANYTHING, "index": ANYTHING}
    )
    choices = {"choices": st.lists(choice, min_size=1, max_size=3)}
    return st.fixed_dictionaries(choices, optional={"usage": ANYTHING, "model": ANYTHING})


def check(answer):
    assert isinstance(answer, Answer)
    assert len(answer.texts) == len(answer.finish_reasons) >= 1
    assert all(isinstance(text, str) for text in answer.texts)
    assert all(reason for reason in answer.finish_reasons)
    assert answer.usage is None or answer.usage.total >= 0


@settings(max_examples=60, deadline=None)
@given(ANYTHING | shaped("message"))
def test_any_response(data):
    with contextlib.suppress(BadResponseError):
        check(read_answer(json.dumps(data), "application/json"))


@settings(max_examples=60, deadline=None)
@given(st.lists(ANYTHING | shaped("delta"), max_size=4))
def test_any_stream(chunks):
    async def stream():
        for chunk in chunks:
            yield chunk

    with contextlib.suppress(BadResponseError):
        check(asyncio.run(read_stream(stream())))


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_retry_after(seconds, milliseconds):
    wait = retry_after({"retry-after": seconds, "retry-after-ms": milliseconds})
    assert wait is None or wait >= 0


def test_retry_after_in_both_units():
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after": "9", "retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({}) is None
