"""Path lengths in mazes, against closed forms, brute force on a fine lattice, and what a distance must fulfil."""

import heapq
import math

import pytest
import torch

from cairngym.envs.navigation.maze_geometry import cell_steps, path_lengths
from cairngym.envs.navigation.maze_maps import MAPS, MEDIUM, U_MAZE, parse_map, reachable
from cairngym.envs.navigation.maze_paths import MazePaths

FINE = 9
"""Lattice points per cell."""


def paths_of(name, scaling=1.0):
    return MazePaths(parse_map(MAPS[name]), scaling, torch.device("cpu"), torch.float64)


def xy(*points):
    return torch.tensor(points, dtype=torch.float64)


def random_points(paths, count, seed=0, reach=0.499):
    """Points in random free cells."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(len(paths.cells), (count,), generator=generator)
    spread = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 2.0 - 1.0
    return paths.centers[cells] + spread * reach * paths.scaling


def lattice_lengths(maze, start):
    """Dijkstra over points (k + 0.5) / FINE, none of which lies on a border, with moves of up to three of them."""

    def blocked(y, x):
        around = [(math.floor(y + a), math.floor(x + b)) for a in (-1e-9, 1e-9) for b in (-1e-9, 1e-9)]
        return any(cell in walls for cell in around)

    walls = set(maze.walls)
    moves = [(a, b) for a in range(-3, 4) for b in range(-3, 4) if math.gcd(a, b) == 1]
    origin = tuple(index * FINE + FINE // 2 for index in start)
    best, heap = {origin: 0.0}, [(0.0, origin)]
    while heap:
        length, (y, x) = heapq.heappop(heap)
        if length > best[y, x]:
            continue
        for a, b in moves:
            total, there = length + math.hypot(a, b) / FINE, (y + a, x + b)
            if total >= best.get(there, math.inf):
                continue
            if not any(blocked((y + 0.5 + a * t / 12) / FINE, (x + 0.5 + b * t / 12) / FINE) for t in range(1, 13)):
                best[there] = total
                heapq.heappush(heap, (total, there))
    return best


def test_u_maze_by_hand():
    maze = parse_map(U_MAZE)
    length = path_lengths(maze)
    number = {cell: k for k, cell in enumerate(maze.free)}
    # Around both corners of the middle wall, which are a cell apart.
    around = 2.0 * math.hypot(1.5, 0.5) + 1.0
    assert length[number[1, 1], number[3, 1]] == pytest.approx(around)
    assert length[number[1, 1], number[1, 3]] == pytest.approx(2.0)
    assert length[number[1, 2], number[2, 3]] == pytest.approx(math.sqrt(2.0))
    hops, following = cell_steps(maze)
    assert hops[number[1, 1], number[3, 1]] == 6
    assert following[number[1, 1], number[3, 1]] == number[1, 2]
    assert following[number[3, 3], number[3, 3]] == number[3, 3]


@pytest.mark.parametrize("start", [(1, 1), (5, 6)])
def test_lengths_match_a_fine_lattice(start):
    maze = parse_map(MEDIUM)
    length = path_lengths(maze)[maze.free.index(start)]
    lattice = lattice_lengths(maze, start)
    for cell, exact in zip(maze.free, length, strict=True):
        found = lattice[cell[0] * FINE + FINE // 2, cell[1] * FINE + FINE // 2]
        assert exact <= found + 1e-3, cell
        assert found <= exact * 1.03 + 0.3, cell


def test_cells_that_touch_at_a_corner_are_not_joined():
    maze = parse_map(["######", "#rg.##", "#.##.#", "#....#", "######"])
    number = {cell: k for k, cell in enumerate(maze.free)}
    pair = (number[1, 3], number[2, 4])
    # Back along the top, down and around the two walls in the middle.
    assert path_lengths(maze)[pair] == pytest.approx(math.hypot(1.5, 0.5) + 1.0 + 2.0 + math.sqrt(0.5))
    assert cell_steps(maze)[0][pair] == 8
    paths = MazePaths(maze, 1.0, torch.device("cpu"), torch.float64)
    near = paths.centers[list(pair)] + 0.45 * xy((1.0, -1.0), (-1.0, 1.0))
    assert float(paths.distance(near[:1], near[1:])) > 4.0


def test_hops_are_those_of_a_search():
    maze = parse_map(MAPS["Large"])
    hops, following = cell_steps(maze)
    number = {cell: k for k, cell in enumerate(maze.free)}
    for goal in maze.free[::7]:
        steps, edge = {goal: 0}, [goal]
        for i, j in edge:
            for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if near in number and near not in steps:
                    steps[near] = steps[i, j] + 1
                    edge.append(near)
        for cell, count in steps.items():
            assert hops[number[cell], number[goal]] == count
            first = following[number[cell], number[goal]]
            assert hops[first, number[goal]] == max(count - 1, 0)


def test_no_path_out_of_a_pocket():
    maze = parse_map(["######", "#rg#.#", "######"])
    hops, _ = cell_steps(maze)
    assert hops[0].tolist() == [0, 1, -1]
    assert path_lengths(maze)[0].tolist() == [0.0, 1.0, math.inf]
    assert reachable(maze, (1, 1)) == {(1, 1), (1, 2)}
    far = MazePaths(maze, 1.0, torch.device("cpu"), torch.float64)
    assert torch.isfinite(far.distance(far.centers[:1], far.centers[2:])).all()


@pytest.mark.parametrize("scaling", [1.0, 4.0])
@pytest.mark.parametrize("name", ["UMaze", "Medium", "Large"])
def test_distance_is_exact_between_centres(name, scaling):
    paths = paths_of(name, scaling)
    count = len(paths.cells)
    first, second = torch.arange(count).repeat_interleave(count), torch.arange(count).repeat(count)
    found = paths.distance(paths.centers[first], paths.centers[second])
    torch.testing.assert_close(found, paths.length.flatten(), rtol=1e-12, atol=1e-12)


def test_distance_is_straight_in_the_open():
    paths = paths_of("Open")
    a, b = random_points(paths, 512), random_points(paths, 512, seed=1)
    torch.testing.assert_close(paths.distance(a, b), (a - b).norm(dim=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["UMaze", "Medium", "Large"])
def test_distance_is_a_distance(name):
    paths = paths_of(name)
    a, b = random_points(paths, 2048), random_points(paths, 2048, seed=1)
    there, straight = paths.distance(a, b), (a - b).norm(dim=1)
    assert bool((there >= straight - 1e-12).all())
    torch.testing.assert_close(there, paths.distance(b, a), rtol=1e-12, atol=1e-12)
    assert not paths.distance(a, a).any()
    exact = paths.length[paths.cell_number(a), paths.cell_number(b)]
    assert bool(((there - exact).abs() <= math.sqrt(2.0) * 1.5).all())


@pytest.mark.parametrize("name", ["UMaze", "Medium", "Large"])
def test_distance_has_no_jumps(name):
    paths = paths_of(name)
    step = 1e-4
    start, goal = random_points(paths, 4096), random_points(paths, 4096, seed=1)
    crossing = start.clone()
    edge = (crossing[:, 0] - 0.5).round() + 0.5 if paths.maze.shape[1] % 2 else crossing[:, 0].round()
    crossing[:, 0] = edge  # on the border between columns
    for points in (start, crossing):
        left, right = points - xy((step / 2, 0.0)), points + xy((step / 2, 0.0))
        inside = (paths.cell_number(left) >= 0) & (paths.cell_number(right) >= 0)
        assert inside.sum() > 1000
        change = (paths.distance(left, goal) - paths.distance(right, goal)).abs()[inside]
        assert float(change.max()) < 8.0 * step


def test_distance_does_not_depend_on_the_batch():
    paths = paths_of("Large")
    a, b = random_points(paths, 1000), random_points(paths, 1000, seed=1)
    whole = paths.distance(a, b)
    parts = [paths.distance(a[k : k + n], b[k : k + n]) for k, n in ((0, 1), (1, 6), (7, 993))]
    assert torch.equal(whole, torch.cat(parts))


def test_points_outside_are_finite_and_get_the_nearest_cell():
    paths = paths_of("UMaze")
    outside = xy((-9.0, 9.0), (9.0, -9.0), (0.0, 0.0))
    assert paths.cell(outside).tolist() == [[0, 0], [4, 4], [2, 2]]
    assert paths.cell_number(outside).tolist() == [-1, -1, -1]
    assert torch.isfinite(paths.distance(outside, xy((1.0, 1.0)).expand(3, 2))).all()


def test_cells_follow_upstream_s_axes():
    paths = paths_of("UMaze", scaling=4.0)
    # Row 1 is at the top, where y is greatest; column 1 at the left.
    assert paths.centers[0].tolist() == [-4.0, 4.0]
    assert paths.cell(xy((-4.0, 4.0), (4.0, -4.0), (-2.1, 5.9))).tolist() == [[1, 1], [3, 3], [1, 1]]
