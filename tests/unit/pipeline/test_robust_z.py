"""Median, spread and quantile of few scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.robust_z import bulk, robust_threshold, student_t


@pytest.mark.parametrize(
    ("freedom", "exact"),
    [(3, 3.4819), (5, 2.7565), (9, 2.3984), (18, 2.2137), (90, 2.0841), (1e6, 2.0537)],
)
def test_student_t_is_that_of_the_tables(freedom: float, exact: float) -> None:
    """The 98 % quantile agrees with Student's within 2 %, and is odd around 0."""
    z = 2.0537489

    assert student_t(z, freedom) == pytest.approx(exact, rel=0.02)
    assert student_t(-z, freedom) == -student_t(z, freedom)
    assert student_t(0, freedom) == 0


def test_fewer_scores_are_trusted_less() -> None:
    """With the same median and spread few scores set a higher threshold than many."""
    scores = np.exp(np.tile([-0.3, -0.1, 0.0, 0.1, 0.3], 4))

    few, many = (robust_threshold(np.tile(scores, times), 20) for times in (1, 100))

    assert few > many
    assert bulk(np.log(scores)).gaussian(20) == pytest.approx(math.log(many), rel=0.01)


@pytest.mark.parametrize("scores", [[], [0.0, -1.0]])
def test_no_positive_score_is_refused(scores: list[float]) -> None:
    """Without a positive score there is nothing to set a threshold by."""
    with pytest.raises(ValueError, match="no positive score"):
        robust_threshold(scores, 20)
