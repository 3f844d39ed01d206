"""Traces of worlds: margins measured again by hand, and robustness recomputed from the recorded samples."""

from functools import partial

import contract
import numpy as np
import pytest
import torch
from toy_worlds import LineTask, LineWorld, make_line

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.core import StateField
from cairngym.envs.stl.formula import Predicate, always, eventually, until
from cairngym.envs.stl.measures import Measure
from cairngym.envs.stl.monitored import MonitoredWorld
from cairngym.envs.stl.robustness import robustness
from cairngym.envs.stl.specification import specify

A, B = Predicate("a"), Predicate("b")
MARGINS = {"a": lambda state: state["position"] - 0.3, "b": lambda state: 0.8 - state["position"].abs()}
PREDICATES = {name: Measure(margin=margin, unit="m", description=f"Line {name}.") for name, margin in MARGINS.items()}
FORMULAS = {
    "reach": eventually(A, 0, 8),
    "avoid": always(B, 0, 9),
    "reach-avoid": eventually(A, 2, 8) & always(B, 0, 9),
    "stay": eventually(always(A, 0, 2), 1, 6),
    "patrol": always(eventually(A, 0, 3), 0, 5),
    "nested": eventually(A & eventually(~A & eventually(A, 0, 3), 0, 3), 0, 3),
    "branch": always(A, 2, 6) | eventually(~B, 0, 9),
    "until": until(B, A, 1, 7),
    "implies": always(A >> eventually(~A, 1, 3), 0, 5),
    "release": ~until(~A, ~B, 0, 7),
    "unbounded": eventually(A) & always(B),
    "early": eventually(A, 0, 2),
}
HORIZON = 9


def monitored(formula, num_envs=4, world=LineWorld, horizon=HORIZON, predicates=PREDICATES):
    return MonitoredWorld(world(num_envs), formula, predicates, horizon)


def make_specified(formula="reach-avoid", **options):
    return specify(make_line(**options), FORMULAS[formula], MARGINS, horizon=HORIZON)


def by_hand(position):
    return torch.stack((position - 0.3, 0.8 - position.abs()), dim=-1)


def test_margins_are_those_of_the_state_and_times_count_steps():
    env = make_specified(num_envs=5)
    env.reset()
    for t, action in enumerate(contract.actions_of(env, 30)):
        state = env.step(action)[4]["final_state"]
        assert torch.equal(state["stl_margins"], by_hand(state["position"]))
        assert state["stl_time"].tolist() == [float(t % HORIZON + 1)] * 5
        assert torch.equal(env.state["stl_margins"], by_hand(env.state["position"]))
        assert env.state["stl_time"].tolist() == [float((t + 1) % HORIZON)] * 5


@pytest.mark.parametrize("formula", FORMULAS)
def test_success_is_the_exact_robustness_of_the_recorded_trace(formula):
    env = make_specified(formula, num_envs=16, seed=3)
    env.reset()
    trace, episodes, won = [env.state["stl_margins"]], 0, 0
    names = FORMULAS[formula].predicates
    for action in contract.actions_of(env, 6 * HORIZON):
        _, reward, terminated, truncated, info = env.step(action)
        state = info["final_state"]
        trace.append(state["stl_margins"])
        if not terminated.any():
            assert not reward.any()
            assert not info["success"].any()
            continue
        assert terminated.all()
        assert truncated.all()
        margins = dict(zip(names, torch.stack(trace, dim=1).unbind(-1), strict=True))
        exact = robustness(FORMULAS[formula], margins)[:, 0]
        assert torch.equal(state["stl_low"], exact)
        assert torch.equal(state["stl_high"], exact)
        assert torch.equal(info["success"], exact >= 0.0)
        assert torch.equal(reward, (exact >= 0.0).float())
        trace, episodes, won = [env.state["stl_margins"]], episodes + 1, won + int(info["success"].sum())
    assert episodes == 6
    assert 0 < won < 96, "every episode ended alike"


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_interval_holds_the_final_robustness_and_never_widens(formula):
    env = make_specified(formula, num_envs=8, seed=4)
    env.reset()
    lows, highs = [env.state["stl_low"]], [env.state["stl_high"]]
    for action in contract.actions_of(env, HORIZON):
        state = env.step(action)[4]["final_state"]
        lows.append(state["stl_low"])
        highs.append(state["stl_high"])
    low, high = torch.stack(lows), torch.stack(highs)
    assert (low[1:] >= low[:-1]).all()
    assert (high[1:] <= high[:-1]).all()
    assert torch.equal(low[-1], high[-1])


def test_violation_is_final():
    """The same lives with and without an early end: what ends early is what fails, with no future spared."""
    make = partial(specify, formula=FORMULAS["avoid"], predicates=MARGINS)
    early = make(make_line(num_envs=16, seed=2, autoreset_mode="Disabled"), terminate_on_violation=True)
    full = make(make_line(num_envs=16, seed=2, autoreset_mode="Disabled"))
    early.reset()
    full.reset()
    ended = torch.zeros(16, dtype=torch.bool)
    actions = contract.actions_of(early, HORIZON)
    actions[:, :8] = actions[:, :8].abs()
    for t, action in enumerate(actions):
        full_step, early_step = full.step(action), early.step(action)
        if t < HORIZON - 1:
            left = full.state["position"].abs() > 0.8
            assert torch.equal(early_step[2], ended | left)
            assert not early_step[1].any()
            ended |= left
            assert not full_step[2].any()
    assert full_step[2].all()
    assert torch.equal(early_step[1], full_step[1])
    assert 0 < int(ended.sum()) < 16


def test_a_mask_begins_the_masked_alone():
    env = make_specified(num_envs=4, autoreset_mode="Disabled")
    env.reset()
    for action in contract.actions_of(env, 4):
        env.step(action)
    before, mask = contract.clone(dict(env.state)), torch.tensor([True, False, False, True])
    env.reset(options={"reset_mask": mask})
    after = dict(env.state)
    contract.assert_same(contract.rows(before, ~mask), contract.rows(after, ~mask), "state")
    assert after["stl_time"].tolist() == [0.0, 4.0, 4.0, 0.0]
    assert torch.equal(after["stl_margins"], by_hand(after["position"]))


def test_nothing_after_the_horizon_counts():
    env = make_specified("unbounded", num_envs=6, autoreset_mode="Disabled")
    env.reset()
    actions = contract.actions_of(env, HORIZON + 6)
    for action in actions[:HORIZON]:
        env.step(action)
    before = contract.clone(dict(env.state))
    for action in actions[HORIZON:]:
        _, reward, *_ = env.step(action.abs())
        assert not reward.any()
    for name in ("stl_low", "stl_high", "stl_time"):
        assert torch.equal(env.state[name], before[name]), name
    assert torch.equal(env.state["stl_margins"], by_hand(env.state["position"]))


class SlippingWorld(LineWorld):
    """Fails numerically where the action is above 0.9: it is then found anywhere."""

    def advance(self, action):
        super().advance(action)
        self.broken = action[:, 0] > 0.9
        self.position = torch.where(self.broken, 77.0, self.position)

    def diverged(self):
        return self.broken


def test_a_world_that_diverged_keeps_its_last_margins():
    env = specify(make_line(num_envs=2, world=SlippingWorld, autoreset_mode="Disabled"), A & B, MARGINS, horizon=3)
    env.reset()
    env.step(torch.tensor([[0.5], [0.5]]))
    before = env.state["stl_margins"].clone()
    _, _, terminated, truncated, _ = env.step(torch.tensor([[1.0], [0.5]]))
    assert torch.equal(env.state["stl_margins"][0], before[0])
    assert torch.equal(env.state["stl_margins"][1], by_hand(env.state["position"])[1])
    assert truncated.tolist() == [True, False]
    assert not terminated.any()


def test_staggered_episodes_are_cut_without_a_verdict():
    env = specify(make_line(num_envs=32), FORMULAS["avoid"], {"b": lambda state: state["position"] * 0.0 - 1.0})
    env.reset(options={"stagger": True})
    lived = env.episodes.length.clone()
    for t, action in enumerate(contract.actions_of(env, HORIZON), start=1):
        _, _, terminated, truncated, info = env.step(action)
        cut = lived + t == HORIZON
        first = lived + t <= HORIZON
        assert torch.equal(truncated[first], cut[first])
        assert torch.equal(terminated[first], (cut & (lived == 0))[first])
        assert not info["success"].any()


def test_gradients_do_not_pile_up():
    weight = torch.tensor(2.0, requires_grad=True)
    env = specify(make_line(num_envs=2), always(A, 0, 5), {"a": lambda state: weight * state["position"]})
    env.reset()
    env.step(torch.zeros(2, 1))
    assert not env.state["stl_margins"].requires_grad
    assert not env.state["stl_low"].requires_grad


def test_snapshots_of_another_formula_are_refused():
    worlds = [make_specified(name, num_envs=2) for name in ("reach", "avoid")]
    worlds[0].reset()
    with pytest.raises(ValueError, match=r"G\[0,9\] b.*F\[0,8\] a"):
        worlds[1].set_state(worlds[0].get_state())


def test_the_inner_world_shows_through():
    world = monitored(FORMULAS["reach-avoid"], predicates={**PREDICATES, "c": PREDICATES["a"]})
    assert isinstance(world.position, torch.Tensor)
    assert list(world.predicates) == ["a", "b", "c"]
    assert list(world.measures) == ["a", "b"]
    with pytest.raises(AttributeError, match="colour"):
        _ = world.colour
    seen = []
    world.spectators = (lambda: seen.append(1),)
    assert world.inner.spectators == world.spectators
    frame = world.render([2])[0]
    assert np.array_equal(frame, np.full((4, 4, 3), 2))


def test_spectators_of_the_inner_world_look_at_every_step():
    env, seen = make_specified(num_envs=2), []
    env.world.inner.spectators = (lambda: seen.append(env.world.position.clone()),)
    env.reset()
    info = env.step(torch.zeros(2, 1))[4]
    assert torch.equal(seen[0], info["final_state"]["position"])


class SettlingWorld(LineWorld):
    """Takes options, reports, moves on success, and closes."""

    reset_options = ("from_right",)
    options: dict = {}  # noqa: RUF012
    closed = False

    def prepare(self, options):
        self.options = dict(options)

    def begin(self, mask, episodes):
        super().begin(mask, episodes)
        if self.options.get("from_right"):
            self.position = torch.where(mask, 0.7, self.position)

    def settle(self, success, episodes):
        self.position = torch.where(success, -5.0, self.position)

    def report(self):
        return {"weather": self.position + 1.0}

    def close(self):
        self.closed = True


def test_options_reports_and_verdicts_pass_through():
    env = specify(make_line(num_envs=2, world=SettlingWorld, autoreset_mode="Disabled"), eventually(A, 0, 1), MARGINS)
    env.reset(options={"from_right": True})
    assert env.state["position"].tolist() == pytest.approx([0.7, 0.7])
    info = env.step(torch.zeros(2, 1))[4]
    assert info["success"].all()
    assert torch.equal(info["weather"], info["final_state"]["position"] + 1.0)
    assert env.state["position"].tolist() == [-5.0, -5.0]
    before = env.state["stl_margins"].clone()
    env.reset(options={"reset_mask": torch.tensor([True, False])})
    assert torch.equal(env.state["stl_margins"][1], before[1]), "a sample was measured twice"
    env.close()
    assert env.world.inner.closed


def test_state_spec_tells_which_column_is_what():
    env = make_specified(num_envs=2)
    assert env.state_spec["stl_margins"].description.endswith(": a, b.")
    spec = monitored(FORMULAS["reach-avoid"]).state_spec
    assert spec["stl_margins"].description.endswith(": a (m), b (m).")


def test_unknown_predicates_are_named():
    with pytest.raises(UnknownNameError, match=r"Unknown predicate 'c'.*'a', 'b'"):
        monitored(eventually(Predicate("c"), 0, 3))


class TakenWorld(LineWorld):
    def __init__(self, *args):
        super().__init__(*args)
        self.state_spec = {**self.state_spec, "stl_time": StateField(shape=(), unit="", description="Taken.")}


def test_taken_state_fields_are_refused():
    with pytest.raises(ValueError, match="stl_time"):
        monitored(A, world=TakenWorld)


@pytest.mark.parametrize(
    ("margin", "error", "words"),
    [
        (lambda state: state["position"] > 0, TypeError, "'a'.*bool"),
        (lambda state: 0.5, TypeError, "'a'.*float"),
        (lambda state: state["position"][:1], ValueError, "'a'"),
        (lambda state: state["position"][:, None], ValueError, "'a'"),
        (lambda state: state["position"] * float("nan"), ValueError, "NaN.*'a'"),
    ],
)
def test_bad_margins_are_named(margin, error, words):
    with pytest.raises(error, match=words):
        specify(make_line(num_envs=3), always(A, 0, 5), {"a": margin})


def test_nan_is_noticed_when_it_comes():
    env = specify(make_line(num_envs=2), always(A, 0, 5), {"a": lambda state: (1.0 - state["position"]).sqrt()})
    env.reset()
    with pytest.raises(ValueError, match=r"NaN.*'a'"):
        contract.play(env, torch.ones(5, 2, 1))


def test_the_base_task_is_not_asked_for_its_verdict():
    env = specify(make_line(num_envs=2), always(B, 0, 30), MARGINS)
    env.reset()
    for _ in range(10):
        _, _, terminated, *_ = env.step(torch.ones(2, 1))
    assert isinstance(env.task.base, LineTask)
    assert (env.state["position"] > 1.0).all()
    assert not terminated.any()
