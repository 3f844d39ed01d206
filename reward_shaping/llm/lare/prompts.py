"""What a language model is told when it is to find the latent factors of a task."""

from __future__ import annotations

from collections.abc import Sequence

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.abstraction import abstraction, task_id
from cairngym.reward_shaping.llm.language import language
from cairngym.reward_shaping.llm.messages import ChatRequest

MAX_PROPOSAL = 20_000
"""Characters of a proposal that the prompt for their summary repeats."""
PROPOSING, SUMMARISING = 1.0, 0.3
"""Sampling temperatures."""

SYSTEM = "You know reinforcement learning and credit assignment well, and you write careful PyTorch."

AIM = """\
An agent learns a task from episodes of which it is told only the return: the sum of the task's rewards, once, at the \
end (whatever the description below says of rewards given at every step). Which steps earned it is not known. You \
find the latent factors of a step: a few quantities, computed from the state before it, the action, and the state \
after it, which together tell how much that step contributed.

A small neural network will then be fitted to many episodes. It gives every step a reward from its factors alone, such \
that the rewards of an episode add up to its return, and the agent learns from these rewards in place of the task's \
own. The network finds the factors' weights and signs itself, and how they act together."""

ADVICE = """\
Good factors are
- relevant: each has a reason to matter for the return. The network takes chance correlations of anything else for \
causes, so leave the rest out; three to ten factors are usual.
- complete: steps of equal factors get equal rewards, so whatever the return depends on shows in some factor. Give \
each stage of the task, and each way to fail, a factor of its own.
- about the step: what it changed, what happened in it, or what its end is like (progress towards the next stage, an \
event, a distance left, an effort), not a sum over the episode.
- distinct: none is a function of the others.
- of moderate size: numbers of the order of one, bounded, and finite for every state."""

FORM = """\
Answer in three parts:
1. Understand: what is wanted, and which attributes tell about it.
2. Analyse: which quantities decide the return, why, and how each is computed.
3. One ```python block with the program, in the language below. Its components are the factors, under names that say \
what they are. The first value returned is not used: return the sum of the factors there."""

SUMMARY = """\
These answers were given by several experts, independently. Some may be wrong, incomplete or cut off. Make one program \
of the best in them: keep the factors that matter for the return, each once and computed in the soundest way; correct \
mistakes, drop what is irrelevant or redundant, and add what all of them missed."""


def proposal_request(env: TensorEnv, count: int = 3) -> ChatRequest:
    """The first prompt: `count` independent proposals of the factors of `env`'s task."""
    prompt = "\n\n".join((AIM, _shown(env), ADVICE, FORM, _language()))
    return ChatRequest.ask(prompt, system=SYSTEM, temperature=PROPOSING, n=count, label=label(env, "proposals"))


def summary_request(env: TensorEnv, proposals: Sequence[str]) -> ChatRequest:
    """The second prompt: one program out of the answers to the first."""
    answers = [
        f"<answer {number}>\n{text[:MAX_PROPOSAL].strip() or '(no answer)'}\n</answer {number}>"
        for number, text in enumerate(proposals, start=1)
    ]
    prompt = "\n\n".join((AIM, _shown(env), ADVICE, SUMMARY, *answers, FORM, _language()))
    return ChatRequest.ask(prompt, system=SYSTEM, temperature=SUMMARISING, label=label(env, "summary"))


def label(env: TensorEnv, stage: str) -> str:
    """What asks: "lare/<task id>/<stage>"."""
    return f"lare/{task_id(env) or 'task'}/{stage}"


def _shown(env: TensorEnv) -> str:
    return f"The task and what can be measured of it:\n\n```python\n{abstraction(env)}\n```"


def _language() -> str:
    return f"The language:\n\n{language()}"
