"""Reach the goal in a maze, with Gymnasium-Robotics' observations and sparse reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cairngym.envs.core import State, TensorEnv
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.goals import GoalTask
from cairngym.envs.navigation.maze import MazeWorld
from cairngym.envs.navigation.maze_config import MAZES, THRESHOLD, MazeConfig
from cairngym.envs.navigation.maze_maps import MAPS, parse_map
from cairngym.envs.navigation.maze_paths import MazePaths
from cairngym.envs.physics.options import PhysicsOptions

DESCRIPTOR_CELLS = 4
"""Parts of a maze's cell, along either side, that the behavior descriptor tells apart."""


class MazeTask(GoalTask):
    """Bring the agent within 0.45 m of the goal.

    The reward is 1 where it is and 0 elsewhere. By default the task is continuing, as upstream: success does not end
    the episode, and an agent that stays at the goal earns 1 at every step until the horizon.

    PointMaze-v3 shows the point's position (2) and velocity (2). AntMaze-v4 shows 27 numbers: the torso's height (1)
    and orientation (4), joint angles (8), linear (3) and angular (3) velocity, and joint velocities (8); where the ant
    is stands in `achieved_goal` alone. The contact forces of AntMaze-v5 are not offered, for the CPU driver does not
    compute them.

    `PointMazeOracle` solves PointMaze. AntMaze has no scripted oracle: the same paths solve the maze, but nobody can
    write down the gait that follows them; locomotion has to be learned.

    Args:
        config: the agent and the horizon that upstream gives it.
        paths: the maze's tables.
        dtype: of observations.
        continuing_task: whether episodes go on after success.
    """

    progress_fields = ("position", "goal")
    count_fields = ("cell",)

    def __init__(self, config: MazeConfig, paths: MazePaths, dtype: torch.dtype, *, continuing_task: bool) -> None:
        readings = [config.agent.readings[name] for name in config.agent.observation]
        super().__init__(
            observation_size=sum(max(reading.size, 1) for reading in readings), goal_size=2, threshold=THRESHOLD,
            horizon=config.horizon, reward_range=(0.0, 1.0), terminate_on_success=not continuing_task, inclusive=True,
            dtype=dtype,
        )  # fmt: skip
        lasting = ", and keep it there" if continuing_task else ""
        self.instruction = f"Move the agent through the maze to within {THRESHOLD} m of the goal{lasting}."
        self._paths, self._shown = paths, config.agent.observation
        self.observation_layout = {
            "observation": self._shown, "achieved_goal": ("position",), "desired_goal": (self.goal_field,),
        }  # fmt: skip
        rows, columns = paths.maze.shape
        half = (columns / 2 * paths.scaling, rows / 2 * paths.scaling)
        self.descriptor = BehaviorDescriptor(
            entries=(("position", 0), ("position", 1)), low=(-half[0], -half[1]), high=half,
            cells=(DESCRIPTOR_CELLS * columns, DESCRIPTOR_CELLS * rows),
        )  # fmt: skip
        self.progress_scale = paths.diameter + paths.scaling  # what starts and goals off their centres may add

    def features(self, state: State) -> torch.Tensor:
        """The observation, `(B, 4)` or `(B, 27)`."""
        parts = [state[name] for name in self._shown]
        return torch.cat([part if part.ndim > 1 else part.unsqueeze(-1) for part in parts], dim=-1)

    def achieved_goal(self, state: State) -> torch.Tensor:
        """Where the agent is, `(B, 2)`."""
        return state["position"]

    def progress(self, state: State) -> torch.Tensor:
        """One minus the path left in units of the maze's longest and a cell, one where the goal is reached, `(B,)`."""
        left = self._paths.distance(state["position"], self.desired_goal(state)) - self.threshold
        near = (1.0 - left / self.progress_scale).clamp(0.0, 1.0)
        return torch.where(self.success(state), 1.0, near).to(torch.float32)


def make_maze(
    env_id: str,
    *,
    num_envs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    continuing_task: bool = True,
    reset_target: bool = False,
    maze_map: Sequence[Sequence[int | str]] | None = None,
    **options: Any,
) -> TensorEnv:
    """Make a maze env.

    Args:
        env_id: one of `MAZES`.
        num_envs: how many copies.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        continuing_task: episodes go on after success, as upstream; False ends them there.
        reset_target: a goal that was reached moves: the step that reached it is judged by and shows the old goal, the
            next one the new goal. Upstream ignores it in tasks that end at success; here that is an error.
        maze_map: another map, see `maze_maps.parse_map`.
        options: see `PhysicsOptions`, and `autoreset_mode`. `goals="random"` draws start and goal from the map's cells,
            as upstream; with "evaluation" env i's episode e takes pair (i + e) mod 5 of the five starts and goals that
            are farthest apart.

    Raises:
        TypeError: an option it does not have.
        ValueError: a map that can't be played, or `reset_target` without `continuing_task`.
        UnknownNameError: unknown `goals`.

    Example:
        >>> env = make_maze("PointMaze_UMaze-v3", num_envs=2)
        >>> obs, info = env.reset(seed=0, options={"reset_cell": (1, 1), "goal_cell": (3, 1)})
        >>> env.state["cell"].tolist()
        [[1, 1], [1, 1]]
    """
    if reset_target and not continuing_task:
        raise ValueError(
            "Expected continuing_task=True with reset_target=True, got False: an episode that ends at its goal has no "
            "time to move it. Leave one of them out."
        )
    config = MAZES[env_id]
    shared = PhysicsOptions.take(env_id, options, ("continuing_task", "reset_target", "maze_map"))
    maze = parse_map(MAPS[config.map] if maze_map is None else maze_map)
    world = MazeWorld(
        config.agent, maze, num_envs, device, reset_target=reset_target, dtype=shared.number, driver=shared.drive
    )
    task = MazeTask(config, world.paths, shared.number, continuing_task=continuing_task)
    return shared.assemble(world, task, seed)
