"""What a language model answered, as subgoals; answers that keep to no format give what can be read of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cairngym.envs.minigrid.cells import DOOR, EMPTY
from cairngym.reward_shaping.llm.beacons import subgoals as s
from cairngym.reward_shaping.llm.beacons.subgoals import COLORS, DOOR_STATES, NOUNS, Subgoal

MOST = 64
"""Subgoals read of one answer; a model that repeats itself for ever is cut off here."""
LONGEST = 50_000
"""Characters read of one answer, from its end."""
LARGEST = 1_000
"""Beyond this a coordinate is no coordinate."""
DEED_WORDS = {
    s.PUT: ("put", "drop", "place", "lay", "set"),
    s.OPEN: ("open", "unlock", "toggle"),
    s.TAKE: ("pick", "pickup", "take", "get", "grab", "collect", "fetch", "move", "remove", "clear", "carry"),
    s.GO: ("go", "goto", "reach", "walk", "navigate", "stand", "enter", "traverse", "head"),
}
"""Words for each deed, by the word that an answer starts with."""
NOUN_WORDS = {noun: kind for kind, noun in NOUNS.items()} | {"tile": EMPTY, "cell": EMPTY, "floor": EMPTY}
COLOR_WORDS = {name: code for code, name in enumerate(COLORS)} | {"gray": COLORS.index("grey")}
KEYS = {
    "do": ("do", "action", "verb", "deed", "subgoal", "goal", "task"),
    "object": ("object", "thing", "target", "item", "noun", "type", "kind"),
    "color": ("color", "colour"),
    "state": ("state", "status"),
    "place": ("position", "pos", "location", "coordinates", "cell", "at"),
}
"""Names that models give the fields."""
PLACE = re.compile(r"[(\[]?\s*(?:x\s*[=:]\s*)?(-?\d+)\s*,\s*(?:y\s*[=:]\s*)?(-?\d+)\s*[)\]]?")
THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was read of an answer."""

    subgoals: tuple[Subgoal, ...]
    """In the order given; coordinates are None where none were given."""
    unread: int = 0
    """Items of the list that made no sense."""


def read_answer(text: str) -> Answer:
    """Read the subgoals of an answer; whatever was said, this does not raise.

    The last JSON list counts, in a fenced block or not; a list that was cut off, or has trailing commas, Python's
    quotes or comments, is read object by object. Without a list, every line that says what to do with what is taken.

    Example:
        >>> [goal.sentence for goal in read_answer("1. Open the red door at (3, 4)").subgoals]
        ['open the red door']
    """
    text = THOUGHTS.sub("", text[-LONGEST:])
    items: list[Any] = last_list(text) or list(loose_objects(text)) or listed_lines(text)
    read = [subgoal_of(item) for item in items[:MOST]]
    return Answer(subgoals=tuple(goal for goal in read if goal is not None), unread=read.count(None))


def last_list(text: str) -> list[Any]:
    """The last JSON list of objects or texts in `text`; empty where there is none."""
    decoder, found, end = json.JSONDecoder(), [], 0
    for match in re.finditer(r'\[\s*[{"]', text):
        if match.start() < end:  # within the last list
            continue
        try:
            value, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, list) and all(isinstance(item, dict | str) for item in value):
            found = value
    return found


def loose_objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The flat `{…}` objects in `text`, their quotes, commas and comments put right where need be."""
    for match in re.finditer(r"\{[^{}]{1,500}\}", text):
        body = re.sub(r"(//|#)[^\n]*", "", match.group())
        body = re.sub(r",\s*}", "}", body.replace("'", '"'))
        body = re.sub(r"\bNone\b", "null", re.sub(r"([{,]\s*)([A-Za-z_]\w*)\s*:", r'\1"\2":', body))
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def listed_lines(text: str) -> list[str]:
    """The lines that begin with a deed, after a number or a bullet."""
    lines = (re.sub(r"^\s*(?:[-*•]|\(?\d{1,3}[.):]?)?\s*", "", line) for line in text.splitlines())
    return [line for line in lines if deed_of(line) is not None]


def subgoal_of(item: Any) -> Subgoal | None:
    """The subgoal that an object or a text of the list means; None where it makes no sense."""
    if isinstance(item, str):
        return from_words(item, *place_of(item))
    if not isinstance(item, Mapping):
        return None
    fields = {str(key).lower(): value for key, value in item.items()}
    x, y = place_of(field(fields, "place"))
    x, y = coordinate(fields.get("x"), x), coordinate(fields.get("y"), y)
    words = [text for name in ("do", "state", "color", "object") if isinstance(text := field(fields, name), str)]
    return from_words(" ".join(words), x, y)


def field(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a field under any of its names."""
    return next((fields[key] for key in KEYS[name] if key in fields), None)


def from_words(text: str, x: int | None, y: int | None) -> Subgoal | None:
    """The subgoal that a few words mean; None where they name no deed or no thing.

    The first word says what to do; it is done to the first thing named, or put near the last one.
    """
    words, deed = re.findall(r"[a-z]+", text.lower().replace("_", " ")), deed_of(text)
    nouns = [place for place, word in enumerate(words) if word in NOUN_WORDS]
    if deed is None or not nouns:
        return None
    place = nouns[-1] if deed == s.PUT else nouns[0]
    kind = NOUN_WORDS[words[place]]
    before = [COLOR_WORDS[word] for word in words[:place] if word in COLOR_WORDS]
    after = [COLOR_WORDS[word] for word in words[place:] if word in COLOR_WORDS]
    color = before[-1] if before else after[0] if after else None
    states = [DOOR_STATES.index(word) for word in words[1:] if word in DOOR_STATES[1:]]
    return Subgoal(deed=deed, kind=kind, color=color, state=states[0] if states and kind == DOOR else None, x=x, y=y)


def deed_of(text: str) -> int | None:
    """The deed that a text begins with."""
    found = re.match(r"\W*([a-z]+)[ _]?(to\b)?", text.lower())
    if found is None:
        return None
    first = "go" if found.group(1) == "move" and found.group(2) else found.group(1)
    return next((deed for deed, words in DEED_WORDS.items() if first in words), None)


def place_of(value: Any) -> tuple[int | None, int | None]:
    """Column and row in a text such as "at (3, 4)", a pair, or an object; None where there are none."""
    if isinstance(value, Mapping):
        return coordinate(value.get("x"), None), coordinate(value.get("y"), None)
    if isinstance(value, list | tuple) and len(value) == 2:
        return coordinate(value[0], None), coordinate(value[1], None)
    found = PLACE.search(value) if isinstance(value, str) else None
    return (coordinate(found.group(1), None), coordinate(found.group(2), None)) if found else (None, None)


def coordinate(value: Any, default: int | None) -> int | None:
    """A whole number within reason; `default` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return default
    try:
        number = float(value)
    except ValueError:
        return default
    return int(number) if number == number // 1 and abs(number) <= LARGEST else default
