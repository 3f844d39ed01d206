"""One for every subgoal that a judge sees end, once an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from cairngym.envs.core import TensorEnv, Transition
from cairngym.reward_shaping.core import Shaper
from cairngym.reward_shaping.llm.beacons.observation import minigrid_world
from cairngym.reward_shaping.llm.beacons.subgoals import Subgoal
from cairngym.reward_shaping.llm.calm.events import FIELDS, encode
from cairngym.reward_shaping.llm.calm.judges import Question, RecordedJudge, RuleJudge, TransitionJudge
from cairngym.reward_shaping.llm.calm.prompts import decompose
from cairngym.reward_shaping.llm.calm.terminations import task_subgoals
from cairngym.reward_shaping.llm.provider import make_provider

MOST_WAITING = 256
"""Steps whose events are kept before those that are the same are thrown out."""
BLANK = -1
"""No event."""


class CalmShaper(Shaper):
    """The number of subgoals that end with the transition, each once an episode.

    A judge says of each different event (what hand, pose and the cell before the agent come to, as a text) which
    subgoals end with it. Judgements are kept, so that a task takes finitely many; what has not been judged pays nothing
    until the next `update` has asked. After CALM (Pignatelli et al., "Assessing the zero-shot capabilities of LLMs for
    action evaluation in RL", arXiv 2409.12798), which judges recorded transitions and trains nothing on them. Not
    policy-invariant.

    Args:
        judge: "rule"; a provider as `make_provider` takes it, such as "recorded:", on whose judgements of a few
            transitions of the task a rule is learned (`RecordedJudge`); or a `TransitionJudge`, such as a
            `BackgroundJudge`, which asks a model about every event and never lets the learner wait for it.
        subgoals: "plan" for those that the plans of the task's levels have in common; a provider that splits the task,
            such as "recorded:"; or the subgoals themselves.
        noise: share of the judge "rule"'s answers that are wrong, always the same ones.

    Raises:
        TypeError: an env of another family.
        ValueError: noise out of its range or for another judge; a task without a plan, or that a model split into
            nothing that makes sense.
        ProviderError: what a model should say can't be had.
    """

    memory = True
    requires = FIELDS

    def __init__(
        self,
        *,
        judge: str | TransitionJudge = "rule",
        subgoals: str | Sequence[Subgoal] = "plan",
        noise: float = 0.0,
    ) -> None:
        if noise and judge != "rule":
            raise ValueError(f"Expected noise with judge='rule' only, got noise={noise} with {judge!r}.")
        self._rule = RuleJudge(noise)
        self._judge, self._given = judge, subgoals

    def bind(self, env: TensorEnv) -> None:
        """Find subgoals and judge, and begin without judgements."""
        minigrid_world(env)
        self.subgoals = self._find_subgoals(env)
        self.judge = self._find_judge(env)
        self._device = env.device
        self._events = torch.empty(0, dtype=torch.int64, device=env.device)
        self._ends = torch.empty(0, len(self.subgoals), dtype=torch.bool, device=env.device)
        self._known = self._ends.clone()
        self._ended = torch.zeros(env.num_envs, len(self.subgoals), dtype=torch.bool, device=env.device)
        self._waiting: list[torch.Tensor] = []

    def _find_subgoals(self, env: TensorEnv) -> tuple[Subgoal, ...]:
        if not isinstance(self._given, str):
            found = list(self._given)
        elif self._given == "plan":
            found = task_subgoals(env)
        else:
            with make_provider(self._given) as provider:
                found = decompose(env, provider)
        if not found:
            raise ValueError(
                f"Expected subgoals, got none from {self._given!r}; subgoals='plan' takes those of the levels' plans."
            )
        return tuple(found)

    def _find_judge(self, env: TensorEnv) -> TransitionJudge:
        if not isinstance(self._judge, str):
            return self._judge
        if self._judge == "rule":
            return self._rule
        with make_provider(self._judge) as provider:
            return RecordedJudge.learn(env, provider, self.subgoals)

    def _look_up(self, events: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Which subgoals end with the events, and of which it was judged whether they do, bool `(B, K)` each."""
        if not len(self._events):
            nothing = torch.zeros(len(events), len(self.subgoals), dtype=torch.bool, device=self._device)
            return nothing, nothing.clone()
        place = torch.searchsorted(self._events, events).clamp(max=len(self._events) - 1)
        found = (self._events[place] == events).unsqueeze(1)
        return self._ends[place] & found, self._known[place] & found

    def _ending(self, transition: Transition) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if transition.env_id is None:
            raise ValueError("Subgoals end once in a running episode; keep the value that was collected.")
        events = encode(transition.state, transition.next_state)
        ends, known = self._look_up(events)
        return ends & ~self._ended[transition.env_id], known.all(1), events

    def shape(self, transition: Transition) -> torch.Tensor:
        """How many subgoals end, float32 `(B,)`."""
        return self._ending(transition)[0].sum(1).to(torch.float32)

    def observe(self, transition: Transition) -> None:
        """Remember what ended, and what has to be judged."""
        ends, known, events = self._ending(transition)
        if transition.valid is not None:
            ends, known = ends & transition.valid.unsqueeze(1), known | ~transition.valid
        self._ended[transition.env_id] |= ends
        if self._device.type == "cpu":
            unknown = events[~known]
            if len(unknown):
                self._waiting.append(unknown)
        else:
            self._waiting.append(torch.where(known, BLANK, events))
        if len(self._waiting) > MOST_WAITING:
            self._waiting = [self._unjudged()]

    def begin(self, mask: torch.Tensor) -> None:
        """Forget the ends of the masked envs' episodes."""
        self._ended = self._ended & ~mask.unsqueeze(1)

    def _unjudged(self) -> torch.Tensor:
        """The different events that wait for a judgement, in ascending order."""
        if not self._waiting:
            return self._events[:0]
        events = torch.cat(self._waiting).unique()
        return events[(events != BLANK) & ~self._look_up(events)[1].all(1)]

    def update(self) -> dict[str, float]:
        """Have the judge say what has not been judged; unanswered questions are asked again when they come again."""
        events = self._unjudged()
        ends, known = self._look_up(events)
        codes, asked = events.tolist(), (~known).nonzero()
        questions = [Question(self.subgoals[goal], codes[row]) for row, goal in asked.tolist()]
        answers = self.judge.judge(questions) if questions else []
        rows, goals = asked.unbind(1)
        ends[rows, goals] = torch.tensor([answer is True for answer in answers], dtype=torch.bool, device=self._device)
        known[rows, goals] = torch.tensor(
            [answer is not None for answer in answers], dtype=torch.bool, device=self._device
        )
        self._keep(events, ends, known)
        self._waiting = []
        return {
            "judged": float(self._known.all(1).sum()),
            "asked": float(len(answers)),
            "unanswered": float(answers.count(None)),
            "ends": float(self._ends.sum()),
        }

    def _keep(self, events: torch.Tensor, ends: torch.Tensor, known: torch.Tensor) -> None:
        """Put rows into the table, in the place of those about the same events."""
        other, some = ~torch.isin(self._events, events), known.any(1)
        self._events, order = torch.cat((self._events[other], events[some])).sort()
        self._ends = torch.cat((self._ends[other], ends[some]))[order]
        self._known = torch.cat((self._known[other], known[some]))[order]

    def get_state(self) -> dict[str, Any]:
        """Copy the judgements, what waits for one, and what ended in the episodes."""
        return {
            "subgoals": [goal.sentence for goal in self.subgoals],
            "events": self._events.clone(),
            "ends": self._ends.clone(),
            "known": self._known.clone(),
            "ended": self._ended.clone(),
            "waiting": self._unjudged().clone(),
        }

    def set_state(self, snapshot: Mapping[str, Any]) -> None:
        """Return to a copy.

        Raises:
            ValueError: it is of other subgoals.
        """
        ours = [goal.sentence for goal in self.subgoals]
        if snapshot["subgoals"] != ours:
            raise ValueError(f"Expected a snapshot of the subgoals {ours}, got {snapshot['subgoals']}.")
        self._events, self._ends = snapshot["events"].clone(), snapshot["ends"].clone()
        self._known, self._ended = snapshot["known"].clone(), snapshot["ended"].clone()
        self._waiting = [snapshot["waiting"].clone()] if len(snapshot["waiting"]) else []
