"""A search's config: strict, and honest about seeds."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from searching import SMALL

from cairngym.envs.strict_yaml import ConfigError
from cairngym.experiments.config import ShaperConfig
from cairngym.experiments.matrix import expand
from cairngym.experiments.overlay import plain
from cairngym.experiments.presets import find_config, packaged
from cairngym.experiments.resolve import resolve
from cairngym.experiments.search.config import EVOLVED, FinalConfig, RungConfig, load_search


def write(tmp_path, **changes):
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump({**plain(SMALL), **changes}))
    return path


def test_what_is_written_is_read_back(tmp_path):
    assert load_search(write(tmp_path)) == replace(SMALL, agent=load_search(write(tmp_path)).agent)
    assert load_search(write(tmp_path), {"rounds": 7, "agent": {"gamma": 0.9}}).agent.options["gamma"] == 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"canditates": 3}, "canditates: unknown key. Did you mean 'candidates'"),
        ({"candidates": 0}, "candidates: expected at least 1, got 0"),
        ({"repairs": -1}, "repairs: expected at least 0"),
        ({"repair": "always"}, "repair"),
        ({"rungs": []}, "rungs: expected at least one"),
        ({"rungs": [{"share": 1.0}, {"share": 0.5}]}, "shares that do not fall"),
        ({"rungs": [{"share": 0.0}]}, r"share and keep in \(0, 1\]"),
        ({"rungs": [{"shares": 1.0}]}, r"rungs\[0\].shares: unknown key"),
        ({"name": "a/b"}, "name: expected letters"),
        ({"program": {"path": "x.py"}}, "program.path: the search gives it"),
        ({"final": {"seeds": [999, 1000]}}, r"\[1000\] are seeds of the search too"),
        ({"final": {"seeds": []}}, "final.seeds: expected at least one"),
        ({"final": {"seeds": [1, 1]}}, "stands more than once"),
        ({"final": {"baseline": "spars"}}, "Did you mean 'sparse'"),
        ({"final": {"variants": {"sparse": {}, "evolved": {}}}}, "belongs to the best program"),
        ({"final": {"evaluation": {"episode": 3}}}, "Did you mean 'episodes'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_key(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_search(write(tmp_path, **changes))


def test_all_candidates_meet_the_seeds_of_a_rung():
    config = replace(SMALL, rungs=(RungConfig(share=0.25, seeds=1), RungConfig(share=1.0, seeds=3)))
    programs = {"a": Path("a.py"), "b": Path("b.py")}
    short, long = (config.rung_comparison(rung, programs) for rung in (0, 1))
    assert (short.seeds, long.seeds) == ((1000,), (1000, 1001, 1002))
    assert (short.steps, long.steps) == (128, 512)
    assert [run.variant for run in expand(short)] == ["a", "b"]
    assert long.variants["b"].shapers == (ShaperConfig(name="program", options={"path": "b.py"}),)


def test_the_final_comparison_has_other_seeds_and_episodes():
    config = replace(SMALL, final=FinalConfig(evaluation={"episodes": 50}))
    final = config.final_comparison(Path("best.py"))
    assert final.evaluation.seed != config.evaluation.seed
    assert final.evaluation.episodes == 50
    assert not set(final.seeds) & set(config.seeds(1))
    assert list(final.variants) == ["sparse", EVOLVED]


def test_the_sparse_reward_can_be_taken_away():
    term, without = replace(SMALL, keep_task=False, weight=0.5).shapers(Path("a.py"))
    assert (term.weight, without) == (0.5, ShaperConfig(name="task_reward", weight=-1.0))


def test_the_packaged_search_can_run():
    assert "eureka_keycorridor" in packaged("search")
    config = load_search(find_config("eureka_keycorridor", "search"))
    assert (config.task, config.candidates, config.rounds) == ("MiniGrid-KeyCorridorS3R3-v0", 4, 3)
    assert config.provider == "recorded:"
    final = config.final_comparison(Path("best.py"))
    assert (config.env["split"], final.evaluation.env["split"]) == ("train", "test")
    runs = [resolve(run) for run in (*expand(final), *expand(config.rung_comparison(0, {"a": Path("a.py")})))]
    assert len(runs) == 3 * 10 + 1
