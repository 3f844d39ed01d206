"""TensorEnv to gymnasium.Env, numpy VectorEnv and Stable-Baselines3 VecEnv, and any gymnasium env to TensorEnv.

Names are imported when first used, so that Stable-Baselines3 is needed only by those who ask for `SB3VecEnv`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cairngym.envs.adapters.foreign import SnapshotError, from_gymnasium
    from cairngym.envs.adapters.numpy_vector import NumpyVectorEnv
    from cairngym.envs.adapters.single import SingleEnv, make_single
    from cairngym.envs.adapters.stable_baselines3 import SB3VecEnv
    from cairngym.envs.adapters.vector import make_vector

_EXPORTS = {
    "NumpyVectorEnv": "cairngym.envs.adapters.numpy_vector",
    "SB3VecEnv": "cairngym.envs.adapters.stable_baselines3",
    "SingleEnv": "cairngym.envs.adapters.single",
    "SnapshotError": "cairngym.envs.adapters.foreign",
    "from_gymnasium": "cairngym.envs.adapters.foreign",
    "make_single": "cairngym.envs.adapters.single",
    "make_vector": "cairngym.envs.adapters.vector",
}

__all__ = [
    "NumpyVectorEnv",
    "SB3VecEnv",
    "SingleEnv",
    "SnapshotError",
    "from_gymnasium",
    "make_single",
    "make_vector",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
