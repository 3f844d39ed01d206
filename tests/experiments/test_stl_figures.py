"""Traces, surfaces of times and figures, on policies whose behaviour is known and on a run trained for a moment."""

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

import cairngym
from cairngym.cli import main
from cairngym.envs.stl import parse, specify
from cairngym.experiments.config import RunConfig, WrapperConfig
from cairngym.experiments.figures import LIGHT
from cairngym.experiments.stl_figures import _limits, draw_run, verdict
from cairngym.experiments.stl_times import COARSE, Planned, complete, spread, study_times, times_figure, value_surface
from cairngym.experiments.stl_traces import position_field, record
from cairngym.experiments.trained import TrainedRun, load_trained
from cairngym.reward_shaping.temporal.domains import encode
from cairngym.reward_shaping.temporal.grounding import ground
from cairngym.reward_shaping.temporal.observation import TemporalObservation

PLAIN = 2 + 5 * 3 + 1
"""Numbers of StlLinear-ReachAvoid's observation before the plan: position, circles, clock."""


class Walker:
    """Goes to region A, then to B, and stays; where `obedient`, only if the plan begins with A."""

    def __init__(self, num_envs, *, obedient):
        self.been = torch.zeros(num_envs, dtype=torch.bool)
        self.goes = None if obedient else torch.ones(num_envs, dtype=torch.bool)

    def act(self, obs):
        if self.goes is None:
            self.goes = begins_with_a(obs)
            assert (obs[:, :PLAIN] == obs[:1, :PLAIN]).all(), "plans are compared from one first state"
        a, b = obs[:, 2:4], obs[:, 5:7]
        self.been |= a.norm(dim=1) < 0.05
        way = torch.where(self.been.unsqueeze(1), b, a)
        return (20.0 * way).clamp(-1.0, 1.0) * self.goes.unsqueeze(1)

    def begin(self, mask):
        self.been &= ~mask


def begins_with_a(obs):
    """Whether the first of the plan's numbers, which say what is pursued, stands for region A."""
    return obs[:, PLAIN] == 1.0


def walking(*, obedient, **config):
    """A policy of `Walker`s whose critic knows that they obey."""
    agent = SimpleNamespace(
        actor=lambda num_envs, **_: Walker(num_envs, obedient=obedient), steps_done=0,
        values=(lambda obs: begins_with_a(obs).float()) if obedient else None,
    )  # fmt: skip
    return TrainedRun(agent=agent, config=RunConfig(task="StlLinear-ReachAvoid-v0", env={"horizon": 50}, **config))


# Traces ---------------------------------------------------------------------------------------------------------------


def test_traces_hold_what_the_formula_is_judged_by():
    trained = walking(obedient=False)
    env = trained.make_env(5, seed=3)
    traces = record(trained, env, seed=3)
    assert traces.predicates == ("in_a", "in_b", "in_obstacle")
    assert (traces.unit, traces.horizon, traces.length.tolist()) == ("m", 50, [50] * 5)
    assert traces.success.all()
    scene = traces.scene
    assert (scene.names, scene.dims) == (("a", "b"), 2)
    for column in range(2):
        centre, radius = scene.circles["regions"][:, None, column, :2], scene.circles["regions"][:, None, column, 2]
        depth = radius - np.linalg.norm(scene.paths - centre, axis=-1)
        np.testing.assert_allclose(traces.margins[..., column], depth, atol=1e-5)
    named = {name: torch.as_tensor(traces.margins[..., i]) for i, name in enumerate(traces.predicates)}
    exact = parse(traces.formula).robustness(named)[:, 0]
    assert traces.robustness == [(value, value) for value in exact.tolist()]
    assert (traces.low[:, 1:] >= traces.low[:, :-1]).all()
    assert (traces.high[:, 1:] <= traces.high[:, :-1]).all()


def test_an_episode_that_ends_early_is_blank_from_there():
    env = specify(
        cairngym.make("StlLinear-ReachAvoid-v0", num_envs=3), "G[0,50] !in_a", terminate_on_violation=True
    )  # fmt: skip
    traces = record(walking(obedient=False), env, seed=0)
    assert (traces.length < 50).all()
    assert not traces.success.any()
    assert traces.margins.shape[1] == traces.length.max() + 1
    for episode, length in enumerate(traces.length.tolist()):
        margins = traces.margins[episode, :, 0]
        assert margins[length] > 0 > margins[:length].max()
        assert np.isnan(margins[length + 1 :]).all()
        assert np.isnan(traces.scene.paths[episode, length + 1 :]).all()
        assert verdict(traces, episode).startswith(f"{episode + 1}: not satisfied, robustness -\u221e to -0.")


def test_positions_are_found_by_name():
    env = cairngym.make("StlLinear-ReachAvoid-v0")
    assert position_field(env) == "position"
    fields = {"goal": (3,), "gripper_position": (3,), "ball_position": (3,)}
    spec = {name: SimpleNamespace(shape=shape) for name, shape in fields.items()}
    assert position_field(SimpleNamespace(state_spec=spec)) == "gripper_position"
    assert position_field(SimpleNamespace(state_spec={"goal": spec["goal"]})) is None


def test_limits_hold_ways_circles_and_the_arena():
    trained = walking(obedient=False)
    scene = record(trained, trained.make_env(2, seed=0), seed=0).scene
    np.testing.assert_allclose(_limits(scene), [[-2.12, 2.12]] * 2, rtol=1e-6)
    far = scene.paths.copy()
    far[1, 7] = (9.0, 0.0)
    low, high = _limits(replace(scene, paths=far))[0]
    assert (round(low, 2), round(high, 2)) == (-2.33, 9.33)


# Times ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "points", "expected"),
    [
        (0, 99, 5, [10, 30, 50, 70, 90]),
        (3, 6, 10, [3, 4, 5, 6]),
        (7, 7, 10, [7]),
        (0, 8, 3, [1, 4, 7]),
    ],
)
def test_spread(low, high, points, expected):
    assert spread(low, high, points).tolist() == expected


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (0, 3), (2, 3)])
def test_completions_are_valid_and_all_occur(pair):
    plan = ground(parse("F[0,4](a & F[1,3](b & F[0,2] c)) & F[2,5] d"), 9)
    branch, table = plan.branches[0], encode(plan)
    every = torch.tensor(list(product(range(10), repeat=4)))
    good = every[table.valid(torch.zeros(len(every), dtype=torch.int64), every)].tolist()
    pairs = sorted({(times[pair[0]], times[pair[1]]) for times in good})
    drawn = complete(np.array(branch.gaps), pair, np.array(pairs), 400)
    assert drawn.shape == (len(pairs), 400, 4)
    assert {tuple(times) for times in drawn.reshape(-1, 4).tolist()} == set(map(tuple, good))


def test_given_plans_are_played_from_one_first_state():
    inner = cairngym.make("StlLinear-ReachAvoid-v0", num_envs=4, seed=5)
    times = torch.tensor([[10, 20], [20, 10], [0, 100], [50, 50]])
    env = Planned(inner, 0, times)
    env.unwrapped.episodes.env_id.zero_()
    obs, _ = env.reset(seed=5)
    assert env.pursuit.times.tolist() == times.tolist()
    assert (obs[:, :PLAIN] == obs[:1, :PLAIN]).all()
    assert begins_with_a(obs).tolist() == [True, False, False, True]


def test_values_and_success_agree_where_the_critic_is_right():
    trained = walking(obedient=True, wrappers=(WrapperConfig(name="temporal"),))
    study = study_times(trained, seed=1)
    first, second = study.success.first, study.success.second
    assert len(first) == len(second) == COARSE
    np.testing.assert_array_equal(study.success.values, first[:, None] <= second)
    np.testing.assert_array_equal(study.value_tried.values, first[:, None] <= second)
    assert study.agreement == pytest.approx(1.0)
    assert len(study.value.first) == 51
    np.testing.assert_array_equal(study.value.values[1:, 1:], study.value.first[1:, None] <= study.value.second[1:])
    assert study.chosen[0] <= study.chosen[1]
    name, caption, picture = times_figure(study, LIGHT)
    share = (COARSE + 1) / (2 * COARSE)
    assert name == "times"
    assert f"{share:.0%} succeed, at the one of them valued highest 100%; " in caption
    assert "the rank correlation is 1.00" in caption
    assert decode(picture).std() > 10


def test_a_critic_that_says_nothing_has_no_agreement():
    outer = WrapperConfig(name="sticky_actions", options={"probability": 0.0})
    trained = walking(obedient=True, wrappers=(WrapperConfig(name="temporal"), outer))
    trained.agent.values = lambda obs: torch.zeros(len(obs))
    study = study_times(trained, seed=1)
    np.testing.assert_array_equal(study.success.values, study.success.first[:, None] <= study.success.second)
    assert study.agreement is None
    assert "one is the same everywhere" in times_figure(study, LIGHT)[1]


def test_times_that_leave_nothing_to_choose_are_not_drawn():
    wrapped = (WrapperConfig(name="temporal"),)
    assert study_times(walking(obedient=False, wrappers=wrapped), seed=1) is None  # no critic
    assert study_times(walking(obedient=True), seed=1) is None  # no plans


def test_a_pair_counts_by_its_best_completion():
    env = TemporalObservation(cairngym.make("StlLinear-Nested-v0", horizon=60))
    env.guide(lambda obs: obs.square().sum(1), exploit=True)
    env.reset(seed=0)
    surface, times = value_surface(env, 0, (0, 1), 5)
    valid = torch.as_tensor(~np.isnan(surface.values))
    chosen = times[valid]
    assert chosen[:, :2].tolist() == [[surface.first[i], surface.second[j]] for i, j in valid.nonzero().tolist()]
    assert env.table.valid(torch.zeros(len(chosen), dtype=torch.int64), chosen).all()
    branch = torch.zeros(1, len(chosen), dtype=torch.int64)
    np.testing.assert_allclose(env.values(branch, chosen[None])[0], surface.values[valid], rtol=1e-6)
    last = chosen[:, 1:2] + torch.arange(21)
    every = torch.cat((chosen[:, None, :2].expand(-1, 21, -1), last[..., None]), dim=2)
    values = env.values(branch.new_zeros(1, every[..., 0].numel()), every.flatten(0, 1)[None]).view(len(chosen), 21)
    assert (values.amax(1) >= torch.as_tensor(surface.values)[valid] - 1e-4).all()
    assert (torch.as_tensor(surface.values)[valid] > values.median(1).values).all()


def test_dependent_times_are_blank_where_they_are_not_valid():
    agent = SimpleNamespace(
        actor=lambda num_envs, **_: SimpleNamespace(
            act=lambda obs: torch.zeros(num_envs, 2), begin=lambda mask: None
        ),
        values=lambda obs: obs.sum(1), steps_done=0,
    )  # fmt: skip
    config = RunConfig(task="StlLinear-Nested-v0", env={"horizon": 60}, wrappers=(WrapperConfig(name="temporal"),))
    study = study_times(TrainedRun(agent=agent, config=config), seed=0)
    apart = study.value.second - study.value.first[:, None]
    np.testing.assert_array_equal(np.isnan(study.value.values), (apart < 0) | (apart > 20))
    np.testing.assert_array_equal(np.isnan(study.success.values), np.isnan(study.value_tried.values))
    assert np.nanmax(study.success.values) == 0.0
    assert "Of its other times (1) the best of 16 draws counts." in times_figure(study, LIGHT)[1]


# Figures of runs ------------------------------------------------------------------------------------------------------


def decode(picture):
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)


def train(root, task, *options):
    agent = ["--agent.num-envs", "8", "--agent.rollout-steps", "16", "--agent.minibatch", "64", "--agent.hidden", "8"]
    budget = ["--steps", "128", "--eval-every", "128", "--eval-episodes", "8", "--env", "horizon=50"]
    assert main(["train", "--task", task, *budget, *agent, "--variant", "small", "--runs", str(root), *options]) == 0
    return root / "adhoc" / task / "small" / "seed_0"


def test_figures_of_a_run_with_plans(tmp_path, capsys):
    run = train(tmp_path, "StlLinear-ReachAvoid-v0", "--wrapper", "temporal", "--shaper", "stages")
    (run / "summary.json").unlink()  # as if it were not finished
    assert main(["stl", "figures", str(run), "--episodes", "3", "--out", str(tmp_path / "deep" / "out")]) == 0
    text = capsys.readouterr().out
    assert "of 3 episodes succeeded." in text
    names = {"trajectories.png", "robustness.png", "times.png", "figures.md"}
    assert {path.name for path in (tmp_path / "deep" / "out").iterdir()} == names
    for name in names:
        assert str(tmp_path / "deep" / "out" / name) in text
    listing = (tmp_path / "deep" / "out" / "figures.md").read_text()
    assert listing.startswith("# StlLinear-ReachAvoid-v0, small, seed 0\n")
    assert all(f"]({name})" in listing for name in names - {"figures.md"})
    assert "after 128 steps" in listing
    picture = cv2.imread(str(tmp_path / "deep" / "out" / "trajectories.png"))
    grey = (np.abs(picture.astype(int) - (178, 182, 176)).max(2) < 12).sum()
    assert grey > 3 * 3 * 200  # three obstacles in each of three panels
    trained = load_trained(run)
    assert isinstance(trained.make_env(2, seed=0), TemporalObservation)


def test_figures_of_a_run_in_three_dimensions_without_plans(tmp_path):
    run = train(tmp_path, "StlQuadrotor-Until-v0")
    drawn = draw_run(run, tmp_path / "out", episodes=2)
    assert [path.name for path in drawn.files] == ["trajectories.png", "robustness.png", "figures.md"]
    assert drawn.episodes == 2
    flat, both = (cv2.imread(str(path)) for path in drawn.files[:2])
    assert flat.std() > 10
    assert both.std() > 10
    assert "from the side below that" in drawn.files[-1].read_text()
    again = draw_run(run, tmp_path / "again", episodes=2)
    assert [path.read_bytes() for path in again.files] == [path.read_bytes() for path in drawn.files]


def test_figures_need_a_formula_and_an_episode(tmp_path, capsys):
    with pytest.raises(ValueError, match="Expected episodes >= 1, got 0"):
        draw_run(tmp_path, tmp_path, episodes=0)
    small = ["--agent.num-envs", "8", "--agent.rollout-steps", "16", "--agent.minibatch", "64"]
    train = ["train", "--task", "Chain-N10-v0", "--steps", "128", "--eval-episodes", "8", "--runs", str(tmp_path)]
    assert main([*train, *small]) == 0
    assert main(["stl", "figures", str(tmp_path / "adhoc" / "Chain-N10-v0" / "sparse" / "seed_0")]) == 2
    assert "Expected a task with a formula" in capsys.readouterr().err
