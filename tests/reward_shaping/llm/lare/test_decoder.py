import pytest
import torch

from cairngym.reward_shaping.llm.lare.decoder import Decoder, check_decoder
from cairngym.reward_shaping.llm.lare.episodes import EpisodeRing

CPU = torch.device("cpu")
WEIGHTS = torch.tensor([0.5, -2.0, 0.0])


def decoder(**options):
    settings = {"hidden": (), "loss": "rd", "subset": 4, "learning_rate": 0.02, "clip": 10.0, "seed": 0, **options}
    return Decoder(3, **settings, device=CPU)


def filled(episodes=256, scale=1.0, seed=0):
    """Episodes of 3 to 12 steps whose steps earn WEIGHTS . z + 0.25."""
    generator = torch.Generator().manual_seed(seed)
    ring = EpisodeRing(8, 3, longest=12, capacity=episodes, device=CPU)
    age = torch.zeros(8)
    while ring.finished < episodes:
        factors = torch.randn(8, 3, generator=generator) * torch.tensor([1.0, 3.0, 0.2]) + torch.tensor([5.0, 0.0, 1.0])
        age += 1
        done = (age >= 3) & (torch.rand(8, generator=generator) < 0.2) | (age == 12)
        ring.add(factors, scale * (factors @ WEIGHTS + 0.25), done)
        age[done] = 0
    return ring


@pytest.mark.parametrize(("loss", "tolerance"), [("rd", 1e-3), ("unbiased", 0.1)])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_a_linear_decoder_recovers_the_rewards_of_steps_from_returns_alone(loss, tolerance, scale):
    ring, fitted = filled(scale=scale), decoder(loss=loss, subset=8)
    fitted.acquaint(ring.since(0))
    for rate in (0.02, 0.005, 0.001):
        for group in fitted.optimizer.param_groups:
            group["lr"] = rate
        fitted.train(ring, updates=250, batch=64)
    factors = ring.since(0).factors[ring.since(0).lived]
    earned = factors @ WEIGHTS + 0.25
    with torch.no_grad():
        error = fitted.rewards(factors) / scale - earned
    assert float(error.std() / earned.std()) < tolerance
    assert abs(float(error.mean())) < tolerance


def test_rrd_shrinks_what_varies_where_the_unbiased_loss_does_not():
    """RRD's loss holds the variance of the subset's mean, which is large where two steps are drawn of many."""
    ring = filled()
    found = {}
    for loss in ("rd", "rrd", "unbiased"):
        fitted = decoder(loss=loss, subset=2)
        fitted.acquaint(ring.since(0))
        for rate in (0.02, 0.005):
            for group in fitted.optimizer.param_groups:
                group["lr"] = rate
            fitted.train(ring, updates=300, batch=64)
        with torch.no_grad():
            found[loss] = float(fitted.rewards(torch.tensor([[5.0, 3.0, 1.0], [5.0, -3.0, 1.0]])).diff())
    assert found["rd"] == pytest.approx(12.0, rel=0.05)
    assert found["unbiased"] == pytest.approx(12.0, rel=0.15)
    assert found["rrd"] < 0.6 * found["rd"]


def test_nothing_is_paid_before_something_is_learned():
    ring, fresh = filled(16), decoder(hidden=(32, 32))
    factors = ring.since(0).factors
    with torch.no_grad():
        assert not fresh.rewards(factors).any()
    fresh.acquaint(ring.since(0))
    fresh.train(ring, updates=2, batch=4)
    with torch.no_grad():
        assert fresh.rewards(factors).any()


def test_statistics_are_those_of_the_real_steps():
    ring, fresh = filled(32), decoder()
    found = ring.since(0)
    fresh.acquaint(ring.since(0))
    steps = found.factors[found.lived].double()
    torch.testing.assert_close(fresh.moments.mean, steps.mean(0))
    torch.testing.assert_close(fresh.moments.variance, steps.var(0, correction=0))
    rate = (found.returned / found.length).double()
    torch.testing.assert_close(fresh.scale.double(), rate.square().mean().sqrt(), rtol=1e-5, atol=0)


def test_returns_of_zero_are_learned_as_zero():
    ring = EpisodeRing(2, 3, longest=2, capacity=8, device=CPU)
    for step in range(8):
        ring.add(
            torch.randn(2, 3, generator=torch.Generator().manual_seed(step)),
            torch.zeros(2),
            torch.full((2,), step % 2 == 1),
        )
    some = decoder(hidden=(8,))
    some.acquaint(ring.since(0))
    assert float(some.scale) == 1.0
    assert float(some.train(ring, updates=5, batch=4)) == 0.0


@pytest.mark.parametrize("loss", ["rd", "rrd", "unbiased"])
def test_a_copy_learns_the_same_bit_for_bit(loss):
    ring, one = filled(32), decoder(hidden=(16,), loss=loss)
    one.acquaint(ring.since(0))
    one.train(ring, updates=3, batch=8)
    other = decoder(hidden=(16,), loss=loss, seed=5)
    other.set_state(one.get_state())
    assert torch.equal(one.train(ring, updates=4, batch=8), other.train(ring, updates=4, batch=8))
    with torch.no_grad():
        assert torch.equal(one.rewards(ring.since(0).factors), other.rewards(ring.since(0).factors))


def test_settings_that_make_no_decoder_are_refused():
    good = {"hidden": (8,), "loss": "rd", "subset": 4, "learning_rate": 1e-3, "clip": 5.0}
    check_decoder(**good)
    for wrong, message in [
        ({"loss": "mse"}, "'rd', 'rrd', 'unbiased'"),
        ({"hidden": (8, 0)}, "hidden widths"),
        ({"loss": "unbiased", "subset": 1}, "subset >= 2"),
        ({"learning_rate": 0.0}, "positive learning_rate"),
        ({"clip": float("inf")}, "positive clip"),
    ]:
        with pytest.raises(ValueError, match=message):
            check_decoder(**{**good, **wrong})
