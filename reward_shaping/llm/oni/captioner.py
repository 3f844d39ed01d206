"""From transitions to captions: a code for every env and step, and the text of a code."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from cairngym.envs.core import TensorEnv, Transition

MOST_CODES = 2**22
"""A vocabulary keeps a table of that many entries at most."""


class Captioner(ABC):
    """Says what happened in a transition: at most one caption for every env and step.

    A caption is known by its code, an integer in [0, `size`) that is computed on the device; zero stands for nothing
    worth a word. Only codes that were never seen before are turned into text, on the host.
    """

    requires: tuple[str, ...] = ()
    """The state fields it reads, none of them privileged; complete after `bind`."""
    size: int
    """How many codes there are, zero included."""
    setting: str = ""
    """What the world is like, in a sentence or two, for prompts."""
    captions: tuple[str, ...] = ()
    """Every caption that can occur, in a fixed order; empty where they are too many to list."""

    def bind(self, env: TensorEnv) -> None:
        """Learn what the env measures."""
        del env

    @abstractmethod
    def codes(self, transition: Transition) -> torch.Tensor:
        """The code of every transition, int64 `(B,)`; a function of the transition alone."""

    @abstractmethod
    def text(self, code: int) -> str:
        """The caption of a code above zero; the same on every machine."""


def make_captioner(env: TensorEnv) -> Captioner:
    """The packaged captioner for an env: of grids, or of distances between named places.

    Raises:
        ValueError: none fits.
    """
    from cairngym.reward_shaping.llm.oni.minigrid_captions import FIELDS, MiniGridCaptioner
    from cairngym.reward_shaping.llm.oni.predicates import PredicateCaptioner, distances

    if set(FIELDS) <= set(env.state_spec):
        return MiniGridCaptioner()
    predicates = distances(env)
    if predicates:
        return PredicateCaptioner(predicates)
    raise ValueError(
        f"Expected an env with grids or with places to caption, got one that measures {', '.join(env.state_spec)}. "
        "Pass captioner=PredicateCaptioner([Predicate(…)]), or a Captioner of your own."
    )
