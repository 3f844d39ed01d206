"""`cairn bench stl`: robustness of whole traces, beside stlcg++ and rtamt where they are installed.

Every candidate gives the robustness at every step. Values are compared wherever the formula's horizon fits; there they
have to be identical. rtamt evaluates one trace at a time, and so does stlcg++ unless `torch.vmap` is faster: the time
for a batch is then that of one trace times the batch, and the faster way counts.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cairngym.envs.stl.formula import Always, And, Eventually, Formula, Not, Predicate, Until, always, eventually, until
from cairngym.experiments.benchmark import Candidate, measure
from cairngym.experiments.provenance import hardware, versions

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("a", "b", "c")
GROUP = 16
"""Traces evaluated together under `torch.vmap`."""
VMAP_BYTES = 4e9
"""Memory that stlcg++'s masks may take there."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What `cairn bench stl` measures."""

    lengths: tuple[int, ...] = (100, 1000)
    """Samples in a trace."""
    batches: tuple[int, ...] = (1, 256)
    """Traces evaluated together."""
    threads: int = 2
    """CPU threads."""
    device: str = "cpu"
    """Where our margins live; the peers run on the CPU."""
    rounds: int = 5
    """Rounds in which every candidate has its turn."""
    seconds: float = 0.5
    """How long a turn takes, at least."""
    peers: bool = True
    """Whether to measure stlcg++ and rtamt too."""
    out: Path | None = None
    """JSON file for the result."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One way to evaluate one formula, measured."""

    name: str
    formula: str
    length: int
    batch: int
    milliseconds: float
    """For the whole batch, in the best round."""
    difference: float
    """Largest absolute difference to our values where the horizon fits."""


def specifications(length: int) -> dict[str, Formula]:
    """The formulas for traces of `length` samples; until is stlcg++'s (inclusive) or rtamt's by `replace`."""
    a, b, c = (Predicate(name) for name in NAMES)
    half, fifth, tenth = length // 2, length // 5, length // 10
    nested = eventually(a & eventually(always(b, 0, 2), 0, tenth), 0, fifth) & always(~c, 0, half)
    return {"F": eventually(a, 0, half), "G": always(a, 0, half), "U": until(a, b, 0, tenth), "nested": nested}


def draws(length: int, batch: int) -> dict[str, Tensor]:
    """Normal margins, float32 `(batch, length)`."""
    import torch

    rng = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch, length, generator=rng) for name in NAMES}


def stlcg_formula(formula: Formula) -> Any:
    """The formula in stlcg++, of signals `(T, 3)`."""
    stl = importlib.import_module("stlcgpp.formula")
    parts = [stlcg_formula(child) for child in formula.children]
    match formula:
        case Predicate(name):
            column = NAMES.index(name)
            return stl.GreaterThan(stl.Predicate(name, lambda signal: signal[:, column]), 0.0)
        case Not():
            return stl.Negation(parts[0])
        case And():
            return stl.And(*parts)
        case Eventually(_, interval):
            return stl.Eventually(parts[0], [interval.low, interval.high])
        case Always(_, interval):
            return stl.Always(parts[0], [interval.low, interval.high])
        case Until(_, _, interval, True):
            return stl.Until(*parts, [interval.low, interval.high])
    raise ValueError(f"Expected a formula that stlcg++ has an operator for, got '{formula}'.")


def rtamt_text(formula: Formula) -> str:
    """The formula in rtamt's syntax."""
    parts = [rtamt_text(child) for child in formula.children]
    match formula:
        case Predicate(name):
            return name
        case Not():
            return f"not({parts[0]})"
        case And():
            return f"({' and '.join(parts)})"
        case Eventually(_, interval):
            return f"(eventually[{interval.low}:{interval.high}] {parts[0]})"
        case Always(_, interval):
            return f"(always[{interval.low}:{interval.high}] {parts[0]})"
        case Until(_, _, interval, False):
            return f"({parts[0]} until[{interval.low}:{interval.high}] {parts[1]})"
    raise ValueError(f"Expected a formula that rtamt has an operator for, got '{formula}'.")


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to evaluate a formula."""

    name: str
    formula: Formula
    """As its library reads until."""
    traces: int
    """How many leading traces of the batch a call evaluates."""
    call: Callable[[], Tensor]
    """Their robustness at every step, `(traces, T)`."""


def ours(formula: Formula, margins: Mapping[str, Tensor], device: str) -> Way:
    """The whole batch at once."""
    import torch

    from cairngym.envs.stl.robustness import robustness

    there = {name: margin.to(device) for name, margin in margins.items()}

    def call() -> Tensor:
        values = robustness(formula, there)
        if values.is_cuda:
            torch.cuda.synchronize()
        return values

    return Way(name="cairngym", formula=formula, traces=margins["a"].shape[0], call=call)


def stlcg(formula: Formula, margins: Mapping[str, Tensor]) -> list[Way]:
    """One trace, and 16 under `torch.vmap` where their masks fit into memory."""
    import torch

    meant = replace(formula, inclusive=True) if isinstance(formula, Until) else formula
    theirs = stlcg_formula(meant)
    signals = torch.stack([margins[name] for name in NAMES], -1)
    batch, length, _ = signals.shape

    def one(signal: Tensor) -> Tensor:
        return theirs.robustness_trace(signal).reshape(-1)[:length]

    ways = [Way(name="stlcg++", formula=meant, traces=1, call=lambda: one(signals[0])[None])]
    steps = meant.interval.high if isinstance(meant, Until) else 1
    if batch >= GROUP and 16 * GROUP * (steps or length) * length * 2 * length < VMAP_BYTES:
        group = Way(name="stlcg++ (vmap)", formula=meant, traces=GROUP, call=lambda: torch.vmap(one)(signals[:GROUP]))
        ways.append(group)
    return ways


def rtamt(formula: Formula, margins: Mapping[str, Tensor]) -> list[Way]:
    """One trace, parsed beforehand."""
    import torch

    specification = importlib.import_module("rtamt").StlDiscreteTimeSpecification()
    for name in (*NAMES, "out"):
        specification.declare_var(name, "float")
    specification.spec = f"out = {rtamt_text(formula)}"
    specification.parse()
    rows = {name: margin[0].tolist() for name, margin in margins.items()}
    rows["time"] = list(range(margins["a"].shape[1]))

    def call() -> Tensor:
        return torch.tensor([[value for _, value in specification.evaluate(rows)]])

    return [Way(name="rtamt", formula=formula, traces=1, call=call)]


def difference(way: Way, margins: Mapping[str, Tensor]) -> float:
    """Largest absolute difference to our values where the formula's horizon fits."""
    from cairngym.envs.stl.robustness import robustness

    want = robustness(way.formula, margins)[: way.traces]
    known = ~want.isnan()
    return float((way.call().cpu()[known] - want[known]).abs().max())


def compare(name: str, formula: Formula, length: int, batch: int, config: Benchmark) -> list[Timing]:
    """Measure everyone on one formula, in turns."""
    margins = draws(length, batch)
    ways = [ours(formula, margins, config.device)]
    if config.peers:
        for peer, build in {"stlcgpp": stlcg, "rtamt": rtamt}.items():
            ways += build(formula, margins) if importlib.util.find_spec(peer) else []
    candidates = [
        Candidate(name=way.name, batch=batch, threads=config.threads, run=partial(_count, way)) for way in ways
    ]
    measured = measure(candidates, config.rounds, config.seconds)
    return [
        Timing(name=way.name, formula=name, length=length, batch=batch, milliseconds=1e3 * batch / candidate.best,
               difference=difference(way, margins))
        for way, candidate in zip(ways, measured, strict=True)
    ]  # fmt: skip


def _count(way: Way) -> int:
    way.call()
    return way.traces


def table(timings: Sequence[Timing]) -> str:
    """A row for each formula, length and batch; the peers' times are followed by their multiple of ours."""
    lines = ["| formula | T | batch | cairngym (ms) | stlcg++ (ms) | rtamt (ms) |", "|---|---:|---:|---:|---:|---:|"]
    keys = dict.fromkeys((t.formula, t.length, t.batch) for t in timings)
    for key in keys:
        mine = [t for t in timings if (t.formula, t.length, t.batch) == key]
        base = next(t.milliseconds for t in mine if t.name == "cairngym")
        cells = [f"{base:.3g}"]
        for peer in ("stlcg++", "rtamt"):
            best = min((t.milliseconds for t in mine if t.name.startswith(peer)), default=None)
            cells.append("-" if best is None else f"{best:.3g} ({best / base:.0f}x)")
        lines.append(f"| {key[0]} | {key[1]} | {key[2]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(path: Path, timings: Sequence[Timing], config: Benchmark) -> None:
    """Write the figures with formulas, versions and hardware as JSON."""
    formulas = {str(length): {n: str(f) for n, f in specifications(length).items()} for length in config.lengths}
    peers = {peer: metadata.version(peer) for peer in ("stlcgpp", "rtamt") if importlib.util.find_spec(peer)}
    record = {
        "rounds": config.rounds, "seconds": config.seconds, "formulas": formulas,
        "results": [asdict(timing) for timing in timings],
        "versions": versions() | peers, "hardware": hardware(config.device),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\nWritten to {path}")


def run(config: Benchmark) -> int:
    """Measure, print the table and write the JSON."""
    import torch

    torch.set_num_threads(config.threads)
    timings = [
        timing
        for length in config.lengths
        for name, formula in specifications(length).items()
        for batch in config.batches
        for timing in compare(name, formula, length, batch, config)
    ]
    print(f"robustness at every step, best of {config.rounds} rounds; in brackets how many times ours\n")
    print(table(timings))
    print(f"\nlargest difference in value: {max(timing.difference for timing in timings):g}")
    if config.out is not None:
        write(config.out, timings, config)
    return 0
