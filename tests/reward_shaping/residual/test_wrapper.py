"""The residual wrapper against plain Python memories, under every autoreset mode, and against the contract."""

from functools import partial

import contract
import numpy as np
import pytest
import torch
from agent_toys import identity, tracking
from goal_toys import make_line as make_goal_line
from gymnasium import spaces
from residual_toys import ChunkBase, ShiftedBase, WrongBase
from toy_worlds import make_line

from cairngym.agents.hindsight import Goals
from cairngym.agents.oracles import register_oracle
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.core import clone
from cairngym.reward_shaping.core import ShapedEnv, Shaper, Term
from cairngym.reward_shaping.residual.base import Lives, list_bases, make_base, register_base
from cairngym.reward_shaping.residual.noise import normal
from cairngym.reward_shaping.residual.wrapper import Residual, residual_of

CHUNKS = partial(ChunkBase, entry="where")
TOY = "ResidualToy-v0"
register_oracle("residual_toy", TOY, lambda env: lambda obs, state: (state["goal"] - state["position"]).clamp(-1, 1))


def toy(num_envs=4, **options):
    """The goal line under an id that has an oracle."""
    env = make_goal_line(num_envs, **options)
    env.id = TOY
    return env


def make_wrapped(base=CHUNKS, **options):
    return Residual(make_line(**options), base=base, scale=0.5)


class Contracted(Residual):
    """The wrapper for checks that hold actions to the action space, which it does not."""

    def action(self, action):
        from cairngym.envs.checks import check_action

        return super().action(check_action(action, self.single_action_space, self.num_envs, self.device))


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("noise", [False, True])
def test_contract(check, noise):
    def make(**options):
        if not noise:
            return Contracted(make_line(**options), base=CHUNKS, scale=0.5)
        return Contracted(Noisy(make_line(**options)), base=noisy_line, scale=0.5)

    check(make)


def noisy_line(env, num_envs):
    """A disturbed oracle of `toy_worlds`' line."""
    from cairngym.agents.residual_base import OracleBase

    return OracleBase(env, num_envs, noise=0.3, random_actions=0.2, errors={"position": 0.5})


def Noisy(env):  # noqa: N802
    env.id = "ResidualLine-v0"
    return env


register_oracle(
    "residual_line", "ResidualLine-v0", lambda env: lambda obs, state: (1.0 - state["position"])[:, None].clamp(-1, 1)
)


def one_chunk_base(seen, memory, chunk=3):
    """What `ChunkBase` does in one env, step by step."""
    if not memory:
        sign = -1.0 if seen > 0 else 1.0
        memory.extend(sign * 0.25 * k for k in range(1, chunk + 1))
    return memory.pop(0)


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_base_actions_are_those_of_one_env_at_a_time(mode):
    env = make_wrapped(num_envs=4, autoreset_mode=mode)
    obs, _ = env.reset(seed=2)
    env.unwrapped.episodes.length.copy_(torch.tensor([0, 3, 6, 8]))
    memory = [[] for _ in range(4)]
    wanted = [one_chunk_base(obs["where"][i], memory[i]) for i in range(4)]
    generator, ends = torch.Generator().manual_seed(0), 0
    for _ in range(25):
        assert obs["base_action"][:, 0].tolist() == wanted
        residual = 4.0 * torch.rand(4, 1, generator=generator) - 2.0
        obs, _, terminated, truncated, info = env.step(residual)
        whole = [base + 0.5 * float(r) for base, r in zip(wanted, residual, strict=True)]
        assert info["base_action"][:, 0].tolist() == wanted
        assert info["executed_action"][:, 0].tolist() == pytest.approx([min(max(a, -1.0), 1.0) for a in whole])
        assert info["clipped"].tolist() == [float(abs(a) > 1.0) for a in whole]
        wanted = [one_chunk_base(info["final_obs"]["where"][i], memory[i]) for i in range(4)]
        assert info["final_obs"]["base_action"][:, 0].tolist() == wanted
        done = terminated | truncated
        if mode == "Disabled" and done.any():
            obs, _ = env.reset(options={"reset_mask": done})
        for i in done.nonzero().flatten().tolist():
            memory[i], ends = [], ends + 1
            wanted[i] = one_chunk_base(obs["where"][i], memory[i])
    assert ends >= 6


def test_zero_plays_the_base_exactly_in_any_units():
    low, high = -3.0, 5.0
    plain, answer = tracking(4, low, high), torch.tensor([[4.7], [-2.9], [0.1], [7.0]])
    env = Residual(tracking(4, low, high), base=partial(WrongBase, answer=answer), scale=0.3)
    plain.reset(seed=1)
    env.reset(seed=1)
    assert env.single_action_space == spaces.Box(-1.0, 1.0, (1,), np.float32)
    assert env.single_observation_space["base_action"] == spaces.Box(low, high, (1,), np.float32)
    expected, (obs, *rest) = plain.step(answer.clamp(low, high)), env.step(torch.zeros(4, 1))
    assert torch.equal(obs["observation"], expected[0])
    assert torch.equal(obs["base_action"], answer.clamp(low, high))  # a base may ask for more than there is
    assert all(torch.equal(a, b) for a, b in zip(rest[:3], expected[1:4], strict=True))
    assert torch.equal(rest[-1]["executed_action"], answer.clamp(low, high))
    moved = env.step(torch.full((4, 1), -0.5))[-1]
    torch.testing.assert_close(moved["executed_action"], (answer.clamp(low, high) - 0.5 * 0.3 * 4.0).clamp(low, high))


def test_a_snapshot_holds_the_bases_memory():
    env, other = make_wrapped(num_envs=4), make_wrapped(num_envs=4)
    env.reset(seed=3)
    actions = contract.actions_of(env, 20)
    for action in actions[:7]:
        env.step(action)
    snapshot = clone(env.get_state())
    first = [env.step(action)[0]["base_action"] for action in actions[7:]]
    other.reset(seed=9)
    other.step(actions[0])
    other.set_state(snapshot)
    assert all(torch.equal(a, other.step(b)[0]["base_action"]) for a, b in zip(first, actions[7:], strict=True))


def test_weakened_oracles_live_the_same_life_in_any_batch_and_under_the_same_seed():
    options = {"noise": 0.3, "random_actions": 0.2, "errors": {"goal": 1.0}}

    def lived(num_envs, env=None):
        env = env or Residual(toy(num_envs), base_options=options)
        obs, _ = env.reset(seed=4)
        shown = [obs["base_action"]]
        for _ in range(25):
            shown.append(env.step(torch.zeros(num_envs, 1))[0]["base_action"])
        return torch.stack(shown), env

    many, env = lived(8)
    assert torch.equal(many[:, :3], lived(3)[0])
    assert torch.equal(many, lived(8, env)[0])
    assert len(many.unique()) > 100


def test_errors_last_for_an_episode_and_noise_for_a_step():
    env = Residual(toy(256, size=50.0), base_options={"errors": {"goal": 0.25}})
    obs, _ = env.reset(seed=4)
    near = env.state["position"].clone()
    env.unwrapped.world.goal = near.clone()  # the oracle itself would stand still
    env.remember({**obs}, env.state)
    first = env.observation(obs, env.state)["base_action"]
    env._ahead = env._ahead._replace(length=env._ahead.length + 1)
    env.remember({**obs}, env.state)
    assert torch.equal(env.observation(obs, env.state)["base_action"], first)
    assert 0.2 < float(first.std()) < 0.3
    assert abs(float(first.mean())) < 0.06


def test_draws_are_nearly_normal():
    ids = torch.arange(20_000)
    lives = Lives(3, ids, torch.zeros_like(ids), torch.zeros_like(ids))
    draws = normal(lives, 17, 2, lives.length)
    assert abs(float(draws.mean())) < 0.02
    assert abs(float(draws.std()) - 1.0) < 0.02
    assert abs(float((draws.abs() < 1.0).float().mean()) - 0.683) < 0.01
    assert abs(float((draws[:, 0] * draws[:, 1]).mean())) < 0.03
    assert torch.equal(draws[5:7], normal(Lives(3, ids[5:7], ids[:2] * 0, ids[:2] * 0), 17, 2, ids[:2] * 0))


class LastAction(Shaper):
    """Pays the first entry of the action."""

    def shape(self, transition):
        return transition.action[:, 0]


def test_it_is_found_under_shapers():
    env = Residual(toy(2), scale=0.4)
    assert residual_of(ShapedEnv(env, (Term(name="last", shaper=LastAction()),))) is env
    assert residual_of(env).scale == 0.4
    with pytest.raises(TypeError, match='Put it in the wrapper "residual"'):
        residual_of(toy(2))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(4, 2), r"Expected the base policy's actions of shape \(4, 1\), .* got \(4, 2\)"),
        (torch.zeros(3, 1), r"of shape \(4, 1\), i.e. \(num_envs, \*action_shape\), got \(3, 1\)"),
        (torch.zeros(4), r"got \(4,\)"),
        (torch.full((4, 1), float("nan")), "Expected finite actions of the base policy"),
    ],
)
def test_a_base_that_answers_wrongly_is_refused_at_once(answer, message):
    with pytest.raises(ValueError, match=message):
        Residual(toy(4), base=partial(WrongBase, answer=answer)).reset()


def test_what_cannot_be_corrected_is_refused():
    with pytest.raises(TypeError, match="Expected a Box of actions to correct, got Discrete"):
        Residual(identity(4), base=ShiftedBase)
    with pytest.raises(ValueError, match="finite bounds"):
        Residual(tracking(4, -np.inf, np.inf), base=ShiftedBase)
    with pytest.raises(ValueError, match=r"Expected a finite scale > 0, got 0\.0"):
        Residual(toy(4), scale=0.0)
    with pytest.raises(TypeError, match="Correct a base policy once"):
        Residual(Residual(toy(4)))
    env = Residual(toy(4))
    with pytest.raises(RuntimeError, match="reset"):
        env.step(torch.zeros(4, 1))
    env.reset()
    with pytest.raises(ValueError, match="Expected finite residual actions"):
        env.step(torch.full((4, 1), float("nan")))
    with pytest.raises(ValueError, match=r"residual actions of shape \(4, 1\)"):
        env.step(torch.zeros(4))
    with pytest.raises(TypeError, match="made for the goal asked"):
        Goals(env)


def test_bases_are_made_by_name_or_by_what_makes_them():
    assert {"oracle", "checkpoint"} <= set(list_bases())
    env = toy(2)
    register_base("test_shifted", ShiftedBase)
    assert make_base("test_shifted", env, 2, {"shift": 0.5}).shift == 0.5
    assert make_base("residual_toys:ShiftedBase", env, 2).shift == 0.8
    with pytest.raises(ValueError, match="already registered"):
        register_base("test_shifted", ShiftedBase)
    with pytest.raises(UnknownNameError, match="Did you mean 'oracle'"):
        make_base("oracel", env, 2)
    with pytest.raises(TypeError, match=r"no option 'noisy'. Did you mean 'noise'"):
        make_base("oracle", env, 2, {"noisy": 1.0})
    for options, message in (
        ({"noise": -1.0}, "Expected a finite noise >= 0"),
        ({"random_actions": 1.5}, r"Expected a probability in \[0, 1\]"),
        ({"errors": {"gaol": 1.0}}, "Did you mean 'goal'"),
        ({"errors": {"goal": -1.0}}, "Expected a finite error >= 0 of 'goal'"),
    ):
        with pytest.raises((ValueError, KeyError), match=message):
            make_base("oracle", env, 2, options)
