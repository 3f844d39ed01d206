"""Envs on the Warp driver, on Warp's CPU device, keep the contract, and say when their physics fails."""

from functools import partial

import contract
import pytest
import torch
from gymnasium.vector import AutoresetMode

import cairngym

MODES = [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED]
make_arms = partial(cairngym.make, "FetchReach-v4", driver="warp")


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check):
    """Bitwise, life independent of the batch included: the CPU device works on one world after the other."""
    check(make_arms)


@pytest.mark.parametrize(
    "check", [contract.check_life_is_independent_of_batch, contract.check_snapshot_round_trip], ids=["life", "snapshot"]
)
def test_contract_where_feet_strike_the_floor(check):
    check(partial(cairngym.make, "AntMaze_UMaze-v4", driver="warp"))


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_an_episode_that_diverges_is_truncated_and_the_env_goes_on(mode):
    env, twin = (make_arms(num_envs=3, seed=3, autoreset_mode=mode) for _ in range(2))
    action = torch.full((3, 4), 0.3)
    for each in (env, twin):
        each.reset()
        begin = each.world.driver.view("time").clone()
        each.step(action)
    env.world.driver.view("qvel")[1, 3] = float("nan")
    obs, reward, terminated, truncated, info = env.step(action)
    other = twin.step(action)
    assert info["physics_error"].tolist() == truncated.tolist() == [False, True, False]
    assert info["physics"]["warnings"].tolist() == [0, 1, 0]
    assert not terminated.any()
    assert not other[4]["physics_error"].any()
    for values in (*obs.values(), reward, *info["final_obs"].values(), *dict(env.state).values()):
        assert values.isfinite().all()
    assert torch.equal(obs["observation"][[0, 2]], other[0]["observation"][[0, 2]])
    if mode is AutoresetMode.DISABLED:
        env.reset(options={"reset_mask": truncated})
    elif mode is AutoresetMode.NEXT_STEP:
        env.step(action)
    assert int(env.episodes.number[1]) == 1
    assert env.world.driver.view("time")[1] == begin[1]
    _, _, _, truncated, info = env.step(action)
    assert not truncated.any()
    assert not info["physics"]["warnings"].any(), "counters outlive their episode"


@pytest.mark.parametrize(
    ("sizes", "overflow"),
    [({"nconmax": 1, "njmax": 64}, "contact_overflow"), ({"nconmax": 24, "njmax": 8}, "constraint_overflow")],
)
def test_buffers_too_small_are_told(sizes, overflow):
    """An arm stands on four contacts, in 22 rows with its weld."""
    env = make_arms(num_envs=2, driver_options=sizes)
    env.reset()
    info = env.step(torch.zeros(2, 4))[4]
    counters = dict(info["physics"])
    assert (counters.pop(overflow) > 0).all()
    assert not any(values.any() for values in counters.values())
