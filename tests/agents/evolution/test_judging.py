import pytest
import torch
from agent_toys import identity
from evolution_toys import HORIZON, PointTask, PointWorld, point

from cairngym.agents.evolution.controller import Controller
from cairngym.agents.evolution.judging import fused, judge
from cairngym.envs.core import TensorEnv
from cairngym.envs.fused import feed_forward
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term


def genomes_for(controller, count):
    return torch.randn(count, controller.size, generator=torch.Generator().manual_seed(0))


def controller_of(env):
    return Controller(env, (3,), "shared")


@pytest.mark.parametrize("num_envs", [1, 4, 7, 23])
def test_stepping_finds_what_the_fused_world_plays(num_envs):
    controller = controller_of(point())
    genomes, seeds = genomes_for(controller, 7), torch.arange(7)
    slow, steps = judge(point(num_envs, fused=False), controller, genomes, seeds)
    waves = -(-7 // num_envs)
    assert steps == waves * num_envs * HORIZON
    fast, few = judge(point(num_envs), controller, genomes, seeds)
    assert few == 7 * HORIZON
    for name in ("returns", "descriptor", "success", "length"):
        torch.testing.assert_close(getattr(slow, name), getattr(fast, name), atol=1e-5, rtol=1e-5)
    # One policy by itself.
    alone, _ = judge(point(1, fused=False), controller, genomes[3:4], seeds[:1])
    torch.testing.assert_close(alone.descriptor, slow.descriptor[3:4], atol=1e-5, rtol=1e-5)


def test_a_policy_is_worth_the_mean_of_its_worlds_and_ends_where_its_first_did():
    env = point(num_envs=7, fused=False, jitter=0.5)
    controller = controller_of(env)
    genomes = genomes_for(controller, 3)
    played, _ = judge(env, controller, genomes, torch.arange(3))
    # Worlds 0 to 2 are the first policy's, 3 and 4 the second's, 5 and 6 the third's.
    owner = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    pairs = list(enumerate(owner.tolist()))
    twin = TensorEnv(PointWorld(7, jitter=0.5), PointTask())
    obs, _ = twin.reset()
    total = torch.zeros(7)
    for _ in range(HORIZON):
        action = torch.stack([controller.act(genomes[[policy]], obs[[i]])[0] for i, policy in pairs])
        obs, reward, _, _, info = twin.step(action)
        total += reward
    ends = info["final_state"]["place"]
    torch.testing.assert_close(played.returns, torch.stack([total[owner == p].mean() for p in range(3)]))
    torch.testing.assert_close(played.descriptor, ends[[0, 3, 5]], atol=1e-5, rtol=1e-5)


class Bonus(Shaper):
    def shape(self, transition):
        return torch.ones_like(transition.reward)


def test_wrapped_worlds_are_stepped_and_judged_by_what_the_wrapper_pays():
    env = ShapedEnv(point(num_envs=2), (Term(name="bonus", shaper=Bonus(), weight=2.0),))
    assert fused(env.unwrapped) is env.unwrapped.world
    assert fused(env) is None
    controller = controller_of(env)
    genomes = genomes_for(controller, 2)
    shaped, _ = judge(env, controller, genomes, torch.arange(2))
    plain, _ = judge(point(), controller, genomes, torch.arange(2))
    torch.testing.assert_close(shaped.returns, plain.returns + 2.0 * HORIZON)


def test_codes_are_one_hot_and_the_greatest_output_is_done():
    env = identity(num_envs=6)
    controller = controller_of(env)
    assert (controller.policy.inputs, controller.policy.outputs) == (4, 4)
    genomes = genomes_for(controller, 6)
    obs, _ = env.reset(seed=0)
    hot = torch.nn.functional.one_hot(obs["code"][:, 0], 4).float()
    expected = feed_forward(genomes, controller.policy, hot.unsqueeze(1)).squeeze(1).argmax(1)
    assert torch.equal(controller.act(genomes, obs), expected)
    alone = controller.act(genomes[:1], obs)
    assert torch.equal(alone[:1], expected[:1])
    assert alone.shape == (6,)
