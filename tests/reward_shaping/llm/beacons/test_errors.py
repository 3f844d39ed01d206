"""Errors come as often as they should, far as they should, and belong to the level."""

import pytest
import torch
from drawn_levels import drawn, repeated
from scipy.stats import binomtest, chisquare, norm

from cairngym.envs.checks import UnknownNameError
from cairngym.envs.minigrid.family import NEAR, OPENED
from cairngym.envs.minigrid.levels import LevelBank
from cairngym.reward_shaping.llm.beacons import subgoals as s
from cairngym.reward_shaping.llm.beacons.errors import ErrorModel, check_kind, with_errors
from cairngym.reward_shaping.llm.beacons.planner import plan

LEVELS = 4000
WIDE = """
#################
#...............#
#...............#
#...............#
#...............#
#...............#
########d########
#...............#
#..K.........b..#
#.......^.......#
#.............G.#
#...............#
#################
"""
TARGET = (NEAR, (8, 3), 0)


def wide(levels=LEVELS):
    """A level many times over, and its subgoals: a door and a square, with room on every side; three other things."""
    bank, width, height = drawn(WIDE, [TARGET])
    bank = repeated(bank, levels)
    return plan(bank, width, height), bank


def test_no_errors_is_the_table_itself():
    table, bank = wide(8)
    assert [goal.sentence for goal in table.level(0)] == ["open the closed blue door", "go to the square"]
    assert with_errors(table, bank, "object", ErrorModel(), 0) is table


@pytest.mark.parametrize("kind", ["position", "object", "language"])
@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.9])
def test_accuracy_is_the_share_that_is_right(kind, accuracy):
    table, bank = wide()
    noisy = with_errors(table, bank, kind, ErrorModel(accuracy=accuracy, position_error=2.0), seed=3)
    assert torch.equal(noisy.count, table.count)
    right = (noisy.entries == table.entries).all(2)
    assert binomtest(int(right.sum()), right.numel(), accuracy).pvalue > 1e-3
    both = torch.bincount(right[:, 0] * 2 + right[:, 1], minlength=4).numpy()
    p = torch.tensor([1 - accuracy, accuracy])
    expected = torch.outer(p, p).flatten().numpy() * LEVELS
    seen = expected > 0
    assert (both[~seen] == 0).all()
    assert seen.sum() == 1 or chisquare(both[seen], expected[seen], sum_check=False).pvalue > 1e-3  # independent


def test_distances_follow_the_rounded_normal():
    table, bank = wide()
    mean, std = 2.2, 0.8
    noisy = with_errors(table, bank, "position", ErrorModel(accuracy=0.0, position_error=mean, position_std=std), 1)
    here, there = table.entries[:, 0, s.CELL], noisy.entries[:, 0, s.CELL]
    dx, dy = there % table.width - here % table.width, there // table.width - here // table.width
    far = dx.abs() + dy.abs()
    edges = torch.tensor([-50.0, 1.5, 2.5, 3.5, 50.0])
    expected = torch.tensor(norm.cdf(edges, mean, std)).diff() * LEVELS
    counted = torch.tensor([(far == 1).sum(), (far == 2).sum(), (far == 3).sum(), (far > 3).sum()])
    assert chisquare(counted.numpy(), expected.numpy(), sum_check=False).pvalue > 1e-3
    for share in ((dx > 0)[dx != 0], (dy > 0)[dy != 0], (dx == 0)[far == 1]):
        assert binomtest(int(share.sum()), len(share), 0.5).pvalue > 1e-3, "directions are not even"


def test_positions_stay_in_the_grid_and_off_the_right_cell():
    table, bank = wide()
    for mean in (1.0, 5.0, 30.0):
        noisy = with_errors(table, bank, "position", ErrorModel(accuracy=0.0, position_error=mean), seed=2)
        cell = noisy.entries[..., s.CELL]
        assert bool(((cell >= 0) & (cell < table.width * table.height)).all())
        assert bool((cell != table.entries[..., s.CELL]).all())


def test_wrong_things_are_even_among_the_others_of_the_level():
    table, bank = wide()
    noisy = with_errors(table, bank, "object", ErrorModel(accuracy=0.0), seed=4)
    named = noisy.entries[:, 0]
    others = {(7, 5): s.OPEN, (5, 0): s.TAKE, (8, 1): s.GO}
    counted = []
    for (kind, color), deed in others.items():
        rows = (named[:, s.KIND] == kind) & (named[:, s.COLOR] == color)
        assert bool((named[rows, s.DEED] == deed).all())
        counted.append(int(rows.sum()))
    assert sum(counted) == LEVELS
    assert chisquare(counted).pvalue > 1e-3


def test_where_there_is_no_other_thing_one_is_made_up():
    bank, width, height = drawn("####### #>..d.# #######", [(OPENED, (4, 1), 0)])
    bank = repeated(bank, 500)
    table = plan(bank, width, height)
    noisy = with_errors(table, bank, "language", ErrorModel(accuracy=0.0), seed=0)
    colors = noisy.entries[:, 0, s.COLOR]
    assert sorted(set(colors.tolist())) == [0, 1, 3, 4, 5]
    assert bool((noisy.entries[:, 0, s.KIND] == table.entries[:, 0, s.KIND]).all())


def test_missing_and_extra_subgoals():
    table, bank = wide()
    noisy = with_errors(table, bank, "object", ErrorModel(missing=0.25, extra=0.5), seed=5)
    entries, goal = noisy.entries, table.entries[0]
    exists = torch.arange(noisy.most) < noisy.count.unsqueeze(1)
    assert not entries[~exists].any()
    assert bool((entries[exists][:, s.DEED] > 0).all())
    door = (entries == goal[0]).all(2)
    square = (entries == goal[1]).all(2)
    assert binomtest(int(square.any(1).sum()), LEVELS, 0.75).pvalue > 1e-3
    things = 4  # an extra one is about the door itself in one of four cases
    extra = noisy.count - square.sum(1) - door.sum(1)
    assert binomtest(int(extra.sum()), 2 * LEVELS, 0.5 * (things - 1) / things).pvalue > 1e-3
    both = square.any(1) & door.any(1) & (door.sum(1) == 1)
    first = door.to(torch.int8).argmax(1) < square.to(torch.int8).argmax(1)
    assert float(first[both].float().mean()) > 0.8, "the order of what is kept changed"


def test_everything_missing_leaves_no_subgoal():
    table, bank = wide(20)
    noisy = with_errors(table, bank, "object", ErrorModel(missing=1.0), seed=0)
    assert noisy.count.tolist() == [0] * 20
    assert noisy.level(0) == []


@pytest.mark.parametrize("kind", ["position", "object"])
def test_errors_belong_to_seed_and_level(kind):
    table, bank = wide(64)
    model = ErrorModel(accuracy=0.5, position_error=3.0, position_std=1.0, missing=0.1, extra=0.3)
    noisy = with_errors(table, bank, kind, model, seed=7)
    again = with_errors(table, bank, kind, model, seed=7)
    assert torch.equal(noisy.entries, again.entries)
    few_table, few = wide(16)
    few_noisy = with_errors(few_table, few, kind, model, seed=7)
    assert [few_noisy.level(row) for row in range(16)] == [noisy.level(row) for row in range(16)]
    other = with_errors(table, bank, kind, model, seed=8)
    assert [other.level(row) for row in range(64)] != [noisy.level(row) for row in range(64)]
    assert len({str(noisy.level(row)) for row in range(64)}) > 8, "levels that look the same share their errors"


def test_levels_with_more_subgoals_beside_it_change_nothing():
    one, width, height = drawn("######### #>...d.G# #########", [(NEAR, (7, 1), 0)])
    two = drawn("######### #>.d.e.G# #########", [(NEAR, (7, 1), 0)])[0]
    model = ErrorModel(accuracy=0.3, extra=0.5)
    alone = with_errors(plan(one, width, height), one, "object", model, 0)
    bank = LevelBank.join([one, two])
    beside = with_errors(plan(bank, width, height), bank, "object", model, 0)
    assert beside.level(0) == alone.level(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy": 1.5}, r"accuracy in \[0, 1\], got 1.5"),
        ({"missing": -0.1}, "missing"),
        ({"extra": float("nan")}, "extra"),
        ({"position_error": -1.0}, "finite position_error >= 0"),
        ({"position_std": float("inf")}, "position_std"),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ErrorModel(**options)


def test_unknown_kind():
    with pytest.raises(UnknownNameError, match="Did you mean 'position'"):
        check_kind("positions")
