"""What reaches the wheel: every package, and every file beside the code that the package reads."""

import runpy
import tomllib
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folders(monkeypatch) -> dict[str, Path]:
    """Every package that setup.py names, and the folder it is made from."""
    found = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: found.update(arguments))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    mapped = found["package_dir"]

    def folder(package: str) -> Path:
        parent, _, name = package.rpartition(".")
        return ROOT / mapped[package] if package in mapped else folder(parent) / name

    return {package: folder(package) for package in found["packages"]}


def files(folders: dict[str, Path]) -> set[Path]:
    tops = {folder for package, folder in folders.items() if package.count(".") <= 1}
    found = {path for top in tops for path in top.rglob("*") if path.is_file()}
    return {path for path in found if "__pycache__" not in path.parts and not path.name.startswith(".")}


def test_every_folder_with_code_is_a_package(folders):
    code = {path.parent for path in files(folders) if path.suffix == ".py"}
    assert code - set(folders.values()) == set()


def test_every_file_beside_the_code_is_package_data(folders):
    data = {path for path in files(folders) if path.suffix != ".py"}
    assert {path.suffix for path in data} >= {".yaml", ".j2", ".typed"}
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {path for name, globs in patterns.items() for glob in globs for path in folders[name].glob(glob)}
    assert {path.relative_to(ROOT).as_posix() for path in data - packed} == set()


def test_data_that_the_package_reads_is_where_it_is_installed():
    from importlib.resources import files as installed

    from cairngym.experiments.config import load_comparison
    from cairngym.experiments.presets import packaged

    assert installed("cairngym").joinpath("py.typed").is_file()
    assert installed("cairngym.experiments.templates").joinpath("report.html.j2").is_file()
    assert {load_comparison(path).name for path in packaged("compare").values()} >= {"quickstart", "minigrid"}
