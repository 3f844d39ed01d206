"""Numbers and counts of captions, by hand and against a slow count."""

from collections import Counter

import pytest
import torch
from oni_toys import TEXTS, Many, happen, live, oni

from cairngym.reward_shaping.llm.oni.counts import CaptionCounts
from cairngym.reward_shaping.llm.oni.vocabulary import Vocabulary


def test_the_reward_is_the_label_over_the_episodic_count():
    shaper = oni(beta=2.0)
    live(shaper, (1, 2))  # met, not judged yet
    shaper.update()
    rewards = live(shaper, (1, 1), (1, 0), (2, 1))
    assert rewards == [[0.25, 1.0], [round(1 / 9, 6), 0.0], [0.0, 0.25]]
    shaper.begin(torch.tensor([True, False]))
    assert live(shaper, (1, 1), (1, 1)) == [[1.0, round(1 / 9, 6)], [0.25, 0.0625]]


def test_asking_twice_changes_nothing():
    shaper = oni()
    live(shaper, (1, 3))
    shaper.update()
    transition = happen(1, 3)
    first = shaper.shape(transition)
    assert torch.equal(first, shaper.shape(transition))
    assert torch.equal(first, shaper.shape(happen(1, 3)))
    assert first.tolist() == [0.5, 0.5]


def test_rows_where_nothing_was_done_are_not_counted():
    shaper = oni()
    live(shaper, (1, 1))
    shaper.update()
    shaper.begin(torch.ones(2, dtype=torch.bool))
    shaper.observe(happen(1, 1, valid=torch.tensor([True, False])))
    assert shaper.shape(happen(1, 1)).tolist() == [0.5, 1.0]


def test_replayed_transitions_are_refused():
    with pytest.raises(ValueError, match="keep the value that was collected"):
        oni().shape(happen(1, 1, env_id=None))


def test_counts_agree_with_a_slow_count_while_the_table_grows():
    draws = torch.Generator().manual_seed(0)
    shaper = oni(num_envs=5, captioner=Many, annotator="none")
    slow, visits = [Counter() for _ in range(5)], Counter()
    for _ in range(200):
        codes = torch.randint(0, 120, (5,), generator=draws)
        transition = happen(*codes.tolist())
        shaper.observe(transition)
        for env, code in enumerate(codes.tolist()):
            slow[env][code] += 1
            visits[code] += 1
        over = torch.rand(5, generator=draws) < 0.02
        shaper.begin(over)
        slow = [Counter() if gone else counter for gone, counter in zip(over.tolist(), slow, strict=True)]
    assert len(shaper.vocabulary) > 64
    for code in range(1, 120):
        found = shaper._find(happen(*[code] * 5))
        assert found.before.tolist() == [counter[code] for counter in slow]
        assert int(shaper.counts.visits[found.ids[0]]) == visits[code]


def test_captions_noticed_without_waiting_are_numbered_by_first_sight():
    vocabulary = Vocabulary(10, str, torch.device("cpu"))
    for moment, codes in enumerate(([0, 7, 7], [3, 7, 0], [3, 2, 7])):
        vocabulary.notice(torch.tensor(codes), moment)
    assert vocabulary.ids(torch.tensor([7, 3, 2, 0])).tolist() == [-1, -1, -1, 0]
    vocabulary.admit_noticed()
    vocabulary.admit_noticed()
    assert vocabulary.texts == ["", "7", "3", "2"]
    other = Vocabulary(10, str, torch.device("cpu"))
    other.set_state(vocabulary.get_state())
    assert other.ids(torch.arange(10)).tolist() == vocabulary.ids(torch.arange(10)).tolist()


def test_where_nothing_may_wait_new_captions_are_counted_from_the_next_update_on():
    shaper = oni()
    shaper._immediate = False  # as on a GPU
    assert live(shaper, (1, 2), (1, 3)) == [[0, 0], [0, 0]]
    assert len(shaper.vocabulary) == 1
    assert shaper.update()["judged"] == 0, "nothing had a number to be counted under"
    assert shaper.vocabulary.texts[1:] == ["you pick up the red key", "you see a wall", TEXTS[3]]
    live(shaper, (1, 2))
    assert shaper.update()["judged"] == 2
    assert live(shaper, (1, 1)) == [[0.5, 1.0]]


def test_too_many_codes_are_refused():
    with pytest.raises(ValueError, match="Hash its codes"):
        Vocabulary(2**30, str, torch.device("cpu"))


def test_a_snapshot_of_counts():
    counts = CaptionCounts(2, torch.device("cpu"), capacity=2)
    counts.add(torch.arange(2), torch.tensor([1, 1]), torch.tensor([0, 4]))
    counts.reserve(5)
    other = CaptionCounts(2, torch.device("cpu"))
    other.set_state(counts.get_state())
    assert other.capacity == 8
    assert other.before(torch.arange(2), torch.tensor([1, 1])).tolist() == [1, 5]
