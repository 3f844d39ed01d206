import threading
import time

import pytest
from oni_toys import Stub, by_word, numbered

from cairngym.reward_shaping.llm.oni.annotators import Annotator, Context, RuleAnnotator
from cairngym.reward_shaping.llm.oni.model_annotator import ModelAnnotator
from cairngym.reward_shaping.llm.oni.sheets import closed_pairs, sheets
from cairngym.reward_shaping.llm.provider import MissingRecordingError, UnreachableError

CAPTIONS = tuple(f"you {verb} the {color} door" for verb in ("open", "close") for color in ("red", "blue", "grey"))


def test_rules_label_and_compare():
    rules = RuleAnnotator({"^you win": 3.0, "door": 1.0, "lava": -1.0})
    assert rules.label(["you win the door", "the door", "lava", "nothing"]) == [1, 1, 0, 0]
    assert rules.prefer([("the door", "you win"), ("you win", "lava"), ("a", "b")]) == [0.0, 1.0, 0.5]


def test_errors_have_their_rate_and_depend_on_the_caption_alone():
    captions = [f"caption {index}" for index in range(4000)]
    rules = RuleAnnotator({}, noise=0.2, seed=3)
    labels = rules.label(captions)
    assert sum(labels) / 4000 == pytest.approx(0.2, abs=0.02)
    assert rules.label(captions[::-1]) == labels[::-1]
    assert RuleAnnotator({}, noise=0.2, seed=4).label(captions) != labels
    swapped = RuleAnnotator({"^best$": 1.0}, noise=0.3)
    pairs = [("best", f"b{index}") for index in range(500)]
    verdicts = swapped.prefer(pairs)
    assert verdicts == [1 - verdict for verdict in swapped.prefer([pair[::-1] for pair in pairs])]
    assert verdicts.count(0.0) / 500 == pytest.approx(0.3, abs=0.06)


def test_latency_passes_and_can_be_cut_short():
    rules = RuleAnnotator(latency=0.05)
    begin = time.monotonic()
    rules.label(["x"])
    assert time.monotonic() - begin >= 0.05
    slow = RuleAnnotator(latency=60.0)
    timer = threading.Timer(0.05, slow.close)
    timer.start()
    begin = time.monotonic()
    slow.label(["x"])
    assert time.monotonic() - begin < 20
    timer.join()


@pytest.mark.parametrize("options", [{"noise": 1.5}, {"latency": -1.0}, {"rules": {"(": 1.0}}])
def test_bad_options(options):
    with pytest.raises(ValueError, match="Expected"):
        RuleAnnotator(**options)


def test_labels_make_comparisons_where_nothing_else_is_said():
    class Only(Annotator):
        def label(self, captions):
            return [int("win" in caption) for caption in captions]

    assert Only().prefer([("win", "lose"), ("lose", "win"), ("a", "b")]) == [1.0, 0.0, 0.5]


def test_a_model_is_asked_for_whole_sheets_once():
    provider = Stub(by_word("open"))
    model = ModelAnnotator(provider, per_prompt=4)
    model.bind(Context(captions=CAPTIONS))
    assert model.label([CAPTIONS[3]]) == [0]
    assert model.label([CAPTIONS[0], CAPTIONS[1]]) == [1, 1]
    assert len(provider.prompts) == 1, "the sheet of the first caption answers for the others on it"
    assert model.label([CAPTIONS[5], "you open a tin", CAPTIONS[2]]) == [0, 1, 1]
    assert len(provider.prompts) == 3, "a second sheet, and one for what is on no list"
    provider.close()


def test_a_model_compares_pairs():
    def first_is_red(request):
        lines = [text.split(" / ") for text in numbered(request)]
        words = ["FOO" if "red" in one else "BAR" if "red" in other else "SAME" for one, other in lines]
        return "\n".join(f"{number}: {word}" for number, word in enumerate(words, start=1))

    with Stub(first_is_red) as provider:
        model = ModelAnnotator(provider)
        model.bind(Context(captions=CAPTIONS))
        pairs = closed_pairs(CAPTIONS)
        verdicts = model.prefer(pairs)
    for (one, other), verdict in zip(pairs, verdicts, strict=True):
        assert verdict == (1.0 if "red" in one else 0.0 if "red" in other else 0.5)


def test_what_can_not_be_read_is_zero_and_says_nothing_about_pairs():
    with Stub(lambda request: "I would rather not say.\n2: FOO") as provider:
        model = ModelAnnotator(provider)
        assert model.label(["a", "b", "c"]) == [0, 1, 0]
        assert model.prefer([("a", "b")]) == [None]
        assert model.counts() == {"prompts": 2, "unparsable": 3, "unanswered": 0}
        assert model.label(["a"]) == [0]
        assert len(provider.prompts) == 2, "what was unreadable is not asked again"


def test_a_missing_recording_is_told_and_labelled_zero(caplog):
    with Stub(lambda request: MissingRecordingError("No recording answers the prompt 123.", "123")) as provider:
        model = ModelAnnotator(provider)
        assert model.label(["a", "b"]) == [0, 0]
        assert model.counts()["unanswered"] == 2
    assert "No recording answers the prompt 123." in caplog.text


def test_what_was_answered_before_a_failure_is_kept():
    failing = {"now": True}

    def answer(request):
        if failing["now"] and "you close" in request.messages[-1].content:
            return UnreachableError("gone", retryable=True)
        return by_word("open")(request)

    with Stub(answer) as provider:
        model = ModelAnnotator(provider, per_prompt=3)
        model.bind(Context(captions=CAPTIONS))
        with pytest.raises(UnreachableError):
            model.label(CAPTIONS)
        failing["now"] = False
        assert model.label(CAPTIONS) == [1, 1, 1, 0, 0, 0]
        assert len(provider.prompts) == 3
        copy = ModelAnnotator(provider, per_prompt=3)
        copy.set_state(model.get_state())
        assert copy.label(CAPTIONS) == [1, 1, 1, 0, 0, 0]
        assert len(provider.prompts) == 3
    assert len(sheets(CAPTIONS, 3)) == 2
