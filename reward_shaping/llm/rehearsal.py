"""Transitions of a task to try programs on, recorded in a small env of their own."""

from __future__ import annotations

from dataclasses import replace

from cairngym.envs.core import TensorEnv
from cairngym.envs.registry import list_envs, make
from cairngym.reward_shaping.llm.abstraction import task_id, visible
from cairngym.reward_shaping.llm.findings import Verdict, error
from cairngym.reward_shaping.llm.program_term import compile_for, idle_action
from cairngym.reward_shaping.llm.sandbox import Limits, Sandbox, Standards
from cairngym.reward_shaping.llm.scripted import scripted
from cairngym.reward_shaping.llm.transitions import Recorded, record_transitions

EXPLOITS = ("standing still", "moving away", "cycle", "loitering")
"""What a potential cannot be exploited by, whatever the state scores."""
FLAT = 1e-6
"""Spread of a score, relative to its size, below which it counts as the same everywhere."""
ENVS = 16
STEPS = 200
"""Steps of each env; episodes longer than that are cut, see `record_transitions`."""


def rehearse(env: TensorEnv, *, num_envs: int = ENVS, steps: int = STEPS, seed: int = 0) -> Recorded | None:
    """Record a fresh env of the same id on the CPU; the env given is left as it is.

    Returns:
        The recording, with successes where the env's family has a scripted policy; None for an env without an id (see
        `task_id`), or whose measurements are not those that its id has.
    """
    found = task_id(env)
    if found not in list_envs():
        return None
    fresh = make(found, num_envs=num_envs, seed=seed)
    try:
        if visible(fresh.state_spec) != visible(env.state_spec):
            return None
        if fresh.single_action_space != env.single_action_space:
            return None
        return record_transitions(fresh, steps, scripted(fresh), seed)
    finally:
        fresh.close()


def sandbox_for(
    env: TensorEnv, recorded: Recorded, *, limits: Limits | None = None, standards: Standards | None = None
) -> Sandbox:
    """A sandbox that verifies programs for an env, which see its visible measurements only."""
    return Sandbox(visible(env.state_spec), recorded, limits=limits, standards=standards)


def verify_score(sandbox: Sandbox, env: TensorEnv, source: str) -> Verdict:
    """The verdict on a program whose score becomes a potential, see `ProgramTerm`.

    What an agent might exploit does not count, since a potential leaves optimal policies as they are. A score that is
    the same in every recorded state does: its potential says nothing.
    """
    verdict = sandbox.verify(source)
    findings = tuple(finding for finding in verdict.findings if finding.check not in EXPLOITS)
    if not any(finding.severity == "error" for finding in findings):
        state, program = sandbox.recorded.state, compile_for(env, source)
        idle = idle_action(env.single_action_space)
        score, _ = program(state, idle.expand(len(sandbox.recorded), *idle.shape), state)
        if float(score.max() - score.min()) <= FLAT * max(1.0, float(score.abs().max())):
            said = (
                "With state equal to next_state and an action of zero it pays the same in every state, so that as a "
                "potential it says nothing. Pay for how good next_state is, not for the change."
            )
            findings = (*findings, error("potential", said))
    accepted = not any(finding.severity == "error" for finding in findings)
    return replace(verdict, accepted=accepted, findings=findings)
