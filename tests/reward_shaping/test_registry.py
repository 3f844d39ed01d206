import copy

import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.registry import make
from cairngym.reward_shaping import registry
from cairngym.reward_shaping.core import Shaper


class Half(Shaper):
    def __init__(self, **options):
        self.options = options

    def shape(self, transition):
        return torch.full((len(transition),), 0.5)


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_shapers", copy.deepcopy(registry._shapers))


def test_builtin_names_all_make_shapers():
    assert {"potential", "count", "rnd", "stages", "text2reward", "sum", "gate"} <= set(registry.list_shapers())
    assert all(issubclass(registry.get_shaper(name), Shaper) for name in registry.list_shapers())


def test_unknown_names_and_options_name_the_nearest():
    with pytest.raises(UnknownNameError, match=r"Did you mean 'potential'"):
        registry.shape(make("Chain-N10-v0"), "potental")
    with pytest.raises(TypeError, match=r"Did you mean 'gamma'"):
        registry.make_shaper("potential", gama=0.9)
    with pytest.raises(ValueError, match="no 'name'"):
        registry.make_term({"weight": 1.0})


@pytest.mark.usefixtures("own_registry")
def test_a_registered_shaper_is_reached_by_name_with_any_options_it_takes():
    registry.register_shaper("half", Half)
    with pytest.raises(ValueError, match="already registered"):
        registry.register_shaper("half", Half)
    env = registry.shape(make("Chain-N10-v0", num_envs=2), "half", weight=4.0, anything=1)
    env.reset(seed=0)
    assert env.step([1, 1])[1].tolist() == [2.0, 2.0]
    assert env.terms[0].shaper.options == {"anything": 1}


def test_shaping_twice_adds_a_term():
    env = registry.shape(registry.shape(make("Chain-N10-v0"), "count"), "count", 0.5, term="lifelong", mode="lifelong")
    assert [(term.name, term.weight) for term in env.terms] == [("count", 1.0), ("lifelong", 0.5)]
    assert env.env is env.unwrapped
    with pytest.raises(ValueError, match="pass term="):
        registry.shape(env, "count")
