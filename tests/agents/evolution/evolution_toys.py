"""A point that walks for a few steps and is paid for where it stops: small enough to know every answer."""

import itertools
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cairngym.agents.evolution.individuals import Individuals
from cairngym.envs.core import StateField, Task, TensorEnv, World
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.fused import FusedWorld, Played

AREAS = ((0.6, 0.6, 0.3), (-0.6, 0.0, 0.2))
HORIZON = 6


class PointTask(Task):
    """Paid in the last step by how near the middle of an area the point is."""

    terminate_on_success = False
    horizon = HORIZON
    single_observation_space = spaces.Box(-2.0, 2.0, (2,), np.float32)
    descriptor = BehaviorDescriptor(
        entries=(("place", 0), ("place", 1)), low=(-1.0, -1.0), high=(1.0, 1.0), cells=(10, 10)
    )
    reward_areas = AREAS

    def observe(self, state):
        return state["place"]

    def success(self, state):
        return (state["age"] == self.horizon) & (worth(state["place"]) > 0)

    def reward(self, state, success, failure, length):
        return torch.where(success, worth(state["place"]), 0.0)


def one_by_one(genomes, policy, value):
    """What `feed_forward` computes, in double so that its rounding does not depend on how many policies there are."""
    genomes, value, at = genomes.double(), value.double(), 0
    for inputs, outputs in policy.layers:
        weights = genomes[:, at : at + inputs * outputs].view(-1, inputs, outputs)
        at += inputs * outputs + 1
        total = genomes[:, at - 1 : at].expand(-1, outputs)
        for number in range(inputs):
            total = total + value[:, number : number + 1] * weights[:, number]
        value = 2.0 * torch.sigmoid(total) - 1.0
    return value.float()


def worth(place):
    shares = [(r - (place - torch.tensor([x, y])).norm(dim=1)) / r for x, y, r in AREAS]
    return torch.stack(shares).amax(0).clamp_min(0.0)


class PointWorld(World):
    """Moves by a quarter of the action; begins at the origin, or near it where `jitter` is not zero."""

    single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    state_spec: ClassVar = {
        "place": StateField(shape=(2,), unit="m", description="Where it is."),
        "age": StateField(shape=(), unit="step", description="Steps taken.", dtype=torch.int64),
    }

    def __init__(self, num_envs, jitter=0.0):
        self.num_envs, self.device, self.jitter = num_envs, torch.device("cpu"), jitter
        self.place, self.age = torch.zeros(num_envs, 2), torch.zeros(num_envs, dtype=torch.int64)

    def start_of(self, seed, env_id, number):
        """A place for every life, from sines rather than Philox, since lives of many seeds are asked for at once."""
        life = (seed % 9973) * 12.9898 + env_id * 78.233 + number * 37.719
        phase = torch.as_tensor(life, dtype=torch.float64).unsqueeze(1) + torch.tensor([0.0, 0.5])
        return self.jitter * (2.0 * (torch.sin(phase) * 43758.5453).frac().abs() - 1.0).float()

    def begin(self, mask, episodes):
        start = self.start_of(episodes.seed, episodes.env_id, episodes.number)
        self.place = torch.where(mask.unsqueeze(1), start, self.place)
        self.age = torch.where(mask, 0, self.age)

    def advance(self, action):
        self.place, self.age = self.place + 0.25 * action, self.age + 1

    @property
    def state(self):
        return {"place": self.place, "age": self.age}

    def get_state(self):
        return {"place": self.place.clone(), "age": self.age.clone()}

    def set_state(self, snapshot):
        self.place, self.age = snapshot["place"].clone(), snapshot["age"].clone()


class FusedPoint(PointWorld, FusedWorld):
    """The same, playing whole episodes by itself."""

    calls = 0

    def play(self, task, genomes, policy, *, seeds, record=False):
        self.calls += 1
        place = self.start_of(seeds, 0, 0)
        for _ in range(task.horizon):
            place = place + 0.25 * one_by_one(genomes, policy, place)
        returns = worth(place)
        length = torch.full((len(genomes),), task.horizon)
        return Played(returns=returns, descriptor=place, success=returns > 0, length=length, trajectory=None)


def point(num_envs=8, fused=True, jitter=0.0, task=None):
    world = (FusedPoint if fused else PointWorld)(num_envs, jitter)
    return TensorEnv(world, task or PointTask())


def individuals(places, fitness, genomes=None):
    """Policies that ended at `places` `(P, 2)`."""
    places = torch.tensor(places, dtype=torch.float32)
    if genomes is None:
        genomes = torch.arange(len(places), dtype=torch.float32).unsqueeze(1).expand(-1, 3)
    return Individuals(torch.as_tensor(genomes).clone(), torch.tensor(fitness, dtype=torch.float32), places)


def same(left, right):
    """Whether two snapshots are equal, bit for bit."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(itertools.starmap(same, zip(left, right, strict=True)))
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)
    return left == right


def uncompiled_ribs():
    """Import pyribs without its compiler: compiling takes longer than all that is tested here."""
    numba = pytest.importorskip("numba")
    if "ribs" not in sys.modules:
        numba.config.DISABLE_JIT = True  # for good: what was imported without the compiler is to stay without
    pytest.importorskip("ribs.emitters")
