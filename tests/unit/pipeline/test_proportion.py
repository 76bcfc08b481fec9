"""Intervals of counted shares."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.proportion import Proportion


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 100, 0.0, 0.0370), (10, 100, 0.0552, 0.1744), (100, 100, 0.9630, 1.0), (0, 0, 0.0, 1.0)],
)
def test_known_intervals(count: int, of: int, low: float, high: float) -> None:
    """Wilson's interval at published values, within [0, 1], and all of it of nothing."""
    found = Proportion(count, of)

    assert found.interval == pytest.approx((low, high), abs=5e-5)
    assert found.share == (count / of if of else None)


@pytest.mark.parametrize("share", [0.005, 0.02, 0.2])
def test_interval_covers_the_true_share(share: float) -> None:
    """Of many counts of 1000 the interval holds the true share in 92 to 98 of 100."""
    counts = np.random.default_rng(0).binomial(1000, share, 2000)

    ends = [Proportion(int(count), 1000).interval for count in counts]

    assert 0.92 <= np.mean([low <= share <= high for low, high in ends]) <= 0.98


@pytest.mark.parametrize(("count", "of"), [(-1, 5), (6, 5)])
def test_count_is_part_of_the_whole(count: int, of: int) -> None:
    """A count outside 0..of is refused with both numbers."""
    with pytest.raises(ValueError, match=f"count = {count}: must be in 0..{of}"):
        Proportion(count, of)
