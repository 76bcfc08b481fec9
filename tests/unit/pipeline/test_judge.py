"""Thresholds come from the line's own scores, and only when there are enough."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.config_method import JudgeSettings
from pipeline.judge import FixedThreshold, RobustZ, make_judge


def test_no_threshold_before_enough_scores() -> None:
    """With one score too few there is no threshold."""
    judge = RobustZ(20, min_scores=16, history_scores=100)
    for _ in range(15):
        judge.learn(1.0, peers=8)

    before = judge.threshold()
    judge.learn(1.0, peers=8)

    assert before is None
    assert judge.threshold() is not None


@pytest.mark.parametrize(("score", "peers"), [(1.0, 7), (0.0, 31), (-1.0, 31)])
def test_incomparable_scores_are_not_learnt(score: float, peers: int) -> None:
    """Scores with few peers, or that have no logarithm, never set a threshold."""
    judge = RobustZ(20, min_scores=8, history_scores=100)

    for _ in range(50):
        judge.learn(score, peers)

    assert judge.threshold() is None


@pytest.mark.parametrize("rejects_per_1000", [10, 50, 200])
def test_share_of_rejects_is_met_on_lognormal_scores(rejects_per_1000: float) -> None:
    """On lognormal scores the rejected share is the tolerated one, within its error."""
    scores = np.random.default_rng(1).lognormal(-1, 0.2, 20_000)
    judge = RobustZ(rejects_per_1000, min_scores=16, history_scores=20_000)
    for score in scores:
        judge.learn(float(score), peers=31)

    threshold = judge.threshold()

    assert threshold is not None
    assert np.mean(scores >= threshold) * 1000 == pytest.approx(rejects_per_1000, rel=0.15)


def test_defects_hardly_move_the_threshold() -> None:
    """One defective part in ten moves the threshold by less than half a sigma."""
    rng = np.random.default_rng(2)
    normal = rng.lognormal(-1, 0.2, 900)
    clean, mixed = (RobustZ(20, 16, 1000) for _ in range(2))
    for score in normal:
        clean.learn(float(score), 31)
        mixed.learn(float(score), 31)
    for _ in range(100):
        mixed.learn(10.0, 31)

    thresholds = clean.threshold(), mixed.threshold()

    assert thresholds[0] is not None
    assert thresholds[1] is not None
    assert abs(math.log(thresholds[1] / thresholds[0])) < 0.1


def test_equal_scores_leave_room_above() -> None:
    """Where all scores are equal the threshold is still above them."""
    judge = RobustZ(20, 8, 100)
    for _ in range(20):
        judge.learn(0.5, 31)

    assert 0.5 < (judge.threshold() or 0) < 0.52


def test_old_scores_are_forgotten() -> None:
    """Only the latest scores count."""
    judge = RobustZ(20, 8, history_scores=10)
    for score in [100.0] * 10 + [1.0] * 10:
        judge.learn(score, 31)

    assert (judge.threshold() or 0) < 2


def test_config_chooses_the_judge() -> None:
    """A fixed method uses the given number from the first frame on."""
    fixed = make_judge(JudgeSettings(method="fixed", fixed_threshold=0.7))
    fixed.learn(5.0, 31)

    assert isinstance(fixed, FixedThreshold)
    assert fixed.threshold() == 0.7
    assert isinstance(make_judge(JudgeSettings()), RobustZ)
