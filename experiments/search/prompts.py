"""What the model is asked: the first prompt, the one with figures of training, and the one without them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cairngym.experiments.search.config import SearchConfig
from cairngym.reward_shaping.llm.abstraction import abstraction, task_id
from cairngym.reward_shaping.llm.language import language
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.writing import continued

if TYPE_CHECKING:
    from cairngym.envs.core import TensorEnv

SYSTEM = "eureka"
"""What the labels of requests begin with."""
ROLE = (
    "You design reward functions for reinforcement learning and write them in careful PyTorch. An agent learns a task "
    "whose own reward is sparse; you find the reward that makes it learn the task soonest and most surely. Your "
    "program is compiled by a machine that knows the language described here and nothing else of Python."
)
KEPT = "At every step, what your program returns is multiplied by {weight:g} and added to the task's own sparse reward."
REPLACED = (
    "At every step, what your program returns is multiplied by {weight:g} and takes the place of the task's own "
    "reward: contrary to what the description below says, the agent gets nothing else."
)
JUDGED = (
    "Several programs are tried: an agent is trained with each, and each is judged by one number, how often the agent "
    "then does the task (its success on the unshaped task at the end of training). How much reward it collects does "
    "not count."
)
TIPS = """\
## Tips
- Return every part of the reward as a component of its own, under a telling name: how each develops in training is
  what you will be told.
- Bring parts to a common scale of about -1 to 1 a step, for instance with torch.exp(-x / temperature) or
  torch.tanh(x / temperature). Give each transformed part its own temperature, as a number with a name in the program,
  so that it can be tuned.
- Being paid at every step for a good position makes staying there worth more than finishing. Pay for progress from
  state to next_state and take it back when progress is lost, or remember the best of the episode and pay only for
  what exceeds it.
- Split the task into stages, find the attributes that tell the stage, and let something guide the agent in each of
  them. A later stage must be worth more than all that an earlier one can pay.
- A part that random behaviour hardly ever earns teaches nothing; a part that every behaviour earns teaches nothing
  either."""
ASK = """\
## Your answer
Think first, in a few sentences: the stages, the attributes that show them, and what an agent could do to be paid
without doing the task. Then write the whole program in one ```python block, helper functions first. Use only
attributes and functions that are listed above."""
FIGURES = """\
An agent was trained with your program. Values are means of one step over all environments, before the weight. Each is
given for equal parts of the training in their order, ten at most; then follow its least, mean and greatest value over
all of it. All figures are rounded."""
CRITIQUE = """\
Now analyse these figures and write a better program:
- Where the success stays near zero, the reward as a whole leads elsewhere: write another one.
- Where a component hardly changes, the agent cannot improve it in the form it has, or need not: change its scale or
  temperature, write it anew, or drop it.
- Where a component is much larger than the others, it drowns them: bring it to their scale.
- Where a component grows and success does not, the agent is paid for something that does not lead to the task.
Go through the components one by one and say in a sentence what each shows and what you change. Then write the whole
improved program in one ```python block, by the same rules."""
GENERIC = """\
This is round {round} of {rounds}. An agent was trained with your program, which did best of all that were tried so
far; figures of its training are not given. Criticise the program as someone who watches the agent fail would:
- Is there a state from which no component leads on towards the task, or one that an early agent never leaves?
- Which component is constant for nearly every behaviour, and which drowns the others?
- How could an agent be paid without doing the task: by waiting, by going back and forth, by undoing and redoing?
- Does the last stage, which completes the task, pay at least as much as those before it?
Then write the whole improved program in one ```python block, by the same rules."""


def first_request(env: TensorEnv, config: SearchConfig) -> ChatRequest:
    """The prompt of the first round, for `config.candidates` programs; the same on every machine."""
    how = (KEPT if config.keep_task else REPLACED).format(weight=config.weight)
    parts = (
        f"## What is wanted\nWrite a dense reward for the task described below. {how}\n{JUDGED}",
        f"## The environment\n```python\n{abstraction(env)}\n```",
        f"## The language\nWrite a function of B transitions in this part of Python:\n{language()}",
        TIPS,
        ASK,
    )
    return ChatRequest.ask(
        "\n\n".join(parts), system=ROLE, temperature=config.temperature, max_tokens=config.max_tokens,
        n=config.candidates, label=f"{SYSTEM}/{task_id(env) or config.task}",
    )  # fmt: skip


def reflection_request(first: ChatRequest, round: int, source: str, reflection: str) -> ChatRequest:
    """The prompt of a later round: the best program so far as the model's answer, and what its training was like.

    Args:
        first: the first round's prompt.
        round: counted from one.
        source: the best program of the archive.
        reflection: figures of its training, see `reflect`.
    """
    said = f"{FIGURES}\n\n{reflection}\n\n{CRITIQUE}"
    return _later(first, round, source, said)


def generic_request(first: ChatRequest, round: int, rounds: int, source: str) -> ChatRequest:
    """The prompt of a later round without any figures, which can be recorded before anything is trained."""
    return _later(first, round, source, GENERIC.format(round=round, rounds=rounds))


def _later(first: ChatRequest, round: int, source: str, said: str) -> ChatRequest:
    request = continued(first, f"```python\n{source.strip()}\n```", said)
    return replace(request, n=first.n, label=f"{first.label}/round_{round}")


def requests(config: SearchConfig) -> tuple[ChatRequest, ...]:
    """The prompts that a search asks before anything is answered: that of its first round.

    Later rounds quote the best program so far; `generic_request` makes their prompts from a program alone.
    """
    from cairngym.envs.registry import make

    env = make(config.task, **config.env)
    try:
        return (first_request(env, config),)
    finally:
        env.close()
