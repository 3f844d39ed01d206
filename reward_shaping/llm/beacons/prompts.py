"""The prompts that ask a language model for the subgoals of levels."""

from __future__ import annotations

from cairngym.envs.core import TensorEnv
from cairngym.envs.minigrid.levels import LevelBank, generate
from cairngym.reward_shaping.llm.beacons.description import LEGEND, describe
from cairngym.reward_shaping.llm.beacons.observation import minigrid_world
from cairngym.reward_shaping.llm.messages import ChatRequest

FIRST_SEED = 2_000_000_000
"""Of the levels asked about: neither training nor evaluation draws them."""
NUM_LEVELS = 10
SYSTEM = "You plan for an agent in MiniGrid, a world of rooms on a grid. You are exact about colours and coordinates."
RULES = """How the world works:
- The agent moves one square forward at a time or turns by a quarter. It acts on the square right before it.
- It picks up a key, a ball or a box, one thing at a time; before it can pick up another it must put down what it has.
- A closed door must be opened before it can be walked through. A locked door opens only while the agent carries the \
key of the door's colour. Opening a box makes it disappear and leaves what was in it, if anything. A key that is not \
to be seen is in a box.
- Walls, and objects that lie on the floor, cannot be walked through: an object that stands in the only way, such as a \
ball before a door, must be picked up and put down elsewhere. Walking into lava ends the episode."""
TASK = """Name the subgoals on the shortest way to fulfil the mission, in the order in which they must be reached: \
every door that must be opened on the way (closed ones as well as locked ones), every box that must be opened, every \
object that must be picked up (keys, what stands in the only way, what the mission asks for), and the place or object \
that must be gone to in the end, if the mission is about that. Name nothing else: no turning, no walking to something \
that is then picked up or opened, no putting down unless the mission asks for it."""
FORMAT = """Think first if you wish. Then answer with one JSON list, and nothing after it, of one object for each \
subgoal, in order:
```json
[{"do": "open", "object": "door", "color": "red", "x": 3, "y": 5}]
```
"do" is "open", "pick up", "go to" or "put near". "object" is "door", "key", "ball", "box", "goal" or "square", and \
"color" its colour (for "put near", those of what the carried object is put near). "x" and "y" say where the object is \
now; for a key in a box, where the box is."""


def prompt_levels(env: TensorEnv, count: int = NUM_LEVELS) -> LevelBank:
    """The levels of the env's id that are asked about.

    Raises:
        TypeError: no MiniGrid env.
        ValueError: `count` below one.
    """
    if count < 1:
        raise ValueError(f"Expected at least one level, got {count}.")
    return generate(env_id(env), FIRST_SEED, count)


def env_id(env: TensorEnv) -> str:
    """The `MiniGrid-*` id that an env was made from.

    Raises:
        TypeError: no MiniGrid env.
    """
    return str(minigrid_world(env).upstream.spec.id)


def requests(env: TensorEnv, levels: int = NUM_LEVELS) -> list[ChatRequest]:
    """What a model is asked for a task: one request a level, labelled "beacons/<id>/<number of the level>".

    The levels are those of seeds that neither split draws, so the requests are the same whatever env of the id is
    given.

    Args:
        env: a MiniGrid env; only its id counts.
        levels: how many.

    Raises:
        TypeError: no MiniGrid env.
        ValueError: `levels` below one.
    """
    bank, world = prompt_levels(env, levels), minigrid_world(env)
    return [request(bank, row, world.width, f"beacons/{env_id(env)}/{row}") for row in range(len(bank))]


def request(bank: LevelBank, row: int, width: int, label: str = "") -> ChatRequest:
    """The request for the subgoals of the level in row `row` of a bank."""
    prompt = "\n\n".join((RULES, f"The level at its start. {LEGEND}", describe(bank, row, width), TASK, FORMAT))
    return ChatRequest.ask(prompt, system=SYSTEM, temperature=0.0, max_tokens=2048, label=label)
