from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cairngym.envs.core import Transition
from cairngym.envs.registry import make
from cairngym.reward_shaping.curiosity.rnd import RNDShaper
from cairngym.reward_shaping.registry import shape


def toy(count=8, features=4, **options):
    env = SimpleNamespace(
        num_envs=count, device=torch.device("cpu"), single_observation_space=spaces.Box(-9, 9, (features,), np.float32)
    )
    env.unwrapped = SimpleNamespace(task=SimpleNamespace(categories={}))
    shaper = RNDShaper(**{"warmup": 1, "update_proportion": 1.0, **options})
    shaper.bind(env)
    return shaper


def arrive(next_obs, **changes):
    zero = torch.zeros(len(next_obs))
    no = zero.bool()
    made = Transition(
        obs=next_obs * 0 - 7, state={}, action=zero, next_obs=next_obs, next_state={}, reward=zero,
        terminated=no, truncated=no, success=no, env_id=None,
    )  # fmt: skip
    return replace(made, **changes)


def familiar(draws, count=8):
    return arrive(torch.randn(count, 4, generator=draws).clamp(-2, 2))


def feed(shaper, draws, steps=16):
    for _ in range(steps):
        shaper.observe(familiar(draws))
    return shaper.update()


def test_what_is_seen_often_pays_less_and_what_is_new_pays_more():
    draws = torch.Generator().manual_seed(0)
    shaper = toy()
    feed(shaper, draws)
    feed(shaper, draws)
    probe, novel = familiar(draws), arrive(torch.randn(8, 4, generator=draws) + 6)
    first = shaper.found(probe)[1].mean()
    for _ in range(40):
        metrics = feed(shaper, draws)
    last, new = shaper.found(probe)[1].mean(), shaper.found(novel)[1].mean()
    assert last < 0.5 * first
    assert new > 5 * last
    assert shaper.shape(novel).min() > shaper.shape(probe).median()
    assert metrics["loss"] < 0.5 * first


def test_the_bonus_is_the_error_over_the_std_and_not_the_discounted_sum():
    draws = torch.Generator().manual_seed(0)
    shaper = toy()
    returns, every = np.zeros(8), []
    feed(shaper, draws)
    for _ in range(30):
        seen = familiar(draws)
        error = shaper.found(seen)[1].numpy()
        returns = 0.99 * returns + error
        every.append(returns.copy())
        shaper.observe(seen)
    metrics = shaper.update()
    assert metrics["return_std"] == pytest.approx(np.std(every), rel=1e-4)
    seen = familiar(draws)
    np.testing.assert_allclose(shaper.shape(seen), shaper.found(seen)[1] / np.std(every), rtol=1e-4)


def test_ends_of_episodes_change_nothing():
    outcomes = []
    for over in (False, True):
        draws = torch.Generator().manual_seed(0)
        shaper = toy()
        feed(shaper, draws)
        for _ in range(5):
            flags = torch.full((8,), over)
            shaper.observe(arrive(familiar(draws).next_obs, terminated=flags, truncated=flags))
            shaper.begin(flags)
        outcomes.append(shaper._scale.returns)
    assert torch.equal(*outcomes)
    assert outcomes[0].min() > 0


def test_it_pays_and_learns_for_the_next_observation_alone():
    draws = torch.Generator().manual_seed(0)
    shaper, other = toy(), toy()
    for each in (shaper, other):
        feed(each, torch.Generator().manual_seed(1))
        feed(each, torch.Generator().manual_seed(2))
    seen = familiar(draws)
    elsewhere = replace(seen, obs=seen.obs + 3)
    assert torch.equal(shaper.shape(seen), other.shape(elsewhere))
    shaper.observe(seen)
    other.observe(elsewhere)
    shaper.update()
    other.update()
    assert torch.equal(shaper.shape(seen), other.shape(elsewhere))
    assert shaper._moments.count == 8 * 16 * 2 + 8


def test_nothing_is_paid_before_there_is_a_scale():
    draws = torch.Generator().manual_seed(0)
    shaper = toy(warmup=20)
    assert shaper.update() == {}
    paid = []
    for _ in range(4):
        paid.append(float(shaper.shape(familiar(draws)).abs().sum()) > 0)
        feed(shaper, draws)
    assert paid == [False, False, False, True], "statistics after 16 steps, then 32 >= 20 steps of returns"
    assert shaper.ready


def test_only_update_changes_the_bonus_and_it_is_bounded_by_the_clip():
    draws = torch.Generator().manual_seed(0)
    shaper = toy(clip=2.0)
    feed(shaper, draws)
    feed(shaper, draws)
    probe = familiar(draws)
    before = shaper.shape(probe)
    for _ in range(10):
        shaper.observe(familiar(draws))
    assert torch.equal(shaper.shape(replace(probe)), before)
    far, farther = (arrive(torch.full((1, 4), value)) for value in (1e3, 1e6))
    assert torch.equal(shaper.shape(far), shaper.shape(farther))
    shaper.update()
    assert not torch.equal(shaper.shape(replace(probe)), before)


def test_rows_that_are_not_valid_teach_nothing():
    shaper = toy(2)
    strange = torch.tensor([[1.0] * 4, [9.0] * 4])
    for _ in range(10):
        shaper.observe(arrive(strange, valid=torch.tensor([True, False])))
    assert shaper._reservoir.rows().unique().tolist() == [1.0]
    shaper.update()
    shaper.observe(arrive(strange, valid=torch.tensor([True, False])))
    assert shaper._scale.returns[1] == 0.0


def test_the_sample_is_bounded_and_emptied():
    draws = torch.Generator().manual_seed(0)
    shaper = toy(max_batch=50, update_proportion=0.5)
    for _ in range(60):
        shaper.observe(familiar(draws))
    assert len(shaper._reservoir.rows()) == 50
    shaper.update()
    assert len(shaper.get_state()["reservoir"]["rows"]) == 0
    assert shaper._moments.count == 50


def test_constant_observations_stay_finite():
    shaper = toy()
    for _ in range(3):
        for _ in range(8):
            shaper.observe(arrive(torch.ones(8, 4)))
        shaper.update()
        assert torch.isfinite(shaper.shape(arrive(torch.ones(8, 4)))).all()


def run(env, actions):
    metrics, paid = [], []
    for index, action in enumerate(actions):
        paid.append(env.step(action)[4]["reward_terms"]["rnd"])
        if index % 10 == 9:
            metrics.append(env.update_shapers())
    return torch.stack(paid), metrics


def test_same_seed_same_bonuses_and_the_seed_matters():
    actions = torch.randint(2, (60, 16), generator=torch.Generator().manual_seed(0))
    results = []
    for seed, noise in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(noise)
        env = shape(make("Chain-N10-v0", num_envs=16), "rnd", warmup=1, seed=seed)
        env.reset(seed=0)
        results.append(run(env, actions))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert not torch.equal(results[0][0], results[2][0])
    assert results[0][0][20:].min() > 0


def test_binding_does_not_step_the_env():
    env = make("Chain-N10-v0", num_envs=4)
    env.reset(seed=0)
    before = env.episodes.length.clone()
    shaped = shape(env, "rnd")
    assert torch.equal(env.episodes.length, before)
    assert shaped.terms[0].shaper.stream == "intrinsic"
    assert not shaped.terms[0].shaper.memory


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discount": 1.0}, r"discount in \[0, 1\)"),
        ({"update_proportion": 0.0}, r"update_proportion in \(0, 1\]"),
        ({"hidden": 0}, "above zero"),
        ({"clip": 0.0}, "above zero"),
        ({"encoding": "words"}, "'categories' or 'numbers'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RNDShaper(**options)
