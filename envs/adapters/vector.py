"""The tensor env that `gymnasium.make_vec` makes."""

from __future__ import annotations

from typing import Any

from cairngym.envs.core import TensorEnv
from cairngym.envs.registry import make


def make_vector(env_id: str, num_envs: int = 1, device: str = "cpu", seed: int = 0, **options: Any) -> TensorEnv:
    """Make the TensorEnv registered under `env_id`; `gymnasium.make_vec("cairngym/<id>", …)` calls it.

    Args:
        env_id: one of `cairngym.list_envs()`.
        num_envs: how many copies step together.
        device: "cpu" or "cuda".
        seed: every draw derives from it.
        options: the env's own; `render_mode` may be "rgb_array" or None, since every env draws when it is asked to.

    Example:
        >>> import gymnasium
        >>> env = gymnasium.make_vec("cairngym/Chain-N10-v0", num_envs=3, device="cpu")
        >>> env.reset(seed=0)[0].shape
        torch.Size([3, 10])
    """
    check_render_mode(options.pop("render_mode", None))
    return make(env_id, num_envs=num_envs, device=device, seed=seed, **options)


def check_render_mode(render_mode: str | None) -> None:
    """Raise `ValueError` unless frames are asked for in the one way there is."""
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"Expected render_mode 'rgb_array' or None, got {render_mode!r}.")
