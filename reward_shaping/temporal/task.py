"""The task with a formula that an env plays."""

from __future__ import annotations

from cairngym.envs.core import TensorEnv
from cairngym.envs.stl.task import StlTask


def stl_task(env: TensorEnv) -> StlTask:
    """The env's task, if it has a formula.

    Raises:
        TypeError: it has none.
    """
    task = env.unwrapped.task
    if not isinstance(task, StlTask):
        raise TypeError(
            f"Expected a task with a formula, got {type(task).__name__}. Make an Stl… id, or give any env a formula "
            "with cairngym.envs.stl.specify."
        )
    return task
