import importlib.util
import json

import pytest
import torch

from cairngym.envs.stl.formula import Predicate, WeakUntil, always, eventually, until
from cairngym.experiments import benchmark, benchmark_stl
from cairngym.experiments.benchmark_stl import Timing, specifications, table

PEERS = [name for name in ("stlcgpp", "rtamt") if importlib.util.find_spec(name)]


def test_it_measures_every_formula_and_writes_the_record(tmp_path, capsys):
    out = tmp_path / "stl.json"
    short = "stl --lengths 20 --batches 1 3 --threads 1 --rounds 1 --seconds 0.001 --out"
    code = benchmark.main([*short.split(), str(out)])
    record = json.loads(out.read_text())
    assert code == 0
    names = {row["name"] for row in record["results"]}
    assert names == {"cairngym"} | {{"stlcgpp": "stlcg++"}.get(name, name) for name in PEERS}
    cells = {(row["formula"], row["batch"]) for row in record["results"]}
    assert cells == {(name, batch) for name in ("F", "G", "U", "nested") for batch in (1, 3)}
    assert all(row["milliseconds"] > 0 and row["difference"] == 0.0 for row in record["results"])
    assert record["formulas"]["20"]["F"] == "F[0,10] a"
    assert all(name in record["versions"] for name in PEERS)
    assert "largest difference in value: 0" in capsys.readouterr().out


def test_vmap_gives_the_same_values():
    pytest.importorskip("stlcgpp.formula")
    margins = benchmark_stl.draws(30, 16)
    for formula in specifications(30).values():
        ways = benchmark_stl.stlcg(formula, margins)
        assert [way.traces for way in ways] == [1, 16]
        assert [benchmark_stl.difference(way, margins) for way in ways] == [0.0, 0.0]


def test_a_wrong_value_shows():
    margins = benchmark_stl.draws(20, 2)
    formula = specifications(20)["G"]
    way = benchmark_stl.ours(formula, margins, "cpu")
    assert benchmark_stl.difference(way, margins) == 0.0
    off = benchmark_stl.Way(name="off", formula=formula, traces=2, call=lambda: way.call() + 0.25)
    assert benchmark_stl.difference(off, margins) == pytest.approx(0.25)
    assert torch.equal(benchmark_stl.draws(20, 2)["a"], margins["a"])


def test_the_table_shows_the_faster_peer_as_a_multiple():
    def timing(name: str, milliseconds: float) -> Timing:
        return Timing(name=name, formula="F", length=100, batch=1, milliseconds=milliseconds, difference=0.0)

    lines = table([timing("cairngym", 2.0), timing("stlcg++", 50.0), timing("stlcg++ (vmap)", 30.0)])
    assert lines.splitlines()[-1] == "| F | 100 | 1 | 2 | 30 (15x) | - |"


def test_formulas_that_a_peer_cannot_read_are_refused():
    a, b = Predicate("a"), Predicate("b")
    assert benchmark_stl.rtamt_text(eventually(~a & always(b, 0, 1), 2, 3)) == (
        "(eventually[2:3] (not(a) and (always[0:1] b)))"
    )
    with pytest.raises(ValueError, match="rtamt has an operator for, got 'a W b'"):
        benchmark_stl.rtamt_text(WeakUntil(a, b))
    with pytest.raises(ValueError, match="rtamt has an operator for"):
        benchmark_stl.rtamt_text(until(a, b, 0, 1, inclusive=True))
    pytest.importorskip("stlcgpp.formula")
    with pytest.raises(ValueError, match="stlcg"):
        benchmark_stl.stlcg_formula(until(a, b, 0, 1))
