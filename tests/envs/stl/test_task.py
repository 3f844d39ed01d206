"""The verdict on complete traces, and what the agent sees, from states written by hand."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

from cairngym.envs.core import Task
from cairngym.envs.stl.formula import Predicate, eventually
from cairngym.envs.stl.measures import Measure
from cairngym.envs.stl.task import StlTask, with_clock

INF = math.inf


class Base(Task):
    """Shows the state field `shown`, whatever it is."""

    def __init__(self, space, categories=None):
        self.single_observation_space, self.horizon = space, 99
        self.categories = categories or {}
        self.count_fields = ("cell",)

    def observe(self, state):
        return state["shown"]

    def success(self, state):
        return torch.zeros_like(state["stl_time"], dtype=torch.bool)


def box(*shape, dtype=np.float32):
    return spaces.Box(0, 2, shape, dtype)


def make_task(space=None, scale=2.0, categories=None, **options):
    measures = {"a": Measure(margin=lambda state: state["shown"][:, 0], unit="m", description="A.", scale=scale)}
    return StlTask(eventually(Predicate("a"), 0, 8), measures, 8, Base(space or box(2), categories), **options)


def state_of(time, low, high, **fields):
    tensors = {"stl_time": time, "stl_low": low, "stl_high": high, **fields}
    return {name: value if isinstance(value, dict) else torch.as_tensor(value) for name, value in tensors.items()}


TIMES = [7.0, 8.0, 8.0, 8.0, 3.0, 3.0]
LOWS = [0.5, 0.5, 0.0, -0.1, -INF, -INF]
HIGHS = [0.5, 0.5, 0.0, -0.1, -0.1, 0.0]


def test_only_the_complete_trace_is_judged():
    task, state = make_task(), state_of(TIMES, LOWS, HIGHS)
    success, failure = task.success(state), task.failure(state)
    assert success.tolist() == [False, True, True, False, False, False]
    assert failure.tolist() == [False, False, False, True, False, False]
    assert task.reward(state, success, failure, torch.zeros(6)).tolist() == [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert task.terminate_on_success
    assert task.reward_range == (0.0, 1.0)


def test_violation_ends_an_episode_on_request_and_certain_success_does_not():
    task, state = make_task(terminate_on_violation=True), state_of(TIMES, LOWS, HIGHS)
    assert task.success(state).tolist() == [False, True, True, False, False, False]
    assert task.failure(state).tolist() == [False, False, False, True, True, False]


def test_progress_by_hand():
    low, high = [-INF, -INF, -1.0, 0.0, -4.0, -1e-9, -INF], [INF, -1.0, 3.0, 5.0, -4.0, -1e-9, -2.0]
    progress = make_task(scale=2.0).progress(state_of([1.0] * 7, low, high))
    assert progress.dtype is torch.float32
    assert progress.tolist()[:5] == [0.5, 0.25, 0.75, 1.0, 0.0]
    assert 0.99 < progress[5] < 1.0, "one must be left to success"
    assert progress[6] == 0.0


def test_progress_rises_with_both_ends():
    ends = torch.linspace(-3.0, 1.0, 41)
    low, high = torch.meshgrid(ends, ends, indexing="ij")
    value = make_task(scale=2.0).progress({"stl_low": low, "stl_high": high, "stl_time": torch.zeros_like(low)})
    certain = low >= 0.0
    assert (value.diff(dim=0) >= 0).all()
    assert (value.diff(dim=1) >= 0).all()
    assert torch.equal(value == 1.0, certain)


def test_progress_fields_suffice():
    task = make_task()
    state = {name: torch.zeros(3) for name in task.progress_fields}
    assert task.progress(state).tolist() == [1.0, 1.0, 1.0]


def test_time_is_appended_to_a_vector_of_floats():
    task = make_task(box(2))
    shown = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    obs = task.observe(state_of([0.0, 6.0], [0.0, 0.0], [0.0, 0.0], shown=shown))
    assert torch.equal(obs, torch.cat((shown, torch.tensor([[0.0], [0.75]])), dim=1))
    assert task.single_observation_space == spaces.Box(np.array([0, 0, 0], np.float32), np.array([2, 2, 1], np.float32))


def test_time_takes_the_precision_of_the_vector():
    task = make_task(box(1, dtype=np.float64))
    obs = task.observe(state_of([2.0], [0.0], [0.0], shown=torch.ones(1, 1, dtype=torch.float64)))
    assert obs.dtype is torch.float64
    assert task.single_observation_space.dtype == np.float64


def test_time_is_a_further_entry_of_a_dict():
    codes = {"cell": ((0, 1, 2),)}
    task = make_task(spaces.Dict({"cell": box(1, dtype=np.int64)}), categories=codes)
    shown = {"cell": torch.tensor([[1], [2]])}
    obs = task.observe(state_of([4.0, 8.0], [0.0, 0.0], [0.0, 0.0], shown=shown))
    assert set(obs) == {"cell", "time"} == set(task.single_observation_space)
    assert obs["time"].tolist() == [[0.5], [1.0]]
    assert obs["time"].dtype is torch.float32
    assert task.categories == codes


@pytest.mark.parametrize("space", [box(2, 2), box(3, dtype=np.uint8), box(2, dtype=np.int64)])
def test_other_observations_stand_beside_time(space):
    task = make_task(space, categories={"": ((0, 1),)})
    shown = torch.zeros(1, *space.shape, dtype=torch.from_numpy(np.empty(0, space.dtype)).dtype)
    obs = task.observe(state_of([8.0], [0.0], [0.0], shown=shown))
    assert obs["observation"] is shown
    assert obs["time"].tolist() == [[1.0]]
    assert task.single_observation_space["observation"] == space
    assert task.categories == {"observation": ((0, 1),)}


def test_an_entry_called_time_is_refused():
    with pytest.raises(ValueError, match="'time'"):
        with_clock(spaces.Dict({"time": box(1)}))


def test_places_are_told_apart_by_the_bases_fields():
    assert make_task().count_fields == ("cell",)
    base = Base(box(1))
    base.count_fields = ()
    task = StlTask(Predicate("a"), {}, 3, base, count_fields=("position",))
    assert task.count_fields == ("position",)
