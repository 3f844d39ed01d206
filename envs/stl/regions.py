"""Regions and obstacles in a state: their fields, the predicates `in_<name>`, and how they look from the agent.

A world has the fields `position` `(B, D)`, `regions` `(B, K, D + 1)` and `obstacles` `(B, M, D + 1)`, centres and radii
in m. Everything is computed element by element, so that a row's values do not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch

from cairngym.envs.data import State, StateField
from cairngym.envs.stl.measures import Measure

Coordinates = tuple[torch.Tensor, ...]
"""D tensors `(B,)`, or `(J, B)` for J displacements of every agent."""
Frame = Callable[[State, Coordinates], Coordinates]
"""Turns displacements along the world's axes into the agent's frame."""
TINY = 1e-12
"""Square metres below which distances count as equal, so that the gradient at a centre is zero, not NaN."""


def region_fields(names: Sequence[str], obstacles: int, dims: int) -> dict[str, StateField]:
    """The state fields of K named regions and M obstacles in D dimensions."""
    shape = "x, y, radius" if dims == 2 else "x, y, z, radius"
    return {
        "regions": StateField(
            shape=(len(names), dims + 1), unit="m", description=f"Regions {', '.join(names)}: {shape} of each."
        ),
        "obstacles": StateField(
            shape=(obstacles, dims + 1), unit="m", description=f"Obstacles not to be touched: {shape} of each."
        ),
    }


def region_measures(
    names: Sequence[str], obstacles: int, dims: int, scale: float, frame: Frame | None = None
) -> dict[str, Measure]:
    """The predicates `in_<name>` of every region and, where there are obstacles, `in_obstacle`.

    Args:
        names: of the regions, in the order of the field `regions`.
        obstacles: M.
        dims: D.
        scale: length that counts as far, m.
        frame: the agent's; targets are displacements in it, in units of `scale`. None leaves the world's axes.
    """
    measures = {
        f"in_{name}": Measure(
            margin=partial(inside, field="regions", index=i), unit="m", scale=scale, target_size=dims,
            target=partial(towards, index=i, scale=scale, frame=frame),
            description=f"Depth inside region {name}: its radius minus the distance from its centre.",
        )
        for i, name in enumerate(names)
    }  # fmt: skip
    touching = Measure(
        margin=touches, unit="m", scale=scale, target_size=dims,
        target=partial(towards_nearest, scale=scale, frame=frame),
        description="Depth inside the nearest obstacle: its radius minus the distance from its centre.",
    )  # fmt: skip
    return measures | ({"in_obstacle": touching} if obstacles else {})


def displacement(state: State, field: str, index: int) -> Coordinates:
    """From the agent to the centre of a circle, along the world's axes, m."""
    position, circles = state["position"], state[field]
    return tuple(circles[:, index, d] - position[:, d] for d in range(position.shape[1]))


def length(parts: Coordinates) -> torch.Tensor:
    """Euclidean length `(B,)`, summed in order."""
    square = parts[0] * parts[0]
    for part in parts[1:]:
        square = square + part * part
    return square.clamp_min(TINY).sqrt()


def inside(state: State, *, field: str, index: int) -> torch.Tensor:
    """Radius of a circle minus the distance from its centre, `(B,)`, m."""
    return state[field][:, index, -1] - length(displacement(state, field, index))


def touches(state: State) -> torch.Tensor:
    """The greatest of the depths inside the obstacles, `(B,)`, m."""
    return (state["obstacles"][..., -1].T - length(displacements(state, "obstacles"))).amax(0)


def towards(state: State, *, index: int, scale: float, frame: Frame | None) -> torch.Tensor:
    """From the agent to the centre of a region, in its frame and in units of `scale`, `(B, D)`."""
    parts = displacement(state, "regions", index)
    return torch.stack(frame(state, parts) if frame else parts, dim=-1) / scale


def towards_nearest(state: State, *, scale: float, frame: Frame | None) -> torch.Tensor:
    """From the agent to the centre of the obstacle it is deepest in or nearest to, as `towards`, `(B, D)`."""
    parts = displacements(state, "obstacles")
    nearest = (state["obstacles"][..., -1].T - length(parts)).argmax(0, keepdim=True)
    chosen = tuple(part.gather(0, nearest)[0] for part in parts)
    return torch.stack(frame(state, chosen) if frame else chosen, dim=-1) / scale


def displacements(state: State, field: str) -> Coordinates:
    """From the agent to the centres of all J circles of a field, along the world's axes: D tensors `(J, B)`, m."""
    position, circles = state["position"], state[field]
    return tuple(circles[..., d].T - position[:, d] for d in range(position.shape[1]))


def circle_rows(state: State, scale: float, frame: Frame | None) -> list[torch.Tensor]:
    """What an agent sees of regions and obstacles: displacement and radius of each, in units of `scale`.

    Returns:
        (K + M)(D + 1) tensors `(B,)`.
    """
    rows: list[torch.Tensor] = []
    for field in ("regions", "obstacles"):
        parts = displacements(state, field)
        seen = frame(state, parts) if frame else parts
        sizes = state[field][..., -1].T.expand_as(seen[0])
        rows += (torch.stack((*seen, sizes), dim=1) / scale).flatten(0, 1).unbind(0)
    return rows


def columns(rows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Tensors `(B,)` as the columns of one tensor `(B, F)`; one transposition is faster than F strided copies."""
    return torch.stack(tuple(rows)).T.contiguous()
