"""Delays and losses against commands shifted by hand; diverging steps; pushes and forces by what they move."""

import mujoco
import pytest
import torch
from toy_physics import FALLING, SPRING, arm, make_toy, randomized, run

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.physics.threads import ThreadsDriver
from cairngym.sim2real.randomization.commands import ActionDelays, PacketLosses
from cairngym.sim2real.randomization.config import ActionDelay, FieldEvent, PacketLoss, Push, RandomForce
from cairngym.sim2real.randomization.parts import Draws, Lives, Moment, PhysicsContext

S = 4


def actions(steps, num_envs, size, seed=0):
    return torch.rand(steps, num_envs, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def by_hand(commands, late, xml=SPRING):
    """Motion when command t of `(T, N, A)` holds from physics step t S + late[t] `(T, N)` until a later one arrives."""
    env = make_toy(xml, num_envs=commands.shape[1], substeps=1)
    env.reset()
    states = []
    for tau in range(S * len(commands)):
        told = torch.zeros_like(commands[0])
        for t in range(len(commands)):
            told = torch.where((t * S + late[t] <= tau)[:, None], commands[t], told)
        env.step(told)
        if (tau + 1) % S == 0:
            states.append(env.state["qpos"].clone())
    return torch.stack(states)


def delays_of(env):
    return next(part for part in env.unwrapped.world.disturbance.parts if isinstance(part, ActionDelays))


@pytest.mark.parametrize("delay", [0, 1, 3, 4, 5, 11])
def test_a_delay_is_a_shift_by_physics_steps(delay):
    env = randomized(make_toy(SPRING, num_envs=3, substeps=S), ActionDelay(low=delay, high=delay))
    env.reset()
    commands = actions(12, 3, 1)
    want = by_hand(commands, torch.full((12, 3), delay))
    assert torch.equal(run(env, 12, lambda t: commands[t])["qpos"], want)


@pytest.mark.parametrize("mode", ["startup", "reset", "interval"])
def test_delays_of_several_worlds_at_once(mode):
    n, steps = 9, 12
    env = randomized(make_toy(SPRING, num_envs=n, substeps=S), ActionDelay(low=1, high=10, mode=mode))
    env.reset()
    commands = actions(steps, n, 1)
    part, seen, sent = delays_of(env), [], ActionDelays.sent
    part.sent = lambda *given: (sent(part, *given), seen.append(part._delays.sum(0).clone()))[0]
    got = run(env, steps, lambda t: commands[t])["qpos"]
    late = torch.stack(seen)
    assert late.min() >= 1
    assert late.max() <= 10
    assert len(set(late[0].tolist())) > 3
    assert torch.equal(late[0], late[-1]) == (mode != "interval")
    assert torch.equal(got, by_hand(commands, late))
    env.reset()
    env.step(commands[0])
    assert torch.equal(seen[-1], late[0]) == (mode == "startup"), "delays of another episode"


def test_delays_add_up_and_losses_come_first():
    env = randomized(
        make_toy(SPRING, num_envs=2, substeps=S), ActionDelay(low=2, high=2, mode="startup"), ActionDelay(low=3, high=3)
    )
    env.reset()
    commands = actions(8, 2, 1)
    assert torch.equal(run(env, 8, lambda t: commands[t])["qpos"], by_hand(commands, torch.full((8, 2), 5)))


def test_a_new_episode_knows_nothing_of_old_commands():
    env = randomized(make_toy(SPRING, num_envs=2, substeps=S), ActionDelay(low=6, high=6))
    env.reset()
    commands = actions(8, 2, 1)
    first = run(env, 8, lambda t: commands[t])["qpos"]
    env.reset()
    assert torch.equal(run(env, 8, lambda t: commands[t])["qpos"], first)


def test_the_written_command_stands_again_after_the_step():
    env = randomized(make_toy(SPRING, num_envs=3, substeps=S), ActionDelay(low=0, high=9))
    env.reset()
    for command in actions(5, 3, 1):
        env.step(command)
        assert torch.equal(env.world.driver.view("ctrl"), command.double())


def test_nothing_is_split_where_no_delay_ends_within_a_step():
    env = randomized(make_toy(SPRING, num_envs=3, substeps=S), ActionDelay(low=8, high=8), FieldEvent(
        field="body_mass", low=1.0, high=1.0))  # fmt: skip
    env.reset()
    driver, calls = env.world.driver, []
    step = driver.step
    driver.step = lambda substeps: (calls.append(substeps), step(substeps))[1]
    run(env, 5)
    assert calls == [S] * 5
    plain = randomized(make_toy(SPRING))
    assert plain.world.disturbance is None


def test_the_gripper_of_fetch_follows_late():
    """The mocap body rests at the wrist until the first command arrives, and then follows those of before."""
    env = randomized(cairngym.make("FetchReach-v4", num_envs=2), ActionDelay(low=25, high=25))
    env.reset(seed=3)
    world, driver = env.world, env.world.driver
    other = ThreadsDriver(driver.model, 2)
    other.batch.state[...] = driver.batch.state
    mocap, wrist = driver.view("mocap_pos"), world._wrist
    start = driver.view("xpos")[:, wrist].clone()
    told = [(start.unsqueeze(1), driver.view("xquat")[:, wrist : wrist + 1].clone())] * 2
    for command in actions(6, 2, 4):
        before = driver.view("xpos")[:, wrist].clone()
        env.step(command)
        assert torch.equal(mocap[:, 0], before + 0.05 * command[:, :3])
        told.append((mocap.clone(), driver.view("mocap_quat").clone()))
        for (position, rotation), substeps in ((told[-3], 5), (told[-2], 15)):
            other.view("mocap_pos").copy_(position)
            other.view("mocap_quat").copy_(rotation)
            other.step(substeps)
        other.view("qpos")[:, world._finger_qpos] = 0.0
        assert torch.equal(other.view("qpos"), driver.view("qpos"))
        if len(told) == 3:
            assert (env.state["gripper_position"] - start).norm(dim=1).max() < 0.1
            assert torch.allclose(driver.view("xpos")[:, wrist], start, atol=1e-3), "the arm does not rest"


def test_the_rest_pose_satisfies_a_weld_with_an_offset():
    xml = """<mujoco><option gravity="0 0 0"/><worldbody>
    <body name="hand" mocap="true" pos="0.3 -0.2 0.9" quat="0.9 0.1 0.3 0.2"/>
    <body name="tool" pos="0.1 0.2 0.5" quat="0.7 0.2 -0.5 0.1"><freejoint/><geom size="0.1" mass="1"/></body>
    </worldbody><equality>
    <weld body1="{}" body2="{}" anchor="0.1 0.2 0.05" relpose="0.2 0.1 -0.1 0.8 0.1 0.4 -0.2"/></equality></mujoco>"""
    for pair in (("hand", "tool"), ("tool", "hand")):
        env = randomized(make_toy(xml.format(*pair)), ActionDelay(low=400, high=400))
        env.reset()
        start = env.state["qpos"].clone()
        run(env, 50)
        assert torch.allclose(env.state["qpos"], start, atol=1e-6), pair


# Losses ---------------------------------------------------------------------------------------------------------------


def test_lost_commands_leave_the_last_one():
    n = 4000
    context = PhysicsContext(make_toy(SPRING, num_envs=n).world.driver, S, 0.001)
    lives = Lives(5, torch.arange(n), None)
    part = PacketLosses([PacketLoss(probability=0.3)], [Draws(0, lambda: lives)], context)
    rest = torch.full((n, 1), -7.0)
    part.placed(torch.ones(n, dtype=torch.bool), {"ctrl": rest})
    last, number = rest, torch.zeros(n, dtype=torch.int64)
    for t in range(5):
        new = torch.full((n, 1), float(t))
        command = {"ctrl": new}
        part.sent(Moment(number, torch.full((n,), t)), command)
        lost = command["ctrl"] != new
        assert torch.equal(command["ctrl"], torch.where(lost, last, new))
        assert abs(float(lost.float().mean()) - 0.3) < 0.03
        last = command["ctrl"]


@pytest.mark.parametrize(("probability", "heard"), [(0.0, 1.0), (1.0, 0.0)])
def test_all_or_nothing_lost(probability, heard):
    env = randomized(make_toy(SPRING, num_envs=3, substeps=S), PacketLoss(probability=probability))
    env.reset()
    commands = actions(8, 3, 1)
    got = run(env, 8, lambda t: commands[t])["qpos"]
    assert torch.equal(got, by_hand(heard * commands, torch.zeros(8, 3)))


# Divergence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", [(), (ActionDelay(low=0, high=9),)], ids=["whole", "split"])
def test_a_step_that_diverges_counts_once_and_is_undone(events):
    toy = make_toy(SPRING, num_envs=3, substeps=S, start={"qpos": [0.3]}, autoreset_mode="Disabled")
    env = randomized(toy, *events)
    stiffness = env.world.driver.field("jnt_stiffness")
    env.reset()
    commands = actions(6, 3, 1)
    run(env, 3, lambda t: commands[t])
    before, kept = env.state["qpos"].clone(), stiffness.clone()
    stiffness[1] = -1e14
    _, _, _, truncated, info = env.step(commands[3])
    assert info["physics_error"].tolist() == truncated.tolist() == [False, True, False]
    assert info["physics"]["warnings"].tolist() == [0, 1, 0]
    assert torch.equal(env.state["qpos"][1], before[1])
    assert not torch.equal(env.state["qpos"][0], before[0])
    stiffness.copy_(kept)
    info = env.step(commands[4])[4]
    assert not info["physics_error"].any()
    assert info["physics"]["warnings"].tolist() == [0, 1, 0]


def test_a_command_that_is_not_finite_does_no_more_than_without_a_delay():
    env = randomized(make_toy(SPRING, num_envs=2, substeps=S), ActionDelay(low=1, high=1))
    env.reset()
    run(env, 2)
    env.world.driver.view("qvel")[0] = float("nan")
    info = env.step(torch.zeros(2, 1))[4]
    assert info["physics_error"].tolist() == [True, False]
    assert torch.isfinite(env.state["qpos"]).all()


# Pushes and forces ----------------------------------------------------------------------------------------------------

FLOATING = FALLING.replace("<option ", '<option gravity="0 0 0" ')


def test_pushes_are_jumps_of_the_velocity():
    push = Push(velocity=(0.5, 1.0), every_s=(0.05, 0.1), bodies=("ball",))
    env = randomized(make_toy(FLOATING, num_envs=8), push)
    env.reset()
    velocity = run(env, 200)["qvel"]
    jumps = velocity[1:] - velocity[:-1]
    size = jumps[..., :3].norm(dim=-1)
    struck = size > 1e-9
    assert not velocity[0].any(), "a push came before its time"
    assert ((size[struck] >= 0.5 - 1e-9) & (size[struck] <= 1.0 + 1e-9)).all()
    assert (velocity[..., 2:].abs() < 1e-10).all(), "a horizontal push lifts or turns"
    assert (jumps[..., :2][struck] > 0).float().mean() > 0.3
    assert (jumps[..., :2][struck] < 0).float().mean() > 0.3
    for world in range(8):
        gaps = struck[:, world].nonzero()[:, 0].diff() * 0.008
        assert gaps.min() >= 0.05 - 1e-9
        assert gaps.max() <= 0.1 + 0.008


def test_pushes_on_joints_have_the_size_drawn():
    push = Push(velocity=(2.0, 2.0), every_s=(0.02, 0.02), joints=("*",))
    xml = arm().replace("<option ", '<option gravity="0 0 0" ')
    env = randomized(make_toy(xml, num_envs=4), push)
    plain = make_toy(xml, num_envs=4)
    env.reset(), plain.reset()
    qvel = env.world.driver.view("qvel")
    step, struck = env.world.driver.step, []
    env.world.driver.step = lambda substeps: (struck.append(qvel.clone()), step(substeps))[1]
    run(env, 4)
    free = run(plain, 2)["qvel"]
    assert torch.equal(struck[1], free[0]), "a push came before its time"
    assert torch.equal(struck[2], free[1]), "a push came before its time"
    assert torch.allclose(struck[3].norm(dim=1), torch.full((4,), 2.0).double(), atol=1e-2)


def test_random_forces_accelerate_as_they_should():
    force = RandomForce(force=(1.0, 3.0), every_s=(0.04, 0.04), bodies=("ball",))
    env = randomized(make_toy(FLOATING, num_envs=6), force)
    env.reset()
    mass = float(mujoco.MjModel.from_xml_string(FLOATING).body_mass[1])
    velocity = run(env, 50)["qvel"][..., :3]
    pull = (velocity[1:] - velocity[:-1]) / 0.008 * mass
    size = pull.norm(dim=-1)
    assert ((size >= 1.0 - 1e-9) & (size <= 3.0 + 1e-9)).all()
    changes = ((pull[1:] - pull[:-1]).norm(dim=-1) > 1e-9).nonzero()
    assert set((changes[:, 0] % 5).tolist()) == {3}, "forces hold for five steps each"
    assert not torch.allclose(size[0], size[10])


def test_random_forces_on_joints_and_by_weight():
    push = RandomForce(force=(4.0, 4.0), every_s=(0.0, 0.0), joints=("slide",))
    env = randomized(make_toy(SPRING, num_envs=8), push)
    env.reset()
    env.step(torch.zeros(8, 1))
    applied = env.world.driver.view("qfrc_applied")
    assert set(applied[:, 0].tolist()) == {-4.0, 4.0}
    first = applied.clone()
    env.step(torch.zeros(8, 1))
    assert not torch.equal(applied, first)
    weighed = RandomForce(force=(0.5, 0.5), every_s=(1.0, 1.0), bodies=("*",), of_weight=True)
    env = randomized(make_toy(SPRING, num_envs=2), weighed, weighed)
    env.reset()
    env.step(torch.zeros(2, 1))
    assert (env.world.driver.view("xfrc_applied")[:, 1, :3].norm(dim=1) <= 2.0 * 9.81 + 1e-9).all()
    assert (env.world.driver.view("xfrc_applied")[:, 1, :3].norm(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("event", "error", "words"),
    [
        (Push(velocity=(0, 1), every_s=(1, 2), bodies=("cart",)), ValueError, "free joint"),
        (Push(velocity=(0, 1), every_s=(1, 2), bodies=("card",)), UnknownNameError, "'cart'"),
        (RandomForce(force=(0, 1), every_s=(1, 2), joints=("slid",)), UnknownNameError, "'slide'"),
    ],
)
def test_what_can_not_be_struck_is_refused(event, error, words):
    with pytest.raises(error, match=words):
        randomized(make_toy(SPRING), event)


def test_free_joints_are_struck_by_their_body():
    with pytest.raises(ValueError, match="Name its body"):
        randomized(make_toy(FALLING), Push(velocity=(0, 1), every_s=(1, 2), joints=("free",)))


@pytest.mark.slow
def test_steps_are_split_alike_on_warp():
    events = (
        FieldEvent(field="body_mass", low=0.5, high=2.0),
        ActionDelay(low=0, high=9),
        Push(joints=("*",), velocity=(0.0, 0.5), every_s=(0.01, 0.02)),
    )
    envs = [
        randomized(make_toy(SPRING, num_envs=3, driver={"driver": driver}), *events) for driver in ("threads", "warp")
    ]
    commands, moved = actions(20, 3, 1), []
    for env in envs:
        env.reset()
        moved.append(run(env, 20, lambda t: commands[t])["qpos"])
    assert float(moved[0].abs().max()) > 0.01
    assert torch.allclose(*moved, rtol=0, atol=1e-6)
    snapshot = envs[1].get_state()
    again = run(envs[1], 3, lambda t: commands[t])["qpos"]
    envs[1].set_state(snapshot)
    assert torch.equal(run(envs[1], 3, lambda t: commands[t])["qpos"], again)
