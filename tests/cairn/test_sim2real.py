"""The command `cairn sim2real`: its actions, and evaluating runs."""

from __future__ import annotations

import importlib

import pytest

from cairngym.cli import main
from cairngym.commands.sim2real import ACTIONS


def test_help_lists_the_actions(capsys):
    assert main(["sim2real"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {action}" in shown for action in ACTIONS)


def test_an_unknown_action_names_the_nearest(capsys):
    assert main(["sim2real", "evalute"]) == 2
    assert "Did you mean 'evaluate'" in capsys.readouterr().err


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_explains_itself(action, capsys):
    module = importlib.import_module(f"cairngym.commands.sim2real_{action}")
    assert callable(module.main)
    assert main(["sim2real", action, "--help"]) == 0
    assert f"cairn sim2real {action}" in capsys.readouterr().out


def test_evaluate_says_what_it_needs(tmp_path, capsys):
    assert main(["sim2real", "evaluate", str(tmp_path)]) == 2
    assert "finished runs" in capsys.readouterr().err
    assert main(["sim2real", "evaluate"]) == 2
    assert capsys.readouterr().err
