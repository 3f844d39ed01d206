"""Random formulas and intervals for property-based tests."""

from collections.abc import Sequence

from hypothesis import strategies as st

from cairngym.envs.stl.formula import (
    Always,
    And,
    Constant,
    Eventually,
    Formula,
    Implies,
    Interval,
    Not,
    Or,
    Predicate,
    Release,
    Until,
    WeakUntil,
)


def intervals(max_bound: int = 4, bounded: bool = True) -> st.SearchStrategy[Interval]:
    """Intervals with bounds up to `max_bound`; without `bounded` also ones that never end."""
    ends = st.lists(st.integers(0, max_bound), min_size=2, max_size=2).map(sorted).map(lambda ends: Interval(*ends))
    return ends if bounded else ends | st.integers(0, max_bound).map(Interval)


def formulas(
    max_depth: int = 3,
    predicates: Sequence[str] = ("a", "b", "c"),
    max_bound: int = 4,
    bounded: bool = True,
    constants: bool = True,
) -> st.SearchStrategy[Formula]:
    """Formulas of every kind of operator, nested up to `max_depth` deep; leaves are predicates and constants."""
    leaves: st.SearchStrategy[Formula] = st.sampled_from(list(predicates)).map(Predicate)
    if constants:
        leaves |= st.booleans().map(Constant)
    found = leaves
    for _ in range(max_depth):
        found = leaves | _compound(found, intervals(max_bound, bounded))
    return found


def _compound(parts: st.SearchStrategy[Formula], within: st.SearchStrategy[Interval]) -> st.SearchStrategy[Formula]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Not, parts),
        st.builds(And, several),
        st.builds(Or, several),
        st.builds(Implies, parts, parts),
        st.builds(Eventually, parts, within),
        st.builds(Always, parts, within),
        st.builds(Until, parts, parts, within, st.booleans()),
        st.builds(Release, parts, parts, within, st.booleans()),
        st.builds(WeakUntil, parts, parts, within, st.booleans()),
    )
