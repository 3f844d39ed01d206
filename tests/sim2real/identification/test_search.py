"""Excitation, collecting, identifiability in closed form, prediction."""

import numpy as np
import pytest
from hidden_models import record, segment, waves

from cairngym.sim2real.identification.collecting import collect
from cairngym.sim2real.identification.excitation import Excitation, Limits, design, simulate
from cairngym.sim2real.identification.identifiability import combinations, information
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.parameters import Armature, Damping, Mass
from cairngym.sim2real.identification.validation import hold_out, predict, windows
from cairngym.sim2real.lockstep import HoldingRobot
from cairngym.sim2real.robot import Channel, Reading, RobotSpec

ANGLE = (Measurement(channel="angle", quantity="qpos", names=("hinge",), noise=1e-3),)
PARAMETERS = (
    Mass(names=("bob",), low=0.5, high=2.0, relative=True), Damping(names=("hinge",), low=0.0, high=0.2),
    Armature(names=("hinge",), low=0.0, high=0.05),
)  # fmt: skip


def plan(plant, **options):
    return design(plant, PARAMETERS, ANGLE, **{"duration_s": 2.0, "candidates": 4, "rounds": 2} | options)


def test_an_excitation_is_within_limits_and_the_same_for_the_same_seed(plant):
    first, again = plan(plant), plan(plant)
    np.testing.assert_array_equal(first.command, again.command)
    assert first.command.shape == (101, 1)
    assert np.abs(first.command).max() <= 0.8 * 2.0 + 1e-12
    assert first.command[0] == first.command[-1] == 0.0
    assert not np.array_equal(first.command, plan(plant, seed=1).command)


def test_the_search_finds_more_information_than_its_first_draws(plant):
    short, long = plan(plant, rounds=1, candidates=2), plan(plant, rounds=3, candidates=6)
    assert long.score > short.score


def test_speed_limits_are_kept_where_they_can_be(plant):
    limits = Limits(amplitude=0.2, speed={"hinge": 3.0})
    found = plan(plant, limits=limits, frequencies=(0.5, 1.0))
    _, qvel, _ = simulate(plant, found.command, 0.02)
    assert found.violation == 0.0
    assert np.abs(qvel[:, 0]).max() <= 3.0


def test_excitations_that_can_not_be_are_refused(plant):
    with pytest.raises(ValueError, match="two candidates"):
        plan(plant, candidates=1)
    with pytest.raises(ValueError, match="multiple of the physics step"):
        plan(plant, control_dt=0.007)
    with pytest.raises(ValueError, match="amplitude"):
        Limits(amplitude=1.5)


class Counter(HoldingRobot):
    """Reads the number of steps it was told to make; its episodes end after 30."""

    def __init__(self):
        action = Channel(name="action", size=1, unit="1", low=(-1.0,), high=(1.0,))
        count = Channel(name="count", size=1, unit="1")
        super().__init__(RobotSpec(robot="counter", control_dt=0.1, command=action, rest=(0.0,), sensors=(count,)))
        self.steps = self.sequence = self.number = 0

    def _reading(self, over):
        self.sequence += 1
        return Reading(
            sequence=self.sequence, time_s=0.1 * self.sequence, received_s=0.0, over=over, episode=self.number,
            values={"count": np.array([float(self.steps)])},
        )  # fmt: skip

    def _begin(self, episode):
        self.steps, self.number = 0, self.number + 1
        return self._reading(False)

    def _hold(self, command):
        self.steps += 1
        return self._reading(self.steps == 30)


def excitation(rows, dt=0.1, size=1, height=0.5):
    command = np.full((rows, size), height) * np.linspace(0, 1, rows)[:, None]
    return Excitation(control_dt=dt, command=command, seed=3, score=0.0, violation=0.0)


def test_collecting_keeps_every_reading_with_its_command():
    log = collect(Counter(), excitation(20), repeats=2)
    assert len(log) == 42
    np.testing.assert_array_equal(log.sensors["count"][:, 0], np.tile(np.arange(21.0), 2))
    np.testing.assert_array_equal(log.command[:20], excitation(20).command)
    np.testing.assert_array_equal(log.episode, np.repeat([1, 2], 21))


def test_collecting_goes_on_in_another_episode_where_one_ends():
    log = collect(Counter(), excitation(45))
    np.testing.assert_array_equal(log.sensors["count"][:, 0], [*range(31), *range(16)])
    np.testing.assert_array_equal(log.episode, np.repeat([1, 2], [31, 16]))


def test_excitations_of_another_robot_are_refused():
    with pytest.raises(ValueError, match=r"1 numbers every 0\.1 s, got 2"):
        collect(Counter(), excitation(20, size=2))
    with pytest.raises(ValueError, match=r"every 0\.2 s"):
        collect(Counter(), excitation(20, dt=0.2))
    with pytest.raises(ValueError, match=r"within \[-1, 1\]"):
        collect(Counter(), excitation(20, height=2.0))


def test_information_of_a_line_is_what_textbooks_say():
    x, sigma = np.linspace(0, 1, 50), 0.1
    jacobian = np.stack([np.ones(50), x], axis=1) / sigma
    found = information(jacobian, np.zeros((50, 0)))
    np.testing.assert_allclose(found.covariance, sigma**2 * np.linalg.inv((jacobian * sigma).T @ (jacobian * sigma)))
    assert found.identified.all()
    alone = information(jacobian[:, 1:], jacobian[:, :1])  # the offset fitted too: the Schur complement
    assert alone.covariance[0, 0] == pytest.approx(sigma**2 / ((x - x.mean()) ** 2).sum())


def test_directions_without_information_are_told_with_few_members():
    jacobian = np.random.default_rng(0).normal(size=(100, 5)) * 100
    jacobian[:, 1] = 2 * jacobian[:, 0]  # told together only
    jacobian[:, 4] = 0.0  # not told at all
    found = information(jacobian, np.zeros((100, 0)))
    np.testing.assert_array_equal(found.identified, [False, False, True, True, False])
    told = combinations(found, ("a", "b", "c", "d", "e"), np.ones(5))
    assert sorted(one.members for one in told) == [("a", "b"), ("e",)]
    pair = next(one for one in told if len(one.members) == 2)
    assert pair.change["b"] == pytest.approx(-pair.change["a"] / 2)
    assert pair.error == float("inf")


def test_weak_information_counts_as_none_and_says_how_weak():
    found = information(np.diag([1000.0, 2.0]), np.zeros((2, 0)), resolution=0.1)
    np.testing.assert_array_equal(found.identified, [True, False])
    (told,) = combinations(found, ("a", "b"), np.ones(2))
    assert told.error == pytest.approx(0.5)


def test_held_out_predictions_of_the_right_model_are_as_good_as_the_noise(plant):
    command = waves(2, 160, 0.02, 1, 0.8)
    qpos, _ = record(plant.model, command, dt=0.02)
    noisy = qpos[:, :1] + np.random.default_rng(0).normal(0, 1e-3, (160, 1))
    fitted, held = hold_out([segment("only", 0.02, command, angle=noisy)], 0.5)
    assert (len(fitted[0]), len(held[0])) == (80, 80)
    parts, noise = windows(held, 0.8), {"angle": np.array([1e-3])}
    assert [len(one) for one in parts] == [40, 40]
    right = predict(plant, ANGLE, PARAMETERS, np.array([0.3, 0.05, 0.01]), parts, noise)
    wrong = predict(plant, ANGLE, PARAMETERS, np.array([0.3, 0.15, 0.01]), parts, noise)
    assert right.in_noise() == pytest.approx(1.0, abs=0.2)
    assert right.error()["angle"] == pytest.approx(1e-3, rel=0.2)
    assert wrong.in_noise() > 3 * right.in_noise()
    with pytest.raises(ValueError, match="at least 20 rows"):
        windows(held, 0.1)
    assert hold_out([1, 2, 3]) == ((1, 2), (3,))
