"""A threshold from few scores: median and spread of ln(score), and a quantile.

Normal parts make the bulk of a line's scores, so median and median absolute
deviation describe them even when some parts are bad. The deviation is taken
below the median only, because that half is free of defects.

The spread of few scores is itself uncertain, and the quantile of a Gaussian
that takes it for exact rejects several times what was tolerated. Student's t
with as many degrees of freedom as the spread is worth gives the quantile that a
next score exceeds that often; with hundreds of scores it is the Gaussian's.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAD_TO_SIGMA = 1.4826
LEAST_SIGMA = 0.01
"""Scores that hardly differ must not make every other part a reject: 1 % in score."""
FREEDOM_PER_SCORE = 0.18
"""The median deviation of half the scores varies by 1.65 / sqrt(n) of itself; a standard
deviation of f degrees of freedom by 1 / sqrt(2 f), so that f = 0.18 n."""
LEAST_FREEDOM = 2.0
"""Below that Student's t has no spread at all; so few scores are never asked for a threshold."""


class Bulk(NamedTuple):
    """What most of the scores are like, as ln(score)."""

    median: float
    sigma: float
    scores: int

    def quantile(self, rejects_per_1000: float) -> float:
        """Return ln of the score that so many of 1000 next scores reach or exceed."""
        t = student_t(_z(rejects_per_1000), FREEDOM_PER_SCORE * self.scores)
        return self.median + t * self.sigma

    def gaussian(self, rejects_per_1000: float) -> float:
        """Return the same if median and spread were exact: lower where there are few scores."""
        return self.median + _z(rejects_per_1000) * self.sigma


def bulk(logs: npt.NDArray[np.float64]) -> Bulk:
    """Describe at least one ln(score)."""
    median = float(np.median(logs))
    below = median - logs[logs <= median]
    sigma = max(LEAST_SIGMA, MAD_TO_SIGMA * float(np.median(below)))
    return Bulk(median, sigma, len(logs))


def robust_threshold(scores: npt.ArrayLike, rejects_per_1000: float) -> float:
    """Return the robust-z threshold of a whole set of scores.

    Args:
        scores: At least one positive score; others are left out.
        rejects_per_1000: Tolerated rejects in a thousand parts, between 0 and 500.

    Raises:
        ValueError: No positive score.
    """
    values = np.asarray(scores, np.float64)
    positive = values[values > 0]
    if not positive.size:
        msg = "no positive score to set a threshold by"
        raise ValueError(msg)
    return math.exp(bulk(np.log(positive)).quantile(rejects_per_1000))


def student_t(z: float, freedom: float) -> float:
    """Return the quantile of Student's t where the standard normal's is ``z``.

    Good to 2 % from 3 degrees of freedom and z up to 3.5. Source: Wallace, "Bounds on
    normal approximations to Student's and the chi-square distributions", Annals of
    Mathematical Statistics 30, 1959; the constants are Peizer and Pratt's, JASA 63, 1968.
    """
    freedom = max(freedom, LEAST_FREEDOM)
    shrink = (freedom - 5 / 6) / (freedom - 2 / 3 + 0.1 / freedom) ** 2
    return math.copysign(math.sqrt(freedom * math.expm1(shrink * z * z)), z)


def _z(rejects_per_1000: float) -> float:
    return NormalDist().inv_cdf(1 - rejects_per_1000 / 1000)
