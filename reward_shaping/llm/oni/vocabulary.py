"""The captions met so far, numbered in the order of their first sight."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from cairngym.reward_shaping.llm.oni.captioner import MOST_CODES

UNKNOWN = -1
"""The number of a caption that has no entry yet."""
NEVER = torch.iinfo(torch.int64).max


class Vocabulary:
    """Numbers for captions: 0 for none, then 1, 2, 3 … as they are met.

    Args:
        size: how many codes there are, zero included.
        text: the caption of a code.
        device: where codes are looked up.

    Raises:
        ValueError: more codes than a table may hold.

    Example:
        >>> vocabulary = Vocabulary(100, "caption {}".format, torch.device("cpu"))
        >>> vocabulary.admit([42, 7])
        >>> vocabulary.ids(torch.tensor([0, 7, 42, 8])).tolist(), vocabulary.texts[1:]
        ([0, 2, 1, -1], ['caption 42', 'caption 7'])
    """

    def __init__(self, size: int, text: Callable[[int], str], device: torch.device) -> None:
        if not 1 <= size <= MOST_CODES:
            raise ValueError(f"Expected a captioner of 1 to {MOST_CODES} codes, got {size}. Hash its codes to fewer.")
        self._text = text
        self._table = torch.full((size,), UNKNOWN, dtype=torch.int64, device=device)
        self._table[0] = 0
        self._first = torch.full_like(self._table, NEVER)
        self.codes, self.texts = [0], [""]

    def __len__(self) -> int:
        return len(self.texts)

    def ids(self, codes: torch.Tensor) -> torch.Tensor:
        """The number of every code, int64 `(B,)`; `UNKNOWN` where it has none yet."""
        return self._table[codes]

    def notice(self, codes: torch.Tensor, moment: int) -> None:
        """Remember when codes were first met, without waiting for the device; `admit_noticed` gives them numbers."""
        self._first[codes] = self._first[codes].clamp(max=moment)  # equal codes write equal values

    def admit_noticed(self) -> None:
        """Number what was noticed, by the time of first sight; waits for the device."""
        new = ((self._first != NEVER) & (self._table == UNKNOWN)).nonzero().squeeze(1)
        order = torch.argsort(self._first[new], stable=True)
        self.admit(new[order].tolist())

    def admit(self, codes: Sequence[int]) -> None:
        """Number new codes, in this order."""
        if not codes:
            return
        first = len(self.texts)
        self.codes += codes
        self.texts += [self._text(code) for code in codes]
        where = torch.tensor(codes, device=self._table.device)
        self._table[where] = torch.arange(first, len(self.texts), device=self._table.device)

    def get_state(self) -> list[int]:
        """The codes by number."""
        return list(self.codes)

    def set_state(self, snapshot: Sequence[int]) -> None:
        """Return to a copy."""
        self._table.fill_(UNKNOWN)
        self._table[0] = 0
        self._first.fill_(NEVER)
        self.codes, self.texts = [0], [""]
        self.admit(list(snapshot[1:]))
