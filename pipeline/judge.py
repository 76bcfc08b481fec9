"""From a score to PASS or FAIL: the threshold now in force.

``RobustZ`` needs no labels: normal parts make the bulk of a line's scores, so
median and median absolute deviation of ln(score) describe them even when some
parts are bad, and the tolerated share of rejects names the quantile. The
deviation is taken below the median only, because that half is free of
defects. It knows nothing of windows, cameras or messages.
"""

from __future__ import annotations

import math
from collections import deque
from statistics import NormalDist
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.config_method import CALIBRATION_PEERS

if TYPE_CHECKING:
    from pipeline.config_method import JudgeSettings

MAD_TO_SIGMA = 1.4826
LEAST_SIGMA = 0.01
"""Scores that hardly differ must not make every other part a reject: 1 % in score."""


class Judge(Protocol):
    """Sets thresholds; a score at or above the threshold fails."""

    def threshold(self) -> float | None:
        """Return the threshold, or None while there is too little to set it by."""
        ...

    def learn(self, score: float, peers: int) -> None:
        """Take note of an on-arrival score and the number of its peers."""
        ...


class FixedThreshold:
    """A threshold that somebody chose."""

    def __init__(self, threshold: float) -> None:
        """Use ``threshold`` from the first score on."""
        self._threshold = threshold

    def threshold(self) -> float | None:
        """Return the chosen threshold."""
        return self._threshold

    def learn(self, score: float, peers: int) -> None:
        """Learn nothing."""


class RobustZ:
    """exp(median + z * sigma) of ln(score) over the latest scores, rejected ones included."""

    def __init__(self, rejects_per_1000: float, min_scores: int, history_scores: int) -> None:
        """Set the quantile by the tolerated rejects in a thousand parts."""
        self._z = _robust_z(rejects_per_1000)
        self._min_scores = min_scores
        self._logs: deque[float] = deque(maxlen=history_scores)

    def threshold(self) -> float | None:
        """Return the threshold, or None before ``min_scores`` scores."""
        if len(self._logs) < self._min_scores:
            return None
        return _quantile(np.asarray(self._logs), self._z)

    def learn(self, score: float, peers: int) -> None:
        """Keep a positive score that had enough peers to be comparable."""
        if peers >= CALIBRATION_PEERS and score > 0:
            self._logs.append(math.log(score))


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
    return _quantile(np.log(positive), _robust_z(rejects_per_1000))


def _robust_z(rejects_per_1000: float) -> float:
    return NormalDist().inv_cdf(1 - rejects_per_1000 / 1000)


def _quantile(logs: npt.NDArray[np.float64], z: float) -> float:
    median = float(np.median(logs))
    below = median - logs[logs <= median]
    sigma = max(LEAST_SIGMA, MAD_TO_SIGMA * float(np.median(below)))
    return math.exp(median + z * sigma)


def make_judge(settings: JudgeSettings) -> Judge:
    """Return the judge that the config asks for."""
    if settings.method == "fixed" and settings.fixed_threshold is not None:
        return FixedThreshold(settings.fixed_threshold)
    return RobustZ(settings.rejects_per_1000, settings.min_scores, settings.history_scores)
