"""The curling scene built of the Box2D package's bodies, joints and motors, which the kernels are held to."""

import math

import numpy as np

from cairngym.envs.manipulation.curling import scene

LIMITS = scene.ANGLE_LIMITS


class BoxScene:
    """One table; without sleep and without a search for times of impact, as `scene` says."""

    def __init__(self, box2d):
        self.world = world = box2d.b2World(gravity=(0, 0), doSleep=False)
        world.continuousPhysics = False
        half, thick = 0.5 * scene.TABLE_SIZE, 0.5 * scene.WALL_THICKNESS
        sides = ((-half, 0, thick, half), (0, half, half, thick), (half, 0, thick, half), (0, -half, half, thick))
        walls = [
            world.CreateStaticBody(position=(x, y), shapes=box2d.b2PolygonShape(box=(a, b))) for x, y, a, b in sides
        ]
        self.ball = world.CreateDynamicBody(
            position=scene.BALL_START, linearDamping=scene.BALL_DAMPING, angularDamping=scene.BALL_DAMPING,
            fixtures=box2d.b2FixtureDef(
                shape=box2d.b2CircleShape(radius=scene.BALL_RADIUS), density=scene.BALL_DENSITY,
                friction=scene.BALL_FRICTION, restitution=scene.BALL_RESTITUTION,
            ),
        )  # fmt: skip
        middle = 0.5 * scene.LINK_LENGTH
        (x, y), (outer_x, outer_y) = scene.JOINTS
        places = ((x, y + middle), (outer_x, outer_y - scene.OVERLAP + middle))
        self.links = [
            world.CreateDynamicBody(
                position=place,
                fixtures=box2d.b2FixtureDef(
                    shape=box2d.b2PolygonShape(box=(scene.LINK_HALF_WIDTH, middle)), density=density,
                    friction=scene.LINK_FRICTION, restitution=0.0,
                ),
            )
            for place, density in zip(places, scene.LINK_DENSITY, strict=True)
        ]  # fmt: skip
        self.joints = [
            world.CreateRevoluteJoint(
                bodyA=(walls[3], self.links[0])[j], bodyB=self.links[j], anchor=scene.JOINTS[j], enableLimit=True,
                lowerAngle=-LIMITS[j], upperAngle=LIMITS[j], enableMotor=True, maxMotorTorque=scene.MOTOR_TORQUE[j],
            )
            for j in range(2)
        ]  # fmt: skip

    def step(self, action):
        for joint, speed in zip(self.joints, action, strict=True):
            joint.motorSpeed = float(speed) * scene.MAX_SPEED
        self.world.Step(scene.TIME_STEP, scene.ITERATIONS, scene.ITERATIONS)

    def observation(self):
        joints = [joint.angle for joint in self.joints] + [joint.speed for joint in self.joints]
        return np.array([*self.ball.position, *joints])

    def poses(self):
        return np.array([value for body in (*self.links, self.ball) for value in (*body.position, body.angle)])

    def touches(self):
        """How many pairs of shapes touch, and whether a link is among them."""
        pairs = [(c.fixtureA.body, c.fixtureB.body) for c in self.world.contacts if c.touching]
        return len(pairs), any(body in self.links for pair in pairs for body in pair)

    def place(self, ball=None, velocity=(0.0, 0.0), spin=0.0):
        """Put the ball somewhere, on its way."""
        if ball is not None:
            self.ball.position = ball
        self.ball.linearVelocity, self.ball.angularVelocity = velocity, spin


def random_actions(worlds, steps, seed=0, hold=20):
    """Actions held for `hold` steps, a third of them at full speed, float32 `(steps, worlds, 2)`."""
    draw = np.random.default_rng(seed).uniform(-1.3, 1.3, (math.ceil(steps / hold), worlds, 2))
    return np.repeat(draw.clip(-1, 1), hold, axis=0)[:steps].astype(np.float32)
