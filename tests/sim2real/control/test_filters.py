import numpy as np
import pytest
from scipy import signal

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.control.filters import (
    FILTERS,
    Butterworth,
    FilterChain,
    LowPass,
    MovingAverage,
    OneEuro,
    make_filter,
)

DT = 0.005
SOME = {"low_pass": "5", "butterworth": "5", "moving_average": "4", "one_euro": "1,0.1"}


def run(one, values, begin=(0.0,)):
    one.reset(np.array(begin))
    return np.array([one(np.atleast_1d(np.array(value, dtype=float)))[0] for value in values])


@pytest.mark.parametrize("name", FILTERS)
def test_a_reset_filter_is_settled(name):
    one = make_filter(f"{name}:{SOME[name]}", dt=DT)
    run(one, np.sin(np.arange(50)))
    one.reset(np.array([0.3, -2.0]))
    for _ in range(20):
        np.testing.assert_allclose(one(np.array([0.3, -2.0])), [0.3, -2.0], rtol=1e-13)


@pytest.mark.parametrize("name", FILTERS)
def test_constants_pass_in_the_end(name):
    assert run(make_filter(f"{name}:{SOME[name]}", dt=DT), np.full(2000, 0.7))[-1] == pytest.approx(0.7, rel=1e-6)


@pytest.mark.parametrize("name", FILTERS)
def test_numbers_of_a_vector_do_not_mix(name):
    values = np.random.default_rng(0).normal(size=(40, 2))
    one = make_filter(f"{name}:{SOME[name]}", dt=DT)
    one.reset(np.zeros(2))
    both = np.array([one(value) for value in values])
    for column in range(2):
        np.testing.assert_allclose(both[:, column], run(one, values[:, column]), rtol=1e-13)


def test_low_pass_answers_a_step_as_the_continuous_filter():
    time_s = DT * np.arange(1, 101)
    np.testing.assert_allclose(
        run(LowPass(3.0, dt=DT), np.ones(100)), 1 - np.exp(-2 * np.pi * 3.0 * time_s), rtol=1e-12
    )  # fmt: skip


def test_butterworth_is_scipys():
    values = np.random.default_rng(1).normal(size=300)
    one = Butterworth(8.0, dt=DT)
    b, a = signal.butter(2, 8.0, fs=1 / DT)
    np.testing.assert_allclose(one.b, b, rtol=1e-12)
    np.testing.assert_allclose(one.a, a, rtol=1e-12)
    np.testing.assert_allclose(run(one, values), signal.lfilter(b, a, values), rtol=1e-10, atol=1e-12)


def test_butterworth_begins_settled_as_scipys_lfilter_zi():
    b, a = signal.butter(2, 8.0, fs=1 / DT)
    values = np.random.default_rng(2).normal(size=50)
    expected, _ = signal.lfilter(b, a, values, zi=signal.lfilter_zi(b, a) * 0.4)
    np.testing.assert_allclose(run(Butterworth(8.0, dt=DT), values, [0.4]), expected, rtol=1e-10)


def test_butterworth_passes_half_the_power_at_its_cutoff():
    time_s = DT * np.arange(4000)
    out = run(Butterworth(10.0, dt=DT), np.sin(2 * np.pi * 10.0 * time_s))[2000:]
    assert np.sqrt(2) * out.std() == pytest.approx(1 / np.sqrt(2), rel=1e-6)


def test_moving_average_is_a_convolution():
    values = np.random.default_rng(3).normal(size=60)
    padded = np.concatenate([np.zeros(4), values])
    np.testing.assert_allclose(
        run(MovingAverage(5, dt=DT), values), np.convolve(padded, np.full(5, 0.2), "valid"), atol=1e-14
    )


def test_one_euro_without_beta_is_a_low_pass():
    values = np.random.default_rng(4).normal(size=60)
    np.testing.assert_allclose(run(OneEuro(2.0, dt=DT), values), run(LowPass(2.0, dt=DT), values), rtol=1e-13)


def test_one_euro_follows_ramps_closer_than_its_cutoff_at_rest():
    ramp = 2.0 * DT * np.arange(400)
    slow, quick = run(OneEuro(1.0, dt=DT), ramp), run(OneEuro(1.0, 2.0, dt=DT), ramp)
    # A first-order filter lags behind a ramp by slope / (2 pi f), less up to one period; f = 1 + 2 * 2 Hz at speed 2.
    assert ramp[-1] - slow[-1] == pytest.approx(2.0 / (2 * np.pi), abs=2 * DT)
    assert ramp[-1] - quick[-1] == pytest.approx(2.0 / (2 * np.pi * 5.0), abs=2 * DT)


def test_a_chain_applies_in_order_and_refuses_nan_untouched():
    chain = FilterChain([MovingAverage(2, dt=DT), LowPass(5.0, dt=DT)])
    chain.reset(np.zeros(1))
    chain(np.ones(1))
    with pytest.raises(ValueError, match="finite"):
        chain(np.array([np.nan]))
    gain = 1 - np.exp(-2 * np.pi * 5.0 * DT)
    assert chain(np.ones(1))[0] == pytest.approx(0.5 * gain * (1 - gain) + gain)


def test_bad_filters_are_refused():
    with pytest.raises(UnknownNameError, match="'low_pass'"):
        make_filter("lowpass:3", dt=DT)
    for text, message in {
        "low_pass": "low_pass:5", "low_pass:x": "convert", "low_pass:-1": "above 0", "butterworth:100": "100 Hz",
        "moving_average:2.5": "whole", "moving_average:0": "at least 1", "one_euro:1,-2": "beta", "low_pass:1,2": "5",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            make_filter(text, dt=DT)
    with pytest.raises(ValueError, match="period"):
        make_filter("low_pass:5", dt=0.0)
