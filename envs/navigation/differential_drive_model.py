"""A robot on two driven wheels and a caster as a MuJoCo model.

Wheel radius, track, mass and greatest speed are those of a TurtleBot3 Burger (ROBOTIS e-manual: 33 mm, 160 mm, 1 kg,
0.22 m/s). The servos' gain, the gears' inertia, damping and friction are assumed; they give its wheels a lag of 0.05 s.
"""

from __future__ import annotations

import mujoco

from cairngym.envs.physics.models import require

WHEEL_RADIUS = 0.033
"""m."""
TRACK = 0.16
"""Distance between the wheels, m."""
CHASSIS_MASS, WHEEL_MASS = 0.94, 0.03
"""kg."""
MAX_WHEEL_SPEED = 0.22 / WHEEL_RADIUS
"""Greatest command, rad/s."""
SERVO_GAIN = 0.05
"""Torque for each rad/s that a wheel's speed is short of its command, N m s."""
MAX_TORQUE = 1.4
"""Of a motor, N m: the stall torque of a Dynamixel XL430-W250."""
ARMATURE, DAMPING, FRICTION = 0.002, 0.002, 0.01
"""Of a wheel's joint: kg m^2, N m s and N m."""
TIMESTEP = 0.005
"""Seconds of a physics step."""
WHEELS = ("left_wheel", "right_wheel")
CASTER_RADIUS, CASTER_PLACE = 0.015, 0.07
"""Radius, and distance behind the axle, m."""


def differential_drive_spec() -> mujoco.MjSpec:
    """The robot on a floor.

    Tires are spheres, which touch the floor in one point and so roll without scrubbing; the caster is a sphere without
    friction. Both have priority over the floor in what they touch it with, so that their own friction counts.
    """
    return mujoco.MjSpec.from_string(_xml())


def differential_drive_model() -> mujoco.MjModel:
    """Compile `differential_drive_spec`."""
    model = differential_drive_spec().compile()
    needs = {"body": ("chassis", *WHEELS), "joint": ("root", *WHEELS), "actuator": WHEELS, "site": ("imu",)}
    require(model, needs, "a differential drive world")
    return model


def _xml() -> str:
    left, right = (_wheel(name, side * TRACK / 2) for name, side in zip(WHEELS, (1, -1), strict=True))
    return f"""
<mujoco model="differential_drive">
  <compiler angle="radian"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast" cone="elliptic" impratio="10"/>
  <visual><global offwidth="640" offheight="480"/><headlight ambient="0.35 0.35 0.35"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.6 0.75 0.9" rgb2="0.95 0.97 1" width="64" height="64"/>
    <texture name="grid" type="2d" builtin="checker" rgb1="0.75 0.77 0.8" rgb2="0.62 0.65 0.7" width="64" height="64"/>
    <material name="grid" texture="grid" texrepeat="4 4" texuniform="true"/>
  </asset>
  <worldbody>
    <light name="lamp" pos="0 0 4" dir="0 0 -1" cutoff="80" exponent="1" diffuse="0.6 0.6 0.6"/>
    <geom name="floor" type="plane" size="3 3 0.1" material="grid"/>
    <body name="chassis" simple="false" pos="0 0 {WHEEL_RADIUS}">
      <freejoint name="root"/>
      <site name="imu" size="0.005"/>
      <geom name="chassis" type="cylinder" size="0.07 0.03" pos="-0.03 0 0.03" mass="{CHASSIS_MASS}"
            rgba="0.2 0.22 0.25 1" contype="0" conaffinity="0"/>
      <geom name="nose" type="box" size="0.02 0.008 0.008" pos="0.045 0 0.062" mass="0" rgba="0.1 0.5 0.9 1"
            contype="0" conaffinity="0"/>
      <geom name="caster" type="sphere" size="{CASTER_RADIUS}" pos="{-CASTER_PLACE} 0 {CASTER_RADIUS - WHEEL_RADIUS}"
            mass="0" condim="1" priority="1" solref="0.01 1" rgba="0.85 0.3 0.2 1"/>
      {left}
      {right}
    </body>
  </worldbody>
  <actuator>
    {_servo(WHEELS[0])}
    {_servo(WHEELS[1])}
  </actuator>
  <sensor>
    {_encoder(WHEELS[0])}
    {_encoder(WHEELS[1])}
    <framepos name="position" objtype="site" objname="imu"/>
    <framequat name="attitude" objtype="site" objname="imu"/>
    <framelinvel name="velocity" objtype="site" objname="imu"/>
    <gyro name="gyro" site="imu"/>
  </sensor>
</mujoco>"""


def _wheel(name: str, y: float) -> str:
    tire = name.replace("wheel", "tire")
    return f"""
      <body name="{name}" simple="false" pos="0 {y} 0">
        <joint name="{name}" type="hinge" axis="0 1 0" armature="{ARMATURE}" damping="{DAMPING}"
               frictionloss="{FRICTION}"/>
        <geom name="{name}" type="cylinder" size="{WHEEL_RADIUS} 0.009" euler="1.5707963 0 0" mass="{WHEEL_MASS}"
              rgba="0.1 0.1 0.1 1" contype="0" conaffinity="0"/>
        <geom name="{name}_spoke" type="box" size="0.025 0.0095 0.003" mass="0" rgba="0.8 0.8 0.8 1"
              contype="0" conaffinity="0"/>
        <geom name="{tire}" type="sphere" size="{WHEEL_RADIUS}" mass="0" priority="1" friction="1 0.005 0.0001"
              solref="0.01 1" group="3"/>
      </body>"""


def _servo(name: str) -> str:
    return (
        f'<velocity name="{name}" joint="{name}" kv="{SERVO_GAIN}" '
        f'ctrlrange="{-MAX_WHEEL_SPEED} {MAX_WHEEL_SPEED}" forcerange="{-MAX_TORQUE} {MAX_TORQUE}"/>'
    )


def _encoder(name: str) -> str:
    return f'<jointpos name="{name}_angle" joint="{name}"/>\n    <jointvel name="{name}_speed" joint="{name}"/>'
