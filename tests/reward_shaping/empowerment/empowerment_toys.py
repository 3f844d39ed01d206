"""Small worlds whose empowerment is known, and MiniGrid envs put into every state of a level."""

import itertools

import numpy as np
import torch
from scipy.stats import spearmanr

from cairngym.envs.core import TensorEnv
from cairngym.envs.registry import make
from cairngym.envs.tabular import TabularTask, TabularWorld


def rank_correlation(estimate, exact):
    return float(spearmanr(estimate.numpy(), exact.numpy())[0])


def rooms(text):
    """A grid world of the free cells of a drawing: stay, or move up, down, left, right; walls hold."""
    lines = text.split()
    cells = [(y, x) for y, x in itertools.product(range(len(lines)), range(len(lines[0]))) if lines[y][x] != "#"]
    place = {cell: i for i, cell in enumerate(cells)}
    moves = torch.zeros(len(cells), 5, len(cells))
    for (y, x), i in place.items():
        for action, (dy, dx) in enumerate(((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))):
            moves[i, action, place.get((y + dy, x + dx), i)] = 1.0
    return moves


ROOMS = rooms("""
    ....#....
    ....#....
    .........
    ....#....
    ##.###.##
    ....#....
""")


def slipping(moves):
    """The same world, where the further a state is in the list, the more often a step does what chance says."""
    slip = torch.linspace(0.0, 0.9, len(moves))[:, None, None]
    return (1 - slip) * moves + slip * moves.mean(1, keepdim=True)


def drifting(moves, steps=1):
    """A ring that moves on by itself by 0, 1 or 2 places after each action."""
    size = len(moves)
    drift = sum(torch.eye(size).roll(k, 1) for k in range(3)) / 3
    return moves @ torch.linalg.matrix_power(drift, steps)


def tabular(moves, num_envs=None, start=None, **task):
    """An env of the model, one world in each state unless a start is given."""
    states = len(moves)
    num_envs = num_envs or states
    start = torch.full((states,), 1 / states) if start is None else start
    world = TabularWorld(moves, start, num_envs, "cpu")
    task = {"goals": (), "horizon": 50, **task}
    return TensorEnv(world, TabularTask(states, **task))


def everywhere(moves, **task):
    """An env whose world i is in state i, reset."""
    env = tabular(moves, **task)
    env.reset(seed=0)
    snapshot = env.get_state()
    snapshot["world"]["node"] = torch.arange(len(moves))
    env.set_state(snapshot)
    return env


def level_env(env_id, **options):
    env = make(env_id, bank_size=4, threads=1, **options)
    env.reset(seed=0)
    return env


def in_every_state(env_id, model, source):
    """An env whose world i is in state i of the level that `source`'s first world is in."""
    env = level_env(env_id, num_envs=len(model), autoreset_mode="Disabled")
    snapshot, level = env.get_state(), source.get_state()["world"]
    snapshot["world"] = {"cells": model.cells, "agent": model.agent, "variables": model.variables} | {
        name: level[name][:1].expand(len(model)) for name in ("current", "current_mission")
    }
    env.set_state(snapshot)
    return env


def numpy_capacity(channel, iterations=3000):
    """Blahut and Arimoto's algorithm for one channel, by the book."""
    channel = np.asarray(channel, dtype=np.float64)
    source = np.full(len(channel), 1 / len(channel))
    for _ in range(iterations):
        mixture = source @ channel
        gain = np.array([sum(p * np.log(p / m) for p, m in zip(row, mixture, strict=True) if p > 0) for row in channel])
        source = source * np.exp(gain)
        total = source.sum()
        source /= total
    return float(np.log(total))
