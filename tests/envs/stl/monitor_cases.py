"""Random formulas, episodes that begin at different times, and the bounds of every prefix by definition."""

import random

import torch

from cairngym.envs.stl.formula import (
    Always,
    And,
    Constant,
    Eventually,
    Interval,
    Not,
    Or,
    Predicate,
    Release,
    Until,
    WeakUntil,
)
from cairngym.envs.stl.monitor import Monitor
from cairngym.envs.stl.robustness import robustness

A, B, C = (Predicate(name) for name in "abc")
TEMPORAL = (Eventually, Always, Until, Release, WeakUntil)


class Generator:
    """Random formulas over a, b and c."""

    def __init__(self, seed, bounded=True, max_bound=4, constants=True):
        self.draw, self.bounded, self.max_bound = random.Random(seed), bounded, max_bound
        self.leaves = [A, B, C, A, B, C] + [Constant(True), Constant(False)] * constants

    def interval(self):
        low, high = sorted(self.draw.randint(0, self.max_bound) for _ in range(2))
        return Interval(low, high if self.bounded or self.draw.random() < 0.6 else None)

    def formula(self, depth, nested=True):
        """Up to `depth` operators deep; unless `nested`, no temporal operator within another."""
        kind = self.draw.randrange(9) if depth else 8
        if kind >= 7 and (kind == 8 or not depth):
            leaf = self.draw.choice(self.leaves)
            return Not(leaf) if self.draw.random() < 0.3 else leaf
        if kind == 7:
            return Not(self.formula(depth - 1, nested))
        if kind >= 5:
            parts = tuple(self.formula(depth - 1, nested) for _ in range(self.draw.randint(2, 3)))
            return self.draw.choice([And, Or])(parts)
        inner = self.formula if nested else self.proposition
        if kind < 2:
            return (Eventually, Always)[kind](inner(depth - 1), self.interval())
        wanted = (Until, Release, WeakUntil)[kind - 2]
        return wanted(inner(depth - 1), inner(depth - 1), self.interval(), self.draw.random() < 0.5)

    def proposition(self, depth):
        """A formula without temporal operators."""
        found = self.formula(depth)
        while any(isinstance(part, TEMPORAL) for part in found.walk()):
            found = self.formula(depth)
        return found

    def path(self, depth):
        """A chain of eventually and until, conjoined with propositions; always may come last."""
        inner = self.path(depth - 1) if depth else self.proposition(1)
        if not depth and self.draw.random() < 0.5:
            inner = Always(inner, self.interval())
        if self.draw.random() < 0.5:
            inner = self.draw.choice([And, Or])((inner, self.proposition(1)))
        if self.draw.random() < 0.5:
            return Eventually(inner, self.interval())
        return Until(self.proposition(1), inner, self.interval(), self.draw.random() < 0.5)


def literals(formula):
    """The formula in negation normal form, with a predicate of its own for each negated one."""
    match formula:
        case Not(Predicate(name)):
            return Predicate(f"{name}_not")
        case And(parts) | Or(parts):
            return type(formula)(tuple(map(literals, parts)))
        case Eventually(of, interval) | Always(of, interval):
            return type(formula)(literals(of), interval)
        case Until(left, right, interval, inclusive) | Release(left, right, interval, inclusive):
            return type(formula)(literals(left), literals(right), interval, inclusive)
    return formula


def bounds(formula, traces, names, last):
    """Robustness of all prefixes of traces (B, L, P) with literals that follow at -inf and +inf: two (B, last + 1)."""
    count = last + 1
    known = torch.arange(count)[None] <= torch.arange(count)[:, None]
    found = []
    for beyond in (-torch.inf, torch.inf):
        margins = {"": torch.zeros(len(traces) * count, count)}
        for column, name in enumerate(names):
            trace = traces[:, None, :count, column]
            for suffix, sign in (("", 1.0), ("_not", -1.0)):
                margins[name + suffix] = torch.where(known, sign * trace, beyond).flatten(0, 1)
        found.append(robustness(literals(formula.nnf()), margins, steps=1).reshape(-1, count))
    return found


def lives(formula, horizon, generator, num_envs=5, episodes=2, **options):
    """Run envs that begin their episodes at different times, some before the last is over.

    Yields what the monitor says at each tick, and for each env its episode and step (-1 before the first).
    """
    monitor = Monitor(formula, num_envs, horizon=horizon, **options)
    last, columns = monitor.last, len(monitor.predicates)
    traces = torch.randint(-9, 10, (num_envs, episodes, last + 1, columns), generator=generator) / 8.0
    gaps = torch.randint(0, last + 4, (num_envs, episodes), generator=generator)
    begins = gaps.cumsum(1)
    rows = torch.arange(num_envs)
    for tick in range(int(begins.max()) + last + 3):
        started = (begins <= tick).sum(1) - 1
        step = torch.where(started >= 0, tick - begins[rows, started.clamp(min=0)], -1)
        margins = traces[rows, started.clamp(min=0), step.clamp(0, last)].clone()
        margins[step > last] = 77.0  # read by no one
        monitor.update(torch.where((step == 0)[:, None], -55.0, margins))
        if bool((step == 0).any()):
            monitor.begin(step == 0, torch.where((step == 0)[:, None], margins, torch.nan))
        yield monitor, traces, started, step
