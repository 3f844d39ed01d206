"""Map the folders at the root onto the `cairngym` package (see pyproject.toml for everything else)."""

from setuptools import find_packages, setup

FOLDERS = ("envs", "reward_shaping", "agents", "sim2real", "experiments", "configs")

subpackages = [*find_packages("cairn"), *(f"{folder}.{name}" for folder in FOLDERS for name in find_packages(folder))]
setup(
    package_dir={"cairngym": "cairn", **{f"cairngym.{folder}": folder for folder in FOLDERS}},
    packages=["cairngym", *(f"cairngym.{name}" for name in (*FOLDERS, *subpackages))],
)
