"""Records made by hand on the line of `goal_toys`, and a replay filled with them."""

import itertools

import torch
from goal_toys import make_line

from cairngym.agents.hindsight import NO_HINDSIGHT, Hindsight
from cairngym.agents.replay import Record, Replay, read_state, record_step


def column(values):
    return torch.tensor(values, dtype=torch.float32).view(-1, 1)


def make_record(env, number, before, after, goal, *, failed=None, truncated=None):
    """One step of every env; `number` (one a env) is shown as the observation, and half more as the next one's."""
    goal, reward = column(goal), env.compute_reward(column(after), column(goal))
    success = reward == 0.0
    failed = torch.zeros_like(success) if failed is None else torch.tensor(failed)
    return Record(
        obs={"observation": column(number), "achieved_goal": column(before), "desired_goal": goal},
        action=column(after) - column(before),
        next_obs={"observation": column(number) + 0.5, "achieved_goal": column(after), "desired_goal": goal},
        reward=reward,
        terminated=failed | success if env.task.terminate_on_success else failed,
        truncated=torch.zeros_like(success) if truncated is None else torch.tensor(truncated),
        state={}, next_state={}, kept=torch.zeros(len(number)), success=success,
    )  # fmt: skip


def make_replay(env, *, capacity=100, gamma=0.5, n_step=1, strategy="none", ratio=1.0, seed=0, **options):
    hindsight = NO_HINDSIGHT if strategy == "none" else Hindsight(strategy=strategy, ratio=ratio)
    generator = torch.Generator().manual_seed(seed)
    return Replay(
        env, capacity=capacity, gamma=gamma, n_step=n_step, hindsight=hindsight, generator=generator, **options
    )


def walk(path, goal, *, failed=False, truncated=False, terminate_on_success=False, **options):
    """A replay of one env that went along `path` (its first entry is the start); step k shows the number k."""
    env = make_line(1, size=9.0, terminate_on_success=terminate_on_success)
    replay = make_replay(env, **options)
    for k, (before, after) in enumerate(itertools.pairwise(path)):
        end = k == len(path) - 2
        replay.add(
            make_record(env, [k], [before], [after], [goal], failed=[failed and end], truncated=[truncated and end])
        )
    return replay


def samples(replay, count=400):
    """What sampling gives, as a set of (number, goal, reward, next number, discount), numbers as made by `walk`."""
    batch = replay.sample(count)
    rows = torch.stack((
        batch.obs["observation"][:, 0], batch.obs["desired_goal"][:, 0], batch.reward,
        batch.next_obs["observation"][:, 0] - 0.5, batch.discount,
    ), dim=1)  # fmt: skip
    assert torch.equal(batch.obs["desired_goal"], batch.next_obs["desired_goal"])
    return {tuple(row) for row in rows.tolist()}


def play(replay, env, steps, seed=0):
    """Random actions, recorded."""
    generator = torch.Generator().manual_seed(seed)
    obs, _ = env.reset(seed=seed)
    for _ in range(steps):
        state, action = read_state(env), torch.randint(-1, 2, (env.num_envs, 1), generator=generator).float()
        result = env.step(action)
        replay.add(record_step(env, obs, state, action, result))
        obs = result[0]


def equal(left, right):
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    return torch.equal(left, right)
