"""Formulas over the state of every kind of env, held to the contract and to what happened."""

import re
from functools import partial

import contract
import pytest
import torch
from toy_worlds import make_line

import cairngym
from cairngym.envs.adapters import from_gymnasium
from cairngym.envs.checks import UnknownNameError
from cairngym.envs.pixels import PixelObservation
from cairngym.envs.stl.env_world import EnvWorld
from cairngym.envs.stl.formula import Predicate, always, eventually
from cairngym.envs.stl.lexer import FormulaError
from cairngym.envs.stl.measures import Measure
from cairngym.envs.stl.specification import specify
from cairngym.envs.wrapper import TensorWrapper

DOOR, KEY, OPEN = 4, 5, 0


def has_key(state):
    """Half where the agent carries a key, minus half where not."""
    return (state["carrying"][:, 0] == KEY).float() - 0.5


def door_open(state):
    kind, _, status = state["grid"].long().unbind(-1)
    return ((kind == DOOR) & (status == OPEN)).flatten(1).any(1).float() - 0.5


def near_goal(state):
    return 0.05 - (state["gripper_position"] - state["goal"]).norm(dim=-1)


def slow(state):
    return 1.0 - state["velocity"].norm(dim=-1)


def right_side(state):
    return state["position"][:, 0]


def upright(state):
    return 0.2 - state["observation"][:, 2].abs()


def clear(state):
    return state["lidar"].amin(-1) - 0.1


def along(state):
    return state["node"] - 2.5


CASES = {
    "chain": (partial(cairngym.make, "Chain-N10-v0"), "F[0,9] along", {"along": along}),
    "line": (make_line, "F[0,8] ahead & G[0,12] near", {
        "ahead": lambda state: state["position"] - 0.5, "near": lambda state: 0.9 - state["position"],
    }),
    "doorkey": (
        partial(cairngym.make, "MiniGrid-DoorKey-5x5-v0", bank_size=64), "F[0,12](has_key & F[0,12] door_open)",
        {"has_key": has_key, "door_open": door_open},
    ),
    "reach": (partial(cairngym.make, "FetchReach-v4"), "F[0,14] G[0,2] near_goal", {"near_goal": near_goal}),
    "maze": (partial(cairngym.make, "PointMaze_UMaze-v3"), "F[0,12] right & G[0,15] slow", {
        "right": right_side, "slow": slow,
    }),
    "rooms": (partial(cairngym.make, "LidarRooms-Small-v0"), "G[0,12] clear", {"clear": clear}),
    "cartpole": (partial(from_gymnasium, "CartPole-v1", snapshot="deepcopy"), "G[0,14] upright", {"upright": upright}),
}  # fmt: skip


def make_case(case, *, terminate_on_violation=False, **options):
    make, formula, predicates = CASES[case]
    return specify(make(**options), formula, predicates, terminate_on_violation=terminate_on_violation)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("case", CASES)
def test_contract(case, check):
    check(partial(make_case, case))


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract_with_an_end_at_violation(check):
    check(partial(make_case, "cartpole", terminate_on_violation=True))


@pytest.mark.parametrize("case", CASES)
def test_lives_are_the_plain_envs(case):
    make, *_ = CASES[case]
    plain, env = make(num_envs=3, seed=8), make_case(case, num_envs=3, seed=8)
    for _ in range(2):
        want, _ = plain.reset()
        seen, _ = env.reset()
        contract.assert_same(dict(plain.state), {name: env.state[name] for name in plain.state_spec}, "first state")
        check_shown(want, seen, 0.0)
    action = contract.actions_of(env, 1)[0]
    want, seen = plain.step(action)[4], env.step(action)[4]
    check_shown(want["final_obs"], seen["final_obs"], 1.0 / env.task.horizon)


def check_shown(want, seen, share):
    if isinstance(want, dict):
        contract.assert_same(want, {name: seen[name] for name in want}, "observation")
        assert torch.allclose(seen["time"], torch.full((3, 1), share))
    else:
        assert torch.equal(seen[:, :-1], want)
        assert torch.allclose(seen[:, -1], torch.full((3,), share))


def test_a_plan_for_the_door_is_judged_by_the_steps_it_takes():
    """The shortest walk that opens the door succeeds with a deadline it keeps and fails with one it misses."""
    walk = walk_to_the_door()
    for deadline, success in ((len(walk), True), (len(walk) - 1, False)):
        env = specify(
            cairngym.make("MiniGrid-DoorKey-5x5-v0", seed=4, bank_size=64), f"F[0,{deadline}](door_open & has_key)",
            {"has_key": has_key, "door_open": door_open}, horizon=len(walk),
        )  # fmt: skip
        env.reset()
        for action in walk:
            _, reward, terminated, _, info = env.step(torch.tensor([action]))
        assert terminated.item()
        assert info["success"].item() is success
        assert reward.item() == float(success)


def walk_to_the_door():
    """The shortest actions after which the door is open, found by search over snapshots."""
    env = cairngym.make("MiniGrid-DoorKey-5x5-v0", seed=4, bank_size=64)
    env.reset()
    todo, seen = [(env.get_state(), ())], set()
    while todo:
        snapshot, done = todo.pop(0)
        for action in (0, 1, 2, 3, 5):  # left, right, forward, pick up, toggle
            env.set_state(snapshot)
            env.step(torch.tensor([action]))
            if door_open(env.state).item() > 0:
                return (*done, action)
            key = tuple(
                map(int, torch.cat([env.state[name].flatten() for name in ("agent_pos", "agent_dir", "carrying")]))
            )
            if key not in seen:
                seen.add(key)
                todo.append((env.get_state(), (*done, action)))
    raise AssertionError("no way to the door")


def test_a_fallen_pole_stays_fallen():
    env = make_case("cartpole", num_envs=2, seed=1, autoreset_mode="Disabled")
    env.reset()
    for _ in range(13):
        _, _, terminated, *_ = env.step(torch.ones(2, dtype=torch.int64))
    assert env.state["base_ended"].all()
    assert not terminated.any(), "the env's own end cut the trace"
    fallen = env.state["observation"].clone()
    _, reward, terminated, _, info = env.step(torch.ones(2, dtype=torch.int64))
    assert torch.equal(env.state["observation"], fallen)
    assert terminated.all()
    assert not info["success"].any()
    assert not reward.any()


def test_text_and_objects_make_the_same_task():
    objects = eventually(Predicate("ahead"), 0, 8) & always(Predicate("near"), 0, 12)
    make, text, predicates = CASES["line"]
    first, second = specify(make(num_envs=3), text, predicates), specify(make(num_envs=3), objects, predicates)
    assert first.task.formula == second.task.formula
    actions = contract.actions_of(first)
    first.reset()
    second.reset()
    contract.assert_same(
        dict(enumerate(contract.play(first, actions))), dict(enumerate(contract.play(second, actions))), "steps"
    )


def test_published_predicates_need_no_words():
    base = make_line(num_envs=2)
    base.world.predicates = {
        "ahead": Measure(margin=lambda s: s["position"], unit="m", description="Ahead.", scale=3.0)
    }
    env = specify(base, "F[0,3] ahead & G[0,3] near", {"near": lambda state: 1.0 - state["position"]})
    assert list(env.world.predicates) == ["ahead", "near"]
    assert env.task.measures["ahead"].unit == "m"
    assert env.task.scale == 3.0
    again = specify(env, "G[0,4] near & F[0,2] low", {"low": lambda state: -state["position"]})
    assert again.world.inner is base.world, "one formula was watched over the other"
    assert again.task.base is base.task
    assert list(again.task.measures) == ["near", "low"]
    with pytest.raises(ValueError, match="'ahead'"):
        specify(base, "F[0,3] ahead", {"ahead": lambda state: state["position"]})


def test_places_are_told_apart_by_what_the_plain_env_measures():
    assert make_case("doorkey").task.count_fields == ("agent_pos", "carrying")
    assert make_case("cartpole").task.count_fields == ("observation", "success")
    assert make_case("line").task.count_fields == ("position",)


def test_functions_are_described_by_their_docstrings():
    env = make_case("doorkey", num_envs=2)
    assert env.task.measures["has_key"].description.startswith("Half where the agent carries")
    assert "door_open" in env.task.measures["door_open"].description


def test_seed_mode_and_pictures_are_taken_over():
    env = make_case("doorkey", num_envs=2, seed=11, autoreset_mode="NextStep")
    assert env.episodes.seed == 11
    assert env.metadata["autoreset_mode"].value == "NextStep"
    assert env.metadata["render_modes"] == ["rgb_array"]
    assert make_case("chain", num_envs=2).render_mode is None
    env.reset()
    assert env.render([0])[0].shape[-1] == 3


@pytest.mark.parametrize(("text", "horizon"), [("F[0,5] along & G[0,9] along", 9), ("F[0,5] G[0,7] along", 12)])
def test_the_horizon_is_the_formulas_unless_given(text, horizon):
    make, _, predicates = CASES["chain"]
    assert specify(make(), text, predicates).task.horizon == horizon
    assert specify(make(), text, predicates, horizon=40).task.horizon == 40
    with pytest.raises(ValueError, match=rf"at least {horizon} .*got {horizon - 1}"):
        specify(make(), text, predicates, horizon=horizon - 1)


def test_formulas_without_end_want_a_horizon():
    make, _, predicates = CASES["chain"]
    with pytest.raises(ValueError, match=r"no end.*horizon"):
        specify(make(), "F along", predicates)
    env = specify(make(), "F along & G[0,2] !along", predicates, horizon=6)
    env.reset()
    for _ in range(6):
        _, reward, terminated, _, info = env.step(torch.ones(1, dtype=torch.int64))
    assert terminated.item()
    assert info["success"].item()
    assert reward.item() == 1.0


def test_seconds_are_counted_in_the_worlds_steps():
    env = specify(cairngym.make("FetchReach-v4"), "F[0s,1s] near_goal", {"near_goal": near_goal})
    assert env.task.horizon == 25  # 20 substeps of 2 ms
    make, _, predicates = CASES["chain"]
    assert specify(make(), "F[0s,1s] along", predicates, dt=0.25).task.horizon == 4
    with pytest.raises(ValueError, match="dt"):
        specify(make(), "F[0s,1s] along", predicates)


BAD = {
    "no whole number": ("F[0,5] along", {"along": along}, {"horizon": 7.5}, TypeError, "whole number.*7.5"),
    "no step": ("along", {"along": along}, {}, ValueError, "at least one step"),
    "no predicate": ("F[0,3] true", {"along": along}, {}, ValueError, "none|predicates"),
    "malformed": ("F[0,5 along", {"along": along}, {}, FormulaError, re.escape("^")),
    "nobody's": ("F[0,5] alnog", {"along": along}, {}, FormulaError, r"'alnog'.*Did you mean 'along'(.|\n)*\^"),
    "nobody's object": (
        eventually(Predicate("alnog"), 0, 5),
        {"along": along},
        {},
        UnknownNameError,
        "'alnog'.*Did you mean 'along'",
    ),
    "no name": ("F[0,5] along", {"along": along, "a b": along}, {}, ValueError, "'a b'"),
    "short, without end": ("F G[0,5] along", {"along": along}, {"horizon": 3}, ValueError, "horizon of 3"),
    "nothing published": ("F[0,5] along", {}, {}, UnknownNameError, "'along'.*predicates="),
    "no function": ("F[0,5] along", {"along": 3.0}, {}, TypeError, "'along'.*3.0"),
    "wrong shape": ("F[0,5] along", {"along": lambda s: along(s)[:1]}, {}, ValueError, "'along'"),
    "impossible": ("F[0,5] along & G[0,9] !along", {"along": along}, {}, ValueError, "along"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    formula, predicates, options, error, words = BAD[name]
    with pytest.raises(error, match=words):
        specify(cairngym.make("Chain-N10-v0", num_envs=2), formula, predicates, **options)


def test_wrappers_and_other_envs_are_refused():
    with pytest.raises(TypeError, match="specify first, wrap after"):
        specify(TensorWrapper(make_line()), "F[0,3] a")
    with pytest.raises(TypeError, match=r"TensorEnv.*str"):
        specify("Chain-N10-v0", "F[0,3] a")


def test_envs_with_steps_of_their_own_become_worlds():
    env = make_case("doorkey", num_envs=2)
    assert isinstance(env.world.inner, EnvWorld)
    assert env.world.width == 5
    assert make_case("chain").world.inner.num_states == 10
    with pytest.raises(TypeError, match="MuJoCo"):
        PixelObservation(env)


def test_the_package_offers_what_users_need():
    from cairngym.envs import stl

    assert stl.specify is specify
    assert "StlTask" in dir(stl)
    assert stl.StlTask.__name__ == "StlTask"
    with pytest.raises(AttributeError, match="speicfy"):
        _ = stl.speicfy
