"""Write the tables of README.md from the recorded results, so that no figure is typed by hand.

python benchmarks/readme.py          # rewrite the blocks between <!-- begin:NAME --> and <!-- end:NAME -->
python benchmarks/readme.py --check  # exit with 1 if a block is out of date
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import stl_tables

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
NOT_MEASURED = stl_tables.NOT_MEASURED
MINIGRID = ("torch", "warp-lang", "minigrid")
"""The packages that decide the figures on MiniGrid."""
HINDSIGHT = {"hindsight_reach": "FetchReach-v4", "hindsight_push": "FetchPush-v4"}
"""Records of `benchmarks/hindsight.py`, and the ids they are of."""


def load(name: str) -> dict[str, Any] | None:
    """A recorded result, None where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def made_with(record: dict[str, Any], what: str, *packages: str) -> str:
    """One line on what was measured, the machine and the versions."""
    hardware, versions = record["hardware"], record["versions"]
    shown = ", ".join(f"{name} {versions[name]}" for name in packages if name in versions)
    place = hardware.get("gpu") or f"{hardware['cpu']}, {hardware['usable_cores']} cores"
    return f"\n{what} on {place}; Python {versions['python']}, {shown}."


def worlds() -> str:
    """Steps per second of the worlds, CPU and GPU."""
    rows = ["| worlds | envs | threads | M steps/s | x minigrid | x EnvPool |", "|---|---:|---:|---:|---:|---:|"]
    cpu = load("minigrid_cpu")
    if cpu:
        results = cpu["results"]
        base = next(r["steps_per_second"] for r in results if r["name"].startswith("minigrid "))
        peers = [r["steps_per_second"] for r in results if r["name"].startswith("EnvPool")]
        for r in results:
            speed = r["steps_per_second"]
            ratio = f"{speed / max(peers):.1f}" if peers else "not installed"
            rows.append(
                f"| {r['name']} | {r['envs']} | {r['threads']} | {speed / 1e6:.3f} | {speed / base:,.0f} | {ratio} |"
            )
    gpu = load("minigrid_gpu")
    for r in gpu["results"] if gpu else []:
        rows.append(f"| {r['name']}, GPU | {r['envs']} | | {r['steps_per_second'] / 1e6:.1f} | | |")
    if not gpu:
        rows.append(f"| cairngym, GPU | | | {NOT_MEASURED} | | |")
    return "\n".join(rows) + ("\n" + made_with(cpu, cpu["env"], *MINIGRID) if cpu else "")


def physics() -> str:
    """Steps per second of the MuJoCo worlds, beside raw stepping of their models and the peers, CPU and GPU."""
    rows = ["| task | worlds | envs | threads | steps/s | of raw | x EnvPool |", "|---|---|---:|---:|---:|---:|---:|"]
    cpu = load("physics_cpu")
    if cpu:
        rows += speeds(cpu)
    else:
        rows.append(f"| cairngym | | | | {NOT_MEASURED} | | |")
    gpu = load("physics_gpu")
    if gpu:
        rows += speeds(gpu)
    else:
        rows.append(f"| cairngym, GPU | | | | {NOT_MEASURED} | | |")
    notes = [made_with(record, "Measured", "torch", "mujoco", "warp-lang") for record in (cpu, gpu) if record]
    return "\n".join([*rows, *notes])


def speeds(record: dict[str, Any]) -> list[str]:
    """Rows of one benchmark: every candidate's rate, its share of raw stepping, and how many times EnvPool's it is."""
    found = list(zip(record["tasks"], record["results"], strict=True))
    rows = []
    for task, r in found:
        rates = {other["name"]: other["steps_per_second"] for name, other in found if name == task}
        limit = next((rate for name, rate in rates.items() if name.startswith("raw")), None)
        peer = next((rate for name, rate in rates.items() if name.startswith("EnvPool")), None)
        speed = r["steps_per_second"]
        share, times = f"{speed / limit:.0%}" if limit else "", f"{speed / peer:.2f}" if peer else "no such id"
        rows.append(f"| {task} | {r['name']} | {r['envs']} | {r['threads']} | {speed:,.0f} | {share} | {times} |")
    return rows


def learning() -> str:
    """Wall time to 95 % success."""
    record = load("time_to_success")
    rows = ["| agent | seed | M steps | training seconds | held-out success |", "|---|---:|---:|---:|---:|"]
    if record is None:
        return "\n".join([*rows, f"| cairngym PPO | | {NOT_MEASURED} | | |"])
    for run in record["runs"]:
        mark = "" if run["reached"] else " (not reached)"
        held_out = "" if run["held_out_success"] is None else f"{run['held_out_success']:.1%}"
        seconds, steps = f"{run['seconds']:.1f}{mark}", f"{run['steps'] / 1e6:.2f}"
        rows.append(f"| {run['name']} | {run['seed']} | {steps} | {seconds} | {held_out} |")
    medians = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in record["median_seconds"].items())
    return "\n".join(rows) + f"\n\nMedians: {medians}.{made_with(record, record['env'], *MINIGRID)}"


def hindsight() -> str:
    """Training wall time of hindsight to a success rate, beside Stable-Baselines3's."""
    rows = [
        "| task | agent | seed | k steps | training seconds | success at the end |",
        "|---|---|---:|---:|---:|---:|",
    ]
    medians, last = [], None
    for name, task in HINDSIGHT.items():
        record = load(name)
        if record is None:
            rows.append(f"| {task} | | | | {NOT_MEASURED} | |")
            continue
        rows += [trained(record["env"], run) for run in record["runs"]]
        seconds, last = record["median_seconds"], record
        reached = "not reached" if seconds is None else f"{seconds:.1f} s"
        medians.append(f"{record['env']} to {record['target']:.0%}: {reached} (limit {record['limit_seconds']:g} s)")
    if last is None:
        return "\n".join(rows)
    note = made_with(last, "Measured", "torch", "mujoco", "stable-baselines3")
    return "\n".join([*rows, "", f"cairngym's medians: {'; '.join(medians)}.{note}"])


def trained(task: str, run: dict[str, Any]) -> str:
    """One run: what it took, and the success that further episodes confirm."""
    mark = "" if run["reached"] else " (below the target)"
    name = run["name"] + ("" if run.get("complete", True) else ", given up")
    steps, seconds = f"{run['steps'] / 1e3:,.0f}", f"{run['seconds']:.1f}"
    return f"| {task} | {name} | {run['seed']} | {steps} | {seconds} | {run['success']:.1%}{mark} |"


def soak() -> str:
    """One line on episode after episode of extreme random actions."""
    record = load("soak")
    if record is None:
        return f"Soak of the ids on physics: {NOT_MEASURED}."
    rows = record["results"]
    bad = [row["id"] for row in rows if not row["finite"]]
    said = f"not finite: {', '.join(bad)}" if bad else "everything that left an env was finite"
    episodes, steps, diverged = (sum(row[name] for row in rows) for name in ("episodes", "steps", "diverged"))
    grown = max(row["grown_mb"] for row in rows)
    return (
        f"Soak (`python benchmarks/soak.py`): {len(rows)} ids, {episodes:,} episodes, {steps / 1e6:.1f} M steps of "
        f"extreme random actions; {said}; {diverged:,} env steps diverged and were put back; over the last three "
        f"quarters of an id's episodes the process grew by {grown:.1f} MB at most."
    )


def oni() -> str:
    """What annotating captions costs the learner."""
    rows = ["| PPO | k steps/s |", "|---|---:|"]
    record = load("oni_cpu")
    if record is None:
        return "\n".join([*rows, f"| | {NOT_MEASURED} |"])
    rows += [f"| {name} | {speed / 1e3:.0f} |" for name, speed in record["steps_per_second"].items()]
    ratio = record["annotated_over_unannotated"]
    return "\n".join([*rows, "", f"Annotated over unannotated: {ratio:.2f}.", made_with(record, "Measured", "torch")])


def noted(table: Callable[[dict[str, Any] | None], str], name: str, *packages: str) -> str:
    """A table of a record, and what it was measured on."""
    record = load(name)
    return table(record) + ("\n" + made_with(record, "Measured", *packages) if record else "")


def comparison(name: str) -> str:
    """Final success of every variant of a packaged comparison, from its summary."""
    path = ROOT / "results" / name / "summary.csv"
    if not path.exists():
        return NOT_MEASURED
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return render(rows)


def render(rows: list[dict[str, str]]) -> str:
    """Tasks down, variants across: success of the sampled policy with its interval."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    cell = {(row["task"], row["variant"]): row for row in rows}
    lines = ["| task | " + " | ".join(variants) + " |", "|---|" + "---:|" * len(variants)]
    for task in tasks:
        lines.append(f"| {task} | " + " | ".join(success(cell.get((task, v))) for v in variants) + " |")
    return "\n".join(lines)


def success(row: dict[str, str] | None) -> str:
    """`97 % [95, 99]`; empty where nothing ran."""
    if row is None or not row.get("final_success"):
        return ""
    middle, low, high = (100 * float(row[f"final_success{end}"]) for end in ("", "_low", "_high"))
    return f"{middle:.0f} % [{low:.0f}, {high:.0f}]"


COMPARISONS = (
    "quickstart", "minigrid", "goals", "goals_push", "potential_offsets", "stl_linear", "stl_unicycle", "stl_quadrotor",
    "stl_franka", "stl_ant", "stl_short", "stl_replay", "llm", "llm_fetch",
    "intrinsic", "demonstrations", "residual", "quality_diversity", "sim2real", "sim2real_fetch",
)  # fmt: skip
BLOCKS: dict[str, Callable[[], str]] = {
    "worlds": worlds,
    "learning": learning,
    "physics": physics,
    "hindsight": hindsight,
    "soak": soak,
    "oni": oni,
    "stl_robustness": lambda: noted(stl_tables.robustness, "stl_cpu", "torch", "stlcgpp", "rtamt"),
    "stl_worlds": lambda: noted(stl_tables.worlds, "stl_worlds_cpu", "torch", "warp-lang"),
    "stl_published": lambda: stl_tables.published(ROOT / "results"),
    **{name: partial(comparison, name) for name in COMPARISONS},
}
FILES = (
    "README.md", "docs/potential_shaping.md", "docs/physics_worlds.md", "docs/stl.md", "docs/tgpo.md",
    "docs/llm_rewards.md", "docs/exploration.md", "docs/quality_diversity.md", "docs/demonstrations.md",
    "docs/gap.md",
)  # fmt: skip


def fill(text: str) -> str:
    """Replace every block by what the results say now."""
    for name, block in BLOCKS.items():
        pattern = re.compile(rf"(<!-- begin:{name} -->\n).*?(<!-- end:{name} -->)", re.DOTALL)
        text = pattern.sub(lambda match, block=block: f"{match[1]}{block()}\n{match[2]}", text)
    return text


def main(check: bool) -> int:
    """Rewrite the files, or with `check` only say which are out of date."""
    stale = []
    for name in FILES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if fill(text) != text:
            stale.append(name)
            if not check:
                path.write_text(fill(text), encoding="utf-8")
    for name in stale:
        print(f"{name}: {'out of date; run python benchmarks/readme.py' if check else 'rewritten'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main("--check" in sys.argv[1:]))
