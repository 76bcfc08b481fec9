"""How well a share is known that was counted: its 95 % interval.

Wilson's interval, because it needs no tables, never leaves [0, 1] and is honest
where nothing was counted: of 0 in 100 the share is up to 3.7 %.

Source: Wilson, "Probable inference, the law of succession, and statistical
inference", JASA 22, 1927; Brown, Cai and DasGupta, "Interval estimation for a
binomial proportion", Statistical Science 16, 2001.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

Z_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Proportion:
    """A counted share: how many of how many, and between what the true share lies."""

    count: int
    of: int

    def __post_init__(self) -> None:
        """Refuse a count that is no part of the whole."""
        if not 0 <= self.count <= self.of:
            msg = f"count = {self.count}: must be in 0..{self.of}"
            raise ValueError(msg)

    @property
    def share(self) -> float | None:
        """The counted share in [0, 1]; None of nothing."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high end of the 95 % interval, in [0, 1]; all of it of nothing."""
        if not self.of:
            return 0.0, 1.0
        share, shrink = self.count / self.of, Z_95**2 / self.of
        centre = share + shrink / 2
        reach = Z_95 * math.sqrt((share * (1 - share) + shrink / 4) / self.of)
        low = (centre - reach) / (1 + shrink) if self.count else 0.0
        high = (centre + reach) / (1 + shrink) if self.count < self.of else 1.0
        return low, high
