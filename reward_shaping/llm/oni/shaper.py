"""The shaper: captions, annotation aside, a model of the judgements, and division by episodic counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch

from cairngym.envs.core import TensorEnv, Transition, clone
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.llm.annotation import Annotation
from cairngym.reward_shaping.llm.oni.annotators import DEFAULT_RULES, Annotator, Question, RuleAnnotator
from cairngym.reward_shaping.llm.oni.captioner import Captioner, make_captioner
from cairngym.reward_shaping.llm.oni.counts import CaptionCounts
from cairngym.reward_shaping.llm.oni.model_annotator import ModelAnnotator
from cairngym.reward_shaping.llm.oni.models import RewardModel, make_model
from cairngym.reward_shaping.llm.oni.questions import ask, labels, pairs
from cairngym.reward_shaping.llm.oni.sheets import OPPONENTS, PER_PROMPT, closed_pairs, make_context
from cairngym.reward_shaping.llm.oni.vocabulary import UNKNOWN, Vocabulary
from cairngym.reward_shaping.llm.provider import Provider, make_provider


class Found(NamedTuple):
    """What a transition's captions are, int64 `(B,)` each."""

    env_id: torch.Tensor
    codes: torch.Tensor
    numbers: torch.Tensor
    """In the vocabulary, `UNKNOWN` for those that have none yet."""
    ids: torch.Tensor
    """The same, with 0 instead of `UNKNOWN`."""
    before: torch.Tensor
    """How often each came up in its env's episode before."""


class OniShaper(Shaper):
    """r = value(caption) / N_ep(caption)^beta, where N_ep counts the caption in this episode, this time included.

    What happens in a step becomes a caption, or none, which pays nothing. Captions not judged yet wait in a bounded
    line; an annotator takes the newest ones from it, on a thread aside, while the envs go on. `update` takes in what it
    has said since, lets the reward model learn from that, and sets what every caption pays until the next `update`.
    So an annotator that is slow, fails or dies changes nothing but the judgements: captions without one pay what the
    model says without it, nothing at first.

    When judgements come depends on timing, and with it the run. `synchronous=True` waits for them in `update` instead;
    a run then repeats, and resumes, bit for bit.

    On a GPU, a caption met for the first time gets its count from the next `update` on, so that no step waits.

    Args:
        annotator: "rules" (see `RuleAnnotator`), "none" (captions and counts alone; nothing is paid), a provider as
            `make_provider` takes it, such as "recorded:oni", a Provider, or an Annotator.
        model: "hash", "classifier", "ranking", or a RewardModel.
        captioner: what makes the captions; None takes the packaged one for the env.
        beta: of the counts; above one, an episode earns no more than zeta(beta) by one caption.
        eta: what the classifier's probability, or the ranking's normalised score, has to exceed to be paid.
        synchronous: annotate within `update`.
        noise: of the rules, the share of wrong judgements.
        latency: of the rules, seconds a batch takes.
        rules: of the rules, patterns and worths.
        batch: questions asked at a time.
        capacity: questions that may wait; the oldest make room for new ones.
        backoff: seconds before a failed annotator is tried again, doubled with every failure up to a minute.
        per_prompt: captions, or pairs, in one prompt to a language model.
        opponents: captions that each one is compared with, for the ranking.
        provider: further options of the provider, such as `{"timeout": 30.0, "token_budget": 100_000}`.
        learning: further options of the classifier or the ranking, see `NetworkModel`.
        stream: "intrinsic", or "task" to keep the term away from a second value head.
        seed: of the rules' errors and of the reward model.

    Raises:
        ValueError: an option out of its range.
        UnknownNameError: no such model or provider.
    """

    memory = True

    def __init__(
        self,
        *,
        annotator: str | Provider | Annotator = "rules",
        model: str | RewardModel = "hash",
        captioner: Captioner | None = None,
        beta: float = 3.0,
        eta: float = 0.5,
        synchronous: bool = False,
        noise: float = 0.0,
        latency: float = 0.0,
        rules: Mapping[str, float] = DEFAULT_RULES,
        batch: int = 100,
        capacity: int = 1000,
        backoff: float = 1.0,
        per_prompt: int = PER_PROMPT,
        opponents: int = OPPONENTS,
        provider: Mapping[str, Any] | None = None,
        learning: Mapping[str, Any] | None = None,
        stream: Literal["task", "intrinsic"] = "intrinsic",
        seed: int = 0,
    ) -> None:
        if not 0 <= beta < float("inf"):
            raise ValueError(f"Expected a finite beta >= 0, got {beta}.")
        if stream not in ("task", "intrinsic"):
            raise ValueError(f"Expected stream 'task' or 'intrinsic', got {stream!r}.")
        if opponents < 1:
            raise ValueError(f"Expected opponents >= 1, got {opponents}.")
        self.beta, self.stream, self.opponents = beta, stream, opponents
        if annotator == "rules":
            annotator = RuleAnnotator(rules, noise=noise, latency=latency, seed=seed)
        self.annotator = _make_annotator(annotator, per_prompt, opponents, dict(provider or {}))
        self._line: dict[str, Any] = {
            "batch": batch, "capacity": capacity, "synchronous": synchronous,
            "backoff": backoff, "max_backoff": max(60.0, backoff),
        }  # fmt: skip
        self._learning = {"eta": eta, "seed": seed, **(learning or {})}
        self._model, self._captioner = model, captioner
        self.model = make_model(model, **self._learning)
        self.annotation = self._make_annotation()
        self.requires = captioner.requires if captioner else ()
        self._found: tuple[Transition, Found] | None = None

    def _make_annotation(self) -> Annotation | None:
        if self.annotator is None:
            return None
        return Annotation(ask(self.annotator), self.annotator.close, **self._line)

    def bind(self, env: TensorEnv) -> None:
        """Choose the captioner, and start with an empty vocabulary and nothing judged."""
        self.close()
        self.captioner = self._captioner or make_captioner(env)
        self.captioner.bind(env)
        self.requires = self.captioner.requires
        if self.annotator is not None:
            self.annotator.bind(make_context(env, self.captioner))
        self.annotation = self._make_annotation()
        self._listed = closed_pairs(self.captioner.captions, self.opponents)
        self.model = make_model(self._model, **self._learning)
        self._device, self._immediate = env.device, env.device.type == "cpu"
        self.vocabulary = Vocabulary(self.captioner.size, self.captioner.text, env.device)
        self.counts = CaptionCounts(env.num_envs, env.device)
        self.known: dict[Question, float | None] = {}
        self._values = torch.zeros(self.counts.capacity, device=env.device)
        self._visited = torch.zeros(0, dtype=torch.int64)
        self._moment, self._found = 0, None

    def _find(self, transition: Transition) -> Found:
        """What the captions are and how often they came up before; computed once for `shape` and `observe`."""
        if self._found is None or self._found[0] is not transition:
            if transition.env_id is None:
                raise ValueError("Episodic counts belong to a running episode; keep the value that was collected.")
            codes = self.captioner.codes(transition)
            if transition.valid is not None:
                codes = torch.where(transition.valid, codes, 0)
            self._found = transition, self._look_up(transition.env_id, codes)
        return self._found[1]

    def _look_up(self, env_id: torch.Tensor, codes: torch.Tensor) -> Found:
        numbers = self.vocabulary.ids(codes)
        ids = numbers.clamp(min=0)  # what has no number yet is counted as nothing
        return Found(env_id, codes, numbers, ids, self.counts.before(env_id, ids))

    def _reserve(self) -> None:
        self.counts.reserve(len(self.vocabulary))
        more = self.counts.capacity - len(self._values)
        self._values = torch.nn.functional.pad(self._values, (0, more))

    def captions(self, transition: Transition) -> list[str]:
        """What is said of every transition, empty where nothing is; for people, since it waits for the device."""
        codes = self.captioner.codes(transition).tolist()
        return [self.captioner.text(code) if code else "" for code in codes]

    def shape(self, transition: Transition) -> torch.Tensor:
        """The caption's value over its count to the power of beta, float32 `(B,)`."""
        found = self._find(transition)
        return self._values[found.ids] * (found.before + 1).to(torch.float32).pow(-self.beta)

    def observe(self, transition: Transition) -> None:
        """Count the captions; on the CPU, where looking at them is free, number the new ones first."""
        found = self._find(transition)
        if not self._immediate:
            self.vocabulary.notice(found.codes, self._moment)
        elif int(found.numbers.numpy().min(initial=0)) == UNKNOWN:
            self.vocabulary.admit(torch.unique(found.codes[found.numbers == UNKNOWN]).tolist())
            self._reserve()
            found = self._look_up(found.env_id, found.codes)
        self.counts.add(found.env_id, found.ids, found.before)
        self._moment += 1
        self._found = None

    def begin(self, mask: torch.Tensor) -> None:
        """Count the masked envs' captions from zero."""
        self.counts.begin(mask)
        self._found = None

    def update(self) -> dict[str, float]:
        """Take in judgements, learn from them, set what captions pay, and ask about what was met and is not judged.

        Returns:
            `vocabulary` and `judged` (sizes), `paying` (share of the vocabulary that pays), `pending`, `dropped` and
            `failures` of the annotation, 1 for `stopped` where it has ended, and what model and annotator add.

        Raises:
            RuntimeError: the annotator failed in a way that is no provider's.
        """
        if not self._immediate:
            self.vocabulary.admit_noticed()
            self._reserve()
        texts = self.vocabulary.texts
        visits = self.counts.visits[: len(texts)].cpu()
        recent = visits.clone()
        recent[: len(self._visited)] -= self._visited
        self._visited = visits.clone()
        answers = self._annotate([index for index in recent.nonzero().flatten().tolist() if index])
        self.known |= answers
        values, metrics = self.model.update(texts, self.known, bool(answers), visits)
        self._values[: len(texts)] = values.to(self._device)
        self._found = None
        paying = float((values > 0).sum()) / max(1, len(texts) - 1)
        sizes = {"vocabulary": len(texts) - 1.0, "judged": float(len(self.known)), "paying": paying}
        return sizes | metrics | self._annotation_metrics()

    def _annotate(self, recent: Sequence[int]) -> dict[Question, float | None]:
        """Ask about the captions met since the last update, and take what answers there are."""
        if self.annotation is None:
            return {}
        if self.model.asks == "labels":
            asked = labels(self.vocabulary.texts, recent)
        else:
            asked = pairs(self.vocabulary.texts, recent, self._listed, self.opponents)
        self.annotation.offer([question for question in asked if question not in self.known])
        return self.annotation.collect()

    def _annotation_metrics(self) -> dict[str, float]:
        if self.annotation is None or self.annotator is None:
            return {}
        line = self.annotation.line
        return {
            "pending": float(len(line)), "dropped": float(line.dropped), "failures": float(line.failures),
            "stopped": float(bool(line.stopped)), **self.annotator.counts(),
        }  # fmt: skip

    def close(self) -> None:
        """End the annotation's thread; `update` goes on without it."""
        if self.annotation is not None:
            self.annotation.close()

    def get_state(self) -> dict[str, Any]:
        """Copy vocabulary, counts, judgements and model; questions under way are asked again when met again."""
        return {
            "vocabulary": self.vocabulary.get_state(),
            "counts": self.counts.get_state(),
            "known": dict(self.known),
            "model": self.model.get_state(),
            "annotator": self.annotator.get_state() if self.annotator else {},
            "values": self._values.clone(),
            "visited": self._visited.clone(),
            "moment": self._moment,
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy."""
        self.close()
        self.annotation = self._make_annotation()
        self.vocabulary.set_state(snapshot["vocabulary"])
        self.counts.set_state(snapshot["counts"])
        self.known = dict(snapshot["known"])
        self.model.set_state(clone(snapshot["model"]))
        if self.annotator:
            self.annotator.set_state(snapshot["annotator"])
        self._values, self._visited = snapshot["values"].clone(), snapshot["visited"].clone()
        self._moment, self._found = snapshot["moment"], None


def _make_annotator(
    given: str | Provider | Annotator, per_prompt: int, opponents: int, options: Mapping[str, Any]
) -> Annotator | None:
    if isinstance(given, Annotator):
        return given
    if given == "none":
        return None
    provider = given if isinstance(given, Provider) else make_provider(given, **options)
    return ModelAnnotator(provider, per_prompt=per_prompt, opponents=opponents, owned=provider is not given)
