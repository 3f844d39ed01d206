"""Wrappers against plain Python memories, under every autoreset mode, and against the contract."""

from functools import partial

import contract
import pytest
import torch
from toy_worlds import make_line

import cairngym
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.random import uniform
from cairngym.envs.wrapper import TensorWrapper
from cairngym.envs.wrapper_registry import list_wrappers, make_wrapper, register_wrapper
from cairngym.envs.wrappers import STICKY_STREAM, ActionDelay, FrameStack, StickyActions

MODES = ("SameStep", "NextStep", "Disabled")
WRAPPERS = {
    "plain": TensorWrapper,
    "frame_stack": partial(FrameStack, frames=3),
    "action_delay": partial(ActionDelay, steps=2),
    "sticky_actions": partial(StickyActions, probability=0.5),
    "all": lambda env: FrameStack(ActionDelay(StickyActions(env, probability=0.5), steps=1), frames=2, keys=("where",)),
}


def make_wrapped(wrapper, **options):
    return WRAPPERS[wrapper](make_line(**options))


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_contract(wrapper, check):
    check(partial(make_wrapped, wrapper))


def run(env, mode, steps=30):
    """Play, resetting ended envs by mask under DISABLED; yields what an oracle needs of each step."""
    obs, _ = env.reset(seed=2)
    yield obs, None, torch.ones(env.num_envs, dtype=torch.bool), None
    for action in contract.actions_of(env, steps):
        obs, _, terminated, truncated, info = env.step(action)
        fresh = env.unwrapped.episodes.length == 0
        yield obs, info, fresh, action
        done = terminated | truncated
        if mode == "Disabled" and done.any():
            obs, _ = env.reset(options={"reset_mask": done})
            yield obs, None, done, None


@pytest.mark.parametrize("mode", MODES)
def test_frame_stack_oracle(mode):
    frames = 3
    stacked = FrameStack(make_line(4, autoreset_mode=mode), frames=frames)
    plain = make_line(4, autoreset_mode=mode)
    memory = [[] for _ in range(4)]
    ends = 0
    for (obs, info, fresh, _), (raw, raw_info, _, _) in zip(run(stacked, mode), run(plain, mode), strict=True):
        for i in range(4):
            if raw_info is not None:
                full = [*memory[i], raw_info["final_obs"]["where"][i]][-frames:]
                if not (mode == "NextStep" and fresh[i]):
                    assert torch.equal(info["final_obs"]["where"][i], torch.cat(full))
                    memory[i] = full
            if fresh[i]:
                memory[i] = [raw["where"][i]] * frames
                ends += 1
            assert torch.equal(obs["where"][i], torch.cat(memory[i]))
            assert obs["side"][i].dtype is torch.int64
    assert ends > 8


def test_frame_stack_declares_what_it_shows():
    env = FrameStack(make_line(2), frames=3, keys=("side",))
    assert env.single_observation_space["side"].shape == (3,)
    assert env.single_observation_space["where"].shape == (1,)
    assert env.observation_space["side"].shape == (2, 3)
    assert env.task.categories == {"side": ((0, 1),) * 3}
    assert env.env.task.categories == {"side": ((0, 1),)}
    assert FrameStack(cairngym.make("Chain-N10-v0"), frames=2).reset()[0].shape == (1, 20)


@pytest.mark.parametrize("mode", MODES)
def test_action_delay_oracle(mode):
    env = ActionDelay(make_line(4, autoreset_mode=mode), steps=2, idle=[0.25])
    queue = [[0.25, 0.25] for _ in range(4)]
    for _, info, fresh, action in run(env, mode):
        for i in range(4):
            if action is not None:
                queue[i].append(float(action[i, 0]))
                assert float(info["executed_action"][i, 0]) == pytest.approx(queue[i].pop(0))
            if fresh[i]:
                queue[i] = [0.25, 0.25]


def test_action_delay_of_zero_changes_nothing():
    delayed, plain = ActionDelay(make_line(3), steps=0), make_line(3)
    for (a, *_), (b, *_) in zip(run(delayed, "SameStep"), run(plain, "SameStep"), strict=True):
        assert torch.equal(a["where"], b["where"])


@pytest.mark.parametrize("mode", MODES)
def test_sticky_actions_oracle(mode):
    env = StickyActions(make_line(4, autoreset_mode=mode), probability=0.4)
    last = [None] * 4
    repeated = 0
    lives = env.unwrapped.episodes
    moment = (lives.number.clone(), lives.length.clone())
    for _, info, fresh, action in run(env, mode):
        if action is not None:
            draw = uniform(2, lives.env_id, moment[0], STICKY_STREAM, 1, step=moment[1])[:, 0]
            for i in range(4):
                stuck = last[i] is not None and bool(draw[i] < 0.4)
                last[i] = last[i] if stuck else float(action[i, 0])
                repeated += stuck
                assert float(info["executed_action"][i, 0]) == pytest.approx(last[i])
        last = [None if fresh[i] else last[i] for i in range(4)]
        moment = (lives.number.clone(), lives.length.clone())
    assert 20 < repeated < 70  # of about 110 draws at 0.4


def test_discrete_actions_stick_and_wait():
    chain = cairngym.make("Chain-N10-v0", num_envs=2)
    env = ActionDelay(chain, steps=1, idle=1)
    env.reset()
    assert env.step([0, 0])[4]["executed_action"].tolist() == [1, 1]
    assert env.step([1, 1])[4]["executed_action"].tolist() == [0, 0]
    always = StickyActions(cairngym.make("Chain-N10-v0", num_envs=2), probability=1.0)
    always.reset()
    assert always.step([1, 0])[4]["executed_action"].tolist() == [1, 0]
    assert always.step([0, 1])[4]["executed_action"].tolist() == [1, 0]


def test_wrapper_shows_the_inner_env():
    env = make_line(2, autoreset_mode="NextStep")
    wrapped = FrameStack(StickyActions(env))
    assert wrapped.metadata is env.metadata
    assert wrapped.render_mode == "rgb_array"
    assert wrapped.unwrapped is env
    assert wrapped.autoreset_mode is env.autoreset_mode
    assert wrapped.state_spec is env.state_spec
    with pytest.raises(AttributeError):
        _ = wrapped.nothing_of_the_kind
    wrapped.close()
    assert env.closed


def test_names():
    assert {"action_delay", "frame_stack", "sticky_actions"} <= set(list_wrappers())
    assert list_wrappers() == sorted(list_wrappers())
    assert isinstance(make_wrapper("sticky_actions", make_line(), probability=0.1), StickyActions)
    with pytest.raises(UnknownNameError, match="Did you mean 'frame_stack'"):
        make_wrapper("framestack", make_line())
    with pytest.raises(TypeError, match="Did you mean 'frames'"):
        make_wrapper("frame_stack", make_line(), frame=2)
    with pytest.raises(ValueError, match="already registered"):
        register_wrapper("frame_stack", FrameStack)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FrameStack(make_line(), frames=0), "frames >= 1, got 0"),
        (lambda: ActionDelay(make_line(), steps=-1), "steps >= 0, got -1"),
        (lambda: ActionDelay(make_line(), idle=[2.0]), "Clip them first"),
        (lambda: ActionDelay(make_line(), idle=[0.0, 0.0]), "idle action of shape"),
        (lambda: StickyActions(make_line(), probability=1.5), "probability in"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_unknown_frame_stack_key():
    with pytest.raises(UnknownNameError, match="Did you mean 'where'"):
        FrameStack(make_line(), keys=("were",))
