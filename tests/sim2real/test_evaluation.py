"""Playing on hidden twins: episodes counted robot by robot, the same for any number of robots, and sweeps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import cairngym
from cairngym.agents.core import Actor, Agent
from cairngym.sim2real.evaluation import Fleet, Policy, evaluate_policy, play, play_fleet
from cairngym.sim2real.randomization.config import (
    ActionDelay,
    FieldEvent,
    PacketLoss,
    RandomizationConfig,
    SensorNoise,
)
from cairngym.sim2real.randomization.fixed import Parameter
from cairngym.sim2real.statistics.binomial import Interval, binomial_interval
from cairngym.sim2real.sweeps import Sweep, model_of, pair_sweep, parameters, sweep

FLEET = RandomizationConfig(
    events=(
        FieldEvent(field="actuator_gear", names=("motor_x", "motor_y"), component=0, low=0.02, high=1.0),
        ActionDelay(low=0, high=3, mode="startup"),
        SensorNoise(field="position", std=0.01),
    )
)


class Straight(Actor):
    """Drives to the goal in a straight line."""

    def act(self, obs):
        return 4.0 * (obs["desired_goal"] - obs["achieved_goal"]).clamp(-0.25, 0.25)


class StraightAgent(Agent):
    """As much of an agent as playing needs."""

    values = None

    def learn(self, env, steps, callbacks=()):
        raise AssertionError("It has nothing to learn.")

    def get_state(self):
        return {}

    def set_state(self, snapshot):
        assert not snapshot

    def forget_env(self):
        return

    def actor(self, num_envs, *, deterministic=False, seed=0):
        del num_envs, deterministic, seed
        return Straight()


def open_maze(num_envs: int, seed: int):
    return cairngym.make("PointMaze_Open-v3", num_envs=num_envs, seed=seed, continuing_task=False)


POLICY = Policy(variant="straight", seed=0, agent=StraightAgent(), make_sim=open_maze, wrap=lambda env: env)


def fleet(*units, config=FLEET, seed=5):
    return Fleet.named(config, seed=seed, units=units)


def test_every_episode_is_counted_in_its_place():
    env = cairngym.make("Chain-N10-v0", num_envs=3, seed=0)

    class Right(StraightAgent):
        def actor(self, num_envs, *, deterministic=False, seed=0):
            class Walk(Actor):
                def act(self, obs):
                    # env 1 walks away from the reward, the others towards it
                    return torch.tensor([1, 0, 1])

            return Walk()

    found = play(Right(), env, 4, seed=0)
    assert found.shape == (3, 4)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, [[True] * 4, [False] * 4, [True] * 4])


def test_twins_differ_and_repeat():
    together = play_fleet(POLICY, fleet(0, 1, 2, 3), 8)
    assert together.shape == (4, 8)
    rates = together.mean(axis=1)
    assert rates.max() > rates.min()  # some motors are too weak to get there in time
    again = play_fleet(POLICY, fleet(0, 1, 2, 3), 8)
    np.testing.assert_array_equal(together, again)
    other = play_fleet(POLICY, fleet(0, 1, 2, 3, seed=6), 8)
    assert (other != together).any()


def test_a_fleet_without_events_is_the_simulation():
    same = RandomizationConfig(events=(FieldEvent(field="body_mass", names=("particle",), low=1.0, high=1.0),))
    played = evaluate_policy(POLICY, fleet(0, 1, config=same), episodes=8)
    assert played.sim.shape == (16,)
    assert played.twins.shape == (2, 8)
    assert played.sim.mean() == played.twins.mean() == 1.0
    assert played.name == "straight seed 0"


def test_units_must_be_hidden_and_different():
    with pytest.raises(ValueError, match=r"identification has not seen, got \[2\]"):
        Fleet.named(FLEET, seed=0, units=(1, 2, 3), excluded=(2, 100))
    with pytest.raises(ValueError, match="different units"):
        Fleet.named(FLEET, seed=0, units=(1, 1))
    with pytest.raises(ValueError, match="at least one"):
        Fleet.named(FLEET, seed=0, units=())
    with pytest.raises(ValueError, match="episodes >= 1"):
        play(StraightAgent(), open_maze(1, 0), 0, seed=0)


def test_what_can_be_swept():
    more = (
        FieldEvent(field="dof_damping", names=("ball_x", "ball_y"), operation="abs", low=4.0, high=10.0),
        FieldEvent(field="body_ipos", names=("particle",), operation="add", low=-0.01, high=0.02),
        PacketLoss(probability=0.1),
    )
    model = model_of(POLICY)
    found = parameters(RandomizationConfig(events=(*FLEET.events, *more)), model, points=5)
    assert [one.name for one in found] == [
        "actuator_gear[0] of motor_x, motor_y (scale)", "action delay (physics steps)",
        "dof_damping of ball_x, ball_y (abs)", *(f"body_ipos[{i}] of particle (add)" for i in range(3)),
    ]  # fmt: skip
    gear, delay, damping, offset = found[:4]
    assert [one.nominal for one in (gear, delay, damping, offset)] == [1.0, 0.0, 1.0, 0.0]
    assert (gear.values[0], gear.values[-1]) == (0.01, 2.0)
    assert (delay.values[0], delay.values[-1]) == (0.0, 6.0)
    assert (damping.values[0], damping.values[-1]) == (1.0, 20.0)  # 1 is what the model has
    assert (offset.values[0], offset.values[-1]) == (-0.04, 0.04)
    with pytest.raises(ValueError, match="2 points"):
        parameters(FLEET, model, points=1)


def test_weak_motors_fail_and_strong_ones_do_not():
    gear, delay = parameters(FLEET, model_of(POLICY), points=2)
    found = sweep(POLICY, gear, episodes=8)
    assert gear.values == (0.01, 1.0, 2.0)
    assert found.success[0].value < 0.5 < found.success[1].value
    assert found.success[1] == binomial_interval(8, 8)
    assert found.survived(0.5) == (1.0, 2.0)
    assert delay.values == (0.0, 6.0)
    pair = pair_sweep(POLICY, (gear, delay), episodes=4)
    assert pair.surface.rates.shape == (3, 2)
    assert (pair.surface.rates[0] < pair.surface.rates[1]).all()


def test_where_a_policy_survives():
    rates = [Interval(value, 0.0, 1.0) for value in (0.2, 0.6, 0.9, 0.4)]
    grid = Parameter(event=FLEET.events[0], values=(1.0, 2.0, 3.0, 4.0), nominal=1.0)
    found = Sweep(policy="a", parameter=grid, success=tuple(rates))
    assert found.survived() == (2.0, 3.0)
    assert found.survived(0.95) is None
