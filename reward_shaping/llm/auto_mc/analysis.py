"""The trajectory analyzer: failed episodes as a short summary of fixed form, for the designer to read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from cairngym.reward_shaping.llm.auto_mc.design import COMPONENTS
from cairngym.reward_shaping.llm.behaviour import Played, play, trace
from cairngym.reward_shaping.llm.program import RewardProgram
from cairngym.reward_shaping.llm.transitions import Recorded
from cairngym.reward_shaping.llm.trial import episodes_of

__all__ = ["FailedEpisode", "FailureSummary", "analyze", "episodes", "play"]

LAST, EXAMPLES, SAMPLES = 4, 3, 10
"""Steps shown before an episode's end, episodes shown, and points of a trace."""
WIDE = 8
"""Numbers of a measurement that are shown; wider ones are left out."""
DIGITS = 3
"""Significant digits of measurements and components."""
TIMEOUT, LOST = "ran out of time", "ended early"
"""How a failed episode ends."""
Fields = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class FailedEpisode:
    """One episode, as plain numbers, lists and texts."""

    env: int
    length: int
    """Steps."""
    ended: str
    """`TIMEOUT` or `LOST`."""
    trace: dict[str, list[Any]]
    """"step" (from 0), and what the components were at these steps."""
    last_steps: list[dict[str, Any]]
    """"step", "state" before the action, "action"; the latest last."""
    final_state: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FailureSummary:
    """What failed episodes have in common, and a few of them."""

    episodes: int
    failed: int
    failed_share: float
    """Of all episodes, in [0, 1]."""
    length: dict[str, float]
    """"least", "mean" and "greatest" number of steps of a failed episode; empty where none failed."""
    ended: dict[str, int]
    """Failed episodes by how they ended."""
    events: dict[str, dict[str, dict[str, float]]]
    """By component, by "failed" and "succeeded": steps "above" and "below" zero of an episode, on average, and the
    share of "episodes" with one above; empty where no episode is of that kind."""
    examples: list[FailedEpisode]
    left_out: list[str]
    """Measurements too wide to be shown."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return asdict(self)

    def text(self) -> str:
        """The JSON that a prompt shows: one line an entry, episodes step by step."""
        whole = self.to_json()
        heads = [f'  "{name}": {_line(value)}' for name, value in whole.items() if name != "examples"]
        shown = ",\n".join(f"    {_episode(entry)}" for entry in whole["examples"])
        examples = f"[\n{shown}\n  ]" if shown else "[]"
        return "{\n" + ",\n".join([*heads, f'  "examples": {examples}']) + "\n}"


def analyze(
    played: Played, program: RewardProgram, *, last: int = LAST, examples: int = EXAMPLES, samples: int = SAMPLES
) -> FailureSummary:
    """Summarise the failed ones of some episodes.

    Args:
        played: the episodes, from `play` (a policy) or `episodes` (a recording).
        program: the design that the policy learned from, as written.
        last: steps shown before each end.
        examples: failed episodes shown, spread evenly over all of them.
        samples: points of each trace.

    Raises:
        ValueError: a number below one.
    """
    for name, value in (("last", last), ("examples", examples), ("samples", samples)):
        if value < 1:
            raise ValueError(f"Expected {name} >= 1, got {value}.")
    parts = trace(program, played)
    won, lengths = played.succeeded, played.lengths
    lost = (~won).nonzero().squeeze(1)
    timeouts = int(played.final(played.truncated)[lost].sum())
    shown = _spread(len(lost), examples)
    wide = sorted(name for name, value in played.state.items() if _width(value) > WIDE)
    return FailureSummary(
        episodes=len(won), failed=len(lost), failed_share=rounded(len(lost) / len(won)), length=_lengths(lengths[lost]),
        ended={TIMEOUT: timeouts, LOST: len(lost) - timeouts},
        events={name: _events(parts[name], played) for name in COMPONENTS},
        examples=[_example(played, parts, int(lost[index]), last, samples) for index in shown],
        left_out=wide,
    )  # fmt: skip


def episodes(recorded: Recorded, program: RewardProgram) -> Played:
    """The recorded episodes side by side; one that the recording cuts off counts as out of time.

    Args:
        recorded: transitions.
        program: only the fields it was compiled for are kept, which are the visible ones.
    """
    index, lives = episodes_of(recorded)
    last = torch.zeros_like(lives)
    last[lives.sum(0) - 1, torch.arange(lives.shape[1])] = True
    truncated = recorded.truncated[index] | (last & ~recorded.terminated[index])
    return Played(
        state={name: recorded.state[name][index] for name in program.state_spec},
        next_state={name: recorded.next_state[name][index] for name in program.state_spec},
        action=recorded.action[index], success=recorded.success[index], truncated=truncated, lives=lives,
    )  # fmt: skip


def _lengths(lengths: torch.Tensor) -> dict[str, float]:
    if not len(lengths):
        return {}
    mean = rounded(float(lengths.double().mean()))
    return {"least": int(lengths.min()), "mean": mean, "greatest": int(lengths.max())}


def _events(values: torch.Tensor, played: Played) -> dict[str, dict[str, float]]:
    """Counts of a component's signs, `values` `(T, N)`, in failed and in successful episodes."""
    above = ((values > 0) & played.lives).sum(0).double()
    below = ((values < 0) & played.lives).sum(0).double()
    won = played.succeeded
    return {
        name: {
            "above": rounded(float(above[rows].mean())), "below": rounded(float(below[rows].mean())),
            "episodes": rounded(float((above[rows] > 0).double().mean())),
        }
        for name, rows in (("failed", ~won), ("succeeded", won)) if bool(rows.any())
    }  # fmt: skip


def _example(played: Played, parts: Fields, env: int, last: int, samples: int) -> FailedEpisode:
    length = int(played.lengths[env])
    steps = _spread(length, samples)
    return FailedEpisode(
        env=env, length=length,
        ended=TIMEOUT if bool(played.truncated[length - 1, env]) else LOST,
        trace={"step": steps, **{name: plain(parts[name][steps, env]) for name in COMPONENTS}},
        last_steps=[
            {"step": t, "state": _state(played.state, t, env), "action": plain(played.action[t, env])}
            for t in range(max(0, length - last), length)
        ],
        final_state=_state(played.next_state, length - 1, env),
    )  # fmt: skip


def _state(fields: Fields, t: int, env: int) -> dict[str, Any]:
    return {name: plain(value[t, env]) for name, value in fields.items() if _width(value) <= WIDE}


def _width(value: torch.Tensor) -> int:
    """Numbers of one env's value, of `(T, N, ...)`."""
    return math.prod(value.shape[2:])


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spaced, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [index * (count - 1) // max(most - 1, 1) for index in range(most)]


def plain(value: torch.Tensor) -> Any:
    """A tensor as a number, or as lists of numbers, floats rounded; those that JSON lacks as text."""
    if value.ndim:
        return [plain(entry) for entry in value]
    number = value.item()
    if not isinstance(number, float):
        return number
    return rounded(number) if math.isfinite(number) else str(number)


def rounded(number: float) -> float:
    """A number to a few significant digits; without the sign of a zero."""
    return float(f"{number:.{DIGITS}g}") + 0.0


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _episode(entry: Mapping[str, Any]) -> str:
    """One episode: its heads, its trace, then a line a step."""
    steps = ",\n".join(f"        {_line(step)}" for step in entry["last_steps"])
    heads = ", ".join(f'"{name}": {_line(entry[name])}' for name in ("env", "length", "ended"))
    return (
        f'{{{heads},\n      "trace": {_line(entry["trace"])},\n      "last_steps": [\n{steps}\n      ],\n'
        f'      "final_state": {_line(entry["final_state"])}}}'
    )
