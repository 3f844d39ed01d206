"""How well a judge agrees with the exact ends of subgoals: precision, recall and F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from cairngym.envs.core import TensorEnv
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal
from cairngym.reward_shaping.llm.calm.events import encode
from cairngym.reward_shaping.llm.calm.judges import Question, TransitionJudge
from cairngym.reward_shaping.llm.calm.prompts import Asked
from cairngym.reward_shaping.llm.calm.terminations import task_subgoals, terminates
from cairngym.reward_shaping.llm.scripted import Lookahead, Policy
from cairngym.reward_shaping.llm.transitions import record_transitions


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Counts of transitions, for one subgoal; a question without an answer counts as a no."""

    right: int
    """Ends that were seen."""
    wrong: int
    """Ends that were seen where there was none."""
    missed: int
    """Ends that were not seen."""
    unanswered: int = 0
    """Different questions that got no answer."""

    @property
    def precision(self) -> float:
        """Share of the ends seen that are ends; one where none was seen."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Share of the ends that were seen; one where there are none."""
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both; one where there is nothing to be seen and nothing was."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else 1.0

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            right=self.right + other.right, wrong=self.wrong + other.wrong, missed=self.missed + other.missed,
            unanswered=self.unanswered + other.unanswered,
        )  # fmt: skip


def agreement(
    judge: TransitionJudge,
    env: TensorEnv,
    subgoals: Sequence[Subgoal] | None = None,
    *,
    steps: int = 200,
    seed: int = 0,
    policy: Policy | None = None,
) -> dict[str, Agreement]:
    """Hold a judge against the exact ends of subgoals in transitions of an env.

    Args:
        judge: asked once about each different event.
        env: a MiniGrid env; it is reset and stepped.
        subgoals: those judged; the plans' (`task_subgoals`) by default.
        steps: of each env.
        seed: of the env and of random actions.
        policy: what plays, mixed with chance (see `record_transitions`); one that follows the task's progress by
            default.

    Returns:
        The agreement about each subgoal, by its sentence.

    Raises:
        TypeError: no MiniGrid env.
        ValueError: a task without a plan.
    """
    goals = task_subgoals(env) if subgoals is None else list(subgoals)
    recorded = record_transitions(env, steps, policy or Lookahead(env.unwrapped), seed)
    codes, row = encode(recorded.state, recorded.next_state).unique(return_inverse=True)
    found = {}
    for goal in goals:
        answers = judge.judge([Question(goal, code) for code in codes.tolist()])
        said = torch.tensor([answer is True for answer in answers])[row]
        true = terminates(goal, recorded.state, recorded.next_state)
        found[goal.sentence] = Agreement(
            right=int((said & true).sum()), wrong=int((said & ~true).sum()), missed=int((~said & true).sum()),
            unanswered=answers.count(None),
        )  # fmt: skip
    return found


def agreement_on(judge: TransitionJudge, asked: Sequence[Asked]) -> Mapping[str, Agreement]:
    """Hold a judge against the truth of questions such as `sample` draws; by sentence, as `agreement`."""
    found: dict[str, Agreement] = {}
    answers = judge.judge([one.question for one in asked])
    for one, answer in zip(asked, answers, strict=True):
        counted = Agreement(
            right=int(one.truth and answer is True), wrong=int(not one.truth and answer is True),
            missed=int(one.truth and answer is not True), unanswered=int(answer is None),
        )  # fmt: skip
        name = one.question.subgoal.sentence
        found[name] = found[name] + counted if name in found else counted
    return found
