"""Designs, a designer that says what it was told to, and a hand-made recording of a walk along a line."""

import asyncio

import torch

import cairngym
from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm.behaviour import Played
from cairngym.reward_shaping.llm.messages import Completion, Provenance
from cairngym.reward_shaping.llm.program import compile_program
from cairngym.reward_shaping.llm.provider import Provider
from cairngym.reward_shaping.llm.transitions import Recorded

SPEC = {
    "x": StateField(shape=(), unit="m", description="Where it is."),
    "picture": StateField(shape=(3, 4), unit="", description="Too wide to be shown."),
}
CHAIN = """\
def reward(state, action, next_state, memory):
    # Thoughts: the last node is the event.
    arrived = ((next_state.node == 9) & (state.node < 9)).float()
    change = (next_state.node - state.node).float()
    return arrived + change, {"sparse": arrived, "dense": change}
"""
BEST = """\
def reward(state, action, next_state, memory):
    best = memory.get("best", state.node.float())
    after = torch.maximum(best, next_state.node.float())
    memory["best"] = after
    change = (next_state.node - state.node).float()
    return after, {"sparse": (after > best).float() * (after >= 2).float(), "dense": change}
"""
GRID = """\
def locate(grid, kind):
    mask = (grid[..., 0] == kind).float()
    size = grid.shape[1]
    x = (mask * torch.arange(size).view(1, -1, 1)).sum(dim=(1, 2))
    y = (mask * torch.arange(size).view(1, 1, -1)).sum(dim=(1, 2))
    return x, y


def opened(grid):
    return ((grid[..., 0] == 4) & (grid[..., 2] == 0)).any(dim=-1).any(dim=-1).float()


def reward(state, action, next_state, memory):
    held, holds = (state.carrying[:, 0] == 5).float(), (next_state.carrying[:, 0] == 5).float()
    was, now = opened(state.grid), opened(next_state.grid)
    kx, ky = locate(state.grid, 5)
    dx, dy = locate(state.grid, 4)
    gx, gy = locate(state.grid, 8)
    tx = torch.where(was > 0, gx, torch.where(held > 0, dx, kx))
    ty = torch.where(was > 0, gy, torch.where(held > 0, dy, ky))
    a, b = state.agent_pos.float(), next_state.agent_pos.float()
    before = (a[:, 0] - tx).abs() + (a[:, 1] - ty).abs()
    after = (b[:, 0] - tx).abs() + (b[:, 1] - ty).abs()
    done = ((b[:, 0] == gx) & (b[:, 1] == gy)).float()
    sparse = (holds - held) * (1 - was) + (now - was) + done
    return sparse, {"sparse": sparse, "dense": before - after}
"""
PUSH = """\
def change(before, after):
    moved = before - after
    return torch.where(moved.abs() > 1e-4, moved, torch.zeros_like(moved))


def reward(state, action, next_state, memory):
    before = torch.linalg.norm(state.object_position - state.goal, dim=-1)
    after = torch.linalg.norm(next_state.object_position - state.goal, dim=-1)
    near = torch.linalg.norm(state.gripper_position - state.object_position, dim=-1)
    nearer = torch.linalg.norm(next_state.gripper_position - next_state.object_position, dim=-1)
    sparse = (after < 0.05).float() - (before < 0.05).float()
    pushed = change(before, after)
    reached = torch.where(nearer > 0.06, change(near, nearer), torch.zeros_like(near))
    dense = torch.where(pushed == 0, reached, pushed)
    return sparse, {"sparse": sparse, "dense": torch.where(before < 0.05, torch.zeros_like(dense), dense)}
"""


def fenced(source):
    """A completion that holds a program."""
    return f"Thoughts: none.\n```python\n{source}```\n"


class Scripted(Provider):
    """Answers with given texts, one after another, and keeps what it was asked."""

    def __init__(self, *texts):
        super().__init__()
        self.texts, self.asked = list(texts), []

    async def complete(self, request):
        await asyncio.sleep(0)
        self.asked.append(request)
        texts = tuple(self.texts.pop(0) for _ in range(request.n))
        return Completion(
            texts=texts, finish_reasons=("stop",) * len(texts), model="scripted", provenance=Provenance(source="a test")
        )


def named(env_id, **options):
    """An env that says by which id it was made."""
    env = cairngym.make(env_id, **options)
    env.id = env_id
    return env


def walk(*, terminated=(False, True), progress=None):
    """Two envs, four steps each, x from 0 to 3 and back; env 0 succeeds in its third step and goes on."""
    before = torch.tensor([[0.0, 3.0], [1.0, 2.0], [2.0, 1.0], [3.0, 0.0]])
    after = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 0.0], [3.0, 0.0]])
    success = torch.tensor([[0, 0], [0, 0], [1, 0], [1, 0]]).bool()
    ends = torch.zeros(4, 2, dtype=torch.bool)
    ends[3] = torch.tensor(terminated)
    count = 8
    return Recorded(
        state={"x": before.flatten(), "picture": torch.zeros(count, 3, 4)}, action=torch.zeros(count, 1),
        next_state={"x": after.flatten(), "picture": torch.zeros(count, 3, 4)}, reward=success.flatten().float(),
        terminated=ends.flatten(), truncated=torch.zeros(count, dtype=torch.bool), success=success.flatten(),
        progress=(before / 3).flatten(), next_progress=(after / 3).flatten(), episode=torch.arange(count) % 2,
        step=torch.arange(count) // 2, num_envs=2, idle=torch.zeros(1),
    )  # fmt: skip


def line_program(sparse, dense):
    """A design of two expressions in x and y, where x is before and y after the step."""
    return compile_program(
        "def reward(state, action, next_state, memory):\n    x, y = state.x, next_state.x\n"
        f"    return x, {{'sparse': {sparse}, 'dense': {dense}}}\n",
        SPEC,
    )


def played(x, lengths, *, success=(), truncated=()):
    """Episodes along x `(T, N)`, whose next state is half a metre further; wins and timeouts as (step, env)."""
    x = torch.tensor(x)
    state = {"x": x, "picture": torch.zeros(*x.shape, 3, 4)}
    won, late = torch.zeros_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    for mask, where in ((won, success), (late, truncated)):
        for step, env in where:
            mask[step, env] = True
    return Played(
        state=state, next_state={**state, "x": x + 0.5}, action=torch.arange(x.numel()).view(*x.shape, 1) / 10,
        success=won, truncated=late, lives=torch.arange(len(x)).unsqueeze(1) < torch.tensor(lengths),
    )  # fmt: skip
