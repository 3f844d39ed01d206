"""Envelopes against a mass whose reach has a closed form, and what they propose."""

import io
import itertools

import mujoco
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from scipy.stats import beta

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.core import StateField, TensorEnv
from cairngym.envs.goals import GoalTask
from cairngym.envs.physics.world import PhysicsWorld, put
from cairngym.envs.wrappers import FrameStack
from cairngym.sim2real.randomization.config import load_config, save_config
from cairngym.sim2real.randomization.envelope_figures import envelope_figure, heat_map
from cairngym.sim2real.randomization.envelopes import (
    Envelope,
    Surface,
    count_successes,
    envelope,
    propose,
    surface,
    surviving,
)
from cairngym.sim2real.randomization.events import ActionDelay, FieldEvent, SensorDelay
from cairngym.sim2real.randomization.fixed import FixedParameters, Parameter, parse_parameter
from cairngym.sim2real.randomization.wrapper import Randomization

DT, S, HORIZON, FORCE, GOAL = 0.02, 2, 10, 10.0, 0.5
XML = f"""
<mujoco><option timestep="{DT}" gravity="0 0 0"/><worldbody><body name="cart">
 <joint name="x" type="slide" axis="1 0 0"/><geom size="0.1" mass="1"/></body></worldbody>
 <actuator><motor name="push" joint="x"/></actuator></mujoco>
"""


class CartWorld(PhysicsWorld):
    """A mass that is pushed from a place drawn in [0, spread)."""

    num_draws = 1

    def __init__(self, num_envs, spread):
        field = StateField(shape=(1,), unit="m", description="A place.")
        model = mujoco.MjModel.from_xml_string(XML)
        super().__init__(model, num_envs, "cpu", substeps=S, action_size=1, driver={"threads": 1},
                         state_spec={"place": field, "goal": field})  # fmt: skip
        self.spread = spread
        self.variables["goal"] = torch.full((num_envs, 1), GOAL, dtype=torch.float64)
        self.q, self.ctrl = self.driver.view("qpos"), self.driver.view("ctrl")

    def place(self, mask, draw):
        put(mask, self.q, draw * self.spread)

    def control(self, action):
        self.ctrl[:] = FORCE * action

    def measure(self):
        return {"place": self.q, "goal": self.variables["goal"]}

    def adopt(self, world, reference):
        raise TypeError


class Reach(GoalTask):
    """Be at the goal or beyond."""

    def __init__(self):
        super().__init__(
            observation_size=1, goal_size=1, threshold=0.0, horizon=HORIZON, reward_range=(0.0, 1.0),
            terminate_on_success=False,
        )  # fmt: skip

    def features(self, state):
        return state["place"]

    def achieved_goal(self, state):
        return state["place"].clamp(max=GOAL)


def make(num_envs, spread=0.0):
    return TensorEnv(CartWorld(num_envs, spread), Reach())


def push(obs):
    return torch.ones_like(obs["observation"])


def reach(mass, steps=HORIZON * S):
    """How far semi-implicit Euler moves a mass from rest under the force."""
    return FORCE / mass * DT**2 * steps * (steps + 1) / 2


MASS = parse_parameter("body_mass:cart:scale:0.25,4", points=9)
STRENGTH = parse_parameter("actuator_strength:push:scale:0.25,1", points=4)
DELAY = parse_parameter("action_delay:0,20", points=6)


# Sweeps ---------------------------------------------------------------------------------------------------------------


def test_a_mass_survives_as_long_as_it_comes_far_enough():
    found = envelope(push, lambda n: make(n, spread=0.4), MASS, episodes=40, max_envs=90, seed=3)
    # The same beginnings at every value: the shares are those of one set of starts.
    env = make(10, spread=0.4)
    starts = []
    for number in range(4):
        obs, _ = env.reset(seed=3) if number == 0 else env.reset()
        starts += obs["observation"][:, 0].tolist()
    expected = [sum(start + reach(mass) >= GOAL for start in starts) for mass in MASS.values]
    assert found.trials == 40
    assert list(found.successes) == expected
    assert sum(0 < count < 40 for count in expected) > 0
    assert expected[0] == 40 > expected[-1]
    assert found.low == 0.25
    assert found.open[0]
    assert not found.open[1]
    last = max(mass for mass, count in zip(MASS.values, expected, strict=True) if count >= 0.8 * expected[4])
    assert found.high == last


def test_a_command_that_comes_late_pushes_for_less_time():
    found = envelope(push, make, DELAY, episodes=3, share=1.0)
    expected = [3 * (reach(1.0, HORIZON * S - int(delay)) >= GOAL) for delay in DELAY.values]
    assert DELAY.values == (0, 4, 8, 12, 16, 20)
    assert list(found.successes) == expected
    assert 0 < sum(expected) < 18


def test_pairs_are_tried_in_all_combinations():
    found = surface(push, lambda n: make(n, spread=0.0), (MASS, STRENGTH), episodes=2)
    expected = [[2 * (reach(mass / force) >= GOAL) for force in STRENGTH.values] for mass in MASS.values]
    assert found.successes.tolist() == expected
    assert found.trials == 2
    assert len(np.unique(found.rates)) == 2


def test_every_copy_has_the_parameters_of_its_cell_and_the_life_of_its_copy():
    cells = np.array(list(itertools.product((0.5, 2.0), (0.25, 1.0))))
    env = FixedParameters(make(8, spread=0.4), (MASS, STRENGTH), cells)
    env.reset(seed=1)
    env.reset()
    driver = env.unwrapped.world.driver
    body = driver.model.body("cart").id
    assert torch.allclose(driver.field("body_mass")[:, body], torch.tensor(cells[:, 0]).repeat(2))
    assert torch.allclose(driver.field("actuator_gainprm")[:, 0, 0], torch.tensor(cells[:, 1]).repeat(2))
    inertia = driver.field("body_inertia")[:, body]
    assert torch.allclose(inertia / inertia[0], torch.tensor(cells[:, :1]).repeat(2, 1) / 0.5)
    place = env.state["place"][:, 0]
    assert torch.equal(place[:4], place[:1].expand(4))
    assert not torch.equal(place[0], place[4])


def test_what_is_nominal_moves_as_the_plain_env_does():
    fixed, plain = FixedParameters(make(2), (MASS,), np.array([[1.0]])), make(2)
    fixed.reset(seed=0), plain.reset(seed=0)
    for _ in range(5):
        left, right = (env.step(torch.ones(2, 1))[0]["observation"] for env in (fixed, plain))
        assert torch.equal(left, right)


def test_sensors_can_be_swept_and_wrappers_are_worn():
    late = parse_parameter("sensor_delay:place:0,9", points=4)
    seen = []

    def policy(obs):
        seen.append(obs["observation"].clone())
        return torch.ones(len(obs["observation"]), 1)

    count_successes(policy, make, (late,), np.array(late.values)[:, None], episodes=1,
                    wrap=lambda env: FrameStack(env, frames=2))  # fmt: skip
    assert seen[0].shape == (4, 2)
    for delay in (0, 3, 6, 9):
        now = seen[6][[0, 3, 6, 9].index(delay), 1]
        assert float(now) == pytest.approx(reach(1.0, 6 * S - delay), rel=1e-5)


def test_an_agent_plays_as_itself():
    from cairngym.agents.registry import make_agent

    agent = make_agent("sac", make(2), seed=0, num_envs=2)
    first = envelope_or_counts(agent)
    assert first == envelope_or_counts(agent)


def envelope_or_counts(agent):
    successes, trials = count_successes(agent, make, (MASS,), np.array(MASS.values)[:, None], episodes=2)
    assert trials == 2
    assert ((successes == 0) | (successes == 2)).all()
    return successes.tolist()


# What is survived -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "nominal", "share", "expected"),
    [
        ([10, 10, 10], 1, 1.0, (0, 2)),
        ([0, 10, 0], 1, 0.5, (1, 1)),
        ([10, 2, 10, 9, 2, 10], 2, 0.8, (2, 3)),  # beyond a failure nothing counts
        ([8, 8, 10], 2, 0.8, (0, 2)),  # exactly the share survives
        ([7, 8, 10], 2, 0.8, (1, 2)),
        ([10, 12, 4], 0, 0.8, (0, 1)),  # more than nominal is enough, too
    ],
)
def test_the_run_around_the_nominal_value_is_survived(successes, nominal, share, expected):
    assert surviving(successes, nominal, share) == expected


def made(successes, **options):
    return Envelope(parameter=MASS, successes=tuple(successes), trials=20, share=0.8, **options)


def test_intervals_are_exact():
    found = made([20, 20, 19, 18, 20, 17, 10, 3, 0])
    low, high = found.intervals
    for k, (count, a, b) in enumerate(zip(found.successes, low, high, strict=True)):
        assert a == pytest.approx(0.0 if count == 0 else beta.ppf(0.025, count, 21 - count)), k
        assert b == pytest.approx(1.0 if count == 20 else beta.ppf(0.975, count + 1, 20 - count)), k
    assert (found.low, found.high, found.open) == (0.25, MASS.values[5], (True, False))


def test_a_proposal_is_a_preset_that_trains(tmp_path):
    narrow = Envelope(parameter=STRENGTH, successes=(0, 0, 0, 9), trials=10, share=0.8)
    late = Envelope(parameter=DELAY, successes=(9, 9, 8, 1, 0, 0), trials=10, share=0.8)
    assert late.open == (False, False)
    config = propose([made([20, 20, 19, 18, 20, 17, 10, 3, 0]), narrow, late], source="a run")
    assert config.events == (
        FieldEvent(field="body_mass", names=("cart",), operation="scale", distribution="log_uniform", low=0.25,
                   high=MASS.values[5], mode="reset", shared=True),
        ActionDelay(low=0, high=8, mode="reset"),
    )  # fmt: skip
    assert "0.25 or less" in config.description
    assert "actuator_strength" in config.description
    save_config(config, tmp_path / "proposed.yaml")
    assert load_config(tmp_path / "proposed.yaml") == config
    env = Randomization(make(50), config=config)
    env.reset(seed=0)
    masses = env.unwrapped.world.driver.field("body_mass")[:, 1]
    assert 0.25 <= float(masses.min()) < 0.5
    assert 1.0 < float(masses.max()) <= MASS.values[5]


# Parameters -----------------------------------------------------------------------------------------------------------


def test_parameters_are_read_from_text():
    assert MASS.values == (0.25, 0.353553, 0.5, 0.707107, 1.0, 1.41421, 2.0, 2.82843, 4.0)
    assert MASS.nominal == 1.0
    assert MASS.name == "body_mass of cart (scale)"
    assert MASS.logarithmic
    tilt = parse_parameter("opt.gravity::add:-3,3:2", points=5)
    assert tilt.values == (-3.0, -1.5, 0.0, 1.5, 3.0)
    assert tilt.event.component == 2
    assert not tilt.logarithmic
    damping = parse_parameter("dof_damping:x+y:abs:0,0.1,1", points=3)
    assert damping.values == (0.0, 0.1, 0.5, 1.0)
    assert damping.event.names == ("x", "y")
    assert parse_parameter("sensor_delay:place+goal:0,3").event == SensorDelay(fields=("place", "goal"), low=0, high=3)
    uneven = parse_parameter("body_mass:cart:scale:0.3,4", points=5).values
    assert len(uneven) == 6
    assert 1.0 in uneven


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("body_mass:cart:scale", "form"),
        ("body_mass:cart:scale:2,5", "around 1"),
        ("body_mass:cart:abs:1,2", "LOW,NOMINAL,HIGH"),
        ("body_mass:cart:times:1,2", "unknown operation"),
        ("body_mass:cart:scale:x,2", "form"),
        ("action_delay:3", "LOW,HIGH"),
        ("body_mass:cart:scale:-1,2", "above 0"),
        ("body_mas:cart:scale:0.5,2", "body_mass"),
        ("geom_friction:ball:add:-0.1,0.1", "component"),
    ],
)
def test_text_that_says_no_parameter_is_refused(text, message):
    with pytest.raises((ValueError, UnknownNameError), match=message):
        parse_parameter(text)


def test_what_cannot_be_swept_is_refused():
    with pytest.raises(ValueError, match="nominal value"):
        Parameter(event=MASS.event, values=(0.5, 2.0), nominal=1.0)
    with pytest.raises(ValueError, match="succeeds under nominal"):
        envelope(lambda obs: -push(obs), make, MASS, episodes=1)
    with pytest.raises(UnknownNameError, match="crt"):
        envelope(push, make, parse_parameter("body_mass:crt:scale:0.5,2"), episodes=1)
    with pytest.raises(TypeError, match="MuJoCo"):
        FixedParameters(cairngym.make("Chain-N10-v0", num_envs=2), (MASS,), np.array([[1.0]]))
    with pytest.raises(ValueError, match="share"):
        surviving([1], 0, 0.0)


# Figures --------------------------------------------------------------------------------------------------------------


def picture(data):
    image = imread(io.BytesIO(data))[..., :3]
    assert image.shape[0] > 100
    assert image[2, 2].min() > 0.98
    return image


def test_figures_show_the_numbers():
    good, bad = made([20] * 9), made([0, 0, 0, 0, 20, 0, 0, 0, 0])
    one, other = (picture(envelope_figure([each])) for each in (good, bad))
    assert one.shape == other.shape
    assert not np.array_equal(one, other)
    assert picture(envelope_figure([good, bad, good, bad])).shape[1] > 2 * one.shape[1]
    counts = np.zeros((9, 4), dtype=np.int64)
    dark = picture(heat_map(Surface(parameters=(MASS, STRENGTH), successes=counts + 20, trials=20)))
    light = picture(heat_map(Surface(parameters=(MASS, STRENGTH), successes=counts, trials=20)))
    assert dark.mean() < light.mean() - 0.1
    with pytest.raises(ValueError, match="at least one"):
        envelope_figure([])
