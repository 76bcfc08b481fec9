"""Mutual scoring with other parts of the peers than the lowest ones, for the papers' ablations.

The distances of a patch to its peers, in rising order, are cut to an interval of
ranks; their mean, lowest or highest is the score. ``Interval()`` is MuSc itself.
Several intervals share the products, which are nearly all of the work.

Source: Li et al., MuSc, ICLR 2024, tables 4 and 10; ranks as in the authors' code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from musc import msm


@dataclass(frozen=True, slots=True)
class Interval:
    """Which peers count, and what is taken of their distances.

    Raises:
        ValueError: Not 0 <= lowest < highest <= 1.
    """

    lowest: float = 0.0
    """Share of the nearest peers that is left out."""

    highest: float = msm.KEEP_LOWEST
    """Share of the peers up to which they count."""

    take: Literal["mean", "min", "max"] = "mean"

    def __post_init__(self) -> None:
        """Check the limits."""
        if not 0.0 <= self.lowest < self.highest <= 1.0:
            limits = f"{self.lowest}..{self.highest}"
            msg = f"the interval is {limits}, wanted 0 <= lowest < highest <= 1"
            raise ValueError(msg)

    def of(self, rising: Tensor) -> Tensor:
        """Return the score [...] of distances [n, ...] to n peers, rising along the first axis.

        Ranks int(lowest * n) to int(highest * n) count, as the authors cut them, but
        at least one.
        """
        peers = len(rising)
        first = min(int(self.lowest * peers), peers - 1)
        kept = rising[first : max(first + 1, int(self.highest * peers))]
        if self.take == "mean":
            return kept.mean(dim=0)
        return kept[0] if self.take == "min" else kept[-1]


MUSC = Interval()
"""The mean of the lowest 30 %."""


def interval_scores(features: Tensor, intervals: Sequence[Interval]) -> Tensor:
    """Score every patch of every frame, once for each interval.

    Args:
        features: As ``msm.mutual_scores`` takes them, [N, G, P, C], N >= 2.
        intervals: V of them.

    Returns:
        [V, N, P], each the mean over the groups.
    """
    frames, groups, patches, _ = features.shape
    wide = msm.wide_dtype(features.dtype)
    shape = (len(intervals), frames, patches)
    total = torch.zeros(shape, dtype=wide, device=features.device)
    for g in range(groups):
        nearest, half_squares = msm.nearest_of_all(features[:, g])
        for i in range(frames):
            peers = torch.cat([nearest[i, :i], nearest[i, i + 1 :]])
            distances = msm.squared_distances(peers, half_squares[i]).sqrt_()
            rising = distances.sort(dim=0).values
            for v, interval in enumerate(intervals):
                total[v, i] += interval.of(rising)
    return total / groups
