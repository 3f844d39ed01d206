"""The grid against a dictionary of cells, reward areas, corrected metrics, and the file they are kept in."""

import json
import math

import numpy as np
import pytest
import torch

from cairngym.agents.checkpoint import to_plain
from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.reward_shaping.quality_diversity.corrected import correct
from cairngym.reward_shaping.quality_diversity.grid import GridRecord, RewardArea
from cairngym.reward_shaping.quality_diversity.saved import read_archive, save_record, write_archive

PLACE = BehaviorDescriptor(entries=(("position", 0), ("position", 1)), low=(-1.0, 0.0), high=(1.0, 3.0), cells=(4, 6))
AREAS = (RewardArea(center=(0.5, 1.0), radius=0.25), RewardArea(center=(0.5, 1.2), radius=0.5))


def made(offset=-1.0, seed=0, rounds=12):
    """A record of rounds of evaluations, and these one by one."""
    record, draws = GridRecord(PLACE, areas=AREAS, offset=offset), torch.Generator().manual_seed(seed)
    every = []
    for _ in range(rounds):
        count = int(torch.randint(1, 60, (1,), generator=draws))
        place = torch.rand(count, 2, generator=draws) * torch.tensor([2.6, 3.8]) - torch.tensor([1.3, 0.4])
        fitness = torch.randint(-2, 4, (count,), generator=draws) / 2  # many ties
        record.add(place, fitness)
        every += list(zip(place.numpy(), fitness.tolist(), strict=True))
    return record, every


def test_cells_equal_a_dictionary():
    record, every = made()
    best, visits, outside = {}, {}, 0
    for number, (place, fitness) in enumerate(every):
        clipped = np.clip(place, (-1, 0), (1, 3))
        column, row = np.minimum((clipped - (-1, 0)) / (2, 3) * (4, 6), (3, 5)).astype(int)
        cell = int(column * 6 + row)
        outside += bool((clipped != place).any())
        visits[cell] = visits.get(cell, 0) + 1
        if cell not in best or fitness > best[cell][0]:
            best[cell] = fitness, number, clipped
    cells = sorted(best)
    assert record.reached.tolist() == cells
    assert len(cells) > 15
    assert outside > 50
    assert record.visits[cells].tolist() == [visits[cell] for cell in cells]
    assert record.fitness[cells].tolist() == [best[cell][0] for cell in cells]
    assert record.who[cells].tolist() == [best[cell][1] for cell in cells]
    np.testing.assert_array_equal(
        record.behavior[cells], np.stack([best[cell][2] for cell in cells]).astype(np.float32)
    )
    metrics = record.metrics()
    assert metrics["coverage"] == len(cells) / 24
    assert metrics["qd_score"] == sum(best[cell][0] + 1 for cell in cells)
    assert metrics["best_fitness"] == 1.5
    assert (metrics["evaluations"], metrics["outside"]) == (len(every), outside)
    assert set(record.who[record.visits == 0].tolist()) <= {-1}


def test_areas_count_what_was_spent_in_them():
    record, every = made()
    inside = [[], []]
    for number, (place, fitness) in enumerate(every):
        for area, found in zip(AREAS, inside, strict=True):
            if np.hypot(*(place - area.center)) <= area.radius:
                found.append((number, fitness))
                break  # the first area has it
    for area, found in enumerate(inside):
        metrics = record.metrics()
        assert len(found) > 3
        assert metrics[f"area_{area}/evaluations"] == len(found)
        assert metrics[f"area_{area}/best"] == max(fitness for _, fitness in found)
        assert int(record.area_first[area]) == found[0][0]
    given = GridRecord(PLACE, areas=AREAS, offset=-1.0)
    place, fitness = zip(*every, strict=True)
    given.add(torch.tensor(np.stack(place)), torch.tensor(fitness), area=torch.full((len(every),), -1))
    assert given.metrics()["area_1/evaluations"] == 0
    assert given.metrics()["area_1/best"] == -1.0, "the offset while nothing reached it"
    assert given.area_first.tolist() == [-1, -1]
    border = given.area(torch.tensor([[0.5, 0.75], [0.5, 0.74], [0.5, 1.7], [0.5, 1.8]]))
    assert border.tolist() == [0, 1, 1, -1]


def test_one_batch_equals_many_and_a_copy_goes_on_alike():
    record, every = made()
    place, fitness = torch.tensor(np.stack([p for p, _ in every])), torch.tensor([f for _, f in every])
    whole, parts = GridRecord(PLACE, areas=AREAS, offset=-1.0), GridRecord(PLACE, areas=AREAS, offset=-1.0)
    whole.add(place, fitness)
    for row in range(len(every)):
        if row == 20:
            snapshot = to_plain(parts.get_state())
            parts = GridRecord(PLACE, areas=AREAS, offset=-1.0)
            parts.add(place[-9:], fitness[-9:])
            parts.set_state(snapshot)
        parts.add(place[row : row + 1], fitness[row : row + 1])
    for other in (whole, parts):
        for name, value in record.get_state().items():
            found = other.get_state()[name]
            assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value
    assert snapshot["evaluations"] == 20 == int(snapshot["visits"].sum())


def test_an_empty_record_says_why_and_has_numbers_that_json_holds():
    record = GridRecord(PLACE, areas=AREAS)
    assert record.explain() == "Empty: no evaluation was recorded."
    record.add(torch.zeros(0, 2), torch.zeros(0))
    expected = {"coverage": 0.0, "qd_score": 0.0, "best_fitness": 0.0, "evaluations": 0, "outside": 0}
    expected |= {f"area_{k}/{name}": 0 for k in (0, 1) for name in ("best", "evaluations")}
    assert json.loads(json.dumps(record.metrics(), allow_nan=False)) == expected
    record.add(torch.tensor([[0.0, 9.0], [0.0, 1.0]]), torch.zeros(2))
    assert record.explain() == (
        "2 of 24 cells reached in 2 evaluations, 1 of them outside of the bounds and clipped; no fitness was above 0."
    )
    again = GridRecord(PLACE)
    again.add(torch.zeros(1, 2), torch.ones(1))
    assert again.explain() == "1 of 24 cells reached in 1 evaluations."


def test_bad_input_changes_nothing():
    record, _ = made(rounds=2)
    before = record.get_state()
    zero = torch.zeros(2)
    place = torch.zeros(2, 2)
    for arguments, message in [
        (
            (place, torch.tensor([0.0, math.nan])),
            "finite fitness, got NaN or infinity in 1 of 2 rows, first in row 1: nan",
        ),
        ((place, torch.tensor([-math.inf, 0.0])), "finite fitness"),
        ((place * math.nan, zero), "finite descriptors, got NaN or infinity in 2 of 2 rows"),
        ((place, zero[:1]), r"fitness of shape \(2,\)"),
        ((place[:, :1], zero), r"descriptors of shape \(2, 2\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            record.add(*arguments)
    with pytest.raises(ValueError, match="areas below 2, got 2"):
        record.add(place, zero, area=torch.tensor([0, 2]))
    assert all(np.array_equal(record.get_state()[name], before[name]) for name in before)
    with pytest.raises(ValueError, match=r"areas\) = \(24, 2, 0\), got one of \(24, 2, 2\)"):
        GridRecord(PLACE).set_state(before)
    with pytest.raises(ValueError, match="centers of 2 numbers"):
        GridRecord(PLACE, areas=[RewardArea(center=(1.0,), radius=1.0)])
    with pytest.raises(ValueError, match="finite offset"):
        GridRecord(PLACE, offset=math.nan)
    for center, radius in [((), 1.0), ((1.0,), 0.0), ((1.0,), math.nan)]:
        with pytest.raises(ValueError, match="radius above zero"):
            RewardArea(center=center, radius=radius)


# Corrected metrics ----------------------------------------------------------------------------------------------------


def test_sure_elites_are_confirmed():
    record, _ = made()
    cells = record.reached
    again = correct(record, record.behavior[cells].expand(3, -1, -1), record.fitness[cells].expand(3, -1))
    assert (again.reproducibility, again.fitness_loss, again.repeats) == (0.0, 0.0, 3)
    assert torch.equal(again.record.reached, cells)
    metrics = again.metrics()
    assert metrics["corrected/coverage"] == record.coverage
    assert metrics["corrected/qd_score"] == record.qd_score
    assert metrics["corrected/best_fitness"] == record.best_fitness


@pytest.mark.parametrize("average", ["mean", "median"])
def test_lucky_elites_are_not(average):
    record = GridRecord(PLACE, areas=AREAS, offset=-1.0)
    record.add(torch.tensor([[-0.9, 0.1], [0.9, 2.9], [0.3, 5.0]]), torch.tensor([1.0, 0.5, 0.0]))
    draws = np.random.default_rng(0)
    place = np.array([[-0.9, 0.1], [-0.8, 0.2], [0.3, 4.0]]) + draws.normal(
        0, 0.01, (8, 3, 2)
    )  # the second goes elsewhere
    worth = np.array([0.5, 0.25, 0.0]) + draws.normal(0, 0.1, (8, 3))
    again = correct(record, torch.tensor(place), torch.tensor(worth), average=average)
    # Elites stand in the order of their cells: the first, the clipped one, the second.
    stored = np.array([[-0.9, 0.1], [0.3, 3.0], [0.9, 2.9]])
    place, worth = place[:, [0, 2, 1]], worth[:, [0, 2, 1]]
    again = correct(record, torch.tensor(place), torch.tensor(worth), average=average)
    middle = {"mean": np.mean, "median": np.median}[average]
    fresh = middle(worth, axis=0)
    assert again.record.reached.tolist() == [0, 17]
    assert again.record.coverage == 2 / 24 < record.coverage == 3 / 24
    assert again.record.qd_score == pytest.approx(max(fresh[0], fresh[2]) + 1 + fresh[1] + 1, rel=1e-5)
    assert again.record.best_fitness == pytest.approx(fresh.max(), rel=1e-5)
    assert again.fitness_loss == pytest.approx((np.array([1.0, 0.0, 0.5]) - fresh).mean(), rel=1e-5)
    clipped = np.clip(place, (-1, 0), (1, 3))
    assert again.reproducibility == pytest.approx(np.linalg.norm(clipped - stored, axis=2).mean(), rel=1e-5)


def test_correcting_needs_elites_and_numbers():
    record, _ = made()
    place, worth = record.behavior[record.reached].unsqueeze(0), record.fitness[record.reached].unsqueeze(0)
    for arguments, message in [
        ((place[:, 1:], worth), "repeats, elites, D"),
        ((place, worth[:, 1:]), "repeats, elites"),
        ((place[:0], worth[:0]), "at least one repeat"),
        ((place, worth * math.nan), "finite fitness"),
        ((place * math.inf, worth), "finite descriptors"),
    ]:
        with pytest.raises(ValueError, match=message):
            correct(record, *arguments)
    nothing = correct(GridRecord(PLACE), torch.zeros(2, 0, 2), torch.zeros(2, 0))
    assert math.isnan(nothing.reproducibility)
    assert nothing.metrics()["corrected/coverage"] == 0.0


# The file -------------------------------------------------------------------------------------------------------------


def test_a_record_comes_back_from_its_file(tmp_path):
    record, every = made()
    count = len(record.reached)
    genomes, paths = torch.randn(count, 7), torch.randn(3, 5, 2)
    walls = np.arange(8.0).reshape(2, 4)
    saved = save_record(
        record, names=["x (m)", "y (m)"], genomes=genomes, paths=paths, path_fitness=torch.arange(3.0), walls=walls
    )
    write_archive(tmp_path / "archive.npz", saved)
    found = read_archive(tmp_path / "archive.npz")
    for name, value in vars(saved).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert [path.name for path in tmp_path.iterdir()] == ["archive.npz"]
    assert found.names.tolist() == ["x (m)", "y (m)"]
    assert int(found.evaluations) == len(every)
    laid = found.grid(found.fitness)
    assert laid.shape == (4, 6)
    assert np.isnan(laid).sum() == 24 - count
    x, y = (np.minimum(record.behavior[record.reached].numpy() - (-1, 0), (1.999, 2.999)) * 2).astype(int).T
    np.testing.assert_array_equal(laid[x, y], found.fitness)
    assert (found.grid(found.visits, 0).sum()) == len(every)
    assert save_record(record).names.tolist() == ["position[0]", "position[1]"]
    with pytest.raises(ValueError, match=f"Expected E = {count} rows of genomes, got 3"):
        save_record(record, genomes=genomes[:3])
    with pytest.raises(ValueError, match="Expected paths with 2 numbers"):
        save_record(record, paths=paths[..., :1], path_fitness=torch.zeros(3))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "archive.npz"
    with pytest.raises(FileNotFoundError):
        read_archive(path)
    write_archive(path, save_record(made()[0]))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"Expected an archive .* Let the run write it again"):
        read_archive(path)
    path.write_text("words")
    with pytest.raises(ValueError, match="Expected an archive"):
        read_archive(path)
    for content in ({"kind": np.array("another")}, {"low": np.zeros(2)}, {"kind": np.array("cairngym archive 1")}):
        np.savez(path, **content)
        with pytest.raises(ValueError, match="Expected an archive"):
            read_archive(path)
