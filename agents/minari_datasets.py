"""Demonstrations as Minari datasets, and any Minari dataset as demonstrations.

Observations, actions, rewards, terminations and truncations are stored as Minari has them (T + 1 observations for T
steps). What Minari has no place for goes into `infos`, T + 1 entries each: `success`, every state field under `state/`,
and, where the true last observation of a step is not the one acted on next, both under `next_observation/` and
`next_state/`. A dataset is written beside its place and renamed into it, so a half-written one is never registered.

The datasets lie where Minari keeps them: in `$MINARI_DATASETS_PATH`, or `~/.minari/datasets`.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from cairngym.agents.demonstrations import Demonstrations
from cairngym.agents.minari_episodes import FORMAT, EpisodeReader, mend_timeouts, time_limit

if TYPE_CHECKING:
    from minari import MinariDataset

    from cairngym.envs.core import TensorEnv

Timeouts = Literal["refuse", "truncate", "keep"]
VERSION = 1


def save_minari(
    shown: Demonstrations, dataset_id: str, env: TensorEnv, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write demonstrations as a Minari dataset.

    Args:
        shown: what to write.
        dataset_id: `namespace/name-v0`; there must be none of that id.
        env: where they were made; gives the spaces and, where it is one of `cairngym.list_envs()`, the env to recover.
        metadata: further entries, of strings, numbers and lists.

    Returns:
        The dataset's folder.

    Raises:
        ImportError: Minari is not installed.
        ValueError: a malformed or taken id, or demonstrations of another env.
        OSError: the disk refuses; nothing is then registered.
    """
    minari = _minari()
    from minari.dataset.minari_storage import MinariStorage

    target = check_free(dataset_id)
    shown.check_fits(env)
    buffers = [_buffer(columns) for columns in _episodes(shown)]
    env_spec = _env_spec(env)
    with _registered(target) as folder:
        storage = MinariStorage.new(
            folder / "data", observation_space=env.single_observation_space, action_space=env.single_action_space,
            env_spec=env_spec, data_format="hdf5", jpeg_encoding=False,
        )  # fmt: skip
        content = {**(metadata or {}), FORMAT: VERSION}
        storage.update_metadata({"dataset_id": dataset_id, "minari_version": minari.__version__, **content})
        storage.update_episodes(buffers)
    return target


def check_free(dataset_id: str) -> Path:
    """Where a dataset of that id would lie.

    Raises:
        ImportError: Minari is not installed.
        ValueError: a malformed or taken id.
    """
    minari = _minari()
    if not minari.dataset.minari_dataset.DATASET_ID_RE.fullmatch(dataset_id) or not re.search(r"-v\d+$", dataset_id):
        raise ValueError(f"Expected an id like fetchpush/oracle-v0, (NAMESPACE/)NAME-vN, got {dataset_id!r}.")
    target: Path = minari.storage.get_dataset_path(dataset_id)
    if target.exists():
        raise ValueError(f"There is a Minari dataset at {target} already. Choose another name or raise its version.")
    return target


def load_minari(
    dataset_id: str, *, device: torch.device | str = "cpu", episodes: int | None = None, timeouts: Timeouts = "refuse"
) -> Demonstrations:
    """Read a Minari dataset that lies on this machine into flat tensors; nothing is downloaded.

    Observations become what `cairngym.envs.adapters.from_gymnasium` makes of such an env's. Datasets of others have no
    state fields, and count a step as a success where `infos` say so or, without that, where it terminated with a reward
    above zero. An episode that ends with neither flag was cut, so its last step is truncated.

    Args:
        dataset_id: as Minari knows it.
        device: where the tensors go.
        episodes: read only the first so many.
        timeouts: what to do with unsuccessful episodes that terminate exactly at the time limit, as in datasets that
            mark timeouts as terminals: "refuse" them, "truncate" them instead, or "keep" them.

    Raises:
        ImportError: Minari is not installed.
        FileNotFoundError: no such dataset here.
        ValueError: timeouts marked as terminals, an empty episode, NaNs, flags before the end of an episode, or
            spaces that agents cannot learn from.
    """
    dataset = open_minari(dataset_id)
    if not len(dataset) or (episodes is not None and episodes < 1):
        raise ValueError(f"Expected at least one episode of {dataset_id}, got {min(len(dataset), episodes or 0)}.")
    reader = EpisodeReader(dataset)
    count = len(dataset) if episodes is None else min(episodes, len(dataset))
    read = [reader(episode) for episode in dataset.iterate_episodes(dataset.episode_indices[:count])]
    if timeouts != "keep":
        mend_timeouts(read, time_limit(dataset), dataset_id, repair=timeouts == "truncate")
    joined = {name: torch.as_tensor(np.concatenate([steps[name] for steps in read]), device=device) for name in read[0]}
    lengths = torch.tensor([len(steps["reward"]) for steps in read], device=device)
    try:
        return Demonstrations.of_columns({**joined, "lengths": lengths})
    except ValueError as error:
        raise ValueError(f"The Minari dataset {dataset_id} can't be learned from. {error}") from error


def open_minari(dataset_id: str) -> MinariDataset:
    """The Minari dataset of that id on this machine.

    Raises:
        ImportError: Minari is not installed.
        FileNotFoundError: no such dataset here.
    """
    minari = _minari()
    folder: Path = minari.storage.get_dataset_path(dataset_id)
    if not (folder / "data").is_dir():
        raise FileNotFoundError(
            f"Expected a Minari dataset at {folder}, got no such folder. Record one with `cairn demo record`, fetch "
            f"one with `minari download {dataset_id}`, or set MINARI_DATASETS_PATH."
        )
    return minari.load_dataset(dataset_id)


def _minari() -> Any:
    try:
        import minari
        import minari.dataset._storages.hdf5_storage  # needs h5py
        import minari.dataset.minari_dataset
        import minari.storage
    except ImportError as error:
        raise ImportError("Minari datasets need `pip install cairngym[demonstrations]`.") from error
    return minari


# Writing --------------------------------------------------------------------------------------------------------------


@contextmanager
def _registered(target: Path) -> Iterator[Path]:
    """A folder to write into, renamed to `target` at the end; nothing is left of it where that fails."""
    made = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".cairngym-", dir=target.parent))  # Minari lists no hidden folders
    try:
        folder.chmod(0o755)
        yield folder
        os.rename(folder, target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for empty in made:
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()
        raise


def _env_spec(env: TensorEnv) -> Any:
    """Gymnasium's spec of the env, from which Minari recovers it; None for envs without an id."""
    import gymnasium

    from cairngym.envs.registry import NAMESPACE, register_gymnasium

    if not env.unwrapped.id:
        return None
    register_gymnasium()
    return gymnasium.spec(f"{NAMESPACE}/{env.unwrapped.id}")


def _episodes(shown: Demonstrations) -> Iterator[dict[str, np.ndarray]]:
    columns = {name: tensor.detach().cpu().numpy() for name, tensor in shown.columns().items()}
    first = 0
    for length in shown.lengths.tolist():
        yield {name: column[first : first + length] for name, column in columns.items()}
        first += length


def _buffer(columns: Mapping[str, np.ndarray]) -> Any:
    """One episode as Minari takes it."""
    from minari.data_collector import EpisodeBuffer

    success = columns["success"]
    infos: dict[str, Any] = {"success": np.concatenate(([False], success))}
    for name, following, place in (("obs", "next_obs", "next_observation"), ("state", "next_state", "next_state")):
        entries, after = _part(columns, name), _part(columns, following)
        grown = {key: np.concatenate((entries[key], after[key][-1:])) for key in entries}
        if name == "obs":
            observations = grown
        elif grown:
            infos["state"] = grown
        # The entry at 0 only keeps every array T + 1 long, as Minari's own collector makes them.
        if any(not np.array_equal(entries[key][1:], after[key][:-1], equal_nan=True) for key in entries):
            infos[place] = {key or "value": np.concatenate((entries[key][:1], after[key])) for key in entries}
    return EpisodeBuffer(
        observations=observations.get("", observations), actions=columns["action"], rewards=columns["reward"],
        terminations=columns["terminated"], truncations=columns["truncated"], infos=infos,
    )  # fmt: skip


def _part(columns: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The entries of a column that is a dict, or the column under the name ""."""
    if name in columns:
        return {"": columns[name]}
    return {key.removeprefix(f"{name}/"): value for key, value in columns.items() if key.startswith(f"{name}/")}
