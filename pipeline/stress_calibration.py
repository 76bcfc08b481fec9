"""The stream 'calibration': does a threshold without labels keep what it promises, for long?

Synthetic on-arrival scores go through the line's judge, a thousand after the
other; beside it the obvious way, a threshold from the scores that were accepted,
which cuts its own tail off and rejects more each time. Scores only: no frames,
no backbone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.judge import TailJudge
from pipeline.proportion import Proportion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.judge import Judge

Scores = npt.NDArray[np.float64]
Family = Literal["lognormal", "student_t", "gumbel"]

FAMILIES: tuple[Family, ...] = ("lognormal", "student_t", "gumbel")
"""ln(score) is Gaussian; has heavy tails (Student's t, 5 degrees of freedom); is skewed."""
SPREAD = 0.12
"""Deviation of ln(score), near that of solar cells' middle half."""
MIDDLE = math.exp(-0.95)
"""The median score: that of 31 peers."""
DEFECT_SHARES = (0.0, 0.02)
"""Of the parts that are defective."""
DEFECT_TIMES = (1.3, 2.5)
"""How much higher a defective part scores than a good one, evenly spread."""
THOUSAND = 1000
PEERS = 31
TARGETS = (50.0, 20.0, 10.0, 5.0)
"""Tolerated rejects per 1000 that are tried."""


def draw_scores(
    family: Family, count: int, defect_share: float, seed: int
) -> tuple[Scores, npt.NDArray[np.bool_]]:
    """Draw the scores of a line's parts.

    Returns:
        The scores [count] in the order of their arrival, and which are of defective parts [count].
    """
    rng = np.random.default_rng(seed)
    draws = {
        "lognormal": lambda: rng.standard_normal(count),
        "student_t": lambda: rng.standard_t(5, count),
        "gumbel": lambda: rng.gumbel(size=count),
    }
    scores = MIDDLE * np.exp(SPREAD * draws[family]())
    defective = rng.random(count) < defect_share
    scores[defective] *= rng.uniform(*DEFECT_TIMES, int(defective.sum()))
    return scores, defective


def rejected_by(judge: Judge, scores: Iterable[float]) -> npt.NDArray[np.bool_]:
    """Let a judge decide about scores that it learns one after the other, [n]."""
    rejected = []
    for score in scores:
        threshold = judge.threshold()
        rejected.append(threshold is not None and score >= threshold)
        judge.learn(float(score), PEERS)
    return np.array(rejected, bool)


def rejected_by_accepted(scores: Scores, rejects_per_1000: float) -> npt.NDArray[np.bool_]:
    """Do the same with the naive threshold: after each thousand, the quantile of its accepted."""
    rejected = np.zeros(len(scores), bool)
    threshold = math.inf
    for first in range(0, len(scores), THOUSAND):
        part = scores[first : first + THOUSAND]
        if first == 0:  # without a threshold yet, the first thousand sets its own
            threshold = float(np.quantile(part, 1 - rejects_per_1000 / 1000))
        rejected[first : first + THOUSAND] = part >= threshold
        accepted = part[part < threshold]
        threshold = float(np.quantile(accepted, 1 - rejects_per_1000 / 1000))
    return rejected


def calibration(
    *,
    family: Family = "lognormal",
    count: int = 6000,
    rejects_per_1000: float = 20.0,
    defect_share: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Run one stream through the line's judge and through the naive one.

    Args:
        family: What ln(score) of good parts is like.
        count: Parts, a multiple of 1000.
        rejects_per_1000: What the operator tolerates.
        defect_share: Share of defective parts in [0, 1).
        seed: Decides about all scores.

    Returns:
        The arguments; for the naive threshold (``plain``) and the judge (``guarded``)
        ``..._false_rejects``, a list with one number per thousand good parts for each thousand,
        and ``..._recall``, the share of the defective parts that was rejected, None without any;
        and ``held``, whether the judge rejects no more than double the tolerated share of good
        parts in any thousand nor, where there are no defective parts, less than half of it.

    Raises:
        ValueError: ``count`` is not a multiple of 1000.
    """
    if count < THOUSAND or count % THOUSAND:
        msg = f"count = {count}: must be a multiple of {THOUSAND}"
        raise ValueError(msg)
    scores, defective = draw_scores(family, count, defect_share, seed)
    by_side = {
        "plain": rejected_by_accepted(scores, rejects_per_1000),
        "guarded": rejected_by(TailJudge(rejects_per_1000, 16, 10_000), scores),
    }
    good = 1 - _per_thousand(defective) / THOUSAND
    found: dict[str, Any] = {
        "family": family,
        "count": count,
        "rejects_per_1000": rejects_per_1000,
        "defect_share": defect_share,
        "seed": seed,
    }
    for side, rejected in by_side.items():
        false = _per_thousand(rejected & ~defective) / good
        found[f"{side}_false_rejects"] = [round(one, 1) for one in false.tolist()]
        found[f"{side}_recall"] = float(rejected[defective].mean()) if defective.any() else None
    false = found["guarded_false_rejects"]
    few = not defective.any() and min(false) < rejects_per_1000 / 2
    return {**found, "held": max(false) <= 2 * rejects_per_1000 and not few}


def realised_rejects(good: npt.ArrayLike, rejects_per_1000: float, warm_up: int = 16) -> Proportion:
    """Return what the judge rejects of good parts that really came.

    Args:
        good: On-arrival scores of good parts [n], in their order, each with enough peers.
        rejects_per_1000: What the operator tolerates.
        warm_up: First scores that are learnt and do not count, at least the judge's 16.
    """
    scores = np.asarray(good, np.float64)
    rejected = rejected_by(TailJudge(rejects_per_1000, 16, 10_000), scores)[warm_up:]
    return Proportion(int(rejected.sum()), len(rejected))


def _per_thousand(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = flags.reshape(-1, THOUSAND).sum(axis=1)
    return counts
