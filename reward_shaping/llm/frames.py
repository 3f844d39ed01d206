"""Messages between processes: JSON and raw tensors over pipes, with nothing in them that could run.

A frame is two lengths (8 bytes each, big-endian), a JSON header, and a block of bytes.
"""

from __future__ import annotations

import json
import os
import selectors
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from cairngym.envs.data import StateField

LENGTHS = struct.Struct(">QQ")
MAX_HEADER = 2**24
MAX_BLOCK = 2**31
DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
    torch.bool,
)  # fmt: skip


class BrokenFrame(RuntimeError):  # noqa: N818
    """The other end closed, took too long, or sent something that is no frame."""


def send_frame(fd: int, header: Mapping[str, Any], block: bytes | memoryview = b"") -> None:
    """Write one frame.

    Raises:
        BrokenFrame: the other end is gone.
    """
    words = json.dumps(header).encode()
    try:
        for part in (LENGTHS.pack(len(words), len(block)), words, block):
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(fd, rest) :]
    except OSError as problem:
        raise BrokenFrame("The other end is gone.") from problem


def receive_frame(fd: int, deadline: float | None = None, max_block: int = MAX_BLOCK) -> tuple[dict[str, Any], bytes]:
    """Read one frame, until `deadline` (by `time.monotonic`).

    Raises:
        BrokenFrame: the other end is gone, the deadline has passed, or what came is no frame.
    """
    words, block = LENGTHS.unpack(_receive(fd, LENGTHS.size, deadline))
    if words > MAX_HEADER or block > max_block:
        raise BrokenFrame("What came is too long for a frame.")
    try:
        header = json.loads(_receive(fd, words, deadline))
    except (ValueError, RecursionError) as problem:
        raise BrokenFrame("What came is no frame.") from problem
    if not isinstance(header, dict):
        raise BrokenFrame("What came is no frame.")
    return header, _receive(fd, block, deadline)


def _receive(fd: int, size: int, deadline: float | None) -> bytes:
    parts, left = [], size
    while left:
        wait_readable(fd, deadline)
        part = os.read(fd, min(left, 2**20))
        if not part:
            raise BrokenFrame("The other end is gone.")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def wait_readable(fd: int, deadline: float | None) -> None:
    """Return when `fd` has something to read, or has been closed.

    Raises:
        BrokenFrame: the deadline has passed.
    """
    if deadline is None:
        return
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        if not selector.select(max(0.0, deadline - time.monotonic())):
            raise BrokenFrame("The other end took too long.")


def pack(tensors: Mapping[str, torch.Tensor]) -> tuple[list[dict[str, Any]], bytes]:
    """Describe tensors, and put their bytes behind each other.

    Raises:
        TypeError: a dtype that is not among `DTYPES`.
    """
    entries, parts = [], []
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise TypeError(f"Expected a dtype among {DTYPES} for {name!r}, got {tensor.dtype}.")
        entries.append({"name": name, "dtype": DTYPES.index(tensor.dtype), "shape": list(tensor.shape)})
        parts.append(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return entries, b"".join(parts)


def unpack(entries: list[dict[str, Any]], block: bytes) -> dict[str, torch.Tensor]:
    """Undo `pack`; the tensors own their memory."""
    tensors, start = {}, 0
    for entry in entries:
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        raw = np.frombuffer(block, np.uint8, count=size, offset=start).copy()
        # A view as another dtype is refused where there is nothing to view.
        tensors[entry["name"]] = (
            torch.from_numpy(raw).view(dtype).view(shape) if size else torch.zeros(shape, dtype=dtype)
        )
        start += size
    return tensors


def pack_spec(spec: Mapping[str, StateField]) -> list[dict[str, Any]]:
    """A state's description as JSON holds it."""
    return [
        {
            "name": name, "shape": list(field.shape), "unit": field.unit, "description": field.description,
            "dtype": DTYPES.index(field.dtype), "privileged": field.privileged,
        }
        for name, field in spec.items()
    ]  # fmt: skip


def unpack_spec(entries: list[dict[str, Any]]) -> dict[str, StateField]:
    """Undo `pack_spec`."""
    return {
        entry["name"]: StateField(
            shape=tuple(entry["shape"]), unit=entry["unit"], description=entry["description"],
            dtype=DTYPES[entry["dtype"]], privileged=entry["privileged"],
        )
        for entry in entries
    }  # fmt: skip
