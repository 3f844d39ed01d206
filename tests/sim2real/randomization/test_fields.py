"""Model fields against closed forms, and against models compiled with the values drawn."""

import mujoco
import numpy as np
import pytest
import torch
from toy_physics import FALLING, SLIDER, SPRING, arm, make_toy, randomized, run

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.sim2real.randomization.config import FieldEvent


def field(env, name):
    return env.unwrapped.world.driver.field(name).clone()


def model_of(env, world):
    return env.unwrapped.world.driver.batch.get_model(world)


def compiled(xml):
    return mujoco.MjModel.from_xml_string(xml)


def test_free_fall_under_the_gravity_drawn():
    event = FieldEvent(field="opt.gravity", operation="abs", low=-12.0, high=-3.0, component=2, mode="reset")
    env = randomized(make_toy(FALLING, num_envs=4), event)
    env.reset()
    gravity = field(env, "opt.gravity")
    assert len(set(gravity[:, 2].tolist())) == 4
    assert not gravity[:, :2].any()
    height = run(env, 25)["qpos"][-1, :, 2]
    n, dt = 100, 0.002
    assert torch.allclose(height, 100.0 + gravity[:, 2] * dt * dt * n * (n + 1) / 2, rtol=0, atol=1e-10)


def test_a_spring_swings_with_the_mass_drawn():
    env = randomized(
        make_toy(SPRING, num_envs=4, start={"qpos": [0.3]}), FieldEvent(field="body_mass", low=0.5, high=3.0)
    )
    env.reset()
    mass = field(env, "body_mass")[:, 1]
    time = torch.arange(1, 251)[:, None] * 0.004
    want = 0.3 * torch.cos((40.0 / mass).sqrt() * time)
    assert torch.allclose(run(env, 250)["qpos"][..., 0], want, atol=1e-6)
    assert ((mass > 1.0) & (mass < 6.0)).all()


def test_a_block_slides_as_far_as_friction_lets_it():
    events = FieldEvent(field="geom_friction", names=("*",), low=0.8, high=3.0, component=0, shared=True)
    env = randomized(make_toy(SLIDER, num_envs=4, substeps=10, start={"qvel": [2.0, 0, 0, 0, 0, 0]}), events)
    env.reset()
    friction = field(env, "geom_friction")
    assert torch.equal(friction[:, 0], friction[:, 1]), "not shared"
    assert friction[:, 0, 1:].allclose(friction.new_tensor([0.005, 0.0001])), "other components changed"
    way = run(env, 120)["qpos"][-1, :, 0]
    assert torch.allclose(way, 4.0 / (2 * friction[:, 0, 0] * 9.81), rtol=0.02)


def test_mass_with_inertia_is_another_density():
    env = randomized(make_toy(arm(1000, 800)), FieldEvent(field="body_mass", names=("upper",), low=2.0, high=2.0))
    env.reset()
    model, reference = model_of(env, 1), compiled(arm(2000, 800))
    for name in ("body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0"):
        assert np.allclose(getattr(model, name), getattr(reference, name), rtol=1e-12, atol=0), name
    other = make_toy(reference)
    other.reset()
    action = torch.full((2, 2), 0.5)
    assert torch.allclose(
        run(env, 50, lambda _: action)["qpos"], run(other, 50, lambda _: action)["qpos"], rtol=0, atol=1e-11
    )


def test_mass_without_inertia_leaves_it():
    env = randomized(make_toy(arm()), FieldEvent(field="body_mass", low=2.0, high=2.0, inertia=False))
    env.reset()
    nominal = compiled(arm())
    assert np.allclose(model_of(env, 0).body_mass, 2.0 * nominal.body_mass)
    assert np.array_equal(model_of(env, 0).body_inertia, nominal.body_inertia)


@pytest.mark.parametrize(
    ("event", "old", "new"),
    [
        (FieldEvent(field="geom_size", names=("upper",), component=0, operation="abs", low=0.05, high=0.05),
         'size="0.04"', 'size="0.05"'),
        (FieldEvent(field="dof_armature", names=("shoulder",), low=5.0, high=5.0),
         'armature="0.01"', 'armature="0.05"'),
        (FieldEvent(field="dof_damping", names=("*",), low=3.0, high=3.0), 'damping="0.1"', 'damping="0.3"'),
        (FieldEvent(field="dof_frictionloss", names=("shoulder",), operation="add", low=0.1, high=0.1),
         'frictionloss="0.01"', 'frictionloss="0.11"'),
        (FieldEvent(field="actuator_kp", names=("servo",), low=0.5, high=0.5), 'kp="30"', 'kp="15"'),
        (FieldEvent(field="actuator_kv", names=("speed",), low=2.0, high=2.0), 'kv="3"', 'kv="6"'),
        (FieldEvent(field="actuator_strength", names=("servo",), low=0.5, high=0.5),
         'kp="30" kv="2"', 'kp="15" kv="1"'),
    ],
    ids=lambda value: value.field if isinstance(value, FieldEvent) else "",
)  # fmt: skip
def test_every_change_is_that_of_a_compiled_model(event, old, new):
    xml = arm()
    assert old in xml
    reference, nominal = compiled(xml.replace(old, new)), compiled(xml)
    if event.field == "geom_size":  # sizes alone change: mass and inertia are those of the nominal model
        reference.body_mass[:], reference.body_inertia[:] = nominal.body_mass, nominal.body_inertia
        reference.body_ipos[:] = nominal.body_ipos
        mujoco.mj_setConst(reference, mujoco.MjData(reference))
    env, other = randomized(make_toy(xml), event), make_toy(reference)
    env.reset(), other.reset()
    model = model_of(env, 0)
    for name in ("geom_rbound", "geom_aabb", "dof_armature", "dof_damping", "dof_frictionloss", "dof_invweight0",
                 "actuator_gainprm", "actuator_biasprm", "body_invweight0", "bvh_aabb"):  # fmt: skip
        assert np.allclose(getattr(model, name), getattr(reference, name), rtol=1e-12, atol=1e-12), name
    action = torch.full((2, 2), 0.5)
    states = [run(each, 25, lambda _: action)["qpos"] for each in (env, other)]
    assert torch.allclose(*states, rtol=0, atol=1e-11)


def test_a_centre_of_mass_may_leave_a_simple_body():
    event = FieldEvent(field="body_ipos", names=("cart",), operation="abs", component=2, low=0.05, high=0.05)
    nominal = compiled(SPRING)
    assert nominal.body_simple[1], "the model's body is not simple"
    env = randomized(make_toy(SPRING, start={"qpos": [0.3]}), event)
    env.reset()
    assert model_of(env, 0).body_ipos[1].tolist() == [0.0, 0.0, 0.05]
    time = torch.arange(1, 101)[:, None] * 0.004
    assert torch.allclose(run(env, 100)["qpos"][..., 0], 0.3 * torch.cos(20.0**0.5 * time).double(), atol=1e-6)


def test_the_reference_position_moves_the_spring_s_rest():
    env = randomized(
        make_toy(SPRING), FieldEvent(field="qpos_spring", names=("slide",), operation="add", low=0.1, high=0.1)
    )
    env.reset()
    time = torch.arange(1, 101)[:, None] * 0.004
    assert torch.allclose(run(env, 100)["qpos"][..., 0], 0.1 - 0.1 * torch.cos(20.0**0.5 * time).double(), atol=1e-6)


def test_events_start_from_the_model_at_every_reset():
    env = randomized(
        make_toy(SPRING, num_envs=3), FieldEvent(field="body_mass", low=0.9, high=1.1, mode="reset"),
        FieldEvent(field="body_mass", operation="add", low=0.5, high=0.5),
    )  # fmt: skip
    seen = []
    for _ in range(30):
        env.reset()
        seen.append(field(env, "body_mass")[:, 1])
        ratio = seen[-1] / 2.0
        assert torch.allclose(field(env, "body_inertia")[:, 1, 0], ratio * compiled(SPRING).body_inertia[1, 0])
    masses = torch.stack(seen)
    assert (masses >= 0.9 * 2.0 + 0.5).all()
    assert (masses <= 1.1 * 2.0 + 0.5).all()
    assert masses.unique().numel() == 90
    env.reset(seed=0)
    assert torch.equal(field(env, "body_mass")[:, 1], masses[0])


def test_only_the_masked_worlds_change():
    env = randomized(
        make_toy(arm(), num_envs=3, autoreset_mode="Disabled"),
        FieldEvent(field="body_mass", low=0.5, high=2.0, mode="reset"),
    )
    env.reset()
    run(env, 3)
    names = ("body_mass", "body_inertia", "dof_invweight0", "body_subtreemass")
    before, state = {name: field(env, name) for name in names}, env.state["qpos"].clone()
    env.reset(options={"reset_mask": torch.tensor([False, True, False])})
    for name in names:
        after = field(env, name)
        assert torch.equal(after[[0, 2]], before[name][[0, 2]]), name
        assert not torch.equal(after[1], before[name][1]), name
    assert torch.equal(env.state["qpos"][[0, 2]], state[[0, 2]])


def test_startup_draws_belong_to_units():
    events = (
        FieldEvent(field="body_mass", low=0.5, high=2.0),
        FieldEvent(field="dof_damping", operation="abs", distribution="log_uniform", low=0.1, high=10.0),
        FieldEvent(field="jnt_stiffness", distribution="gaussian", mean=1.0, std=0.1),
    )
    names = ("body_mass", "dof_damping", "jnt_stiffness")

    def drawn(n, **options):
        env = randomized(make_toy(SPRING, num_envs=n), *events, **options)
        env.reset()
        first = {name: field(env, name) for name in names}
        env.reset()
        assert all(torch.equal(first[name], field(env, name)) for name in names), "startup draws change at a reset"
        return torch.cat([first[name].view(n, -1) for name in names], dim=1)

    many = drawn(37, seed=7)
    for n in (1, 2, 3, 8, 17):
        assert torch.equal(drawn(n, seed=7), many[:n])
    assert many[:, 1].unique().numel() == 37
    twin = drawn(5, seed=7, units=(3,))
    assert torch.equal(twin, many[3].expand(5, -1))
    assert torch.equal(drawn(4, seed=7, units=(5, 2)), many[[5, 2, 5, 2]])
    assert not torch.equal(drawn(37, seed=8)[:, 1], many[:, 1])
    assert torch.equal(drawn(3), drawn(3, seed=0)), "the env's seed is not taken"


def test_units_share_startup_draws_alone():
    event = FieldEvent(field="body_mass", low=0.5, high=2.0, mode="reset")
    env = randomized(make_toy(SPRING, num_envs=4), event, units=(1, 1, 2, 2), seed=3)
    env.reset()
    assert field(env, "body_mass")[:, 1].unique().numel() == 4


def test_draws_at_intervals_come_when_they_are_due():
    event = FieldEvent(field="opt.wind", operation="abs", low=-1.0, high=1.0, mode="interval", every_s=(0.02, 0.05))
    env = randomized(make_toy(FALLING, num_envs=3), event)
    env.reset()
    winds = [field(env, "opt.wind")]
    for _ in range(200):
        env.step(torch.zeros(3, 1))
        winds.append(field(env, "opt.wind"))
    for world in range(3):
        changes = [t for t in range(1, 201) if not torch.equal(winds[t][world], winds[t - 1][world])]
        gaps = np.diff(changes) * 0.008
        assert gaps.min() >= 0.016
        assert gaps.max() <= 0.05 + 0.008
        assert len(set(gaps.round(6))) > 2


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"field": "body_mass", "operation": "add", "low": -3.0, "high": 0.0}, "body 'upper' could become -"),
        ({"field": "body_inertia", "low": 0.2, "high": 5.0, "component": 0}, "no body has"),
        ({"field": "body_inertia", "operation": "abs", "low": 0.01, "high": 1.0}, "no body has"),
        ({"field": "geom_size", "operation": "add", "low": -0.1, "high": 0.0}, "'upper' could become -.* above 0"),
        ({"field": "dof_damping", "operation": "add", "low": -0.2, "high": 0.0}, "joint 'shoulder' could become -0.1"),
        ({"field": "actuator_kp", "names": ("servo",), "operation": "add", "low": -40.0, "high": 0.0}, "become -10"),
        ({"field": "actuator_kp", "names": ("speed",), "low": 0.5, "high": 1.0}, "is no position servo"),
        ({"field": "actuator_kp", "names": ("speed*",), "low": 0.5, "high": 1.0}, "nothing to change"),
        ({"field": "body_mass", "names": ("world",), "low": 0.5, "high": 1.0}, "has no mass"),
        ({"field": "opt.density", "operation": "add", "low": -1.0, "high": 1.0}, "the model could become -1"),
    ],
)  # fmt: skip
def test_what_the_model_can_not_have_is_refused(event, words):
    with pytest.raises(ValueError, match=words):
        randomized(make_toy(arm()), FieldEvent(**event))


@pytest.mark.parametrize(
    ("event", "near"),
    [
        ({"field": "body_mass", "names": ("uper",)}, "'upper'"),
        ({"field": "dof_damping", "names": ("elbw",)}, "'elbow'"),
        ({"field": "actuator_kp", "names": ("leg_*",)}, "'servo'"),
    ],
)
def test_unknown_elements_are_named(event, near):
    with pytest.raises(UnknownNameError, match=near):
        randomized(make_toy(arm()), FieldEvent(**event, low=0.5, high=1.5))


def test_geoms_whose_size_decides_nothing_are_left_out():
    env = randomized(make_toy(SLIDER), FieldEvent(field="geom_size", names=("*",), low=0.5, high=0.5))
    env.reset()
    assert field(env, "geom_size")[0].tolist() == [[50.0, 50.0, 1.0], [0.05, 0.05, 0.05]]
    with pytest.raises(ValueError, match="geom 'floor' is no sphere"):
        randomized(make_toy(SLIDER), FieldEvent(field="geom_size", names=("floor",), low=0.5, high=0.5))


@pytest.mark.slow
def test_the_warp_driver_draws_and_moves_alike():
    events = (
        FieldEvent(field="body_mass", low=0.5, high=2.0, mode="reset"),
        FieldEvent(field="actuator_strength", low=0.5, high=1.5),
    )
    envs = [
        randomized(cairngym.make("PointMaze_UMaze-v3", num_envs=2, driver=driver), *events)
        for driver in ("threads", "warp")
    ]
    for env in envs:
        env.reset()
    for name in ("body_mass", "body_inertia", "actuator_gainprm"):
        assert torch.allclose(*(field(env, name).double() for env in envs), rtol=1e-6), name
    action = torch.tensor([[0.5, -0.2], [-0.3, 0.4]])
    for _ in range(10):
        states = [env.step(action) and env.state["position"] for env in envs]
    assert torch.allclose(*states, atol=1e-4)
