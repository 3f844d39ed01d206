"""What contacts ask of a fit: pieces that begin as they were read, and a search that jumps do not mislead."""

from types import SimpleNamespace

import numpy as np
import pytest
from hidden_models import hidden, record, waves

from cairngym.sim2real.identification.config import FitConfig, IdentificationConfig
from cairngym.sim2real.identification.fit import polished
from cairngym.sim2real.identification.measurements import Measurement
from cairngym.sim2real.identification.parameters import Damping
from cairngym.sim2real.identification.run import identify_logs
from cairngym.sim2real.robot import Channel, RobotLog, RobotSpec

DT = 0.02


def log(model, rows):
    command = waves(3, rows, DT, 1, 0.8)
    qpos, qvel = record(model, command, dt=DT)
    spec = RobotSpec(robot="x", control_dt=DT, command=Channel(name="u", size=1, unit="1"), rest=(0.0,), sensors=())
    return RobotLog(
        spec=spec, time_s=DT * np.arange(rows), command=command, sensors={"qpos": qpos, "qvel": qvel},
        episode=np.zeros(rows, int),
    )  # fmt: skip


def test_pieces_that_begin_as_they_were_read_recover_what_is_hidden(plant):
    def dragging(model):
        model.dof_damping[0] = 0.11

    twin = hidden(plant.model, [dragging])
    measured = (
        Measurement(channel="qpos", quantity="qpos", noise=1e-3),
        Measurement(channel="qvel", quantity="qvel", noise=1e-2),
    )  # fmt: skip
    fit = FitConfig(starts=1, piece_s=0.2, first_states="read")
    config = IdentificationConfig(
        parameters=(Damping(names=("hinge",), low=0.0, high=0.2, begin=0.02),), measurements=measured, fit=fit
    )
    found = identify_logs(plant, config, {"one": log(twin, 81)})
    assert len(found.found.problem.experiments) == 6, "pieces of the 61 rows that are not held out"
    assert len(found.found.problem.vector()) == 1, "no first state is fitted"
    assert found.found.estimates[0].value == pytest.approx(0.11, rel=1e-4)
    assert found.found.estimates[0].nominal == pytest.approx(0.05), "where the fit begins is not what is nominal"
    assert found.identified.in_noise() < 0.01 < found.nominal.in_noise()


def test_a_search_goes_on_where_residuals_jump():
    """Residuals of a line through (0.3, -0.2), and a sawtooth whose slope points away from there everywhere."""
    wanted = np.array([0.3, -0.2])

    def residual(x):
        off = x[:2] - wanted
        return np.concatenate((off, 0.05 * (np.floor(40 * off) - 40 * off), x[2:]))

    problem = SimpleNamespace(
        physical=np.array([0, 1, 3]), size=3, low=-np.ones(3), high=np.ones(3), half=np.ones(3), residual=residual
    )
    start = np.array([-0.5, 0.6, 0.1, 0.0])
    found = polished(problem, start, 200)
    np.testing.assert_allclose(found[:2], wanted, atol=0.05)
    np.testing.assert_array_equal(found[2:], start[2:], "neither a sensor's number nor a first state")


def test_the_search_stays_within_bounds():
    problem = SimpleNamespace(
        physical=np.array([0]), size=1, low=np.array([0.0]), high=np.array([1.0]), half=np.array([0.5]),
        residual=lambda x: x - 3.0,
    )  # fmt: skip
    assert polished(problem, np.array([0.4]), 60)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("wrong", [{"polish": -1}, {"piece_s": 0.0}, {"step": 0.0}])
def test_numbers_that_can_not_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Expected (polish|windows longer|a step)"):
        FitConfig(**wrong)
