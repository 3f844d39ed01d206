"""Measurements that are made only when somebody reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from cairngym.envs.checks import unknown_name


class StateRows(Mapping[str, torch.Tensor]):
    """Some rows of a state, each field taken when it is read.

    Args:
        state: `(N, ...)` by name.
        rows: int64 `(R,)`; None for all.
    """

    def __init__(self, state: Mapping[str, torch.Tensor], rows: torch.Tensor | None) -> None:
        self._state, self._rows = state, rows
        self._read: dict[str, torch.Tensor] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        if self._rows is None:
            return self._state[name]
        if name not in self._read:
            self._read[name] = self._state[name][self._rows]
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._state

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


class StateView(Mapping[str, torch.Tensor]):
    """Measurements computed when first read; reading one after the env has moved on is refused.

    Args:
        measure: computes the named measurement.
        names: what can be read.
        moment: what the env's clock showed when the view was made.
        clock: reads the env's clock.
    """

    def __init__(
        self, measure: Callable[[str], torch.Tensor], names: Sequence[str], moment: int, clock: Callable[[], int]
    ) -> None:
        self._measure, self._names, self._moment, self._clock = measure, tuple(names), moment, clock
        self._read: dict[str, torch.Tensor] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise unknown_name("state field", name, self._names)
        if name not in self._read:
            if self._clock() != self._moment:
                raise RuntimeError(
                    f"State field {name!r} belongs to step {self._moment}, but the env is at step {self._clock()}. "
                    "Read it before the next step, or keep dict(state)."
                )
            self._read[name] = self._measure(name)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names  # without measuring it

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
