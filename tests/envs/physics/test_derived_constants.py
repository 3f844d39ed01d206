"""Constants derived anew for other masses leave alone what was set by hand: Fetch's mocap welds, on both drivers."""

import mujoco
import pytest
import torch

from cairngym.envs.manipulation.fetch import rest
from cairngym.envs.manipulation.fetch_config import FETCH
from cairngym.envs.physics.driver import make_driver
from cairngym.envs.physics.models import constraints_set_by_hand, find_id, package_file

LOOP = """
<mujoco>
  <worldbody>
    <body name="a" pos="0 0 1"><joint name="a" axis="0 1 0"/><geom size=".1" mass="1"/></body>
    <body name="b" pos="1 0 1"><joint name="b" axis="0 1 0"/><geom size=".1" mass="1"/></body>
  </worldbody>
  <equality><connect body1="a" body2="b" anchor=".5 0 0"/><weld body1="a" body2="b" active="false"/></equality>
</mujoco>
"""


@pytest.fixture(scope="module")
def push():
    model = mujoco.MjModel.from_xml_path(str(package_file("gymnasium_robotics", "envs/assets/fetch/push.xml")))
    start, grip, _ = rest(model, FETCH["FetchPush-v4"])
    return model, start, grip


@pytest.mark.parametrize("driver", ["threads", "warp"])
def test_a_heavier_box_leaves_the_gripper_where_it_is(push, driver):
    model, start, grip = push
    options = {"nconmax": 60, "njmax": 300} if driver == "warp" else {"threads": 1}
    worlds = make_driver(model, 2, "cpu", driver=driver, **options)
    worlds.set_initial(start)
    worlds.reset(torch.ones(2, dtype=torch.bool))
    box = find_id(model, "body", "object0")
    mujoco.mj_forward(model, start)
    worlds.view("mocap_pos")[:] = torch.from_numpy(start.xpos[model.eq_obj2id[0]])  # hold the wrist where it is
    worlds.view("mocap_quat")[:] = torch.from_numpy(start.xquat[model.eq_obj2id[0]])
    worlds.field("body_mass")[1, box] *= 2.0
    worlds.field("body_inertia")[1, box] *= 2.0
    worlds.set_const(torch.tensor([False, True]))
    worlds.step(40)
    worlds.forward()
    place = worlds.view("site_xpos")[:, find_id(model, "site", "robot0:grip")].double()
    # A weld derived anew would hold the wrist 1.6 m away; after 0.08 s the gripper is dragged a third of a metre.
    torch.testing.assert_close(place, torch.from_numpy(grip).expand(2, 3), atol=5e-3, rtol=0)
    assert worlds.field("body_subtreemass")[1, box] == pytest.approx(2.0 * model.body_subtreemass[box])


def test_which_constraints_were_set_by_hand(push):
    assert constraints_set_by_hand(push[0]).tolist() == [0]
    model = mujoco.MjModel.from_xml_string(LOOP)
    assert constraints_set_by_hand(model).tolist() == []
    model.eq_data[1, 3] += 0.1  # where the weld holds the second body
    assert constraints_set_by_hand(model).tolist() == [1]


def test_constraints_that_follow_from_the_pose_still_do():
    model = mujoco.MjModel.from_xml_string(LOOP)
    worlds = make_driver(model, 2, "cpu", threads=1)
    worlds.field("body_pos")[1, find_id(model, "body", "b"), 0] = 2.0
    worlds.set_const()
    # The anchor is half a metre before body a, so it is now a metre and a half behind body b.
    assert worlds.field("eq_data")[:, 0, 3].tolist() == pytest.approx([-0.5, -1.5])
