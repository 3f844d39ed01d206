"""The wrapper "temporal": contract, plans through episodes of every mode, guidance by a critic, learning, resuming."""

from functools import partial

import contract
import pytest
import torch
from gymnasium import spaces
from plans import PLACES, make_task
from toy_worlds import make_line

import cairngym
from cairngym.agents.evaluation import evaluate
from cairngym.agents.ppo import PPO, PPOConfig
from cairngym.envs.random import uniform
from cairngym.envs.stl.specification import specify
from cairngym.envs.wrapper_registry import make_wrapper
from cairngym.envs.wrappers import FrameStack
from cairngym.reward_shaping.temporal.allocation import draw
from cairngym.reward_shaping.temporal.grounding import GroundingError
from cairngym.reward_shaping.temporal.observation import TIMES_STREAM, TemporalObservation
from cairngym.reward_shaping.temporal.pursuit import Pursuer

BRANCHES = "(F[0,6] a & F[2,9] b | F[0,4] G[0,2] c) & G[0,12] d"


def liking_late(obs):
    """A critic, element by element, of a flat observation: the sum of its features times growing weights."""
    if isinstance(obs, dict):
        obs = torch.cat([obs[name].float() for name in sorted(obs)], dim=1)
    total = torch.zeros(len(obs))
    for column in range(obs.shape[1]):
        total = total + (column % 7 - 2.5) * obs[:, column]
    return total


def make_temporal(text=BRANCHES, wrap=None, options=None, critic=None, **task):
    env = make_task(text, **task)
    env = make_wrapper("temporal", wrap(env) if wrap else env, **(options or {}))
    if critic is not None:
        env.guide(critic)
    return env


WORLDS = {
    "flat": partial(make_temporal),
    "dict": partial(make_temporal, dict_obs=True),
    "no variables": partial(make_temporal, "G[0,12] d & F[3,3] c"),
    "no subgoals": partial(make_temporal, "G[0,12] d"),
    "stacked": partial(make_temporal, wrap=partial(FrameStack, frames=2)),
    "guided": partial(make_temporal, critic=liking_late),
    "exploiting": lambda **task: exploiting(**task),
}


def exploiting(**task):
    env = make_temporal(options={"candidates": 5}, **task)
    env.guide(liking_late, exploit=True)
    return env


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("world", WORLDS)
def test_contract(world, check):
    check(WORLDS[world])


# What an episode's plan is -------------------------------------------------------------------------------------------


def run(env, steps=40):
    """The results of steps under random actions."""
    env.reset(seed=4)
    for action in contract.actions_of(env, steps):
        yield env.step(action)


def test_times_are_drawn_by_seed_env_and_episode():
    env = make_temporal(num_envs=5)
    seen = 0
    env.reset(seed=4)
    for action in contract.actions_of(env, 30):
        *_, info = env.step(action)
        fresh = info["_episode"]
        life = env.unwrapped.episodes
        numbers = uniform(4, life.env_id, life.number, TIMES_STREAM, 2 + 1 + env.table.num_variables)
        branch, times = draw(env.table, numbers[:, 2:].unsqueeze(1))
        assert torch.equal(env.pursuit.branch[fresh], branch[fresh, 0])
        begun = env.pursuer.begin(branch[:, 0], times[:, 0])
        step, sight = env.unwrapped.state["stl_time"].long(), env.features.look(env.unwrapped.state)
        for mine, want in zip(env.pursuit, env.pursuer.follow(begun, step, sight.margins), strict=True):
            assert torch.equal(mine[fresh], want[fresh])
        seen += int(fresh.sum())
    assert seen >= 10


def plan_of(state):
    return torch.stack([state[name] for name in env_fields()], dim=1)


def env_fields():
    return ("plan_target", "plan_stage", "plan_hits", "plan_broken", "plan_size")


def test_state_tells_how_the_plan_stands():
    env = make_temporal("F[0,6] a & F[0,8] b & G[0,12] c", num_envs=64)
    env.reset(seed=1)
    before = plan_of(env.state)
    assert bool((before[:, 4] == 2).all())
    ended = 0
    for action in contract.actions_of(env, 26):
        *_, info = env.step(action)
        state, now = plan_of(info["final_state"]), plan_of(env.state)
        done = info["_episode"]
        assert torch.equal(state[~done], now[~done])
        assert bool((state[:, 1:4] >= before[:, 1:4]).all())
        assert bool((state[:, 2] <= state[:, 1]).all())
        assert bool(((state[:, 0] == -1) == (state[:, 1] == 2)).all())
        assert bool((state[done, 0] == -1).all())
        held = info["final_state"]["stl_margins"][:, env.grounding.columns["c"]] >= 0
        assert bool((state[~held, 3] == 1).all())
        before, ended = now, ended + int(done.sum())
    assert ended == 128
    assert set(env_fields()) <= set(env.state_spec)
    assert "0 a, 1 b, 2 c" in env.state_spec["plan_target"].description


def test_plans_done_are_successes():
    """Following the plan by hand: go where it says, then wait."""
    env = make_temporal("F[0,30] a & F[0,40] b & G[0,40] d", num_envs=64, horizon=40, spread=0.1)
    env.reset(seed=1)
    goals = torch.tensor([0.8, -0.8, 0.0])
    while True:
        target = env.state["plan_target"]
        away = torch.where(target >= 0, goals[target], env.state["position"]) - env.state["position"]
        *_, info = env.step((away / 0.2).clamp(-1, 1)[:, None])
        if info["_episode"].any():
            break
    final = info["final_state"]
    done = (final["plan_hits"] == final["plan_size"]) & (final["plan_broken"] == 0)
    assert bool(info["success"][done].all())
    assert done.float().mean() > 0.6


def test_ended_episodes_keep_their_plan():
    env = make_temporal("F[0,6] a & F[0,8] b & G[0,12] c", num_envs=16, autoreset_mode="Disabled")
    env.reset(seed=1)
    action = torch.zeros(16, 1)
    for _ in range(12):
        *_, info = env.step(action)
    assert info["_episode"].all()
    final = plan_of(info["final_state"])
    assert not final[:, 3].any()
    for _ in range(8):
        *_, info = env.step(torch.ones(16, 1))  # leaves c
    assert torch.equal(plan_of(info["final_state"]), final)
    assert torch.equal(plan_of(env.state), final)
    mask = torch.arange(16) < 3
    env.reset(options={"reset_mask": mask})
    assert bool((env.state["plan_target"][mask] >= 0).any())
    assert torch.equal(plan_of(env.state)[~mask], final[~mask])


@pytest.mark.parametrize("critic", [None, liking_late])
def test_choosing_for_all_rows_is_choosing_for_some(monkeypatch, critic):
    """On a device that must not be waited for, plans are drawn for every env and kept where episodes begin."""
    few = make_temporal(num_envs=6, critic=critic)
    results = [contract.frozen(step) for step in run(few)]
    monkeypatch.setattr(TemporalObservation, "_rows", lambda self, mask: torch.arange(self.num_envs))
    everyone = make_temporal(num_envs=6, critic=critic)
    for one, other in zip(results, map(contract.frozen, run(everyone)), strict=True):
        contract.assert_same(one, other, "step")


def test_observations_show_the_plan():
    flat, nested = make_temporal(num_envs=3), make_temporal(num_envs=3, dict_obs=True)
    size = flat.features.size
    assert flat.single_observation_space.shape == (1 + 1 + size,)
    assert isinstance(nested.single_observation_space, spaces.Dict)
    assert nested.single_observation_space["plan"].shape == (size,)
    (obs, _), (named, _) = flat.reset(seed=1), nested.reset(seed=1)
    assert torch.equal(obs[:, 2:], named["plan"])
    assert torch.equal(named["plan"], flat._plan)


# A critic's guidance -------------------------------------------------------------------------------------------------


def first_times(env):
    env.reset(seed=3)
    return env.pursuit.due[:, 0].float()


def test_training_follows_the_critic_and_evaluation_takes_the_best():
    """A critic that values what is left until the first subgoal is due, the last feature of those of the subgoals."""
    env = make_temporal("F[0,12] a", num_envs=2_000, spread=0.0, options={"uniform": 0.25, "candidates": 40})
    left = 1 + 1 + 2 * (1 + 1 + 1 + 1) + 1

    def critic(obs):
        return obs[:, left]

    unguided = first_times(env)
    assert unguided.mean() == pytest.approx(6.0, abs=0.2)
    env.guide(critic)
    guided = first_times(env)
    assert guided.mean() > 8.5
    assert (guided == 0).float().mean() > 0.25 / 13 / 2
    env.guide(critic, exploit=True)
    best = first_times(env)
    assert (best == 12).float().mean() > 0.95  # 1 - (12/13)^40
    env.guide(lambda obs: -critic(obs), exploit=True)
    assert (first_times(env) == 0).float().mean() > 0.95


def test_values_of_other_plans():
    env = make_temporal("F[0,12] a & F[0,12] b", num_envs=2, spread=0.0)
    with pytest.raises(RuntimeError, match="call guide"):
        env.values(torch.zeros(2, 1).long(), torch.zeros(2, 1, 2).long())
    env.guide(liking_late)
    obs, _ = env.reset(seed=3)
    mine = env.values(env.pursuit.branch[:, None], env.pursuit.times[:, None])
    assert torch.equal(mine[:, 0], liking_late(obs))
    times = torch.cartesian_prod(torch.arange(13), torch.arange(13)).expand(2, -1, -1)
    heat = env.values(torch.zeros(2, 169, dtype=torch.int64), times)
    assert heat.shape == (2, 169)
    assert torch.equal(heat[0, 5 * 13 + 2], env.values(torch.zeros(2, 1).long(), torch.tensor([[[5, 2]]] * 2))[0, 0])


# Learning ------------------------------------------------------------------------------------------------------------

LEARNER = PPOConfig(
    rollout_steps=32, minibatch=1024, epochs=5, hidden=(64,), learning_rate=3e-3, entropy_coefficient=0.003, gamma=0.97
)
TASK = {"text": "F[0,10] a & F[10,24] b & F[20,30] a & G[0,30] d", "horizon": 30}


def shaped(num_envs=64, seed=0, **options):
    env = make_temporal(num_envs=num_envs, seed=seed, options=options, **TASK)
    return cairngym.shape(env, "stages")


def test_ppo_learns_with_plans_what_it_does_not_without():
    with_plan = PPO(shaped(), LEARNER)
    with_plan.learn(with_plan.env, 12_000)
    assert evaluate(with_plan, make_temporal(num_envs=64, **TASK), episodes=64, seed=9).success > 0.7
    sparse = PPO(make_task(num_envs=64, **TASK), LEARNER)
    sparse.learn(sparse.env, 12_000)
    assert evaluate(sparse, make_task(num_envs=64, **TASK), episodes=64, seed=9).success < 0.3


def test_a_run_resumes_bit_for_bit(tmp_path):
    straight, first, second = (PPO(shaped(16), LEARNER) for _ in range(3))
    straight.learn(straight.env, 2048)
    first.learn(first.env, 1024)
    first.save(tmp_path / "agent.pt")
    second.load(tmp_path / "agent.pt")
    second.learn(second.env, 1024)
    for one, other in zip(straight.parameters, second.parameters, strict=True):
        assert torch.equal(one, other)
    contract.assert_same(plans_of(straight.env), plans_of(second.env), "plans")


def plans_of(env):
    return env.env.pursuit._asdict()


# What it refuses -----------------------------------------------------------------------------------------------------


def test_envs_without_a_formula_or_a_place_for_the_plan_are_refused():
    with pytest.raises(TypeError, match="Expected a task with a formula"):
        make_wrapper("temporal", cairngym.make("Chain-N10-v0"))
    twice = make_temporal(dict_obs=True)
    with pytest.raises(ValueError, match="without an entry 'plan'"):
        make_wrapper("temporal", twice)


def test_formulas_outside_the_fragment_are_refused():
    with pytest.raises(GroundingError, match="Cannot ground"):
        make_temporal("G[0,6](a -> F[0,4] b)")


def test_options():
    assert make_temporal(options={"uniform": 0.5, "slack": 0}).config.uniform == 0.5
    with pytest.raises(TypeError, match="Did you mean 'candidates'"):
        make_temporal(options={"candidate": 3})
    with pytest.raises(ValueError, match="temperature > 0"):
        make_temporal(options={"temperature": 0.0})
    with pytest.raises(GroundingError, match="at most 1 branches"):
        make_temporal(options={"max_branches": 1})


def test_any_env_with_a_formula_takes_a_plan():
    env = specify(make_line(2), "F[0,5] far", {"far": lambda state: state["position"] - 0.5}, horizon=6)
    obs, _ = make_wrapper("temporal", env).reset(seed=0)
    assert obs["plan"].shape == (2, 2 * 3 + 3 + 6)
    assert isinstance(make_wrapper("temporal", env).pursuer, Pursuer)
    assert set(PLACES) == {"a", "b", "c", "d"}
