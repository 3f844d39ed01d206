"""What the actions of an env do, found by trying: to its controls, to its mocap bodies, and what it holds in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cairngym.sim2real.identification.measurements import CommandMap
from cairngym.sim2real.identification.mocap import MocapMap, welded_bodies

if TYPE_CHECKING:
    from cairngym.envs.physics.world import PhysicsWorld

REACH = 1e-2
"""How far coordinates are moved, m or rad."""
TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Held:
    """Coordinates that an env puts back to where they were after every step."""

    at: np.ndarray
    """`(k,)`, their addresses in qpos."""
    value: np.ndarray
    """`(k,)`."""

    def put(self, qpos: np.ndarray) -> None:
        """Put them back in `(nq,)`."""
        qpos[self.at] = self.value


class Prober:
    """Tries actions and positions on the first simulation of a world, which stays where it was.

    Args:
        world: whose actions they are.
        env_id: for messages.
        size: numbers of an action.
    """

    def __init__(self, world: PhysicsWorld, env_id: str, size: int) -> None:
        self.world, self.env_id, self.size = world, env_id, size
        self.home = _numbers(world, "qpos")
        self._still, self._none = np.zeros(len(self.home)), np.zeros(size)
        self._moved = REACH * np.linspace(-1, 1, len(self.home))
        self._action = np.linspace(-0.9, 0.7, size)

    def command_map(self) -> CommandMap:
        """The affine map to controls.

        Raises:
            ValueError: there is none.
        """
        none, still = self._none, self._still
        matrix = (
            np.stack([self._tried(row, still)[0] - self._tried(-row, still)[0] for row in np.eye(self.size)], 1) / 2
        )
        reach = REACH * np.eye(len(self.home))
        follow = np.stack([self._tried(none, row)[0] - self._tried(none, -row)[0] for row in reach], 1) / (2 * REACH)
        follow[np.abs(follow) < TOLERANCE] = 0.0
        offset = self._tried(none, still)[0] - follow @ self.home
        told = offset + matrix @ self._action + follow @ (self.home + self._moved)
        if not _close(told, self._tried(self._action, self._moved)[0]):
            raise ValueError(
                f"Expected actions of {self.env_id!r} that are scaled and shifted controls, got another map. Log the "
                "controls themselves, and identify the model's XML file."
            )
        return CommandMap(matrix=matrix, offset=offset, follow=follow if follow.any() else None)

    def mocap_map(self) -> MocapMap | None:
        """How actions displace mocap bodies from the bodies welded to them; None where they move none.

        Raises:
            ValueError: they move one in another way.
        """
        none, still = self._none, self._still
        rows = np.eye(self.size)
        moved = [self._tried(row, still)[1] - self._tried(-row, still)[1] for row in rows]
        rest, other = self._tried(none, still), self._tried(self._action, self._moved)
        driven = np.flatnonzero((np.abs(other[1] - rest[1]) > TOLERANCE * REACH).any(axis=1))
        if not len(driven):
            return None
        welds = welded_bodies(self.world.model)
        if loose := [int(mocap) for mocap in driven if int(mocap) not in welds]:
            raise self._refused(f"mocap body {loose[0]}, to which no body is welded")
        bodies = np.array([welds[int(mocap)] for mocap in driven])
        found = MocapMap(
            mocap=driven, welded=bodies, matrix=np.stack(moved, -1)[driven] / 2,
            offset=rest[1][driven] - rest[2][bodies],
        )  # fmt: skip
        if not _close(other[2][bodies] + found.offset + found.matrix @ self._action, other[1][driven]):
            raise self._refused("another map")
        return found

    def held(self) -> Held:
        """The coordinates that the world's `constrain` puts to the same value wherever they are.

        Raises:
            ValueError: it puts some to values that depend on the state.
        """
        ends = []
        for sign in (1.0, -1.0):
            self._place(sign * self._moved)
            self.world.constrain()
            ends.append(_numbers(self.world, "qpos"))
        self._place(self._still)
        changed = np.flatnonzero((ends[0] != self.home + self._moved) | (ends[1] != self.home - self._moved))
        if (ends[0][changed] != ends[1][changed]).any():
            raise ValueError(
                f"Expected {self.env_id!r} to hold coordinates where they are, got values that depend on the state."
            )
        return Held(at=changed, value=ends[0][changed])

    def _refused(self, got: str) -> ValueError:
        return ValueError(
            f"Expected actions of {self.env_id!r} that displace mocap bodies from the bodies welded to them, got {got}."
        )

    def _place(self, moved: np.ndarray) -> None:
        import torch

        qpos = self.world.driver.view("qpos")
        qpos[0] = torch.as_tensor(self.home + moved, dtype=qpos.dtype, device=qpos.device)

    def _tried(self, action: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Controls `(nu,)`, mocap poses `(nmocap, 7)` and poses of bodies `(nbody, 7)` of an action at positions."""
        import torch

        world, qpos = self.world, self.world.driver.view("qpos")
        self._place(moved)
        world.driver.forward()
        world.control(torch.as_tensor(action, dtype=qpos.dtype, device=qpos.device).expand(world.num_envs, -1))
        pose = [
            np.concatenate([_numbers(world, f"{of}{kind}") for kind in ("pos", "quat")], axis=-1)
            for of in ("mocap_", "x")
        ]
        controls = _numbers(world, "ctrl")
        self._place(self._still)
        return controls, pose[0], pose[1]


def _numbers(world: PhysicsWorld, name: str) -> np.ndarray:
    return np.array(world.driver.view(name)[0].double().cpu().numpy())


def _close(told: np.ndarray, found: np.ndarray) -> bool:
    return np.allclose(told, found, atol=TOLERANCE * max(1.0, float(np.abs(found).max(initial=0.0))))
