"""Novelty as a bonus: how unlike the behaviors known is the one just shown."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from cairngym.envs.core import State, TensorEnv, Transition
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.quality_diversity.archive import BehaviorArchive
from cairngym.reward_shaping.quality_diversity.novelty import NEIGHBORS, Neighbors

PATIENCE = 10
"""Updates without a behavior after which an empty archive is reported."""


class NoveltyShaper(Shaper):
    """Mean distance of a state's behavior descriptor to its k nearest neighbors in an archive of behaviors.

    Novelty Search (Lehman and Stanley, 2011) selects policies by this number; here it is a bonus that a gradient
    learner earns. The archive grows in `update` only, by a few behaviors drawn at random from those shown since the
    last one (the random archive of Gomes et al., "Devising effective novelty search algorithms", 2015), so between two
    updates the bonus is a fixed function of the transition. Nothing is paid while the archive is empty, nor, with a
    running scale, before an update has seen novelties to scale by.

    Args:
        at: "end" pays, and archives, the state an episode ends in; "step" every state.
        fields: state fields whose values, all of them, describe a behavior; default is the task's descriptor, whose
            bounds what lies outside is clipped into (and counted: `outside`).
        k: how many neighbors count; fewer while the archive holds fewer.
        additions: behaviors added at an update, as far as there are so many.
        capacity: behaviors kept at most; where the archive is full, one drawn at random makes room. None keeps all.
        scale: "running" divides by the mean of all novelties that were to be paid, as far as the last update knew, so
            that one is what a behavior pays on average; a number divides by that.
        stream: "intrinsic", or "task" to keep the bonus away from a second value head.
        seed: of what is drawn; the global generators are not touched.

    Raises:
        ValueError: an option out of its range; when bound, no `fields` and a task without a descriptor.

    Example:
        >>> import cairngym
        >>> from cairngym.reward_shaping.core import ShapedEnv, Term
        >>> shaper = NoveltyShaper(at="step", fields=["node"], scale=1.0)
        >>> env = ShapedEnv(cairngym.make("Chain-N10-v0"), [Term(name="novelty", shaper=shaper)])
        >>> obs, info = env.reset(seed=0)
        >>> float(env.step([1])[1]), env.update_shapers()["novelty/archive"], float(env.step([1])[1])
        (0.0, 1.0, 1.0)
    """

    looks_back = False

    def __init__(
        self,
        *,
        at: Literal["end", "step"] = "end",
        fields: Sequence[str] | None = None,
        k: int = NEIGHBORS,
        additions: int = 5,
        capacity: int | None = 5000,
        scale: Literal["running"] | float = "running",
        stream: Literal["task", "intrinsic"] = "intrinsic",
        seed: int = 0,
    ) -> None:
        if at not in ("end", "step"):
            raise ValueError(f"Expected at 'end' or 'step', got {at!r}.")
        if stream not in ("task", "intrinsic"):
            raise ValueError(f"Expected stream 'task' or 'intrinsic', got {stream!r}.")
        if min(k, additions) < 1 or (capacity is not None and capacity < additions):
            raise ValueError(
                f"Expected k and additions of at least one and a capacity of at least additions, got {k}, {additions} "
                f"and {capacity}."
            )
        if scale != "running" and not (not isinstance(scale, str) and math.isfinite(scale) and scale > 0):
            raise ValueError(f"Expected scale 'running' or a finite number above zero, got {scale!r}.")
        self.at, self.k, self.additions, self.capacity, self.scale = at, k, additions, capacity, scale
        self.stream, self.seed = stream, seed
        self._given = (fields,) if isinstance(fields, str) else tuple(fields or ())
        self.requires = self._given

    def bind(self, env: TensorEnv) -> None:
        """Choose the descriptor and start with an empty archive."""
        self._describe(env)
        device = env.device
        self.archive = BehaviorArchive(
            len(self._entries), capacity=self.capacity, rule="random", device=device, seed=self.seed
        )
        self._neighbors = Neighbors(self.archive.descriptors)
        self._generator = torch.Generator(device).manual_seed(self.seed)
        self._drawn = torch.zeros(0, len(self._entries), device=device)
        self._keys = torch.zeros(0, device=device)
        # Behaviors shown, those of them outside of the bounds, novelties to be paid, and their sum.
        self._sums = torch.zeros(4, dtype=torch.float64, device=device)
        # Without a scale nothing is paid: any novelty over infinity is zero.
        self._divisor = torch.tensor(math.inf if self.scale == "running" else float(self.scale), device=device)
        self._silent = 0
        self._found: tuple[Transition, torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def _describe(self, env: TensorEnv) -> None:
        task = env.unwrapped.task
        descriptor = task.descriptor
        if self._given:
            missing = [name for name in self._given if name not in env.state_spec]
            places = {name: 0 if name in missing else math.prod(env.state_spec[name].shape) for name in self._given}
            self._entries = tuple((name, place) for name in self._given for place in range(places[name] or 1))
            low, high = (-math.inf,) * len(self._entries), (math.inf,) * len(self._entries)
        elif descriptor is not None:
            descriptor.check(env.state_spec)
            self._entries, low, high = descriptor.entries, descriptor.low, descriptor.high
        else:
            raise ValueError(
                f"Expected a task that declares a behavior descriptor, or fields=… naming what describes a behavior; "
                f"{type(task).__name__} declares none. It measures: {', '.join(env.state_spec) or 'nothing'}."
            )
        self.requires = tuple(dict.fromkeys(name for name, _ in self._entries))
        self._low = torch.tensor(low, dtype=torch.float32, device=env.device)
        self._high = torch.tensor(high, dtype=torch.float32, device=env.device)

    def descriptors(self, state: State) -> torch.Tensor:
        """Descriptors of states, before they are clipped, float32 `(B, D)`."""
        columns = [state[name].reshape(len(state[name]), -1)[:, place] for name, place in self._entries]
        return torch.stack(columns, dim=1).to(torch.float32)

    def _find(self, transition: Transition) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Clipped descriptors `(B, D)`, where one was shown `(B,)`, and its novelty, zero elsewhere `(B,)`."""
        if self._found is None or self._found[0] is not transition:
            shown = transition.terminated | transition.truncated
            shown = shown if self.at == "end" else torch.ones_like(shown)
            shown = shown if transition.valid is None else shown & transition.valid
            behavior = self.descriptors(transition.next_state).clamp(self._low, self._high)
            self._found = transition, behavior, shown, self._novelty(behavior, shown)
        return self._found[1:]

    def _novelty(self, behavior: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(len(behavior), device=behavior.device)
        if len(self._neighbors) == 0:
            return found
        if behavior.device.type != "cpu":  # counting the rows asked for would wait for the device
            return torch.where(shown, self._neighbors.novelty(behavior, self.k), found)
        rows = shown.nonzero().squeeze(1)
        return found.index_copy_(0, rows, self._neighbors.novelty(behavior[rows], self.k)) if len(rows) else found

    def shape(self, transition: Transition) -> torch.Tensor:
        """The bonus, float32 `(B,)`, at least zero."""
        return self._find(transition)[2] / self._divisor

    def observe(self, transition: Transition) -> None:
        """Draw some of the behaviors shown for the archive, and take their novelty into the running mean."""
        behavior, shown, novelty = self._find(transition)
        outside = shown & (self.descriptors(transition.next_state) != behavior).any(1)
        paid = shown & (len(self._neighbors) > 0)
        self._sums += torch.stack((shown, outside, paid, novelty)).sum(1, dtype=torch.float64)
        # The rows with the highest of independent keys are a uniform draw without replacement, whatever came before.
        key = torch.rand(len(shown), generator=self._generator, device=shown.device)
        keys = torch.cat((self._keys, torch.where(shown, key, -1.0)))
        self._keys, kept = keys.topk(min(self.additions, len(keys)))
        self._drawn = torch.cat((self._drawn, behavior))[kept]
        self._found = None

    def update(self) -> dict[str, float]:
        """Let the archive and the scale grow by what was observed.

        Returns:
            `archive` (behaviors in it), `novelty` (mean of all that were to be paid so far, unscaled), `outside` (share
            of the behaviors shown that lay outside of the descriptor's bounds).
        """
        shown, outside, paid, total = self._sums.tolist()
        self.archive.add(self._drawn, chosen=self._keys >= 0)
        self._neighbors = Neighbors(self.archive.descriptors)
        self._drawn, self._keys, self._found = self._drawn[:0], self._keys[:0], None
        if self.scale == "running" and total > 0:
            self._divisor.fill_(total / paid)
        self._silent = 0 if len(self.archive) else self._silent + 1
        if self._silent == PATIENCE:
            warnings.warn(self._why_empty(), stacklevel=2)
        return {
            "archive": float(len(self.archive)),
            "novelty": total / max(paid, 1),
            "outside": outside / max(shown, 1),
        }

    def _why_empty(self) -> str:
        said = f"The archive of the shaper 'novelty' is still empty after {PATIENCE} updates, so nothing is paid: "
        if self.at == "end":
            return said + "no episode has ended so far, and at='end' archives final states. Use at='step'."
        return said + "no step was observed between them."

    def get_state(self) -> dict[str, Any]:
        """Copy the archive, what was drawn for it, the scale and the generator."""
        return {
            "archive": self.archive.get_state(), "drawn": self._drawn.clone(), "keys": self._keys.clone(),
            "sums": self._sums.clone(), "divisor": self._divisor.clone(), "silent": self._silent,
            "generator": self._generator.get_state(),
        }  # fmt: skip

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.archive.set_state(snapshot["archive"])
        self._neighbors = Neighbors(self.archive.descriptors)
        self._drawn, self._keys = snapshot["drawn"].clone(), snapshot["keys"].clone()
        self._sums, self._divisor = snapshot["sums"].clone(), snapshot["divisor"].clone()
        self._silent, self._found = snapshot["silent"], None
        self._generator.set_state(snapshot["generator"].cpu())
