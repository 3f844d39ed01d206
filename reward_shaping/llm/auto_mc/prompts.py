"""What Auto MC-Reward's models are asked: the designer, the critic, and the designer again after a policy failed."""

from __future__ import annotations

from dataclasses import replace

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.abstraction import abstraction, task_id
from cairngym.reward_shaping.llm.auto_mc.analysis import FailureSummary
from cairngym.reward_shaping.llm.language import language
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.writing import continued

SYSTEM = "auto_mc"
"""What the labels of requests begin with."""
DESIGNING, JUDGING = 0.7, 0.0
"""Sampling temperatures."""
MAX_TOKENS = 4096
ROLE = (
    "You design rewards for reinforcement learning and write them in careful PyTorch. You know only what is written "
    "here; your program is compiled by a machine that knows the language below and nothing else of Python."
)
WANTED = """\
## What is wanted
An agent is to learn the task described below, whose own reward is sparse. Your program looks at every step and answers
two questions about it, as two components:
- "sparse": did an event happen? Above 0 where something happened that the task is made of and that is worth a reward,
  below 0 where something happened that is to be avoided, 0 in all other steps.
- "dense": did this step bring the agent closer to the next event? Above 0 for closer, below 0 for farther off, 0 for
  neither.
Only the signs of the two are used: what is added to the task's own reward is A * sign(sparse) + B * sign(dense), where
A is several times B. So sizes and weights do not matter, and nothing is gained by tuning them; what matters is when
each component is above, below or exactly 0. The program ends with
    return sparse + dense, {"sparse": sparse, "dense": dense}
with these two components and no others; the first value is not used."""
ADVICE = """\
## What to think of
- An event happens in one step. Compare next_state with state, so that it is not paid again while it lasts, and not in
  the first step of an episode just because the episode begins there. If it can be undone, undoing it is an event below
  0; otherwise an agent does and undoes it for ever.
- Split the task into the events that lead up to it, in their order. At every step one of them is the next. Measure how
  far it is in state and in next_state, with the same event in mind for both, and let dense be the difference.
- Nearly all steps should have a dense component, and it must be able to fall as well as to rise: what is won on the way
  there is lost on the way back. Above all, it is 0 where nothing changes.
- A sign makes as much of a tiny change as of a large one. Where positions come from a simulator, let changes too small
  to mean anything be exactly 0, for instance torch.where(change.abs() > 1e-4, change, torch.zeros_like(change)).
- Where it takes several steps to tell what happened, or which event comes next, keep it in memory.
- Whatever ends an episode without success is to be avoided, as far as the measurements show that it is near or done."""
ASK = """\
## Your answer
Write your thoughts first, in this order, a sentence or two each:
1. Events: which events is the task made of, in which order, and what is to be avoided?
2. Measurements: which attribute shows that each of them happened in a step, and how?
3. Progress: what comes closer on the way to the next event, and what tells which event is the next?
4. Memory: what has to be known of earlier steps that the state does not tell?
5. Cheating: how could an agent collect either component without doing the task, and what in the program prevents it?
Then write the whole program in one ```python block, helper functions first, and repeat the gist of your thoughts in a
comment at its top. Check that every attribute and function you use is listed above, and that every value has the shape
you take it to have."""
QUESTIONS = """\
Read the program line by line, and answer:
1. Does each event that is rewarded belong to the task as it is described, and is none rewarded that hinders it?
2. Is each event detected in the step in which it happens, from the attributes that show it, read as they are described
   (units, codes, axes, state before and next_state after)?
3. Does the dense component rise exactly where the next event comes closer, and fall where it moves away?
4. Does the program do what its comments say?
Small inaccuracies do not matter, nor do style, sizes and weights. A program fails only if an agent that earns much of
its reward would not come closer to doing the task, or if it contradicts the description.

Give your reasons in a few sentences. End with one line that reads either
PASS
or
FAIL: what is wrong and how to correct it, in one or two sentences"""


def designer_request(env: TensorEnv) -> ChatRequest:
    """The first prompt; the same on every machine."""
    parts = (WANTED, _environment(env), f"## The language\nWrite it in this part of Python:\n{language()}", ADVICE, ASK)
    return ChatRequest.ask(
        "\n\n".join(parts), system=ROLE, temperature=DESIGNING, max_tokens=MAX_TOKENS, label=label(env)
    )


def requests(env: TensorEnv) -> tuple[ChatRequest, ...]:
    """The prompts that are asked for an env before anything is answered: one."""
    return (designer_request(env),)


def critic_request(env: TensorEnv, source: str) -> ChatRequest:
    """The prompt that asks whether a program agrees with the task's description."""
    paid = (
        "An agent is to learn the task described below. At every step the program that follows it answers whether an "
        "event happened (its component sparse: above 0 for one that is wanted, below 0 for one to be avoided) and "
        "whether the step brought the next event closer (its component dense: above 0 for closer, below 0 for "
        "farther). Only the signs of the two are paid, that of sparse several times as much. You decide whether the "
        "program may be used."
    )
    program = f"## The program\n```python\n{source.strip()}\n```"
    prompt = "\n\n".join((paid, _environment(env), program, f"## Your verdict\n{QUESTIONS}"))
    return ChatRequest.ask(prompt, system=ROLE, temperature=JUDGING, max_tokens=MAX_TOKENS, label=label(env, "critic"))


def refine_request(env: TensorEnv, program: str, summary: FailureSummary) -> ChatRequest:
    """The prompt that asks for a better program after a policy was trained on one.

    Args:
        env: the task.
        program: the design that the policy learned from.
        summary: how the policy fails.
    """
    said = (
        "An agent was trained with this program. A summary of the episodes in which it failed, as JSON:\n\n"
        f"```json\n{summary.text()}\n```\n\n"
        "Counts of events are steps of an episode in which the component was above or below 0, on average. Traces show "
        "the components as your program returned them at the steps named, and states are those before the action.\n\n"
        "Say first, in a few sentences: how far does the agent come, what keeps it from going on, and what in the "
        "program lets it stay there, or does not lead it on? Then write the whole improved program in one ```python "
        "block, by the same rules."
    )
    request = continued(designer_request(env), f"```python\n{program.strip()}\n```", said)
    return replace(request, label=label(env, "refine"))


def label(env: TensorEnv, stage: str = "") -> str:
    """What asks: "auto_mc/<task id>", and the stage where it is not the first."""
    return "/".join(filter(None, (SYSTEM, task_id(env) or "task", stage)))


def _environment(env: TensorEnv) -> str:
    return f"## The environment\n```python\n{abstraction(env)}\n```"
