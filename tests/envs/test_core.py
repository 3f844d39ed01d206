"""TensorEnv against hand-computed episodes of a corridor, and its public borders."""

import pytest
import torch
from gymnasium.vector import AutoresetMode
from toy_worlds import LineTask, LineWorld, make_line

import cairngym
from cairngym.envs.core import TensorEnv, Transition, clone, judged, where
from cairngym.envs.state_view import StateView
from cairngym.envs.tabular import TabularTask, TabularWorld


def corridor(num_envs=2, length=3, **options):
    """States 0 .. length-1, the last one the goal; the limit is 4 x length steps."""
    return cairngym.make("Chain-N10-v0", num_envs=num_envs, length=length, **options)


def step(env, *actions):
    obs, reward, terminated, truncated, info = env.step(list(actions))
    return obs.argmax(1).tolist(), reward.tolist(), terminated.tolist(), truncated.tolist(), info


def test_same_step_by_hand():
    env = corridor()
    env.reset()
    assert step(env, 1, 0)[:4] == ([1, 0], [0.0, 0.0], [False, False], [False, False])
    nodes, reward, terminated, truncated, info = step(env, 1, 1)
    assert (nodes, reward, terminated, truncated) == ([0, 1], [1.0, 0.0], [True, False], [False, False])
    assert info["success"].tolist() == [True, False]
    assert info["final_obs"].argmax(1).tolist() == [2, 1]
    assert info["final_state"]["node"].tolist() == [2, 1]
    assert env.state["node"].tolist() == [0, 1]
    assert info["_final_obs"].tolist() == info["_episode"].tolist() == [True, False]
    assert {name: value.tolist() for name, value in info["episode"].items()} == {
        "return": [1.0, 0.0], "length": [2, 2], "success_once": [True, False], "success_at_end": [True, False],
    }  # fmt: skip
    assert step(env, 0, 0)[4]["episode"]["length"].tolist() == [1, 3]


def test_time_limit_by_hand():
    env = corridor(num_envs=1)
    env.reset()
    for _ in range(11):
        assert step(env, 0)[3] == [False]
    _, reward, terminated, truncated, info = step(env, 0)
    assert (reward, terminated, truncated) == ([0.0], [False], [True])
    assert info["episode"]["length"].tolist() == [12]


def test_both_flags_at_once():
    env = corridor(num_envs=1)
    env.reset()
    for action in [0] * 10 + [1]:
        step(env, action)
    assert step(env, 1)[1:4] == ([1.0], [True], [True])


def test_next_step_ignores_the_action_after_an_end():
    env = corridor(num_envs=1, autoreset_mode="NextStep")
    env.reset()
    step(env, 1)
    assert step(env, 1)[:4] == ([2], [1.0], [True], [False])
    nodes, reward, terminated, truncated, info = step(env, 1)
    assert (nodes, reward, terminated, truncated) == ([0], [0.0], [False], [False])
    assert info["episode"]["length"].tolist() == [0]
    assert step(env, 1)[:4] == ([1], [0.0], [False], [False])


def test_disabled_waits_for_its_reset():
    env = corridor(autoreset_mode="Disabled")
    env.reset()
    step(env, 1, 0)
    assert step(env, 1, 0)[:4] == ([2, 0], [1.0, 0.0], [True, False], [False, False])
    _, reward, terminated, _, info = step(env, 1, 0)
    assert (reward, terminated) == ([0.0, 0.0], [True, False])
    assert info["success"].tolist() == [False, False]
    assert info["episode"]["return"].tolist() == [1.0, 0.0]
    assert info["episode"]["length"].tolist() == [2, 3]
    obs, info = env.reset(options={"reset_mask": torch.tensor([True, False])})
    assert obs.argmax(1).tolist() == [0, 0]
    assert env.episodes.number.tolist() == [1, 0]
    assert env.episodes.length.tolist() == [0, 3]


def test_failure_ends_without_reward():
    transitions = torch.eye(3).roll(1, dims=1)[:, None]  # 0 -> 1 -> 2 -> 0, one action
    world = TabularWorld(transitions, torch.tensor([1.0, 0.0, 0.0]), 1, "cpu")
    env = TensorEnv(world, TabularTask(3, goals=(2,), failures=(1,)))
    env.reset()
    _, reward, terminated, truncated, info = env.step([0])
    assert (reward.item(), terminated.item(), truncated.item(), info["success"].item()) == (0.0, True, False, False)


def test_success_need_not_terminate():
    env = make_line(num_envs=1, terminate_on_success=False)
    env.reset()
    successes = []
    for _ in range(12):
        _, reward, terminated, truncated, info = env.step(torch.ones(1, 1))
        assert reward.item() == float(info["success"].item())
        assert not terminated.item()
        successes.append(info["success"].item())
    assert truncated.item()
    assert info["episode"]["return"].item() == sum(successes) > 1


def test_reset_goes_on_and_a_seed_starts_over():
    env = make_line(num_envs=4, seed=3)
    first = env.reset()[0]["where"]
    second = env.reset()[0]["where"]
    assert not torch.equal(first, second)
    assert torch.equal(env.reset(seed=3)[0]["where"], first)
    assert not torch.equal(env.reset(seed=4)[0]["where"], first)


def test_stagger_spreads_time_limits():
    env = make_line(num_envs=200)
    env.reset(options={"stagger": True})
    lived = env.episodes.length
    assert lived.min() == 0
    assert lived.max() == env.task.horizon - 1
    left = env.task.horizon - lived
    env.step(torch.zeros(200, 1))
    assert torch.equal(env.step(torch.zeros(200, 1))[3], left == 2)


def test_snapshot_of_another_batch_is_refused():
    env, other = make_line(num_envs=2), make_line(num_envs=3)
    env.reset()
    with pytest.raises(ValueError, match="snapshot of 3 envs, got one of 2"):
        other.set_state(env.get_state())


def test_first_reset_must_start_everyone():
    with pytest.raises(RuntimeError, match="first reset"):
        make_line(num_envs=2).reset(options={"reset_mask": torch.tensor([True, False])})


def test_render_modes_are_what_the_world_can_do():
    drawable, blind = make_line(num_envs=3), corridor()
    assert drawable.metadata["render_modes"] == ["rgb_array"]
    assert [frame.max() for frame in drawable.render([2, 0])] == [2, 0]
    assert len(drawable.render()) == 3
    assert blind.metadata["render_modes"] == []
    assert blind.render_mode is None
    with pytest.raises(TypeError, match="draws no pictures"):
        blind.render()


def test_close_reaches_the_world():
    closed = []

    class Closing(LineWorld):
        def close(self):
            closed.append(True)

    env = make_line(world=Closing)
    env.close()
    env.close()
    assert closed == [True]


def test_modes_are_named_as_in_gymnasium():
    assert make_line(autoreset_mode="NextStep").metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    with pytest.raises(ValueError, match="nextstep"):
        make_line(autoreset_mode="nextstep")


def test_judged_refuses_a_task_without_rules():
    task = LineTask()
    assert judged(task) is task
    with pytest.raises(TypeError, match="observe"):
        judged(object())


def test_where_and_clone_go_through_dicts():
    mask = torch.tensor([True, False])
    new, old = {"a": torch.ones(2, 3), "b": {"c": torch.ones(2)}}, {"a": torch.zeros(2, 3), "b": {"c": torch.zeros(2)}}
    chosen = where(mask, new, old)
    assert chosen["a"].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert chosen["b"]["c"].tolist() == [1, 0]
    copied = clone(new)
    copied["b"]["c"].zero_()
    assert new["b"]["c"].tolist() == [1, 1]
    assert clone(None) is None


def test_transition_has_the_length_of_its_batch():
    flag = torch.zeros(5, dtype=torch.bool)
    nothing = torch.zeros(5)
    transition = Transition(
        obs=nothing, state={}, action=nothing, next_obs=nothing, next_state={}, reward=nothing,
        terminated=flag, truncated=flag, success=flag, env_id=None,
    )  # fmt: skip
    assert len(transition) == 5


def test_state_view_measures_once_and_refuses_the_past():
    calls, clock = [], [7]

    def measure(name):
        calls.append(name)
        return torch.ones(2)

    view = StateView(measure, ("a", "b"), 7, lambda: clock[0])
    assert "b" in view
    assert "c" not in view
    assert calls == []
    assert list(view) == ["a", "b"]
    assert view["a"] is view["a"]
    assert calls == ["a"]
    with pytest.raises(KeyError, match="Unknown state field 'c'"):
        view["c"]
    clock[0] = 8
    assert view["a"].tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="belongs to step 7, but the env is at step 8"):
        view["b"]
