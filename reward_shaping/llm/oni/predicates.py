"""Captions of continuous worlds: what comes to hold, and what ceases to, among conditions on the state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cairngym.envs.core import State, TensorEnv, Transition
from cairngym.reward_shaping.llm.oni.captioner import Captioner

PLACES = ("position", "goal")
"""How the names of fields end that say where something is."""


@dataclass(frozen=True, kw_only=True)
class Predicate:
    """A condition on the state: a field, or its distance from another, on one side of a threshold.

    Raises:
        ValueError: neither or both of `below` and `above`.

    Example:
        >>> near = Predicate(becomes="the gripper is near", field="gripper_position", other="goal", below=0.1)
        >>> state = {"gripper_position": torch.tensor([[0.0, 0, 0], [0, 3, 4]]), "goal": torch.zeros(2, 3)}
        >>> near.holds(state).tolist()
        [True, False]
    """

    becomes: str
    """The caption when it comes to hold."""
    ceases: str = ""
    """The caption when it ceases to; empty for none."""
    field: str
    """The field of the state."""
    other: str | None = None
    """What is subtracted from it."""
    component: int | None = None
    """Which entry is compared; None for the Euclidean norm, and for the value of a field that has no entries."""
    below: float | None = None
    """It holds where the value is smaller; in the field's unit."""
    above: float | None = None
    """It holds where the value is greater."""

    def __post_init__(self) -> None:
        if (self.below is None) == (self.above is None):
            raise ValueError(f"Expected either below or above for {self.becomes!r}, got {self.below} and {self.above}.")

    @property
    def fields(self) -> tuple[str, ...]:
        """What it reads."""
        return (self.field,) if self.other is None else (self.field, self.other)

    def holds(self, state: State) -> torch.Tensor:
        """Where it holds, bool `(B,)`."""
        value = state[self.field]
        if self.other is not None:
            value = value - state[self.other]
        if self.component is not None:
            value = value[..., self.component]
        elif value.ndim > 1:
            value = value.square().sum(dim=-1).sqrt()
        if self.above is not None:
            return value > self.above
        return value < self.below  # type: ignore[operator]  # one of the two is given


class PredicateCaptioner(Captioner):
    """Captions where conditions change: of several in one step the first that comes to hold, else that ceases to.

    Args:
        predicates: the conditions, what matters most first.
        setting: what the world is like, for prompts; by default made from the fields' descriptions.

    Raises:
        ValueError: no condition.
    """

    def __init__(self, predicates: Sequence[Predicate], setting: str = "") -> None:
        if not predicates:
            raise ValueError("Expected at least one Predicate, got none.")
        self.predicates = tuple(predicates)
        self.requires = tuple(sorted({name for predicate in predicates for name in predicate.fields}))
        texts = [*(one.becomes for one in self.predicates), *(one.ceases for one in self.predicates)]
        self._texts = ("", *texts)
        self.captions = tuple(dict.fromkeys(text for text in texts if text))
        self.size, self.setting, self._given = len(self._texts), setting, setting

    def bind(self, env: TensorEnv) -> None:
        """Check that the env measures what is read, and describe it.

        Raises:
            ValueError: a field that it does not measure, or that only a planner knows.
        """
        spec = env.state_spec
        for name in self.requires:
            if name not in spec or spec[name].privileged:
                offered = ", ".join(field for field in spec if not spec[field].privileged)
                raise ValueError(f"Captions can't read the state field {name!r}. Measured here: {offered}.")
        lines = (f"{_noun(name)}: {spec[name].description} ({spec[name].unit})" for name in self.requires)
        self.setting = self._given or "What is measured: " + " ".join(lines)
        silent = [not text for text in self._texts[1:]]
        rank = torch.arange(len(silent), 0, -1, device=env.device)
        self._rank = torch.where(torch.tensor(silent, device=env.device), 0, rank)

    def codes(self, transition: Transition) -> torch.Tensor:
        """The code of every transition, int64 `(B,)`."""
        before = torch.stack([predicate.holds(transition.state) for predicate in self.predicates], dim=1)
        after = torch.stack([predicate.holds(transition.next_state) for predicate in self.predicates], dim=1)
        changed = torch.cat((after & ~before, before & ~after), dim=1)
        first = (changed * self._rank).amax(dim=1)
        return torch.where(first > 0, len(self._rank) + 1 - first, 0)

    def text(self, code: int) -> str:
        """The caption of a code above zero."""
        return self._texts[code]


def distances(env: TensorEnv, near: float | None = None) -> list[Predicate]:
    """A condition for every pair of places that the env measures in metres and in as many dimensions: they are near.

    Args:
        env: whose `state_spec` names the places.
        near: in metres; by default twice the threshold of the task's success, or 0.1.
    """
    width = near if near is not None else 2 * float(getattr(env.unwrapped.task, "threshold", 0.05))
    places = [
        name for name, field in env.state_spec.items()
        if name.endswith(PLACES) and field.unit == "m" and field.shape in ((2,), (3,)) and not field.privileged
    ]  # fmt: skip
    return [
        Predicate(
            becomes=f"the {_noun(one)} comes near the {_noun(two)}",
            ceases=f"the {_noun(one)} moves away from the {_noun(two)}",
            field=one, other=two, below=width,
        )
        for one, two in itertools.combinations(places, 2)
        if env.state_spec[one].shape == env.state_spec[two].shape
    ]  # fmt: skip


def _noun(name: str) -> str:
    return "agent" if name == "position" else name.removesuffix("_position").replace("_", " ")
