"""The prompts that ask a language model for a task's subgoals, and whether transitions end them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.minigrid.levels import make_reference
from cairngym.envs.minigrid.task import MiniGridTask
from cairngym.envs.minigrid.world import MiniGridWorld
from cairngym.envs.random import philox
from cairngym.reward_shaping.llm.beacons.answers import read_answer
from cairngym.reward_shaping.llm.beacons.description import LEGEND, describe
from cairngym.reward_shaping.llm.beacons.observation import minigrid_world
from cairngym.reward_shaping.llm.beacons.prompts import RULES, SYSTEM, env_id, prompt_levels
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal
from cairngym.reward_shaping.llm.calm.events import encode
from cairngym.reward_shaping.llm.calm.judges import Question, verdict_request
from cairngym.reward_shaping.llm.calm.terminations import is_judgeable, task_subgoals, terminates
from cairngym.reward_shaping.llm.messages import ChatRequest
from cairngym.reward_shaping.llm.provider import Provider
from cairngym.reward_shaping.llm.scripted import Lookahead
from cairngym.reward_shaping.llm.transitions import Recorded, record_transitions

LEVELS, STEPS, PER_SUBGOAL = 48, 120, 10
"""Levels and steps that transitions are sampled from, and transitions asked about for each subgoal."""
TASK = """Split the task into its subgoals, in the order in which they are reached, so that they fit every level of \
the task, not only the one shown: doors to be opened, boxes to be opened, objects to be picked up, and what must be \
gone to in the end. Name each only once. Name nothing else: no turning, and no walking to something that is then \
picked up or opened."""
FORMAT = """Think first if you wish. Then answer with one JSON list, and nothing after it, of one object for each \
subgoal, in order:
```json
[{"do": "open", "object": "door", "state": "locked", "color": ""}]
```
"do" is "open", "pick up", "go to" or "put near". "object" is "door", "key", "ball", "box" or "goal". "state" is \
"closed" or "locked" for a door, else "". "color" is "" unless it is the same in every level."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question and its answer."""

    question: Question
    truth: bool
    """Whether the subgoal ended, from the states before and after."""


def requests(env: TensorEnv, subgoals: Sequence[Subgoal] | None = None, count: int = PER_SUBGOAL) -> list[ChatRequest]:
    """What a model is asked for a task: its subgoals ("calm/<id>/subgoals"), and judgements ("calm/<id>/<number>").

    Args:
        env: a MiniGrid env; only its id counts.
        subgoals: what judgements are asked about; the plans' (`task_subgoals`) by default.
        count: judgements for each of them, half of them about transitions that end it, where there are as many.

    Raises:
        TypeError: no MiniGrid env.
        ValueError: a task without a plan, or `count` below one.
    """
    asked = sample(env, subgoals, count)
    label = f"calm/{env_id(env)}"
    questions = [
        verdict_request(one.question, env.task.instruction, f"{label}/{number}") for number, one in enumerate(asked)
    ]
    return [decomposition_request(env), *questions]


def decomposition_request(env: TensorEnv) -> ChatRequest:
    """What a model is asked to split a task into subgoals."""
    bank, world = prompt_levels(env, 1), minigrid_world(env)
    shown = f"The start of an episode, as an example; levels differ. {LEGEND}\n\n{describe(bank, 0, world.width)}"
    prompt = "\n\n".join((RULES, f"The task: {env.task.instruction}", shown, TASK, FORMAT))
    return ChatRequest.ask(
        prompt, system=SYSTEM, temperature=0.0, max_tokens=2048, label=f"calm/{env_id(env)}/subgoals"
    )


def decompose(env: TensorEnv, provider: Provider) -> list[Subgoal]:
    """The subgoals that a model splits a task into, each once; none where its answer names nothing that makes sense.

    Raises:
        ProviderError: no answer can be had.
    """
    named = read_answer(provider.complete_sync(decomposition_request(env)).text).subgoals
    return [goal for goal in dict.fromkeys(goal.anywhere() for goal in named) if is_judgeable(goal)]


def sample(env: TensorEnv, subgoals: Sequence[Subgoal] | None = None, count: int = PER_SUBGOAL) -> list[Asked]:
    """Questions about transitions of a task, the same for every env of its id, with their answers.

    Half of those about a subgoal end it, if as many different ones were seen; the others are drawn evenly, half of them
    from those in which more happened than a step or a turn. No event is asked about twice for one subgoal, and what is
    asked about one subgoal does not depend on the others.

    Raises:
        TypeError: no MiniGrid env.
        ValueError: a task without a plan, or `count` below one.
    """
    if count < 1:
        raise ValueError(f"Expected at least one transition for each subgoal, got {count}.")
    played = prompt_env(env)
    goals = task_subgoals(played) if subgoals is None else list(subgoals)
    recorded = record_transitions(played, STEPS, Lookahead(played), seed=0)
    return [asked for goal in goals for asked in questions_about(goal, recorded, count)]


def prompt_env(env: TensorEnv) -> TensorEnv:
    """The env's id with levels that neither split draws."""
    bank, upstream = prompt_levels(env, LEVELS), make_reference(env_id(env))
    world = MiniGridWorld(bank, upstream, LEVELS, "cpu", threads=1)
    family = env.unwrapped.task
    if not isinstance(family, MiniGridTask):
        raise TypeError(f"Expected a MiniGrid task, got {type(family).__name__}.")
    return TensorEnv(world, MiniGridTask(family.family, upstream, bank.kinds()))


def questions_about(goal: Subgoal, recorded: Recorded, count: int) -> list[Asked]:
    """Up to `count` questions about one subgoal."""
    state, after = recorded.state, recorded.next_state
    ends = terminates(goal, state, after)
    events = encode(state, after)
    busy = happens(state, after)
    positive = first_rows(events, ends)[: (count + 1) // 2]
    rest = count - len(positive)
    active = shuffled(first_rows(events, ~ends & busy))[: (rest + 1) // 2]
    idle = shuffled(first_rows(events, ~ends & ~busy))[: rest - len(active)]
    rows = torch.cat((positive, active, idle)).sort().values.tolist()
    return [Asked(question=Question(goal, int(events[row])), truth=bool(ends[row])) for row in rows]


def happens(state: State, after: State) -> torch.Tensor:
    """Where more happened than a step or a turn: the hand or the grid changed, bool `(B,)`."""
    changed = (state["carrying"] != after["carrying"]).any(1)
    return changed | (state["grid"] != after["grid"]).flatten(1).any(1)


def first_rows(events: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The first row of every different event among the masked, in order, int64 `(K,)`."""
    seen: dict[int, int] = {}
    for row in mask.nonzero()[:, 0].tolist():
        seen.setdefault(int(events[row]), row)
    return torch.tensor(sorted(seen.values()), dtype=torch.int64)


def shuffled(rows: torch.Tensor) -> torch.Tensor:
    """Rows in an order that is always the same and looks like none."""
    draws = philox((rows, rows * 0, rows * 0, rows * 0), key=0)[:, 0]
    return rows[draws.argsort(stable=True)]
