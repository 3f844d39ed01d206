"""Small formulas with every time their plans can have, and a line world in which such formulas are tasks."""

import itertools
import random

import numpy as np
import torch
from gymnasium import spaces

from cairngym.envs.core import StateField, Task, TensorEnv, World
from cairngym.envs.random import Stream, uniform
from cairngym.envs.stl.measures import Measure
from cairngym.envs.stl.parser import parse
from cairngym.envs.stl.specification import specify
from cairngym.reward_shaping.temporal.domains import encode
from cairngym.reward_shaping.temporal.grounding import GroundingError, ground
from cairngym.reward_shaping.temporal.pursuit import Pursuer

TRICKY = (
    "F[0,4] a",
    "F[0,6] a & F[0,6] b & F[0,6] c",  # three may be due at once
    "F[0,4] G[0,2] b",  # an invariant begins at the variable
    "F[0,3](a & F[2,2] b)",  # two subgoals hang on it
    "F[0,3](a & F[1,3] b) & F[0,6] c",
    "a U[0,5] b",
    "a Ui[1,5] F[2,2] b",  # an invariant ends before the subgoal
    "(G[0,2] a) U[0,4] b",
    "F[0,2](a U[0,3] b)",  # an invariant without a subgoal at its start
    "F[0,2](a U[3,3] b)",
    "F[0,5](b U[1,1] c)",
    "G[0,4] F[0,2] a",
    "G[0,3] F[0,2] a & F[0,5] b",
    "F[0,6] a | G[0,6] b",
    "(F[0,6] a | F[0,3] b) & (F[0,2] c | a)",
    "!(a U[0,4] b)",
    "a R[0,4] b",
    "a & G[1,3] !b",
    "G[0,6] a",
    "F[0,5](a & true) & G[0,2](b | false)",
    "F[0,3] true",
)


def random_text(rng, depth=2):
    """A formula of the fragment over a, b and c."""

    def window(longest):
        low = rng.choice((0, 0, 0, 1, 2))
        return f"[{low},{low + rng.randint(0, longest)}]"

    def state():
        return rng.choice(("a", "b", "c", "!a", "!c", "(a | b)", "(b & !c)"))

    def steady():
        return rng.choice((state(), state(), f"(F{window(2)} {state()})", f"(G{window(2)} {state()})"))

    inner = random_text(rng, depth - 1) if depth else state()
    kinds = (
        f"({inner} & {random_text(rng, depth - 1) if depth else state()})",
        f"({inner} | {state()})",
        f"(F{window(3)} {inner})",
        f"(F{window(3)} ({state()} & {inner}))",
        f"(G{window(3)} {steady()})",
        f"({steady()} {rng.choice(('U', 'Ui'))}{window(3)} {inner})",
        f"({state()} R{window(3)} {steady()})",
    )
    return rng.choice(kinds)


def all_plans(table, branches, most):
    """Every branch `(M,)` with all its times `(M, V)`; None where there are more than `most`."""
    chosen, rows = [], []
    for index, branch in enumerate(branches):
        spans = [range(low, high + 1) for low, high in map(branch.span, range(len(branch.variables)))]
        if np.prod([len(span) for span in spans], initial=1) > most:
            return None
        for times in itertools.product(*spans):
            chosen.append(index)
            rows.append([*times, *[0] * (table.num_variables - len(times))])
    branch = torch.tensor(chosen)
    times = torch.tensor(rows, dtype=torch.int64).view(len(rows), table.num_variables)
    good = table.valid(branch, times)
    return branch[good], times[good]


def cases(seed, count, horizon=6, most=1500):
    """`(formula, grounding, branch (M,), times (M, V), traces)`; traces are margins `(8, T + 1, P)` of few levels."""
    rng, draw = random.Random(seed), np.random.default_rng(seed)
    texts = itertools.chain(TRICKY, (random_text(rng) for _ in itertools.count()))
    while count:
        formula = parse(next(texts))
        try:
            grounding = ground(formula, horizon, slack=None)
        except GroundingError:
            continue
        plans = all_plans(encode(grounding), grounding.branches, most)
        if plans is None:
            continue
        share = draw.choice((0.5, 0.75, 0.9))  # of the samples at which a predicate holds
        shape = (8, horizon + 1, len(grounding.predicates))
        levels = np.where(draw.random(shape) < share, draw.integers(0, 3, shape), draw.integers(-3, 0, shape))
        count -= 1
        yield formula, grounding, *plans, torch.as_tensor(levels, dtype=torch.float32)


def followed(grounding, branch, times, traces):
    """The pursuit of every plan on every trace, trace by trace: M x 8 rows."""
    pursuer, (count, length, _) = Pursuer(encode(grounding)), traces.shape
    targets = grounding.target_margins(traces).repeat_interleave(len(branch), 0)
    pursuit = pursuer.begin(branch.repeat(count), times.repeat(count, 1))
    for step in range(length):
        pursuit = pursuer.follow(pursuit, torch.full((count * len(branch),), step), targets[:, step])
    return pursuit


def done(grounding, pursuit):
    """Whether all subgoals were hit and no invariant was broken."""
    wanted = (pursuit.due <= grounding.horizon).sum(1)
    return (pursuit.hits.sum(1) == wanted) & ~pursuit.broken.any(1)


# A world for such formulas -------------------------------------------------------------------------------------------


class Ring(World):
    """Position `(N,)` in m on a line; the action adds 0.2 x action + noise in [-0.02, 0.02)."""

    def __init__(self, num_envs, spread=0.2):
        self.num_envs, self.device, self.spread = num_envs, torch.device("cpu"), spread
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.state_spec = {"position": StateField(shape=(), unit="m", description="Where the point is.")}
        self.position = torch.zeros(num_envs)

    def begin(self, mask, episodes):
        draw = uniform(episodes.seed, episodes.env_id, episodes.number, Stream.LEVEL, 1)[:, 0]
        self.position = torch.where(mask, self.spread * (2.0 * draw - 1.0), self.position)

    def advance(self, action):
        life = self.episodes
        draw = uniform(life.seed, life.env_id, life.number, Stream.DYNAMICS, 1, step=life.length)[:, 0]
        self.position = (self.position + 0.2 * action[:, 0] + 0.04 * draw - 0.02).clamp(-2.0, 2.0)

    @property
    def state(self):
        return {"position": self.position}

    def get_state(self):
        return {"position": self.position.clone()}

    def set_state(self, snapshot):
        self.position = snapshot["position"].clone()


class Look(Task):
    """Shows the position, flat or in a Dict."""

    horizon = 12

    def __init__(self, dict_obs=False):
        box = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.dict_obs = dict_obs
        self.single_observation_space = spaces.Dict({"where": box}) if dict_obs else box

    def observe(self, state):
        where = state["position"][:, None]
        return {"where": where} if self.dict_obs else where

    def success(self, state):
        return state["position"] > 5.0


def near(place, width=0.25):
    """A predicate about a place, with the way there."""
    return Measure(
        margin=lambda state: width - (state["position"] - place).abs(), unit="m", scale=1.0, target_size=1,
        target=lambda state: (place - state["position"])[:, None], description=f"Near {place} m.",
    )  # fmt: skip


PLACES = {
    "a": near(0.8),
    "b": near(-0.8),
    "c": near(0.0, 0.4),
    "d": Measure(margin=lambda state: 1.2 - state["position"].abs(), unit="m", scale=0.5, description="Inside."),
}


def make_task(text="F[0,6] a & F[0,8] G[0,2] b & G[0,12] d", num_envs=1, seed=0, *, horizon=12, **options):
    """A formula about the line as an env's task."""
    dict_obs = options.pop("dict_obs", False)
    env = TensorEnv(Ring(num_envs, options.pop("spread", 0.2)), Look(dict_obs), seed=seed, **options)
    return specify(env, text, PLACES, horizon=horizon)
