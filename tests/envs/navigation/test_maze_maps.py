"""Maps of mazes: upstream's layouts, and what a map of one's own must be."""

import subprocess
import sys

import gymnasium
import pytest

from cairngym.envs.navigation.maze_config import MAZES
from cairngym.envs.navigation.maze_maps import MAPS, parse_map
from cairngym.envs.navigation.specs import specs

SYMBOLS = {"#": 1, ".": 0}


@pytest.fixture(scope="module")
def registry():
    gymnasium.register_envs(pytest.importorskip("gymnasium_robotics"))
    return gymnasium.registry


@pytest.mark.parametrize("env_id", MAZES)
def test_ids_maps_and_horizons_are_upstream_s(env_id, registry):
    upstream, config = registry[env_id], MAZES[env_id]
    ours = [[SYMBOLS.get(symbol, symbol) for symbol in row] for row in MAPS[config.map]]
    assert ours == upstream.kwargs["maze_map"]
    assert config.horizon == upstream.max_episode_steps
    assert upstream.kwargs["reward_type"] == "sparse"


def test_every_map_of_upstream_has_an_id(registry):
    families = (("PointMaze_", "-v3"), ("AntMaze_", "-v4"))
    names = {name for name in registry for start, end in families if name.startswith(start) and name.endswith(end)}
    assert set(MAZES) == {name for name in names if "Dense" not in name}
    assert [spec.id for spec in specs() if "Maze_" in spec.id] == list(MAZES)


def test_listing_ids_imports_no_simulator():
    code = (
        "import sys; import cairngym.envs.navigation.specs as s; assert len(s.specs()) >= 20; "
        "assert not {'torch', 'mujoco'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", MAPS)
def test_maps_pass_their_own_check(name):
    assert parse_map(MAPS[name]).rows == MAPS[name]


def test_unmarked_cells_stand_in_for_missing_marks():
    ring = [[1, 1, 1, 1, 1], [1, 0, "g", 0, 1], [1, 1, 1, 1, 1]]
    found = parse_map(ring)
    assert found.goals == [(1, 2)]
    assert found.starts == [(1, 1), (1, 3)]
    ring[1][2] = "r"
    assert parse_map(ring).goals == [(1, 1), (1, 3)]
    ring[1][2] = 0
    assert parse_map(ring).goals == parse_map(ring).starts == [(1, 1), (1, 2), (1, 3)]
    ring[1] = [1, "r", "g", "c", 1]
    assert parse_map(ring).goals == [(1, 2), (1, 3)]
    assert parse_map(ring).starts == [(1, 1), (1, 3)]


@pytest.mark.parametrize(
    ("maze_map", "message"),
    [
        ([], "with cells"),
        ([[1, 1], [1]], "rows of one length, got lengths \\[1, 2\\]"),
        ([[1, 1, 1], [1, 0, 0], [1, 1, 1]], "all around the maze_map, got openings at \\(1, 2\\)"),
        ([[1, 1, 1], [1, 1, 1], [1, 1, 1]], "with a goal cell, got none"),
        ([[1, 1, 1], [1, "g", 1], [1, 1, 1]], "with a reset cell, got none"),
        ([[1, 1, 1], [1, "c", 1], [1, 1, 1]], "another reset cell for every goal cell"),
        ([[1] * 5, [1, "r", 1, "g", 1], [1] * 5], "got \\(1, 3\\) that can't be reached from \\(1, 1\\)"),
        ([[1] * 4, [1, "r", "x", 1], [1] * 4], "got 'x' at \\(1, 2\\)"),
    ],
)
def test_bad_maps_are_refused(maze_map, message):
    with pytest.raises(ValueError, match=message):
        parse_map(maze_map)
