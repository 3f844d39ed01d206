"""The archive against lists, its rules for making room, and its copies."""

import numpy as np
import pytest
import torch

from cairngym.agents.checkpoint import to_plain
from cairngym.reward_shaping.quality_diversity.archive import BehaviorArchive
from cairngym.reward_shaping.quality_diversity.novelty import novelty


def batch(draws, count):
    genome = torch.randn(count, 3, 2, generator=draws)
    number = torch.randint(0, 1000, (count,), generator=draws)
    return torch.randn(count, 2, generator=draws), torch.rand(count, generator=draws), genome, number


def fill(archive, draws, rounds, chosen=None):
    rows = []
    for _ in range(rounds):
        count = int(torch.randint(1, 40, (1,), generator=draws))
        place, fitness, genome, number = batch(draws, count)
        pick = None if chosen is None else chosen(count, draws)
        added = archive.add(place, fitness, chosen=pick, genome=genome, number=number)
        order = range(count) if pick is None else pick.nonzero().squeeze(1) if pick.dtype is torch.bool else pick
        rows += [(place[i], fitness[i], genome[i], number[i]) for i in order]
        assert added == len(list(order))
    return rows


def same(archive, rows):
    columns = ("descriptor", "fitness", "genome", "number")
    return all(torch.equal(archive[c], torch.stack([row[i] for row in rows])) for i, c in enumerate(columns))


def test_rows_stay_in_the_order_they_came():
    for chosen in (
        None,
        lambda count, draws: torch.rand(count, generator=draws) < 0.3,
        lambda count, draws: torch.randperm(count, generator=draws)[: min(5, count)],
    ):
        archive, draws = BehaviorArchive(2), torch.Generator().manual_seed(0)
        rows = fill(archive, draws, 30, chosen)
        assert len(archive) == len(rows) > 100
        assert same(archive, rows)
        assert archive.best_offered >= float(archive.fitness.max())
        asked, others = torch.randn(9, 2), torch.randn(4, 2)
        known = torch.cat((archive.descriptors, others))
        assert torch.equal(archive.novelty(asked, others=others), novelty(asked, known))
        assert torch.equal(archive.novelty(asked, 3), novelty(asked, archive.descriptors, 3))


def test_the_oldest_makes_room():
    archive, draws = BehaviorArchive(2, capacity=50), torch.Generator().manual_seed(0)
    rows = fill(archive, draws, 20)
    assert len(rows) > 200
    assert len(archive) == 50
    kept = {float(value) for value in archive.fitness}
    assert kept == {float(row[1]) for row in rows[-50:]}
    turn = len(rows) % 50
    assert same(archive, rows[-turn:] + rows[-50:-turn])


def test_any_makes_room_as_likely_as_another():
    left = np.zeros(30)
    for seed in range(200):
        archive = BehaviorArchive(1, capacity=20, rule="random", seed=seed)
        for start in range(0, 30, 6):
            archive.add(torch.arange(start, start + 6.0).unsqueeze(1))
        assert len(archive) == 20 == len(archive.descriptors.unique())
        left[archive.descriptors.flatten().int().numpy()] += 1
    assert (left[24:] == 200).all(), "the newest are always kept"
    # 18 + 6 of 20: four of 18 make room, then six of 20.
    np.testing.assert_allclose(left[:18] / 200, 14 / 18 * 14 / 20, atol=0.13)
    np.testing.assert_allclose(left[18:24] / 200, 14 / 20, atol=0.13)


@pytest.mark.parametrize("options", [{}, {"capacity": 40}, {"capacity": 50, "rule": "random"}])
def test_a_copy_goes_on_alike(options):
    archive, other = BehaviorArchive(2, **options), BehaviorArchive(2, seed=9, **options)
    draws = torch.Generator().manual_seed(0)
    fill(archive, draws, 4)
    fill(other, torch.Generator().manual_seed(5), 7)
    snapshot = to_plain(archive.get_state())
    other.set_state(snapshot)
    state = draws.get_state()
    fill(archive, draws, 6)
    draws.set_state(state)
    fill(other, draws, 6)
    assert all(torch.equal(archive[name], other[name]) for name in ("descriptor", "fitness", "genome", "number"))
    assert archive.explain() == other.explain()
    other.set_state(snapshot)
    assert len(other) == len(snapshot["columns"]["fitness"]), "a copy is not written to"
    other.set_state(BehaviorArchive(2, **options).get_state())
    assert (len(other), other.descriptors.shape) == (0, (0, 2))


def test_an_empty_archive_says_why():
    archive = BehaviorArchive(2)
    assert archive.explain().startswith("Empty: no behavior was ever offered")
    nobody = torch.zeros(3, dtype=torch.bool)
    assert archive.add(torch.zeros(3, 2), torch.tensor([0.0, -1.0, 0.0]), chosen=nobody) == 0
    assert archive.explain() == "Empty: 3 behaviors were offered and none was chosen. The best fitness offered was 0."
    assert archive.novelty(torch.zeros(1, 2)).tolist() == [np.inf]
    with pytest.raises(KeyError, match="no columns, since it is empty"):
        archive["genome"]
    archive.add(torch.zeros(1, 2))
    assert archive.explain() == "1 behaviors kept of 4 offered."


def test_bad_input_changes_nothing():
    archive = BehaviorArchive(2, capacity=4)
    archive.add(torch.zeros(2, 2), torch.zeros(2), genome=torch.zeros(2, 3))
    before = archive.get_state()
    two, nan = torch.zeros(2, 2), torch.tensor([0.0, np.nan])
    genome = torch.zeros(2, 3)
    for arguments, message in [
        ({"descriptors": torch.zeros(2, 3)}, r"descriptors of shape \(2, 2\), i.e. \(B, D\), got \(2, 3\)"),
        (
            {"descriptors": torch.stack((nan, nan))},
            r"finite descriptors, got NaN or infinity in 2 of 2 rows, first in row 0",
        ),
        ({"fitness": nan}, r"finite fitness, got NaN or infinity in 1 of 2 rows, first in row 1: nan"),
        ({"fitness": torch.tensor([0.0, np.inf])}, "finite fitness"),
        ({"fitness": torch.zeros(3)}, r"fitness of shape \(2,\)"),
        ({"chosen": torch.ones(3, dtype=torch.bool)}, r"chosen of shape \(2,\)"),
        ({"chosen": torch.ones(2)}, "bool"),
        ({"genome": torch.zeros(3, 3)}, "with 2 rows each"),
        ({"genome": torch.zeros(2, 4)}, r"genome of rows \(3,\)"),
        ({"genome": genome.double()}, "torch.float32 as before, got .* torch.float64"),
        ({"number": torch.zeros(2)}, "Expected the columns"),
    ]:
        with pytest.raises(ValueError, match=message):
            archive.add(**{"descriptors": two, "fitness": torch.zeros(2), "genome": genome, **arguments})
    with pytest.raises(ValueError, match="at most 4 rows at once"):
        archive.add(torch.zeros(5, 2), genome=torch.zeros(5, 3))
    assert archive.get_state()["offered"] == before["offered"] == 2
    assert len(archive) == 2
    with pytest.raises(ValueError, match="snapshot's descriptors"):
        BehaviorArchive(3).set_state(before)
    for options in ({"size": 0}, {"capacity": 0}, {"rule": "best"}):
        with pytest.raises(ValueError, match="Expected"):
            BehaviorArchive(**{"size": 2, **options})
