"""The README and the docs say what the recorded results say, and their examples run."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUIDES = tuple(
    f"docs/{name}.md"
    for name in (
        "physics_worlds", "hindsight", "stl", "tgpo", "llm_rewards", "exploration", "quality_diversity",
        "demonstrations",
    )
)  # fmt: skip
TABLES = ("README.md", "docs/potential_shaping.md", *(name for name in GUIDES if name != "docs/hindsight.md"))
LIMITS = {"num_envs": 64, "steps": 1200, "episodes": 16}
"""What examples are cut down to."""
VERSIONS = {"python": "3.11.7", "torch": "2.13.0", "mujoco": "4.0.0", "stable-baselines3": "2.9.2"}
MADE_WITH = {"versions": VERSIONS, "hardware": {"cpu": "a processor", "usable_cores": 2}}


def examples(name):
    """The python blocks that stand by themselves; tests/test_contributing.py executes the chapter on adding a world."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"^## Adding a physics world.*?^## ", "## ", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def is_pictorial(example):
    return "PixelObservation(" in example or ".render(" in example


@pytest.fixture
def generator(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_results(name, generator):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert generator.fill(text) == text, "run python benchmarks/readme.py"


def test_every_block_stands_somewhere(generator):
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in generator.FILES)
    assert {name for name in generator.BLOCKS if f"<!-- begin:{name} -->" in text} == set(generator.BLOCKS)


def test_a_changed_figure_is_noticed(generator):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    changed = text.replace("<!-- end:worlds -->", "| invented | 1 |\n<!-- end:worlds -->")
    assert generator.fill(changed) == text


# Blocks --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path, monkeypatch, generator):
    """The generator, and a way to give it records."""
    module = generator
    monkeypatch.setattr(module, "RESULTS", tmp_path)

    def record(name, **content):
        (tmp_path / f"{name}.json").write_text(json.dumps({**content, **MADE_WITH}))

    return module, record


@pytest.mark.parametrize("name", ["physics", "hindsight", "soak"])
def test_what_is_not_measured_says_so(recorded, name):
    module, _ = recorded
    assert "not measured yet" in module.BLOCKS[name]()


def test_speeds_are_held_against_raw_stepping_and_envpool_on_the_same_task(recorded):
    module, record = recorded
    names, rates = ["raw stepping", "cairngym", "EnvPool 1.2.5", "raw stepping", "cairngym"], [1000, 900, 300, 50, 40]
    rows = [
        {"name": name, "envs": 8, "threads": 2, "steps_per_second": rate}
        for name, rate in zip(names, rates, strict=True)
    ]
    record("physics_cpu", tasks=["Push"] * 3 + ["Ant"] * 2, results=rows)
    text = module.physics()
    assert "| Push | cairngym | 8 | 2 | 900 | 90% | 3.00 |" in text
    assert "| Push | EnvPool 1.2.5 | 8 | 2 | 300 | 30% | 1.00 |" in text
    assert "| Ant | cairngym | 8 | 2 | 40 | 80% | no such id |" in text
    assert "| cairngym, GPU | | | | not measured yet | | |" in text
    assert text.endswith("Measured on a processor, 2 cores; Python 3.11.7, torch 2.13.0, mujoco 4.0.0.")


def test_hindsight_shows_every_run_and_the_median(recorded):
    module, record = recorded
    ours = {"name": "cairngym td3, her", "seed": 1, "seconds": 12.34, "steps": 20480, "success": 0.995, "reached": True}
    theirs = {"name": "SB3", "seed": 1, "seconds": 25.0, "steps": 3000, "success": 0.5, "reached": False}
    record(
        "hindsight_reach", env="FetchReach-v4", target=0.99, limit_seconds=30.0, median_seconds=12.34,
        runs=[ours, {**theirs, "complete": False}],
    )  # fmt: skip
    text = module.hindsight()
    assert "| FetchReach-v4 | cairngym td3, her | 1 | 20 | 12.3 | 99.5% |" in text
    assert "| FetchReach-v4 | SB3, given up | 1 | 3 | 25.0 | 50.0% (below the target) |" in text
    assert "| FetchPush-v4 | | | | not measured yet | |" in text
    assert "cairngym's medians: FetchReach-v4 to 99%: 12.3 s (limit 30 s)." in text
    record(
        "hindsight_push", env="FetchPush-v4", target=0.9, limit_seconds=1800.0, median_seconds=None, runs=[theirs]
    )  # fmt: skip
    assert "FetchPush-v4 to 90%: not reached (limit 1800 s)." in module.hindsight()


def test_soak_names_the_ids_that_failed(recorded):
    module, record = recorded
    row = {"id": "A", "episodes": 1000, "steps": 50000, "diverged": 2, "finite": True, "grown_mb": 0.5}
    record("soak", results=[row, {**row, "id": "B", "grown_mb": 1.5}])
    text = module.soak()
    assert "2 ids, 2,000 episodes, 0.1 M steps" in text
    assert "everything that left an env was finite; 4 env steps diverged" in text
    assert text.endswith("the process grew by 1.5 MB at most.")
    record("soak", results=[row, {**row, "id": "B", "finite": False}])
    assert "not finite: B;" in module.soak()


# Examples ------------------------------------------------------------------------------------------------------------


def run(example, folder):
    """Execute a shortened example in a process of its own."""
    short = re.sub(
        r"\b(num_envs|steps|episodes)=([\d_]+)",
        lambda match: f"{match[1]}={min(int(match[2]), LIMITS[match[1]])}",
        example,
    )
    command = [sys.executable, "-c", short]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("example", examples("README.md"))
def test_examples_run(example, tmp_path):
    run(example, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
def test_examples_of_the_guides_run(name, tmp_path):
    blocks = [block for block in examples(name) if not is_pictorial(block)]
    assert blocks
    run("\n".join(blocks), tmp_path)


def test_examples_with_pictures_run(tmp_path):
    from cairngym.envs.physics.opengl import make_context

    try:
        make_context(8, 8).free()
    except RuntimeError as error:
        pytest.skip(str(error))
    blocks = [block for name in GUIDES for block in examples(name) if is_pictorial(block)]
    assert blocks
    run("\n".join(blocks), tmp_path)


@pytest.mark.parametrize("name", GUIDES)
def test_examples_of_the_guides_are_formatted(name):
    command = [sys.executable, "-m", "ruff", "format", "--check", "--line-length", "120", "--isolated", "-"]
    for block in examples(name):
        done = subprocess.run(command, input=block, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, block


# Links ---------------------------------------------------------------------------------------------------------------


def anchors(path):
    """What GitHub makes of a file's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", *GUIDES])
def test_pictures_and_links_exist(name):
    place = ROOT / name
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", place.read_text(encoding="utf-8")) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = place.parent / path if path else place
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
    assert links or name == "CONTRIBUTING.md"


@pytest.mark.parametrize("name", GUIDES)
def test_paths_in_the_guides_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = {path for path in re.findall(r"`([\w./]+)`", text) if "/" in path}
    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]
