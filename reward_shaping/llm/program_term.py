"""What every shaper shares whose value a reward program computes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from gymnasium import spaces

from cairngym.envs.core import State, TensorEnv, Transition, clone
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.llm.abstraction import action_field, visible
from cairngym.reward_shaping.llm.program import ProgramFailed, RewardProgram, compile_program, extract_code, forget
from cairngym.reward_shaping.llm.switching import LIMIT, Fuse
from cairngym.reward_shaping.potential import PotentialShaper

SCORE = "score"
"""The name under which a program's score is handed to `PotentialShaper`."""


@dataclass(frozen=True)
class _Scored:
    """What the program came to on one batch; nothing is kept yet."""

    value: torch.Tensor
    """The term `(B,)`, unsound rows zero."""
    sound: torch.Tensor
    """bool `(B,)`."""
    components: dict[str, torch.Tensor] = field(default_factory=dict)
    memory: dict[str, torch.Tensor] = field(default_factory=dict)
    """What the envs remember after it."""
    failure: str = ""
    """Why the program could not be evaluated at all."""


class ProgramTerm(Shaper):
    """What every shaper that runs a reward program does; a subclass says in `load` where the program comes from.

    The program's memory is read in `shape`, which changes nothing, and written in `observe`. A program that pays NaN,
    an infinity or more than `limit` on a transition just made, or that cannot be evaluated, is switched off for the
    rest of the run: with one warning, the metric `switched_off`, and zeros from that transition on. Unsound rows are
    zero before that as well.

    With `invariant` the program's score becomes a potential, with the ends of episodes as in `PotentialShaper`:
    Phi(s) is the reward of the stationary transition (s, idle, s), where idle is the action nearest to zero (the first
    one where actions are discrete). A program that pays for change, such as a difference of distances, is zero on all
    of these; one that says how good a state is, such as a negative distance, is not. Memory is refused: Phi must be a
    function of the state.

    Metrics of each update, since the last: `value`, the term's mean, and `components/<name>`, each component's.

    Args:
        invariant: make the score a potential.
        gamma: the agent's discount, needed with `invariant` and not used without.
        offset: of the potential, see `PotentialShaper`.
        clip: the score is kept in [-clip, clip]; None leaves it.
        limit: a score beyond it has exploded.

    Raises:
        ValueError: an option out of its range, or no gamma for a potential.
        TypeError: `invariant` is not a truth value.

    Attributes:
        program: after `bind`.
        components: of the transitions last observed, `(B,)` each, for plots; with `invariant`, those of the next state.
    """

    def __init__(
        self,
        *,
        invariant: bool = False,
        gamma: float | None = None,
        offset: str | float = "zero",
        clip: float | None = None,
        limit: float = LIMIT,
    ) -> None:
        if not isinstance(invariant, bool):
            raise TypeError(f"Expected invariant as true or false, got {invariant!r}.")
        self.clip = None if clip is None else number("clip", clip)
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"Expected clip above zero, or None, got {clip}.")
        self.fuse = Fuse(type(self).__name__, number("limit", limit))
        self.policy_invariant = invariant
        self.potential = _potential(gamma, offset) if invariant else None
        self.gamma = None if self.potential is None else self.potential.gamma
        self.components: dict[str, torch.Tensor] = {}

    @abstractmethod
    def load(self, env: TensorEnv) -> RewardProgram:
        """The program for an env; called by `bind`.

        Raises:
            ValueError: there is none (`ProgramRefused` is one).
        """

    def bind(self, env: TensorEnv) -> None:
        """Load the program and start afresh.

        Raises:
            ValueError: no program, or one with memory for a potential.
        """
        self._env = env
        self.adopt(self.load(env))
        self.fuse.bind(env.device)
        self._idle = idle_action(env.single_action_space).to(env.device)
        self._restart()

    def adopt(self, program: RewardProgram) -> None:
        """Go on with `program`.

        Raises:
            ValueError: it has memory, and is to be a potential.
        """
        if self.potential is not None and program.remembers:
            raise ValueError(
                "Expected a program without memory for invariant=True, since a potential is a function of the state; "
                f"this one remembers {', '.join(program.remembers)}. Use invariant=False, or a program without memory."
            )
        self.program = program
        self.requires, self.memory = program.fields, bool(program.remembers)

    def _restart(self) -> None:
        self._held: dict[str, torch.Tensor] = {}
        self._sums: dict[str, torch.Tensor] = {}
        self._count = torch.zeros((), dtype=torch.int64, device=self._env.device)
        self.components = {}
        self._last: tuple[Transition, _Scored] | None = None

    # Every step

    def shape(self, transition: Transition) -> torch.Tensor:
        """The term, float32 `(B,)`; zeros once it is switched off.

        Raises:
            ValueError: a program with memory is asked about transitions that are replayed.
        """
        return self._scored(transition).value

    def _scored(self, transition: Transition) -> _Scored:
        if self._last is None or self._last[0] is not transition:
            self._last = transition, self._score(transition)
        return self._last[1]

    def _score(self, transition: Transition) -> _Scored:
        nothing = torch.zeros(len(transition), device=transition.reward.device)
        if self.fuse.blown:
            return _Scored(nothing, torch.ones_like(nothing, dtype=torch.bool), memory=self._held)
        if self.memory and (transition.env_id is None or len(transition) != self._env.num_envs):
            raise ValueError("What a program remembers belongs to running episodes; keep the value that was collected.")
        try:
            return self._evaluate(transition)
        except ProgramFailed as failure:
            broken = torch.zeros_like(nothing, dtype=torch.bool)
            return _Scored(nothing, broken, memory=self._held, failure=f"it failed: {failure}")

    def _evaluate(self, transition: Transition) -> _Scored:
        if self.potential is not None:
            after, components = self._standing(transition.next_state, len(transition))
            before, _ = self._standing(transition.state, len(transition))
            sound = self.fuse.sound(after, before)
            states = {SCORE: self._clipped(before)}, {SCORE: self._clipped(after)}
            value = self.potential.shape(replace(transition, state=states[0], next_state=states[1]))
            return _Scored(self.fuse.passed(value, sound), sound, components)
        memory = dict(self._held)
        total, components = self.program(transition.state, transition.action, transition.next_state, memory)
        sound = self.fuse.sound(total)
        value = self.fuse.passed(self._clipped(total.to(torch.float32)), sound)
        return _Scored(value, sound, components, memory)

    def _standing(self, state: State, count: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The score of every state, that of staying there."""
        total, components = self.program(state, self._idle.expand(count, *self._idle.shape), state)
        return total.to(torch.float32), components

    def _clipped(self, score: torch.Tensor) -> torch.Tensor:
        return score if self.clip is None else score.clamp(-self.clip, self.clip)

    def observe(self, transition: Transition) -> None:
        """Keep what the program remembers, switch it off if it was unsound, and add to the metrics."""
        scored, valid = self._scored(transition), transition.valid
        if scored.failure:
            self.fuse.blow(scored.failure, len(transition))
        else:
            self.fuse.observe(scored.sound, valid)
        self._held = {name: self._kept(name, value, valid) for name, value in scored.memory.items()}
        self.components = scored.components
        self._add({**{f"components/{name}": value for name, value in scored.components.items()}, "value": scored.value},
                  valid)  # fmt: skip
        self._last = None

    def _kept(self, name: str, value: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """What is remembered after a step; rows that were not valid remember what they did."""
        if valid is None:
            return value
        before = self._held.get(name, torch.full_like(value, torch.nan))
        return torch.where(valid.view(-1, *(1,) * (value.ndim - 1)), value, before)

    def _add(self, values: Mapping[str, torch.Tensor], valid: torch.Tensor | None) -> None:
        for name, value in values.items():
            counted = torch.where(torch.isfinite(value), value, 0.0).to(torch.float64)
            total = (counted if valid is None else torch.where(valid, counted, 0.0)).sum()
            self._sums[name] = self._sums[name] + total if name in self._sums else total
        rows = next(iter(values.values()))
        self._count = self._count + (len(rows) if valid is None else valid.sum())

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the masked envs' episodes."""
        forget(self._held, mask)
        self._last = None

    # Now and then

    def update(self) -> dict[str, float]:
        """Means since the last update, and whether it is switched off; nothing is learned."""
        count = max(int(self._count), 1)
        means = {name: float(total) / count for name, total in self._sums.items()}
        self._sums, self._count = {}, torch.zeros_like(self._count)
        return {**means, **self.fuse.metrics()}

    def get_state(self) -> dict[str, Any]:
        """Copy the program's text, what envs remember, the fuse, and the metrics under way."""
        return {
            "source": self.program.source, "memory": clone(self._held), "fuse": self.fuse.get_state(),
            "sums": clone(self._sums), "count": self._count.clone(),
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy, and to its program.

        Raises:
            ValueError: its program reads fields that this one does not, which nobody keeps.
        """
        if snapshot["source"] != self.program.source:
            program = compile_for(self._env, snapshot["source"])
            further = sorted(set(program.fields) - set(self.requires))
            if further:
                raise ValueError(
                    f"The snapshot's program reads the fields {further}, which the one loaded here does not. Give the "
                    "snapshot's own as source, or the same recordings that it came from."
                )
            self.adopt(program)
        self._held, self._sums = clone(snapshot["memory"]), clone(snapshot["sums"])
        self._count = snapshot["count"].clone()
        self.fuse.set_state(snapshot["fuse"])
        self.components, self._last = {}, None


def given_text(source: str | None, path: str | Path | None) -> str | None:
    """The program that a user gives as text or as a file, out of its Markdown where it stands in any; None for none.

    Raises:
        FileNotFoundError: no such file.
    """
    text = source
    if path is not None:
        file = Path(path).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f"Expected a file that holds a reward program, found none at {file}.")
        text = file.read_text(encoding="utf-8")
    return extract_code(text) if text is not None and "```" in text else text


def compile_for(env: TensorEnv, source: str) -> RewardProgram:
    """Compile a program for an env's visible measurements and its actions.

    Raises:
        ProgramRefused: it is not of the language.
    """
    return compile_program(source, visible(env.state_spec), action=action_field(env.single_action_space))


def idle_action(space: spaces.Space) -> torch.Tensor:
    """One action nearest to doing nothing, `(*action_shape)`: zero within a Box, the first of discrete ones."""
    if isinstance(space, spaces.Discrete):
        return torch.tensor(int(space.start))
    assert isinstance(space, spaces.Box)
    return torch.zeros(space.shape).clamp(torch.as_tensor(space.low), torch.as_tensor(space.high))


def number(name: str, value: Any) -> float:
    """Return an option as a number; YAML reads `1e4` as text.

    Raises:
        ValueError: it is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"Expected {name} as a number, got {value!r}.") from None


def whole(name: str, value: Any) -> int:
    """Return an option as a whole number >= 0.

    Raises:
        ValueError: it is none.
    """
    found = number(name, value)
    if isinstance(value, bool) or not (found >= 0 and found == found // 1):
        raise ValueError(f"Expected {name} as a whole number >= 0, got {value!r}.")
    return int(found)


def _potential(gamma: float | None, offset: str | float) -> PotentialShaper:
    if gamma is None:
        raise ValueError("Expected gamma, the agent's discount, with invariant=True, got none.")
    return PotentialShaper(
        gamma=number("gamma", gamma), potential=lambda state: state[SCORE], scale=1.0, requires=(SCORE,),
        offset=offset if isinstance(offset, (int, float)) else str(offset),  # type: ignore[arg-type]
    )  # fmt: skip
