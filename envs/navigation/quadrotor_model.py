"""A small quadrotor as a MuJoCo model: rotor thrust, an onboard body rate loop, and linear drag.

Mass, inertia, the greatest thrust, the rotors' places and the ratio of reaction torque to thrust are those of a
Crazyflie 2.0 as identified by Förster, "System Identification of the Crazyflie 2.0 Nano Quadrocopter", ETH Zurich,
2015; so is the drag, whose coefficients are taken at the rotor speed of hovering flight.
"""

from __future__ import annotations

import mujoco

from cairngym.envs.physics.models import require

MASS = 0.028
"""kg."""
INERTIA = (1.6572e-5, 1.6656e-5, 2.9262e-5)
"""About the axes ahead, left and up, kg m^2."""
GRAVITY = 9.81
"""m/s^2."""
HOVER = MASS * GRAVITY
"""Thrust that carries the weight, N."""
MAX_THRUST = 0.64
"""Of the four rotors together, N: 2.3 times the weight."""
ROTOR_PLACE = 0.0325
"""Distance of each rotor from the axes ahead and left, m."""
REACTION = 0.005965
"""Torque about the vertical axis for a rotor's thrust, m."""
DRAG = 0.0085
"""Force against the velocity, N s/m; 0.3 1/s of the mass."""
MOTOR_LAG = 0.03
"""Time constant with which thrust and rate commands take effect, s; assumed."""
RATE_GAINS = (4e-4, 4e-4, 4e-4)
"""Torque for each rad/s that a body rate is short of its command, N m s; with the inertia a lag of 40 ms, in yaw 73."""
MAX_RATES = (3.0, 3.0, 1.0)
"""Greatest commands of the body rates, rad/s."""
CAGE = 0.06
"""Radius of the sphere around the rotors that touches the floor, m."""
TIMESTEP = 0.005
"""Seconds of a physics step."""
START_HEIGHT = 1.0
"""Of the middle of the box, m."""
AXES = ("roll", "pitch", "yaw")
SLIDES = ("x", "y", "z")
ACTUATORS = ("thrust", *AXES)
ROTOR_COLOR = "0.85 0.3 0.2 1"


def quadrotor_spec() -> mujoco.MjSpec:
    """The quadrotor over a floor, hovering in the middle of the box at the start.

    Three slides and a ball joint have the positions, velocities and dynamics of a free joint, in the same order, and
    let the drag be a damping of the slides. Collective thrust and body rates are what flight controllers take, and
    what policies transfer best with (Kaufmann et al., "A Benchmark Comparison of Learned Control Policies for Agile
    Quadrotor Flight", ICRA 2022). The rate loop runs at every physics step: its actuators are servos that turn rate
    errors into torques, limited to what the rotors can give while they lift with half of their strength. A cage without
    friction meets the floor, so that a fall ends there without spinning the vehicle up.
    """
    return mujoco.MjSpec.from_string(_xml())


def quadrotor_model() -> mujoco.MjModel:
    """Compile `quadrotor_spec`."""
    model = quadrotor_spec().compile()
    needs = {"body": ("quadrotor",), "joint": (*SLIDES, "attitude"), "actuator": ACTUATORS, "site": ("imu",)}
    require(model, needs, "a quadrotor world")
    return model


def torque_limits() -> tuple[float, float, float]:
    """Greatest torques about the three axes, N m, of rotors that together lift with half of their strength."""
    half = MAX_THRUST / 2
    return half * ROTOR_PLACE, half * ROTOR_PLACE, half * REACTION


def _xml() -> str:
    slides = "\n".join(
        f'<joint name="{name}" type="slide" axis="{_unit(axis)}" damping="{DRAG}"/>' for axis, name in enumerate(SLIDES)
    )
    rotors = "\n".join(_rotor(k + 1, x, y) for k, (x, y) in enumerate(((1, -1), (-1, -1), (-1, 1), (1, 1))))
    servos = "\n".join(_servo(axis) for axis in range(3))
    return f"""
<mujoco model="quadrotor">
  <compiler angle="radian"/>
  <option timestep="{TIMESTEP}" integrator="implicitfast" gravity="0 0 {-GRAVITY}"/>
  <visual><global offwidth="640" offheight="480"/><headlight ambient="0.35 0.35 0.35"/></visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="0.6 0.75 0.9" rgb2="0.95 0.97 1" width="64" height="64"/>
    <texture name="grid" type="2d" builtin="checker" rgb1="0.75 0.77 0.8" rgb2="0.62 0.65 0.7" width="64" height="64"/>
    <material name="grid" texture="grid" texrepeat="4 4" texuniform="true"/>
  </asset>
  <worldbody>
    <light name="lamp" pos="0 0 4" dir="0 0 -1" cutoff="80" exponent="1" diffuse="0.6 0.6 0.6"/>
    <geom name="floor" type="plane" size="3 3 0.1" material="grid"/>
    <body name="quadrotor" simple="false" pos="0 0 {START_HEIGHT}">
      {slides}
      <joint name="attitude" type="ball"/>
      <inertial pos="0 0 0" mass="{MASS}" diaginertia="{" ".join(map(str, INERTIA))}"/>
      <site name="imu" size="0.005"/>
      <geom name="cage" type="sphere" size="{CAGE}" mass="0" condim="1" priority="1" group="3"/>
      <geom name="frame" type="box" size="0.0325 0.0325 0.01" mass="0" rgba="0.2 0.22 0.25 1"
            contype="0" conaffinity="0"/>
      <geom name="nose" type="box" pos="0.045 0 0" size="0.015 0.006 0.004" rgba="0.1 0.5 0.9 1"
            contype="0" conaffinity="0"/>
      {rotors}
    </body>
  </worldbody>
  <actuator>
    <general name="thrust" site="imu" gear="0 0 1 0 0 0" ctrlrange="0 {MAX_THRUST}"
             dyntype="filterexact" dynprm="{MOTOR_LAG}"/>
    {servos}
  </actuator>
  <sensor>
    <framepos name="position" objtype="site" objname="imu"/>
    <framequat name="attitude" objtype="site" objname="imu"/>
    <framelinvel name="velocity" objtype="site" objname="imu"/>
    <gyro name="gyro" site="imu"/>
    <accelerometer name="accelerometer" site="imu"/>
  </sensor>
</mujoco>"""


def _unit(axis: int) -> str:
    return " ".join("1" if k == axis else "0" for k in range(3))


def _rotor(number: int, x: int, y: int) -> str:
    """A disk for pictures, which neither weighs nor touches anything."""
    place = f"{x * ROTOR_PLACE} {y * ROTOR_PLACE} 0.014"
    return (
        f'<geom name="rotor_{number}" type="cylinder" size="0.023 0.002" pos="{place}" '
        f'rgba="{ROTOR_COLOR}" mass="0" contype="0" conaffinity="0"/>'
    )


def _servo(axis: int) -> str:
    """The loop that brings a body rate to its command."""
    gain, limit = RATE_GAINS[axis], torque_limits()[axis]
    return (
        f'<general name="{AXES[axis]}" site="imu" gear="0 0 0 {_unit(axis)}" '
        f'ctrlrange="{-MAX_RATES[axis]} {MAX_RATES[axis]}" forcerange="{-limit} {limit}" dyntype="filterexact" '
        f'dynprm="{MOTOR_LAG}" gainprm="{gain}" biastype="affine" biasprm="0 0 {-gain}"/>'
    )
