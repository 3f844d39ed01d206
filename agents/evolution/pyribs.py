"""Searches by pyribs: its archive and emitters behind ask and tell, and their exact state as plain values."""

from __future__ import annotations

import copy
import dataclasses
import importlib
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from cairngym.agents.core import Metrics
from cairngym.agents.evolution.evolution import Evolution
from cairngym.agents.evolution.evolution_config import EvolutionConfig
from cairngym.agents.evolution.individuals import Individuals
from cairngym.envs.core import TensorEnv

SHARED = ("_archive", "archive")
"""Attributes by which an emitter refers to the archive, which is kept once."""


class PyribsSearch(Evolution):
    """A grid archive and emitters of pyribs, all of which are asked in every generation.

    Genomes leave the box of the config nowhere: what an emitter draws beyond it is clipped before it is played and
    archived. (pyribs would draw again until all numbers are inside, which at a corner of the box takes forever.)

    Args:
        env: its task has a descriptor, whose grid is the archive's.
        config: settings.

    Attributes:
        archive: a `ribs.archives.GridArchive`.
        emitters: of `ribs.emitters`.

    Raises:
        ImportError: pyribs is not installed.
    """

    def __init__(self, env: TensorEnv, config: EvolutionConfig) -> None:
        super().__init__(env, config)
        space, grid = self.behavior_space, require("ribs.archives").GridArchive
        bounds = list(zip(space.low, space.high, strict=True))
        self.archive = grid(
            solution_dim=self.controller.size, dims=space.cells, ranges=bounds, seed=self.random_source(0)
        )
        self.emitters = self.make_emitters(require("ribs.emitters"))
        self._asked: list[int] = []

    def random_source(self, number: int) -> np.random.SeedSequence:
        """Where the archive (0) or an emitter (1, 2, …) draws from; no two of any two seeds are the same."""
        return np.random.SeedSequence((self.config.seed, number))

    @abstractmethod
    def make_emitters(self, emitters: Any) -> list[Any]:
        """The emitters, made with the module `ribs.emitters`."""

    def ask(self) -> torch.Tensor:
        """What the emitters draw, clipped into the box."""
        drawn = [emitter.ask() for emitter in self.emitters]
        self._asked = [len(part) for part in drawn]
        return self.boxed(torch.from_numpy(np.concatenate(drawn)).to(torch.float32))

    def tell(self, played: Individuals) -> None:
        """Put the policies into the archive, and let every emitter learn from what became of its own."""
        inside, _ = self.behavior_space.clipped(played.descriptor)
        columns = {
            "solution": played.genome.double().numpy(), "objective": played.fitness.double().numpy(),
            "measures": inside.double().numpy(),
        }  # fmt: skip
        told = self.archive.add(**columns)
        start = 0
        for emitter, count in zip(self.emitters, self._asked, strict=True):
            own = slice(start, start + count)
            emitter.tell(
                **{name: column[own] for name, column in columns.items()},
                add_info={name: column[own] for name, column in told.items()},
            )
            start += count

    def progress(self) -> Metrics:
        """How many cells of the archive are filled, and how often emitters began anew."""
        restarts = sum(getattr(emitter, "restarts", 0) for emitter in self.emitters)
        return {"archive": len(self.archive), "restarts": restarts}

    def search_state(self) -> dict[str, Any]:
        """Copy archive and emitters."""
        return {"archive": plain_state(self.archive), "emitters": [plain_state(emitter) for emitter in self.emitters]}

    def set_search_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy.

        Raises:
            ValueError: it is of another number of emitters.
        """
        if len(snapshot["emitters"]) != len(self.emitters):
            raise ValueError(
                f"Expected {len(self.emitters)} emitters, got {len(snapshot['emitters'])} in the snapshot."
            )
        set_plain_state(self.archive, snapshot["archive"])
        for emitter, state in zip(self.emitters, snapshot["emitters"], strict=True):
            set_plain_state(emitter, state)


def require(module: str) -> Any:
    """Import a module of pyribs.

    Raises:
        ImportError: saying what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ribs":
            raise
        raise ImportError(
            "Expected pyribs, got no module 'ribs'. MAP-Elites and CMA-ME need it: "
            "pip install cairngym[quality-diversity]."
        ) from error


def plain_state(thing: Any) -> dict[str, Any]:
    """The attributes of an object of pyribs that can change: numbers, arrays, random generators, objects of pyribs."""
    if hasattr(thing, "occupied_list"):
        return _store_state(thing)
    kept: dict[str, Any] = {}
    for name, value in vars(thing).items():
        if name not in SHARED and (found := _plain(value)) is not _LEFT_OUT:
            kept[name] = found
    return kept


def set_plain_state(thing: Any, state: Mapping[str, Any]) -> None:
    """Give an object the attributes that `plain_state` kept of one made the same way."""
    if hasattr(thing, "occupied_list"):
        _set_store_state(thing, state)
        return
    for name, kept in state.items():
        value = vars(thing)[name]
        if isinstance(value, np.random.Generator):
            value.bit_generator.state = kept["generator"]
        elif _is_ribs(value) and not dataclasses.is_dataclass(value):
            set_plain_state(value, kept["object"])
        elif _is_ribs(value):
            setattr(thing, name, type(value)(**copy.deepcopy(kept["object"])))
        else:
            setattr(thing, name, copy.deepcopy(kept))


def _store_state(store: Any) -> dict[str, Any]:
    """The rows of an archive that are occupied, in the order they came to be; the others were never written."""
    rows = store.occupied_list.copy()
    fields = {name: column[rows] for name, column in store._fields.items()}
    return {"rows": rows, "fields": fields, "updates": list(store._props["updates"])}


def _set_store_state(store: Any, state: Mapping[str, Any]) -> None:
    rows, kept = state["rows"], store._props
    kept["occupied"][:] = False
    kept["occupied"][rows] = True
    kept["occupied_list"][: len(rows)] = rows
    kept["n_occupied"], kept["updates"] = len(rows), list(state["updates"])
    for name, column in state["fields"].items():
        store._fields[name][rows] = column


_LEFT_OUT = object()


def _plain(value: Any) -> Any:
    """A copy of what can be kept of a value; `_LEFT_OUT` for what never changes: types, modules, functions."""
    if isinstance(value, np.random.Generator):
        return {"generator": copy.deepcopy(value.bit_generator.state)}
    if _is_ribs(value):
        return {"object": plain_state(value)}
    if isinstance(value, dict):
        items = {key: _plain(item) for key, item in value.items()}
        return _LEFT_OUT if any(item is _LEFT_OUT for item in items.values()) else items
    if isinstance(value, list):
        listed = [_plain(item) for item in value]
        return _LEFT_OUT if any(item is _LEFT_OUT for item in listed) else listed
    if isinstance(value, np.ndarray | np.generic | bool | int | float | str) or value is None:
        return copy.deepcopy(value)
    return _LEFT_OUT


def _is_ribs(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "ribs"
