import pytest
import torch
from goal_toys import make_line
from gymnasium import spaces
from replay_toys import make_replay, samples, walk
from scipy.stats import chisquare

import cairngym
from cairngym.agents.hindsight import NO_HINDSIGHT, Goals, Hindsight
from cairngym.agents.replay import Replay, read_state, record_step
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.goals import GOAL_KEYS
from cairngym.envs.wrapper import TensorWrapper
from cairngym.sim2real.randomization.wrapper import Randomization

NEVER = torch.tensor([False])


def draws(strategy, step, first, last, ratio=1.0, count=6000):
    same = [torch.full((count,), value) for value in (step, first, last)]
    return Hindsight(strategy=strategy, ratio=ratio).draw(*same, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("strategy", "sources"), [("future", [4, 5, 6, 7]), ("final", [7]), ("episode", range(2, 8))])
def test_every_strategy_draws_evenly_from_its_steps_and_from_no_others(strategy, sources):
    _, source = draws(strategy, step=4, first=2, last=7)
    values, counts = source.unique(return_counts=True)
    assert values.tolist() == list(sources)
    assert len(values) == 1 or chisquare(counts.numpy()).pvalue > 1e-3


def test_the_ratio_is_the_share_of_samples_relabelled():
    mask, _ = draws("future", 0, 0, 3, ratio=0.8)
    assert abs(float(mask.float().mean()) - 0.8) < 4 * (0.8 * 0.2 / 6000) ** 0.5
    assert draws("final", 0, 0, 3, ratio=1.0)[0].all()
    assert not draws("episode", 0, 0, 3, ratio=0.0)[0].any()
    assert not NO_HINDSIGHT.active
    assert not Hindsight(ratio=0.0).active


# Each walk goes 0 -> 1 -> 2 -> 3 and never meets its goal 9. Reward is 0 where the step arrives at the new goal,
# else -1; gamma is 0.5. Rows are (step, goal, reward, step before the next observation, discount).
FUTURE = {(0, 1, 0), (0, 2, -1), (0, 3, -1), (1, 2, 0), (1, 3, -1), (2, 3, 0)}
FINAL = {(0, 3, -1), (1, 3, -1), (2, 3, 0)}
EPISODE = FUTURE | {(1, 1, -1), (2, 1, -1), (2, 2, -1)}
BY_HAND = {"future": FUTURE, "final": FINAL, "episode": EPISODE}


@pytest.mark.parametrize("strategy", BY_HAND)
@pytest.mark.parametrize("truncated", [True, False], ids=["ended", "running"])
def test_relabelled_walks_are_those_worked_out_by_hand(strategy, truncated):
    replay = walk([0, 1, 2, 3], 9, strategy=strategy, truncated=truncated)
    assert samples(replay) == {(k, goal, reward, k, 0.5) for k, goal, reward in BY_HAND[strategy]}


@pytest.mark.parametrize("strategy", BY_HAND)
def test_reaching_the_new_goal_terminates_where_success_terminates(strategy):
    replay = walk([0, 1, 2, 3], 9, strategy=strategy, truncated=True, terminate_on_success=True)
    expected = {(k, goal, reward, k, 0.0 if reward == 0 else 0.5) for k, goal, reward in BY_HAND[strategy]}
    assert samples(replay) == expected


def test_a_success_that_the_new_goal_does_not_share_ends_what_is_recorded_but_bootstraps():
    # 0 -> 1 -> 2 succeeds at 2. Asked for 1, step 1 overshoots: not terminal, though nothing is known after it.
    replay = walk([0, 1, 2], 2, strategy="episode", terminate_on_success=True, n_step=3)
    assert samples(replay) == {
        (0, 1, 0.0, 0, 0.0),  # arrives at 1 and stops
        (0, 2, -1.0, 1, 0.0),  # -1 + 0.5 * 0, terminal
        (1, 1, -1.0, 1, 0.5),  # the window ends with the record
        (1, 2, 0.0, 1, 0.0),
    }


def test_a_failure_stays_one_under_every_goal():
    replay = walk([0, 1, 2], 9, strategy="episode", failed=True, n_step=2)
    assert samples(replay) == {
        (0, 1, -0.5, 1, 0.0),  # 0 + 0.5 * -1
        (0, 2, -1.0, 1, 0.0),  # -1 + 0.5 * 0
        (1, 1, -1.0, 1, 0.0),
        (1, 2, 0.0, 1, 0.0),
    }


def test_only_the_part_of_an_episode_that_is_still_held_gives_goals():
    # Three slots for five steps: 2, 3, 4 are held, with goals 3, 4, 5.
    replay = walk([0, 1, 2, 3, 4, 5], 9, strategy="episode", truncated=True, capacity=3)
    assert {(k, goal) for k, goal, *_ in samples(replay)} == {(k, goal) for k in (2, 3, 4) for goal in (3, 4, 5)}


def test_goals_never_come_from_another_episode():
    replay = walk([0, 1, 2], 9, strategy="episode", truncated=True)
    other = walk([7, 6, 5], 9)
    for slot in range(2):
        replay.ring.write({name: pick(held, slot) for name, held in other.ring.columns.items()}, NEVER)
    batch = replay.sample(400)
    pairs = set(zip(batch.obs["achieved_goal"][:, 0].tolist(), batch.obs["desired_goal"][:, 0].tolist(), strict=True))
    assert pairs == {(0, 1), (0, 2), (1, 1), (1, 2), (7, 6), (7, 5), (6, 6), (6, 5)}


def pick(held, slot):
    return {name: pick(entry, slot) for name, entry in held.items()} if isinstance(held, dict) else held[slot]


@pytest.mark.parametrize("ends_at_success", [True, False])
def test_the_truth_table_of_termination_under_another_goal(ends_at_success):
    goals = Goals(make_line(1, terminate_on_success=ends_at_success))
    terminated = torch.tensor([False, True, True, False, True, True])
    success = torch.tensor([False, False, True, False, False, True])
    achieved = torch.zeros(6, 1)
    goal = torch.tensor([[2.0]] * 3 + [[0.0]] * 3)
    reward, ended, reached = goals.judge(achieved, goal, terminated, success)
    assert reward.tolist() == [-1, -1, -1, 0, 0, 0]
    assert reached.tolist() == [False, False, False, True, True, True]
    # Failures stay; a success ends only under its own goal. Without ends at success every end was a failure.
    expected = [False, True, False, True, True, True] if ends_at_success else terminated.tolist()
    assert ended.tolist() == expected


def test_new_goals_are_put_into_observations_and_states_where_asked():
    goals = Goals(make_line(1))
    mask, goal = torch.tensor([True, False]), torch.tensor([[1.0], [2.0]])
    obs = {"observation": torch.zeros(2, 1), "desired_goal": torch.full((2, 1), 7.0)}
    assert goals.into_obs(obs, goal, mask)["desired_goal"].tolist() == [[1.0], [7.0]]
    assert obs["desired_goal"].tolist() == [[7.0], [7.0]]
    state = {"goal": torch.full((2, 1), 7.0), "position": torch.zeros(2, 1)}
    put = goals.into_state(state, goal.double(), mask)
    assert put["goal"].tolist() == [[1.0], [7.0]]
    assert put["goal"].dtype is torch.float32
    assert put["position"] is state["position"]
    assert goals.into_state({"position": state["position"]}, goal, mask) == {"position": state["position"]}


class Flat(TensorWrapper):
    def __init__(self, env):
        super().__init__(env, observation_space=spaces.Box(-9.0, 9.0, (1,)))

    def observation(self, obs, state):
        return obs["observation"]


def test_tasks_and_observations_without_goals_are_refused():
    from agent_toys import tracking

    with pytest.raises(TypeError, match="task with goals, got ToyTask"):
        make_replay(tracking(2), strategy="future")
    with pytest.raises(TypeError, match=r"achieved_goal, desired_goal.*flattens"):
        make_replay(Flat(make_line(2)), strategy="future")
    assert make_replay(tracking(2)).windows.fields == ()
    assert set(GOAL_KEYS) == set(make_line(1).single_observation_space)


def test_bad_options_are_named():
    with pytest.raises(UnknownNameError, match="Did you mean 'future'"):
        Hindsight(strategy="futur")
    for ratio in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"ratio in \[0, 1\]"):
            Hindsight(ratio=ratio)


def test_goals_are_those_truly_achieved_where_sensors_err():
    """A camera that is half a metre off must not teach that the goal is where it looks to be."""
    offset = torch.tensor([0.5, -0.25])
    events = [
        {"event": "sensor_noise", "field": "position", "component": axis, "bias_range": [float(by)] * 2}
        for axis, by in enumerate(offset)
    ]
    plain = cairngym.make("PointMaze_Open-v3", num_envs=8, seed=3)
    env = Randomization(plain, config={"events": events})
    assert plain.observes_truth
    assert not env.observes_truth
    generator = torch.Generator().manual_seed(0)
    replay = Replay(
        env, capacity=8 * 40, gamma=0.9, hindsight=Hindsight(strategy="future", ratio=1.0), generator=generator
    )
    obs, _ = env.reset()
    where = [env.state["position"].clone()]
    for _ in range(40):
        action = 2 * torch.rand(8, 2, generator=generator) - 1
        result = env.step(action)
        replay.add(record_step(env, obs, read_state(env), action, result))
        obs = result[0]
        where.append(env.state["position"].clone())
    torch.testing.assert_close(obs["achieved_goal"], where[-1].float() + offset)
    truly = torch.stack(where[1:]).flatten(0, 1).float()
    batch = replay.sample(64)
    for goal, shown, reward in zip(
        batch.obs["desired_goal"], batch.next_obs["achieved_goal"], batch.reward, strict=True
    ):
        assert (truly == goal).all(1).any()
        away = float((shown - offset - goal).norm())
        assert abs(away - 0.45) < 1e-4 or float(reward) == float(away <= 0.45)
    assert 0 < float(batch.reward.mean()) <= 1
