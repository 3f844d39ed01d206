"""Bonuses for states seldom visited, by counting them in hashed tables on the device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from cairngym.envs.core import State, TensorEnv, Transition
from cairngym.envs.random import philox
from cairngym.reward_shaping.core import Shaper

COUNT_BITS = 16
"""An episodic entry holds a count in its lower bits, and above them the episode's number modulo 2^15."""
LARGEST_COUNT = 2**COUNT_BITS - 1
LARGEST_STAMP = 2**31 - 2**COUNT_BITS
GOLDEN = (math.sqrt(5) - 1) / 2


class CountShaper(Shaper):
    """1 / n(s')^exponent, where n counts the arrivals at s' including this one.

    "episodic" counts within each env's episode; the count of a state the episode starts from begins when it is come
    back to. "lifelong" counts over all envs and episodes; envs that arrive at a state in the same step do not see each
    other.

    States are told apart by a hash of k bits. The first two columns of the key are laid out as a lattice, so that two
    cells less than 2^(k/2) / 2 apart in both never share an entry: an env's positions on a grid of 32 x 32 cells are
    counted exactly in the default episodic table. Further columns are hashed at random: with u different states in a
    table, a given one shares its entry with probability 1 - (1 - 2^-k)^(u-1), about u / 2^k (100 states of an episode:
    2.4 %; 10 000 of a lifetime: 1 %), and then pays less than it should. Counts of an episode stop at 65 535.

    Episodic entries carry the number of their episode modulo 32 768, so nothing is ever cleared; an entry untouched for
    exactly that many episodes of its env would be taken for a new one.

    Args:
        mode: "episodic" or "lifelong".
        key: the state fields that tell states apart; default is the task's `count_fields`, else every field.
        resolution: width of the cells that floating-point fields are cut into, in their unit; a number, or one for each
            field.
        exponent: of the count; 0.5 as in MBIE-EB (Strehl and Littman, 2008).
        table_bits: k; default 12 (a table of 4096 entries for each env) when episodic, 20 when lifelong.
        stream: "intrinsic", or "task" to keep the bonus away from a second value head.

    Raises:
        ValueError: an option out of its range.

    Example:
        >>> import cairngym
        >>> env = cairngym.shape(cairngym.make("Chain-N10-v0"), "count", mode="lifelong")
        >>> obs, info = env.reset(seed=0)
        >>> [round(float(env.step([0])[1]), 3) for _ in range(3)]
        [1.0, 0.707, 0.577]
    """

    def __init__(
        self,
        *,
        mode: Literal["episodic", "lifelong"] = "episodic",
        key: Sequence[str] | None = None,
        resolution: float | Mapping[str, float] = 0.1,
        exponent: float = 0.5,
        table_bits: int | None = None,
        stream: Literal["task", "intrinsic"] = "intrinsic",
    ) -> None:
        if mode not in ("episodic", "lifelong"):
            raise ValueError(f"Expected mode 'episodic' or 'lifelong', got {mode!r}.")
        if stream not in ("task", "intrinsic"):
            raise ValueError(f"Expected stream 'task' or 'intrinsic', got {stream!r}.")
        widths = resolution.values() if isinstance(resolution, Mapping) else (resolution,)
        if not all(width > 0 for width in widths):
            raise ValueError(f"Expected a resolution above zero, got {resolution}.")
        self.bits = table_bits if table_bits is not None else (12 if mode == "episodic" else 20)
        if not 1 <= self.bits <= 30:
            raise ValueError(f"Expected table_bits in [1, 30], got {self.bits}.")
        self.mode, self.stream, self.exponent, self.resolution = mode, stream, exponent, resolution
        self.memory, self.looks_back = mode == "episodic", False
        self._given = (key,) if isinstance(key, str) else tuple(key or ())
        self.requires = self._given
        self._found: tuple[Transition, torch.Tensor, torch.Tensor] | None = None
        self._tables: tuple[torch.Tensor, torch.Tensor] | None = None

    def bind(self, env: TensorEnv) -> None:
        """Choose the key and lay out an empty table."""
        self.requires = self._given or env.unwrapped.task.count_fields or tuple(env.state_spec)
        self._device = env.device
        self._rows = env.num_envs if self.mode == "episodic" else 1
        self._table = torch.zeros(self._rows << self.bits, dtype=torch.int32, device=env.device)
        self._stamp = torch.zeros(env.num_envs, dtype=torch.int32, device=env.device)
        self._multipliers = torch.empty(0, dtype=torch.int64, device=env.device)
        self._found = self._tables = None

    def columns(self, state: State) -> torch.Tensor:
        """The key of every state as integers, int64 `(B, columns)`."""
        parts = [self._discrete(name, state[name]).flatten(1) for name in self.requires]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _discrete(self, name: str, value: torch.Tensor) -> torch.Tensor:
        value = value.view(-1, 1) if value.ndim == 1 else value
        if value.is_floating_point():
            width = self.resolution[name] if isinstance(self.resolution, Mapping) else self.resolution
            value = torch.floor(value / width)
        return value.to(torch.int64)

    def slot(self, state: State) -> torch.Tensor:
        """The hash of every state, int64 `(B,)` in [0, 2^table_bits)."""
        columns = self.columns(state)
        if len(self._multipliers) != columns.shape[1]:
            self._multipliers = _multipliers(columns.shape[1], self.bits).to(self._device)
        if columns.device.type == "cpu":
            mixed = torch.mv(columns, self._multipliers)
        else:  # where torch has no products of integer matrices
            mixed = (columns * self._multipliers).sum(dim=1)
        return (mixed >> (64 - self.bits)).bitwise_and_((1 << self.bits) - 1)

    def _find(self, transition: Transition) -> tuple[torch.Tensor, torch.Tensor]:
        """Where every arrival is counted, int64 `(B,)`, and the count before it, int32 `(B,)`."""
        if self._found is None or self._found[0] is not transition:
            entries = self.slot(transition.next_state)
            if self.mode == "lifelong":
                self._found = transition, entries, self._table.index_select(0, entries)
                return self._found[1:]
            if transition.env_id is None:
                raise ValueError("Episodic counts belong to a running episode; keep the value that was collected.")
            entries += self._first_entries(transition.env_id)
            before = self._table.index_select(0, entries).bitwise_xor_(self._stamp)  # the count, if the stamps agree
            self._found = transition, entries, before.masked_fill_(before > LARGEST_COUNT, 0)
        return self._found[1:]

    def _first_entries(self, env_id: torch.Tensor) -> torch.Tensor:
        """Where the tables of envs begin, int64 `(B,)`; a running env names the same ones at every step."""
        if self._tables is None or self._tables[0] is not env_id:
            self._tables = env_id, env_id << self.bits
        return self._tables[1]

    def shape(self, transition: Transition) -> torch.Tensor:
        """The bonus, float32 `(B,)` in (0, 1]."""
        return (self._find(transition)[1] + 1).to(torch.float32).pow(-self.exponent)

    def observe(self, transition: Transition) -> None:
        """Count the arrivals."""
        entries, before = self._find(transition)
        if self.mode == "lifelong":
            arrived = torch.ones_like(entries) if transition.valid is None else transition.valid
            self._table.index_add_(0, entries, arrived.to(torch.int32))
        else:
            held = (before + 1).clamp_(max=LARGEST_COUNT).bitwise_or_(self._stamp)
            if transition.valid is not None:
                held = torch.where(transition.valid, held, self._table[entries])
            self._table.index_copy_(0, entries, held)
        self._found = None

    def begin(self, mask: torch.Tensor) -> None:
        """Number the masked envs' new episodes."""
        self._found = None
        if mask.device.type != "cpu" or bool(mask.any()):
            self._stamp.add_(mask, alpha=1 << COUNT_BITS).bitwise_and_(LARGEST_STAMP)

    def get_state(self) -> dict[str, Any]:
        """Copy the entries in use."""
        table = self._table.view(self._rows, -1)
        used = table != 0
        if self.mode == "episodic":
            used &= (table & LARGEST_STAMP) == self._stamp.unsqueeze(1)
        where = used.flatten().nonzero().squeeze(1)
        return {"entries": where, "values": self._table[where], "stamp": self._stamp >> COUNT_BITS}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self._table.zero_()
        self._table[snapshot["entries"]] = snapshot["values"]
        self._stamp = snapshot["stamp"] << COUNT_BITS
        self._found = None


def _multipliers(columns: int, bits: int) -> torch.Tensor:
    """Multipliers whose sum of products holds the hash in its top `bits`, int64 `(columns,)`.

    Two for a golden lattice modulo 2^bits, then random odd ones: multiply-shift hashing of vectors (Dietzfelbinger,
    "Universal hashing and k-wise independent random variables via integer arithmetic without primes", 1996).
    """
    unit = 64 - bits
    lattice = [1 << unit, (int(GOLDEN * 2**bits) | 1) << unit]
    index = torch.arange(columns)
    words = philox((index, index * 0, index * 0, index * 0), key=0)
    hashed = [int(high) << 32 | int(low) | 1 for high, low, *_ in words[2:].tolist()]
    signed = [value - 2**64 if value >= 2**63 else value for value in (lattice + hashed)[:columns]]
    return torch.tensor(signed, dtype=torch.int64)
