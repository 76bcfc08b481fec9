"""The upper tail of ln(score): how often a good part reaches a threshold.

Above a high quantile u the excesses of almost any distribution follow a
generalised Pareto distribution (peaks over threshold). Here it is fitted to
scores that a threshold was already applied to, some of them of defective parts:

- A score at or above the threshold then in force counts as "exceeded it", and
  its size is not used. Were it left out, the tail would look shorter each time
  and the threshold would follow it down; were its size used, a few defects would
  stretch the tail beyond all good parts.
- A share of the peaks, of unknown size, is defective and spread widely. Were
  there none, a threshold that tolerates 20 rejects in a thousand would climb
  until no more than 20 of 50 defective parts are rejected.

Shape, scale and that share are weighed on a grid (Bayes' theorem, priors below)
instead of maximised: there is nothing to converge, a handful of peaks gives a
cautious answer, and equal scores always give an equal threshold. Numbers only;
it knows nothing of judges.

Sources: Pickands, "Statistical inference using extreme order statistics",
Annals of Statistics 3, 1975; Coles, "An Introduction to Statistical Modeling of
Extreme Values", 2001, chapter 4.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pipeline.robust_z import Bulk

Values = npt.NDArray[np.float64]

SHAPES = np.linspace(-0.4, 0.4, 9)
"""Of the excesses of ln(score): a Gaussian's look like -0.2 where a line works, Student's
t with 3 degrees of freedom like 0.2."""
SHAPE_PRIOR = (-0.05, 0.15)
"""Mean and deviation: enough to hold a few peaks, too little to hold hundreds."""
SCALES = 24
LEAST_SCALE, MOST_SCALE = 0.05, 8.0
"""Times the deviation of the bulk, or more where the excesses are larger."""
SCALE_PRIOR = (math.log(0.6), 0.7)
"""ln of the scale over the deviation of the bulk: 0.5 for a Gaussian, 1.2 for t with 3."""
DEFECTS = np.concatenate([[1e-4], np.geomspace(0.01, 0.9, 15)])
"""Shares of the peaks that are defective. The first stands for none: a lone defect far beyond
all good scores must not look impossible."""
NONE_PRIOR = 0.5
"""That there are no defects worth speaking of."""
DEFECT_SCALE = 6.0
"""Mean excess of defective parts, times the deviation of the bulk."""
BLOCKS = 64
"""Sorted excesses are averaged in so many blocks: the likelihood is smooth."""
LIMITS = 4
"""Groups that the thresholds then in force are averaged in."""
HALVINGS = 40
"""Of the search for a quantile: to 1e-12 of its range."""
NEAR_ZERO = 1e-9
LEAST = 1e-300
"""Stands for a density of 0, whose logarithm is wanted."""


class Tail(NamedTuple):
    """What is known of the tail: weighted generalised Pareto distributions above a level."""

    level: float
    """u, as ln(score)."""
    rates: Values
    """[shapes, scales], how often a good part exceeds u, times the weight of shape and scale."""
    scales: Values
    """[scales], in ln(score)."""

    def exceedance(self, log: float) -> float:
        """Return the probability that a good part's ln(score) exceeds ``log`` >= u."""
        return float((self.rates * _survival(log - self.level, self.scales)).sum())

    def quantile(self, rejects_per_1000: float) -> float:
        """Return ln of the score that so many of 1000 next good parts exceed; u at least."""
        low, high = self.level, self.level + float(self.scales[-1])
        while self.exceedance(high) > rejects_per_1000 / 1000:
            low, high = high, high + 2 * (high - self.level)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            above = self.exceedance(middle) > rejects_per_1000 / 1000
            low, high = (middle, high) if above else (low, middle)
        return high


def fit_tail(logs: Values, limits: Values, most: Bulk, rejects_per_1000: float) -> Tail | None:
    """Weigh what the tail can be.

    Args:
        logs: ln(score) [n], of every part, rejected ones included.
        limits: ln of the threshold in force when each came [n]; inf where there was none.
        most: The bulk of the same scores.
        rejects_per_1000: Where the tail will be asked; more peaks are used for more rejects.

    Returns:
        None where no score is below its limit, or none above the level.
    """
    seen = logs < limits
    if not seen.any():
        return None
    within = (1 - peaks_share(rejects_per_1000)) / (1 - rejects_per_1000 / 1000)
    level = float(np.quantile(logs[seen], within))
    above = logs > level
    peaks, limit = logs[seen & above] - level, limits[~seen & above] - level
    if not peaks.size:
        return None
    scales = _scales(peaks, most)
    evidence = (
        _log_prior(scales, most)
        + _log_peaks(np.sort(peaks), scales, DEFECT_SCALE * most.sigma)
        + _log_exceeded(np.sort(np.maximum(limit, 0)), scales, DEFECT_SCALE * most.sigma)
    )
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    share = (above.sum() + 0.5) / (len(logs) + 1)
    defects = DEFECTS[:, None, None]
    good = share * (1 - defects) / (1 - share * defects)
    return Tail(level, (weights * good).sum(axis=0), scales)


def peaks_share(rejects_per_1000: float) -> float:
    """Return the share of all scores that the tail is fitted to."""
    return min(0.5, max(0.2, 4 * rejects_per_1000 / 1000))


def _scales(peaks: Values, most: Bulk) -> Values:
    largest = max(MOST_SCALE * most.sigma, 4 * float(peaks.mean()))
    scales: Values = np.geomspace(LEAST_SCALE * most.sigma, largest, SCALES)
    return scales


def _log_prior(scales: Values, most: Bulk) -> Values:
    """Return the logarithm of the prior, [defects, shapes, scales]."""
    shape, spread = SHAPE_PRIOR
    size, spread_of_size = SCALE_PRIOR
    of_shape = -0.5 * ((SHAPES - shape) / spread) ** 2
    of_scale = -0.5 * ((np.log(scales / most.sigma) - size) / spread_of_size) ** 2
    each = (1 - NONE_PRIOR) / (len(DEFECTS) - 1)
    of_defects = np.log(np.array([NONE_PRIOR] + [each] * (len(DEFECTS) - 1)))
    prior: Values = of_defects[:, None, None] + of_shape[:, None] + of_scale
    return prior


def _log_peaks(peaks: Values, scales: Values, defect_scale: float) -> Values:
    """Return the logarithm of the density of all peaks, [defects, shapes, scales]."""
    values, sizes = _grouped(peaks, BLOCKS)
    good = _density(values[:, None, None], scales)
    defective = np.exp(-values / defect_scale)[:, None, None] / defect_scale
    return _log_mixture(good, defective, sizes)


def _log_exceeded(limits: Values, scales: Values, defect_scale: float) -> Values:
    """Return the logarithm of the probability of all that was exceeded, likewise."""
    values, sizes = _grouped(limits, LIMITS)
    good = _survival(values[:, None, None], scales)
    return _log_mixture(good, np.exp(-values / defect_scale)[:, None, None], sizes)


def _log_mixture(good: Values, defective: Values, sizes: Values) -> Values:
    defects = DEFECTS[:, None, None, None]
    mixed = (1 - defects) * good + defects * defective
    summed: Values = np.einsum("dnxs,n->dxs", np.log(np.maximum(mixed, LEAST)), sizes)
    return summed


def _density(excess: Values, scales: Values) -> Values:
    """Return the generalised Pareto density, with [shapes, scales] as the last two axes."""
    inside = _inside(excess, scales)
    survival = _survival(excess, scales)
    return np.where(inside > 0, survival / (np.maximum(inside, LEAST) * scales), 0.0)


def _survival(excess: float | Values, scales: Values) -> Values:
    """Return the probability of a larger excess; 1 at 0, and 0 beyond the end of a short tail."""
    shapes = SHAPES[:, None]
    zero = np.abs(shapes) < NEAR_ZERO
    logs = np.log(np.maximum(_inside(excess, scales), LEAST))
    return np.where(zero, np.exp(-excess / scales), np.exp(-logs / np.where(zero, 1.0, shapes)))


def _inside(excess: float | Values, scales: Values) -> Values:
    return 1 + SHAPES[:, None] * (excess / scales)


def _grouped(ordered: Values, groups: int) -> tuple[Values, Values]:
    """Return means and sizes of at most ``groups`` equally large groups of sorted values."""
    if not ordered.size:
        return ordered, ordered
    parts = np.array_split(ordered, min(groups, len(ordered)))
    return np.array([part.mean() for part in parts]), np.array([float(len(part)) for part in parts])
