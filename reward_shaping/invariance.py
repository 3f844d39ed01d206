"""Does a shaper leave the optimal policies as they are? Solved exactly on small worlds, for any shaper.

`check_policy_invariance` asks the shaper for the value of every transition of a `TabularWorld`, solves the world by
value iteration with and without it, and holds the two sets of optimal policies against each other.

Example:
    >>> from cairngym.reward_shaping.potential import PotentialShaper
    >>> world, task = dead_end_world()
    >>> bool(check_policy_invariance(PotentialShaper(gamma=0.99, scale=1.0), world, task, gamma=0.99))
    True
    >>> naive = PotentialShaper(gamma=0.99, scale=1.0, terminal="keep")
    >>> bool(check_policy_invariance(naive, world, task, gamma=0.99))
    False
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cairngym.envs.core import Task, TensorEnv, Transition
from cairngym.envs.tabular import TabularTask, TabularWorld
from cairngym.reward_shaping.core import Shaper


@dataclass(frozen=True, kw_only=True)
class InvarianceReport:
    """What value iteration found; true if the shaper left the optimal policies as they are."""

    invariant: bool
    """Whether `regret`, `missed` and `truncation` are all within the tolerance."""
    regret: float
    """Discounted task reward lost, from the worst state, by the worst policy optimal under the shaped reward."""
    missed: float
    """Discounted shaped reward lost, from the worst state, by the worst policy that is optimal for the task."""
    truncation: float
    """Largest difference the `truncated` flag makes to the term. An agent that bootstraps at time limits needs none."""
    states: tuple[int, ...]
    """The states where some action is optimal under the shaped reward but not for the task."""
    failure_gain: float
    """Largest term paid for a step into failure. Above zero, failing looks good to a learner whose values are zero."""
    success_gain: float
    """Smallest task reward plus term of a step into success. Below zero, success looks bad to such a learner."""

    def __bool__(self) -> bool:
        return self.invariant


@dataclass(frozen=True, kw_only=True)
class Model:
    """A world under a task as tensors, float64: what value iteration works on."""

    transitions: torch.Tensor
    """`(S, A, S)`, probabilities."""
    reward: torch.Tensor
    """`(S, A, S)`."""
    terminal: torch.Tensor
    """bool `(S,)`; nothing follows from these."""
    gamma: float

    def action_values(self, values: torch.Tensor) -> torch.Tensor:
        """One-step lookahead `(S, A)` from state values `(S,)`."""
        ahead = torch.where(self.terminal, 0.0, values)
        return (self.transitions * (self.reward + self.gamma * ahead)).sum(dim=-1)

    def solve(self, allowed: torch.Tensor | None = None, worst: bool = False) -> torch.Tensor:
        """Action values `(S, A)` of the best policy, or the worst, among those that use `allowed` `(S, A)` actions.

        Raises:
            RuntimeError: if value iteration doesn't converge within 100 000 sweeps.
        """
        sign = -1.0 if worst else 1.0
        forbidden = torch.zeros_like(self.reward[..., 0]) if allowed is None else torch.where(allowed, 0.0, -torch.inf)
        values = torch.zeros_like(self.reward[:, 0, 0])
        for _ in range(100_000):
            actions = self.action_values(values)
            improved = sign * (sign * actions + forbidden).amax(dim=-1)
            change, values = (improved - values).abs().max(), improved
            if change < 1e-10:
                return actions
        raise RuntimeError(f"Value iteration has not converged at gamma={self.gamma}; choose one below 0.9999.")

    def optimal(self, slack: float) -> tuple[torch.Tensor, torch.Tensor]:
        """State values `(S,)` and the actions `(S, A)` within `slack` of the best."""
        actions = self.solve()
        best = actions.amax(dim=-1)
        return best, actions >= best.unsqueeze(-1) - slack

    def regret(self, allowed: torch.Tensor) -> torch.Tensor:
        """Value lost at every state, `(S,)`, by the worst policy that uses only `allowed` actions."""
        worst = torch.where(allowed, self.solve(allowed, worst=True), torch.inf).amin(dim=-1)
        return torch.where(self.terminal, 0.0, self.solve().amax(dim=-1) - worst)


def check_policy_invariance(
    shaper: Shaper,
    world: TabularWorld,
    task: Task,
    gamma: float,
    *,
    weight: float = 1.0,
    tolerance: float = 1e-3,
    bind: bool = True,
) -> InvarianceReport:
    """Solve a small world with and without a shaper and compare the optimal policies.

    Args:
        shaper: any shaper without memory: its value must depend on the transition alone.
        world: a finite world.
        task: a task on it, whose reward does not depend on the length of the episode.
        gamma: the discount both are solved at, below one.
        weight: the term's weight in the reward.
        tolerance: discounted reward that counts as nothing; terms are float32, so 1e-6 / (1 - gamma) is the least.
        bind: whether to bind the shaper to the world, which starts it afresh; False takes one that is bound to it as it
            stands, with what it has learned, and the answer holds for that moment.

    Returns:
        The report; it is true if the policies agree.

    Raises:
        ValueError: a shaper with memory, or a discount that is not in (0, 1).
    """
    if not 0 < gamma < 1:
        raise ValueError(f"Expected gamma in (0, 1), got {gamma}: value iteration needs a discount.")
    if bind:
        shaper.bind(TensorEnv(world, task))
    if shaper.memory:
        raise ValueError(
            f"{type(shaper).__name__} keeps memory, so its value is no function of a transition and the world with it "
            "is not the same Markov decision process; policy invariance can't be solved for here."
        )
    batch, support = _every_transition(world, task)
    term = weight * _table(shaper.shape(batch), support)
    cut = weight * _table(shaper.shape(replace(batch, truncated=torch.ones_like(batch.truncated))), support)
    reward = _table(batch.reward, support)
    success, failure = _table(batch.success, support) > 0, _table(batch.terminated & ~batch.success, support) > 0
    terminal = _terminal(task, world)
    sparse = Model(transitions=world.transitions.double(), reward=reward, terminal=terminal, gamma=gamma)
    shaped = replace(sparse, reward=reward + term)
    # Actions this close to the best lose at most half the tolerance over a whole life.
    slack = tolerance * (1 - gamma) / 2
    (_, for_task), (_, for_shaped) = sparse.optimal(slack), shaped.optimal(slack)
    regret, missed = sparse.regret(for_shaped), shaped.regret(for_task)
    truncation = float((cut - term).abs().max())
    return InvarianceReport(
        invariant=max(float(regret.max()), float(missed.max()), truncation) <= tolerance,
        regret=float(regret.max()),
        missed=float(missed.max()),
        truncation=truncation,
        states=tuple(((for_shaped & ~for_task).any(dim=-1) & (regret > tolerance)).nonzero().flatten().tolist()),
        failure_gain=float(torch.where(failure, term, -torch.inf).max()),
        success_gain=float(torch.where(success, reward + term, torch.inf).min()),
    )


def dead_end_world(num_envs: int = 1) -> tuple[TabularWorld, TabularTask]:
    """A fork: action 0 leads to a dead end of potential 3, action 1 to the goal, of potential 0 and reward 1.

    The smallest world on which a potential that is kept at the end of an episode turns the optimal policy: at discount
    0.99 the dead end pays 0.99 x 3 = 2.97.
    """
    transitions = torch.zeros(3, 2, 3)
    transitions[0, 0, 1] = transitions[0, 1, 2] = 1.0
    transitions[1, :, 1] = transitions[2, :, 2] = 1.0
    task = TabularTask(3, (2,), failures=(1,), potential=torch.tensor([0.0, 3.0, 0.0]))
    return TabularWorld(transitions, torch.tensor([1.0, 0.0, 0.0]), num_envs, "cpu"), task


def _terminal(task: Task, world: TabularWorld) -> torch.Tensor:
    state = {"node": torch.arange(world.num_states, device=world.device)}
    success, failure = task.success(state), task.failure(state)
    return failure | success if task.terminate_on_success else failure


def _every_transition(world: TabularWorld, task: Task) -> tuple[Transition, torch.Tensor]:
    """Every possible transition from a state that is not terminal, and its place, bool `(S, A, S)`."""
    terminal = _terminal(task, world)
    support = (world.transitions > 0) & ~terminal[:, None, None]
    before, action, after = support.nonzero().unbind(dim=1)
    state, next_state = {"node": before}, {"node": after}
    success, failure = task.success(next_state), task.failure(next_state)
    batch = Transition(
        obs=task.observe(state), state=state, action=action,
        next_obs=task.observe(next_state), next_state=next_state,
        reward=task.reward(next_state, success, failure, torch.ones_like(before)).to(torch.float32),
        terminated=terminal[after], truncated=torch.zeros_like(success), success=success, env_id=None,
    )  # fmt: skip
    return batch, support


def _table(values: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
    """Put values `(B,)` at their places `(S, A, S)`, zero elsewhere."""
    table = torch.zeros(support.shape, dtype=torch.float64, device=support.device)
    table[support] = values.detach().to(torch.float64)
    return table
