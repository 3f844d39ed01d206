"""Tables on temporal logic: speed of the robustness and of the worlds, and success beside published figures."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

NOT_MEASURED = "not measured yet"
PUBLISHED = {"linear": (0.86, 0.83), "unicycle": (0.81, 0.44), "franka": (0.68, 0.63), "quadrotor": (0.85, 0.10),
             "ant": (0.61, 0.24)}  # fmt: skip
"""Success of TGPO* and of the best baseline (Meng and Fan 2025, "TGPO: Temporal Grounded Policy Optimization")."""
OURS = ("tgpo", "tgpo_uniform")


def robustness(record: dict[str, Any] | None) -> str:
    """Milliseconds to evaluate formulas at every step of a batch of traces, ours and the peers'."""
    rows = ["| formula | T | batch | cairngym (ms) | stlcg++ (ms) | rtamt (ms) |", "|---|---:|---:|---:|---:|---:|"]
    if record is None:
        return "\n".join([*rows, f"| | | | {NOT_MEASURED} | | |"])
    found: dict[tuple[str, int, int], dict[str, float]] = {}
    for r in record["results"]:
        name = r["name"].split()[0]
        times = found.setdefault((r["formula"], r["length"], r["batch"]), {})
        times[name] = min(times.get(name, float("inf")), r["milliseconds"])
    for (formula, length, batch), times in found.items():
        base = times["cairngym"]
        peers = [f"{times[p]:.3g} ({times[p] / base:.0f}x)" if p in times else "-" for p in ("stlcg++", "rtamt")]
        rows.append(f"| {formula} | {length} | {batch} | {base:.3g} | {' | '.join(peers)} |")
    worst = max(r["difference"] for r in record["results"])
    return "\n".join([*rows, "", f"Largest difference between values: {worst:g}."])


def worlds(record: dict[str, Any] | None) -> str:
    """Env steps per second of the analytic worlds."""
    rows = ["| env | envs | threads | M steps/s |", "|---|---:|---:|---:|"]
    if record is None:
        return "\n".join([*rows, f"| | | | {NOT_MEASURED} |"])
    for r in record["results"]:
        rows.append(f"| {r['name']} | {r['envs']} | {r['threads']} | {r['steps_per_second'] / 1e6:.2f} |")
    return "\n".join(rows)


def published(results: Path) -> str:
    """Success over all tasks of every comparison of a world, beside what the paper reports for its own tasks."""
    rows = [
        "| world | TGPO here | best rival here | TGPO* published | best baseline published |",
        "|---|---:|---:|---:|---:|",
    ]
    for world, (tgpo, baseline) in PUBLISHED.items():
        mine, rival = NOT_MEASURED, NOT_MEASURED
        path = results / f"stl_{world}" / "summary.csv"
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rates = overall(list(csv.DictReader(file)))
            mine = percent(max(((v, r) for v, r in rates.items() if v in OURS), key=lambda item: item[1]))
            rival = percent(max(((v, r) for v, r in rates.items() if v not in OURS), key=lambda item: item[1]))
        rows.append(f"| {world} | {mine} | {rival} | {100 * tgpo:.0f} % | {100 * baseline:.0f} % |")
    return "\n".join(rows)


def overall(rows: list[dict[str, str]]) -> dict[str, float]:
    """Each variant's final success over all tasks."""
    return {
        row["variant"]: float(row["final_success"]) for row in rows if row["task"] == "all" and row["final_success"]
    }


def percent(best: tuple[str, float]) -> str:
    """`90 % (tgpo)`."""
    return f"{100 * best[1]:.0f} % ({best[0]})"
