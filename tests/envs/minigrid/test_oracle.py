"""The scripted policy solves levels of every family, however it is disturbed."""

import pytest
import torch

import cairngym
from cairngym.agents.oracles import NoisyPolicy, make_oracle
from cairngym.envs.minigrid.oracle import MiniGridOracle, Scene

DEEDS = {
    "MiniGrid-LavaCrossingS9N2-v0": 1.0,  # a place, past lava
    "MiniGrid-MultiRoom-N4-S5-v1": 1.0,  # closed doors
    "MiniGrid-KeyCorridorS3R2-v0": 1.0,  # a key, a locked door, hands to be emptied in narrow corridors
    "MiniGrid-BlockedUnlockPickup-v0": 1.0,  # an object before the door
    "MiniGrid-ObstructedMaze-1Dlh-v0": 1.0,  # a key in a box
    "MiniGrid-PutNear-6x6-N2-v0": 1.0,
    "MiniGrid-RedBlueDoors-6x6-v0": 1.0,
    "MiniGrid-GoToDoor-5x5-v0": 1.0,  # doors in the outer wall
    "MiniGrid-Dynamic-Obstacles-6x6-v0": 0.75,  # nobody knows where balls roll
}


def solved(env, policy, steps):
    """Share of the envs whose first episode succeeds within so many steps."""
    obs, _ = env.reset(seed=1)
    over = torch.zeros(env.num_envs, dtype=torch.bool)
    success = over.clone()
    for _ in range(steps):
        obs, _, terminated, truncated, info = env.step(policy(obs, env.state))
        success |= ~over & info["success"]
        over |= terminated | truncated
        if over.all():
            break
    return float(success.double().mean())


@pytest.mark.parametrize("env_id", DEEDS)
def test_levels_are_solved(env_id):
    env = cairngym.make(env_id, num_envs=8, bank_size=16, threads=1)
    assert solved(env, make_oracle(env), 80) >= DEEDS[env_id]


def test_a_quarter_of_random_actions_only_delays_it():
    env = cairngym.make("MiniGrid-DoorKey-6x6-v0", num_envs=8, bank_size=16, threads=1)
    assert solved(env, NoisyPolicy(make_oracle(env), env, random_actions=0.25, seed=2), 150) == 1.0


def test_a_prefix_of_the_envs_is_played_alike():
    env = cairngym.make("MiniGrid-DoorKey-6x6-v0", num_envs=6, bank_size=16, threads=1)
    oracle = MiniGridOracle(env)
    env.reset(seed=3)
    state = dict(env.state)
    assert torch.equal(oracle({name: value[:2] for name, value in state.items()}), oracle(state)[:2])


def test_cells_that_join_others_are_narrow():
    rows = ("#######", "#..#..#", "#.....#", "#..#..#", "#######")
    grid = torch.tensor([[[2 if cell == "#" else 1, 5, 0] for cell in row] for row in rows]).transpose(0, 1)
    state = {
        "grid": grid.unsqueeze(0), "carrying": torch.tensor([[1, 0]]), "agent_dir": torch.tensor([0]),
        "agent_pos": torch.tensor([[1, 1]]),
    }  # fmt: skip
    narrow = Scene(state).narrow()[0].t()
    inside = [(x, y) for y in range(5) for x in range(7) if rows[y][x] == "." and narrow[y, x]]
    assert inside == [(2, 2), (3, 2), (4, 2)]


def test_other_envs_are_refused():
    with pytest.raises(TypeError, match="env of a MiniGrid id"):
        MiniGridOracle(cairngym.make("Chain-N10-v0"))
