"""The WFC ids: a clear error without patterns, upstream's own levels with them."""

import numpy as np
import pytest
from upstream_twins import Twins, random_actions

import cairngym
from cairngym.envs.minigrid import WFC
from cairngym.envs.minigrid.families import get_family
from cairngym.envs.minigrid.levels import cache_path, load_bank, make_reference

IDS = [f"MiniGrid-WFC-{name}-v0" for name in WFC]
MAZE = "MiniGrid-WFC-MazeSimple-v0"
PATTERN = (
    "........",
    ".######.",
    ".#....#.",
    ".#.##.#.",
    ".#.##.#.",
    ".#....#.",
    ".######.",
    "........",
)
"""Rings of wall (#) and floor (.)."""


@pytest.fixture(scope="module")
def patterns(tmp_path_factory):
    """A folder with a small black and white picture for every WFC id."""
    imageio = pytest.importorskip("imageio.v2")
    pytest.importorskip("networkx")
    folder = tmp_path_factory.mktemp("patterns")
    picture = np.array([[(0, 0, 0) if char == "#" else (255, 255, 255) for char in row] for row in PATTERN], np.uint8)
    for name in ("SimpleMaze", "ScaledMaze", "Fabric", "Blackdots", "Angular", "Hogs"):
        imageio.imwrite(folder / f"{name}.png", picture)
    return str(folder)


@pytest.mark.parametrize("env_id", IDS)
def test_without_patterns_the_error_says_what_to_do(env_id):
    with pytest.raises(FileNotFoundError, match=r"wheel does not carry.*pass patterns=FOLDER"):
        cairngym.make(env_id)


def test_a_folder_without_the_pattern(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"SimpleMaze\.png"):
        cairngym.make(MAZE, patterns=str(tmp_path))


def test_other_ids_take_no_patterns(tmp_path):
    with pytest.raises(TypeError, match="only the MiniGrid-WFC-"):
        cairngym.make("MiniGrid-Empty-5x5-v0", patterns=str(tmp_path))


@pytest.mark.parametrize("env_id", IDS)
def test_every_id_has_a_rule(env_id, patterns):
    env = make_reference(env_id, patterns)
    assert "WFCEnv" in get_family(type(env).__name__).references
    assert env.action_space.n == 7


@pytest.mark.parametrize("env_id", [MAZE, "MiniGrid-WFC-RoomsFabric-v0"])
def test_parity(env_id, patterns):
    references = [make_reference(env_id, patterns) for _ in range(4)]
    for i, env in enumerate(references):
        env.reset(seed=20 + i)
    references[-1].step_count = references[-1].max_steps - 10
    twins = Twins(env_id, references, bank_size=2, patterns=patterns)
    rng = np.random.default_rng(1)
    for _ in range(60):
        twins.step(random_actions(references, rng))
    assert twins.ends >= 1


def test_the_cache_knows_the_pattern(patterns, tmp_path):
    imageio = pytest.importorskip("imageio.v2")
    first = cache_path(MAZE, 0, 2, patterns)
    imageio.imwrite(tmp_path / "SimpleMaze.png", np.zeros((8, 8, 3), np.uint8))
    assert cache_path(MAZE, 0, 2, str(tmp_path)) != first
    bank = load_bank(MAZE, 2, patterns=patterns)
    assert first.exists()
    assert len(bank) == 2
