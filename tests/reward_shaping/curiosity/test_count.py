from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from gymnasium.vector import AutoresetMode

from cairngym.envs.core import Transition
from cairngym.envs.registry import make
from cairngym.reward_shaping.curiosity.count import LARGEST_COUNT, LARGEST_STAMP, CountShaper
from cairngym.reward_shaping.registry import shape


def toy(count=4, fields=("place",), **options):
    """A shaper bound to an env that has these state fields, without worlds."""
    env = SimpleNamespace(num_envs=count, device=torch.device("cpu"), state_spec=dict.fromkeys(fields))
    env.unwrapped = SimpleNamespace(task=SimpleNamespace(count_fields=()))
    shaper = CountShaper(**options)
    shaper.bind(env)
    return shaper


def arrive(valid=None, env_id=True, **state):
    count = len(next(iter(state.values())))
    zero = torch.zeros(count)
    return Transition(
        obs=zero, state={}, action=zero, next_obs=zero, next_state=state, reward=zero, terminated=zero.bool(),
        truncated=zero.bool(), success=zero.bool(), env_id=torch.arange(count) if env_id else None, valid=valid,
    )  # fmt: skip


def walk(env, steps, seed=0):
    draws = torch.Generator().manual_seed(seed)
    env.reset(seed=seed)
    for _ in range(steps):
        _, _, terminated, truncated, info = env.step(torch.randint(2, (env.num_envs,), generator=draws))
        yield info, terminated | truncated


@pytest.mark.parametrize("mode", list(AutoresetMode)[:2])
def test_episodic_counts_equal_a_dictionary(mode):
    env = shape(make("Chain-N10-v0", num_envs=5, autoreset_mode=mode), "count")
    memory = [Counter() for _ in range(5)]
    resting, repeats = [False] * 5, 0
    for info, done in walk(env, 250):
        for i, node in enumerate(info["final_state"]["node"].tolist()):
            if resting[i]:
                assert float(info["reward_terms"]["count"][i]) == 0.0
            else:
                memory[i][node] += 1
                repeats += memory[i][node] > 1
                assert float(info["reward_terms"]["count"][i]) == pytest.approx(memory[i][node] ** -0.5)
            if done[i]:
                memory[i].clear()
            resting[i] = bool(done[i]) and mode is AutoresetMode.NEXT_STEP
    assert repeats > 100


def test_lifelong_counts_equal_a_dictionary():
    env = shape(make("Chain-N10-v0", num_envs=5), "count", mode="lifelong", exponent=1.0)
    memory = Counter()
    for info, _ in walk(env, 200):
        nodes = info["final_state"]["node"].tolist()
        expected = [1 / (memory[node] + 1) for node in nodes]
        assert info["reward_terms"]["count"].tolist() == pytest.approx(expected)
        memory.update(nodes)
    assert memory[0] > 100


def test_asking_twice_counts_once():
    shaper = toy(2)
    first, again = (arrive(place=torch.tensor([3, 3])) for _ in range(2))
    assert shaper.shape(first).tolist() == shaper.shape(first).tolist() == shaper.shape(again).tolist() == [1.0, 1.0]
    shaper.observe(first)
    shaper.begin(torch.tensor([True, False]))
    assert shaper.shape(again).tolist() == pytest.approx([1.0, 2**-0.5])


def test_rows_that_are_not_valid_are_not_counted():
    for mode in ("episodic", "lifelong"):
        shaper = toy(2, mode=mode)
        shaper.observe(arrive(place=torch.tensor([3, 4]), valid=torch.tensor([True, False])))
        assert shaper.shape(arrive(place=torch.tensor([3, 4]))).tolist() == pytest.approx([2**-0.5, 1.0])


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_positions_on_a_grid_never_collide(bits):
    side = 2 ** (bits // 2) // 2
    cells = torch.cartesian_prod(torch.arange(-side // 2, side - side // 2), torch.arange(1000, 1000 + side))
    slots = toy(table_bits=bits).slot({"place": cells})
    assert len(slots.unique()) == side * side
    assert 0 <= int(slots.min()) <= int(slots.max()) < 2**bits


def test_collisions_of_other_keys_are_as_rare_as_documented():
    draws = torch.Generator().manual_seed(0)
    keys = torch.randint(0, 8, (100 * 200, 30), generator=draws)
    slots = toy(table_bits=12).slot({"place": keys}).view(200, 100)
    shared = sum(100 - int((row.bincount(minlength=4096) == 1).sum()) for row in slots) / slots.numel()
    assert shared == pytest.approx(1 - (1 - 2**-12) ** 99, abs=0.006)


def test_every_field_and_column_of_the_key_counts():
    shaper = toy(fields=("place", "speed"), resolution={"speed": 0.5}, mode="lifelong")
    state = {"place": torch.tensor([[1, 2, 3, 4]]), "speed": torch.tensor([0.6])}
    base = shaper.slot(state)
    for column in range(4):
        moved = state["place"].clone()
        moved[0, column] += 1
        assert shaper.slot({**state, "place": moved}) != base
    assert shaper.slot({**state, "speed": torch.tensor([0.99])}) == base
    assert shaper.slot({**state, "speed": torch.tensor([1.01])}) != base
    assert shaper.slot({**state, "speed": torch.tensor([0.49])}) != base
    assert shaper.slot({**state, "speed": torch.tensor([-0.1])}) != shaper.slot({**state, "speed": torch.tensor([0.1])})


def test_the_key_is_the_given_one_then_the_tasks_then_everything():
    env = make("Chain-N10-v0")
    shaper = CountShaper()
    shaper.bind(env)
    assert shaper.requires == ("node",)
    env.task.count_fields = ("spot",)
    shaper.bind(env)
    assert shaper.requires == ("spot",)
    assert CountShaper(key="node").requires == ("node",)
    with pytest.raises(ValueError, match="spot"):
        shape(env, "count")


def test_long_lives_stay_in_range():
    shaper = toy(1)
    here = arrive(place=torch.tensor([3]))
    shaper._table[shaper._find(here)[0]] = LARGEST_COUNT - 1
    shaper._found = None
    for _ in range(3):
        shaper.observe(here)
    assert float(shaper.shape(here)) == pytest.approx((LARGEST_COUNT + 1) ** -0.5)
    shaper.begin(torch.tensor([True]))
    shaper._stamp.fill_(LARGEST_STAMP)
    shaper.observe(here)
    assert float(shaper.shape(here)) == pytest.approx(2**-0.5), "the largest stamp fits"
    shaper.begin(torch.tensor([True]))
    assert int(shaper._stamp) == 0


def test_a_snapshot_holds_only_what_is_in_use():
    shaper = toy(2)
    for place in range(50):
        shaper.observe(arrive(place=torch.tensor([place, place])))
    shaper.begin(torch.tensor([True, False]))
    shaper.observe(arrive(place=torch.tensor([7, 7])))
    snapshot = shaper.get_state()
    assert len(snapshot["entries"]) == 1 + 50
    other = toy(2)
    other.set_state(snapshot)
    seven = arrive(place=torch.tensor([7, 7]))
    assert other.shape(seven).tolist() == shaper.shape(seven).tolist() == pytest.approx([2**-0.5, 3**-0.5])


def test_replayed_transitions_have_no_episodic_count():
    with pytest.raises(ValueError, match="keep the value that was collected"):
        toy().shape(arrive(place=torch.zeros(4), env_id=False))
    assert toy().memory
    lifelong = toy(mode="lifelong")
    assert not lifelong.memory
    assert lifelong.shape(arrive(place=torch.zeros(7), env_id=False)).tolist() == [1.0] * 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "daily"}, "'episodic' or 'lifelong'"),
        ({"stream": "main"}, "'task' or 'intrinsic'"),
        ({"resolution": 0.0}, "resolution above zero"),
        ({"table_bits": 40}, r"table_bits in \[1, 30\]"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CountShaper(**options)
