import pytest
import torch

from cairngym.agents.ring import Ring, take

CPU = torch.device("cpu")


def live(ring, ends):
    """Write one step for each entry; `ends` says where the episode of the single env ended."""
    for number, end in enumerate(ends, start=ring.steps):
        columns = {"number": torch.tensor([number]), "deep": {"half": torch.tensor([number / 2])}}
        ring.write(columns, torch.tensor([end]))


def spans(ring):
    held = torch.arange(ring.oldest, ring.steps)
    first, last = ring.span(held, torch.zeros_like(held))
    return list(zip(first.tolist(), last.tolist(), strict=True))


def test_spans_of_ended_and_running_episodes():
    ring = Ring(6, 1, CPU)
    live(ring, [False, True, True, False, False])
    assert spans(ring) == [(0, 1), (0, 1), (2, 2), (3, 4), (3, 4)]


def test_spans_in_a_wrapped_ring_begin_with_the_oldest_step_held():
    ring = Ring(3, 1, CPU)
    live(ring, [False, False, False, True, False])
    assert spans(ring) == [(2, 3), (2, 3), (4, 4)]


def test_a_ring_full_of_episodes_of_one_step_knows_them_all():
    ring = Ring(3, 1, CPU)
    for _ in range(9):
        live(ring, [True])
        assert spans(ring) == [(step, step) for step in range(ring.oldest, ring.steps)]


def test_cutting_often_is_cutting_once():
    ring = Ring(3, 1, CPU)
    live(ring, [False, False])
    for _ in range(9):
        ring.cut()
    live(ring, [False])
    assert spans(ring) == [(0, 1), (0, 1), (2, 2)]


def test_rows_are_found_by_step_and_env():
    ring = Ring(4, 2, CPU)
    for step in range(6):
        ring.write({"number": torch.tensor([step, 100 + step])}, torch.tensor([False, False]))
    step, env = torch.tensor([[2, 5], [4, 3]]), torch.tensor([[0, 1], [1, 0]])
    assert take(ring.columns["number"], ring.locate(step, env)).tolist() == [[2, 105], [104, 3]]


def test_whole_episodes_make_a_full_ring():
    ring = Ring.of_episodes({"number": torch.arange(6)}, torch.tensor([1, 3, 2]), CPU)
    assert (ring.filled, ring.oldest) == (6, 0)
    assert spans(ring) == [(0, 0), (1, 3), (1, 3), (1, 3), (4, 5), (4, 5)]
    assert take(ring.columns["number"], torch.arange(6)).tolist() == list(range(6))


def test_snapshots_hold_what_is_filled_and_fit_only_their_size():
    ring, other = Ring(4, 1, CPU), Ring(4, 1, CPU)
    live(ring, [False, True, False])
    live(other, [True] * 11)
    snapshot = ring.get_state()
    assert snapshot["columns"]["deep"]["half"].tolist() == [[0.0], [0.5], [1.0]]
    other.set_state(snapshot)
    for each in (ring, other):
        live(each, [True, False])
    assert spans(other) == spans(ring) == [(1, 1), (2, 3), (2, 3), (4, 4)]
    assert torch.equal(other.columns["number"], ring.columns["number"])
    with pytest.raises(ValueError, match="same capacity and num_envs"):
        Ring(5, 1, CPU).set_state(snapshot)
