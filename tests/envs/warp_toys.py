"""A small model for the tests of the Warp driver: a pendulum on a motor, a ball that falls, a mocap body."""

import torch

N = 3
SIZES = {"nconmax": 16, "njmax": 64}
XML = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 .1"/>
    <body name="arm" pos="0 0 1.5">
      <joint name="hinge" type="hinge" axis="0 1 0" damping="0.1"/>
      <geom type="capsule" size=".03" fromto="0 0 0 .5 0 0"/>
      <site name="tip" pos=".5 0 0"/>
    </body>
    <body name="ball" pos="2 0 .3">
      <freejoint/>
      <geom type="sphere" size=".1"/>
    </body>
    <body name="hand" mocap="true" pos="0 3 1"/>
  </worldbody>
  <actuator><motor joint="hinge" ctrlrange="-1 1" ctrllimited="true"/></actuator>
  <sensor><framepos objtype="site" objname="tip"/></sensor>
</mujoco>
"""


def at(i, n=N):
    """A mask of world i alone."""
    mask = torch.zeros(n, dtype=torch.bool)
    mask[i] = True
    return mask


def swing(driver, steps, controls=(0.5, -0.5, 0.2)):
    """Let the motors work for `steps` steps of four substeps."""
    driver.view("ctrl").copy_(torch.tensor(controls)[:, None])
    for _ in range(steps):
        driver.step(4)
