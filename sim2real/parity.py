"""Whether an exported policy does what the agent does: on episodes played, on states in range, and on extreme ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from cairngym.agents.core import Actor, Agent
from cairngym.envs.core import Observation, TensorEnv
from cairngym.envs.layout import LONE, entries
from cairngym.sim2real.policy_modules import PolicyGraph, in_double

LIMIT = 1e-5
"""Greatest difference: of actions in their units or, where the range is wider than [-1, 1], in halves of it; of logits
and memories, which have no unit, in shares of their size where that is above one."""
FAR, NEAR = 1e6, 10.0
"""How far outside of what was seen extreme states lie: where the policy clips its inputs, in their units, and else in
ranges, since answers to larger numbers are not exact in float32, in torch as little as in a file."""
BATCH = 512
ROUNDING, WORST = 4.0, 1e-3
"""Where rounding is allowed, the file's error against float64 may be this many times the agent's own, up to `WORST`."""
Arrays = dict[str, np.ndarray]


class ParityError(ValueError):
    """The exported policy does something else than the agent."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How close an exported policy is to the agent."""

    states: int
    recorded: int
    """How many of them come from episodes that the agent played."""
    largest: float
    """Greatest difference of an action (see `LIMIT`), a logit or a memory between agent and file."""
    above: int = 0
    """States where it is `LIMIT` or more."""
    ties: int
    """Discrete actions that differ because their logits are closer than `LIMIT`."""
    torch_error: float = 0.0
    """Greatest difference between the agent's networks in float32 and in float64: what rounding does to the agent."""
    file_error: float = 0.0
    """Greatest difference between the file and the networks in float64."""

    @property
    def rounds_alike(self) -> bool:
        """Whether the file is about as close to the networks in float64 as the agent itself is in float32."""
        return self.file_error <= min(ROUNDING * self.torch_error, WORST)

    def text(self) -> str:
        """In one line."""
        more = (f", {self.ties} ties" if self.ties else "") + (
            f", {self.above} at or above {LIMIT:g}" if self.above else ""
        )
        return (
            f"|torch - onnxruntime| <= {self.largest:.1e} on {self.states:,} states "
            f"({self.recorded:,} recorded, the others random and extreme{more}); "
            f"from float64: torch {self.torch_error:.1e}, file {self.file_error:.1e}"
        )


class Runner:
    """An exported policy under onnxruntime, with batches and memories in plain sight.

    Args:
        data: the file's bytes.
        graph: the policy it was made from.
        names: of its inputs: entries, then memories.
    """

    def __init__(self, data: bytes, graph: PolicyGraph, names: tuple[str, ...]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.graph, self.names, self._double = graph, names, in_double(graph)

    def __call__(self, obs: Arrays, held: list[np.ndarray]) -> list[np.ndarray]:
        """All outputs, in order."""
        return self.session.run(None, dict(zip(self.names, (*obs.values(), *held), strict=True)))

    def eager(self, obs: Arrays, held: list[np.ndarray]) -> list[np.ndarray]:
        """What the same graph gives in torch."""
        with torch.no_grad():
            return [out.numpy() for out in self.graph(*map(torch.from_numpy, (*obs.values(), *held)))]

    def exact(self, obs: Arrays, held: list[np.ndarray]) -> list[np.ndarray]:
        """What it gives in torch in float64."""
        wide = [each.astype(np.float64) if each.dtype == np.float32 else each for each in held]
        with torch.no_grad():
            return [out.numpy() for out in self._double(*map(torch.from_numpy, (*obs.values(), *wide)))]

    def nothing(self, batch: int) -> list[np.ndarray]:
        """Memories of episodes that begin."""
        return [np.zeros((batch, *m.shape), str(m.dtype).removeprefix("torch.")) for m in self.graph.memories]


class Tally:
    """Collects the differences.

    Args:
        space: one env's action space.
    """

    def __init__(self, space: spaces.Space) -> None:
        self.discrete = isinstance(space, spaces.Discrete)
        self.start = int(space.start) if isinstance(space, spaces.Discrete) else 0
        self.unit: Any = 1.0
        if isinstance(space, spaces.Box):
            half = 0.5 * (space.high.astype(np.float64) - space.low.astype(np.float64))
            self.unit = np.where(np.isfinite(half), np.maximum(half, 1.0), 1.0)
        self.largest, self.torch_error, self.file_error = 0.0, 0.0, 0.0
        self.states, self.above, self.ties = 0, 0, 0

    def take(
        self, ours: list[np.ndarray], theirs: list[np.ndarray], played: np.ndarray | None, exact: list[np.ndarray]
    ) -> None:
        """Compare outputs.

        Args:
            ours: the file's.
            theirs: the graph's in torch.
            played: the agent's action, if it played.
            exact: the graph's in float64.
        """
        rows = self._apart(ours, theirs)
        if played is not None:
            rows = np.maximum(rows, self._apart_actions(ours, played))
        self.states += len(rows)
        self.above += int((rows >= LIMIT).sum())
        self.largest = max(self.largest, float(rows.max(initial=0.0)))
        self.torch_error = max(self.torch_error, float(self._apart(theirs, exact, choices=False).max(initial=0.0)))
        self.file_error = max(self.file_error, float(self._apart(ours, exact, choices=False).max(initial=0.0)))

    def _apart(self, ours: list[np.ndarray], other: list[np.ndarray], *, choices: bool = True) -> np.ndarray:
        """Greatest difference of each row, over all outputs."""
        rows = np.zeros(len(ours[0]))
        if choices or not self.discrete:
            rows = self._apart_actions(ours, other[0])
        for mine, theirs in zip(ours[1:], other[1:], strict=True):
            rows = np.maximum(rows, _differences(mine, theirs, np.maximum(np.abs(theirs), 1.0)))
        return rows

    def _apart_actions(self, ours: list[np.ndarray], action: np.ndarray) -> np.ndarray:
        if not self.discrete:
            return _differences(ours[0], action, self.unit)
        rows, other = np.zeros(len(action)), np.flatnonzero(ours[0] != action)
        logits = ours[1][other].astype(np.float64)
        chosen, wanted = (np.take_along_axis(logits, a[other, None] - self.start, 1)[:, 0] for a in (ours[0], action))
        tied = np.abs(chosen - wanted) <= LIMIT * np.maximum(np.abs(wanted), 1.0)
        rows[other[~tied]] = np.inf
        self.ties += int(tied.sum())
        return rows


def _differences(mine: np.ndarray, other: np.ndarray, unit: Any) -> np.ndarray:
    """Greatest difference of each row, in units; infinite where one is not finite."""
    difference = np.abs(mine.astype(np.float64) - other.astype(np.float64)) / unit
    worst = difference.reshape(len(mine), -1).max(1, initial=0.0)
    return np.where(np.isfinite(worst), worst, np.inf)


def compare(
    agent: Agent, env: TensorEnv, runner: Runner, *, states: int = 10_000, seed: int = 0
) -> Parity:  # fmt: skip
    """Hold an exported policy against the agent.

    A fifth of the states are those of episodes that the agent plays in `env`, with the memories carried by each side
    for itself; the others are drawn within the ranges seen or declared, and far outside of them.

    Args:
        agent: what it was made from, on the CPU.
        env: for the episodes; it goes on from where it is to a new reset, and must reset within the step.
        runner: the exported policy.
        states: how many.
        seed: of what is drawn.
    """
    tally, generator = Tally(env.single_action_space), np.random.default_rng(seed)
    seen, held = _play(agent, env, runner, tally, max(1, states // 5 // env.num_envs), seed)
    recorded = tally.states
    boxes = entries(env.single_observation_space)
    while tally.states < states:
        batch, extreme = min(BATCH, states - tally.states), bool(generator.random() < 0.4)
        reach = (FAR if runner.graph.clips else NEAR) if extreme else 0.0
        obs = {name: _draw(boxes[name or LONE], seen[name], batch, generator, reach=reach) for name in seen}
        rows = generator.integers(0, len(held[0]), batch) if held else None
        if rows is None or generator.random() < 0.3:
            nothing = runner.nothing(batch)
            played = agent.actor(batch, deterministic=True, seed=seed).act(_tensors(obs)).numpy()
            tally.take(runner(obs, nothing), runner.eager(obs, nothing), played, runner.exact(obs, nothing))
        else:
            memories = [memory[rows] for memory in held]
            tally.take(runner(obs, memories), runner.eager(obs, memories), None, runner.exact(obs, memories))
    return Parity(
        states=tally.states, recorded=recorded, largest=tally.largest, above=tally.above, ties=tally.ties,
        torch_error=tally.torch_error, file_error=tally.file_error,
    )  # fmt: skip


def check_parity(parity: Parity, *, allow_rounding: bool = False) -> None:
    """Refuse a policy that is too far from the agent.

    Args:
        parity: how close it is.
        allow_rounding: take one that is beyond the limit, too, if it is as close to the networks in float64 as the
            agent is: steep policies turn rounding, which differs between torch and onnxruntime, into more than that.

    Raises:
        ParityError: naming the difference, the limit, and whether rounding explains it.
    """
    if parity.largest < LIMIT or (allow_rounding and parity.rounds_alike and np.isfinite(parity.largest)):
        return
    if parity.rounds_alike and np.isfinite(parity.largest):
        why = (
            "The file is as close to the networks in float64 as the agent itself, so this is rounding, which a steep "
            "policy enlarges; to take it, allow rounding (--allow-rounding)."
        )
    else:
        why = "Rounding does not explain it; report the agent and its networks as a bug."
    raise ParityError(
        f"Expected the exported policy within {LIMIT:g} of the agent, got {parity.text()}. Nothing was written. {why}"
    )


def _play(
    agent: Agent, env: TensorEnv, runner: Runner, tally: Tally, steps: int, seed: int
) -> tuple[Arrays, list[np.ndarray]]:
    """Let the agent play; returns what was seen, `(S, ...)` by entry, and the memories at those steps."""
    actor = agent.actor(env.num_envs, deterministic=True, seed=seed)
    actor.begin(torch.ones(env.num_envs, dtype=torch.bool))
    obs, _ = env.reset()
    carried = runner.nothing(env.num_envs)
    seen: list[Arrays] = []
    held: list[list[np.ndarray]] = []
    for _ in range(steps):
        arrays = _arrays(obs, runner.graph.entries)
        seen.append(arrays)
        held.append(carried)
        outputs, action = runner(arrays, carried), actor.act(obs)
        tally.take(outputs, runner.eager(arrays, carried), action.numpy(), runner.exact(arrays, carried))
        obs, done = _advance(env, actor, action)
        carried = [
            np.where(done.reshape(-1, *(1,) * (m.ndim - 1)), np.zeros_like(m), m)
            for m in outputs[len(outputs) - len(carried) :]
        ]
    joined = {name: np.concatenate([each[name] for each in seen]) for name in seen[0]}
    return joined, [np.concatenate(column) for column in zip(*held, strict=True)]


def _advance(env: TensorEnv, actor: Actor, action: torch.Tensor) -> tuple[Observation, np.ndarray]:
    obs, _, terminated, truncated, _ = env.step(action)
    done = terminated | truncated
    actor.begin(done)
    return obs, done.numpy()


def _arrays(obs: Observation, order: tuple[str, ...]) -> Arrays:
    named = obs if isinstance(obs, Mapping) else {"": obs}
    return {name: named[name].numpy().copy() for name in order}


def _tensors(obs: Arrays) -> Observation:
    tensors = {name: torch.from_numpy(value) for name, value in obs.items()}
    return tensors.get("", tensors)


def _draw(
    space: spaces.Space, seen: np.ndarray, batch: int, generator: np.random.Generator, *, reach: float
) -> np.ndarray:
    """Values of one entry: within what was declared or seen, or at the corners and far outside of it."""
    shape, dtype = (batch, *seen.shape[1:]), seen.dtype
    box = space if isinstance(space, spaces.Box) else None
    low, high = (None, None) if box is None else (box.low.astype(np.float64), box.high.astype(np.float64))
    if low is None or high is None or not (np.isfinite(low).all() and np.isfinite(high).all()):
        least, most = seen.min(0).astype(np.float64), seen.max(0).astype(np.float64)
        margin = 0.1 * (most - least) + 0.01
        low, high = least - margin, most + margin
        if reach:
            scale = reach if reach == FAR else reach * (high - low)
            size = 10.0 ** generator.uniform(-6.0, 0.0, (batch, *(1,) * low.ndim))
            return (0.5 * (low + high) + scale * size * generator.uniform(-1.0, 1.0, shape)).astype(dtype)
    if reach:
        return np.where(generator.random(shape) < 0.5, low, high).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return np.clip(generator.integers(low.astype(np.int64), high.astype(np.int64) + 1, shape), low, high).astype(
            dtype
        )
    return generator.uniform(low, high, shape).astype(dtype)
