"""Where the factors of a `LaReShaper` come from: the state, a text, a file, or a language model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.lare.authoring import write_factors
from cairngym.reward_shaping.llm.lare.factors import Factors, ProgramFactors, StateFactors
from cairngym.reward_shaping.llm.lare.prompts import proposal_request
from cairngym.reward_shaping.llm.program import RewardProgram
from cairngym.reward_shaping.llm.program_term import compile_for, given_text
from cairngym.reward_shaping.llm.provider import Provider, opened


class FactorSource:
    """Makes the factors for an env; a model is asked once for each task.

    Args:
        factors: "program" or "state".
        source: text of a program, or a completion that holds it.
        path: file that holds either.
        provider: asked where neither is given; a line for `make_provider` or a provider.
        candidates: programs asked for.
        repairs: rounds of repair.
        fields: state fields for "state"; default is all that are not privileged.

    Raises:
        ValueError: an unknown kind, more than one source, or numbers out of range.
    """

    def __init__(
        self,
        factors: Literal["program", "state"] = "program",
        *,
        source: str | None = None,
        path: str | Path | None = None,
        provider: str | Provider | None = None,
        candidates: int = 3,
        repairs: int = 5,
        fields: Sequence[str] = (),
    ) -> None:
        if factors not in ("program", "state"):
            raise ValueError(f"Expected factors 'program' or 'state', got {factors!r}.")
        named = {"source": source, "path": path, "provider": provider}
        given = [name for name, value in named.items() if value is not None]
        if len(given) > (factors == "program"):
            allowed = "no program" if factors == "state" else "one of source, path and provider"
            raise ValueError(f"Expected {allowed} with factors={factors!r}, got {', '.join(given)}.")
        if fields and factors == "program":
            raise ValueError("Expected fields with factors='state' only: a program reads the fields it names.")
        if candidates < 1 or repairs < 0:
            raise ValueError(f"Expected candidates >= 1 and repairs >= 0, got {candidates} and {repairs}.")
        self.kind, self.source, self.path, self.provider = factors, source, path, provider
        self.candidates, self.repairs = candidates, repairs
        self.fields = (fields,) if isinstance(fields, str) else tuple(fields)
        self._written: dict[str, RewardProgram] = {}

    def make(self, env: TensorEnv) -> Factors:
        """The factors for `env`.

        Raises:
            ProgramRefused: the text given is no program of the language.
            ProviderError: the model can't be asked.
            ValueError: nothing that the model wrote passed verification.
        """
        if self.kind == "state":
            return StateFactors(env, self.fields)
        text = given_text(self.source, self.path)
        if text is not None:
            return ProgramFactors(compile_for(env, text))
        asked = proposal_request(env, self.candidates).hash
        if asked not in self._written:
            self._written[asked] = self._ask(env)
        return ProgramFactors(compile_for(env, self._written[asked].source))

    def _ask(self, env: TensorEnv) -> RewardProgram:
        with opened(self.provider or "recorded:") as provider:
            return write_factors(provider, env, candidates=self.candidates, repairs=self.repairs)
