import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairngym.envs.data import StateField
from cairngym.reward_shaping.llm.program import compile_program
from cairngym.reward_shaping.llm.text2reward.library import LIBRARY
from cairngym.reward_shaping.llm.text2reward.retrieval import nearest, words

DOCUMENTS = [example.document for example in LIBRARY]
ACTION = StateField(shape=(4,), unit="", description="The action.")


def oracle(query, documents):
    """Cosines by dense matrices."""
    vocabulary = sorted({word for document in documents for word in words(document)})
    if not vocabulary:
        return np.zeros(len(documents))

    def row(text):
        counts = np.array([words(text).count(word) for word in vocabulary], float)
        return np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0.0)

    table = np.stack([row(document) for document in documents])
    idf = np.log((1 + len(documents)) / (1 + (table > 0).sum(0))) + 1
    table, asked = table * idf, row(query) * idf
    lengths = np.linalg.norm(table, axis=1) * np.linalg.norm(asked)
    return np.divide(table @ asked, lengths, out=np.zeros(len(documents)), where=lengths > 0)


WORDS = "push block door doors opening goal the a key keys table"
texts = st.lists(st.sampled_from(WORDS.split()), max_size=8).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(texts, st.lists(texts, min_size=1, max_size=6), st.integers(0, 7))
def test_the_order_is_that_of_the_cosines(query, documents, count):
    found = nearest(query, documents, count)
    scores = oracle(query, documents)
    assert len(found) == len(set(found)) == min(count, len(documents))
    for before, after in pairwise(found):
        assert scores[before] > scores[after] - 1e-8
        assert scores[before] > scores[after] + 1e-8 or before < after, "ties keep the order"
    if found and len(found) < len(documents):
        left = max(scores[index] for index in range(len(documents)) if index not in found)
        assert scores[found[-1]] >= left - 1e-8


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Push the block along the table to the goal", "Shove the crate"),
        ("Grasp the block and bring it to the goal, on the table or in the air", "Take hold of the cup"),
        ("Move the gripper to the goal", "Bring the tip"),
        ("pick up the [colour] ball; carrying agent", "Go and fetch the parcel"),
        ("open the locked door with the key and get to the green goal square", "Press the switch"),
        ("Drive the robot to the goal without touching walls or clutter", "Drive the cart"),
        ("Satisfy the formula of signal temporal logic", "Visit the north buoy"),
        ("Turn the pen in the hand until it points in the wanted direction", "Roll the die"),
        ("Turn the latch by its handle and open the door", "Turn the tap"),
    ],
)
def test_packaged_instructions_find_the_task_that_is_like_them(query, expected):
    assert LIBRARY[nearest(query, DOCUMENTS, 1)[0]].instruction.startswith(expected)


def test_an_example_finds_itself():
    for index, example in enumerate(LIBRARY):
        assert nearest(example.document, DOCUMENTS, 1) == [index]
        assert math.isclose(oracle(example.document, DOCUMENTS)[index], 1.0)


@pytest.mark.parametrize("example", LIBRARY, ids=lambda example: example.instruction[:20])
def test_every_example_compiles_and_reads_all_that_it_shows(example):
    program = compile_program(example.source, example.fields, action=ACTION)
    assert set(program.fields) == set(example.fields)
    assert len(example.source.splitlines()) < 40
