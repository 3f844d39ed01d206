"""Every registered id keeps the TensorEnv contract."""

import dataclasses
from functools import partial

import contract
import gymnasium
import pytest
import torch
import toy_worlds

import cairngym
from cairngym.envs.registry import get_spec

FAMILY_OPTIONS = {"minigrid": {"bank_size": 16}}
IDS = [name for name in cairngym.list_envs() if get_spec(name).reset_from_wheel]


def options_of(env_id):
    return FAMILY_OPTIONS.get(get_spec(env_id).family, {})


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(env_id, check):
    check(partial(cairngym.make, env_id, **options_of(env_id)))


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_makes_it(env_id):
    one = gymnasium.make(f"cairngym/{env_id}", **options_of(env_id))
    obs, info = one.reset(seed=3)
    assert obs in one.observation_space
    assert info["success"] is False
    many = gymnasium.make_vec(f"cairngym/{env_id}", num_envs=2, device="cpu", **options_of(env_id))
    batch, _ = many.reset(seed=3)
    first = {name: value[0] for name, value in batch.items()} if isinstance(batch, dict) else batch[0]
    as_numpy = {name: torch.as_tensor(value) for name, value in obs.items()} if isinstance(obs, dict) else obs
    contract.assert_same(first, as_numpy if isinstance(obs, dict) else torch.as_tensor(obs), "first observations")


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("ends", [True, False])
def test_contract_of_a_continuous_world(check, ends):
    check(partial(toy_worlds.make_line, terminate_on_success=ends))


class SharedNoise(toy_worlds.LineWorld):
    """Draws from torch's global generator."""

    def advance(self, action):
        self.position = self.position + 0.3 * action[:, 0] + torch.rand(self.num_envs) * 0.2 - 0.1


class InPlace(toy_worlds.LineWorld):
    """Overwrites what it returned."""

    def advance(self, action):
        self.position += 0.3 * action[:, 0]


class Forgetful(toy_worlds.LineWorld):
    """Leaves the position out of its snapshot."""

    def set_state(self, snapshot):
        del snapshot


class ResetsAll(toy_worlds.LineWorld):
    """Begins every env whenever one begins."""

    def begin(self, mask, episodes):
        super().begin(torch.ones_like(mask) if mask.any() else mask, episodes)


class WrongUnits(toy_worlds.LineWorld):
    """Measures in float64 what it declares as float32."""

    @property
    def state(self):
        return {"position": self.position.double()}


class PeeksAhead(toy_worlds.LineWorld):
    """Shows the new episode's observation as the final one."""

    def transition(self, *arguments):
        out = super().transition(*arguments)
        return dataclasses.replace(out, final_obs=out.obs)


@pytest.mark.parametrize(
    ("world", "check"),
    [
        (SharedNoise, contract.check_same_seed_same_trajectory),
        (SharedNoise, contract.check_life_is_independent_of_batch),
        (InPlace, contract.check_nothing_is_overwritten),
        (Forgetful, contract.check_snapshot_round_trip),
        (ResetsAll, contract.check_reset_mask),
        (ResetsAll, contract.check_life_is_independent_of_batch),
        (WrongUnits, contract.check_spaces),
        (PeeksAhead, contract.check_final_obs_is_terminal),
    ],
)
def test_checks_catch_broken_worlds(world, check):
    with pytest.raises(AssertionError):
        check(partial(toy_worlds.make_line, world=world))
