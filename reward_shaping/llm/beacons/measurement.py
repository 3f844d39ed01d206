"""How wrong a language model's subgoals are, measured on its answers for a few levels."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cairngym.envs.core import TensorEnv
from cairngym.envs.minigrid.cells import DOOR
from cairngym.reward_shaping.llm.beacons.answers import read_answer
from cairngym.reward_shaping.llm.beacons.errors import ErrorModel, Kind, check_kind
from cairngym.reward_shaping.llm.beacons.observation import minigrid_world, planned
from cairngym.reward_shaping.llm.beacons.prompts import NUM_LEVELS, prompt_levels, requests
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal, SubgoalTable
from cairngym.reward_shaping.llm.provider import Provider, opened


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Answers held against the right subgoals of their levels."""

    pairs: tuple[tuple[Subgoal, Subgoal], ...]
    """What was named and what it stands for, in this order."""
    missing: tuple[Subgoal, ...]
    """Right ones that nothing stands for."""
    extra: tuple[Subgoal, ...]
    """Named ones that stand for none."""

    def model(self, kind: Kind) -> ErrorModel:
        """The errors of subgoals of this kind.

        A position is right if it is the thing's, an object if type and colour are, and the state of a door where it was
        named; a sentence if verb, colour and noun are. Distances are those of the wrong positions alone; a position
        that was not named counts as wrong, and for no distance.
        """
        wanted = len(self.pairs) + len(self.missing)
        right = sum(is_right(named, meant, kind) for named, meant in self.pairs)
        far = [distance for pair in self.pairs if (distance := manhattan(*pair))]
        return ErrorModel(
            accuracy=right / len(self.pairs) if self.pairs else 0.0,
            position_error=statistics.fmean(far) if far else 1.0,
            position_std=statistics.pstdev(far) if far else 0.0,
            missing=len(self.missing) / wanted if wanted else 0.0,
            extra=min(1.0, len(self.extra) / wanted) if wanted else 0.0,
        )


def measure(env: TensorEnv, provider: Provider | str = "recorded:", kind: str = "object", levels: int = NUM_LEVELS
            ) -> ErrorModel:  # fmt: skip
    """The errors that a model makes on levels of a task that neither split draws.

    Args:
        env: a MiniGrid env.
        provider: who answers `requests(env, levels)`; see `make_provider`.
        kind: "position", "object" or "language".
        levels: how many are asked about.

    Raises:
        ProviderError: an answer can't be had, for instance because it was not recorded.
    """
    return compare_answers(env, provider, levels).model(check_kind(kind))


def compare_answers(env: TensorEnv, provider: Provider | str = "recorded:", levels: int = NUM_LEVELS) -> Comparison:
    """Ask about levels of a task and hold the answers against the right subgoals; arguments as in `measure`."""
    asked = requests(env, levels)
    with opened(provider) as answering:
        texts = [completion.text for completion in answering.complete_all_sync(asked)]
    return compare(texts, prompt_plans(env, levels))


def prompt_plans(env: TensorEnv, levels: int = NUM_LEVELS) -> SubgoalTable:
    """The right subgoals of the levels that `requests` asks about."""
    world = minigrid_world(env)
    return planned(prompt_levels(env, levels), world)


def compare(texts: Sequence[str], plans: SubgoalTable) -> Comparison:
    """Hold answers against the right subgoals of their levels.

    Raises:
        ValueError: not one answer a level.
    """
    if len(texts) != len(plans):
        raise ValueError(f"Expected one answer for each of the {len(plans)} levels, got {len(texts)}.")
    pairs: list[tuple[Subgoal, Subgoal]] = []
    missing: list[Subgoal] = []
    extra: list[Subgoal] = []
    for row, text in enumerate(texts):
        aligned = align(read_answer(text).subgoals, plans.level(row))
        pairs += [(named, meant) for named, meant in aligned if named and meant]
        missing += [meant for named, meant in aligned if meant and not named]
        extra += [named for named, meant in aligned if named and not meant]
    return Comparison(pairs=tuple(pairs), missing=tuple(missing), extra=tuple(extra))


def align(named: Sequence[Subgoal], meant: Sequence[Subgoal]) -> list[tuple[Subgoal | None, Subgoal | None]]:
    """The alignment, in order, of least cost: what differs (see `difference`), and 1 for what is missing or extra."""
    table = [[float(i + j) for j in range(len(meant) + 1)] for i in range(len(named) + 1)]
    for i, ours in enumerate(named, start=1):
        for j, theirs in enumerate(meant, start=1):
            paired = table[i - 1][j - 1] + difference(ours, theirs)
            table[i][j] = min(paired, table[i - 1][j] + 1, table[i][j - 1] + 1)
    aligned: list[tuple[Subgoal | None, Subgoal | None]] = []
    i, j = len(named), len(meant)
    while i or j:
        if i and j and table[i][j] == table[i - 1][j - 1] + difference(named[i - 1], meant[j - 1]):
            i, j = i - 1, j - 1
            aligned.append((named[i], meant[j]))
        elif i and table[i][j] == table[i - 1][j] + 1:
            i -= 1
            aligned.append((named[i], None))
        else:
            j -= 1
            aligned.append((None, meant[j]))
    return aligned[::-1]


def difference(named: Subgoal, meant: Subgoal) -> float:
    """How little a subgoal can stand for another: 0 for the same thing at the same place, below 2 for any other.

    In binary fractions, so that sums of them compare exactly.
    """
    deed, kind, color = (one != other for one, other in zip(named.thing, meant.thing, strict=True))
    return 0.75 * kind + 0.5 * color + 0.375 * deed + 0.25 * ((named.x, named.y) != (meant.x, meant.y))


def is_right(named: Subgoal, meant: Subgoal, kind: Kind) -> bool:
    """Whether what was named says of `meant` what this kind of subgoal is to say."""
    if kind == "position":
        return (named.x, named.y) == (meant.x, meant.y)
    if kind == "language":
        return named.thing == meant.thing
    state = named.kind != DOOR or named.state is None or named.state == meant.state
    return named.thing[1:] == meant.thing[1:] and state


def manhattan(named: Subgoal, meant: Subgoal) -> int | None:
    """Cells between the places of two subgoals; None where one has none."""
    if named.x is None or named.y is None or meant.x is None or meant.y is None:
        return None
    return abs(named.x - meant.x) + abs(named.y - meant.y)
