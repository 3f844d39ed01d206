"""What the designer writes: a program with the components `sparse` and `dense`, of which only the signs are paid."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.program import ProgramRefused, RewardProgram
from cairngym.reward_shaping.llm.program_term import compile_for

SPARSE, DENSE = "sparse", "dense"
COMPONENTS = (SPARSE, DENSE)
"""What every design returns, and nothing else."""
_NAMED = re.compile(r"\bdef(\s+)reward\b")
_PAID = """


def reward(state, action, next_state, memory):
    {own}_total, {own}_parts = {own}_design(state, action, next_state, memory)
    {own}_sparse = {own}_parts["sparse"].float()
    {own}_dense = {own}_parts["dense"].float()
    {own}_sparse = torch.sign({own}_sparse) + 0.0 * {own}_sparse  # NaN, where it is not finite
    {own}_dense = torch.sign({own}_dense) + 0.0 * {own}_dense
    {own}_paid = {sparse!r} * {own}_sparse + {dense!r} * {own}_dense
    return {own}_paid, {{"sparse": {own}_sparse, "dense": {own}_dense}}
"""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the signs are worth: r = sparse sgn(sparse component) + dense sgn(dense component).

    Raises:
        ValueError: a weight that is not a finite number of at least zero, or both are zero.
    """

    sparse: float = 1.0
    dense: float = 0.1

    def __post_init__(self) -> None:
        for name in COMPONENTS:
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Expected a finite {name} weight of at least 0, got {value}.")
        if self.sparse == self.dense == 0:
            raise ValueError("Expected a sparse or a dense weight above 0, got 0 for both: nothing would be paid.")


@dataclass(frozen=True, kw_only=True)
class Design:
    """A design in both its forms."""

    program: RewardProgram
    """As written; its reward means nothing, its components are the two."""
    paid: RewardProgram
    """The same with the weighted sum of the signs as its reward, and the signs as its components."""


def compile_design(env: TensorEnv, source: str, weights: Weights | None = None) -> Design:
    """Compile a design for an env.

    Args:
        env: what it is for.
        source: the program.
        weights: of the signs.

    Raises:
        ProgramRefused: it is not of the language, or its components are not the two.

    Example:
        >>> import cairngym, torch
        >>> text = '''
        ... def reward(state, action, next_state, memory):
        ...     arrived = (next_state.node == 9).float()
        ...     return arrived, {"sparse": arrived, "dense": (next_state.node - state.node).float()}'''
        >>> design = compile_design(cairngym.make("Chain-N10-v0"), text)
        >>> before, after = torch.tensor([8, 3, 3]), torch.tensor([9, 2, 3])
        >>> design.paid({"node": before}, torch.tensor([1, 0, 0]), {"node": after})[0].tolist()
        [1.100000023841858, -0.10000000149011612, 0.0]
    """
    program = compile_for(env, source)
    if set(program.components) != set(COMPONENTS):
        named = ", ".join(map(repr, program.components))
        raise ProgramRefused(
            f"Expected exactly the components 'sparse' and 'dense', got {named}. Add up what belongs to either of them "
            'and return {"sparse": ..., "dense": ...}.'
        )
    return Design(program=program, paid=compile_for(env, signed(source, weights or Weights())))


def signed(source: str, weights: Weights) -> str:
    """The text of a program that calls a design and pays the weighted sum of its signs; lines keep their numbers.

    The sign of a value that is not finite is NaN, so that whatever guards a run against such rewards sees it.

    Args:
        source: a design that compiles.
        weights: of the signs.

    Raises:
        ProgramRefused: `def` and `reward` are on different lines.
    """
    own = "auto_mc"
    while own in source:
        own += "x"
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    last = next(node for node in reversed(ast.parse(source).body) if isinstance(node, ast.FunctionDef))
    line, count = _NAMED.subn(rf"def\1{own}_design", lines[last.lineno - 1], count=1)
    if not count:
        raise ProgramRefused("Write `def reward(` on one line.", last.lineno, 1)
    lines[last.lineno - 1] = line
    return "\n".join(lines).rstrip() + _PAID.format(own=own, sparse=float(weights.sparse), dense=float(weights.dense))
