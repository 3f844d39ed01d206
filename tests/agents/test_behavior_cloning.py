"""Behavior cloning: what it must imitate, how chunks are cut and played, and exact resume."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from agent_toys import identity, success_of, tracking
from goal_toys import make_line

from cairngym.agents.behavior_cloning import BehaviorCloning, ChunkActor
from cairngym.agents.behavior_cloning_config import BehaviorCloningConfig
from cairngym.agents.demonstrations import collect
from cairngym.agents.distributions import make_distribution

SMALL = BehaviorCloningConfig(hidden=(32,), batch=64, report=16, learning_rate=3e-3)


def towards(obs, state):
    return (state["goal"] - obs["achieved_goal"]).clamp(-1.0, 1.0)


def make(env, path, shown=None, **changes):
    if shown is not None:
        shown.save(path / "shown.npz")
    return BehaviorCloning(env, dataclasses.replace(SMALL, demonstrations=str(path / "shown.npz"), **changes))


@pytest.mark.parametrize("toy", [identity, tracking])
def test_imitates_codes_and_numbers(toy, tmp_path):
    env = toy(16)
    shown = collect(lambda obs, state: toy_answer(toy, obs), env, 30)
    agent = make(env, tmp_path, shown)
    seen = []
    agent.learn(env, 10_000, [seen.append])
    assert success_of(toy(16), agent) > 0.9
    assert [line["step"] for line in seen[:2]] == [1024, 2048]
    assert seen[-1]["loss/cloning"] < seen[0]["loss/cloning"]
    assert agent.steps_done == -(-10_000 // 64) * 64


def toy_answer(toy, obs):
    """What each toy wants: the code shown, or twice the number shown."""
    return obs["code"][:, 0] if toy is identity else 2.0 * obs


def test_no_env_is_stepped(tmp_path):
    env = make_line(4)
    agent = make(env, tmp_path, collect(towards, make_line(4), 5))
    env.step = None
    agent.learn(env, 640)
    assert agent.steps_done == 640


def test_chunks_are_cut_at_the_ends_of_episodes(tmp_path):
    shown = collect(towards, make_line(4, terminate_on_success=True), 6, seed=3)
    agent = make(make_line(4), tmp_path, shown, chunk=4)
    agent.shown = agent._prepare(shown)
    wanted = torch.zeros(len(shown.action), 4)
    inside = torch.zeros(len(shown.action), 4, dtype=torch.bool)
    first = 0
    for length in shown.lengths.tolist():
        for t in range(length):
            for k in range(min(4, length - t)):
                wanted[first + t, k], inside[first + t, k] = shown.action[first + t + k, 0], True
        first += length
    outputs = agent.model(agent.encoder(shown.obs)).squeeze(-1)
    loss, error = agent.loss(agent.shown, torch.arange(len(wanted)))
    torch.testing.assert_close(loss, (outputs - wanted).square()[inside].mean())
    torch.testing.assert_close(error, (outputs - wanted).abs()[inside].mean())


def scripted(said, **changes):
    """An actor whose network says, at step t, `said[t]`: a chunk of three continuous actions."""
    calls = iter(said)
    space = make_line(1).single_action_space
    agent = SimpleNamespace(
        config=dataclasses.replace(SMALL, chunk=3, **changes), device=torch.device("cpu"), encoder=lambda obs: obs,
        distribution=make_distribution(space), model=lambda inputs: torch.tensor(next(calls)).view(1, 3, 1),
    )  # fmt: skip
    return ChunkActor(agent, 1)


SAID = [[0.0, 0.1, 0.2], [0.3, 0.4, 0.5], [0.6, 0.7, 0.8], [-0.9, -0.8, -0.7], [-0.3, -0.2, -0.1]]


def play(actor, ends=()):
    played = []
    for t in range(5):
        played.append(float(actor.act(torch.zeros(1, 1))[0]))
        actor.begin(torch.tensor([t in ends]))
    return played


def test_open_loop_plays_chunks_to_their_ends():
    assert play(scripted(SAID)) == pytest.approx([0.0, 0.1, 0.2, -0.9, -0.8])
    assert play(scripted(SAID), ends=(0,)) == pytest.approx([0.0, 0.3, 0.4, 0.5, -0.3])


def test_ensembles_blend_what_chunks_said_of_a_step_the_oldest_most():
    old, mid, new = (2.718281828459045 ** (-0.5 * i) for i in range(3))
    expected = [
        0.0, (old * 0.1 + mid * 0.3) / (old + mid), (old * 0.2 + mid * 0.4 + new * 0.6) / (old + mid + new),
        (old * 0.5 + mid * 0.7 + new * -0.9) / (old + mid + new),
        (old * 0.8 + mid * -0.8 + new * -0.3) / (old + mid + new),
    ]  # fmt: skip
    assert play(scripted(SAID, play="ensemble", ensemble_decay=0.5)) == pytest.approx(expected)
    after = play(scripted(SAID, play="ensemble", ensemble_decay=0.5), ends=(1,))
    assert after[2] == pytest.approx(0.6)  # nothing is left of the last episode
    assert after[3] == pytest.approx((old * 0.7 + mid * -0.9) / (old + mid))


@pytest.mark.parametrize("play", ["open_loop", "ensemble"])
def test_chunks_of_codes_are_played_too(play, tmp_path):
    env = identity(8)
    agent = make(env, tmp_path, collect(lambda obs, state: toy_answer(identity, obs), env, 10), chunk=2, play=play)
    agent.learn(env, 64)
    actor = agent.actor(8, seed=1)
    obs, _ = env.reset(seed=0)
    for _ in range(3):
        assert env.single_action_space.contains(actor.act(obs)[0].numpy())


@pytest.mark.parametrize("chunk", [1, 3])
def test_going_on_after_a_save_changes_nothing(tmp_path, chunk):
    env = make_line(4)
    straight = make(env, tmp_path, collect(towards, make_line(4), 5), chunk=chunk)
    straight.learn(env, 1280)
    straight.save(tmp_path / "agent.pt")
    straight.learn(env, 640)
    resumed = make(make_line(4), tmp_path, chunk=chunk)
    resumed.load(tmp_path / "agent.pt")
    (tmp_path / "shown.npz").unlink()
    resumed.learn(resumed.env, 640)
    assert resumed.steps_done == straight.steps_done == 1920
    for name, value in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_bad_settings_and_demonstrations_are_refused(tmp_path):
    for bad in ({"chunk": 0}, {"ensemble_decay": -1.0}, {"hidden": ()}, {"demonstration_episodes": 0}):
        with pytest.raises(ValueError, match=next(iter(bad)).split("_")[0]):
            BehaviorCloningConfig(**bad)
    with pytest.raises(KeyError, match="open_loop"):
        BehaviorCloningConfig(play="openloop")
    with pytest.raises(FileNotFoundError, match="Collect some first"):
        make(make_line(2), tmp_path).learn(make_line(2), 64)
    shown = collect(towards, make_line(2), 2)
    with pytest.raises(ValueError, match="demonstrated observations of"):
        make(identity(2), tmp_path, shown).learn(identity(2), 64)
    with pytest.raises(ValueError, match="Expected 9 demonstrated episodes"):
        make(make_line(2), tmp_path, shown, demonstration_episodes=9).learn(make_line(2), 64)
