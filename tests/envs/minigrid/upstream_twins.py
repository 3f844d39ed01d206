"""Our worlds and upstream envs side by side: the same actions, and everything compared exactly."""

import functools

import numpy as np
import torch

import cairngym
from cairngym.envs.minigrid.cells import DROP, FORWARD, PICKUP, TOGGLE
from cairngym.envs.minigrid.levels import make_reference

STEPS = np.array(((1, 0), (0, 1), (-1, 0), (0, -1)))
PICKABLE = ("key", "ball", "box")


@functools.cache
def reference_of(env_id, index):
    """The upstream env number `index` of an id, made once a session."""
    return make_reference(env_id)


def fresh_references(env_id, count, seed=1000):
    """`count` upstream envs at the start of an episode, level seeds from `seed` on."""
    envs = [reference_of(env_id, i) for i in range(count)]
    for i, env in enumerate(envs):
        env.reset(seed=seed + i)
    return envs


def hand_of(env):
    """Type and colour of what an upstream env carries."""
    return env.carrying.encode()[:2] if env.carrying else (1, 0)


def obstacle_cells(env):
    """Where the balls of an upstream env are, as `script_obstacles` wants them."""
    cells = [int(ball.cur_pos[0]) + env.width * int(ball.cur_pos[1]) for ball in env.obstacles]
    return cells + [-1] * (8 - len(cells))


class Twins:
    """A TensorEnv whose worlds are copies of upstream envs.

    Args:
        env_id: a `MiniGrid-*` id.
        references: upstream envs as they shall be copied.
        mode: the autoreset mode.
        bank_size: levels that new episodes are drawn from; level i is the one of seed i.
        options: for `cairngym.make`.
    """

    def __init__(self, env_id, references, mode="SameStep", bank_size=4, **options):
        self.references, self.mode = references, mode
        self.env = cairngym.make(
            env_id, num_envs=len(references), bank_size=bank_size, autoreset_mode=mode, threads=1, seed=3, **options
        )
        self.env.reset()
        self.over = np.zeros(len(references), dtype=bool)
        self.last = (self.over, self.over)
        self.successes = self.ends = 0
        self.seen = [env.gen_obs() for env in references]
        self.compare_views(self.env.world.inject(references), "after inject")

    def compare_views(self, obs, when):
        """Hold image, direction and hand of every row against the upstream envs'."""
        images = np.array([seen["image"] for seen in self.seen])
        directions = np.array([seen["direction"] for seen in self.seen])
        hands = np.array([hand_of(env) for env in self.references])
        assert np.array_equal(obs["image"].numpy(), images), f"images differ {when}"
        assert np.array_equal(obs["direction"][:, 0].numpy(), directions), f"directions differ {when}"
        assert np.array_equal(obs["carrying"].numpy(), hands), f"hands differ {when}"

    def step(self, actions):
        """Step both and compare; returns what our step returned."""
        idle = self.over & (self.mode != "SameStep")
        results = [(0.0, False, False)] * len(idle)
        for i in np.flatnonzero(~idle):
            self.seen[i], *results[i], _ = self.references[i].step(int(actions[i]))
        if hasattr(self.references[0], "obstacles"):
            self.env.world.script_obstacles([obstacle_cells(env) for env in self.references])
        step = self.env.step(torch.as_tensor(actions))
        self.compare_outcome(step, results, idle)
        return step

    def compare_outcome(self, step, results, idle):
        """Hold what our step returned against what the upstream steps did."""
        obs, reward, terminated, truncated, info = step
        rewards, ends, limits = map(np.array, zip(*results, strict=True))
        if self.mode == "Disabled":
            ends, limits = np.where(idle, self.last[0], ends), np.where(idle, self.last[1], limits)
        if self.mode == "NextStep":
            self.reseed(np.flatnonzero(idle))
        assert np.array_equal(reward.numpy(), rewards.astype(np.float32)), "rewards differ"
        assert np.array_equal(terminated.numpy(), ends), "terminated differs"
        assert np.array_equal(truncated.numpy(), limits), "truncated differs"
        assert np.array_equal(info["success"].numpy(), rewards > 0), "success differs"
        self.compare_views(info["final_obs"], "in final_obs")
        done = ends | limits
        self.successes += int((rewards > 0).sum())
        self.ends += int((done & ~idle).sum())
        if self.mode == "SameStep":
            self.reseed(np.flatnonzero(done))
        if done.any() or self.mode != "SameStep":
            self.compare_views(obs, "in obs")
        else:
            assert all(torch.equal(obs[name], info["final_obs"][name]) for name in obs), "obs is not final_obs"
        self.over, self.last = done, (ends, limits)

    def restart(self, rows):
        """Let ended worlds start anew as copies of what their upstream envs are now."""
        mask = np.zeros(len(self.references), dtype=bool)
        mask[rows] = True
        self.env.reset(options={"reset_mask": torch.as_tensor(mask)})
        self.over[rows] = False
        for i in rows:
            self.seen[i] = self.references[i].gen_obs()
        self.compare_views(self.env.world.inject(self.references), "after inject")

    def reseed(self, rows):
        """Put upstream envs into the levels that our worlds have drawn from the bank."""
        current = self.env.get_state()["world"]["current"]
        for i in rows:
            self.seen[i], _ = self.references[i].reset(seed=int(current[i]))


def random_actions(references, rng):
    """Random actions; every second env prefers what the square before the agent invites to."""
    count = len(references)
    actions = rng.integers(0, int(references[0].action_space.n), count)
    actions = np.where(rng.random(count) < 0.35, FORWARD, actions)
    whims = rng.random(count)
    for i, env in enumerate(references if env_has_tools(references[0]) else ()):
        ahead = env.grid.get(*env.front_pos)
        if i % 2 and ahead is not None and whims[i] < 0.8:
            if ahead.type == "door" and not ahead.is_open:
                actions[i] = TOGGLE
            elif ahead.type in PICKABLE:
                actions[i] = PICKUP if env.carrying is None else (TOGGLE, DROP)[int(whims[i] < 0.4)]
            elif ahead.type == "goal":
                actions[i] = FORWARD
    return actions


def env_has_tools(env):
    """Whether an upstream env knows more than moving."""
    return int(env.action_space.n) > 3


def cells_of(env, *kinds):
    """Positions of the objects of some kinds."""
    return [
        (i % env.width, i // env.width)
        for i, thing in enumerate(env.grid.grid)
        if thing is not None and thing.type in kinds
    ]


def stand_before(env, position):
    """Put the agent on a free square (or into a doorway) beside `position`, facing it; false where there is none."""
    for direction, offset in enumerate(STEPS):
        x, y = (int(v) for v in np.array(position) - offset)
        inside = 0 < x < env.width - 1 and 0 < y < env.height - 1
        if inside and (env.grid.get(x, y) is None or env.grid.get(x, y).type == "door"):
            if env.grid.get(x, y) is not None:
                env.grid.get(x, y).is_locked, env.grid.get(x, y).is_open = False, True
            env.agent_pos, env.agent_dir = (x, y), direction
            return True
    return False
