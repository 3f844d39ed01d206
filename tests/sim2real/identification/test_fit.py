import numpy as np
import pytest
from hidden_models import hidden, record, segment, waves

from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.identification.fit import experiments, identify
from cairngym.sim2real.identification.inertia import Inertia, physical
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.parameters import Armature, Damping, Mass
from cairngym.sim2real.identification.problem import Problem
from cairngym.sim2real.identification.signal_parameters import ActionDelay, SensorBias, SensorDelay, SensorGain

DT = 0.02
ANGLE = (Measurement(channel="angle", quantity="qpos", names=("hinge",)),)


def logs(plant, *, seeds=(0, 1), changes=(), delay_steps=0, noise=1e-3, seen=lambda angle: angle, rows=120):
    random, twin = np.random.default_rng(5), hidden(plant.model, changes)
    found = []
    for seed in seeds:
        command = waves(seed, rows, DT, 1, 0.8)
        qpos, _ = record(twin, command, dt=DT, delay_steps=delay_steps)
        angle = seen(qpos[:, :1]) + random.normal(0, noise, (rows, 1))
        found.append(segment(f"log {seed}", DT, command, angle=angle))
    return found


def heavier(body, factor):
    def change(model):
        model.body_mass[model.body(body).id] *= factor
        model.body_inertia[model.body(body).id] *= factor

    return change


def fit(plant, parameters, segments, **options):
    problem = Problem(plant.model, parameters, experiments(plant, ANGLE, parameters, segments))
    return identify(problem, **{"starts": 1, **options})


def test_masses_damping_and_delays_are_recovered_within_their_errors(plant):
    def damped(model):
        model.dof_damping[0] = 0.08

    segments = logs(plant, changes=(heavier("bob", 1.5), damped), delay_steps=3)
    parameters = (
        Mass(names=("bob",), low=0.5, high=3.0, relative=True),
        Damping(names=("hinge",), low=0.0, high=0.2),
        ActionDelay(low=0.0, high=0.05),
    )
    found = fit(plant, parameters, segments)
    for label, truth in (("mass bob", 0.45), ("damping hinge", 0.08), ("action delay", 0.015)):
        one = found.estimate(label)
        assert one.identified
        assert one.value == pytest.approx(truth, rel=0.03)
        assert abs(one.value - truth) < 4 * one.error
        assert one.interval[0] < one.value < one.interval[1]
    assert found.combinations == ()
    assert found.noise_ratio == pytest.approx(1.0, abs=0.15)
    assert abs(found.whiteness) < 0.15
    with pytest.raises(UnknownNameError, match="Did you mean 'mass bob'"):
        found.estimate("mass bobb")


def test_a_fraction_of_a_physics_step_of_sensor_delay_is_recovered(plant):
    step, fine = 0.005, 0.0125

    def late(angle):
        time = DT * np.arange(len(angle))
        return np.interp(time - fine, time, angle[:, 0])[:, None]

    assert fine / step % 1 == 0.5
    segments = logs(plant, seeds=(0,), seen=late, noise=1e-4, rows=150)
    found = fit(plant, (SensorDelay(channel="angle", low=0.0, high=0.04),), segments)
    assert found.estimate("sensor delay angle").value == pytest.approx(fine, abs=0.0015)


def test_gain_and_bias_of_a_sensor_are_recovered(plant):
    segments = logs(plant, seen=lambda angle: 1.1 * angle + 0.05)
    parameters = (SensorGain(channel="angle", low=0.5, high=2.0), SensorBias(channel="angle", low=-0.5, high=0.5))
    found = fit(plant, parameters, segments)
    assert found.estimate("sensor gain angle").value == pytest.approx(1.1, rel=0.01)
    assert found.estimate("sensor bias angle").value == pytest.approx(0.05, abs=0.002)


def test_a_mass_split_between_two_rigidly_joined_bodies_is_reported_and_not_guessed(plant):
    segments = logs(plant, changes=(heavier("bob", 1.5),))
    parameters = (
        Mass(names=("bob",), low=0.5, high=2.0, relative=True),
        Mass(names=("lid",), low=0.5, high=2.0, relative=True),
        Damping(names=("hinge",), low=0.0, high=0.2),
    )
    found = fit(plant, parameters, segments)
    bob, lid = found.estimate("mass bob"), found.estimate("mass lid")
    assert not bob.identified
    assert not lid.identified
    assert bob.error == lid.error == float("inf")
    assert found.estimate("damping hinge").value == pytest.approx(0.05, rel=0.03)
    (combination,) = found.combinations
    assert set(combination.members) == {"mass bob", "mass lid"}
    assert combination.change["mass bob"] == pytest.approx(-combination.change["mass lid"], rel=0.02)
    # Their sum is told by the logs; their difference stays where it is at nominal, which is zero.
    assert bob.value + lid.value == pytest.approx(0.75, rel=0.01)
    assert bob.value - lid.value == pytest.approx(0.0, abs=0.005)


def test_a_joint_that_never_moves_keeps_its_nominal_damping(plant):
    parameters = (Mass(names=("bob",), low=0.5, high=2.0, relative=True), Damping(names=("idle",), low=0.0, high=1.0))
    found = fit(plant, parameters, logs(plant, seeds=(0,)))
    idle = found.estimate("damping idle")
    assert not idle.identified
    assert idle.value == pytest.approx(idle.nominal, abs=1e-4)
    assert [one.members for one in found.combinations] == [("damping idle",)]
    assert str(found.combinations[0]) == "damping idle: the logs do not tell it"
    assert found.estimate("mass bob").identified


def test_armature_and_damping_are_not_mistaken_for_one_another(plant):
    parameters = (Armature(names=("hinge",), low=0.0, high=0.05), Damping(names=("hinge",), low=0.0, high=0.2))
    found = fit(plant, parameters, logs(plant, seeds=(0,)))
    assert found.estimate("armature hinge").value == pytest.approx(0.01, abs=0.0005)
    assert abs(found.correlation[0, 1]) < 1


def test_several_starts_agree_and_a_fit_is_repeated_bit_for_bit(plant):
    parameters, segments = (Mass(names=("bob",), low=0.5, high=3.0, relative=True),), logs(plant, seeds=(0,), rows=60)
    first, second = (fit(plant, parameters, segments, starts=2, seed=4) for _ in range(2))
    assert first.agreeing == 2
    np.testing.assert_array_equal(first.values, second.values)


def test_intervals_cover_the_truth_as_often_as_they_say(plant):
    parameters, covered = (Damping(names=("hinge",), low=0.0, high=0.2),), 0
    twin, command = hidden(plant.model, ()), waves(3, 60, DT, 1, 0.8)
    qpos, _ = record(twin, command, dt=DT)
    random = np.random.default_rng(0)
    for _ in range(20):
        noisy = segment("log", DT, command, angle=qpos[:, :1] + random.normal(0, 1e-3, (60, 1)))
        low, high = fit(plant, parameters, [noisy]).estimates[0].interval
        covered += low < 0.05 < high
    assert covered >= 16  # P(fewer | 95 %) < 0.003


def test_bounds_that_exclude_the_nominal_value_and_doubled_parameters_are_refused(plant):
    segments = logs(plant, seeds=(0,), rows=40)
    with pytest.raises(ValueError, match=r"around its nominal value 0\.05"):
        fit(plant, (Damping(names=("hinge",), low=0.1, high=0.2),), segments)
    with pytest.raises(ValueError, match="each once"):
        fit(plant, (Damping(names=("hinge",), low=0.0, high=0.2),) * 2, segments)
    with pytest.raises(UnknownNameError, match="Did you mean 'bob'"):
        fit(plant, (Mass(names=("bop",), low=0.5, high=2.0, relative=True),), segments)


def test_the_whole_inertia_of_a_body_is_fitted_as_far_as_the_logs_tell_it(plant):
    def odd(model):
        body = model.body("bob").id
        model.body_mass[body] = 0.45
        model.body_inertia[body] = 0.0004
        model.body_ipos[body] = (0.02, 0.0, -0.03)

    found = fit(plant, (Inertia(names=("bob",)),), logs(plant, changes=(odd,)), iterations=15)
    assert found.noise_ratio == pytest.approx(1.0, abs=0.15)
    # A hinge tells two first moments and one second moment; a small body's own inertia hardly counts in the latter.
    told = {one.label.removeprefix("inertia bob ") for one in found.estimates if one.identified}
    assert told == {"scale", "shift x", "shift z"}
    assert len(found.combinations) >= 6
    mass, center, _, moments = physical(found.values)
    assert moments.min() > 0
    assert 2 * moments.max() <= moments.sum()
    assert mass == pytest.approx(0.45, rel=0.05)
    assert center[0] == pytest.approx(0.02, abs=0.002)
    assert center[2] == pytest.approx(-0.03, abs=0.01)


def test_a_fit_starts_where_it_is_told(plant):
    segments = logs(plant, changes=(heavier("bob", 2.0),))
    mass = (Mass(names=("bob",), low=0.3, high=3.0, relative=True),)
    far, near = (fit(plant, mass, segments, starts=1, iterations=1, begin=at) for at in (None, np.array([0.6])))
    assert near.costs[0] < 0.9 * far.costs[0]
    assert near.values[0] == pytest.approx(0.6, rel=0.01)
    assert far.estimate("mass bob").nominal == near.estimate("mass bob").nominal == 0.3
