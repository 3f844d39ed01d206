"""Strict YAML, overlays, and the expansion of a comparison into runs."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.strict_yaml import ConfigError, build, load_yaml
from cairngym.experiments import config as configs
from cairngym.experiments.config import Comparison, RunConfig, ShaperConfig, WrapperConfig, load_comparison, load_run
from cairngym.experiments.extensions import import_modules
from cairngym.experiments.matrix import choose_seeds, expand, only
from cairngym.experiments.overlay import differences, merge, parse_overrides, plain, write_text, write_yaml

COMPARISON = """
name: small
tasks:
  - id: Chain-N10-v0
    env: {length: 6}
  - id: Other-v0
    steps: 7
variants:
  sparse: {}
  count:
    wrappers: [{name: sticky_actions}, {name: frame_stack, frames: 2}]
    shapers: [{name: count, weight: 1e-2, mode: lifelong}]
    agent: {gamma: 0.9}
    env: {length: 5}
seeds: [3, 4]
steps: 2e3
agent: {name: ppo, num_envs: 8}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_defaults_then_file_then_overrides(tmp_path):
    path = write(tmp_path, "task: Chain-N10-v0\nsteps: 5\nevaluation: {every: 10}\n")
    config = load_run(path, {"steps": 6, "evaluation": {"episodes": 3}})
    assert (config.seed, config.steps) == (0, 6)
    assert (config.evaluation.every, config.evaluation.episodes) == (10, 3)


def test_another_agent_takes_none_of_the_shared_agent_options(tmp_path):
    other = COMPARISON.replace("agent: {gamma: 0.9}", "agent: {name: td3, batch: 5}")
    agents = {run.variant: run.agent for run in expand(load_comparison(write(tmp_path, other)))}
    assert (agents["count"].name, agents["count"].options) == ("td3", {"batch": 5})
    assert (agents["sparse"].name, agents["sparse"].options) == ("ppo", {"num_envs": 8})


def test_comparison_expands_to_every_run(tmp_path):
    comparison = load_comparison(write(tmp_path, COMPARISON))
    runs = expand(comparison)
    assert len(runs) == 2 * 2 * 2
    assert len({run.folder for run in runs}) == len(runs)
    run = next(r for r in runs if (r.task, r.variant, r.seed) == ("Chain-N10-v0", "count", 4))
    assert run.steps == 2000
    assert run.agent.options == {"num_envs": 8, "gamma": 0.9}
    assert run.env == {"length": 5}
    assert run.shapers == (ShaperConfig(name="count", weight=0.01, options={"mode": "lifelong"}),)
    assert run.wrappers == (
        WrapperConfig(name="sticky_actions"),
        WrapperConfig(name="frame_stack", options={"frames": 2}),
    )
    assert next(r for r in runs if r.variant == "sparse").wrappers == ()
    assert run.folder == Path("small/Chain-N10-v0/count/seed_4")
    assert {r.steps for r in runs if r.task == "Other-v0"} == {7}


def test_slashes_of_a_task_do_not_make_folders():
    assert RunConfig(task="a/b-v0").folder == Path("adhoc/a__b-v0/sparse/seed_0")


def test_written_config_reads_back_equal(tmp_path):
    comparison = load_comparison(write(tmp_path, COMPARISON))
    write_yaml(tmp_path / "again.yaml", comparison)
    assert load_comparison(tmp_path / "again.yaml") == comparison
    run = replace(expand(comparison)[1], command="cairn train --env 'a=b'")
    write_yaml(tmp_path / "run.yaml", run)
    assert load_run(tmp_path / "run.yaml") == run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: x\nsteeps: 3", r"config\.yaml: steeps: unknown key\. Did you mean 'steps'\? Valid: experiment, task"),
        ("task: x\nevaluation: {evry: 3}", r"evaluation\.evry: unknown key\. Did you mean 'every'\?"),
        ("task: x\nsteps: many", r"steps: expected a whole number, got 'many' \(str\)"),
        ("task: x\nsteps: 2.5", r"steps: expected a whole number, got 2\.5"),
        ("task: x\nsteps: true", r"steps: expected a whole number, got True"),
        ("task: [x]", r"task: expected a word"),
        ("task: x\nshapers: count", r"shapers: expected a list, got 'count'"),
        ("task: x\nshapers: [{weight: 1}]", r"shapers\[0\]\.name: missing"),
        ("task: x\nwrappers: frame_stack", r"wrappers: expected a list, got 'frame_stack'"),
        ("task: x\nwrappers: [{frames: 4}]", r"wrappers\[0\]\.name: missing"),
        (
            "task: x\nsinks: {wandb: onlin}",
            r"sinks\.wandb: expected one of off, offline, online.*Did you mean 'online'",
        ),
        ("task: x\nsteps: 0", r"config\.yaml: expected steps >= 1, got 0"),
        ("task: x\nseed: -1", r"Expected a seed in \[0, 2\*\*63\), got -1"),
        ("task: x\nvariant: a/b", r"variant: expected letters, digits"),
        ("steps: 3", r"config\.yaml: task: missing"),
        ("task: x\ntask: y", r"config\.yaml:2:1: not readable as YAML: the key 'task' stands twice"),
        ("task: [x", r"config\.yaml:.*not readable as YAML"),
        ("- task", r"expected `key: value` lines"),
        ("", r"expected `key: value` lines, got nothing"),
    ],
)
def test_bad_run_configs_say_where_and_what(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_run(write(tmp_path, text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "sparce"}, "Unknown baseline variant 'sparce'. Did you mean 'sparse'"),
        ({"seeds": [1, 1]}, "seeds: 1 stands more than once"),
        ({"seeds": []}, "seeds: expected at least one"),
        ({"tasks": [{"id": "a"}, {"id": "a"}]}, "tasks: 'a' stands more than once"),
        ({"name": "../up"}, "name: expected letters"),
        (
            {"thresholds": [{"variant": "cuont", "metric": "final_success", "minimum": 0.5}]},
            "thresholds: Unknown variant 'cuont'. Did you mean 'count'",
        ),
        (
            {"thresholds": [{"task": "Cain-N10-v0", "variant": "count", "metric": "final_success", "minimum": 0.5}]},
            "thresholds: Unknown task 'Cain-N10-v0'. Did you mean 'Chain-N10-v0'",
        ),
        (
            {"thresholds": [{"variant": "count", "metric": "final_sucess", "minimum": 0}]},
            r"thresholds\[0\].*final_succ",
        ),
        ({"tasks": [{"id": "a", "step": 3}]}, r"tasks\[0\]\.step: unknown key\. Did you mean 'steps'"),
        ({"variants": {"sparse": {"wraper": []}}}, r"variants\.sparse\.wraper: unknown key\. Did you mean 'wrappers'"),
        ({"variants": {"sparse": {"shaper": []}}}, r"variants\.sparse\.shaper: unknown key\. Did you mean 'shapers'"),
    ],
)
def test_bad_comparisons_say_where_and_what(tmp_path, change, message):
    data = {**load_yaml(write(tmp_path, COMPARISON)), **change}
    with pytest.raises(ConfigError, match=message):
        build(Comparison, data, source="c.yaml")


def test_yaml_reads_words_and_numbers_as_people_mean_them(tmp_path):
    data = load_yaml(write(tmp_path, "a: off\nb: 2e6\nc: no\nd: true\ne: 1_000\nf: -3E-4\n"))
    assert data == {"a": "off", "b": 2e6, "c": "no", "d": True, "e": 1000, "f": -3e-4}


def test_merge_keys_of_yaml_still_work(tmp_path):
    data = load_yaml(write(tmp_path, "base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\n"))
    assert data["other"] == {"x": 1, "y": 3}


def test_overrides_are_nested_and_typed_and_the_last_wins():
    assert parse_overrides(["a.b=1", "a.c=[x, 2e3]", "a.b=off"]) == {"a": {"b": "off", "c": ["x", 2000.0]}}
    with pytest.raises(ConfigError, match="Expected key=value"):
        parse_overrides(["a.b"])


def test_merge_leaves_its_arguments_alone():
    base, over = {"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": [1]}
    assert merge(base, over) == {"a": {"b": 3, "c": 2}, "d": [1]}
    assert base == {"a": {"b": 1, "c": 2}}


def test_differences_name_key_paths():
    old = {"a": 1, "b": {"c": [1, {"d": 2}]}, "gone": 1}
    new = {"a": 1, "b": {"c": [1, {"d": 3}]}, "come": 2}
    assert differences(old, new) == ["b.c[1].d: 2 -> 3", "gone: 1 -> None", "come: None -> 2"]
    assert differences(old, old) == []


def test_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: can't be read"):
        load_yaml(tmp_path / "nowhere.yaml")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text(path, "old")

    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_optional_and_nested_fields():
    @dataclass(frozen=True, kw_only=True)
    class Item:
        value: float | None = None
        pair: tuple[int, ...] = ()

    assert build(Item, {"value": None, "pair": [1, 2.0]}, source="s") == Item(pair=(1, 2))
    assert build(Item, {"value": 3}, source="s") == Item(value=3.0)
    assert plain(Item(pair=(1,))) == {"value": None, "pair": [1]}


def test_choosing_seeds():
    assert choose_seeds((3, 1, 2), 2) == (3, 1)
    assert choose_seeds((3, 1), 4) == (3, 1, 4, 5)
    with pytest.raises(ConfigError, match="at least one seed"):
        choose_seeds((1,), 0)


def test_only_keeps_the_baseline(tmp_path):
    comparison = load_comparison(write(tmp_path, COMPARISON))
    part = only(comparison, ("Other-v0",), ("count",))
    assert [task.id for task in part.tasks] == ["Other-v0"]
    assert set(part.variants) == {"sparse", "count"}
    assert only(comparison) == comparison
    with pytest.raises(UnknownNameError, match="Did you mean 'count'"):
        only(comparison, (), ("cout",))


def test_modules_of_a_users_own_are_imported_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "a_users_shapers.py").write_text("LOADED = True\n")
    path = tmp_path / "run.yaml"
    path.write_text("task: Chain-N10-v0\nimports: [a_users_shapers]\n")
    assert configs.load_run(path).imports == ("a_users_shapers",)
    assert sys.modules.pop("a_users_shapers").LOADED


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(configs.ConfigError, match="no module 'no_such_module'"):
        import_modules(["no_such_module"])


def test_a_variant_may_have_steps_of_its_own(tmp_path):
    path = write(
        tmp_path,
        "name: c\nbaseline: a\nsteps: 10\ntasks: [{id: Chain-N10-v0}, {id: FetchReach-v4, steps: 20}]\n"
        "variants: {a: {}, b: {steps: {FetchReach-v4: 30}}}\nseeds: [0]\n",
    )
    comparison = configs.load_comparison(path)
    steps = {(run.task, run.variant): run.steps for run in expand(comparison)}
    assert [steps[task, name] for task in ("Chain-N10-v0", "FetchReach-v4") for name in "ab"] == [10, 10, 20, 30]
    rest = only(comparison, tasks=("Chain-N10-v0",))
    assert rest.variants["b"].steps == {}
    path.write_text(path.read_text().replace("{FetchReach-v4: 30}", "{FetchReahc-v4: 30}"))
    with pytest.raises(configs.ConfigError, match="Did you mean 'FetchReach-v4'"):
        configs.load_comparison(path)


ROBOTS = """
name: robots
baseline: shared
tasks:
  - {id: Chain-N10-v0, words: {robot: chain}, agent: {gamma: 0.8, num_envs: 4}}
  - id: Chain-N20-v0
    words: {robot: long_chain}
variants:
  shared: {}
  tuned:
    start_from: shared
    agent: {gamma: 0.7}
    wrappers: [{name: frame_stack, keys: ["{robot}/{task}", other], frames: 2}]
agent: {name: ppo, gamma: 0.9}
evaluation:
  wrappers: [{name: sticky_actions, where: {place: "fleets/{robot}"}}]
"""


def robots(tmp_path: Path, text: str = ROBOTS) -> dict[tuple[str, str], RunConfig]:
    runs = expand(load_comparison(write(tmp_path, text)))
    return {(run.task, run.variant): run for run in runs if run.seed == 0}


def test_words_of_a_task_stand_in_the_options_of_wrappers(tmp_path):
    runs = robots(tmp_path)
    tuned = runs["Chain-N20-v0", "tuned"]
    assert tuned.wrappers[0].options == {"keys": ["long_chain/Chain-N20-v0", "other"], "frames": 2}
    for (task, _), run in runs.items():
        word = {"Chain-N10-v0": "chain", "Chain-N20-v0": "long_chain"}[task]
        assert run.evaluation.wrappers[0].options == {"where": {"place": f"fleets/{word}"}}
    with pytest.raises(ConfigError, match=r"wrapper 'sticky_actions'.*robo.*Did you mean 'robot'"):
        robots(tmp_path, ROBOTS.replace("fleets/{robot}", "fleets/{robo}"))


def test_agent_options_of_a_task_lie_between_the_shared_ones_and_the_variants(tmp_path):
    runs = robots(tmp_path)
    assert runs["Chain-N10-v0", "shared"].agent.options == {"gamma": 0.8, "num_envs": 4}
    assert runs["Chain-N10-v0", "tuned"].agent.options == {"gamma": 0.7, "num_envs": 4}
    assert runs["Chain-N20-v0", "shared"].agent.options == {"gamma": 0.9}


def test_a_variant_starts_from_the_run_of_the_same_task_and_seed(tmp_path):
    runs = robots(tmp_path)
    tuned = runs["Chain-N10-v0", "tuned"]
    assert (tuned.folder / tuned.start_from).parts[-5:] == ("tuned", "seed_0", "..", "..", "shared", "seed_0")[-5:]
    assert runs["Chain-N10-v0", "shared"].start_from is None


@pytest.mark.parametrize(
    ("start", "said"), [("share", "Did you mean 'shared'"), ("tuned", "a variant that begins anew, got 'tuned'")]
)
def test_a_variant_starts_from_one_that_begins_anew(tmp_path, start, said):
    with pytest.raises(ConfigError, match=said):
        load_comparison(write(tmp_path, ROBOTS.replace("start_from: shared", f"start_from: {start}")))


def test_choosing_a_variant_keeps_the_one_it_starts_from(tmp_path):
    text = ROBOTS.replace("baseline: shared", "baseline: plain").replace("  shared: {}", "  shared: {}\n  plain: {}")
    chosen = only(load_comparison(write(tmp_path, text)), variants=("tuned",))
    assert set(chosen.variants) == {"plain", "shared", "tuned"}
