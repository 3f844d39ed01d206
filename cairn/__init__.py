"""cairngym: sparse-reward worlds, reward shapers, agents, and the comparison that tells which shaper helps.

Names are imported when first used, so that `import cairngym` stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

from cairngym.envs.registry import register_gymnasium

_EXPORTS = {
    "make": "cairngym.envs.registry",
    "register": "cairngym.envs.registry",
    "EnvSpec": "cairngym.envs.registry",
    "list_envs": "cairngym.envs.registry",
    "shape": "cairngym.reward_shaping.registry",
    "list_shapers": "cairngym.reward_shaping.registry",
    "TensorEnv": "cairngym.envs.core",
    "TensorWrapper": "cairngym.envs.wrapper",
    "Transition": "cairngym.envs.core",
    "World": "cairngym.envs.core",
    "Task": "cairngym.envs.core",
    "Shaper": "cairngym.reward_shaping.core",
}

__all__ = [*_EXPORTS, "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'cairngym' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


register_gymnasium()  # Gymnasium looks for no plugins of its own accord; it costs a few milliseconds
