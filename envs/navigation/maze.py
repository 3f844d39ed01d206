"""Point and ant in a maze, with a goal to go to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import mujoco
import torch

from cairngym.envs.data import State, StateField
from cairngym.envs.episodes import Episodes
from cairngym.envs.goals import goal_distance
from cairngym.envs.layout import Quantity
from cairngym.envs.navigation.maze_cells import Pool, cell_numbers, check_joined, farthest_pairs
from cairngym.envs.navigation.maze_config import NOISE, THRESHOLD, Agent, Reading
from cairngym.envs.navigation.maze_maps import MazeMap
from cairngym.envs.navigation.maze_model import maze_model
from cairngym.envs.navigation.maze_paths import MazePaths
from cairngym.envs.physics.camera import Camera
from cairngym.envs.physics.world import EVALUATION_BEGINNINGS, PhysicsWorld, between, put
from cairngym.envs.random import Stream, uniform
from cairngym.envs.state_view import StateView

TRIES = 16
"""Goals drawn at once when one was reached; the first beyond the threshold is taken. If none is, the goal stays within
reach and moves at the next step."""


class MazeWorld(PhysicsWorld):
    """N agents, each in a maze of its own.

    An action drives the agent's motors. `reset(options={"goal_cell": (i, j), "reset_cell": (i, j)})` chooses the cells
    of the goal and of the start, one pair for all or int `(N, 2)`; both points are then drawn around their centres.

    Args:
        agent: the body.
        maze: the map.
        num_envs: N.
        device: "cpu" or "cuda".
        reset_target: whether a goal that was reached moves.
        dtype: of the measurements.
        driver: options of `make_driver`.

    Attributes:
        paths: the maze's tables.
        evaluation_pairs: numbers of start and goal cells, int64 `(pairs, 2)`, the farthest apart. Env i's episode e
            goes from and to pair (i + e) modulo their number, where the world `evaluates`.
    """

    kinematics = False
    num_draws = 6
    reset_options = ("goal_cell", "reset_cell")
    hidden_sites = ("target",)

    def __init__(
        self,
        agent: Agent,
        maze: MazeMap,
        num_envs: int,
        device: str,
        *,
        reset_target: bool,
        dtype: torch.dtype,
        driver: Mapping[str, Any],
    ) -> None:
        super().__init__(
            maze_model(agent, maze), num_envs, device, substeps=agent.substeps, action_size=agent.actuators,
            state_spec=state_spec(agent, dtype), dtype=dtype, driver=driver,
        )  # fmt: skip
        self.camera = Camera(
            lookat=(0.0, 0.0, 0.0), distance=1.3 * agent.scaling * max(maze.shape), azimuth=90.0, elevation=-70.0
        )
        self.goal_radius, self.goal_height = 0.2 * agent.scaling, agent.wall_height / 2 * agent.scaling
        self.agent, self._moves = agent, reset_target
        motors = (mujoco.mj_id2name(self.model, mujoco.mjtObj.mjOBJ_ACTUATOR, k) for k in range(agent.actuators))
        self.action_layout = tuple(Quantity(name=name or f"motor_{k}", unit="1") for k, name in enumerate(motors))
        self.paths = MazePaths(maze, agent.scaling, self.device, self.driver.dtype)
        number = {cell: k for k, cell in enumerate(maze.free)}
        self._goals = Pool([number[cell] for cell in maze.goals], len(number), self.device)
        self._starts = Pool([number[cell] for cell in maze.starts], len(number), self.device)
        self.evaluation_pairs = farthest_pairs(self.paths, self._starts, self._goals, EVALUATION_BEGINNINGS)
        self._chosen: dict[str, torch.Tensor] = {}
        self.variables["goal"] = torch.zeros(num_envs, 2, dtype=self.driver.dtype, device=self.device)
        self._readings = {name: self._locate(reading) for name, reading in agent.readings.items()}
        self._copies: State = {}
        self._view: State = {}
        self._qvel, self._ctrl = self.driver.view("qvel"), self.driver.view("ctrl")

    def _locate(self, reading: Reading) -> torch.Tensor:
        """The live part of the driver's view."""
        view = self.driver.view(reading.source)
        return view[:, reading.start : reading.start + reading.size] if reading.size else view[:, reading.start]

    # Beginning --------------------------------------------------------------------------------------------------------

    def prepare(self, options: Mapping[str, Any]) -> None:
        """Take the cells to start from and to go to.

        Raises:
            ValueError: a wall, outside of the map, or out of reach.
        """
        given = {name: value for name, value in options.items() if value is not None}
        self._chosen = {name: cell_numbers(name, value, self.paths, self.num_envs) for name, value in given.items()}
        check_joined(self._chosen, self.paths, int(self._starts.numbers[0]))

    def place(self, mask: torch.Tensor, draw: torch.Tensor) -> None:
        """Put the agent and the goal near the centres of their cells."""
        start, goal = self._cells(draw)
        spread = between(draw[:, 2:], -NOISE * self.agent.scaling, NOISE * self.agent.scaling)
        put(mask, self.variables["goal"], self.paths.centers[goal] + spread[:, :2])
        put(mask, self._readings["position"], self.paths.centers[start] + spread[:, 2:])

    def _cells(self, draw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The cells of the starts and of the goals, `(N,)` each; never the same where there is a choice."""
        start, goal = self._chosen.get("reset_cell"), self._chosen.get("goal_cell")
        if self.evaluates and start is None and goal is None:
            turn = (self.episodes.env_id + self.episodes.number) % len(self.evaluation_pairs)
            start, goal = self.evaluation_pairs[turn].unbind(-1)
        if goal is None:
            goal = self._goals.draw(draw[:, 0], without=start)
        if start is None:
            start = self._starts.draw(draw[:, 1], without=goal)
        return start, goal

    # Moving -----------------------------------------------------------------------------------------------------------

    def control(self, action: torch.Tensor) -> None:
        """Clip velocities where the agent asks for it, and drive the motors."""
        if self.agent.max_speed < float("inf"):
            self._qvel.clamp_(-self.agent.max_speed, self.agent.max_speed)
        self._ctrl.copy_(action)

    def settle(self, success: torch.Tensor, episodes: Episodes) -> None:
        """Move the goals that were reached to where they are not, if the task asks for it."""
        if not self._moves or self._goals.size < 2 or (self.device.type == "cpu" and not bool(success.any())):
            return
        draw = uniform(
            episodes.seed, episodes.env_id, episodes.number, Stream.DYNAMICS, 3 * TRIES, step=episodes.length
        ).to(self.driver.dtype)
        cells = self._goals.draw(draw[:, :TRIES])
        spread = between(draw[:, TRIES:], -NOISE * self.agent.scaling, NOISE * self.agent.scaling)
        goals = self.paths.centers[cells] + spread.view(-1, TRIES, 2)
        far = goal_distance(goals, self._readings["position"].unsqueeze(1)) > THRESHOLD
        first = far.to(torch.uint8).argmax(1)
        put(success, self.variables["goal"], goals[torch.arange(self.num_envs, device=self.device), first])
        self._measured = None

    # Measuring --------------------------------------------------------------------------------------------------------

    def measure(self) -> dict[str, torch.Tensor]:
        """The fields of `state_spec` that others are derived from."""
        return self._readings | {"goal": self.variables["goal"]}

    @property
    def state(self) -> State:
        """The measurements; the cell and the path distance are derived when they are first read."""
        copies = super().state
        if self._copies is not copies:
            self._copies = copies
            self._view = StateView(partial(self._read, copies), tuple(self.state_spec), 0, lambda: 0)
        return self._view

    def _read(self, copies: State, name: str) -> torch.Tensor:
        if name == "cell":
            return self.paths.cell(copies["position"])
        if name == "path_distance":
            return self.paths.distance(copies["position"], copies["goal"]).to(self.dtype)
        return copies[name]

    def adopt(self, world: int, reference: Any) -> None:
        """Take over the goal."""
        self.variables["goal"][world] = torch.as_tensor(reference.goal, device=self.device)


def state_spec(agent: Agent, dtype: torch.dtype) -> dict[str, StateField]:
    """What a maze world measures."""
    spec = {
        name: StateField(
            shape=(reading.size,) if reading.size else (),
            unit=reading.unit,
            description=reading.description,
            dtype=dtype,
        )
        for name, reading in agent.readings.items()
    }
    return spec | {
        "goal": StateField(shape=(2,), unit="m", description="Where the agent is wanted in the world.", dtype=dtype),
        "cell": StateField(
            shape=(2,), unit="cell", description="Row and column of the cell the agent is in.", dtype=torch.int64
        ),
        "path_distance": StateField(
            shape=(), unit="m", description="Length of the shortest path through the maze to the goal.", dtype=dtype
        ),
    }
