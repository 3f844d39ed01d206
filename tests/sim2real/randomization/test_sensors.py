"""Sensors against closed forms: delays in physics steps, noise, biases and drifts, rotations, lost readings."""

import math

import numpy as np
import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.data import StateField
from cairngym.sim2real.randomization.events import SensorDelay, SensorDrop, SensorNoise
from cairngym.sim2real.randomization.parts import Draws, Lives, Moment, SensorContext
from cairngym.sim2real.randomization.rotations import from_vector, product, rotated, turned
from cairngym.sim2real.randomization.sensors import SensorDelays, SensorDrops, SensorNoises

S, STEP_S = 4, 0.25
SPEC = {
    "time": StateField(shape=(), unit="s", description="Physics steps since the beginning."),
    "place": StateField(shape=(2,), unit="m", description="Twice."),
    "pose": StateField(shape=(4,), unit="quaternion", description="A rotation."),
    "cell": StateField(shape=(), unit="cell", description="An index.", dtype=torch.int64),
}


class Rig:
    """Sensors of N envs whose state tells how many physics steps their episode is old."""

    def __init__(self, make, *events, num_envs=3, seed=7, units=None, places=None):
        ids = torch.arange(num_envs)
        unit = None if units is None else torch.tensor(units)[ids % len(units)]
        context = SensorContext(
            state_spec=SPEC, num_envs=num_envs, device=torch.device("cpu"), substeps=S, step_s=STEP_S
        )
        draws = [Draws(index, lambda: Lives(seed, ids, unit)) for index in places or range(len(events))]
        self.num_envs, self.part = num_envs, make(events, draws, context)
        self.clock, self.steps = torch.zeros(num_envs), torch.zeros(num_envs, dtype=torch.int64)
        self.number = torch.zeros_like(self.steps)

    @property
    def state(self):
        identity = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(self.num_envs, 4)
        place = torch.stack((self.clock, -self.clock), dim=1)
        return {"time": self.clock.clone(), "place": place, "pose": identity, "cell": self.clock.long()}

    def begin(self, *envs):
        mask = torch.ones(self.num_envs, dtype=torch.bool)
        if envs:
            mask = torch.zeros_like(mask)
            mask[list(envs)] = True
            self.number += mask
        self.clock, self.steps = self.clock.masked_fill(mask, 0.0), self.steps.masked_fill(mask, 0)
        return self.part.begin(mask, self.state, Moment(self.number.clone(), self.steps.clone()))

    def step(self):
        cuts = set(self.part.cuts())
        assert cuts <= set(range(1, S))
        for k in range(S):
            if k in cuts:
                self.part.glimpse(k, self.state)
            self.clock = self.clock + 1.0
        self.steps = self.steps + 1
        return self.part.sense(self.state, Moment(self.number.clone(), self.steps.clone()))


# Delays ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0, 1, 3, 4, 5, 8, 11])
def test_a_reading_is_as_old_as_the_delay_and_never_older_than_its_episode(delay):
    rig = Rig(SensorDelays, SensorDelay(fields=("time", "place", "cell"), low=delay, high=delay))
    assert torch.equal(rig.begin()["time"], torch.zeros(3))
    for step in range(1, 7):
        seen, wanted = rig.step(), max(step * S - delay, 0)
        assert seen["time"].tolist() == [wanted] * 3
        assert seen["cell"].tolist() == [wanted] * 3
        assert seen["place"].tolist() == [[wanted, -wanted]] * 3
        assert set(seen) == {"time", "place", "cell"}


def test_a_delay_of_whole_env_steps_needs_no_reading_within_one():
    whole = Rig(SensorDelays, SensorDelay(fields=("time",), low=8, high=8))
    late = Rig(SensorDelays, SensorDelay(fields=("time",), low=5, high=5))
    whole.begin(), late.begin()
    assert set(whole.part.cuts()) == set()
    assert set(late.part.cuts()) == {3}


@pytest.mark.parametrize("mode", ["startup", "reset", "interval"])
def test_delays_are_drawn_when_their_mode_says(mode):
    rig = Rig(SensorDelays, SensorDelay(fields=("time",), low=1, high=6, mode=mode), num_envs=64)
    rig.begin()
    first = [rig.clock - rig.step()["time"] + S for _ in range(6)][2:]  # from when all the past is real
    rig.begin(*range(64))
    second = [rig.clock - rig.step()["time"] + S for _ in range(4)][2:]
    ages = torch.stack(first + second)
    assert set(ages.unique().tolist()) == {1, 2, 3, 4, 5, 6}
    within, across = torch.equal(ages[0], ages[1]), torch.equal(ages[0], ages[-1])
    assert (within, across) == {"startup": (True, True), "reset": (True, False), "interval": (False, False)}[mode]


def test_an_episodes_past_is_its_own():
    rig = Rig(SensorDelays, SensorDelay(fields=("time",), low=6, high=6))
    rig.begin()
    for _ in range(5):
        rig.step()
    assert rig.begin(1)["time"].tolist() == [20, 0, 20]
    assert rig.step()["time"].tolist() == [18, 0, 18]
    assert rig.step()["time"].tolist() == [22, 2, 22]


# Noise ----------------------------------------------------------------------------------------------------------------


def test_noise_has_the_deviation_asked_for_and_no_memory():
    rig = Rig(SensorNoises, SensorNoise(field="place", std=0.3), num_envs=500)
    seen = [rig.begin()] + [rig.step() for _ in range(9)]
    clock = torch.arange(10.0) * S
    error = torch.stack([each["place"] for each in seen]) - torch.stack((clock, -clock), 1)[:, None]
    assert float(error.std()) == pytest.approx(0.3, rel=0.03)
    assert abs(float(error.mean())) < 0.01
    lagged = float((error[1:] * error[:-1]).mean()) / 0.09
    crossed = float((error[..., 0] * error[..., 1]).mean()) / 0.09
    assert abs(lagged) < 0.05
    assert abs(crossed) < 0.06


def test_a_bias_stays_for_an_episode_or_for_a_unit():
    for mode in ("reset", "startup"):
        event = SensorNoise(field="time", bias_range=(2.0, 3.0), bias_mode=mode)
        rig = Rig(SensorNoises, event, num_envs=6, units=(4, 9))
        first, later = rig.begin()["time"], rig.step()["time"] - S
        again = rig.begin(*range(6))["time"]
        assert torch.allclose(first, later, atol=1e-6)
        assert bool(((first >= 2.0) & (first < 3.0)).all())
        assert torch.equal(again, first) == (mode == "startup")
        assert len(first.unique()) == (2 if mode == "startup" else 6)
        if mode == "startup":
            other = Rig(SensorNoises, event, num_envs=1, units=(9,))
            assert torch.equal(other.begin()["time"][0], first[1])


def test_a_gaussian_bias_has_its_deviation():
    rig = Rig(SensorNoises, SensorNoise(field="place", bias_std=0.2), num_envs=2000)
    assert float(rig.begin()["place"].std()) == pytest.approx(0.2, rel=0.05)


def test_a_drift_is_a_random_walk_by_the_root_of_time():
    rig = Rig(SensorNoises, SensorNoise(field="time", drift_std=0.5), num_envs=3000)
    assert torch.equal(rig.begin()["time"], torch.zeros(3000))
    walk = torch.stack([rig.step()["time"] - S * (k + 1) for k in range(16)])
    assert float(walk[15].std()) == pytest.approx(0.5 * math.sqrt(16 * STEP_S), rel=0.05)
    assert float(walk[3].std()) == pytest.approx(0.5 * math.sqrt(4 * STEP_S), rel=0.05)
    assert abs(float((walk[3] * (walk[15] - walk[3])).mean())) < 0.03
    assert torch.equal(rig.begin(*range(3000))["time"], torch.zeros(3000))


def test_one_component_can_be_disturbed_alone():
    seen = Rig(SensorNoises, SensorNoise(field="place", component=1, std=1.0), num_envs=50).begin()["place"]
    assert bool((seen[:, 0] == 0.0).all())
    assert bool((seen[:, 1] != 0.0).all())


def test_a_quaternion_is_turned_by_a_rotation_of_the_deviation_and_stays_a_unit():
    rig = Rig(SensorNoises, SensorNoise(field="pose", std=0.1), num_envs=3000)
    seen = rig.begin()["pose"].double()
    assert float((seen.norm(dim=1) - 1.0).abs().max()) < 1e-6
    angle = 2.0 * torch.arccos(seen[:, 0].clamp(-1, 1))
    assert float(angle.square().mean()) == pytest.approx(3 * 0.1**2, rel=0.05)  # three axes, each of 0.1 rad
    yaw = Rig(SensorNoises, SensorNoise(field="pose", component=2, bias_range=(0.4, 0.4))).begin()["pose"]
    assert yaw[0].tolist() == pytest.approx([math.cos(0.2), 0.0, 0.0, math.sin(0.2)], abs=1e-6)


def test_rotations_agree_with_matrices():
    generator = torch.Generator().manual_seed(1)
    vector, other = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)
    from scipy.spatial.transform import Rotation

    for scale in (1.0, 1e-5, 0.0):
        expected = Rotation.from_rotvec((scale * vector).numpy())
        q = from_vector(scale * vector)
        assert np.allclose(rotated(q, other).numpy(), expected.apply(other.numpy()), atol=1e-12)
        both = turned(from_vector(other), scale * vector)
        matrix = (Rotation.from_rotvec(other.numpy()) * expected).as_quat(scalar_first=True)
        assert np.allclose(both.numpy() * np.sign(both.numpy()[:, :1]), matrix * np.sign(matrix[:, :1]), atol=1e-12)
        assert np.allclose(product(q, from_vector(-scale * vector))[:, 1:].numpy(), 0.0, atol=1e-14)


# Lost readings --------------------------------------------------------------------------------------------------------


def test_a_lost_reading_is_seen_as_the_last_one_that_came():
    rig = Rig(SensorDrops, SensorDrop(fields=("time", "place"), probability=0.5), num_envs=400)
    held, lost = rig.begin()["time"], []
    for _ in range(10):
        seen = rig.step()
        came = seen["time"] == rig.clock
        assert torch.equal(seen["time"], torch.where(came, rig.clock, held))
        assert torch.equal(seen["place"][:, 0], seen["time"])  # both are lost together
        held = seen["time"]
        lost.append(~came)
    assert float(torch.stack(lost).double().mean()) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 3 * S), (1.0, 0.0)])
def test_all_or_nothing_is_lost(probability, expected):
    rig = Rig(SensorDrops, SensorDrop(fields=("time",), probability=probability))
    rig.begin()
    assert [rig.step()["time"].tolist() for _ in range(3)][-1] == [expected] * 3


# All of them ----------------------------------------------------------------------------------------------------------

PARTS = [
    (SensorDelays, (SensorDelay(fields=("time", "pose"), low=0, high=9, mode="interval"),)),
    (SensorDelays, (SensorDelay(fields=("time",), low=0, high=9), SensorDelay(fields=("place",), low=2, high=2))),
    (SensorNoises, (SensorNoise(field="place", std=0.1, bias_std=0.2, drift_std=0.3),)),
    (SensorNoises, (SensorNoise(field="pose", std=1.0), SensorNoise(field="time", bias_range=(0.0, 1.0)))),
    (SensorDrops, (SensorDrop(fields=("time", "cell"), probability=0.4),)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "events"), PARTS)
def test_an_envs_readings_do_not_depend_on_the_batch_and_go_on_from_a_snapshot(make, events):
    large, small = Rig(make, *events, num_envs=37), Rig(make, *events, num_envs=5)
    assert_rows(large.begin(), small.begin())
    for _ in range(4):
        assert_rows(large.step(), small.step())
    assert_rows(large.begin(1, 2), small.begin(1, 2))
    kept, clock = small.part.get_state(), small.clock
    expected = [small.step() for _ in range(3)]
    fresh = Rig(make, *events, num_envs=5)
    fresh.begin()
    fresh.part.set_state(kept)
    fresh.clock, fresh.steps, fresh.number = clock, small.steps - 3, small.number
    for each in expected:
        assert_rows(each, fresh.step())


def assert_rows(many, few):
    for name, value in few.items():
        assert torch.equal(many[name][: len(value)], value), name


@pytest.mark.parametrize("seeds", [(1, 2)])
def test_another_seed_or_place_in_the_config_draws_other_numbers(seeds):
    event = SensorNoise(field="time", std=1.0)
    one, two = (Rig(SensorNoises, event, seed=seed).begin()["time"] for seed in seeds)
    third = Rig(SensorNoises, event, seed=seeds[0], places=(5,)).begin()["time"]
    assert not torch.equal(one, two)
    assert not torch.equal(one, third)


def test_what_cannot_be_sensed_so_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'place'"):
        Rig(SensorNoises, SensorNoise(field="plce", std=1.0))
    with pytest.raises(UnknownNameError, match="field of the state"):
        Rig(SensorDelays, SensorDelay(fields=("tim",), low=0, high=1))
    with pytest.raises(TypeError, match="real numbers"):
        Rig(SensorNoises, SensorNoise(field="cell", std=1.0))
    with pytest.raises(ValueError, match="from 0 to 2, one of its 3 axes"):
        Rig(SensorNoises, SensorNoise(field="pose", component=3, std=1.0))
    with pytest.raises(ValueError, match="at most one sensor drop"):
        Rig(SensorDrops, *[SensorDrop(fields=("time",), probability=0.1)] * 2)
