"""A world whose events are scripted, a captioner for it, and transitions made by hand."""

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import torch

from cairngym.envs.core import StateField, Transition
from cairngym.reward_shaping.llm.messages import Completion, Provenance
from cairngym.reward_shaping.llm.oni.captioner import Captioner
from cairngym.reward_shaping.llm.oni.shaper import OniShaper
from cairngym.reward_shaping.llm.provider import Provider

TEXTS = ("", "you pick up the red key", "you see a wall", "you unlock the red door with the key", "you nod")


class Echo(Captioner):
    """The state says which caption it is."""

    requires = ("event",)
    size = len(TEXTS)
    captions = TEXTS[1:]

    def codes(self, transition):
        return transition.next_state["event"]

    def text(self, code):
        return TEXTS[code]


class Many(Echo):
    """As many captions as one likes, on no list."""

    size = 10_000
    captions = ()

    def text(self, code):
        return f"event {code}"


def world(num_envs=2):
    env = SimpleNamespace(num_envs=num_envs, device=torch.device("cpu"))
    env.state_spec = {"event": StateField(shape=(), unit="", description="", dtype=torch.int64)}
    env.unwrapped = SimpleNamespace(task=SimpleNamespace(instruction="Open the door.", categories={}))
    return env


def oni(num_envs=2, captioner=Echo, **options):
    options = {"synchronous": True, "beta": 1.0, **options}
    shaper = OniShaper(captioner=captioner(), **options)
    shaper.bind(world(num_envs))
    return shaper


def happen(*codes, **changes):
    codes = torch.tensor(codes)
    zero = torch.zeros(len(codes))
    no = zero.bool()
    made = Transition(
        obs=zero, state={"event": codes * 0}, action=zero, next_obs=zero, next_state={"event": codes}, reward=zero,
        terminated=no, truncated=no, success=no, env_id=torch.arange(len(codes)),
    )  # fmt: skip
    return replace(made, **changes)


def live(shaper, *steps):
    """Step through tuples of codes; the rewards as a list of lists."""
    rewards = []
    for codes in steps:
        transition = happen(*codes)
        rewards.append([round(value, 6) for value in shaper.shape(transition).tolist()])
        shaper.observe(transition)
    return rewards


class Stub(Provider):
    """Answers by a function of the request; counts prompts."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.prompts = answer, []

    async def complete(self, request):
        self.prompts.append(request.messages[-1].content)
        text = self.answer(request)
        if isinstance(text, Exception):
            raise text
        return Completion(texts=(text,), finish_reasons=("stop",), model="stub", provenance=Provenance(source="stub"))


def numbered(request):
    """The numbered lines that a prompt asks about, in order."""
    content = request.messages[-1].content.split("Now the real ones.")[1]
    lines = [line.partition(". ") for line in content.splitlines()]
    return [text for number, dot, text in lines if dot and number.isdigit()]


def by_word(word):
    """Answers FOO where the word is in a caption."""
    return lambda request: "\n".join(
        f"{number}: {'FOO' if word in text else 'BAR'}" for number, text in enumerate(numbered(request), start=1)
    )


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def annotation_threads():
    return [thread for thread in threading.enumerate() if thread.name == "annotation"]
