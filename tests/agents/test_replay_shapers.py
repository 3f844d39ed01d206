import numpy as np
import pytest
import torch
from goal_toys import make_line
from gymnasium import spaces
from replay_toys import equal, make_replay, play

from cairngym.agents.records import from_unit, to_unit
from cairngym.agents.replay import read_state, record_step, required_fields
from cairngym.envs.core import Transition
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term
from cairngym.reward_shaping.potential import PotentialShaper


class Steps(Shaper):
    """Pays for the steps an env has lived: it has a memory."""

    memory = True

    def bind(self, env):
        self.lived = torch.zeros(env.num_envs)

    def shape(self, transition):
        return self.lived.clone()

    def observe(self, transition):
        self.lived = self.lived + 1

    def begin(self, mask):
        self.lived = torch.where(mask, 0.0, self.lived)


class Spy(Shaper):
    requires = ("position",)

    def shape(self, transition):
        self.seen = transition
        return transition.reward * 0


def terms(gamma=0.5):
    potential = Term(name="potential", shaper=PotentialShaper(gamma=gamma, scale=1.0), weight=2.0)
    return [potential, Term(name="steps", shaper=Steps(), weight=0.25)]


def test_required_fields_are_those_of_terms_without_memory():
    env = ShapedEnv(make_line(2), terms())
    assert required_fields(env) == ("goal", "position")
    assert required_fields(ShapedEnv(make_line(2), [Term(name="spy", shaper=Spy())])) == ("position",)
    assert required_fields(ShapedEnv(make_line(2), terms()[1:])) == ()
    assert required_fields(make_line(2)) == ()


def test_a_record_holds_the_task_reward_the_kept_terms_and_the_state_before_any_reset():
    env = ShapedEnv(make_line(2, horizon=2), terms())
    obs, _ = env.reset()
    for lived in (0, 1):
        state, action = read_state(env), torch.ones(2, 1)
        result = env.step(action)
        record = record_step(env, obs, state, action, result)
        assert equal(record.reward, result[4]["task_reward"])
        assert record.kept.tolist() == [0.25 * lived] * 2
        assert equal(record.state["position"], obs["achieved_goal"])
        assert equal(record.next_state["position"], result[4]["final_obs"]["achieved_goal"])
        assert equal(record.next_state["goal"], obs["desired_goal"])
        obs = result[0]
    assert record.truncated.all()


@pytest.mark.parametrize("ends_at_success", [True, False])
@pytest.mark.parametrize("strategy", ["none", "future"])
def test_terms_without_memory_are_judged_anew_and_the_others_kept(strategy, ends_at_success):
    env = ShapedEnv(make_line(3, terminate_on_success=ends_at_success), terms())
    replay = make_replay(env, strategy=strategy, capacity=60)
    play(replay, env, 50)
    replay.ring.columns["kept"].copy_(replay.ring.columns["next_obs"]["achieved_goal"][..., 0])
    batch = replay.sample(300)
    obs, next_obs = batch.obs, batch.next_obs
    reward = env.compute_reward(next_obs["achieved_goal"], obs["desired_goal"])
    terminated = (reward == 0.0) & ends_at_success
    transition = Transition(
        obs=obs, state={"position": obs["achieved_goal"], "goal": obs["desired_goal"]}, action=batch.action,
        next_obs=next_obs, next_state={"position": next_obs["achieved_goal"], "goal": obs["desired_goal"]},
        reward=reward, terminated=terminated, truncated=torch.zeros_like(terminated), success=reward == 0.0,
        env_id=None,
    )  # fmt: skip
    by_hand = reward + next_obs["achieved_goal"][:, 0] + 2.0 * env.terms[0].shaper.shape(transition)
    torch.testing.assert_close(batch.reward, by_hand)
    assert equal(batch.discount, torch.where(terminated, 0.0, 0.5))
    assert (reward == 0.0).any()


def test_shaped_rewards_without_hindsight_are_those_collected():
    env = ShapedEnv(make_line(1, horizon=4), terms())
    replay, rewards = make_replay(env), {}
    obs, _ = env.reset()
    for k in range(12):
        state, action = read_state(env), torch.full((1, 1), -1.0 + k / 8)
        result = env.step(action)
        replay.add(record_step(env, obs, state, action, result))
        rewards[float(action)], obs = float(result[1]), result[0]
    batch = replay.sample(200)
    assert len(set(rewards.values())) > 4
    for action, reward in zip(batch.action[:, 0].tolist(), batch.reward.tolist(), strict=True):
        assert reward == pytest.approx(rewards[action], abs=1e-6)


def test_shapers_see_replayed_transitions_as_the_env_made_them():
    env = make_line(2, fails_beyond=2.0)
    env.world.single_action_space = env.single_action_space = spaces.Box(-2.0, 4.0, (1,), np.float32)
    shaper = Spy()
    env = ShapedEnv(env, [Term(name="spy", shaper=shaper)])
    replay = make_replay(env, n_step=2, strategy="final")
    obs, _ = env.reset()
    unit = torch.tensor([[0.5], [-1.0]])
    state = read_state(env)
    replay.add(record_step(env, obs, state, unit, env.step(from_unit(unit, env.single_action_space))))
    batch = replay.sample(32)
    seen = shaper.seen
    assert seen.env_id is None
    assert len(seen) == 64
    torch.testing.assert_close(seen.action[::2], 1.0 + 3.0 * batch.action)
    assert equal(seen.obs["desired_goal"][::2], batch.obs["desired_goal"])
    assert equal(seen.next_obs["achieved_goal"][::2], batch.next_obs["achieved_goal"])
    assert equal(seen.success, torch.ones(64, dtype=torch.bool))  # its own end is every sample's goal
    assert equal(seen.terminated[::2], batch.discount == 0.0)


def test_actions_go_to_the_unit_box_and_back():
    space = spaces.Box(np.float32([-2.0, 0.0, 1.0]), np.float32([4.0, 1.0, 1.0]))
    action = torch.tensor([[-2.0, 0.25, 1.0], [4.0, 1.0, 1.0]])
    assert to_unit(action, space).tolist() == [[-1.0, -0.5, 0.0], [1.0, 1.0, 0.0]]
    assert from_unit(to_unit(action, space), space).tolist() == action.tolist()
    whole = torch.tensor([3, 1])
    assert to_unit(whole, spaces.Discrete(4)) is whole
    assert from_unit(whole, spaces.Discrete(4)) is whole
