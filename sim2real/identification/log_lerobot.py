"""LeRobot v3 datasets as logs: states and actions from the parquet files; pictures are left alone.

Source: the dataset format of LeRobot v3 (meta/info.json, data/chunk-*/file-*.parquet).
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from cairngym.sim2real.identification.layout import LogError, LogLayout, RawLog, Source
from cairngym.sim2real.identification.logs import pick, pick_one

PREFIX = "observation."
ACTION = "action"
NEEDED = ("timestamp", "episode_index", "frame_index")


def read_lerobot(source: str | Path, layout: LogLayout) -> RawLog:
    """Read the folder of a LeRobot dataset; channels are its numeric `observation.*` features.

    Raises:
        LogError: not a dataset of version 3, or columns that are missing or no numbers.
        UnknownNameError: the layout names a feature that is not there.
        ImportError: pyarrow is not installed.
    """
    folder = Path(source)
    info = _info(folder)
    numeric = [key for key, feature in info["features"].items() if _numeric(feature)]
    table = _table(folder, [*NEEDED, *(key for key in numeric if key not in NEEDED)])
    order = np.lexsort((table["frame_index"], table["episode_index"]))
    found = {key: values[order] for key, values in table.items()}
    command = pick_one(found, layout.command or Source(key=ACTION), folder.name)
    observed = {key: values for key, values in found.items() if key.startswith(PREFIX)}
    channels = layout.channels
    return RawLog(
        name=folder.name, time=np.asarray(found["timestamp"], float), command=command,
        sensors=pick(observed if channels is None else found, channels, folder.name),
        episode=np.asarray(found["episode_index"]), units={}, control_dt=1.0 / float(info["fps"]),
        robot=str(info.get("robot_type") or ""), meta={"fps": info["fps"], "version": info["codebase_version"]},
    )  # fmt: skip


def _info(folder: Path) -> dict[str, Any]:
    path = folder / "meta" / "info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version, fps = str(info["codebase_version"]), float(info["fps"])
        info["features"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LogError(f"Expected a LeRobot dataset with meta/info.json at {folder}, got none: {error!r}.") from error
    if not version.lstrip("v").startswith("3"):
        raise LogError(f"Expected a LeRobot dataset of version 3, got {version}. Convert it with LeRobot's converter.")
    if not fps > 0:
        raise LogError(f"Expected a positive fps in {path}, got {fps}.")
    return dict(info)


def _numeric(feature: dict[str, Any]) -> bool:
    return str(feature.get("dtype", "")).startswith(("float", "int", "uint"))


def _table(folder: Path, columns: list[str]) -> dict[str, np.ndarray]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise ImportError(f"LeRobot datasets need pyarrow: pip install 'cairngym[logs]' ({error})") from error
    files = sorted((folder / "data").glob("chunk-*/file-*.parquet"))
    if not files:
        raise LogError(f"Expected data/chunk-*/file-*.parquet in {folder}, got no such file.")
    parts: dict[str, list[np.ndarray]] = {column: [] for column in columns}
    for file in files:
        schema = parquet.read_schema(file)
        if missing := [column for column in columns if column not in schema.names]:
            raise LogError(f"Expected the columns {', '.join(missing)} in {file}, got {', '.join(schema.names)}.")
        table = parquet.read_table(file, columns=columns)
        for column in columns:
            try:
                parts[column].append(np.array(table[column].to_pylist(), dtype=float))
            except (TypeError, ValueError) as error:
                raise LogError(f"Expected numbers, as many in every row, in {column!r} of {file}: {error}") from error
    return {column: np.concatenate(found) for column, found in parts.items()}
