"""The wrapper: the env contract, lives, units, snapshots, and what is seen and what is not."""

from functools import partial

import contract
import pytest
import torch
from toy_physics import FALLING, SPRING, make_toy, randomized, run
from toy_worlds import make_line

import cairngym
from cairngym.agents.hindsight import Goals
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.core import clone
from cairngym.envs.wrapper_registry import make_wrapper
from cairngym.sim2real.randomization.config import (
    ActionDelay,
    FieldEvent,
    PacketLoss,
    Push,
    RandomForce,
    RandomizationConfig,
    SensorDelay,
    SensorDrop,
    SensorNoise,
)
from cairngym.sim2real.randomization.wrapper import Randomization

PHYSICS = (
    FieldEvent(field="body_mass", low=0.5, high=2.0, mode="reset"),
    FieldEvent(field="dof_damping", distribution="log_uniform", low=0.5, high=2.0),
    FieldEvent(field="opt.gravity", operation="add", distribution="gaussian", mean=0.0, std=0.2, mode="interval",
               every_s=(0.02, 0.05)),
    ActionDelay(low=0, high=30, mode="interval"),
    PacketLoss(probability=0.3),
    Push(joints=("*",), velocity=(0.0, 0.5), every_s=(0.02, 0.06)),
    RandomForce(bodies=("*",), force=(0.0, 0.3), of_weight=True, every_s=(0.01, 0.05)),
)  # fmt: skip


def noisy(field, *, delayed=()):
    return (
        SensorNoise(field=field, std=0.01, bias_std=0.02, drift_std=0.05),
        SensorDelay(fields=delayed or (field,), low=0, high=7, mode="reset"),
        SensorDrop(fields=(field,), probability=0.2),
    )


def make(env_id, events, *, units=None, **options):
    return Randomization(cairngym.make(env_id, **options), config=RandomizationConfig(events=events), units=units)


make_ball = partial(make, "PointMaze_UMaze-v3", PHYSICS)
make_seen_ball = partial(make, "PointMaze_UMaze-v3", PHYSICS + noisy("position", delayed=("position", "velocity")))
make_line_seen = lambda **options: randomized(make_line(**options), SensorNoise(field="position", std=0.1))  # noqa: E731
SLOW = (contract.check_life_is_independent_of_batch, contract.check_snapshot_round_trip, contract.check_reset_mask)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("kind", [make_ball, make_seen_ball, make_line_seen], ids=["physics", "sensors", "no physics"])
def test_contract(kind, check):
    check(kind)


@pytest.mark.parametrize("check", SLOW, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize(
    ("env_id", "field"),
    [("FetchPush-v4", "object_position"), ("AntMaze_UMaze-v4", "position"), ("StlFranka-Patrol-v0", "joint_angles")],
)
def test_contract_on_robots(env_id, field, check):
    check(partial(make, env_id, PHYSICS + noisy(field)))


@pytest.mark.parametrize("env_id", ["Quadrotor-v0", "DifferentialDrive-v0", "FrankaReach-v0"])
def test_robots_live_the_same_life_in_any_batch(env_id):
    contract.check_life_is_independent_of_batch(partial(make, env_id, PHYSICS))


def test_n_and_m_steps_are_n_then_a_snapshot_then_m():
    actions = contract.actions_of(make_seen_ball(num_envs=4), 20)
    whole, first, second = (make_seen_ball(num_envs=4, seed=seed) for seed in (1, 1, 9))
    whole.reset(), first.reset(), second.reset()
    for action in actions:
        last = whole.step(action)
    for action in actions[:8]:
        first.step(action)
    second.set_state(clone(first.get_state()))
    for action in actions[8:]:
        again = second.step(action)
    contract.assert_same(contract.frozen(last), contract.frozen(again), "last step")
    for name in ("body_mass", "dof_damping", "opt.gravity"):
        assert torch.equal(whole.world.driver.field(name), second.world.driver.field(name)), name


def test_snapshots_of_other_configs_are_refused():
    env, other = make_seen_ball(num_envs=2), make_ball(num_envs=2)
    env.reset(), other.reset()
    with pytest.raises(ValueError, match="sensor events"):
        other.set_state(env.get_state())
    with pytest.raises(ValueError, match="kinds of events"):
        make("PointMaze_UMaze-v3", PHYSICS[:1], num_envs=2).set_state(other.get_state())


def test_a_wrapper_s_own_seed_outlives_the_env_s():
    own = Randomization(make_toy(SPRING), config=RandomizationConfig(events=PHYSICS[:2]), seed=4)
    follows = randomized(make_toy(SPRING), *PHYSICS[:2])
    damping = {}
    for name, env in (("own", own), ("follows", follows)):
        for seed in (4, 5):
            env.reset(seed=seed)
            damping[name, seed] = env.world.driver.field("body_mass")[:, 1].clone()
    assert torch.equal(damping["own", 4], damping["own", 5])
    assert torch.equal(damping["own", 4], damping["follows", 4])
    assert not torch.equal(damping["follows", 4], damping["follows", 5])


def test_truth_stays_and_what_is_seen_does_not():
    """Sensors alone change observations, in proportion, and neither state, reward, nor success."""
    plain = cairngym.make("PointMaze_UMaze-v3", num_envs=6, seed=2)
    env = make("PointMaze_UMaze-v3", (SensorNoise(field="position", std=0.01),), num_envs=6, seed=2)
    assert env.unwrapped.world.disturbance is not None
    obs, other = env.reset()[0], plain.reset()[0]
    errors = []
    for action in contract.actions_of(plain, 40):
        seen, true = env.step(action), plain.step(action)
        for i in (1, 2, 3):
            assert torch.equal(seen[i], true[i])
        contract.assert_same(dict(env.state), dict(plain.state), "state")
        contract.assert_same(dict(seen[4]["final_state"]), dict(true[4]["final_state"]), "final_state")
        obs, other = seen[0], true[0]
        assert torch.equal(obs["achieved_goal"], obs["observation"][:, :2]), "two sights of one measurement"
        assert torch.equal(obs["observation"][:, 2:], other["observation"][:, 2:])
        errors.append(obs["achieved_goal"] - other["achieved_goal"])
    spread = torch.cat(errors)
    assert abs(float(spread.std()) - 0.01) < 0.0015
    assert abs(float(spread.mean())) < 0.002


def test_physics_alone_shows_the_env_s_own_observations():
    env = make_ball(num_envs=2)
    obs, _ = env.reset()
    assert torch.equal(obs["observation"][:, :2], env.state["position"])


def test_hindsight_goes_on():
    """Goals are judged as seen, and a plan's relabeller shows through where nothing is seen otherwise."""
    env = make_seen_ball(num_envs=2)
    obs, _ = env.reset()
    goals = Goals(env)
    reward, _, success = goals.judge(
        obs["achieved_goal"], obs["achieved_goal"], torch.zeros(2).bool(), torch.zeros(2).bool()
    )
    assert success.all()
    assert reward.tolist() == [1.0, 1.0]
    inner = cairngym.make("PointMaze_UMaze-v3")
    plan = object()
    type_of_it = type("Planned", (type(inner),), {"relabeller": property(lambda self: plan)})
    inner.__class__ = type_of_it
    assert randomized(inner, PHYSICS[0]).relabeller is plan
    inner.world.disturbance = None
    assert randomized(inner, *noisy("position")).relabeller is None


def test_a_config_is_found_by_name():
    env = make_wrapper("randomization", cairngym.make("PointMaze_UMaze-v3", num_envs=2), config="point_maze", units=[3])
    env.reset()
    mass = env.world.driver.field("body_mass")[:, 1]
    assert mass[0] == mass[1] != env.world.model.body_mass[1]


def test_nothing_is_put_between_without_events():
    env, plain = randomized(make_toy(SPRING)), make_toy(SPRING)
    env.reset(), plain.reset()
    assert env.unwrapped.world.disturbance is None
    assert torch.equal(run(env, 5)["qpos"], run(plain, 5)["qpos"])


@pytest.mark.parametrize(
    ("wrap", "error", "words"),
    [
        (lambda: randomized(randomized(make_toy(SPRING), PHYSICS[0]), PHYSICS[1]), TypeError, "without wrappers"),
        (lambda: randomized(make_line(), PHYSICS[0]), TypeError, "that MuJoCo simulates for FieldEvent"),
        (lambda: randomized(make_toy(FALLING), PHYSICS[0], units=(5000,)), ValueError, r"in \[0, 4095\]"),
        (lambda: randomized(make_toy(FALLING), PHYSICS[0], seed=-1), ValueError, "seed"),
        (lambda: randomized(make_toy(FALLING), *noisy("positon")), UnknownNameError, "positon"),
        (lambda: Randomization(make_toy(FALLING), config="point_mase"), UnknownNameError, "'point_maze'"),
    ],
)
def test_what_does_not_fit_is_refused(wrap, error, words):
    with pytest.raises(error, match=words):
        wrap()


def test_a_world_is_disturbed_once():
    env = make_toy(SPRING)
    randomized(env, PHYSICS[0])
    with pytest.raises(ValueError, match="into one config"):
        randomized(env, PHYSICS[0])
