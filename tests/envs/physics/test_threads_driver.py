"""The driver on CPU threads against a loop over MjData, also where a simulation diverges."""

import mujoco
import numpy as np
import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.physics.models import find_id
from cairngym.envs.physics.threads import INTEGRATION, ThreadsDriver

XML = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom name="floor" type="plane" size="2 2 0.1"/>
    <body name="anchor" mocap="true" pos="0 0 1"/>
    <body name="pole" pos="0 0 1">
      <joint name="hinge" axis="0 1 0"/>
      <geom name="rod" type="capsule" fromto="0 0 0 0 0 -0.4" size="0.03"/>
      <body name="tip" pos="0 0 -0.4">
        <joint name="elbow" axis="0 1 0"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02"/>
        <site name="end" pos="0.3 0 0"/>
      </body>
    </body>
    <body name="ball" pos="0.5 0 0.3">
      <freejoint name="free"/>
      <geom type="sphere" size="0.05"/>
    </body>
  </worldbody>
  <actuator>
    <motor name="drive" joint="hinge"/>
    <position name="servo" joint="elbow" kp="5"/>
  </actuator>
  <sensor><framelinvel name="speed" objtype="site" objname="end"/></sensor>
</mujoco>
"""
WELD = "</worldbody><equality><weld body1='anchor' body2='pole'/></equality>"
WORLDS, SUBSTEPS = 5, 4
DERIVED = ("xpos", "xquat", "site_xpos", "cvel", "subtree_com", "sensordata", "qacc")
INPUTS = ("qpos", "qvel", "ctrl", "mocap_pos", "qacc_warmstart", "time")


@pytest.fixture(autouse=True)
def warnings_elsewhere(tmp_path, monkeypatch):
    """MuJoCo logs its warnings into the working folder."""
    monkeypatch.chdir(tmp_path)


def model_of(xml=XML):
    return mujoco.MjModel.from_xml_string(xml)


def driver_of(xml=XML, worlds=WORLDS, **options):
    driver = ThreadsDriver(model_of(xml), worlds, **{"threads": 1, **options})
    views = [driver.view(name) for name in (*INPUTS, *DERIVED)]
    assert len(views) == len(INPUTS) + len(DERIVED)
    driver.forward()
    return driver


def controls(steps, worlds=WORLDS, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(steps, worlds, 2)))


def loop(datas, models, action, substeps=SUBSTEPS):
    """Step single simulations, then forward, as the driver's users do."""
    for data, model, row in zip(datas, models, action, strict=True):
        data.ctrl[:] = row.numpy()
        for _ in range(substeps):
            mujoco.mj_step(model, data)
        mujoco.mj_forward(model, data)


def assert_equals(driver, datas, what):
    for name in (*INPUTS, *DERIVED):
        want = np.stack([np.asarray(getattr(data, name)) for data in datas])
        assert np.array_equal(driver.view(name).numpy(), want), f"{name} differs {what}"


def assert_finite(driver):
    for name in (*INPUTS, *DERIVED):
        assert driver.view(name).isfinite().all(), name


def snapshot(driver):
    return {name: driver.view(name).clone() for name in (*INPUTS, *DERIVED)}


def assert_rows_equal(left, right, rows):
    for name, values in left.items():
        assert torch.equal(values[rows], right[name][rows]), name


# Against a loop ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_are_those_of_a_loop_bit_for_bit(threads):
    driver, models = driver_of(threads=threads), [model_of() for _ in range(WORLDS)]
    datas = [mujoco.MjData(model) for model in models]
    for data in datas:
        mujoco.mj_forward(data.model, data)
    for t, action in enumerate(controls(40)):
        driver.view("ctrl").copy_(action)
        driver.view("mocap_pos")[:, 0, 0] = 0.01 * t
        for data in datas:
            data.mocap_pos[0, 0] = 0.01 * t
        driver.step(SUBSTEPS)
        driver.forward()
        loop(datas, models, action)
        assert_equals(driver, datas, f"at step {t}")
    assert not driver.diverged.any()
    assert driver.view("qpos").std(dim=0).max() > 0.01, "the worlds all did the same"


def test_derived_views_lag_after_a_step_until_forward():
    driver = driver_of()
    driver.view("ctrl").copy_(controls(1)[0])
    driver.step(SUBSTEPS)
    lagging = driver.view("site_xpos").clone()
    driver.forward()
    assert not torch.equal(lagging, driver.view("site_xpos"))


def test_reset_and_forward_touch_only_the_masked():
    driver = driver_of()
    driver.view("ctrl").copy_(controls(1)[0])
    driver.step(20)
    driver.forward()
    before, mask = snapshot(driver), torch.tensor([True, False, False, True, False])
    driver.reset(mask)
    driver.forward(mask)
    after = snapshot(driver)
    assert_rows_equal(before, after, ~mask)
    fresh = mujoco.MjData(driver.model)
    mujoco.mj_forward(driver.model, fresh)
    for i in mask.nonzero()[:, 0]:
        assert np.array_equal(after["qpos"][i].numpy(), fresh.qpos)
        assert np.array_equal(after["site_xpos"][i].numpy(), fresh.site_xpos)
    driver.forward(torch.zeros(WORLDS, dtype=torch.bool))
    assert_rows_equal(after, snapshot(driver), slice(None))


def test_reset_returns_to_the_initial_state_that_was_set():
    driver, start = driver_of(), mujoco.MjData(model_of())
    start.qpos[0], start.qvel[1], start.time = 0.3, -1.0, 2.0
    driver.set_initial(start)
    driver.reset(torch.ones(WORLDS, dtype=torch.bool))
    assert (driver.view("qpos")[:, 0] == 0.3).all()
    assert (driver.view("qvel")[:, 1] == -1.0).all()
    assert (driver.view("time") == 2.0).all()


def test_views_are_live_and_the_same_object():
    driver = driver_of()
    qpos, place = driver.view("qpos"), driver.view("site_xpos")
    assert driver.view("qpos") is qpos
    held = place.clone()
    qpos[2, 0] = 1.0
    driver.forward()
    assert driver.view("site_xpos") is place
    assert not torch.equal(place[2], held[2])
    assert torch.equal(place[[0, 1, 3, 4]], held[[0, 1, 3, 4]])


def test_fields_are_the_worlds_own():
    driver, models = driver_of(), [model_of() for _ in range(WORLDS)]
    tip = find_id(driver.model, "body", "tip")
    for i, model in enumerate(models):
        model.body_mass[tip] *= 1.0 + i
        model.opt.gravity[2] = -float(i)
    driver.field("body_mass")[:, tip] *= 1.0 + torch.arange(WORLDS, dtype=torch.float64)
    driver.field("opt.gravity")[:, 2] = -torch.arange(WORLDS, dtype=torch.float64)
    driver.set_const()
    datas = [mujoco.MjData(model) for model in models]
    for data, model in zip(datas, models, strict=True):
        mujoco.mj_setConst(model, data)
        mujoco.mj_resetData(model, data)
        mujoco.mj_forward(model, data)
    derived = driver.field("body_subtreemass").numpy()
    assert np.array_equal(derived, np.stack([model.body_subtreemass for model in models]))
    assert np.array_equal(driver.field("dof_M0").numpy(), np.stack([model.dof_M0 for model in models]))
    driver.forward()
    for t, action in enumerate(controls(10)):
        driver.view("ctrl").copy_(action)
        driver.step(SUBSTEPS)
        driver.forward()
        loop(datas, models, action)
        assert_equals(driver, datas, f"at step {t}")


def test_snapshots_hold_fields_and_what_derives_from_them():
    driver = driver_of()
    plain = driver.get_state()
    driver.field("body_mass")[1:] *= 3.0
    driver.set_const()
    driver.view("ctrl").copy_(controls(1)[0])
    driver.step(SUBSTEPS)
    driver.forward()
    kept = driver.get_state()
    twin = driver_of(threads=2)
    twin.set_state(kept)
    for name in ("body_mass", "body_subtreemass", "dof_invweight0"):
        assert torch.equal(twin.field(name), driver.field(name)), name
    assert_rows_equal(snapshot(driver), snapshot(twin), slice(None))
    for each in (driver, twin):
        each.step(30)
        each.forward()
    assert_rows_equal(snapshot(driver), snapshot(twin), slice(None))
    driver.set_state(plain)
    assert np.array_equal(driver.field("body_mass")[4].numpy(), driver.model.body_mass)


def test_data_goes_out_and_comes_in():
    driver, data = driver_of(), mujoco.MjData(model_of())
    driver.view("ctrl").copy_(controls(1)[0])
    driver.step(SUBSTEPS)
    driver.field("body_mass")[3] *= 2.0
    model = driver.write_data(3, data)
    assert np.array_equal(data.qpos, driver.view("qpos")[3].numpy())
    assert np.array_equal(model.body_mass, 2.0 * driver.model.body_mass)
    driver.read_data(0, data)
    state = np.empty((2, driver.batch.nstate))
    mujoco.mj_getState(driver.model, data, state[0], INTEGRATION)
    assert np.array_equal(driver.batch.state[0], state[0])


# Divergence ----------------------------------------------------------------------------------------------------------


def pair(xml=XML, **options):
    """Two drivers in one state, some steps on; one of them will be harmed."""
    both = driver_of(xml, **options), driver_of(xml, **options)
    for driver in both:
        for action in controls(3):
            driver.view("ctrl").copy_(action)
            driver.step(SUBSTEPS)
            driver.forward()
    return both


def harm_and_step(harmed, sound, harm):
    """Step both after `harm`; checks that world 2 alone was hurt, and put back."""
    others = torch.arange(WORLDS) != 2
    before = harmed.view("qpos")[2].clone()
    harm(harmed)
    for driver in (harmed, sound):
        driver.step(SUBSTEPS)
        driver.forward()
    assert harmed.diverged.tolist() == [False, False, True, False, False]
    assert not sound.diverged.any()
    assert_rows_equal(snapshot(harmed), snapshot(sound), others)
    assert_finite(harmed)
    return before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e12])
@pytest.mark.parametrize("name", ["qvel", "qpos", "ctrl"])
def test_an_unsound_world_starts_over_alone(name, value):
    harmed, sound = pair()

    def harm(driver):
        driver.view(name)[2, 0] = value

    harm_and_step(harmed, sound, harm)
    initial = mujoco.MjData(harmed.model)
    assert np.array_equal(harmed.view("qpos")[2].numpy(), initial.qpos)
    assert harmed.counters()["warnings"].tolist() == [0, 0, 1, 0, 0]
    harm(harmed)
    harmed.step(SUBSTEPS)
    assert harmed.diverged.tolist() == [False, False, True, False, False], "the second time went unseen"
    assert harmed.counters()["warnings"].tolist() == [0, 0, 2, 0, 0]
    harmed.reset(harmed.diverged)
    assert not harmed.counters()["warnings"].any()
    harmed.step(SUBSTEPS)
    assert not harmed.diverged.any()


def test_a_world_whose_accelerations_explode_is_put_back():
    xml = XML.replace('<motor name="drive" joint="hinge"/>', '<motor name="drive" joint="hinge" gear="1e9"/>')
    harmed, sound = (driver_of(xml) for _ in range(2))
    for driver in (harmed, sound):
        driver.step(SUBSTEPS)
        driver.forward()

    def harm(driver):
        driver.view("ctrl")[2, 0] = 1e9

    before = harm_and_step(harmed, sound, harm)
    assert torch.equal(harmed.view("qpos")[2], before)
    assert int(harmed.batch.warning[2, int(mujoco.mjtWarning.mjWARN_BADQACC), 1]) > 0


def test_a_world_in_which_mujoco_raises_is_put_back():
    harmed, sound = (driver_of(XML.replace("</worldbody>", WELD)) for _ in range(2))
    kinds = [driver.field("eq_type") for driver in (harmed, sound)]
    right = kinds[0][2].clone()

    def harm(driver):
        driver.field("eq_type")[2] = 99

    before = harm_and_step(harmed, sound, harm)
    assert torch.equal(harmed.view("qpos")[2], before)
    assert harmed.counters()["warnings"].tolist() == [0, 0, 1, 0, 0]
    kinds[0][2] = right
    harmed.step(SUBSTEPS)
    assert not harmed.diverged.any()
    assert not torch.equal(harmed.view("qpos")[2], before)


def test_unknown_views_and_fields_name_the_nearest():
    driver = driver_of()
    with pytest.raises(UnknownNameError, match="Did you mean 'qpos'"):
        driver.view("qposs")
    with pytest.raises(UnknownNameError, match="Did you mean 'body_mass'"):
        driver.field("body_maas")
