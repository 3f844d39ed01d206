"""Checkpoint files: written whole or not at all, and read without running code from them."""

from __future__ import annotations

import enum
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cairngym.envs.files import replacing

FORMAT = "cairngym agent 1"


def _numpy_globals() -> list[Any]:
    """What the pickle of a NumPy array of numbers refers to."""
    kinds = [type(np.dtype(code)) for code in "?bBhHiIlLqQefdU"]
    return [np.ndarray, np.dtype, np.empty(0).__reduce__()[0], *kinds]


def to_plain(value: Any, where: str = "checkpoint") -> Any:
    """Copy a snapshot of tensors, NumPy arrays, numbers, strings, bytes, None, and dicts, lists and tuples of them.

    Raises:
        TypeError: naming the place and type of anything else.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.copy()
    if isinstance(value, Mapping):
        return {key: to_plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise TypeError(
        f"Expected tensors, arrays, numbers, strings, dicts and lists in a checkpoint, got {type(value).__name__} "
        f"at {where}. Let get_state() return plain values."
    )


def write_checkpoint(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` in one atomic step: readers see the old file or the new one, never a part.

    Raises:
        TypeError: if `content` holds something a checkpoint cannot.
        OSError: if the disk refuses, for instance because it is full; an older file at `path` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = to_plain({"format": FORMAT, **content})
    try:
        with replacing(path) as file:
            torch.save(plain, file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise OSError(
            f"Expected to write the checkpoint {path}, got: {error}. An older checkpoint there is untouched; "
            "free some space or choose another folder."
        ) from error


def read_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `write_checkpoint` wrote, tuples as lists, tensors on `device`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint at {path}, got no such file. Train first, or mend the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()  # torch.load itself does not look at the checksums
        if broken is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {broken}")
        with torch.serialization.safe_globals(_numpy_globals()):
            content = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError, KeyError) as error:
        raise _not_a_checkpoint(path, f"a damaged or foreign file ({type(error).__name__})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise _not_a_checkpoint(path, f"one marked {found!r}")
    return content


def load_moments(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Take over what an optimizer gathered; its own settings stay, where another run goes on with other ones.

    Raises:
        ValueError: `saved`, a `state_dict`, is of other parameters.
    """
    settings = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(to_plain(saved))  # a copy: it would share its tensors
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)


def _not_a_checkpoint(path: Path, found: str) -> ValueError:
    size = path.stat().st_size
    return ValueError(
        f"Expected a checkpoint marked {FORMAT!r} at {path}, got {found} of {size} bytes. "
        "Delete it to start anew, or put an intact copy in its place."
    )
