"""What a reader must know of the packaged worlds beyond their measurements: what actions do, how things are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cairngym.envs.core import TensorEnv


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """Facts about one world, a sentence or two each."""

    actions: tuple[str, ...] = ()
    """What each discrete action, or each number of a continuous one, does."""
    facts: tuple[str, ...] = ()
    """How the world is laid out, and when the task is done."""


NOTHING = Knowledge()


def knowledge(env: TensorEnv) -> Knowledge:
    """What is known of the env's world, by its class or a parent's; nothing of worlds that are not packaged.

    The meaning of actions is left out where a wrapper has changed the action space.
    """
    world = env.unwrapped.world
    found = next((WORLDS[kind.__name__](env) for kind in type(world).__mro__ if kind.__name__ in WORLDS), NOTHING)
    changed = env.single_action_space != env.unwrapped.single_action_space
    return Knowledge(facts=found.facts) if changed else found


def _minigrid(env: TensorEnv) -> Knowledge:
    count = int(env.unwrapped.single_action_space.n)  # type: ignore[attr-defined]
    width, height = env.state_spec["grid"].shape[:2]
    actions = (
        "left: turns a quarter to the left (agent_dir goes from 0 to 3, else down by one)",
        "right: turns a quarter to the right (agent_dir goes from 3 to 0, else up by one)",
        "forward: moves to the cell ahead if that is empty, floor, goal, lava or an open door; else nothing happens",
        "pickup: takes the key, ball or box ahead if nothing is carried; it leaves the grid",
        "drop: puts what is carried into the cell ahead if that is empty",
        "toggle: opens or closes the door ahead, opens a locked one if a key of its colour is carried (the key stays), "
        "and replaces a box ahead by what is in it",
        "done: does nothing",
    )
    facts = (
        f"The grid has columns x = 0 … {width - 1} from left to right and rows y = 0 … {height - 1} from top to "
        "bottom. The cell ahead of the agent is agent_pos + (1, 0), (0, 1), (-1, 0), (0, -1) for agent_dir 0, 1, 2, 3.",
        "Objects (keys, balls, boxes) block the way until they are picked up; one is taken from an adjacent cell that "
        "the agent faces, and at most one is carried. What is carried is in `carrying` and not in `grid`.",
        "Your reward sees the whole grid; the agent itself sees 7 x 7 cells, up to 6 ahead of it, and not beyond "
        "walls and doors that are not open.",
        "The agent never stands on a wall, a closed or locked door, or an object; it may stand on an open door.",
        "Where a level has a single object of a type, 6 say, a mask finds it: "
        "`mask = (state.grid[..., 0] == 6).float()`, `present = mask.amax(dim=(1, 2))`, "
        f"`x = (mask * torch.arange({width}).view(1, {width}, 1)).sum(dim=(1, 2))`, likewise y along the other axis.",
        "Walking onto lava or into a moving obstacle ends the episode without success. In tasks that ask to go to a "
        "goal square, success is to stand on it (type 8); in those that ask to pick up an object, to carry it.",
        "A success after t of T steps earns 1 - 0.9 t / T; running into a moving obstacle earns -1; all else earns 0.",
    )
    varied = "What stands in [brackets] in the mission differs from episode to episode; no measurement says what it is."
    named = (varied,) if "[" in env.unwrapped.task.instruction else ()
    return Knowledge(actions=actions[:count], facts=(*named, *facts))


def _fetch(env: TensorEnv) -> Knowledge:
    config = env.unwrapped.world.config  # type: ignore[attr-defined]
    moved = "object_position" if config.has_object else "gripper_position"
    fingers = (
        "has no effect: the fingers are locked closed" if config.block_gripper else "above 0 opens, below 0 closes"
    )
    actions = (
        "0, 1, 2: how far the gripper is to move along x, y and z in this step, 1 being 5 cm",
        f"3: the fingers; {fingers}",
    )
    facts = [
        "Axes of the world: x away from the robot, y to its left, z up. The gripper points downwards and keeps that "
        "direction.",
        f"The task is done wherever {moved} is within {config.threshold:g} m of goal at the end of a step.",
    ]
    if config.has_object:
        facts += [
            "The object's centre is about 0.425 m high when it lies on the table (the table's top is at 0.4 m); a "
            "block is a cube of 5 cm. The gripper starts within 3 cm of (1.34, 0.75), the object lies "
            f"between 0.1 and {config.object_range * 2**0.5:.2f} m from there on the table.",
            "The object moves only when the gripper touches it: the gripper must first get behind it, seen from the "
            "goal, at its height." if config.block_gripper else
            "To be grasped, the object must be between the open fingers, which then close on it. An open finger is at "
            "0.05 m, one that holds the block at about 0.025 m. Half of the goals are in the air, up to 0.45 m above "
            "the table.",
        ]  # fmt: skip
    return Knowledge(actions=actions, facts=tuple(facts))


def _maze(env: TensorEnv) -> Knowledge:
    threshold = env.unwrapped.task.threshold  # type: ignore[attr-defined]
    if env.unwrapped.single_action_space.shape == (2,):
        actions: tuple[str, ...] = ("0, 1: force on the ball along x and y",)
    else:
        actions = ("0 … 7: torques at the hips and ankles of the four legs, as shares of the largest",)
    facts = (
        "Walls stand between most cells; the straight way to the goal is seldom free. path_distance tells how long the "
        "way through the maze is.",
        f"The task is done wherever position is within {threshold:g} m of goal at the end of a step.",
    )
    return Knowledge(actions=actions, facts=facts)


def _lidar(env: TensorEnv) -> Knowledge:
    robot = env.unwrapped.task.robot  # type: ignore[attr-defined]
    actions = (
        f"0: speed forwards (backwards below 0), 1 being {robot.max_speed:g} m/s",
        f"1: turn rate, counter-clockwise above 0, 1 being {robot.max_turn:g} rad/s",
    )
    facts = (
        f"A step takes {robot.time_step:g} s. The robot is a disc of radius {robot.robot_radius:g} m; beams reach "
        f"{robot.lidar_range:g} m.",
        "Rooms, doors and clutter are different in every episode. Touching anything ends the episode without success.",
        f"The task is done where position is within {robot.goal_radius:g} m of goal.",
    )
    return Knowledge(actions=actions, facts=facts)


def _adroit(env: TensorEnv) -> Knowledge:
    size = env.unwrapped.single_action_space.shape[0]  # type: ignore[index]
    return Knowledge(
        actions=(f"0 … {size - 1}: where the servos of the arm and the hand's joints are to go, as shares of ranges",),
        facts=("Axes of the world: z is up. The hand starts at rest away from the object.",),
    )


def _temporal(env: TensorEnv) -> Knowledge:
    inner = type(getattr(env.unwrapped.world, "inner", None)).__name__
    facts = (
        "In the formula F[a,b] p means that p holds at some step from a to b, G[a,b] p that it holds at all of them, "
        "p U[a,b] q that p holds until q does; &, | and ! are and, or and not. in_a says that the position is within "
        "region a (at most its radius from its centre), in_obstacle that an obstacle is touched.",
        "The formula is judged over the whole episode: the reward is 1 in its last step if the formula holds, else 0. "
        "What has been done must be remembered by the program (memory) where stl_low and stl_high do not tell it.",
        "While the formula can still go either way stl_low < 0 <= stl_high; at the end both are its robustness.",
    )
    return Knowledge(actions=TEMPORAL_ACTIONS.get(inner, ()), facts=facts)


def _tabular(env: TensorEnv) -> Knowledge:
    states = env.unwrapped.world.num_states  # type: ignore[attr-defined]
    return Knowledge(facts=(f"Nodes are numbered 0 … {states - 1}.",))


TEMPORAL_ACTIONS = {
    "LinearWorld": ("0, 1: velocity along x and y, m/s; a step takes 0.1 s",),
    "UnicycleWorld": (
        "0: speed, 1 being 1 m/s",
        "1: turn rate, counter-clockwise, 1 being 3 rad/s; a step takes 0.1 s",
    ),
    "QuadrotorWorld": (
        "0: collective thrust, 0 hovers, -1 none, 1 twice as much as hovering",
        "1, 2, 3: wanted rates of roll, pitch and yaw, 1 being 3 rad/s; a step takes 0.1 s",
    ),
    "AntWorld": ("0 … 7: torques at the hips and ankles of the four legs, as shares of the largest",),
    "FrankaWorld": ("0 … 6: torques at the seven joints from the base on, as shares of the largest",),
}
"""By the world under the formula's monitor."""

WORLDS: dict[str, Callable[[Any], Knowledge]] = {
    "MiniGridWorld": _minigrid,
    "FetchWorld": _fetch,
    "MazeWorld": _maze,
    "LidarWorld": _lidar,
    "AdroitWorld": _adroit,
    "MonitoredWorld": _temporal,
    "TabularWorld": _tabular,
}
"""By the name of the world's class, so that no simulator is imported for an env that does without."""
