"""What counts in a search, with labels and without."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.tune_goals import separation, stability


def test_separation_rises_with_what_stands_apart() -> None:
    """Two in a hundred scores that are double raise it well above a Gaussian's 2.4."""
    rng = np.random.default_rng(0)
    good = np.exp(0.1 * rng.standard_normal(2000))
    some = good.copy()
    some[:40] *= 2

    alike, apart = separation(good), separation(some)

    assert alike == pytest.approx(2.4, abs=0.15)
    assert apart is not None
    assert apart > 6


def test_stability_is_of_ranks() -> None:
    """Scores that keep their order are stable whatever their size; reversed they are not."""
    first = np.linspace(0.1, 1, 50)

    assert stability(first, first**3) == pytest.approx(1.0)
    assert stability(first, first[::-1].copy()) == pytest.approx(-1.0)


def test_few_scores_tell_nothing() -> None:
    """Below thirty there is no figure."""
    few = np.ones(29)

    assert separation(few) is None
    assert stability(few, few) is None
