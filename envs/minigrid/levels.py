"""Banks of levels made by minigrid's own generators, cached on disk.

A bank is keyed by id, minigrid version and seed range. A cache file that can't be read whole (every part carries a
checksum) is rebuilt, and a disk that can't take it costs only the caching.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import math
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cairngym.envs.files import replacing
from cairngym.envs.minigrid.cells import BYTE, CONTENT, pack_grid
from cairngym.envs.minigrid.families import get_family

FORMAT = 2
SPLIT_SEEDS = {"train": 0, "test": 1_000_000_000}
"""First level seed of each split; banks of up to a thousand million levels can't overlap."""
MAX_BANK = 1_000_000
PARALLEL_FROM = 1024
"""Levels from which a bank is generated in several processes."""
MAX_TARGETS, NUM_VARIABLES = 2, 8


@dataclass(frozen=True, kw_only=True)
class LevelBank:
    """L levels as arrays.

    Attributes:
        cells: int32 `(L, width * height)`, packed cells.
        agent: int32 `(L, 3)`: x, y, direction.
        variables: int32 `(L, 8)`: what the family's rule needs.
        targets: int32 `(L, 2, 3)`: kind, cell and detail of the subgoals named by the task.
        mission: int32 `(L,)`, index into `missions`.
        missions: the texts.
    """

    cells: np.ndarray
    agent: np.ndarray
    variables: np.ndarray
    targets: np.ndarray
    mission: np.ndarray
    missions: tuple[str, ...]

    ARRAYS = ("cells", "agent", "variables", "targets", "mission")

    def __len__(self) -> int:
        return len(self.cells)

    def take(self, count: int) -> LevelBank:
        """The first `count` levels."""
        arrays = {name: getattr(self, name)[:count] for name in self.ARRAYS}
        return LevelBank(**arrays, missions=self.missions)

    def kinds(self) -> set[int]:
        """Object types that lie in the levels, those inside boxes included."""
        found = np.unique(self.cells).astype(int)
        inside = (found >> CONTENT) & 3
        return {int(kind) for kind in found & BYTE} | {int(content) + 4 for content in inside if content}

    @classmethod
    def join(cls, banks: Iterable[LevelBank]) -> LevelBank:
        """Put banks one behind the other."""
        banks = list(banks)
        missions = tuple(dict.fromkeys(text for bank in banks for text in bank.missions))
        index = {text: i for i, text in enumerate(missions)}
        renamed = [np.array([index[t] for t in bank.missions], dtype=np.int32)[bank.mission] for bank in banks]
        arrays = {name: np.concatenate([getattr(bank, name) for bank in banks]) for name in cls.ARRAYS[:-1]}
        return cls(**arrays, mission=np.concatenate(renamed), missions=missions)


def make_reference(env_id: str, patterns: str | Path | None = None) -> Any:
    """Make one upstream env, without its wrappers.

    Args:
        env_id: a `MiniGrid-*` id.
        patterns: folder of the `*.png` patterns that the `MiniGrid-WFC-*` ids grow their mazes from.

    Raises:
        FileNotFoundError: a WFC id without its pattern.
    """
    import gymnasium
    import minigrid  # noqa: F401  (registers its ids)

    options: dict[str, Any] = {}
    if "-WFC-" in env_id:
        options["wfc_config"] = _wfc_config(env_id, patterns)
    elif patterns is not None:
        raise TypeError(f"{env_id} has no option 'patterns'; only the MiniGrid-WFC-* ids grow from patterns.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # minigrid's older ids announce newer ones at every make
        return gymnasium.make(env_id, disable_env_checker=True, **options).unwrapped


def _wfc_config(env_id: str, patterns: str | Path | None) -> Any:
    from minigrid.envs.wfc.config import WFC_PRESETS_ALL

    preset = WFC_PRESETS_ALL[env_id.split("-WFC-")[1].rsplit("-", 1)[0]]
    path = preset.pattern_path if patterns is None else Path(patterns) / preset.pattern_path.name
    if not path.is_file():
        raise FileNotFoundError(
            f"{env_id} grows its mazes from the image {path.name!r}, which minigrid's wheel does not carry; looked for "
            f"{path}. Take the folder minigrid/envs/wfc/patterns from minigrid's sources and pass patterns=FOLDER."
        )
    if importlib.util.find_spec("imageio") is None or importlib.util.find_spec("networkx") is None:
        raise ModuleNotFoundError(f"{env_id} needs imageio and networkx; install them with: pip install cairngym[wfc]")
    return dataclasses.replace(preset, pattern_path=path)


def read_level(env: Any) -> LevelBank:
    """Read one level from a reference env as it stands."""
    family = get_family(type(env).__name__)
    variables = np.zeros((1, NUM_VARIABLES), dtype=np.int32)
    values = list(family.variables(env))
    variables[0, : len(values)] = values
    targets = np.zeros((1, MAX_TARGETS, 3), dtype=np.int32)
    for i, target in enumerate(family.targets(env)[:MAX_TARGETS]):
        if 0 <= target.cell < env.width * env.height:
            targets[0, i] = target.kind, target.cell, target.detail
    return LevelBank(
        cells=pack_grid(env.grid)[None],
        agent=np.array([[*env.agent_pos, env.agent_dir]], dtype=np.int32),
        variables=variables,
        targets=targets,
        mission=np.zeros(1, dtype=np.int32),
        missions=(env.mission,),
    )


def generate(env_id: str, first_seed: int, count: int, patterns: str | Path | None = None) -> LevelBank:
    """Let the reference env generate `count` levels from consecutive seeds."""
    env = make_reference(env_id, patterns)
    levels = []
    for seed in range(first_seed, first_seed + count):
        for attempt in range(100):
            try:
                env.reset(seed=seed + attempt * 2**32)
                break
            except RecursionError:  # minigrid's word for "this seed led into a dead end"
                continue
        else:
            raise RuntimeError(f"{env_id} could not generate a level from seed {seed} in 100 attempts.")
        levels.append(read_level(env))
    return LevelBank.join(levels)


def load_bank(env_id: str, size: int = 4096, split: str = "train", patterns: str | Path | None = None) -> LevelBank:
    """Return the bank of an id, from the cache where it is there and whole.

    Args:
        env_id: a `MiniGrid-*` id.
        size: how many levels.
        split: "train" or "test"; their level seeds are disjoint.
        patterns: see `make_reference`.

    Raises:
        ValueError: unknown split or a size out of range.
    """
    if split not in SPLIT_SEEDS:
        raise ValueError(f"Expected split to be one of {sorted(SPLIT_SEEDS)}, got {split!r}.")
    if not 1 <= size <= MAX_BANK:
        raise ValueError(f"Expected bank_size in [1, {MAX_BANK}], got {size}.")
    path = cache_path(env_id, SPLIT_SEEDS[split], size, patterns)
    if path.exists():
        try:
            return whole(read_file(path), size)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            warnings.warn(f"The level cache {path} is damaged ({error}); it is rebuilt.", stacklevel=2)
    bank = _generate_parallel(env_id, SPLIT_SEEDS[split], size, patterns)
    try:
        write_file(path, bank)
    except OSError as error:
        warnings.warn(f"The levels of {env_id} could not be cached at {path}: {error}.", stacklevel=2)
    return bank


def cache_path(env_id: str, first_seed: int, size: int, patterns: str | Path | None = None) -> Path:
    """Where a bank is cached: `$CAIRNGYM_CACHE`, or `cairngym` in the user's cache folder."""
    root = os.environ.get("CAIRNGYM_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "cairngym"
    )
    version = importlib.metadata.version("minigrid")
    extra = ""
    if "-WFC-" in env_id:
        extra = "-" + hashlib.sha256(_wfc_config(env_id, patterns).pattern_path.read_bytes()).hexdigest()[:12]
    return Path(root, "levels", f"{env_id}-minigrid{version}-seeds{first_seed}+{size}{extra}-v{FORMAT}.npz")


def write_file(path: Path, bank: LevelBank) -> None:
    """Write a bank in one piece: beside its place first, then moved there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez(file, missions=np.array(bank.missions), **{name: getattr(bank, name) for name in bank.ARRAYS})


def read_file(path: Path) -> LevelBank:
    """Read a bank; raises where a part is missing or damaged."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in LevelBank.ARRAYS}
        bank = LevelBank(**arrays, missions=tuple(str(text) for text in file["missions"]))
    if len({len(array) for array in arrays.values()}) != 1:
        raise ValueError("its parts have different lengths")
    return bank


def whole(bank: LevelBank, size: int) -> LevelBank:
    """Return `bank` if it holds `size` levels; `ValueError` if not."""
    if len(bank) != size:
        raise ValueError(f"it holds {len(bank)} levels instead of {size}")
    return bank


def _generate_parallel(env_id: str, first_seed: int, size: int, patterns: str | Path | None) -> LevelBank:
    workers = min(len(os.sched_getaffinity(0)), 8) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if size < PARALLEL_FROM or workers == 1:
        return generate(env_id, first_seed, size, patterns)
    from rich.progress import Progress

    with tempfile.TemporaryDirectory() as folder:
        chunk = math.ceil(size / (2 * workers))
        parts = list(range(0, size, chunk))
        files = [Path(folder, f"{start}.npz") for start in parts]
        running: list[tuple[subprocess.Popen[bytes], Path]] = []
        waiting = list(zip(parts, files, strict=True))
        with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
            bar = progress.add_task(f"levels of {env_id}", total=size)
            while waiting or running:
                while waiting and len(running) < workers:
                    start, file = waiting.pop(0)
                    running.append((_spawn(env_id, first_seed + start, min(chunk, size - start), file, patterns), file))
                process, _ = running.pop(0)
                if process.wait() != 0:
                    for other, _ in running:
                        other.kill()
                    raise RuntimeError(
                        f"A process generating levels of {env_id} failed with code {process.returncode}."
                    )
                progress.advance(bar, chunk)
        return LevelBank.join(read_file(file) for file in files)


def _spawn(env_id: str, first: int, count: int, file: Path, patterns: str | Path | None) -> subprocess.Popen[bytes]:
    # A plain child process: a multiprocessing one would run the user's script again.
    command = [sys.executable, "-m", "cairngym.envs.minigrid.levels", env_id, str(first), str(count), str(file)]
    return subprocess.Popen([*command, str(patterns)] if patterns else command)


def main(arguments: list[str]) -> None:
    """Generate levels into a file: ID FIRST_SEED COUNT FILE [PATTERNS]."""
    env_id, first, count, file, *patterns = arguments
    write_file(Path(file), generate(env_id, int(first), int(count), *patterns))


if __name__ == "__main__":
    main(sys.argv[1:])
