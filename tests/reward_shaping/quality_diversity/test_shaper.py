"""The shaper "novelty" against a loop over envs and lists, at both kinds of ends and in every reset mode."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

import cairngym
from cairngym.agents.checkpoint import to_plain
from cairngym.agents.ppo import PPO
from cairngym.agents.ppo_config import PPOConfig
from cairngym.envs.core import Transition
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.quality_diversity.shaper import PATIENCE, NoveltyShaper

PLACE = BehaviorDescriptor(
    entries=(("position", 1), ("position", 0)), low=(-1.0, -1.0), high=(1.0, 1.0), cells=(10, 10)
)


def toy(count=4, descriptor=PLACE, **options):
    """A shaper bound to an env that measures positions, without worlds."""
    spec = {"position": SimpleNamespace(shape=(2,)), "speed": SimpleNamespace(shape=())}
    env = SimpleNamespace(num_envs=count, device=torch.device("cpu"), state_spec=spec)
    env.unwrapped = SimpleNamespace(task=SimpleNamespace(descriptor=descriptor))
    shaper = NoveltyShaper(**options)
    shaper.bind(env)
    return shaper


def arrive(position, terminated=None, valid=None, **state):
    zero = torch.zeros(len(position))
    ended = torch.ones_like(zero).bool() if terminated is None else torch.tensor(terminated)
    return Transition(
        obs=zero, state={}, action=zero, next_obs=zero, next_state={"position": position, **state}, reward=zero,
        terminated=ended, truncated=zero.bool(), success=zero.bool(), env_id=None, valid=valid,
    )  # fmt: skip


def chain(length=10, count=5, mode=AutoresetMode.SAME_STEP, **options):
    env = cairngym.make("Chain-N10-v0", num_envs=count, length=length, autoreset_mode=mode)
    env.task.descriptor = BehaviorDescriptor(entries=(("node", 0),), low=(0,), high=(length,), cells=(length,))
    return ShapedEnv(env, [Term(name="novelty", shaper=NoveltyShaper(**options), weight=0.5)])


def distance(node, archive, k):
    return float(np.sort(np.abs(archive - node))[:k].mean()) if len(archive) else 0.0


@pytest.mark.parametrize("at", ["end", "step"])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_bonuses_and_the_archive_equal_a_loop(at, mode):
    env = chain(mode=mode, at=at, k=3, additions=4, capacity=20)
    env.unwrapped.task.horizon = 12
    shaper, draws = env.terms[0].shaper, torch.Generator().manual_seed(0)
    env.reset(seed=0)
    archive, shown, novelties, scale, over = np.zeros(0), [], [], math.inf, [False] * 5
    paid = unreal = 0
    for step in range(200):
        action = (torch.rand(5, generator=draws) < 0.75).long()
        _, reward, terminated, truncated, info = env.step(action)
        done, bonus = (terminated | truncated).tolist(), info["reward_terms"]["novelty"]
        for i, node in enumerate(info["final_state"]["node"].tolist()):
            expected = 0.0
            real = not over[i]
            unreal += not real
            if real and (done[i] or at == "step"):
                shown.append(node)
                if len(archive):
                    novelties.append(distance(node, archive, 3))
                    expected = novelties[-1] / scale
            assert float(bonus[i]) == pytest.approx(expected, rel=1e-5)
            assert float(reward[i]) == pytest.approx(float(info["task_reward"][i]) + 0.5 * expected, rel=1e-5)
            paid += expected > 0
            over[i] = done[i] and mode is not AutoresetMode.SAME_STEP
        if mode is AutoresetMode.DISABLED and step % 7 == 6:
            env.reset(options={"reset_mask": torch.tensor(over)})
            over = [False] * 5
        if mode is AutoresetMode.NEXT_STEP:
            over = done
        if step % 30 == 29:
            metrics = env.update_shapers()
            grown = shaper.archive.descriptors[:, 0].numpy().copy()
            if len(grown) < 20:  # none made room yet
                new = grown[len(archive) :].tolist()
                assert grown[: len(archive)].tolist() == archive.tolist()
                assert len(new) == min(4, len(shown))
                assert all(new.count(node) <= shown.count(node) for node in new)
            archive, shown = grown, []
            scale = np.mean(novelties) if any(novelties) else math.inf
            assert metrics["novelty/archive"] == len(archive) <= 20
            assert metrics["novelty/novelty"] == pytest.approx(np.mean(novelties or [0.0]))
    assert len(archive) == 20
    assert paid > 15
    assert (unreal > 10) == (mode is not AutoresetMode.SAME_STEP)


def test_what_is_added_is_drawn_evenly_whenever_it_was_shown():
    counts = np.zeros(60)
    shaper = toy(count=6, additions=5, capacity=None, k=1)
    order = torch.arange(60.0).view(10, 6) / 60
    for _ in range(120):
        before = len(shaper.archive)
        for row in order:
            for ends in (True, False):  # rows that end nothing are never drawn
                place = torch.stack((row if ends else row - 1.0, row * 0), dim=1)
                shaper.observe(arrive(place, terminated=[ends] * 6))
        shaper.update()
        new = shaper.archive.descriptors[before:, 1]
        assert len(new.unique()) == 5, "without replacement"
        counts[(new * 60).round().int().numpy()] += 1
    assert counts.sum() == 120 * 5
    np.testing.assert_allclose(counts, 10, atol=4 * math.sqrt(10))


def test_what_lies_outside_is_clipped_and_counted():
    shaper = toy(count=4, scale=1.0, k=1)
    inside = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 9.0], [math.inf, 0.0]])
    shaper.observe(arrive(inside, terminated=[True, True, True, False]))
    assert shaper.update() == {"archive": 3.0, "novelty": 0.0, "outside": pytest.approx(1 / 3)}
    assert shaper.archive.descriptors.unique(dim=0).tolist() == [[1.0, 0.0]], "in the order of the entries"
    assert shaper.shape(arrive(torch.tensor([[0.0, 5.0], [-7.0, 1.0], [0.0, 0.5]]))).tolist() == [0.0, 1.0, 0.5]


def test_only_update_changes_the_bonus_and_fields_can_be_named():
    shaper = toy(fields=["speed", "position"], scale=2.0, k=1, descriptor=None)
    assert shaper.requires == ("speed", "position")
    seen = arrive(torch.tensor([[3.0, 0.0]]), speed=torch.tensor([4.0]))
    other = arrive(torch.tensor([[0.0, 0.0]]), speed=torch.tensor([0.0]))
    shaper.observe(seen)
    assert shaper.shape(other).tolist() == [0.0], "nothing archived yet"
    shaper.update()
    for _ in range(3):
        assert shaper.shape(other).tolist() == shaper.shape(other).tolist() == [2.5]
        shaper.observe(other)
    shaper.update()
    assert shaper.shape(other).tolist() == [0.0]
    assert shaper.shape(seen).tolist() == [0.0]
    assert (shaper.memory, shaper.stream, shaper.policy_invariant) == (False, "intrinsic", False)


def test_nothing_is_paid_before_there_is_a_scale():
    shaper = toy(k=1)
    here, there = (arrive(torch.tensor([[value, 0.0]] * 4)) for value in (0.0, 0.5))
    shaper.observe(here)
    shaper.update()
    assert shaper.shape(there).tolist() == [0.0] * 4
    shaper.observe(there)
    shaper.observe(here)
    assert shaper.update()["novelty"] == 0.25
    assert shaper.shape(arrive(torch.tensor([[-0.5, 0.0]]))).tolist() == [2.0]


@pytest.mark.parametrize("at", ["end", "step"])
def test_a_copy_goes_on_bit_for_bit(at):
    options = {"at": at, "k": 3, "additions": 4, "capacity": 12}
    actions = torch.randint(2, (200, 5), generator=torch.Generator().manual_seed(0))

    def go(env, steps):
        paid = []
        for step in steps:
            paid.append(env.step(actions[step])[1])
            if step % 25 == 24:
                env.update_shapers()
        return torch.stack(paid)

    env = chain(**options)
    env.reset(seed=0)
    go(env, range(110))
    snapshot = to_plain(env.get_state())
    rest = go(env, range(110, 200))
    other = chain(**options, seed=3)
    torch.manual_seed(9)
    other.reset(seed=4)
    go(other, range(40))
    for _ in range(2):
        other.set_state(snapshot)
        assert torch.equal(go(other, range(110, 200)), rest)
    assert rest.max() > 0.1
    assert torch.equal(env.terms[0].shaper.archive.descriptors, other.terms[0].shaper.archive.descriptors)


def test_an_archive_that_stays_empty_says_why():
    shaper = toy()
    going = arrive(torch.zeros(4, 2), terminated=[False] * 4)
    for _ in range(PATIENCE - 1):
        shaper.observe(going)
        assert shaper.update() == {"archive": 0.0, "novelty": 0.0, "outside": 0.0}
    with pytest.warns(UserWarning, match="no episode has ended so far"):
        shaper.update()
    shaper = toy(at="step")
    for _ in range(PATIENCE - 1):
        shaper.update()
    with pytest.warns(UserWarning, match="no step was observed"):
        shaper.update()


def test_constant_states_one_env_and_episodes_of_one_step():
    for options in ({"at": "end"}, {"at": "step"}):
        shaper = toy(count=1, **options)
        for _ in range(40):
            shaper.observe(arrive(torch.full((1, 2), 0.25)))
            assert shaper.shape(arrive(torch.full((1, 2), 0.25))).tolist() == [0.0]
            shaper.update()
        assert shaper.shape(arrive(torch.full((1, 2), 0.5))).tolist() == [0.0], "there is no scale yet"


def test_bad_input():
    with pytest.raises(ValueError, match=r"declares a behavior descriptor, or fields=.*It measures: position, speed"):
        toy(descriptor=None)
    with pytest.raises(
        ValueError, match=r"'novelty' reads the state fields \['spot'\], which this env does not measure"
    ):
        chain(fields="spot")
    wrong = BehaviorDescriptor(entries=(("position", 2),), low=(0,), high=(1,), cells=(1,))
    with pytest.raises(ValueError, match=r"got 'position'\[2\]"):
        toy(descriptor=wrong)
    for options, message in [
        ({"at": "start"}, "'end' or 'step'"),
        ({"stream": "main"}, "'task' or 'intrinsic'"),
        ({"k": 0}, "at least one"),
        ({"additions": 6, "capacity": 5}, "capacity of at least additions"),
        ({"scale": 0.0}, "finite number above zero"),
        ({"scale": "mean"}, "'running'"),
    ]:
        with pytest.raises(ValueError, match=message):
            NoveltyShaper(**options)
    shaper = toy()
    shaper.observe(arrive(torch.full((4, 2), math.nan)))
    with pytest.raises(ValueError, match="finite descriptors, got NaN"):
        shaper.update()


def test_a_gradient_learner_goes_where_it_would_not_go():
    reached = {}
    for weight in (0.0, 1.0):
        env = chain(length=40, count=64, k=5)
        env = ShapedEnv(env.env, [Term(name="novelty", shaper=env.terms[0].shaper, weight=weight)])
        config = PPOConfig(rollout_steps=32, minibatch=512, hidden=(32,), learning_rate=1e-2, epochs=2)
        PPO(env, config).learn(env, 25_000)
        reached[weight] = float(env.state["node"].float().mean())
    assert reached[1.0] > 2 * reached[0.0]
