"""The Warp driver, on Warp's CPU device: its masks, fields, records and faults; test_warp_accuracy.py has the rest."""

import sys

import mujoco
import numpy as np
import pytest
import torch
from warp_toys import SIZES, XML, N, at, swing

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.manipulation.fetch import rest
from cairngym.envs.manipulation.fetch_config import FETCH
from cairngym.envs.physics.driver import make_driver
from cairngym.envs.physics.models import find_id, package_file
from cairngym.envs.physics.warp import WarpDriver
from cairngym.envs.physics.warp_sizes import Sizes, measure_sizes, near_pairs

CROWD = XML.replace("2 0 .3", "2 0 .09").replace(
    "</worldbody>", '<body pos="2 1 .09"><freejoint/><geom type="sphere" size=".1"/></body></worldbody>'
)


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_string(XML)


@pytest.fixture
def driver(model):
    return WarpDriver(model, N, "cpu", **SIZES)


@pytest.fixture(scope="module")
def push():
    model = mujoco.MjModel.from_xml_path(str(package_file("gymnasium_robotics", "envs/assets/fetch/push.xml")))
    start, _, _ = rest(model, FETCH["FetchPush-v4"])
    return model, start


# Views, reset, forward ------------------------------------------------------------------------------------------------


def test_views_are_live_and_in_mujocos_layout(model, driver):
    data, names = mujoco.MjData(model), "qpos qvel ctrl mocap_pos mocap_quat xmat site_xmat geom_xmat cvel act time"
    views = {name: driver.view(name) for name in [*names.split(), "xfrc_applied", "qfrc_applied", "qacc_warmstart"]}
    before = {name: (view.data_ptr(), view.clone()) for name, view in views.items()}
    swing(driver, 3)
    driver.forward()
    for name, view in views.items():
        assert driver.view(name) is view
        assert view.shape == (N, *np.shape(getattr(data, name)))
        assert view.dtype is torch.float32
        assert view.numel() == 0 or view.data_ptr() == before[name][0]
    for name in ("qpos", "qvel", "site_xmat", "cvel", "time", "qacc_warmstart"):
        assert not torch.equal(views[name], before[name][1]), name


def test_derived_views_lag_until_forward(driver):
    site = driver.view("site_xpos")
    driver.forward()
    assert torch.equal(site[:, 0], torch.tensor([[0.5, 0.0, 1.5]]).expand(N, 3))
    driver.view("qpos")[1, 0] = np.pi / 2
    assert torch.equal(site[0], site[1])
    driver.forward(at(1))
    torch.testing.assert_close(site[1, 0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-6, rtol=0)


def test_forward_leaves_the_state(driver):
    swing(driver, 3)
    before = driver.get_state()["state"]
    driver.forward(at(0))
    assert torch.equal(driver.get_state()["state"], before)


def test_reset_is_masked(model, driver):
    start = mujoco.MjData(model)
    start.qpos[0], start.qvel[0], start.mocap_pos[0], start.time = 0.3, -0.2, (1, 2, 3), 0.5
    driver.set_initial(start)
    swing(driver, 3)
    driver.view("mocap_pos").fill_(7.0)
    driver.view("xfrc_applied").fill_(0.5)
    before = driver.get_state()["state"]
    for _ in range(3):  # plainly, recording, and by the graph
        driver.reset(at(1))
        after = driver.get_state()["state"]
        assert torch.equal(after[~at(1)], before[~at(1)])
        expected = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
        mujoco.mj_getState(model, start, expected, mujoco.mjtState.mjSTATE_INTEGRATION)
        np.testing.assert_array_equal(after[1].numpy(), expected.astype(np.float32))
        assert not driver.view("xfrc_applied")[1].any()


def test_graph_equals_plain_launches(model, driver):
    plain = WarpDriver(model, N, "cpu", graph=False, **SIZES)
    for each in (driver, plain):
        swing(each, 6)
        each.forward()
    assert driver._graphs
    assert not plain._graphs
    assert torch.equal(driver.get_state()["state"], plain.get_state()["state"])


# Fields ---------------------------------------------------------------------------------------------------------------


def test_gravity_of_one_world(model, driver):
    swing(driver, 2)  # a graph that knows only the shared gravity
    reference = WarpDriver(model, N, "cpu", **SIZES)
    swing(reference, 2)
    driver.field("opt.gravity")[2] = torch.tensor([0.0, 0.0, 5.0])
    for each in (driver, reference):
        swing(each, 3)
    state, expected = driver.view("qpos"), reference.view("qpos")
    assert torch.equal(state[:2], expected[:2])
    falling = driver.view("qvel")[:, 3]  # the ball's, upwards: 0.04 s under the model's gravity, 0.06 s under its own
    torch.testing.assert_close(falling, torch.tensor([-0.981, -0.981, -0.3924 + 0.3]), atol=1e-5, rtol=0)


def test_mass_and_what_follows_from_it(model, driver):
    """Against `mj_setConst` and MuJoCo C; measured: constants 1e-7 relative, positions after 20 substeps 3e-8."""
    arm = find_id(model, "body", "arm")
    driver.field("body_mass")[1, arm] *= 3.0
    driver.field("body_inertia")[1, arm] *= 3.0
    driver.set_const()
    heavy = mujoco.MjModel.from_xml_string(XML)
    heavy.body_mass[arm] *= 3.0
    heavy.body_inertia[arm] *= 3.0
    mujoco.mj_setConst(heavy, mujoco.MjData(heavy))
    for name in ("body_subtreemass", "body_invweight0", "dof_invweight0"):
        values = driver.field(name).numpy()
        np.testing.assert_allclose(values[1], getattr(heavy, name), rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(values[0], getattr(model, name), rtol=1e-5, err_msg=name)
    swing(driver, 5, (0.5, 0.5, 0.5))
    for world, its in ((0, model), (1, heavy), (2, model)):
        data = mujoco.MjData(its)
        data.ctrl[:] = 0.5
        mujoco.mj_step(its, data, nstep=20)
        np.testing.assert_allclose(driver.view("qpos")[world].numpy(), data.qpos, atol=1e-5)
    assert driver.write_data(1, mujoco.MjData(model)).body_mass[arm] == pytest.approx(heavy.body_mass[arm])


def test_fields_begin_as_the_models(model):
    driver = WarpDriver(model, 2, "cpu", **SIZES)
    names = ["geom_friction", "geom_size", "geom_aabb", "dof_damping", "actuator_gainprm", "opt.timestep", "jnt_range"]
    for name in names:
        owner = model.opt if name.startswith("opt.") else model
        expected = np.asarray(getattr(owner, name.removeprefix("opt.")), dtype=np.float32)
        field = driver.field(name)
        assert driver.field(name) is field
        np.testing.assert_array_equal(field.numpy(), np.stack([expected, expected]), err_msg=name)


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e20])
def test_a_world_that_diverges_goes_back(model, driver, bad):
    reference = WarpDriver(model, N, "cpu", **SIZES)
    for each in (driver, reference):
        for name in ("xpos", "qacc", "sensordata"):
            each.view(name)
        swing(each, 3)
        each.forward()
    before = driver.view("qpos")[1].clone()
    driver.view("qvel")[1, 0] = bad
    for each in (driver, reference):
        each.step(4)
    assert driver.diverged.tolist() == [False, True, False]
    assert torch.equal(driver.view("qpos")[1], before)
    for name in ("qpos", "qvel", "qacc", "xpos", "sensordata", "qacc_warmstart"):
        assert torch.isfinite(driver.view(name)).all(), name
        assert torch.equal(driver.view(name)[[0, 2]], reference.view(name)[[0, 2]]), name
    driver.step(4)
    assert not driver.diverged.any()
    assert driver.counters()["warnings"].tolist() == [0, 1, 0]
    driver.reset(at(1))
    assert driver.counters()["warnings"].tolist() == [0, 0, 0]


def test_contact_overflow_is_counted_until_reset(model):
    """Three balls on the floor and room for two contacts: all worlds share the pool, so all are told."""
    driver = WarpDriver(model, N, "cpu", nconmax=1, njmax=64)
    driver.view("qpos")[:, 3] = 0.09
    driver.step(1)
    assert driver.counters()["contact_overflow"].tolist() == [0, 0, 0]  # three contacts, room for three
    crowded = WarpDriver(mujoco.MjModel.from_xml_string(CROWD), N, "cpu", nconmax=1, njmax=64)
    crowded.step(2)
    crowded.forward()
    assert crowded.counters()["contact_overflow"].tolist() == [2, 2, 2]  # a step and a forward
    crowded.reset(at(0))
    assert crowded.counters()["contact_overflow"].tolist() == [0, 2, 2]
    assert crowded.counters()["constraint_overflow"].tolist() == [0, 0, 0]


def test_constraint_overflow_is_counted_in_its_world(model):
    driver = WarpDriver(model, N, "cpu", nconmax=16, njmax=2)
    driver.view("qpos")[:, 3] = torch.tensor([1.0, 0.09, 1.0])  # the ball on the floor makes four rows
    driver.step(1)
    assert driver.counters()["constraint_overflow"].tolist() == [0, 1, 0]
    assert driver.counters()["contact_overflow"].tolist() == [0, 0, 0]


# Sizes ----------------------------------------------------------------------------------------------------------------


def test_near_pairs_are_the_broad_phase(push):
    """Against the engine's own count, in random poses."""
    model, start = push
    driver = WarpDriver(model, 2, "cpu", nconmax=32, njmax=136)
    pairs, rng, counts = driver.engine_model.nxn_geom_pair_filtered.numpy(), np.random.default_rng(0), set()
    for _ in range(10):
        host = mujoco.MjData(model)
        host.qpos[:] = start.qpos + 0.1 * rng.standard_normal(model.nq)
        mujoco.mj_kinematics(model, host)
        driver.view("qpos").copy_(torch.from_numpy(host.qpos))
        driver.forward()
        count = near_pairs(model, host, pairs)
        assert 2 * count == driver._data.ncollision.numpy()[0]  # both worlds in one pool
        counts.add(count)
    assert len(counts) > 2


def test_sizes_are_measured_or_given(model, push):
    pairs = np.array([[0, 1], [0, 2], [1, 2]])
    sizes = measure_sizes(model, pairs)
    assert sizes == Sizes(nconmax=8, njmax=8)  # the ball's contact with the floor makes four rows; eight is the least
    assert measure_sizes(model, pairs) is sizes
    given = WarpDriver(model, 2, "cpu", njmax=40)
    assert given.sizes == Sizes(nconmax=8, njmax=40)
    driver = WarpDriver(push[0], 2, "cpu")
    driver.set_initial(push[1])
    assert 24 <= driver.sizes.nconmax <= 60  # the most met in 1600 env steps of held extreme actions: 24
    assert 119 <= driver.sizes.njmax <= 300  # 119


def test_sizes_foresee_a_table_beyond_a_random_walk():
    """A Fetch arm starts on 23 rows; when it is driven into the table they are 80."""
    model = mujoco.MjModel.from_xml_path(str(package_file("gymnasium_robotics", "envs/assets/fetch/reach.xml")))
    start, _, _ = rest(model, FETCH["FetchReach-v4"])
    driver = WarpDriver(model, 2, "cpu")
    driver.set_initial(start)
    assert 80 <= driver.sizes.njmax <= 300


# Records --------------------------------------------------------------------------------------------------------------


def test_snapshot_continues_alike(model, driver):
    driver.field("body_mass")[2] *= 2.0
    driver.set_const()
    swing(driver, 3)
    driver.view("mocap_pos")[0, 0, 0] = 4.0
    snapshot = driver.get_state()
    swing(driver, 4, (0.1, 0.9, -0.3))
    driver.forward()
    first = {name: driver.view(name).clone() for name in ("qpos", "qvel", "qacc_warmstart", "xpos", "time")}
    other = WarpDriver(model, N, "cpu", **SIZES)
    for each in (driver, other):
        each.set_state(snapshot)
        assert torch.equal(each.get_state()["state"], snapshot["state"])
        swing(each, 4, (0.1, 0.9, -0.3))
        each.forward()
        for name, expected in first.items():
            assert torch.equal(each.view(name), expected), name


def test_data_in_and_out(model, driver):
    swing(driver, 3)
    data = mujoco.MjData(model)
    assert driver.write_data(1, data) is driver.model
    np.testing.assert_array_equal(data.qpos, driver.view("qpos")[1].numpy())
    assert data.site_xpos[0, 0] == pytest.approx(0.5 * np.cos(data.qpos[0]))
    before = driver.get_state()["state"]
    driver.read_data(2, data)
    after = driver.get_state()["state"]
    assert torch.equal(after[2], before[1])
    assert torch.equal(after[:2], before[:2])


# Errors ---------------------------------------------------------------------------------------------------------------


def test_errors(model, driver, monkeypatch):
    with pytest.raises(UnknownNameError, match="Did you mean 'site_xpos'"):
        driver.view("site_xposs")
    with pytest.raises(UnknownNameError, match="qLD"):
        driver.view("qLD")  # MuJoCo's has another layout
    with pytest.raises(UnknownNameError, match=r"Did you mean 'opt\.gravity'"):
        driver.field("opt.gravty")
    with pytest.raises(ValueError, match="substeps >= 1, got 0"):
        driver.step(0)
    with pytest.raises(ValueError, match=r"mask of shape \(3,\)"):
        driver.reset(torch.tensor(True))
    with pytest.raises(ValueError, match="njmax >= 1, got 0"):
        WarpDriver(model, N, "cpu", njmax=0)
    monkeypatch.setitem(sys.modules, "mujoco_warp", None)
    with pytest.raises(ImportError, match=r"pip install cairngym\[gpu\]"):
        make_driver(model, N, "cpu", driver="warp")


@pytest.mark.parametrize(
    ("option", "said"), [('<option solver="PGS"/>', "mjSOL_PGS"), ('<option><flag sleep="enable"/></option>', "sleep")]
)
def test_a_model_it_cannot_run(option, said):
    model = mujoco.MjModel.from_xml_string(XML.replace('<option timestep="0.005"/>', option))
    with pytest.raises(ValueError, match=f"{said}.*driver='threads'"):
        WarpDriver(model, N, "cpu")


def test_flags_without_meaning_here_are_ignored(model):
    model = mujoco.MjModel.from_xml_string(XML)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    driver = make_driver(model, N, "cpu", driver="warp", deterministic=True, **SIZES)
    driver.step(1)
    assert driver.view("time").tolist() == pytest.approx([0.005] * N)
    driver.close()
