"""Text2Reward's prompts: the staged first one, and those that feed back what its program made of a policy."""

from __future__ import annotations

from dataclasses import replace

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.abstraction import abstraction, describe_fields, task_id, visible
from cairngym.reward_shaping.llm.language import language
from cairngym.reward_shaping.llm.messages import ChatRequest, Message
from cairngym.reward_shaping.llm.text2reward.library import LIBRARY, Example
from cairngym.reward_shaping.llm.text2reward.retrieval import nearest

SYSTEM = "text2reward"
"""What the labels of requests begin with."""
TEMPERATURE = 0.7
MAX_TOKENS = 4096
EXAMPLES = 2
"""Examples in a prompt, unless asked for otherwise."""
ROLE = (
    "You are an expert in reinforcement learning and robotics who writes dense reward functions. An agent is to learn "
    "a task whose own reward is sparse, and your reward is added to it at every step. You know only what is written "
    "here; your program is compiled by a machine that knows the language below and nothing else of Python."
)
PARTS = """\
## What a reward is usually made of
1. How near the agent, its hand or its gripper is to what it has to act on, while that matters.
2. How near the thing acted on is to the state it is wanted in.
3. The stages of the task: what must be done before what. Later stages count more than all earlier ones together, so
   that nothing is gained by staying in an early one.
4. A small cost of large actions, where smooth motion is wanted.
5. Where the task calls for it, further conditions on the agent or on the thing: upright, held, clear of obstacles."""
ADVICE = """\
## What keeps an agent from cheating
- It maximises the discounted sum of your reward and the task's. Where each step near the goal pays, it stays near the
  goal for ever and never finishes, above all where success ends the episode. So pay for the change from state to
  next_state (progress made minus progress lost), or pay at most zero until the task is done.
- What is paid on the way to a state must be taken back on the way back, or an agent goes back and forth. Or keep the
  best value of the episode in memory and pay only for what exceeds it.
- Standing still must not pay more than making progress; costs must be small beside that.
- Most steps should pay between -1 and 1. Nothing may be NaN or infinite, not even where two places coincide.
- The components should add up to the reward, and none should be constant or make up nearly all of it."""
POTENTIAL_ADVICE = """\
## How your reward is used
- It is made a potential: what the agent gets in a step is the discounted score of next_state minus the score of state.
  The score of a state is what your program pays with this state as both state and next_state, and an action of zero.
- So pay for how good next_state is, never for a change, which would be zero for every state; and leave memory alone,
  for it is empty whenever a state is scored.
- The agent can gain nothing by waiting or by going back and forth. What counts is that the score rises wherever the
  task comes closer, through all of its stages, and is finite everywhere.
- Scores should lie between 0 and 1, with 1 where the task is done.
- The components should add up to the score, and none should be constant or make up nearly all of it."""
ASK = """\
## Your answer
Think step by step first, in a few sentences: which stages the task has, which measurement tells that each is done, and
how an agent might cheat. Then write the whole program in one ```python block, helper functions first. Check that every
attribute and every function you use is listed above, and that every value has the shape you take it to have."""


def first_request(env: TensorEnv, *, examples: int = EXAMPLES, hints: str = "", potential: bool = False) -> ChatRequest:
    """The prompt that asks for a reward.

    Its stages are the role, what rewards are made of, the env as classes, the language and what is known of rewards
    and of the task, examples, and how to answer. It is the same on every machine.

    Args:
        env: what the reward is for.
        examples: how many of the packaged ones to show, those for the most similar instructions.
        hints: further knowledge of the task, in words.
        potential: ask for the score of a state, to be made a potential.

    Raises:
        ValueError: `examples` below zero.
    """
    if examples < 0:
        raise ValueError(f"Expected examples >= 0, got {examples}.")
    stages = [
        PARTS,
        f"## The environment\n```python\n{abstraction(env)}\n```",
        f"## The language\nWrite a function of B transitions, in this part of Python:\n{language()}",
        POTENTIAL_ADVICE if potential else ADVICE,
        *([f"## What else is known\n{hints.strip()}"] if hints.strip() else []),
        *_shown(chosen(env, examples)),
        ASK,
    ]
    return ChatRequest.ask(
        "\n\n".join(stages), system=ROLE, temperature=TEMPERATURE, max_tokens=MAX_TOKENS,
        label=f"{SYSTEM}/{task_id(env)}",
    )  # fmt: skip


def requests(
    env: TensorEnv, *, examples: int = EXAMPLES, hints: str = "", potential: bool = False
) -> tuple[ChatRequest, ...]:
    """The prompts that are asked for an env before anything is answered: one; arguments as for `first_request`."""
    return (first_request(env, examples=examples, hints=hints, potential=potential),)


def chosen(env: TensorEnv, count: int) -> list[Example]:
    """The packaged examples nearest to the env's instruction and the names of its measurements."""
    query = f"{env.unwrapped.task.instruction} {' '.join(visible(env.state_spec))}"
    return [LIBRARY[index] for index in nearest(query, [example.document for example in LIBRARY], count)]


def _shown(examples: list[Example]) -> list[str]:
    if not examples:
        return []
    intro = "## Examples\nRewards for other tasks, with other measurements; only their style carries over."
    return ["\n\n".join((intro, *map(_example, examples)))]


def _example(example: Example) -> str:
    fields = "\n".join(describe_fields(example.fields))
    return f"Instruction: {example.instruction}\n```python\nclass State:\n{fields}\n```\n```python\n{example.source}```"


def feedback_request(request: ChatRequest, source: str, *, behaviour: str = "", feedback: str = "") -> ChatRequest:
    """The prompt that asks for a better reward after a policy was trained on the last one.

    Args:
        request: the first prompt.
        source: the last program.
        behaviour: what the policy does, see `summarize_behaviour`.
        feedback: what a person says about it.

    Raises:
        ValueError: neither is given.
    """
    if not behaviour.strip() and not feedback.strip():
        raise ValueError("Expected a description of the behaviour or feedback in words, got neither.")
    parts = ["An agent was trained with your reward."]
    if behaviour.strip():
        parts.append(f"This is how it behaves:\n{behaviour.strip()}")
    if feedback.strip():
        parts.append(f"This is what a person who watched it says:\n{feedback.strip()}")
    parts.append(
        "Say in a few sentences what in the reward may have led to this, and what you change. Then write the whole "
        "improved program in one ```python block, by the same rules."
    )
    last = Message("assistant", f"```python\n{source.strip()}\n```")
    return replace(request, n=1, messages=(*request.messages, last, Message("user", "\n\n".join(parts))))
