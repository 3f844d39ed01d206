"""`cairn stl`: explanations against the modules they are made from, and errors that point at the character."""

import pytest

from cairngym.cli import main
from cairngym.envs.stl import parse
from cairngym.reward_shaping.temporal.grounding import ground

NESTED = "F[0,8](reach_a & F[0,4] G[0,2] in_b) & G[0,20] !touch_c"


def explained(capsys, *arguments):
    """The rows of an explanation by name, and what it lists below them."""
    assert main(["stl", "explain", *arguments]) == 0
    rows, below, name = {}, [], ""
    for line in capsys.readouterr().out.splitlines():
        if "grounding" in rows:
            below.append(line.removeprefix("  "))
        else:
            name = line[:14].strip() or name
            rows.setdefault(name, []).append(line[14:])
    return rows, below


def test_a_formula_is_explained(capsys):
    rows, branches = explained(capsys, NESTED)
    assert rows["formula"] == [NESTED]
    assert rows["horizon"] == ["20 steps"]
    assert rows["predicates"] == ["reach_a", "in_b", "touch_c"]
    assert rows["satisfiable"] == ["perhaps: cheap reasoning finds nothing against it"]
    assert rows["grounding"] == ["1 branch, up to 2 times each"]
    assert branches == str(ground(parse(NESTED), 20)).splitlines()[1:]


def test_negations_horizons_seconds_and_slack(capsys):
    rows, _ = explained(capsys, "!(F[0,3] a & b)", "--horizon", "9")
    assert rows["normal form"] == ["G[0,3] !a | !b"]
    assert rows["horizon"] == ["3 steps, within episodes of 9 steps"]
    rows, branches = explained(capsys, "F[0s,1.5s] a", "--dt", "0.1")
    assert rows["formula"] == ["F[0,15] a"]
    assert branches == ["branch", "  t0 in [0, 15]  for F[0,15] a", "  at t0: a"]
    rows, _ = explained(capsys, "G[0,30] F[0,30] a", "--slack", "0")
    assert rows["grounding"] == ["1 branch, up to 1 time each"]


def test_what_cannot_hold_or_be_grounded_is_said(capsys):
    rows, _ = explained(capsys, "G[0,5] a & F[2,3] !a")
    assert rows["satisfiable"] == [
        "no. Expected a formula that can hold, got 'F[2,3] !a', which cannot: a must hold at steps 0 to 5."
    ]
    rows, _ = explained(capsys, "G(a -> F[0,3] b)", "--horizon", "20")
    assert rows["grounding"][0].startswith("none. Cannot ground !a | F[0,3] b within")
    rows, _ = explained(capsys, "G F a")
    assert (rows["horizon"], rows["grounding"]) == (["no end"], ["needs --horizon, in steps: the formula has no end"])
    rows, _ = explained(capsys, "a")
    assert rows["grounding"] == ["needs --horizon, in steps: it says nothing of what follows the first state"]


def test_an_id_is_explained_with_units(capsys):
    rows, branches = explained(capsys, "StlLinear-Branch-v0", "--horizon", "60", "--branches", "3")
    assert rows["horizon"] == ["60 steps"]
    assert rows["formula"] == [
        "(F[0,60] in_a | F[0,60] in_b) & (F[0,60] in_c | F[0,60] in_d) & G[0,60] !in_obstacle"
    ]  # fmt: skip
    described = "in_a         m   Depth inside region a: its radius minus the distance from its centre."
    assert rows["predicates"][0] == described
    assert len(rows["predicates"]) == 5
    assert rows["grounding"] == ["4 branches, up to 2 times each"]
    assert sum(line.startswith("branch ") for line in branches) == 3
    assert branches[-1] == "and 1 more branches; --branches 4 prints all"


def test_errors_point_at_the_character(capsys):
    assert main(["stl", "explain", "F[0,8(a)"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "cairn stl: Expected ']' to end the interval, got '('.", "  F[0,8(a)", "       ^"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "F[0s,1s] a"], "dt"),
        (["explain", "StlLinear-Nestd-v0"], "Did you mean 'StlLinear-Nested-v0'"),
        (["explain", "StlLinear-Nested-v0", "--dt", "0.1"], "Expected --dt with a formula as text"),
        (["explain", "StlLinear-Nested-v0", "--horizon", "5"], "Expected a horizon from 50 to 1000 steps, got 5."),
        (["explain", "Chain-N10-v0"], "Expected a task with a formula, got"),
        (["explain", "F[0,3] a", "--horizon", "-1"], "-1"),
        (["figures", "nowhere"], "Expected a run's folder with a config.yaml in it, got nowhere."),
        (["explan"], "Available subcommands: explain, figures"),
        ([], "Expected one of {explain, figures}"),
    ],
)
def test_other_errors_are_short(arguments, message, capsys):
    assert main(["stl", *arguments]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert "Traceback" not in text


def test_help_has_examples(capsys):
    assert main(["stl", "explain", "--help"]) == 0
    assert "cairn stl explain StlLinear-Nested-v0 --horizon 60" in capsys.readouterr().out
    assert main(["stl", "figures", "--help"]) == 0
    assert "cairn stl figures runs/adhoc/" in capsys.readouterr().out
