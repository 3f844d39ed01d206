"""Pictures of searches: what they are drawn from against numpy, and what can be seen in them."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import yaml

from cairngym.envs.descriptors import BehaviorDescriptor
from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.diversity_figures import _best, _spent, draw_areas, draw_curves, draw_maps, draw_paths
from cairngym.experiments.diversity_records import Curves, averaged, read_curves, read_saved
from cairngym.experiments.diversity_report import diversity_plots, draw_search, typical
from cairngym.experiments.figures import DARK, LIGHT
from cairngym.experiments.records import RecordError, read_experiment
from cairngym.experiments.statistics import iqm
from cairngym.reward_shaping.quality_diversity.grid import GridRecord, RewardArea
from cairngym.reward_shaping.quality_diversity.saved import save_record, write_archive

RING = (0xD5, 0x5E, 0x00)
WALL = (0x24, 0x29, 0x2F)
FAINT = (0xD8, 0xDE, 0xE4)


def searched(cells=(5, 4), count=60, areas=1, seed=0, high=1.0, **kept):
    """An archive of evaluations all over the space, and the metrics after each of some batches."""
    size = len(cells)
    low, top = (0.0,) * size, tuple(float(n) for n in cells)
    descriptor = BehaviorDescriptor(entries=tuple(("x", i) for i in range(size)), low=low, high=top, cells=cells)
    circles = [RewardArea(center=(1.5 + k,) * size, radius=1.0) for k in range(areas)]
    record, draws = GridRecord(descriptor, areas=circles), torch.Generator().manual_seed(seed)
    metrics = []
    for part in torch.rand(count, size, generator=draws).split(10):
        record.add(part * torch.tensor(top) * high, torch.rand(len(part), generator=draws).square())
        metrics.append(record.metrics())
    if "paths" in kept:
        kept["path_fitness"] = record.fitness[record.reached]
        kept["paths"] = record.behavior[record.reached].unsqueeze(1) * torch.linspace(0, 1, 9).view(1, -1, 1)
    return save_record(record, **kept), metrics


def look(picture):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(int)


def count(picture, colour, slack=12):
    return int((np.abs(look(picture) - colour).max(2) < slack).sum())


def curves(metrics):
    columns = ["evaluations", "coverage", "qd_score", "best_fitness"]
    areas = sum(name.endswith("/best") for name in metrics[0])
    made = {name: np.array([line[name] for line in metrics], dtype=float) for name in columns}
    for name, key in (("area_best", "best"), ("area_evaluations", "evaluations")):
        found = [[line[f"area_{k}/{key}"] for line in metrics] for k in range(areas)]
        made[name] = np.array(found, dtype=float).reshape(areas, len(metrics))
    return Curves(**made)


# Maps and ways --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [(7,), (5, 4), (4, 3, 3), (3, 2, 2, 2)])
def test_cells_are_seen_over_the_first_two_numbers(cells):
    archive, _ = searched(cells, count=12)
    best, spent = np.full((*cells[:2], 1)[:2], np.nan), np.zeros((*cells[:2], 1)[:2])
    for cell, fitness, visits in zip(archive.cell, archive.fitness, archive.visits, strict=True):
        place = (*np.unravel_index(cell, cells)[:2], 0)[:2]
        best[place] = np.fmax(best[place], fitness)
        spent[place] += visits
    np.testing.assert_allclose(_best(archive), best, rtol=1e-6)
    np.testing.assert_array_equal(np.nan_to_num(_spent(archive)), spent)
    assert np.isnan(_spent(archive)).any()


def test_maps_show_cells_areas_and_walls(monkeypatch):
    archive, _ = searched(areas=2)
    picture = draw_maps({"one": archive}, LIGHT)
    other = replace(
        archive, walls=np.array([[[0.0, 2.0], [5.0, 2.0]]]), fitness=archive.fitness * 0,
        area_center=np.zeros((0, 2)), area_radius=np.zeros(0), area_fitness=np.zeros(0), area_visits=np.zeros(0),
        area_first=np.zeros(0),
    )  # fmt: skip
    without = draw_maps({"one": other}, LIGHT)
    assert count(picture, RING) > 2 * count(without, RING) + 500
    assert count(without, WALL) > count(picture, WALL) + 500
    assert count(without, FAINT, 3) > count(picture, FAINT, 3) + 5000, "reached, and not paid"
    monkeypatch.setattr("cairngym.experiments.diversity_figures.COLUMNS", 2)
    nothing = save_record(GridRecord(BehaviorDescriptor(entries=(("x", 0),), low=(0,), high=(1,), cells=(3,))))
    three = look(draw_maps({"a": nothing, "b": archive, "c": archive}, DARK))
    assert look(picture).shape[1] * 1.4 < three.shape[1] < look(picture).shape[1] * 2
    with pytest.raises(ValueError, match="at least one archive"):
        draw_maps({}, LIGHT)


def test_ways_are_in_colour_where_they_were_paid():
    archive, _ = searched(paths=True, areas=0)
    picture = draw_paths({"": archive}, LIGHT)
    assert draw_paths({"": archive}, LIGHT) == picture, "the same bytes"
    unpaid = replace(archive, path_fitness=archive.path_fitness * 0)
    colourful = [int((np.ptp(look(each), axis=2) > 60).sum()) for each in (picture, draw_paths({"": unpaid}, LIGHT))]
    assert colourful[0] > colourful[1] + 1000
    broken = archive.paths.copy()
    broken[:, 4:] = np.nan
    broken[0] = np.nan  # an episode without a step
    assert draw_paths({"": replace(archive, paths=broken)}, LIGHT) != picture
    line, _ = searched((6,), paths=True)
    for none in ({}, {"": searched()[0]}, {"": line}):
        with pytest.raises(ValueError, match="the ways of elites over two numbers or more, got none"):
            draw_paths(none, LIGHT)


# Curves ---------------------------------------------------------------------------------------------------------------


def test_curves_are_read_from_metrics(tmp_path):
    _, metrics = searched(areas=2)
    lines = [{"phase": "train", "step": 100 * i, **line} for i, line in enumerate(metrics)]
    lines.insert(1, {"phase": "eval", "step": 0, "success": 0.0})
    lines.append({"phase": "train", "step": 9999, **metrics[-1], "qd_score": None})  # the same evaluations once more
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found, expected = read_curves(tmp_path), curves(metrics)
    assert np.isnan(found.qd_score[-1])
    found.qd_score[-1] = expected.qd_score[-1]
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert read_curves(tmp_path / "elsewhere") is None
    bare = [{name: value for name, value in line.items() if not name.startswith("area")} for line in lines]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in bare))
    assert read_curves(tmp_path).area_best.shape == (0, 6)
    (tmp_path / "metrics.jsonl").write_text('{"phase": "train", "step": 1}\n')
    assert read_curves(tmp_path) is None
    (tmp_path / "metrics.jsonl").write_text('{"phase": "train"}\n[]\n')
    with pytest.raises(RecordError):
        read_curves(tmp_path)
    with pytest.raises(ValueError, match="Expected coverage at 6 reports"):
        replace(expected, coverage=np.zeros(3))


def test_between_reports_the_earlier_one_counts():
    blank = np.zeros((0, 3))

    def run(x, y):
        zero = np.zeros(3)
        return Curves(
            evaluations=np.array(x, float), coverage=np.array(y, float), qd_score=zero, best_fitness=zero,
            area_best=blank, area_evaluations=blank,
        )  # fmt: skip

    runs = [run([10, 20, 40], [1, 2, 3]), run([10, 30, 50], [4, 5, 6]), run([5, 30, 60], [0, np.nan, 9])]
    found = averaged(runs, "coverage")
    assert found.evaluations.tolist() == [10, 20, 30, 40]
    paths = np.array([[1, 2, 2, 3], [4, 4, 5, 5], [0, 0, 0, 0]], float)
    np.testing.assert_allclose(found.band.value, iqm(paths))
    assert (found.band.low <= found.band.value).all()
    assert (found.band.value <= found.band.high).all()
    assert averaged(runs, "area_best", 0) is None
    assert averaged([run([1, 2, 3], [0, 0, 0]), run([7, 8, 9], [0, 0, 0])], "coverage") is None
    assert averaged([], "coverage") is None


def test_curves_and_areas_are_drawn():
    groups = {name: [curves(searched(areas=2, seed=s + k)[1]) for s in range(3)] for k, name in enumerate("ab")}
    wide, tall = look(draw_curves(groups, LIGHT)), look(draw_areas(groups, LIGHT))
    assert wide.shape[1] > 1.4 * tall.shape[1], "three panels side by side, and two over two"
    assert [int((np.abs(each - (0x00, 0x72, 0xB2)).max(2) < 12).sum()) > 300 for each in (wide, tall)] == [True] * 2
    alone = {"a": [curves(searched(areas=0)[1])]}
    with pytest.raises(ValueError, match="a task with reward areas, got none"):
        draw_areas(alone, LIGHT)
    with pytest.raises(ValueError, match="report coverage over evaluations, got none"):
        draw_curves({"a": []}, LIGHT)


# Folders --------------------------------------------------------------------------------------------------------------


def leave(folder, seed, **options):
    """What a search leaves in its run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    archive, metrics = searched(seed=seed, **options)
    lines = [{"phase": "train", "step": 100 * i, "wall_s": 1.0 * i, **line} for i, line in enumerate(metrics)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_archive(folder / "archive.npz", archive)
    return archive


def test_a_comparison_gets_pictures_of_the_tasks_where_runs_searched(tmp_path):
    tasks, variants = ["Toy/A-v0", "Toy-B-v0"], ("sparse", "wide", "narrow")
    plan = {
        "name": "toy", "baseline": "sparse", "tasks": [{"id": task} for task in tasks], "seeds": [0, 1, 2],
        "variants": {variant: {} for variant in variants}, "steps": 1000,
    }  # fmt: skip
    (tmp_path / "comparison.yaml").write_text(yaml.safe_dump(plan))
    for task in tasks:
        for variant in variants:
            for seed in range(3):
                folder = tmp_path / task.replace("/", "__") / variant / f"seed_{seed}"
                folder.mkdir(parents=True)
                (folder / "config.yaml").write_text(yaml.safe_dump({"task": task, "variant": variant, "seed": seed}))
    assert diversity_plots(read_experiment(tmp_path)) == []
    sizes = []
    for seed in range(3):
        sizes.append(len(leave(tmp_path / "Toy__A-v0" / "wide" / f"seed_{seed}", seed, count=10 + 10 * seed).cell))
        leave(tmp_path / "Toy__A-v0" / "narrow" / f"seed_{seed}", seed, high=0.5, paths=True)
    experiment = read_experiment(tmp_path)
    assert len(typical(experiment.select("Toy/A-v0", "wide", finished=False)).cell) == sorted(sizes)[1]
    plots = diversity_plots(experiment)
    kinds = ["diversity", "areas", "archives", "paths"]
    assert [plot.name for plot in plots] == [f"{kind}_Toy__A-v0" for kind in kinds]
    assert all(look(plots[i].draw(LIGHT)).std() > 10 for i in (0, 3))
    assert "median" in plots[2].caption


def test_pictures_of_one_run(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"Expected a run's folder with a config.yaml"):
        draw_search(run, tmp_path / "out")
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({"task": "Chain-N10-v0", "variant": "serene", "seed": 4}))
    with pytest.raises(ConfigError, match="Expected a run that searched for diversity"):
        draw_search(run, tmp_path / "out")
    assert read_saved(run) is None
    leave(run, 0, paths=True)
    files = draw_search(run, tmp_path / "deep" / "out")
    assert [file.name for file in files] == ["archive.png", "paths.png", "diversity.png", "areas.png", "figures.md"]
    text = files[-1].read_text()
    assert text.startswith("# Chain-N10-v0, serene, seed 4\n")
    assert all(f"]({file.name})" in text for file in files[:-1])
    assert all(look(file.read_bytes()).std() > 10 for file in files[:-1])
    (run / "metrics.jsonl").unlink()
    leave_no_ways = save_record(GridRecord(BehaviorDescriptor(entries=(("x", 0),), low=(0,), high=(1,), cells=(3,))))
    write_archive(run / "archive.npz", leave_no_ways)
    assert [file.name for file in draw_search(run, tmp_path / "again")] == ["archive.png", "figures.md"]
    (run / "archive.npz").write_text("words")
    with pytest.raises(ValueError, match="Expected an archive"):
        draw_search(run, tmp_path / "again")
