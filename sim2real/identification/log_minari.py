"""Minari datasets as logs: observations and actions of its episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cairngym.sim2real.identification.layout import LogError, LogLayout, RawLog
from cairngym.sim2real.identification.logs import episodes, pick, pick_one

ACTION, OBSERVATION = "action", "observation"


def read_minari(source: str | Path, layout: LogLayout) -> RawLog:
    """Read a Minari dataset by its id ("minari:ID") or its folder.

    Channels are the entries of its observations: "observation" where that is one array, else keys joined by "/". Its
    T + 1 observations go with T actions; the last row of an episode keeps the last action. Datasets have no clock, so
    the layout must give `control_dt`.

    Raises:
        LogError: no control step, or no such dataset.
        UnknownNameError: the layout names an entry that is not there.
        ImportError: Minari is not installed.
    """
    name = str(source).removeprefix("minari:")
    if layout.control_dt is None:
        raise LogError(f"Expected control_dt in the layout of the Minari dataset {name!r}, which has no clock.")
    dataset = _load(name)
    parts: dict[str, list[np.ndarray]] = {}
    lengths = []
    for episode in dataset.iterate_episodes():
        actions = np.asarray(episode.actions, float)
        lengths.append(len(actions) + 1)
        entries = dict(_flat(episode.observations, OBSERVATION))
        entries[ACTION] = np.concatenate((actions, actions[-1:]))
        for key, values in entries.items():
            parts.setdefault(key, []).append(np.asarray(values, float).reshape(lengths[-1], -1))
    found = {key: np.concatenate(values) for key, values in parts.items()}
    if not found:
        raise LogError(f"Expected episodes in the Minari dataset {name!r}, got none.")
    own = layout.command
    command = found.pop(ACTION) if own is None else pick_one(found, own, name)
    time = np.concatenate([layout.control_dt * np.arange(length) for length in lengths])
    return RawLog(
        name=name, time=time, command=command, sensors=pick(found, layout.channels, name), episode=episodes(lengths),
        units={}, control_dt=layout.control_dt, meta={"dataset": name},
    )  # fmt: skip


def _load(name: str) -> Any:
    try:
        import minari
        from minari.dataset.minari_dataset import MinariDataset
    except ImportError as error:
        raise ImportError(f"Minari datasets need Minari: pip install 'cairngym[demonstrations]' ({error})") from error
    folder = Path(name)
    try:
        if folder.is_dir():
            return MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)
        return minari.load_dataset(name)
    except (OSError, ValueError, KeyError) as error:
        raise LogError(f"Expected a Minari dataset {name!r}, got none that can be read: {error}") from error


def _flat(value: Any, prefix: str) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [entry for key, part in value.items() for entry in _flat(part, f"{prefix}/{key}")]
