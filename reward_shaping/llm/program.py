"""Reward programs: source text of a stranger, compiled so that it can do nothing but compute with tensors.

    def reward(state, action, next_state, memory):
        before = torch.linalg.norm(state.object_position - state.goal, dim=-1)
        after = torch.linalg.norm(next_state.object_position - next_state.goal, dim=-1)
        best = torch.minimum(memory.get("best", before), after)
        memory["best"] = best
        progress = before - after
        return progress, {"progress": progress, "best": -best}

The source is parsed, checked against the language (`syntax_rules`), followed on stand-ins that hold no data
(`evaluator`), and only then written anew and compiled (`emission`). `docs/security.md` says what that is worth.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from cairngym.envs.data import State, StateField
from cairngym.reward_shaping.llm import syntax_rules
from cairngym.reward_shaping.llm.answers import Answer
from cairngym.reward_shaping.llm.emission import emit
from cairngym.reward_shaping.llm.evaluator import Evaluator
from cairngym.reward_shaping.llm.extraction import extract_code
from cairngym.reward_shaping.llm.refusal import ProgramFailed, ProgramRefused
from cairngym.reward_shaping.llm.remembering import Memory, Notes, forget
from cairngym.reward_shaping.llm.source_text import FILENAME

__all__ = ["Memory", "ProgramFailed", "ProgramRefused", "RewardProgram", "compile_program", "extract_code", "forget"]

Read = tuple[str, tuple[int, ...], torch.dtype]

_GUESSES = (
    *(
        StateField(shape=(size,), unit="", description="A force or a target.")
        for size in (8, 2, 3, 4, 6, 7, 1, 12, 16, 24)
    ),
    StateField(shape=(), unit="index", description="Which action.", dtype=torch.int64),
)
"""What an action may be while it is not known; the first that a program agrees with is taken."""


def compile_program(
    source: str, state_spec: Mapping[str, StateField], *, action: StateField | None = None
) -> RewardProgram:
    r"""Compile a reward program; nothing of it runs.

    Args:
        source: defines `reward(state, action, next_state, memory)` last, and helper functions above it.
        state_spec: the fields of the state that exist.
        action: what an action is; None leaves that to the first call, and until then to what the program supposes.

    Raises:
        ProgramRefused: the program is not of the language; with line, column and reason.
        TypeError: `source` is not text.

    Example:
        >>> from cairngym.envs.data import StateField
        >>> spec = {"x": StateField(shape=(), unit="m", description="Where it is.")}
        >>> text = "def reward(state, action, next_state, memory):\n  r = -abs(next_state.x)\n  return r, {'near': r}"
        >>> program = compile_program(text, spec)
        >>> program.fields, program.components
        (('x',), ('near',))
        >>> point = {"x": torch.tensor([2.0, -3.0])}
        >>> program(point, torch.zeros(2, 1), point, {})[0]
        tensor([-2., -3.])
        >>> compile_program("import os", spec)
        Traceback (most recent call last):
        cairngym.reward_shaping.llm.refusal.ProgramRefused: line 1, column 1: Imports are refused; ...
    """
    if not isinstance(source, str):
        raise TypeError(f"Expected the source of a program as text, got {type(source).__name__}.")
    return RewardProgram(
        source, state_spec, action, build(source, state_spec, (action,) if action else _GUESSES, torch.device("cpu"))
    )


def build(
    source: str, state_spec: Mapping[str, StateField], actions: tuple[StateField, ...], device: torch.device
) -> Kernel:
    """Parse a program, follow it with the first kind of action it agrees with, and compile it for a device.

    Raises:
        ProgramRefused: it is not of the language, or agrees with none.
    """
    try:
        with warnings.catch_warnings():  # torch warns of statistics over stand-ins, which hold nothing
            warnings.simplefilter("ignore")
            return Kernel(*_follow(source, state_spec, actions), device)
    except ProgramRefused as refusal:
        raise refusal.within(source) from None
    except RecursionError:
        raise ProgramRefused("The program is nested too deeply; use local names and fewer helpers.") from None
    except Exception as problem:  # the compiler's own fault must not end the process that compiles
        said = f"{type(problem).__name__}: {problem}"[:200]
        raise ProgramRefused(f"The compiler cannot follow this program ({said}); write it another way.") from problem


def _follow(
    source: str, state_spec: Mapping[str, StateField], actions: tuple[StateField, ...]
) -> tuple[Evaluator, Answer]:
    functions = syntax_rules.parse(source)
    first: ProgramRefused | None = None
    for action in actions:
        evaluator = Evaluator(functions, state_spec, action)
        try:
            return evaluator, evaluator.run()
        except ProgramRefused as refusal:
            first = first or refusal
            if not evaluator.action_used:
                break
    raise first or ProgramRefused("No kind of action was given.")


class Kernel:
    """A program compiled for one kind of action on one device."""

    def __init__(self, evaluator: Evaluator, answer: Answer, device: torch.device) -> None:
        self.function, self.answer, self.evaluator = emit(evaluator, device), answer, evaluator
        self.remembers = bool(evaluator.remembering.written)
        self.owns = not (answer.converted or answer.shared or answer.shares)

    def expected(self, which: str, batch: int) -> list[Read]:
        """Names, shapes and dtypes of the fields read from "state" or "next_state"."""
        spec = self.evaluator.state_spec
        return [(name, (batch, *spec[name].shape), spec[name].dtype) for name in sorted(self.evaluator.reads[which])]


class _Plan:
    """A kernel, and what it is given at one batch size."""

    __slots__ = ("action", "batch", "before", "following", "kernel")

    def __init__(self, kernel: Kernel, action: torch.Tensor) -> None:
        self.kernel, self.batch = kernel, len(action)
        self.action = action.shape, action.dtype, action.device
        self.before = kernel.expected("state", self.batch)
        self.following = kernel.expected("next_state", self.batch)


class RewardProgram:
    """A compiled reward; made by `compile_program`, pickled as its source and spec.

    Attributes:
        source: the text it was compiled from.
        state_spec: the fields it was compiled for.
        action: what an action is, where that was given.
        fields: the fields it reads, sorted.
        components: names of its components, in order.
        remembers: names of its memory, sorted.
        bytes_per_env: of memory that a call takes at most, for each env.
    """

    def __init__(
        self,
        source: str,
        state_spec: Mapping[str, StateField],
        action: StateField | None,
        kernel: Kernel,
    ) -> None:
        self.source, self.state_spec, self.action = source, dict(state_spec), action
        evaluator = kernel.evaluator
        self.fields = tuple(sorted(evaluator.reads["state"] | evaluator.reads["next_state"]))
        self.components = kernel.answer.names
        self.remembers = tuple(sorted(evaluator.remembering.written))
        self.bytes_per_env = evaluator.ledger.peak
        self._acts = evaluator.action_used
        cpu = torch.device("cpu")
        key = (torch.Size(evaluator.action.shape), evaluator.action.dtype, cpu) if self._acts else cpu
        self._kernels: dict[Any, Kernel] = {key: kernel}
        self._plan: _Plan | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(compile_program, action=self.action), (self.source, self.state_spec)

    def __repr__(self) -> str:
        return f"RewardProgram(fields={self.fields}, components={self.components}, remembers={self.remembers})"

    def __call__(
        self, state: State, action: torch.Tensor, next_state: State, memory: Memory | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Score B transitions, without gradients.

        Args:
            state: fields `(B, ...)`; others than `fields` may be missing.
            action: `(B, ...)`.
            next_state: the true next fields, before any reset.
            memory: what envs remember, `(B, ...)` floats by name, NaN in rows whose episode has just begun (see
                `forget`). Items the program writes are replaced by new tensors, none is written into. None remembers
                nothing.

        Returns:
            The reward, floats `(B,)`, and the components, floats `(B,)` each, finite or not; none shares memory with
            what was given.

        Raises:
            ProgramFailed: a field or the memory is not as declared, or torch failed; the memory is as it was.
        """
        plan = self._plan
        if plan is None or plan.action != (action.shape, action.dtype, action.device):
            plan = self._plan = _Plan(self._kernel(action), action)
        kernel = plan.kernel
        alike = _check("state", state, plan.before) & _check("next_state", next_state, plan.following)
        notes = Notes(memory or {}, plan.batch, action.device) if kernel.remembers else None
        try:
            if torch.is_grad_enabled():
                with torch.no_grad():
                    reward, components = kernel.function(state, action, next_state, notes)
            else:
                reward, components = kernel.function(state, action, next_state, notes)
        except Exception as error:
            raise _failed(error) from error
        if memory is not None and notes is not None:
            memory.update(notes.changed)
        if kernel.owns and alike:
            return reward, components
        return _own(reward, components, kernel.answer, alike), components

    def _kernel(self, action: torch.Tensor) -> Kernel:
        """The program for this kind of action on its device."""
        key = (action.shape[1:], action.dtype, action.device) if self._acts else action.device
        if key not in self._kernels:
            self._kernels[key] = self._adapt(action)
        return self._kernels[key]

    def _adapt(self, action: torch.Tensor) -> Kernel:
        """Follow and compile the program for a kind of action, or a device, that it has not met."""
        shape, dtype = tuple(action.shape[1:]), action.dtype
        wanted = self.action
        if wanted and (shape, dtype.is_floating_point) != (wanted.shape, wanted.dtype.is_floating_point):
            raise ProgramFailed(f"Expected actions of shape {_rows(wanted.shape)}, got {dtype} {_rows(shape)}.")
        field = StateField(shape=shape, unit="", description="The action met.", dtype=dtype)
        try:
            return build(self.source, self.state_spec, (field,), action.device)
        except ProgramRefused as refusal:
            raise ProgramFailed(f"With {dtype} actions {_rows(shape)}: {refusal.reason}", refusal.line) from None


def _rows(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['B', *map(str, shape)])})"


def _check(name: str, given: State, expected: list[Read]) -> bool:
    """Hold the fields a program reads against their spec; returns whether all are of the very dtype."""
    alike = True
    for field, shape, dtype in expected:
        try:
            value = given[field]
        except KeyError:
            raise ProgramFailed(f"{name} has no field {field!r}; it has: {', '.join(given) or 'none'}.") from None
        if value.shape != shape:
            raise ProgramFailed(f"Expected {name}.{field} of shape {shape}, got {tuple(value.shape)}.")
        if value.dtype is not dtype:
            if value.is_floating_point() is not dtype.is_floating_point:
                raise ProgramFailed(f"Expected {name}.{field} as {dtype}, got {value.dtype}.")
            alike = False
    return alike


def _own(reward: torch.Tensor, components: dict[str, torch.Tensor], answer: Answer, alike: bool) -> torch.Tensor:
    """Copy what may be part of another tensor, or anything where dtypes are not as foreseen; make components floats."""
    for name in answer.converted:
        components[name] = components[name].to(torch.float32)
    for name in answer.shared if alike else answer.names:
        components[name] = components[name].clone()
    return reward.clone() if answer.shares or not alike else reward


def _failed(error: Exception) -> ProgramFailed:
    """What went wrong, at the program's line."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    text = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return ProgramFailed(text, line)
