"""Where a step writes to: fresh memory for every step, so that what was returned is never overwritten."""

from __future__ import annotations

from dataclasses import dataclass

import torch

OBSERVATION_SIZE, POSE_SIZE = 5, 3


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Tensors of one step; those with a leading axis of two hold the current value first and the final one second."""

    seen: torch.Tensor
    """`(2, N, 5)`, the observation."""
    poses: torch.Tensor
    """`(2, N, 3)`: x, y and heading."""
    reward: torch.Tensor
    returns: torch.Tensor
    steps: torch.Tensor
    """int64 `(2, N)`, steps taken in the episode."""
    length: torch.Tensor
    stopped: torch.Tensor
    """bool `(2, N)`."""
    terminated: torch.Tensor
    truncated: torch.Tensor
    success: torch.Tensor
    succeeded: torch.Tensor
    done: torch.Tensor
    pointers: tuple[int, int, int]
    """Addresses of the three blocks the kernel writes to: floats, integers, flags."""


def allocate(num_envs: int, device: torch.device) -> Outputs:
    """Allocate the three blocks and name their parts."""
    n = num_envs
    sizes = (2 * n * OBSERVATION_SIZE, 2 * n * POSE_SIZE, n, n)
    floats = torch.empty(sum(sizes), dtype=torch.float32, device=device)
    integers = torch.empty((3, n), dtype=torch.int64, device=device)
    flags = torch.empty((7, n), dtype=torch.bool, device=device)
    seen, poses, reward, returns = floats.split(sizes)
    terminated, truncated, success, succeeded, done = flags[2:].unbind(0)
    return Outputs(
        seen=seen.view(2, n, OBSERVATION_SIZE), poses=poses.view(2, n, POSE_SIZE), reward=reward, returns=returns,
        steps=integers[:2], length=integers[2], stopped=flags[:2], terminated=terminated, truncated=truncated,
        success=success, succeeded=succeeded, done=done,
        pointers=(floats.data_ptr(), integers.data_ptr(), flags.data_ptr()),
    )  # fmt: skip
