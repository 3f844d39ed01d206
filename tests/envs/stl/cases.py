"""What the property-based tests of robustness draw, and how they compare."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

TAILS = ("defined", "weak", "strong", "truncate")
SEEDS = st.integers(0, 2**32)


def cases(count: int) -> settings:
    """This many examples, the same ones in each run."""
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


def traces(seed: int, batch: int, length: int, whole: bool = True) -> dict[str, torch.Tensor]:
    """Random margins, small whole numbers (so that ties are frequent) or normal."""
    rng = torch.Generator().manual_seed(seed)
    draws = torch.randn(3, batch, length, generator=rng, dtype=torch.float64)
    return dict(zip("abc", (draws * 3).round() if whole else draws, strict=True))


def same(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether two tensors are equal, NaN where the other is."""
    return bool(((x == y) | (x.isnan() & y.isnan())).all())
