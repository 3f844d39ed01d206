import pytest
import torch
from gymnasium.vector import AutoresetMode

from cairngym.envs.core import TensorEnv
from cairngym.envs.registry import make
from cairngym.envs.tabular import TabularTask, TabularWorld
from cairngym.envs.wrapper import TensorWrapper
from cairngym.reward_shaping.composition import SumShaper
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term
from cairngym.reward_shaping.registry import shape


class Recorder(Shaper):
    """Pays a constant and remembers what it was given."""

    def __init__(self, value=1.0, stream="task", requires=("node",)):
        self.value, self.stream, self.requires = value, stream, requires
        self.seen, self.masks, self.updates = [], [], 0

    def shape(self, transition):
        return torch.full((len(transition),), self.value)

    def observe(self, transition):
        self.seen.append(transition)

    def begin(self, mask):
        self.masks.append(mask.clone())

    def update(self):
        self.updates += 1
        return {"seen": float(len(self.seen))}


class Shift(TensorWrapper):
    """Shows the observation plus one and swaps the two actions."""

    def observation(self, obs, state):
        return obs + 1

    def action(self, action):
        return 1 - torch.as_tensor(action)


def short_chain(num_envs=3, horizon=2, **options):
    """A chain of three states whose episodes end after `horizon` steps."""
    moves = torch.zeros(3, 2, 3)
    for node in range(3):
        moves[node, 0, max(node - 1, 0)] = moves[node, 1, min(node + 1, 2)] = 1.0
    world = TabularWorld(moves, torch.tensor([1.0, 0.0, 0.0]), num_envs, "cpu")
    return TensorEnv(world, TabularTask(3, (2,), horizon=horizon, potential=torch.tensor([0.0, 0.5, 1.0])), **options)


def test_reward_is_task_plus_weighted_terms_and_the_statistics_stay_the_tasks():
    terms = [
        Term(name="a", shaper=Recorder(2.0), weight=0.5),
        Term(name="b", shaper=Recorder(3.0, stream="intrinsic"), weight=0.1),
    ]
    env = ShapedEnv(short_chain(), terms)
    env.reset(seed=0)
    env.step([1, 1, 0])
    _, reward, terminated, _, info = env.step([1, 0, 0])
    torch.testing.assert_close(reward, torch.tensor([1.0, 0.0, 0.0]) + 1.0 + 0.3)
    assert info["task_reward"].tolist() == [1.0, 0.0, 0.0]
    assert info["reward_terms"]["a"].tolist() == [2.0] * 3, "unweighted"
    torch.testing.assert_close(info["intrinsic_reward"], torch.full((3,), 0.3))
    assert info["episode"]["return"].tolist() == [1.0, 0.0, 0.0]
    assert terminated.tolist() == [True, False, False]


def test_transitions_hold_the_true_next_values_and_begin_follows_each_episode():
    recorder = Recorder()
    env = ShapedEnv(short_chain(), [Term(name="a", shaper=recorder)])
    env.reset(seed=0)
    env.step([1, 1, 0])
    env.step([1, 0, 0])
    first, second = recorder.seen
    assert first.state["node"].tolist() == [0, 0, 0]
    assert second.state["node"].tolist() == first.next_state["node"].tolist() == [1, 1, 0]
    assert second.next_state["node"].tolist() == [2, 0, 0], "before the reset, though every episode ended"
    assert second.next_obs.argmax(1).tolist() == [2, 0, 0]
    assert [mask.tolist() for mask in recorder.masks] == [[True] * 3, [False] * 3, [True] * 3]
    forward = Recorder()
    forward.looks_back = False
    both = ShapedEnv(short_chain(), [Term(name="sum", shaper=SumShaper([Term(name="a", shaper=forward)]))])
    both.reset(seed=0)
    both.step([1, 1, 0])
    assert forward.seen[0].state == {}, "where a step began is not measured for a term that does not look back"
    assert forward.seen[0].next_state["node"].tolist() == [1, 1, 0]
    env.step([0, 0, 0])
    assert recorder.seen[2].state["node"].tolist() == [0, 0, 0], "the new episode's first state"
    assert second.valid is None


def test_next_step_reset_rows_pay_nothing_and_are_marked():
    recorder = Recorder()
    env = ShapedEnv(short_chain(autoreset_mode=AutoresetMode.NEXT_STEP), [Term(name="a", shaper=recorder)])
    env.reset(seed=0)
    rewards = [env.step([1, 1, 0])[1] for _ in range(4)]
    assert [r.tolist() for r in rewards] == [[1, 1, 1], [2, 2, 1], [0, 0, 0], [1, 1, 1]]
    assert [t.valid.tolist() for t in recorder.seen] == [[True] * 3, [True] * 3, [False] * 3, [True] * 3]
    assert recorder.seen[3].state["node"].tolist() == [0, 0, 0]


def test_disabled_envs_pay_nothing_until_they_are_reset():
    recorder = Recorder()
    env = ShapedEnv(short_chain(horizon=3, autoreset_mode=AutoresetMode.DISABLED), [Term(name="a", shaper=recorder)])
    env.reset(seed=0)
    env.step([1, 0, 0])
    env.step([1, 0, 0])
    assert env.step([0, 0, 0])[1].tolist() == [0, 1, 1]
    assert recorder.seen[-1].valid.tolist() == [False, True, True]
    env.reset(options={"reset_mask": torch.tensor([True, False, False])})
    assert recorder.masks[-1].tolist() == [True, False, False]
    assert env.step([0, 0, 0])[1].tolist() == [1, 0, 0]


def test_wrappers_may_stand_between_and_shaped_envs_may_nest():
    inner, outer = Recorder(2.0, stream="intrinsic"), Recorder(3.0)
    env = ShapedEnv(
        Shift(ShapedEnv(short_chain(), [Term(name="in", shaper=inner)])), [Term(name="out", shaper=outer, weight=10.0)]
    )
    obs, _ = env.reset(seed=0)
    _, reward, _, _, info = env.step([0, 0, 1])
    assert reward.tolist() == [32.0] * 3
    assert info["task_reward"].tolist() == [0.0] * 3
    assert sorted(info["reward_terms"]) == ["in", "out"]
    assert info["intrinsic_reward"].tolist() == [2.0] * 3
    assert torch.equal(outer.seen[0].obs, obs)
    assert torch.equal(outer.seen[0].next_obs, inner.seen[0].next_obs + 1)
    assert inner.seen[0].next_state["node"].tolist() == [1, 1, 0], "the wrapper swapped the actions"
    assert [term.name for term in env.terms] == ["in", "out"]
    assert env.update_shapers() == {"in/seen": 1.0, "out/seen": 1.0}
    with pytest.raises(ValueError, match="different names"):
        ShapedEnv(env, [Term(name="in", shaper=Recorder())])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_is_refused(value):
    env = ShapedEnv(short_chain(), [Term(name="broken", shaper=Recorder(value))])
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"'broken' returned values that are not finite"):
        env.step([0, 0, 0])


def test_wrong_shapes_fields_weights_and_order_are_refused():
    class Wide(Recorder):
        def shape(self, transition):
            return torch.zeros(len(transition), 1)

    env = ShapedEnv(short_chain(), [Term(name="wide", shaper=Wide())])
    with pytest.raises(RuntimeError, match="reset"):
        env.step([0, 0, 0])
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"term 'wide' of shape \(3,\)"):
        env.step([0, 0, 0])
    with pytest.raises(ValueError, match=r"\['altitude'\].*node"):
        ShapedEnv(short_chain(), [Term(name="a", shaper=Recorder(requires=("altitude",)))])
    with pytest.raises(ValueError, match="finite weight"):
        Term(name="a", shaper=Recorder(), weight=float("nan"))


def test_terms_are_float32_and_carry_no_graph():
    class Learned(Recorder):
        def shape(self, transition):
            return torch.ones(len(transition), dtype=torch.float64, requires_grad=True) * 2

    env = ShapedEnv(short_chain(), [Term(name="a", shaper=Learned())])
    env.reset(seed=0)
    reward = env.step([0, 0, 0])[1]
    assert reward.dtype is torch.float32
    assert not reward.requires_grad


def all_terms(env):
    env = shape(env, "potential", gamma=0.9)
    env = shape(env, "count", 0.1)
    env = shape(env, "count", 0.1, term="lifelong", mode="lifelong")
    return shape(env, "rnd", warmup=1, minibatch=8, seed=3)


def rollout(env, actions):
    rewards = []
    for index, action in enumerate(actions):
        rewards.append(env.step(action)[1])
        if index % 5 == 4:
            env.update_shapers()
    return torch.stack(rewards)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_snapshots_continue_bit_for_bit(tmp_path, mode):
    actions = torch.randint(2, (32, 4), generator=torch.Generator().manual_seed(1))
    env = all_terms(make("Chain-N10-v0", num_envs=4, autoreset_mode=mode))
    env.reset(seed=5)
    rollout(env, actions[:12])
    torch.save(env.get_state(), tmp_path / "state.pt")
    expected = rollout(env, actions[12:])
    other = all_terms(make("Chain-N10-v0", num_envs=4, autoreset_mode=mode))
    other.set_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(rollout(other, actions[12:]), expected)
    assert expected.std() > 0


def test_a_snapshot_of_other_terms_is_refused():
    env = shape(make("Chain-N10-v0"), "count")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"\['potential'\], got \['count'\]"):
        shape(make("Chain-N10-v0"), "potential").set_state(env.get_state())


def test_shapers_leave_the_lives_of_the_envs_and_the_global_generator_alone():
    actions = torch.randint(2, (60, 4), generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    plain, shaped = make("Chain-N10-v0", num_envs=4), all_terms(make("Chain-N10-v0", num_envs=4))
    plain.reset(seed=2)
    shaped.reset(seed=2)
    for action in actions:
        bare, dressed = plain.step(action), shaped.step(action)
        assert torch.equal(bare[0], dressed[0])
        assert torch.equal(bare[1], dressed[4]["task_reward"])
        assert torch.equal(bare[4]["episode"]["return"], dressed[4]["episode"]["return"])
    shaped.update_shapers()
    assert torch.equal(torch.rand(1), expected)
