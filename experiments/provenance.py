"""What a result was made with: package versions and hardware."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("cairngym", "torch", "numpy", "gymnasium", "minigrid", "warp-lang", "mujoco", "stable-baselines3")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results; those not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: str) -> dict[str, Any]:
    """Processor, cores, threads and, on a GPU, its name."""
    import torch

    from cairngym.experiments.launcher import cores

    described: dict[str, Any] = {
        "platform": platform.platform(), "cpu": processor(), "cores": os.cpu_count(), "usable_cores": cores(),
        "threads": torch.get_num_threads(), "device": device,
    }  # fmt: skip
    if torch.device(device).type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def processor() -> str:
    """The processor's name as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
