"""The critic: holds designs against a sandbox, the checks of their two components, and the opinion of a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.auto_mc.checks import inspect
from cairngym.reward_shaping.llm.auto_mc.design import Weights, compile_design
from cairngym.reward_shaping.llm.auto_mc.prompts import critic_request
from cairngym.reward_shaping.llm.findings import MAX_FINDINGS, MAX_TEXT, Finding, Verdict, error, warning
from cairngym.reward_shaping.llm.provider import Provider
from cairngym.reward_shaping.llm.sandbox import Sandbox

_VERDICT = re.compile(
    r"\W*(?:(?i:(?:my |the |final )*verdict(?: is)?)\W+)?"
    r"(?:(?P<shouted>PASS|FAIL)(?:ED|S)?\b|(?P<said>(?i:pass|fail))(?i:ed|es|s)?(?=\W*$|[*_`\s]*[:.,;-]))\W*(?P<why>.*)"
)
"""A line that begins with PASS or FAIL; in small letters the word must stand by itself, as "Fails to …" does not."""


class Critic:
    """Says of a design's source whether it may be used.

    Args:
        env: what designs are for.
        weights: of the signs.
        sandbox: tries them on its recording; None leaves that out.
        model: is asked about those that nothing else speaks against; None asks nobody.
    """

    def __init__(
        self, env: TensorEnv, weights: Weights, *, sandbox: Sandbox | None = None, model: Provider | None = None
    ) -> None:
        self.env, self.weights, self.sandbox, self.model = env, weights, sandbox, model

    def __call__(self, source: str) -> Verdict:
        """The verdict on a design that compiles.

        Raises:
            ProgramRefused: it does not.
            ProviderError: the model can't be asked.
            SandboxUnavailable: the sandbox does not start.
        """
        verdict = Verdict(accepted=True) if self.sandbox is None else self._tried(source, self.sandbox)
        if verdict.accepted and self.model is not None:
            verdict = joined(verdict, self._opinion(source, self.model))
        return verdict

    def _tried(self, source: str, sandbox: Sandbox) -> Verdict:
        """What is found on the recording of what is paid, and of the components where that is sound."""
        design = compile_design(self.env, source, self.weights)
        verdict = sandbox.verify(design.paid.source)
        if not verdict.statistics:  # it was not examined to the end
            return verdict
        return joined(verdict, inspect(design.program, sandbox.recorded))

    def _opinion(self, source: str, model: Provider) -> list[Finding]:
        answer = model.complete_sync(critic_request(self.env, source)).text
        return read_opinion(answer)


def joined(verdict: Verdict, findings: Sequence[Finding]) -> Verdict:
    """A verdict with further findings."""
    found = (*verdict.findings, *findings)[:MAX_FINDINGS]
    refused = any(finding.severity == "error" for finding in (*verdict.findings, *findings))
    return replace(verdict, accepted=not refused, findings=found)


def read_opinion(answer: str) -> list[Finding]:
    r"""What a model's opinion comes to: nothing for PASS, an error for FAIL, a warning where it gave neither.

    The last line that begins with either word counts, in capitals or not, bold or not, with or without "Verdict:".

    Example:
        >>> read_opinion("It rewards the goal.\n**PASS**")
        []
        >>> read_opinion("Hm.\nVerdict: FAIL: dense has the wrong sign.")[0].message
        'dense has the wrong sign.'
    """
    lines = answer.splitlines()
    for number in reversed(range(len(lines))):
        verdict = _VERDICT.match(lines[number])
        if verdict is not None:
            break
    else:
        said = " ".join(answer.split())[-200:] or "nothing"
        return [warning("critic", f"The model that was asked gave neither PASS nor FAIL; it ended with: {said}")]
    if (verdict["shouted"] or verdict["said"]).upper() == "PASS":
        return []
    after, before = _joined([verdict["why"], *lines[number + 1 :]]), _joined(lines[:number])
    return [error("critic", after[:MAX_TEXT] or before[-MAX_TEXT:] or "It does not agree with the task's description.")]


def _joined(lines: Sequence[str]) -> str:
    return " ".join(" ".join(lines).split()).strip(" *_`\"'")
