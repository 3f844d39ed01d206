"""One kernel for whole episodes: policy and world in one loop, a thread a policy."""

# No postponed annotations here: Warp reads those of kernels made in functions as they are.

from functools import lru_cache

import warp as wp

from cairngym.envs.fused import FeedForward
from cairngym.envs.navigation.hard_maze.robot_kernels import look
from cairngym.envs.navigation.hard_maze.step_kernels import Settings, moved, started, worth
from cairngym.envs.policy_kernels import policy_function


@lru_cache(maxsize=64)
def play_kernel(policy: FeedForward) -> wp.Kernel:
    """The kernel for a layout: genomes, settings, and for each policy its return, last position and trajectory.

    The trajectory is left out where it is given without steps.
    """
    act = policy_function(policy)

    @wp.kernel(enable_backward=False, module="unique")
    def play(
        offset: int,
        genomes: wp.array2d(dtype=wp.float32),
        settings: Settings,
        returns: wp.array(dtype=wp.float32),
        last: wp.array2d(dtype=wp.float32),
        trajectory: wp.array3d(dtype=wp.float32),
    ) -> None:
        p = offset + wp.tid()
        body = started()
        for t in range(settings.horizon):
            action = act(genomes, p, look(settings.walls, body))
            body = moved(settings, body, action[0], action[1])
            if t < trajectory.shape[1]:
                trajectory[p, t, 0] = body.x
                trajectory[p, t, 1] = body.y
        returns[p] = worth(settings.areas, body)
        last[p, 0] = body.x
        last[p, 1] = body.y

    return play
