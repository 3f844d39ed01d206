"""Where a step writes to: fresh memory for every step, or the same again and again."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Tensors of one step, with the current value first and the final one second where there are two."""

    image: tuple[torch.Tensor, ...]
    direction: tuple[torch.Tensor, ...]
    carrying: tuple[torch.Tensor, ...]
    mission: tuple[torch.Tensor, ...]
    length: torch.Tensor
    reward: torch.Tensor
    returns: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    done: torch.Tensor
    success: torch.Tensor
    succeeded: torch.Tensor
    pointers: tuple[int, int, int, int]
    """Addresses of the four blocks the kernel writes to: images, integers, floats, flags."""

    def observation(self, which: int) -> dict[str, torch.Tensor]:
        """The observation: 0 what the agent sees now, 1 what it saw at the end of the step."""
        return {
            "image": self.image[which],
            "direction": self.direction[which],
            "carrying": self.carrying[which],
            "mission": self.mission[which],
        }


def allocate(num_envs: int, device: torch.device, words: int, mission: torch.Tensor | None) -> Outputs:
    """Allocate the four blocks and name their parts.

    Args:
        num_envs: N.
        device: where.
        words: T, words of a mission that differs from level to level, 0 where it is always the same.
        mission: int64 `(N, T)`, the mission that is always the same.
    """
    n = num_envs
    images = torch.empty((2, n, 7, 7, 3), dtype=torch.uint8, device=device)
    integers = torch.empty(n * (7 + 2 * words), dtype=torch.int64, device=device)
    floats = torch.empty((2, n), dtype=torch.float32, device=device)
    flags = torch.empty((5, n), dtype=torch.bool, device=device)
    direction, carrying, missions, length = integers.split((2 * n, 4 * n, 2 * n * words, n))
    reward, returns = floats.unbind(0)
    terminated, truncated, success, succeeded, done = flags.unbind(0)
    return Outputs(
        image=images.unbind(0),
        direction=direction.view(2, n, 1).unbind(0),
        carrying=carrying.view(2, n, 2).unbind(0),
        mission=(mission, mission) if mission is not None else missions.view(2, n, words).unbind(0),
        length=length, reward=reward, returns=returns,
        terminated=terminated, truncated=truncated, done=done, success=success, succeeded=succeeded,
        pointers=(images.data_ptr(), integers.data_ptr(), floats.data_ptr(), flags.data_ptr()),
    )  # fmt: skip
