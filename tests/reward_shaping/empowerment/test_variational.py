"""What is learned against exact capacity, closed forms, the bounds, and everything that may go wrong."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from empowerment_toys import ROOMS, level_env, rank_correlation, slipping, tabular
from gymnasium import spaces

from cairngym.envs.core import Transition
from cairngym.reward_shaping.core import ShapedEnv, Term
from cairngym.reward_shaping.empowerment.exact import empowerment
from cairngym.reward_shaping.empowerment.levels import enumerate_level
from cairngym.reward_shaping.empowerment.variational import EmpowermentShaper
from cairngym.reward_shaping.empowerment.windows import Windows

ROWS = 512
FAST = {"update_proportion": 1.0, "max_batch": 8192, "minibatch": 512, "learning_rate": 5e-3}


def bound(features, actions, count=ROWS, **options):
    space = spaces.Discrete(actions) if isinstance(actions, int) else actions
    env = SimpleNamespace(
        num_envs=count, device=torch.device("cpu"), single_action_space=space, state_spec={},
        single_observation_space=spaces.Box(-9, 9, (features,), np.float32), task=SimpleNamespace(categories={}),
    )  # fmt: skip
    shaper = EmpowermentShaper(**{**FAST, **options})
    shaper.bind(env)
    return shaper


def step(obs, action, next_obs, terminated=None, **changes):
    no = torch.zeros(len(obs), dtype=torch.bool)
    return Transition(
        obs=obs, state={}, action=action, next_obs=next_obs, next_state={}, reward=torch.zeros(len(obs)),
        terminated=no if terminated is None else terminated, truncated=no, success=no, env_id=torch.arange(len(obs)),
        **changes,
    )  # fmt: skip


def teach(shaper, look, move, starts, updates, rounds=16, policy=None, terminal=None, seed=0):
    """Let the shaper watch `shaper.steps` steps from states drawn out of `starts`, again and again."""
    draws = torch.Generator().manual_seed(seed)
    everyone = torch.ones(ROWS, dtype=torch.bool)
    for _ in range(updates):
        for _ in range(rounds):
            state, going = starts[torch.randint(len(starts), (ROWS,), generator=draws)], everyone
            for _ in range(shaper.steps):
                action = policy(draws)
                after = move(state, action, draws)
                ends = terminal[after] if terminal is not None else ~everyone
                shaper.observe(step(look[state], action, look[after], ends, valid=going))
                state, going = after, going & ~ends
            shaper.begin(everyone)
        metrics = shaper.update()
    return metrics


def uniform_policy(actions):
    return lambda draws: torch.randint(actions, (ROWS,), generator=draws)


def by_table(moves):
    cumulative = moves.cumsum(-1)

    def move(state, action, draws):
        chance = torch.rand(ROWS, 1, generator=draws)
        return torch.searchsorted(cumulative[state, action], chance, right=True)[:, 0].clamp(max=len(moves) - 1)

    return move


def estimate(shaper, look):
    return shaper.empowerment(look, {})


@pytest.mark.parametrize("env_id", ["MiniGrid-Empty-6x6-v0", "MiniGrid-LavaGapS6-v0", "MiniGrid-MultiRoom-N2-S4-v0"])
def test_minigrid_levels_rank_as_their_exact_capacity(env_id):
    model = enumerate_level(level_env(env_id, num_envs=512))
    look, alive, exact = torch.eye(len(model)), ~model.terminal, model.empowerment(2)
    shaper = bound(len(model), 7, steps=2, epochs=2)
    teach(shaper, look, lambda s, a, _: model.successors[s, a], alive.nonzero()[:, 0], 16,
          policy=uniform_policy(7), terminal=model.terminal)  # fmt: skip
    found = estimate(shaper, look)[alive]
    assert rank_correlation(found, exact[alive]) >= 0.9
    assert (found - exact[alive]).abs().mean() < 0.2
    assert found.min() >= 0
    assert found.max() <= shaper.bound == pytest.approx(2 * math.log(7))


@pytest.mark.parametrize(("moves", "steps", "updates"), [(slipping(ROOMS), 1, 7), (ROOMS, 2, 6)], ids=["slips", "sure"])
def test_tabular_worlds_rank_as_their_exact_capacity(moves, steps, updates):
    shaper, look = bound(len(moves), 5, steps=steps, epochs=2), torch.eye(len(moves))
    teach(shaper, look, by_table(moves), torch.arange(len(moves)), updates, policy=uniform_policy(5))
    exact = empowerment(moves, steps, tolerance=1e-3)
    assert rank_correlation(estimate(shaper, look), exact) >= 0.9
    assert (estimate(shaper, look) <= math.log(5) * steps).all()


def entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("optimal", math.log(2)), ("uniform", entropy(0.25)), ("behavior", entropy(0.1))],
)
def test_each_source_has_its_own_information(source, expected):
    moves = torch.zeros(3, 4, 3)
    moves[:, :3, 1] = moves[:, 3, 2] = 1.0  # three actions of four do the same
    habit = torch.tensor([0.6, 0.2, 0.1, 0.1])
    shaper, look = bound(3, 4, source=source, learning_rate=1e-2), torch.eye(3)
    metrics = teach(shaper, look, by_table(moves), torch.arange(3), 8,
                    policy=lambda draws: torch.multinomial(habit, ROWS, True, generator=draws))  # fmt: skip
    assert estimate(shaper, look).tolist() == pytest.approx([expected] * 3, abs=0.06)
    assert metrics["behavior_loss"] == pytest.approx(-(habit * habit.log()).sum().item(), abs=0.1)


@pytest.mark.parametrize("outcomes", [4, 2])
def test_four_actions_say_log_four_and_two_outcomes_log_two(outcomes):
    moves = torch.nn.functional.one_hot(torch.arange(4) % outcomes, 4).float().expand(4, 4, 4)
    shaper, look = bound(4, 4, learning_rate=1e-2), torch.eye(4)
    teach(shaper, look, by_table(moves), torch.arange(4), 6, policy=uniform_policy(4))
    assert estimate(shaper, look).tolist() == pytest.approx([math.log(outcomes)] * 4, abs=0.05)


def test_constant_observations_say_nothing():
    shaper, look = bound(3, 4), torch.ones(1, 3)
    teach(shaper, look, lambda s, a, _: s, torch.zeros(1, dtype=torch.int64), 4, policy=uniform_policy(4))
    assert estimate(shaper, look).item() < 0.05


@pytest.mark.parametrize("source", ["behavior", "uniform"])
def test_continuous_actions_that_show_say_more_and_never_more_than_the_bound(source):
    box = spaces.Box(np.float32([2.0]), np.float32([6.0]))
    shaper = bound(2, box, source=source, width=0.1, learning_rate=1e-2, epochs=2)
    draws = torch.Generator().manual_seed(0)
    for _ in range(10):
        for _ in range(8):
            shows = torch.randint(2, (ROWS, 1), generator=draws).float()
            action = 2 + 4 * torch.rand(ROWS, 1, generator=draws)
            chance = 2 + 4 * torch.rand(ROWS, 1, generator=draws)
            after = torch.cat((shows, torch.where(shows > 0, action, chance)), dim=1)
            shaper.observe(step(torch.cat((shows, torch.full_like(shows, 4.0)), dim=1), action, after))
        shaper.update()
    hidden, shown = estimate(shaper, torch.tensor([[0.0, 4.0], [1.0, 4.0]])).tolist()
    assert shaper.bound == pytest.approx(math.log(2) - 0.5 * math.log(2 * math.pi * math.e * 0.01))
    assert 0 <= hidden < 0.15
    assert 0.7 * shaper.bound < shown <= shaper.bound + 1e-6


def run(env, actions):
    rewards, metrics = [], []
    for index, action in enumerate(actions):
        rewards.append(env.step(action)[1])
        if index % 8 == 7:
            metrics.append(env.update_shapers())
    return torch.stack(rewards), metrics


def shaped(mode="SameStep", num_envs=4, **options):
    env = tabular(ROOMS, num_envs, goals=(3,), horizon=7)
    env.autoreset_mode = type(env.autoreset_mode)(mode)
    options = {"steps": 2, "minibatch": 8, "update_proportion": 0.5, **options}
    return ShapedEnv(env, [Term(name="e", shaper=EmpowermentShaper(**options))])


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_resuming_continues_bit_for_bit_and_the_seed_decides(tmp_path, mode):
    actions = torch.randint(5, (40, 4), generator=torch.Generator().manual_seed(0))
    env, again = shaped(mode), shaped(mode)
    env.reset(seed=1)
    run(env, actions[:19])
    torch.save(env.get_state(), tmp_path / "state.pt")
    expected, metrics = run(env, actions[19:])
    again.set_state(torch.load(tmp_path / "state.pt", weights_only=True))
    rewards, others = run(again, actions[19:])
    assert torch.equal(rewards, expected)
    assert metrics == others
    assert expected.std() > 0
    different = shaped(mode, seed=5)
    different.reset(seed=1)
    run(different, actions[:19])
    assert not torch.equal(run(different, actions[19:])[0], expected)


def test_nothing_is_paid_before_the_first_update_nor_where_nothing_follows_and_only_update_learns():
    shaper, look = bound(4, 4), torch.eye(4)
    state, action = torch.arange(ROWS) % 4, torch.arange(ROWS) // 4 % 4
    ends = torch.arange(ROWS) % 2 == 0
    made = step(look[state], action, look[action], ends)
    assert shaper.shape(made).abs().max() == 0
    assert shaper.update() == {}
    for _ in range(20):
        shaper.observe(made)
        shaper.update()
    paid = shaper.shape(made)
    assert paid[ends].abs().max() == 0
    assert paid[~ends].min() > 0
    shaper.observe(made)
    assert torch.equal(shaper.shape(made), paid)
    shaper.update()
    assert not torch.equal(shaper.shape(made), paid)


def test_one_env_and_episodes_of_one_step():
    env = tabular(ROOMS, 1, horizon=1)
    env = ShapedEnv(env, [Term(name="e", shaper=EmpowermentShaper(steps=1))])
    env.reset(seed=0)
    metrics = run(env, torch.randint(5, (16, 1), generator=torch.Generator().manual_seed(0)))[1]
    assert metrics[0]["e/inverse_loss"] > 0
    cut = ShapedEnv(tabular(ROOMS, 1, horizon=1), [Term(name="e", shaper=EmpowermentShaper(steps=2))])
    cut.reset(seed=0)
    assert run(cut, torch.zeros(8, 1, dtype=torch.int64))[1] == [{}], "no episode lasts for two steps"


def test_windows_hold_the_last_steps_of_one_episode_and_an_end_completes_them():
    windows = Windows(3, 2, 1, (), spaces.Discrete(9), torch.Generator().manual_seed(0))
    no = torch.zeros(3, dtype=torch.bool)

    def add(t, terminated=no, valid=None):
        features, action = torch.full((3, 1), float(t)), torch.tensor([t, t, t])
        return [(start[:, 0].tolist(), actions.tolist(), whole.tolist())
                for start, actions, whole in windows.add(features, action, terminated, valid)]  # fmt: skip

    assert add(0)[0][2] == [False] * 3
    assert add(1) == [([0.0] * 3, [[0, 1]] * 3, [True] * 3)]
    windows.begin(torch.tensor([True, False, False]))
    whole, early = add(2, terminated=torch.tensor([True, True, False]))
    assert whole == ([1.0] * 3, [[1, 2]] * 3, [False, True, True])
    assert (early[0], early[2]) == ([2.0] * 3, [True, True, False])
    assert [row[0] for row in early[1]] == [2, 2, 2]
    assert add(3, valid=torch.tensor([False, True, True]))[0][2] == [False, True, True]
    assert add(4)[0][2] == [False, True, True], "the row that was over starts anew"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "mine"}, "'optimal', 'uniform' or 'behavior'"),
        ({"encoding": "words"}, "'categories' or 'numbers'"),
        ({"stream": "x"}, "'task' or 'intrinsic'"),
        ({"update_proportion": 0.0}, r"update_proportion in \(0, 1\]"),
        ({"averaging": 1.0}, r"averaging in \[0, 1\)"),
        ({"width": 0.5}, "nothing to be told apart"),
        ({"steps": 0}, "above zero"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EmpowermentShaper(**options)


def test_actions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"got 7\^5; choose fewer steps"):
        bound(2, 7, steps=5)
    with pytest.raises(ValueError, match="needs Discrete actions"):
        bound(2, spaces.Box(-1.0, 1.0, (2,)), source="optimal")
    with pytest.raises(ValueError, match="within bounds"):
        bound(2, spaces.Box(-np.inf, np.inf, (2,)))
    with pytest.raises(TypeError, match="Discrete or Box"):
        bound(2, spaces.MultiBinary(3))
