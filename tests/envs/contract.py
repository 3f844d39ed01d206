"""What every TensorEnv must do, as checks over a factory `make(num_envs=…, seed=…, autoreset_mode=…) -> TensorEnv`.

`CHECKS` runs over every registered id (test_contract.py) and over adapters and wrappers (their own tests). Clocks are
set close to the time limit after every reset, so that short runs see episodes end.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from cairngym.envs.adapters import SingleEnv
from cairngym.envs.core import TensorEnv, clone

Factory = Callable[..., TensorEnv]
SEED, STEPS = 5, 16
SAME, NEXT, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED


def hasten(env):
    """Let env i be 2 + i % 5 steps away from its time limit."""
    life = env.unwrapped.episodes
    life.length.copy_((env.task.horizon - 2 - life.env_id % 5).clamp(min=0))


def actions_of(env, steps=STEPS, seed=SEED):
    """Random actions `(steps, N, ...)`; env i's do not depend on N."""
    columns = []
    for i in range(env.num_envs):
        space = copy.deepcopy(env.single_action_space)
        space.seed(seed + i)
        columns.append(np.stack([space.sample() for _ in range(steps)]))
    return torch.as_tensor(np.stack(columns, axis=1), device=env.device)


def frozen(step):
    """A step's results as plain copies."""
    obs, reward, terminated, truncated, info = step
    plain = {name: clone(dict(value)) if isinstance(value, Mapping) else clone(value) for name, value in info.items()}
    flags = {"terminated": terminated, "truncated": truncated}
    return clone({"obs": obs, "reward": reward, **flags}) | plain


def start(make, num_envs=3, mode=SAME, seed=SEED, **options):
    """A hastened env and its first observation."""
    env = make(num_envs=num_envs, seed=seed, autoreset_mode=mode, **options)
    obs, _ = env.reset()
    hasten(env)
    return env, clone(obs)


def play(env, actions):
    """Step through `actions` and keep everything."""
    return [frozen(env.step(action)) for action in actions]


def rows(value, index):
    """Rows of a tensor or of a (nested) dict of them."""
    return {name: rows(item, index) for name, item in value.items()} if isinstance(value, Mapping) else value[index]


def same(left, right):
    """Whether two (nested) dicts of tensors are bitwise equal, names included."""
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    return left.dtype == right.dtype and torch.equal(left, right)


def assert_same(left, right, what):
    """Fail naming the first entry that differs."""
    if isinstance(left, Mapping):
        assert set(left) == set(right), f"{what}: {sorted(left)} against {sorted(right)}"
        for name in left:
            assert_same(left[name], right[name], f"{what}[{name!r}]")
    else:
        assert same(left, right), f"{what} differ: {left} against {right}"


def check_gymnasium_accepts_one(make):
    """The single numpy env passes Gymnasium's checker."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # bounds and specs it would rather have
        check_env(SingleEnv(make(num_envs=1, seed=SEED, autoreset_mode=DISABLED)), skip_render_check=True)


def check_same_seed_same_trajectory(make):
    """Two envs of one seed live the same lives, and so does one that is reset to it."""
    first, obs = start(make)
    actions = actions_of(first)
    life = play(first, actions)
    second, again = start(make)
    assert_same(obs, again, "first observations")
    assert_same(dict(enumerate(life)), dict(enumerate(play(second, actions))), "steps")
    assert_same(obs, clone(second.reset(seed=SEED)[0]), "observations after reset(seed)")
    hasten(second)
    assert_same(dict(enumerate(life)), dict(enumerate(play(second, actions))), "steps after reset(seed)")


def check_life_is_independent_of_batch(make):
    """Env i lives the same life among 3 and among 7."""
    few, few_obs = start(make, 3)
    many, many_obs = start(make, 7)
    actions = actions_of(many)
    assert_same(few_obs, rows(many_obs, slice(3)), "first observations")
    for t, (a, b) in enumerate(zip(play(few, actions[:, :3]), play(many, actions), strict=True)):
        assert_same(a, rows(b, slice(3)), f"step {t}")


def check_snapshot_round_trip(make):
    """After set_state the same actions lead the same way, in the env itself and in one that was just made."""
    env, _ = start(make)
    actions = actions_of(env)
    play(env, actions[:5])
    snapshot = env.get_state()
    state = clone(dict(env.state))
    after = dict(enumerate(play(env, actions[5:])))
    for name, other in (("the env", env), ("a new env", make(num_envs=3, seed=SEED + 1))):
        other.set_state(snapshot)
        assert_same(state, dict(other.state), f"state of {name}")
        assert_same(after, dict(enumerate(play(other, actions[5:]))), f"steps of {name} after set_state")


def check_final_obs_is_terminal(make):
    """SAME_STEP shows in final_obs what DISABLED shows, and after it what a masked reset shows."""
    env, _ = start(make)
    twin, _ = start(make, mode=DISABLED)
    ended = 0
    for t, action in enumerate(actions_of(env)):
        a, b = frozen(env.step(action)), frozen(twin.step(action))
        for name in ("reward", "terminated", "truncated", "success", "final_obs", "final_state", "episode"):
            assert_same(a[name], b[name], f"{name} of step {t}")
        assert_same(a["final_obs"], b["obs"], f"final_obs and the DISABLED twin's obs of step {t}")
        done = a["terminated"] | a["truncated"]
        assert torch.equal(done, a["_final_obs"])
        assert torch.equal(done, a["_episode"])
        ended += int(done.sum())
        if done.any():
            first, _ = twin.reset(options={"reset_mask": done})
            assert_same(a["obs"], first, f"obs after the end at step {t}")
            assert_same(dict(env.state), dict(twin.state), f"state after the end at step {t}")
        else:
            assert_same(a["obs"], a["final_obs"], f"obs and final_obs of step {t}")
    assert ended >= env.num_envs, "no episode ended"


def check_next_step(make):
    """NEXT_STEP lives SAME_STEP's lives with one idle step after every end, which ignores the action."""
    env, _ = start(make)
    late, _ = start(make, mode=NEXT)
    actions = actions_of(env)
    life = play(env, actions)
    at = torch.zeros(env.num_envs, dtype=torch.int64)
    over = torch.zeros(env.num_envs, dtype=torch.bool)
    for _ in range(STEPS):
        everyone = range(env.num_envs)
        step = frozen(late.step(torch.stack([actions[at[i], i] for i in everyone])))
        for i in everyone:
            if over[i]:
                assert_same(rows(step["obs"], i), rows(life[at[i] - 1]["obs"], i), "the new episode's first obs")
                for name in ("reward", "terminated", "truncated", "success", "_final_obs", "_episode"):
                    assert not step[name][i], f"{name} is {step[name][i]} in the step that resets"
                continue
            for name in ("reward", "terminated", "truncated", "success", "final_obs", "final_state", "episode"):
                assert_same(rows(step[name], i), rows(life[at[i]][name], i), name)
            assert_same(rows(step["obs"], i), rows(life[at[i]]["final_obs"], i), "obs")
        at += ~over
        over = step["terminated"] | step["truncated"]
    assert bool((at < STEPS).all()), "no episode ended"


def check_flags_and_success(make):
    """Flags are bool and apart, the limit truncates, success has one value under two names, none at reset."""
    env = make(num_envs=3, seed=SEED)
    _, info = env.reset()
    assert not info["success"].any()
    assert torch.equal(info["success"], info["is_success"])
    hasten(env)
    for step in play(env, actions_of(env)):
        for name in ("terminated", "truncated", "success", "is_success", "_final_obs", "_episode"):
            assert step[name].dtype is torch.bool, name
            assert step[name].shape == (3,), name
        assert step["reward"].dtype is torch.float32
        assert torch.equal(step["success"], step["is_success"])
        assert torch.equal(step["truncated"], step["episode"]["length"] >= env.task.horizon)
        if env.task.terminate_on_success:
            assert not (step["success"] & ~step["terminated"]).any()


def check_episode_statistics(make):
    """`info["episode"]` is what adding up the steps gives."""
    env, _ = start(make)
    length = env.unwrapped.episodes.length.clone()
    returns, once = torch.zeros(3), torch.zeros(3, dtype=torch.bool)
    for step in play(env, actions_of(env)):
        reward = step.get("task_reward", step["reward"])
        length, returns, once = length + 1, returns + reward, once | step["success"]
        want = {"return": returns, "length": length, "success_once": once, "success_at_end": step["success"]}
        assert_same(want, step["episode"], "episode")
        going = ~(step["terminated"] | step["truncated"])
        length, returns, once = length * going, returns * going, once & going


def check_spaces(make):
    """Every observation lies in the space, dtype included, and every state field is as state_spec says."""
    env, obs = start(make)
    shown = [obs]
    for step in play(env, actions_of(env)):
        shown += [step["obs"], step["final_obs"]]
        for state in (step["final_state"], env.state):
            assert set(state) == set(env.state_spec)
            for name, field in env.state_spec.items():
                assert tuple(state[name].shape) == (3, *field.shape), name
                assert state[name].dtype is field.dtype, name
                assert field.description, name
        assert bool(((env.progress() >= 0) & (env.progress() <= 1)).all())
        assert env.progress().shape == (3,)
    space = env.single_observation_space
    boxes = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    for batch in shown:
        entries = batch if isinstance(batch, dict) else {"": batch}
        assert set(entries) == set(boxes)
        for name, box in boxes.items():
            values = entries[name].cpu().numpy()
            assert values.dtype == box.dtype, name
            assert all(box.contains(value) for value in values), f"{name} leaves {box}: {values}"


def check_reset_mask(make):
    """DISABLED keeps ended envs ended, and a masked reset touches the masked alone."""
    env, _ = start(make, num_envs=5, mode=DISABLED)
    last = play(env, actions_of(env, steps=4))[-1]
    ended = last["terminated"] | last["truncated"]
    assert ended.any()
    again = frozen(env.step(actions_of(env, steps=1)[0]))
    assert torch.equal(again["terminated"] & ended, last["terminated"] & ended)
    assert not again["reward"][ended].any()
    assert not again["success"][ended].any()
    mask = torch.zeros(5, dtype=torch.bool)
    mask[int(ended.nonzero()[0])] = mask[4] = True
    state, life = clone(dict(env.state)), env.unwrapped.episodes.get_state()
    obs, _ = env.reset(options={"reset_mask": mask})
    assert_same(rows(again["obs"], ~mask), rows(obs, ~mask), "obs outside the mask")
    assert_same(rows(state, ~mask), rows(dict(env.state), ~mask), "state outside the mask")
    now = env.unwrapped.episodes.get_state()
    for name in ("number", "length", "returns", "terminated", "truncated"):
        assert torch.equal(life[name][~mask], now[name][~mask]), name
    assert torch.equal(now["number"][mask], life["number"][mask] + 1)
    assert not now["length"][mask].any()


def check_nothing_is_overwritten(make):
    """What was returned stays as it was."""
    env = make(num_envs=3, seed=SEED)
    obs, info = env.reset()
    hasten(env)
    held = [(obs, clone(obs)), (info, clone(info))]
    for action in actions_of(env):
        obs, reward, terminated, truncated, info = env.step(action)
        info = {**info, "final_state": dict(info["final_state"])}
        step = {
            "obs": obs,
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "state": dict(env.state),
        }
        held += [(step, clone(step)), (info, clone(info))]
    for t, (given, kept) in enumerate(held):
        assert_same(given, kept, f"what was returned at {t // 2}")


def check_bad_input(make):
    """Wrong actions, seeds and options raise what the contract says."""
    env = make(num_envs=3, seed=SEED)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(actions_of(env)[0])
    env.reset()
    good = actions_of(env)[0]
    with pytest.raises(ValueError, match="Expected actions of shape"):
        env.step(torch.cat((good, good[:1])))
    with pytest.raises(TypeError, match="Expected"):
        env.step(good.long() if good.is_floating_point() else good.float())
    space = env.single_action_space
    beyond = space.start + space.n if isinstance(space, spaces.Discrete) else float("nan")
    with pytest.raises(ValueError, match="Expected"):
        env.step(torch.full_like(good, beyond))
    for seed, error in ((-1, ValueError), (2**63, ValueError), ("7", TypeError), ([1, 2, 3], TypeError)):
        with pytest.raises(error, match="Expected"):
            env.reset(seed=seed)
    with pytest.raises(TypeError, match="reset_mask"):
        env.reset(options={"reset_maks": torch.ones(3, dtype=torch.bool)})
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": torch.ones(4, dtype=torch.bool)})
    with pytest.raises(TypeError, match="bool"):
        env.reset(options={"reset_mask": torch.ones(3)})
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(seed=SEED + 1, options={"reset_mask": torch.tensor([True, False, False])})


CHECKS = (
    check_gymnasium_accepts_one,
    check_same_seed_same_trajectory,
    check_life_is_independent_of_batch,
    check_snapshot_round_trip,
    check_final_obs_is_terminal,
    check_next_step,
    check_flags_and_success,
    check_episode_statistics,
    check_spaces,
    check_reset_mask,
    check_nothing_is_overwritten,
    check_bad_input,
)
