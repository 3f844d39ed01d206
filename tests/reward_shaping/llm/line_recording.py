"""A point on a line that is sent to goals, recorded; and reward programs for it, good ones and bad ones."""

import torch

from cairngym.envs.core import StateField
from cairngym.reward_shaping.llm.transitions import Recorded

SPEC = {
    "position": StateField(shape=(1,), unit="m", description="Where the point is."),
    "goal": StateField(shape=(1,), unit="m", description="Where it is to go."),
    "clock": StateField(shape=(), unit="step", description="Steps taken.", dtype=torch.int64),
}
HORIZON, REACHED, SCALE = 12, 0.25, 10.0


def record_line(num_envs=8, steps=60, seed=0, *, terminates=True, whole=False):
    """Half of the steps go towards the goal, the others anywhere; the sparse reward is one at success.

    `whole` moves by whole metres, so that the point comes back to the very same places.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(size):
        value = torch.rand(num_envs, 1, generator=generator) * 2 * size - size
        return value.round() if whole else value

    place, goal, clock = draw(5.0), draw(5.0), torch.zeros(num_envs, dtype=torch.int64)
    episode, rows = torch.arange(num_envs), []
    for _ in range(steps):
        towards = (goal - place).clamp(-1.0, 1.0)
        action = torch.where(torch.rand(num_envs, 1, generator=generator) < 0.5, towards, draw(1.0))
        after = (place + action).clamp(-5.0, 5.0)
        success = ((after - goal).abs() <= REACHED)[:, 0]
        terminated = success & terminates
        truncated = clock + 1 >= HORIZON
        rows.append(
            {
                "state.position": place, "state.goal": goal, "state.clock": clock, "action": action,
                "next_state.position": after, "next_state.goal": goal, "next_state.clock": clock + 1,
                "reward": success.float(), "terminated": terminated, "truncated": truncated, "success": success,
                "progress": progress_of(place, goal), "next_progress": progress_of(after, goal),
                "episode": episode, "step": clock,
            }
        )  # fmt: skip
        over = (terminated | truncated).unsqueeze(1)
        place, goal = torch.where(over, draw(5.0), after), torch.where(over, draw(5.0), goal)
        clock = torch.where(over[:, 0], 0, clock + 1)
        episode = torch.where(over[:, 0], episode + num_envs, episode)
    flat = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    return Recorded.from_tensors({**flat, "idle": torch.zeros(1)}, num_envs)


def progress_of(place, goal):
    off = (place - goal).abs()[:, 0]
    return torch.where(off <= REACHED, 1.0, (1.0 - off / SCALE).clamp(0.0, 1.0))


def distance(state):
    return (state["position"] - state["goal"]).abs().sum(-1)


def one(value):
    """A program's answer with a single component."""
    return value, {"value": value}


# Good ones ------------------------------------------------------------------------------------------------------------


def nearness(state, action, next_state, memory):
    """Minus the distance."""
    return one(-0.3 * distance(next_state))


def potential(state, action, next_state, memory):
    """A difference of potentials, and a small price for moving."""
    near, price = distance(state) - 0.99 * distance(next_state), -0.05 * (action * action).sum(-1)
    return near + price, {"near": near, "price": price}


def best_so_far(state, action, next_state, memory):
    """What the episode's record of nearness gains; keeps it in memory."""
    off = distance(next_state)
    best = memory.get("best", distance(state))
    memory["best"] = torch.minimum(best, off)
    gain, bonus = (best - off).clamp(min=0.0), (off <= REACHED).float()
    return gain + bonus, {"gain": gain, "bonus": bonus}


GOOD = [nearness, potential, best_so_far]


# Bad ones, each by what is wrong with it ------------------------------------------------------------------------------

CALLS = []


def batch_mean(state, action, next_state, memory):
    value = -distance(next_state)
    return one(value - value.mean())


def next_row(state, action, next_state, memory):
    return one(-distance(next_state).roll(-1) * 0.2 - 0.2 * distance(next_state))


def hidden_counter(state, action, next_state, memory):
    CALLS.append(1)
    return one(-distance(next_state) * len(CALLS))


def growing_memory(state, action, next_state, memory):
    memory["past"] = torch.cat((memory.get("past", torch.zeros(len(action), 0)), distance(state).unsqueeze(1)), 1)
    return one(-distance(next_state))


def shared_memory(state, action, next_state, memory):
    memory["best"] = distance(next_state).min().view(1)
    return one(-distance(next_state))


def neighbours_memory(state, action, next_state, memory):
    before = memory.get("before", distance(state))
    memory["before"] = distance(next_state)
    return one(before.roll(1) * 0.1 - distance(next_state))


def writes(state, action, next_state, memory):
    state["position"].mul_(0.5)
    return one(-distance(next_state))


def zero_start(state, action, next_state, memory):
    before = memory.get("near", torch.full_like(distance(state), -100.0))
    memory["near"] = -distance(next_state)
    return one(-distance(next_state) - before)


def normalised(state, action, next_state, memory):
    way = next_state["goal"] - next_state["position"]
    return one(-distance(next_state) * 0.2 + (way / way.abs()).sum(-1) * 0.0)


def explodes(state, action, next_state, memory):
    return one(-(distance(next_state).exp() * 0.01))


def dominated(state, action, next_state, memory):
    near, price = distance(state) - distance(next_state), -0.0001 * (action * action).sum(-1)
    return near + price, {"near": near, "price": price}


def flat_part(state, action, next_state, memory):
    near = distance(state) - distance(next_state)
    return near, {"near": near, "flat": torch.full_like(near, 0.5)}


def clipped(state, action, next_state, memory):
    near, edge = distance(state) - distance(next_state), (0.1 * next_state["position"]).sum(-1).clamp(min=-0.49) + 1.0
    edge = edge.clamp(max=0.52)
    return near + edge, {"near": near, "edge": edge}


def odd_sum(state, action, next_state, memory):
    near = distance(state) - distance(next_state)
    return 2.0 * near, {"near": near}


def wrong_sign(state, action, next_state, memory):
    return one(0.3 * distance(next_state))


def unrelated(state, action, next_state, memory):
    return one(torch.sin(1e4 * state["position"]).sum(-1) - 1.0)


def lazy(state, action, next_state, memory):
    return one(-(next_state["position"] - state["position"]).abs().sum(-1))


def only_forward(state, action, next_state, memory):
    return one((distance(state) - distance(next_state)).clamp(min=0.0))


def any_motion(state, action, next_state, memory):
    return one((next_state["position"] - state["position"]).abs().sum(-1))


def waits_for_pay(state, action, next_state, memory):
    return one(torch.exp(-distance(next_state)))


def pays_less_at_the_goal(state, action, next_state, memory):
    return one(torch.where(distance(next_state) > REACHED, -distance(next_state) * 0.1, -2.0))


BAD = [
    (batch_mean, "batch", "error"), (next_row, "batch", "error"), (neighbours_memory, "batch", "error"),
    (hidden_counter, "determinism", "error"), (growing_memory, "memory", "error"), (shared_memory, "memory", "error"),
    (writes, "mutation", "error"), (zero_start, "reset", "error"), (normalised, "finite", "error"),
    (explodes, "finite", "warning"), (dominated, "dominance", "warning"), (flat_part, "constant", "warning"),
    (clipped, "saturation", "warning"), (wrong_sign, "progress", "error"), (wrong_sign, "moving away", "error"),
    (unrelated, "progress", "warning"), (lazy, "standing still", "error"), (only_forward, "cycle", "error"),
    (any_motion, "cycle", "error"), (any_motion, "moving away", "warning"), (waits_for_pay, "loitering", "error"),
]  # fmt: skip
"""A program, the check that finds it out, and how seriously."""
