"""A world under a physics driver: actions to controls, substeps, and measurements from fresh kinematics."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.data import State, StateField
from cairngym.envs.episodes import Episodes
from cairngym.envs.physics.camera import Camera, Marker, check_camera, check_size
from cairngym.envs.physics.disturbance import Disturbance
from cairngym.envs.physics.driver import make_driver
from cairngym.envs.physics.render import OffscreenRenderer
from cairngym.envs.random import Stream, uniform
from cairngym.envs.world import World

EVALUATION_SEED, EVALUATION_BEGINNINGS = 0, 5
"""The fixed beginnings of episodes are those that this seed draws for envs 0 to 4."""


class PhysicsWorld(World):
    """N copies of a MuJoCo model.

    A subclass fills `variables` with what the task adds to the physics (a goal), says how an episode begins (`place`),
    what an action does (`control`), and what can be measured (`measure`).

    `info["physics_error"]` marks steps in which the simulation diverged: the world stands where it was before, its
    episode is truncated. `info["physics"]` holds the driver's counters since the episode began.

    Args:
        model: compiled model.
        num_envs: N.
        device: "cpu" or "cuda".
        substeps: physics steps per step.
        action_size: numbers of an action, each in [-1, 1].
        state_spec: what `measure` gives; floating-point fields are of `dtype`.
        dtype: of the measurements.
        driver: options of `make_driver`.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        num_envs: int,
        device: str | torch.device,
        *,
        substeps: int,
        action_size: int,
        state_spec: Mapping[str, StateField],
        dtype: torch.dtype = torch.float32,
        driver: Mapping[str, Any] | None = None,
    ) -> None:
        self.driver = make_driver(model, num_envs, device, **(driver or {}))
        self.model, self.num_envs, self.device = self.driver.model, num_envs, self.driver.device
        self.driver.accelerations = self.accelerations
        self.substeps, self.dtype, self.state_spec = substeps, dtype, state_spec
        self.single_action_space = spaces.Box(-1.0, 1.0, (action_size,), np.float32)
        self.variables: dict[str, torch.Tensor] = {}
        self._measured: dict[str, torch.Tensor] | None = None
        self._renderer: OffscreenRenderer | None = None

    # What a subclass says ---------------------------------------------------------------------------------------------

    @abstractmethod
    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Put the masked worlds, just returned to the initial state, at the start of an episode.

        Args:
            mask: bool `(N,)`.
            draw: `(N, num_draws)` uniform in [0, 1), of the driver's dtype.
        """

    @abstractmethod
    def control(self, action: torch.Tensor) -> None:
        """Turn actions `(N, action_size)`, of the driver's dtype and within [-1, 1], into controls."""

    @abstractmethod
    def measure(self) -> dict[str, torch.Tensor]:
        """The fields of `state_spec` from the driver's views and `variables`."""

    num_draws: int = 0
    """How many random numbers `place` wants."""
    kinematics: bool = True
    """Whether `measure` reads derived views, so that they must be made fresh after every step."""
    accelerations: bool = False
    """Whether it reads accelerations, forces, or sensors of them."""

    evaluates: bool = False
    """Whether env i's episode e takes beginning (i + e) modulo `EVALUATION_BEGINNINGS`, whatever the seed."""

    disturbance: Disturbance | None = None
    """What comes between the world and its simulations, if anything does."""

    def constrain(self) -> None:
        """Correct the state after the substeps, for instance to lock a joint; nothing by default."""
        return

    # The step ---------------------------------------------------------------------------------------------------------

    def begin(self, mask: torch.Tensor, episodes: Episodes) -> None:
        """Start new episodes in the masked worlds."""
        if self.device.type == "cpu" and not bool(mask.any()):
            return
        self.driver.reset(mask)
        if self.disturbance is not None:
            self.disturbance.begin(mask, episodes)
        self.place(mask, self._draw(episodes).to(self.driver.dtype))
        self.driver.forward(mask)
        self._measured = None
        if self.disturbance is not None:
            self.disturbance.placed(mask)

    def _draw(self, episodes: Episodes) -> torch.Tensor:
        if not self.evaluates:
            return uniform(episodes.seed, episodes.env_id, episodes.number, Stream.LEVEL, self.num_draws)
        beginning = (episodes.env_id + episodes.number) % EVALUATION_BEGINNINGS
        return uniform(EVALUATION_SEED, beginning, torch.zeros_like(beginning), Stream.LEVEL, self.num_draws)

    def advance(self, action: torch.Tensor) -> None:
        """Step every world; actions that are not finite, which only a GPU lets through, count as zero."""
        sound = torch.nan_to_num(action.to(self.driver.dtype), 0.0, 0.0, 0.0).clamp(-1.0, 1.0)
        self.control(sound)
        (self.disturbance or self.driver).step(self.substeps)
        self.constrain()
        if self.kinematics:
            self.driver.forward()
        self._measured = None

    def diverged(self) -> torch.Tensor:
        """Where the last step failed numerically."""
        return self.driver.diverged

    def report(self) -> Mapping[str, Any]:
        """`physics_error` of the step and the driver's counters."""
        return {"physics_error": self.driver.diverged, "physics": dict(self.driver.counters())}

    @property
    def state(self) -> State:
        """The measurements, in copies of their own."""
        if self._measured is None:
            self._measured = {
                name: value.to(self.state_spec[name].dtype, copy=True) for name, value in self.measure().items()
            }
        return self._measured

    # Pictures ---------------------------------------------------------------------------------------------------------

    camera: Camera | str | None = None
    """Where `render` looks from: a camera, the name of one in the model, or None for all of the model."""
    render_size: tuple[int, int] = (480, 480)
    """Width and height of the frames of `render`, pixels."""
    hidden_sites: tuple[str, ...] = ()
    """Sites of the model left out of pictures, such as targets that nothing moves."""
    goal_radius: float = 0.05
    """Of the ball that marks the goal, m."""
    goal_height: float = 0.0
    """Where the ball of a goal on the plane is drawn, m."""

    def aim(self, camera: Camera | str | None = None, render_size: tuple[int, int] | None = None) -> None:
        """Choose what `render` shows; None leaves it as it is.

        Raises:
            UnknownNameError: the model has no camera of that name.
            ValueError: a camera or a size that can't be.
        """
        if camera is not None:
            self.camera = check_camera(self.model, camera)
        if render_size is not None:
            check_size(*render_size)
            self.render_size = render_size

    def markers(self) -> Sequence[Marker]:
        """What pictures show beside the physics: the goal, where `variables` has one in the plane or in space."""
        goal = self.variables.get("goal")
        if goal is None or goal.shape[1:] not in ((2,), (3,)):
            return ()
        height = torch.full_like(goal[:, :1], self.goal_height)
        return (Marker(position=torch.cat((goal, height), dim=1)[:, :3], radius=self.goal_radius),)

    def render(self, env_ids: Sequence[int]) -> tuple[np.ndarray, ...]:
        """Draw the given worlds and their goals, uint8 `(height, width, 3)` each."""
        return self.frames(env_ids, self.camera, *self.render_size, self.markers())

    def frames(
        self,
        env_ids: Sequence[int],
        camera: Camera | str | None,
        width: int,
        height: int,
        markers: Sequence[Marker] = (),
    ) -> tuple[np.ndarray, ...]:
        """Draw the given worlds from another camera; see `OffscreenRenderer.frames`."""
        if self._renderer is None:
            self._renderer = OffscreenRenderer(self.driver, self.hidden_sites)
        return self._renderer.frames(env_ids, camera, width, height, markers)

    # Snapshots --------------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Copy the physics and the variables."""
        disturbance = {} if self.disturbance is None else {"disturbance": self.disturbance.get_state()}
        return disturbance | {
            "physics": self.driver.get_state(),
            "variables": {name: value.clone() for name, value in self.variables.items()},
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.driver.set_state(snapshot["physics"])
        if self.disturbance is not None:
            self.disturbance.set_state(snapshot["disturbance"])
        for name, value in snapshot["variables"].items():
            self.variables[name].copy_(value)
        self._measured = None

    def inject(self, references: Sequence[Any]) -> None:
        """Take over the state of reference envs, single upstream ones, into the first worlds.

        Raises:
            ValueError: more references than worlds.
        """
        if len(references) > self.num_envs:
            raise ValueError(f"Expected at most {self.num_envs} reference envs, one a world, got {len(references)}.")
        mask = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        mask[: len(references)] = True
        for world, reference in enumerate(references):
            self.driver.read_data(world, reference.unwrapped.data)
            self.adopt(world, reference.unwrapped)
        self.driver.forward(mask)
        self._measured = None

    @abstractmethod
    def adopt(self, world: int, reference: Any) -> None:
        """Take over what a reference env keeps beside its physics: goals, per-world model fields."""

    def close(self) -> None:
        """Release the driver and what draws."""
        if self._renderer is not None:
            self._renderer.close()
        self.driver.close()


def put(mask: torch.Tensor, target: torch.Tensor, values: torch.Tensor) -> None:
    """Write `values` into the masked rows of the live tensor `target`, in place and without a wait."""
    rows = mask.view(-1, *(1,) * (target.ndim - 1))
    target.copy_(torch.where(rows, values.to(target.dtype), target))


def between(draw: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Uniform numbers in [0, 1) to [low, high)."""
    return low + draw * (high - low)
