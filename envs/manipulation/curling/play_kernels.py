"""One kernel for whole episodes: policy and world in one loop, a thread a policy."""

# No postponed annotations here: Warp reads those of kernels made in functions as they are.

from functools import lru_cache

import warp as wp

from cairngym.envs.fused import FeedForward
from cairngym.envs.manipulation.curling import scene
from cairngym.envs.manipulation.curling.body_kernels import BALL, INNER, OUTER, POSE, ROW, VELOCITY
from cairngym.envs.manipulation.curling.step_kernels import advance
from cairngym.envs.policy_kernels import policy_function, vector

wp.set_module_options({"enable_backward": False})

SEEN = vector(6)
"""The type of an observation."""
EDGE, QUARTER, HALF_TURN, FASTEST = 0.5 * scene.TABLE_SIZE, 1.5707963267948966, 3.141592653589793, 50.0
(GOAL_X0, GOAL_Y0), (GOAL_X1, GOAL_Y1) = scene.GOALS
RADIUS_0, RADIUS_1 = scene.GOAL_RADII
BALL_X, BALL_Y = POSE + 3 * BALL, POSE + 3 * BALL + 1
INNER_ANGLE, OUTER_ANGLE = POSE + 3 * INNER + 2, POSE + 3 * OUTER + 2
INNER_TURN, OUTER_TURN = VELOCITY + 3 * INNER + 2, VELOCITY + 3 * OUTER + 2


@wp.func
def within(value: wp.float32, most: wp.float32) -> wp.float32:
    """A number brought into [-most, most]."""
    return wp.clamp(value, -most, most)


@wp.func
def observe(row: wp.array2d(dtype=wp.float32), e: int) -> SEEN:
    """What the policy sees, see `CurlingTask`."""
    seen = SEEN()
    seen[0] = within(row[e, BALL_X], EDGE)
    seen[1] = within(row[e, BALL_Y], EDGE)
    seen[2] = within(row[e, INNER_ANGLE], QUARTER)
    seen[3] = within(row[e, OUTER_ANGLE] - row[e, INNER_ANGLE], HALF_TURN)
    seen[4] = within(row[e, INNER_TURN], FASTEST)
    seen[5] = within(row[e, OUTER_TURN] - row[e, INNER_TURN], FASTEST)
    return seen


@wp.func
def worth(x: wp.float32, y: wp.float32) -> wp.float32:
    """What an episode earns that ends with the ball here."""
    first = wp.length(wp.vec2(x - GOAL_X0, y - GOAL_Y0))
    second = wp.length(wp.vec2(x - GOAL_X1, y - GOAL_Y1))
    return wp.max(wp.max((RADIUS_0 - first) / RADIUS_0, (RADIUS_1 - second) / RADIUS_1), 0.0)  # type: ignore[return-value]


@lru_cache(maxsize=64)
def play_kernel(policy: FeedForward) -> wp.Kernel:
    """The kernel for a layout: genomes, the horizon, the first row, and each policy's return, last ball, trajectory.

    The trajectory is left out where it is given without steps.
    """
    act = policy_function(policy)

    @wp.kernel(enable_backward=False, module="unique")
    def play(
        offset: int,
        genomes: wp.array2d(dtype=wp.float32),
        horizon: int,
        first: wp.array(dtype=wp.float32),
        returns: wp.array(dtype=wp.float32),
        last: wp.array2d(dtype=wp.float32),
        trajectory: wp.array3d(dtype=wp.float32),
    ) -> None:
        p = offset + wp.tid()
        row = wp.zeros(shape=(1, ROW), dtype=wp.float32)
        for i in range(ROW):
            row[0, i] = first[i]
        for t in range(horizon):
            action = act(genomes, p, observe(row, 0))
            advance(row, 0, action[0], action[1])
            if t < trajectory.shape[1]:
                trajectory[p, t, 0] = row[0, BALL_X]
                trajectory[p, t, 1] = row[0, BALL_Y]
        returns[p] = worth(row[0, BALL_X], row[0, BALL_Y])
        last[p, 0] = row[0, BALL_X]
        last[p, 1] = row[0, BALL_Y]

    return play
