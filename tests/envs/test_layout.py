"""What observations and actions are declared to be, held against the numbers that tasks really show."""

import numpy as np
import pytest
import torch

import cairngym
from cairngym.envs.layout import Quantity, action_quantities, entries, observation_quantities, shared_unit, units
from cairngym.envs.registry import list_envs
from cairngym.envs.wrapper_registry import make_wrapper

KINDS = ("PointMaze_UMaze-v3", "AntMaze_UMaze-v4", "FetchReach-v4", "FetchPush-v4", "Quadrotor-v0",
         "DifferentialDrive-v0", "FrankaReach-v0")  # fmt: skip
DECLARED = [env_id for env_id in KINDS if env_id in list_envs()]


@pytest.mark.parametrize("env_id", DECLARED)
def test_named_fields_are_the_numbers_shown(env_id):
    env = cairngym.make(env_id, num_envs=3, seed=4)
    obs, _ = env.reset()
    for _ in range(3):
        obs, *_ = env.step(0.5 * torch.rand(3, *env.single_action_space.shape) + 0.2)
    state, found = env.state, observation_quantities(env)
    assert found.keys() == entries(env.single_observation_space).keys()
    named = 0
    for entry, quantities in found.items():
        at = 0
        for quantity in quantities:
            shown = obs[entry][:, at : at + quantity.size]
            at += quantity.size
            if quantity.name in env.state_spec:
                named += 1
                torch.testing.assert_close(shown, state[quantity.name].reshape(3, -1).to(shown.dtype), rtol=0, atol=0)
                assert quantity.unit == env.state_spec[quantity.name].unit
            elif " - " in quantity.name:
                left, right = (state[name] for name in quantity.name.split(" - "))
                torch.testing.assert_close(shown, (left - right).to(shown.dtype))
        assert at == obs[entry].shape[1]
    assert named >= 3


@pytest.mark.parametrize("env_id", DECLARED)
def test_actions_are_named(env_id):
    env = cairngym.make(env_id)
    quantities = action_quantities(env)
    names = [name for quantity in quantities for name in quantity.names]
    assert len(set(names)) == len(names) == int(np.prod(env.single_action_space.shape))


def test_an_env_that_declares_nothing_is_not_guessed():
    env = cairngym.make("Chain-N10-v0")
    assert observation_quantities(env) == {}
    assert action_quantities(env) == ()


def test_a_wrapper_that_changes_what_is_seen_hides_the_layout():
    env = cairngym.make("PointMaze_UMaze-v3")
    assert observation_quantities(make_wrapper("action_delay", env, steps=1)) == observation_quantities(env)
    assert observation_quantities(make_wrapper("frame_stack", env, frames=2)) == {}


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"observation": ("position",)}, "to name 4 numbers, .* got 2"),
        ({"observation": ("position", "velocty")}, "Did you mean 'velocity'"),
    ],
)
def test_a_wrong_declaration_is_an_error(layout, message):
    env = cairngym.make("PointMaze_UMaze-v3")
    env.task.observation_layout = layout
    with pytest.raises(ValueError, match=message):
        observation_quantities(env)


def test_a_wrong_declaration_of_actions_is_an_error():
    env = cairngym.make("PointMaze_UMaze-v3")
    env.world.action_layout = (Quantity(name="force", unit="N"),)
    with pytest.raises(ValueError, match=r"to name 2 numbers, .* got 1"):
        action_quantities(env)


def test_units_of_mixed_numbers():
    quantities = (Quantity(name="a", unit="m", size=2), Quantity(name="b", unit="rad"), Quantity(name="c", unit="rad"))
    assert units(quantities) == ("m", "m", "rad", "rad")
    assert shared_unit(units(quantities)) == "m, rad"
    assert shared_unit(()) == ""
