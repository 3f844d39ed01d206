"""Ids: looked up, refused, registered once."""

import gymnasium
import pytest
from toy_worlds import make_line

import cairngym
from cairngym.envs import registry
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.registry import EnvSpec, get_spec, list_envs, make, register


@pytest.fixture
def line_id():
    """The id of a user's env, gone after the test."""
    name = "Line-Test-v0"
    register(EnvSpec(id=name, maker=lambda env_id, **options: make_line(**options)))
    yield name
    del registry._specs[name]
    del gymnasium.registry[f"cairngym/{name}"]


def test_ids_are_sorted_and_known_to_gymnasium():
    ids = list_envs()
    assert ids == sorted(set(ids))
    assert "Chain-N10-v0" in ids
    assert all(f"cairngym/{name}" in gymnasium.registry for name in ids)


def test_prefix_is_optional():
    assert get_spec("cairngym/Chain-N10-v0") is get_spec("Chain-N10-v0")


def test_unknown_id_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Unknown env id 'Chain-N1-v0'. Did you mean 'Chain-N10-v0'"):
        make("Chain-N1-v0")


def test_user_env_is_made_everywhere(line_id):
    assert line_id in list_envs()
    env = cairngym.make(line_id, num_envs=3, seed=4, autoreset_mode="NextStep")
    assert (env.num_envs, env.episodes.seed, env.autoreset_mode.value) == (3, 4, "NextStep")
    assert gymnasium.make(f"cairngym/{line_id}").reset(seed=0)[0]["where"].shape == (1,)
    assert gymnasium.make_vec(f"cairngym/{line_id}", num_envs=5).reset(seed=0)[0]["where"].shape == (5, 1)


def test_taken_id_is_refused(line_id):
    with pytest.raises(ValueError, match="already registered"):
        register(EnvSpec(id=line_id, maker=make_line))
    with pytest.raises(ValueError, match="already registered"):
        register(EnvSpec(id="Chain-N10-v0", maker=make_line))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_envs": 0}, ValueError, "num_envs >= 1, got 0"),
        ({"seed": -1}, ValueError, r"seed in \[0, 2\*\*63\), got -1"),
        ({"seed": 2**63}, ValueError, r"seed in \[0, 2\*\*63\)"),
        ({"seed": "one"}, TypeError, "one integer seed"),
        ({"lenght": 5}, TypeError, "lenght"),
        ({"length": 1}, ValueError, "length >= 2, got 1"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        make("Chain-N10-v0", **options)


def test_env_knows_the_id_it_was_made_by(line_id):
    from cairngym.envs.wrappers import FrameStack

    assert make(line_id).id == line_id
    assert FrameStack(make("Chain-N10-v0"), frames=2).unwrapped.id == "Chain-N10-v0"
