"""Words of a task in the options of wrappers: `{robot}` becomes what the task says it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cairngym.envs.checks import unknown_name
from cairngym.envs.strict_yaml import ConfigError

_WORD = re.compile(r"\{(\w+)\}")


def spelled(value: Any, words: Mapping[str, str], source: str) -> Any:
    """`value` with `{word}` replaced in every text of it, within mappings and lists, too.

    Args:
        value: plain data.
        words: what each stands for.
        source: for errors.

    Raises:
        ConfigError: a word that has no meaning.

    Example:
        >>> spelled({"config": "fleets/{robot}"}, {"robot": "quadrotor"}, "a test")
        {'config': 'fleets/quadrotor'}
    """
    if isinstance(value, Mapping):
        return {key: spelled(item, words, source) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [spelled(item, words, source) for item in value]
    if not isinstance(value, str):
        return value
    for word in _WORD.findall(value):
        if word not in words:
            raise ConfigError(f"{source}: {unknown_name('word', word, words)} Tasks have `words` of their own.")
    return _WORD.sub(lambda match: words[match[1]], value)
