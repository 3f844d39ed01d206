"""The README and the docs say what the recorded results say, and their examples run."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def generator():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "benchmarks" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["README.md", "docs/potential_shaping.md"])
def test_tables_are_those_of_the_results(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert generator().fill(text) == text, "run python benchmarks/readme.py"


def test_every_block_stands_somewhere():
    module = generator()
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in module.FILES)
    assert {name for name in module.BLOCKS if f"<!-- begin:{name} -->" in text} == set(module.BLOCKS)


def test_a_changed_figure_is_noticed():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    changed = text.replace("<!-- end:worlds -->", "| invented | 1 |\n<!-- end:worlds -->")
    assert generator().fill(changed) == text


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(example):
    short = example.replace("num_envs=1024", "num_envs=64").replace("steps=1_500_000", "steps=4096")
    short = short.replace("num_envs=256", "num_envs=16").replace("episodes=512", "episodes=16")
    done = subprocess.run([sys.executable, "-c", short], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pictures_and_links_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
