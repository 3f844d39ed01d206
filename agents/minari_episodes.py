"""Episodes of Minari datasets read as columns of steps, and timeouts that were marked as terminals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from cairngym.envs.adapters.flatten import Entry, Flattener

if TYPE_CHECKING:
    from minari import MinariDataset
    from minari.dataset.episode_data import EpisodeData

FORMAT = "cairngym_format"
"""Key of the metadata by which a dataset of ours is known."""
SUCCESSES = ("success", "is_success")
"""Entries of `infos` that say whether the task was done."""


class EpisodeReader:
    """Reads episodes of a dataset as columns of steps."""

    def __init__(self, dataset: MinariDataset) -> None:
        self.id = dataset.spec.dataset_id
        self.ours = FORMAT in dataset.storage.metadata
        action, seen = dataset.action_space, dataset.observation_space
        if not isinstance(action, spaces.Box | spaces.Discrete):
            raise ValueError(f"Expected Discrete or Box actions in the Minari dataset {self.id}, got {action}.")
        self.discrete = isinstance(action, spaces.Discrete)
        self.boxed = self.ours and isinstance(seen, spaces.Box)
        try:
            self.flatten = Flattener(seen)
        except TypeError as error:
            raise ValueError(f"The Minari dataset {self.id} can't be learned from. {error}") from error

    def __call__(self, episode: EpisodeData) -> dict[str, np.ndarray]:
        """The columns of an episode, `(T, ...)` each."""
        length = len(episode.rewards)
        if not length:
            raise ValueError(f"Expected steps in episode {episode.id} of {self.id}, got none. Delete that episode.")
        infos = episode.infos or {}
        columns = {
            "action": self._numbers(episode.actions, np.int64 if self.discrete else np.float32),
            "reward": self._numbers(episode.rewards, np.float32),
            "terminated": np.asarray(episode.terminations, dtype=bool).copy(),
            "truncated": np.asarray(episode.truncations, dtype=bool).copy(),
        }
        self._close(columns, episode.id)
        columns["success"] = self._successes(infos, columns, length)
        following = infos.get("next_observation")
        grown = {entry.name: self._read(entry, episode.observations) for entry in self.flatten.entries}
        self._split(columns, "obs", grown, {} if following is None else following)
        self._split(columns, "state", infos.get("state", {}) if self.ours else {}, infos.get("next_state", {}))
        for name, column in columns.items():
            if len(column) != length:
                raise ValueError(
                    f"Expected {length} steps of {name!r} in episode {episode.id} of {self.id}, got {len(column)}."
                )
        return columns

    def _numbers(self, value: Any, dtype: Any) -> np.ndarray:
        array = np.asarray(value)
        return array if self.ours else array.astype(dtype)

    def _read(self, entry: Entry, observations: Any) -> np.ndarray:
        for key in entry.path:
            observations = observations[key]
        array = np.asarray(observations)
        return array if self.ours else array.astype(entry.box.dtype).reshape(len(array), *entry.box.shape)

    def _split(
        self, columns: dict[str, np.ndarray], name: str, grown: Mapping[str, Any], following: Mapping[str, Any]
    ) -> None:
        """Split T + 1 entries into those before and those after every step."""
        lone = name == "obs" and not self.flatten.is_dict
        for key, array in grown.items():
            after = following.get("value" if lone else key, array)
            columns[name if lone else f"{name}/{key}"] = array[:-1]
            columns[f"next_{name}" if lone else f"next_{name}/{key}"] = after[1:]

    def _close(self, columns: Mapping[str, np.ndarray], episode: int) -> None:
        ended = columns["terminated"] | columns["truncated"]
        if ended[:-1].any():
            raise ValueError(
                f"Expected one end in episode {episode} of {self.id}, got flags at the steps "
                f"{np.flatnonzero(ended).tolist()} of {len(ended)}. Cut it into its episodes."
            )
        columns["truncated"][-1] |= not ended[-1]

    def _successes(self, infos: Mapping[str, Any], columns: Mapping[str, np.ndarray], length: int) -> np.ndarray:
        for name in SUCCESSES:
            if name in infos:
                found = np.asarray(infos[name]).astype(bool).reshape(-1)
                return found[-length:]
        return columns["terminated"] & (columns["reward"] > 0)


def time_limit(dataset: MinariDataset) -> int | None:
    """Steps after which the dataset's env truncates, where it is known."""
    spec = dataset.spec.env_spec
    return None if spec is None else spec.max_episode_steps


def mend_timeouts(
    read: Sequence[Mapping[str, np.ndarray]], limit: int | None, dataset_id: str, *, repair: bool
) -> None:
    """Refuse or repair unsuccessful episodes that terminate exactly at the time limit.

    Where the limit is not known it is taken for the greatest length, if two episodes or more share it.
    """
    lengths = [len(steps["reward"]) for steps in read]
    horizon = max(lengths) if limit is None else limit
    if limit is None and lengths.count(horizon) < 2:
        return
    marked = [
        number for number, steps in enumerate(read)
        if lengths[number] == horizon and steps["terminated"][-1] and not steps["truncated"][-1]
        and not steps["success"].any()
    ]  # fmt: skip
    if marked and not repair:
        raise ValueError(
            f"Expected timeouts of {dataset_id} among its truncations, got {len(marked)} unsuccessful "
            f"episodes that terminate at exactly {horizon} steps, the first of them episode {marked[0]}. Agents would "
            "take them for failures. Load it with timeouts='truncate' to mend them, or 'keep' if they are right."
        )
    for number in marked:
        read[number]["terminated"][-1], read[number]["truncated"][-1] = False, True
    if marked:
        warnings.warn(
            f"{len(marked)} timeouts of {dataset_id} marked as terminals are read as truncations.", stacklevel=3
        )
