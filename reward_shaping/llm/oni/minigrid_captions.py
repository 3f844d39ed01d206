"""Captions of grid worlds, by one kernel launch for all envs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import warp as wp

from cairngym.envs.core import TensorEnv, Transition
from cairngym.envs.minigrid.cells import BALL, BOX, CLOSED, DOOR, GOAL, KEY, LAVA, LOCKED, OPEN, WALL
from cairngym.envs.warp_setup import start_warp
from cairngym.reward_shaping.llm.oni import minigrid_kernels as kernels
from cairngym.reward_shaping.llm.oni.captioner import Captioner

FIELDS = ("agent_pos", "agent_dir", "carrying", "grid")
COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
NOUNS = {WALL: "wall", DOOR: "door", KEY: "key", BALL: "ball", BOX: "box", GOAL: "goal", LAVA: "lava"}
PORTABLE = (KEY, BALL, BOX)
COLORLESS = (WALL, GOAL, LAVA)
DOOR_STATES = {OPEN: "open", CLOSED: "closed", LOCKED: "locked"}
PATTERNS = {
    kernels.PICK_UP: "you pick up the {}",
    kernels.DROP: "you drop the {}",
    kernels.UNLOCK: "you unlock the {} with the key",
    kernels.OPEN_DOOR: "you open the {}",
    kernels.CLOSE_DOOR: "you close the {}",
    kernels.OPEN_BOX: "you open the {}",
}
"""By event; the rest depends on the thing."""


class MiniGridCaptioner(Captioner):
    """What the agent of a grid world did or met: "you open the yellow door", "you see a blue ball".

    In order: what it picked up or dropped, a door or box before it that changed, a door, goal or lava it walked onto,
    what it bumped into, and what came before it by a step or a turn. It reads the agent's place, heading and load and
    the grid, nothing that a planner computes.

    Args:
        colors: whether captions name colours; without, there are about a fifth as many.

    Example:
        >>> MiniGridCaptioner().text(event_code(kernels.PICK_UP, KEY, 3))
        'you pick up the purple key'
    """

    requires = FIELDS
    size = 1 + kernels.EVENTS * kernels.THINGS
    setting = (
        "An agent stands on a grid of square cells with walls, doors and objects. In one move it goes one cell "
        "forward, makes a quarter turn, picks up the object before it, puts down what it carries, or opens or closes "
        "the door or box before it. It carries one object at most. A locked door opens with the key of its own colour."
    )

    def __init__(self, *, colors: bool = True) -> None:
        self.colors = colors
        self._launches: dict[int, wp.Launch] = {}

    def bind(self, env: TensorEnv) -> None:
        """Learn the grid's size, and which kinds of objects there are."""
        start_warp()
        self._width, self._height, _ = env.state_spec["grid"].shape
        self._device, self._launches = env.device, {}
        channels = env.unwrapped.task.categories.get("image", ())
        kinds = set(channels[0]) if channels else set(NOUNS)
        self.captions = tuple(dict.fromkeys(self.text(code) for code in self._possible(kinds)))

    def codes(self, transition: Transition) -> torch.Tensor:
        """The code of every transition, int64 `(B,)`."""
        sides = (transition.state, transition.next_state)
        tensors = [side[name].contiguous() for side in sides for name in FIELDS]
        tensors.append(transition.action.to(torch.int64).contiguous())
        out = torch.empty(len(transition), dtype=torch.int64, device=self._device)
        launch = self._launches.get(len(out)) or self._record(len(out))
        for place, tensor in enumerate((*tensors, out)):
            launch.set_param_at_index(place, wp.uint64(tensor.data_ptr()))
        launch.launch(**self._stream())
        return out

    def _record(self, rows: int) -> wp.Launch:
        pointers = [wp.uint64(0)] * (2 * len(FIELDS) + 2)
        sizes = [rows, self._width, self._height, int(self.colors)]
        self._launches[rows] = wp.launch(
            kernels.caption, dim=rows, inputs=[*pointers, *sizes], device=str(self._device), record_cmd=True
        )
        return self._launches[rows]

    def _stream(self) -> dict[str, Any]:
        return {"stream": wp.stream_from_torch(self._device)} if self._device.type == "cuda" else {}

    def text(self, code: int) -> str:
        """The caption of a code above zero."""
        event, thing = divmod(code - 1, kernels.THINGS)
        kind, rest = divmod(thing, kernels.COLORS * kernels.STATES)
        color, state = divmod(rest, kernels.STATES)
        bare = kind in COLORLESS or not self.colors
        name = NOUNS[kind] if bare else f"{COLORS[color]} {NOUNS[kind]}"
        if event in PATTERNS:
            return PATTERNS[event].format(name)
        if event == kernels.ENTER:
            return {GOAL: "you reach the goal", LAVA: "you fall into the lava"}.get(
                kind, f"you walk through the {name}"
            )
        shown = f"{DOOR_STATES[state]} {name}" if kind == DOOR else name
        if event == kernels.SEE:
            return f"you see {_article(kind, shown)}{shown}"
        return f"you bump into {'a' if kind == WALL else 'the'} {shown}"

    def _possible(self, kinds: set[int]) -> Iterator[int]:
        """The codes of what can happen where these kinds of objects are; locked doors need keys."""
        portable = [kind for kind in PORTABLE if kind in kinds]
        doors = [DOOR] if DOOR in kinds else []
        states = [OPEN, CLOSED, LOCKED] if KEY in kinds else [OPEN, CLOSED]
        for event in (kernels.PICK_UP, kernels.DROP):
            yield from self._each(event, portable)
        yield from self._each(kernels.UNLOCK, doors if KEY in kinds else [])
        for event in (kernels.OPEN_DOOR, kernels.CLOSE_DOOR):
            yield from self._each(event, doors)
        yield from self._each(kernels.OPEN_BOX, [kind for kind in portable if kind == BOX])
        yield from self._each(kernels.ENTER, [*doors, *(kind for kind in (GOAL, LAVA) if kind in kinds)])
        yield from self._each(kernels.SEE, [*portable, *(kind for kind in (GOAL, LAVA) if kind in kinds)])
        yield from self._each(kernels.SEE, doors, states)
        yield from self._each(kernels.BUMP, [WALL, *portable])
        yield from self._each(kernels.BUMP, doors, [state for state in states if state != OPEN])

    def _each(self, event: int, kinds: list[int], states: list[int] | None = None) -> Iterator[int]:
        for kind in kinds:
            for state in states or [0]:
                for color in range(1 if kind in COLORLESS or not self.colors else len(COLORS)):
                    yield event_code(event, kind, color, state)


def event_code(event: int, kind: int, color: int = 0, state: int = 0) -> int:
    """The code of an event and its thing."""
    return 1 + event * kernels.THINGS + (kind * kernels.COLORS + color) * kernels.STATES + state


def _article(kind: int, shown: str) -> str:
    if kind in (GOAL, LAVA):
        return "the " if kind == GOAL else ""
    return "an " if shown[0] in "aeiou" else "a "
