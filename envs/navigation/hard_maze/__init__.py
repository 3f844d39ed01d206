"""A wheeled robot in a deceptive maze, rewarded for where an episode ends, as Warp kernels."""
