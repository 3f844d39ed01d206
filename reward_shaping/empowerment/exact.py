"""Exact n-step empowerment of worlds whose states can be listed: the ground truth of every estimate.

E_n(s) = max over distributions of action sequences of I(A_1 ... A_n; S_n | s), in nats (Klyubin, Polani and Nehaniv,
"Empowerment: a universal agent-centric measure of control", 2005). Sequences are open-loop: chosen at s and played
blindly. Where every outcome is certain, it is the log of how many states, or sensor readings, n actions can lead to.
"""

from __future__ import annotations

import torch

from cairngym.envs.tabular import TabularTask, TabularWorld
from cairngym.reward_shaping.empowerment.blahut_arimoto import channel_capacity

MAX_NUMBERS = 1 << 24
"""Numbers of a channel, or reachable states, that are held at once."""


def empowerment(
    transitions: torch.Tensor,
    steps: int = 1,
    *,
    terminal: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 20_000,
) -> torch.Tensor:
    """n-step empowerment of every state of a finite model.

    Args:
        transitions: `(S, A, S)`, probabilities of the next state.
        steps: n.
        terminal: bool `(S,)`, states that nothing leads out of, whatever `transitions` say.
        labels: int64 `(S,)`, what a sensor reads in each state; None tells all states apart.
        tolerance: nats that a value may be below the capacity.
        max_iterations: of Blahut and Arimoto's algorithm.

    Returns:
        float64 `(S,)`, in nats, between 0 and the lesser of n log A and log S.

    Raises:
        ValueError: n below one, tensors that do not fit, or sequences too many to hold.
        RuntimeError: the capacity of a state is not within `tolerance` yet.

    Example:
        >>> ring = torch.stack([torch.eye(5).roll(k, 1) for k in (-1, 0, 1)], dim=1)  # left, stay, right
        >>> empowerment(ring, 2).exp()
        tensor([5.0000, 5.0000, 5.0000, 5.0000, 5.0000], dtype=torch.float64)
    """
    _check(transitions, steps, labels)
    transitions = transitions.to(torch.float64)
    if terminal is not None:
        stay = torch.eye(len(transitions), dtype=torch.float64, device=transitions.device).unsqueeze(1)
        transitions = torch.where(terminal[:, None, None], stay, transitions)
    if bool(((transitions == 0) | (transitions == 1)).all()):
        return reachable(transitions.argmax(-1), steps, labels=labels).to(torch.float64).log()
    sequences, states = transitions.shape[1] ** steps, len(transitions)
    rows = MAX_NUMBERS // (sequences * states)
    if rows == 0:
        raise ValueError(
            f"{sequences} sequences of {steps} actions over {states} states do not fit; choose fewer steps."
        )
    parts = [
        _capacities(transitions, chosen, steps, labels, tolerance, max_iterations)
        for chosen in torch.arange(states, device=transitions.device).split(rows)
    ]
    return torch.cat(parts)


def _capacities(
    transitions: torch.Tensor,
    states: torch.Tensor,
    steps: int,
    labels: torch.Tensor | None,
    tolerance: float,
    max_iterations: int,
) -> torch.Tensor:
    capacity = channel_capacity(
        sequence_channel(transitions, steps, states=states, labels=labels),
        tolerance=tolerance, max_iterations=max_iterations,
    )  # fmt: skip
    worst = float(capacity.gap.max())
    if worst > tolerance:
        raise RuntimeError(
            f"A capacity is only known to {worst:.1e} nats after {max_iterations} iterations; raise max_iterations, "
            f"or the tolerance, {tolerance:.1e}."
        )
    return capacity.lower


def sequence_channel(
    transitions: torch.Tensor,
    steps: int,
    *,
    states: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """What n actions lead to, from every state: a channel whose inputs are the A^n sequences, first action slowest.

    Args:
        transitions: `(S, A, S)`.
        steps: n.
        states: int64 `(R,)`, those to start from; None for all.
        labels: int64 `(S,)` from zero on; outcomes of one label are added up.

    Returns:
        float64 `(R, A^n, S)`, or `(R, A^n, labels.max() + 1)`.
    """
    transitions = transitions.to(torch.float64)
    channel = transitions if states is None else transitions[states]
    for _ in range(steps - 1):
        channel = torch.einsum("rqs,sat->rqat", channel, transitions).flatten(1, 2)
    if labels is None:
        return channel
    readings = torch.nn.functional.one_hot(labels).to(torch.float64)
    return channel @ readings


def reachable(successors: torch.Tensor, steps: int, *, labels: torch.Tensor | None = None) -> torch.Tensor:
    """How many states, or labels, sequences of exactly n actions lead to where every outcome is certain.

    Args:
        successors: int64 `(S, A)`, the next state.
        steps: n.
        labels: int64 `(S,)`.

    Returns:
        int64 `(S,)`.
    """
    parts = []
    for chosen in torch.arange(len(successors), device=successors.device).split(_rows(successors, steps)):
        ends = chosen.unsqueeze(1)
        for _ in range(steps):
            ends = _distinct(successors[ends].flatten(1))[0]
        parts.append(_distinct(ends if labels is None else labels[ends])[1])
    return torch.cat(parts)


def _rows(successors: torch.Tensor, steps: int) -> int:
    states, actions = successors.shape
    return max(1, MAX_NUMBERS // (actions * min(states, actions ** (steps - 1))))


def _distinct(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The different values of each row, its last one repeated to fill it up, and how many there are."""
    values = values.sort(dim=1).values
    first = torch.ones_like(values, dtype=torch.bool)
    first[:, 1:] = values[:, 1:] != values[:, :-1]
    count = first.sum(1)
    place = first.cumsum(1) - 1
    kept = values[:, -1:].repeat(1, int(count.max()))
    return kept.scatter_(1, place, values), count


def tabular_empowerment(world: TabularWorld, steps: int = 1, *, task: TabularTask | None = None) -> torch.Tensor:
    """n-step empowerment of every state of a `TabularWorld`, float64 `(S,)`.

    Args:
        world: the model.
        steps: n.
        task: states that end an episode under it are taken as such that nothing leads out of; None knows no ends.
    """
    return empowerment(world.transitions, steps, terminal=None if task is None else terminal_states(world, task))


def terminal_states(world: TabularWorld, task: TabularTask) -> torch.Tensor:
    """Which states of a `TabularWorld` end an episode, bool `(S,)`."""
    state = {"node": torch.arange(world.num_states, device=world.device)}
    return task.failure(state) | task.success(state) if task.terminate_on_success else task.failure(state)


def _check(transitions: torch.Tensor, steps: int, labels: torch.Tensor | None) -> None:
    if transitions.ndim != 3 or transitions.shape[0] != transitions.shape[2]:
        raise ValueError(f"Expected transitions of shape (S, A, S), got {tuple(transitions.shape)}.")
    if steps < 1:
        raise ValueError(f"Expected steps >= 1, got {steps}.")
    if labels is not None and labels.shape != transitions.shape[:1]:
        raise ValueError(f"Expected one label a state, ({len(transitions)},), got {tuple(labels.shape)}.")
