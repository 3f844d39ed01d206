"""A task that tells its agent only at the end of an episode how many of its steps were right, and a scripted model."""

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import StateField, Task, TensorEnv, World
from cairngym.envs.random import Stream, integers
from cairngym.reward_shaping.llm.messages import Completion, Provenance
from cairngym.reward_shaping.llm.provider import Provider, ProviderError

CODES, LENGTH = 4, 24
FACTORS = """
def reward(state, action, next_state, memory):
    right = (action == state.shown).float()
    first = (action == 0).float()
    code = next_state.shown.float()
    return right + first + code, {"right": right, "first": first, "code": code}
"""


class Matching(World):
    """A code is shown at every step; the action that equals it is right."""

    def __init__(self, num_envs):
        self.num_envs, self.device = num_envs, torch.device("cpu")
        self.single_action_space = spaces.Discrete(CODES)
        self.shown = self.hits = torch.zeros(num_envs, dtype=torch.int64)
        self.state_spec = {
            "shown": StateField(shape=(), unit="code", description="What is asked for.", dtype=torch.int64),
            "hits": StateField(shape=(), unit="steps", description="Right so far.", dtype=torch.int64, privileged=True),
        }

    def _draw(self):
        life = self.episodes
        return integers(life.seed, life.env_id, life.number, Stream.DYNAMICS, CODES, step=life.length)[:, 0]

    def begin(self, mask, episodes):
        self.shown = torch.where(mask, self._draw(), self.shown)
        self.hits = torch.where(mask, 0, self.hits)

    def advance(self, action):
        self.hits = self.hits + (action == self.shown)
        self.shown = self._draw()

    @property
    def state(self):
        return {"shown": self.shown, "hits": self.hits}

    def get_state(self):
        return dict(self.state)

    def set_state(self, snapshot):
        self.shown, self.hits = snapshot["shown"], snapshot["hits"]


class EpisodicReturn(Task):
    """Pays the share of right steps at the last step, and nothing before."""

    terminate_on_success = False
    horizon = LENGTH
    instruction = "Answer every code with the action of that number."
    single_observation_space = spaces.Box(0.0, 1.0, (CODES,), np.float32)

    def observe(self, state):
        return torch.nn.functional.one_hot(state["shown"], CODES).float()

    def success(self, state):
        return state["hits"] >= LENGTH

    def reward(self, state, success, failure, length):
        return torch.where(length == LENGTH, state["hits"] / LENGTH, 0.0)


def matching(num_envs=32, seed=0):
    return TensorEnv(Matching(num_envs), EpisodicReturn(), seed=seed)


class Script(Provider):
    """Answers with the texts it was given, in order."""

    def __init__(self, *texts):
        super().__init__()
        self.texts, self.asked = list(texts), []

    async def complete(self, request):
        self.asked.append(request)
        if len(self.texts) < request.n:
            raise ProviderError("the model is gone")
        texts, self.texts = tuple(self.texts[: request.n]), self.texts[request.n :]
        return Completion(
            texts=texts, finish_reasons=("stop",) * request.n, model="script", provenance=Provenance(source="a test")
        )


def fenced(code):
    return f"1. Understand: …\n2. Analyse: …\n3. The program:\n```python\n{code}\n```\n"
