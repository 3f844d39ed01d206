"""What turns judgements into what a caption pays: a table, a classifier, or a ranking, learned between rollouts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from cairngym.envs.checks import unknown_name
from cairngym.envs.core import clone
from cairngym.reward_shaping.llm.oni.annotators import Question
from cairngym.reward_shaping.llm.oni.embedding import embed
from cairngym.reward_shaping.llm.oni.text_network import TextNetwork

Known = Mapping[Question, float | None]
Metrics = dict[str, float]


class RewardModel(ABC):
    """Says what every caption of the vocabulary pays, from the judgements so far; on the CPU, for captions are few."""

    asks: Literal["labels", "pairs"] = "labels"
    """What it learns from: judgements of captions, or comparisons of two."""

    @abstractmethod
    def update(
        self, texts: Sequence[str], known: Known, fresh: bool, visits: torch.Tensor
    ) -> tuple[torch.Tensor, Metrics]:
        """Learn, and return what each caption pays, float32 `(V,)` on the CPU, and metrics.

        Args:
            texts: the vocabulary; entry 0 stands for no caption and pays nothing. It only ever grows.
            known: every judgement so far.
            fresh: whether some came since the last call.
            visits: int64 `(V,)`, how often each caption came up so far.
        """

    def get_state(self) -> dict[str, Any]:
        """Copy what was learned."""
        return {}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        del snapshot


class HashModel(RewardModel):
    """A caption pays its label, and nothing as long as it has none."""

    def update(
        self, texts: Sequence[str], known: Known, fresh: bool, visits: torch.Tensor
    ) -> tuple[torch.Tensor, Metrics]:
        """Look the labels up."""
        del fresh, visits
        return torch.tensor([float(known.get(text) or 0.0) for text in texts]), {}


class NetworkModel(RewardModel):
    """What the classifier and the ranking share: a network on hashed n-grams, trained after judgements came.

    New judgements are worth `total` gradient steps, a few of which are taken in every update, so that none is long.

    Args:
        eta: what a caption has to exceed to pay.
        steps: gradient steps in one update at most.
        total: gradient steps after the last new judgement.
        minibatch: judgements in one of them.
        learning_rate: of AdamW.
        weight_decay: of AdamW; keeps the network from learning single wrong judgements by heart.
        hidden: width of the hidden layer.
        features: length of the embedding.
        most: training stops once there are more judgements.
        seed: of the weights and of the sampling.

    Raises:
        ValueError: an option out of its range.
    """

    def __init__(
        self,
        *,
        eta: float = 0.5,
        steps: int = 8,
        total: int = 128,
        minibatch: int = 256,
        learning_rate: float = 3e-3,
        weight_decay: float = 3.0,
        hidden: int = 64,
        features: int = 256,
        most: int = 25_000,
        seed: int = 0,
    ) -> None:
        if min(steps, total, minibatch, hidden, features, most) < 1 or learning_rate <= 0 or weight_decay < 0:
            raise ValueError(
                "Expected steps, total, minibatch, hidden, features, most and learning_rate above zero, and "
                "weight_decay not below it."
            )
        self.eta, self.steps, self.minibatch, self.most = eta, steps, minibatch, most
        self.network = TextNetwork(features, hidden, learning_rate, weight_decay, seed)
        self.features, self.total, self._owed = features, total, 0
        self._scores = torch.zeros(0)
        self._generator = torch.Generator().manual_seed(seed)
        self._vectors: dict[str, torch.Tensor] = {}

    def update(
        self, texts: Sequence[str], known: Known, fresh: bool, visits: torch.Tensor
    ) -> tuple[torch.Tensor, Metrics]:
        """Train where there is something new, and price the vocabulary."""
        metrics: Metrics = {}
        self._owed = self.total if fresh else self._owed
        if self._owed:
            judged, where, targets = self.data(known)
            if 0 < len(targets) <= self.most:
                metrics["loss"] = self._train(self.rows(judged), where, targets)
        if metrics or len(texts) != len(self._scores):
            self._scores = self.network(self.rows(texts))
        values, more = self.price(self._scores, visits)
        values[0] = 0.0
        return values, metrics | more

    def rows(self, texts: Sequence[str]) -> torch.Tensor:
        """The embedded texts, float32 `(len(texts), features)`."""
        new = [text for text in texts if text not in self._vectors]
        self._vectors.update(zip(new, embed(new, self.features), strict=True))
        return torch.stack([self._vectors[text] for text in texts])

    @abstractmethod
    def data(self, known: Known) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        """Captions, which of them each judgement is about, int64 `(B, k)`, and what it says, `(B,)` in [0, 1]."""

    @abstractmethod
    def logits(self, scores: torch.Tensor) -> torch.Tensor:
        """Log odds of a judgement of one, `(B,)`, from the scores `(B, k)` of its captions."""

    @abstractmethod
    def price(self, scores: torch.Tensor, visits: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        """What captions of these scores `(V,)` pay."""

    def loss(self, rows: torch.Tensor, where: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy of judgements."""
        whole = where.numel() > len(rows)  # captions are fewer than their mentions
        scores = self.network.score(rows)[where] if whole else self.network.score(rows[where])
        logits = self.logits(scores)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)

    @torch.enable_grad()
    def _train(self, rows: torch.Tensor, where: torch.Tensor, targets: torch.Tensor) -> float:
        first, steps = 0.0, min(self.steps, self._owed)
        self._owed -= steps
        for step in range(steps):
            chosen = torch.arange(len(targets))
            if len(targets) > self.minibatch:
                chosen = torch.randint(len(targets), (self.minibatch,), generator=self._generator)
            loss = self.loss(rows, where[chosen], targets[chosen])
            self.network.descend(loss)
            first = first if step else float(loss.detach())
        return first

    def get_state(self) -> dict[str, Any]:
        """Copy the network, the generator, and the steps still to come."""
        state = {"network": self.network.get_state(), "generator": self._generator.get_state()}
        return {**state, "owed": self._owed}

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.network.set_state(clone(snapshot["network"]))
        self._generator.set_state(snapshot["generator"].cpu())
        self._owed, self._scores = snapshot["owed"], torch.zeros(0)


class ClassifierModel(NetworkModel):
    """A caption pays one where the classifier, trained on the labels, gives it a probability above eta."""

    def data(self, known: Known) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        """The labelled captions, each for itself, `(B, 1)`, and their labels."""
        labels = {text: float(label or 0.0) for text, label in known.items() if isinstance(text, str)}
        return list(labels), torch.arange(len(labels)).unsqueeze(1), torch.tensor(list(labels.values()))

    def logits(self, scores: torch.Tensor) -> torch.Tensor:
        """The score itself."""
        return scores[:, 0]

    def price(self, scores: torch.Tensor, visits: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        """1[p > eta]."""
        del visits
        return (scores.sigmoid() > self.eta).to(torch.float32), {}


class RankingModel(NetworkModel):
    """A caption pays its Bradley-Terry score, over the RMS of the scores met so far, where that exceeds eta.

    P(a better than b) = exp(r_a) / (exp(r_a) + exp(r_b)). The RMS weighs every caption by how often it came up. Scores
    are fixed by comparisons up to a constant; the network starts from zero for all, and comparisons move two captions
    apart, not together.

    Args:
        clip: the most that a caption pays.
        options: see `NetworkModel`.
    """

    asks = "pairs"

    def __init__(self, *, clip: float = 5.0, **options: Any) -> None:
        super().__init__(**options)
        if clip <= 0:
            raise ValueError(f"Expected clip > 0, got {clip}.")
        self.clip = clip

    def data(self, known: Known) -> tuple[list[str], torch.Tensor, torch.Tensor]:
        """The compared captions, the pairs `(B, 2)`, and whether the first was the better one."""
        pairs = {pair: verdict for pair, verdict in known.items() if isinstance(pair, tuple) and verdict is not None}
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        index = {text: number for number, text in enumerate(texts)}
        where = torch.tensor([[index[one], index[other]] for one, other in pairs], dtype=torch.int64).view(-1, 2)
        return texts, where, torch.tensor(list(pairs.values()))

    def logits(self, scores: torch.Tensor) -> torch.Tensor:
        """The difference of the scores."""
        return scores[:, 0] - scores[:, 1]

    def price(self, scores: torch.Tensor, visits: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        """Score over RMS where it exceeds eta, else zero; at most `clip`."""
        rms = root_mean_square(scores[1:], visits[1:])
        normalized = scores / rms
        return torch.where(normalized > self.eta, normalized.clamp(max=self.clip), 0.0), {"rms": float(rms)}


def root_mean_square(scores: torch.Tensor, visits: torch.Tensor) -> torch.Tensor:
    """The RMS of scores that came up so often, `()`; one where that is zero."""
    weights = visits.to(torch.float64)
    mean = (weights * scores.to(torch.float64).square()).sum() / weights.sum().clamp(min=1.0)
    rms = mean.sqrt().to(torch.float32)
    return torch.where(rms > 1e-8, rms, 1.0)


MODELS: dict[str, type[RewardModel]] = {"hash": HashModel, "classifier": ClassifierModel, "ranking": RankingModel}


def make_model(model: str | RewardModel, **options: Any) -> RewardModel:
    """Make a reward model by name; one that is made already is taken as it is.

    Raises:
        UnknownNameError: another name.
    """
    if isinstance(model, RewardModel):
        return model
    if model not in MODELS:
        raise unknown_name("reward model", model, MODELS)
    return HashModel() if model == "hash" else MODELS[model](**options)
