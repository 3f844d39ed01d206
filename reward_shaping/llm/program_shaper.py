"""The shaper for reward programs given as text or as a file."""

from __future__ import annotations

from pathlib import Path

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.program import RewardProgram
from cairngym.reward_shaping.llm.program_term import ProgramTerm, compile_for, given_text
from cairngym.reward_shaping.llm.switching import LIMIT


class ProgramShaper(ProgramTerm):
    """The value of a reward program that is given.

    Args:
        source: the program's text.
        path: a file that holds it; a completion in Markdown will do, its code is taken out.
        invariant: make the score a potential; this and what follows as in `ProgramTerm`.
        gamma: the agent's discount.
        offset: of the potential.
        clip: bounds the score.
        limit: a score beyond it has exploded.

    Raises:
        ValueError: not exactly one of `source` and `path`, or an option out of its range.

    Example:
        >>> import cairngym
        >>> from cairngym.reward_shaping.core import ShapedEnv, Term
        >>> text = "def reward(state, action, next_state, memory): return state.node / 9, {'near': state.node}"
        >>> env = ShapedEnv(cairngym.make("Chain-N10-v0"), [Term(name="near", shaper=ProgramShaper(source=text))])
        >>> obs, info = env.reset(seed=0)
        >>> [round(float(env.step([1])[1]), 3) for _ in range(3)]
        [0.0, 0.111, 0.222]
    """

    def __init__(
        self,
        *,
        source: str | None = None,
        path: str | Path | None = None,
        invariant: bool = False,
        gamma: float | None = None,
        offset: str | float = "zero",
        clip: float | None = None,
        limit: float = LIMIT,
    ) -> None:
        super().__init__(invariant=invariant, gamma=gamma, offset=offset, clip=clip, limit=limit)
        if (source is None) == (path is None):
            raise ValueError("Expected the program either as source (its text) or as path (a file), and not as both.")
        self.source, self.path = source, path

    def load(self, env: TensorEnv) -> RewardProgram:
        """Compile the text for an env.

        Raises:
            ProgramRefused: it is not of the language.
            FileNotFoundError: no such file.
        """
        text = given_text(self.source, self.path)
        assert text is not None
        return compile_for(env, text)
