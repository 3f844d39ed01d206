"""Rows that are made anew."""

from __future__ import annotations

import pytest
import torch

from cairngym.envs.data import refreshed, where
from cairngym.envs.state_view import StateRows


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("transposed", [False, True])
def test_refreshed_rows_are_those_that_where_would_choose(share, transposed):
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(64, generator=generator) < share
    shape = (3, 64) if transposed else (64, 3)
    draws = [torch.rand(shape, generator=generator) for _ in range(2)]
    new, old = (
        {"a": d.T if transposed else d, "deep": {"b": (d.sum(0 if transposed else 1) * 9).long()}} for d in draws
    )
    kept, asked = {"a": old["a"].clone(), "deep": {"b": old["deep"]["b"].clone()}}, []

    def make(rows):
        asked.append(rows)
        return new if rows is None else {"a": new["a"][rows], "deep": {"b": new["deep"]["b"][rows]}}

    got, want = refreshed(mask, old, make), where(mask, new, old)
    assert torch.equal(got["a"], want["a"])
    assert torch.equal(got["deep"]["b"], want["deep"]["b"])
    assert torch.equal(old["a"], kept["a"])  # what was given out before stays as it was
    assert torch.equal(old["deep"]["b"], kept["deep"]["b"])
    assert len(asked) == (share > 0)
    if 0 < share < 0.4:
        assert torch.equal(asked[0], mask.nonzero().squeeze(1))


def test_state_rows_take_a_field_when_it_is_read_and_only_then():
    state = {"x": torch.arange(5), "y": torch.arange(10).view(5, 2)}
    rows = StateRows(state, torch.tensor([3, 1]))
    assert list(rows) == ["x", "y"]
    assert "x" in rows
    assert "z" not in rows
    assert rows["x"].tolist() == [3, 1]
    assert rows["y"].tolist() == [[6, 7], [2, 3]]
    assert StateRows(state, None)["x"] is state["x"]
