"""Classifier and ranking against closed forms, a numpy oracle, and rules that err."""

import math

import numpy as np
import pytest
import torch

from cairngym.envs.checks import UnknownNameError
from cairngym.reward_shaping.llm.oni.annotators import RuleAnnotator
from cairngym.reward_shaping.llm.oni.embedding import embed
from cairngym.reward_shaping.llm.oni.minigrid_captions import COLORS
from cairngym.reward_shaping.llm.oni.models import (
    ClassifierModel,
    HashModel,
    RankingModel,
    make_model,
    root_mean_square,
)

TEXTS = ["", *(f"you {verb} the {color} {thing}"
               for verb in ("pick up", "drop", "open", "bump into", "see")
               for color in COLORS for thing in ("key", "door", "ball"))]  # fmt: skip
ONCE = torch.ones(len(TEXTS), dtype=torch.int64)
CLEAN = RuleAnnotator({"^you (pick up|open)": 1.0})


def labels(annotator, texts=TEXTS[1:]):
    return dict(zip(texts, map(float, annotator.label(texts)), strict=True))


def test_a_table_pays_labels_and_nothing_else():
    values, metrics = HashModel().update(["", "a", "b", "c"], {"a": 1.0, "b": 0.0}, True, ONCE[:4])
    assert values.tolist() == [0.0, 1.0, 0.0, 0.0]
    assert metrics == {}


def test_the_classifier_pays_nothing_before_it_has_learned():
    values, _ = ClassifierModel().update(TEXTS, {}, False, ONCE)
    assert not values.any()


def test_the_classifier_learns_labels_and_carries_over_to_captions_not_judged():
    known = labels(CLEAN, TEXTS[1::2])
    model = ClassifierModel(steps=32)
    for _ in range(6):
        values, metrics = model.update(TEXTS, known, True, ONCE)
    truth = torch.tensor([0.0, *map(float, CLEAN.label(TEXTS[1:]))])
    assert metrics["loss"] < 0.3
    assert float((values == truth).float().mean()) > 0.95
    assert values[0] == 0.0
    hashed = HashModel().update(TEXTS, known, True, ONCE)[0]
    assert float((hashed == truth).float().mean()) < 0.9, "a table does not carry over"


def test_the_classifier_sees_through_noise():
    noisy = RuleAnnotator({"^you (pick up|open)": 1.0}, noise=0.1, seed=2)
    known = labels(noisy)
    truth = torch.tensor([0.0, *map(float, CLEAN.label(TEXTS[1:]))])
    wrong = sum(known[text] != float(value) for text, value in zip(TEXTS[1:], truth[1:], strict=True))
    model = ClassifierModel(steps=32)
    for _ in range(6):
        values, _ = model.update(TEXTS, known, True, ONCE)
    assert wrong >= 5
    assert int((values != truth).sum()) < wrong / 2


def test_eta_is_what_has_to_be_exceeded():
    known = labels(CLEAN)
    paying = []
    for eta in (0.01, 0.5, 0.999):
        model = ClassifierModel(eta=eta, steps=32)
        values, _ = model.update(TEXTS, known, True, ONCE)
        paying.append(int(values.sum()))
    assert paying[0] > paying[1] > paying[2]


def test_the_gradient_of_the_ranking_is_bradley_terrys():
    """d/dr_a of -log P(a better than b) is P - 1, that of r_b is 1 - P; P = exp(r_a) / (exp(r_a) + exp(r_b))."""
    model = RankingModel()
    scores = torch.tensor([[0.7, -0.4], [0.1, 0.3], [0.2, 0.2]], requires_grad=True)
    targets = torch.tensor([1.0, 0.0, 0.5])
    logits = model.logits(scores)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum").backward()
    exponents = np.exp(scores.detach().numpy())
    better = exponents[:, 0] / exponents.sum(1)
    np.testing.assert_allclose(torch.sigmoid(logits).detach(), better, rtol=1e-6)
    np.testing.assert_allclose(scores.grad[:, 0], better - targets.numpy(), atol=1e-6)
    np.testing.assert_allclose(scores.grad[:, 1], targets.numpy() - better, atol=1e-6)


def test_two_captions_reach_the_odds_of_their_comparisons():
    """Preferred three times in four: the difference of the scores tends to log 3 (the maximum of the likelihood)."""
    model = RankingModel(weight_decay=0.0, steps=400, total=400, learning_rate=1e-2)
    model.update(["", "you win", "it rains"], {}, False, ONCE[:3])
    where = torch.tensor([[1, 2]] * 4)
    model._owed = model.total
    model._train(model.rows(["", "you win", "it rains"]), where, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    scores = model.network(model.rows(["", "you win", "it rains"]))
    assert float(scores[1] - scores[2]) == pytest.approx(math.log(3), abs=0.02)


def test_the_ranking_orders_what_was_compared_and_pays_the_best():
    rules = RuleAnnotator({"open": 3.0, "pick up": 2.0, "see": 1.0})
    draws = torch.Generator().manual_seed(0)
    chosen = torch.randint(1, len(TEXTS), (400, 2), generator=draws).tolist()
    pairs = [(TEXTS[one], TEXTS[other]) for one, other in chosen if one != other]
    known = {**dict(zip(pairs, rules.prefer(pairs), strict=True)), ("never met", "a"): None}
    model = RankingModel(steps=32)
    for _ in range(4):
        values, metrics = model.update(TEXTS, known, True, ONCE)
    scores = model.network(model.rows(TEXTS))

    def mean(word, of=scores):
        return float(of[[index for index, text in enumerate(TEXTS) if word in text]].mean())

    assert mean("open") > mean("pick up") > mean("see") > mean("drop")
    assert mean("open", values) > 0.5
    assert mean("drop", values) == 0.0
    assert metrics["rms"] > 0


def test_the_normalised_score_is_what_is_paid():
    """Against numpy over every single occurrence, not the formula over counts."""
    draws = np.random.default_rng(0)
    scores = draws.normal(0.5, 2.0, size=20).astype(np.float32)
    visits = draws.integers(0, 50, size=20)
    occurrences = np.repeat(scores[1:], visits[1:])
    rms = np.sqrt(np.mean(occurrences.astype(np.float64) ** 2))
    model = RankingModel(eta=0.5, clip=1.5)
    values, metrics = model.price(torch.tensor(scores), torch.tensor(visits))
    expected = np.where(scores / rms > 0.5, np.minimum(scores / rms, 1.5), 0.0)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert metrics["rms"] == pytest.approx(rms, rel=1e-5)
    assert not np.allclose(values, np.where(scores > 0.5, np.minimum(scores, 1.5), 0.0)), "the raw score is not paid"


def test_scores_that_are_all_zero_are_left_alone():
    assert float(root_mean_square(torch.zeros(3), torch.ones(3, dtype=torch.int64))) == 1.0
    assert float(root_mean_square(torch.ones(3), torch.zeros(3, dtype=torch.int64))) == 1.0


@pytest.mark.parametrize("kind", ["classifier", "ranking"])
def test_learning_goes_on_from_a_snapshot_bit_for_bit(kind):
    rules = RuleAnnotator({"open": 1.0})
    pairs = [(TEXTS[index], TEXTS[-index]) for index in range(1, 40)]
    known = labels(rules) | dict(zip(pairs, rules.prefer(pairs), strict=True))
    first, second = (make_model(kind, seed=1, minibatch=16) for _ in range(2))
    first.update(TEXTS[:50], {}, False, ONCE[:50])
    first.update(TEXTS, known, True, ONCE)
    second.set_state(first.get_state())
    for _ in range(2):
        (one, metrics), (other, again) = (model.update(TEXTS, known, True, ONCE) for model in (first, second))
        assert torch.equal(one, other)
        assert metrics == again
    assert torch.equal(*(model.network(model.rows(TEXTS)) for model in (first, second)))


def test_training_stops_when_there_are_enough_judgements():
    model = ClassifierModel(most=10)
    assert "loss" not in model.update(TEXTS, labels(CLEAN), True, ONCE)[1]
    assert "loss" in model.update(TEXTS, labels(CLEAN, TEXTS[1:9]), True, ONCE)[1]


def test_training_is_spread_over_updates_and_ends_when_nothing_new_comes():
    model, known = ClassifierModel(steps=8, total=20), labels(CLEAN)
    trained = ["loss" in model.update(TEXTS, known, fresh, ONCE)[1] for fresh in (True, False, False, False, True)]
    assert trained == [True, True, True, False, True]
    before = model.network(model.rows(TEXTS))
    values, _ = model.update(TEXTS, known, False, ONCE)
    assert not torch.equal(before, model.network(model.rows(TEXTS)))
    assert torch.equal(values[1:], (model.network(model.rows(TEXTS)).sigmoid() > 0.5).float()[1:])


def test_embeddings_are_unit_vectors_that_know_their_words():
    rows = embed(TEXTS[1:])
    np.testing.assert_allclose(rows.norm(dim=1), 1.0, rtol=1e-5)
    red, blue, other = embed(["you open the red door", "you open the blue door", "a ball rolls"])
    assert red @ blue > 0.4 > red @ other
    assert torch.equal(embed([""]), embed([""]))


def test_names_and_options():
    with pytest.raises(UnknownNameError, match="Did you mean 'ranking'"):
        make_model("rankings")
    with pytest.raises(ValueError, match="above zero"):
        make_model("classifier", steps=0)
    model = HashModel()
    assert make_model(model) is model
