"""Reward programs that are accepted, states to run them on, and Python itself to compare them with."""

import math
import re
import types
from pathlib import Path

import torch

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm.program import compile_program


def vector(size=3, dtype=torch.float32):
    return StateField(shape=(size,) if size else (), unit="", description="A measurement.", dtype=dtype)


WHOLE = torch.int64
SPECS = {
    "manipulation": {
        "gripper_position": vector(), "gripper_velocity": vector(), "finger_position": vector(2), "goal": vector(),
        "object_position": vector(), "object_rotation": vector(), "object_velocity": vector(),
    },
    "navigation": {
        "position": vector(2), "velocity": vector(2), "goal": vector(2), "path_distance": vector(0),
        "cell": vector(2, WHOLE),
    },
    "grid": {
        "agent_pos": vector(2, WHOLE), "agent_dir": vector(0, WHOLE), "carrying": vector(2, WHOLE),
        "grid": StateField(shape=(7, 7, 3), unit="", description="Cells.", dtype=torch.uint8),
    },
}  # fmt: skip
ACCEPTED = {
    f"{path.stem}: {name}": (path.stem, source)
    for path in sorted((Path(__file__).parent / "accepted").glob("*.txt"))
    for name, _, source in (block.partition("\n") for block in re.split(r"^\+\+\+ ", path.read_text(), flags=re.M)[1:])
}
POINT = {"x": vector(0), "p": vector(3)}


def draw(spec, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, field in spec.items():
        shape = (batch, *field.shape)
        if field.dtype.is_floating_point:
            state[name] = 0.3 * torch.randn(shape, generator=generator)
        else:
            state[name] = torch.randint(0, 6, shape, generator=generator).to(field.dtype)
    return state


def actions(kind, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    if kind == "grid":
        return torch.randint(0, 7, (batch,), generator=generator)
    return torch.randn(batch, 4 if kind == "manipulation" else 2, generator=generator)


class Fields(types.SimpleNamespace):
    def __getitem__(self, name):
        return getattr(self, name)


class Plain(dict):
    """A memory that gives numbers to every env."""

    def get(self, name, default):
        return super().get(name, default if isinstance(default, torch.Tensor) else torch.full((16,), float(default)))


def by_python(source):
    """The same text run by Python itself, with whole torch and a dict for a memory."""
    scope = {"torch": torch, "math": math}
    exec(source, scope)
    return lambda state, action, following, memory: scope["reward"](
        Fields(**state), action, Fields(**following), memory
    )


def body(*lines, spec=POINT, **options):
    text = "\n".join(f"    {line}" for line in lines)
    return compile_program(
        f"def reward(state, action, next_state, memory):\n{text}\n    return r, {{'r': r}}\n", spec, **options
    )


def run(program, x, memory=None):
    state = {"x": x, "p": x[:, None].expand(-1, 3)}
    return program(state, torch.zeros(len(x), 2), state, memory)
