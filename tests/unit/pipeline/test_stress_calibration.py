"""A threshold without labels keeps its promise for thousands of parts; the naive one does not."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.stress_calibration import (
    FAMILIES,
    TARGETS,
    Family,
    calibration,
    draw_scores,
    realised_rejects,
)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_rejects_stay_between_half_and_double(family: Family, seed: int) -> None:
    """Of 6,000 good parts no thousand has fewer than 10 or more than 40 rejects at 20."""
    found = calibration(family=family, seed=seed)

    assert len(found["guarded_false_rejects"]) == 6
    assert all(10 <= rejects <= 40 for rejects in found["guarded_false_rejects"])
    assert found["held"]


@pytest.mark.parametrize("family", FAMILIES)
def test_threshold_of_the_accepted_ratchets(family: Family) -> None:
    """Set by what was accepted, the threshold rejects four times as many in the sixth thousand."""
    naive = calibration(family=family)["plain_false_rejects"]

    assert naive[0] == 20
    assert naive[-1] > 80
    assert naive[-1] > naive[2] > naive[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_defects_do_not_use_up_what_is_tolerated(family: Family) -> None:
    """With 2 % defective parts most of them are rejected, and good ones no more than double."""
    found = calibration(family=family, defect_share=0.02)

    assert max(found["guarded_false_rejects"]) <= 40
    assert found["guarded_recall"] > 0.7
    assert found["held"]


def test_same_seed_same_stream() -> None:
    """A stream is decided by its arguments alone."""
    one, two = (calibration(count=1000, defect_share=0.05, seed=4) for _ in range(2))

    assert one == two
    assert one != calibration(count=1000, defect_share=0.05, seed=5)


def test_count_is_whole_thousands() -> None:
    """A stream that does not fill its last thousand is refused."""
    with pytest.raises(ValueError, match="count = 1500"):
        calibration(count=1500)


@pytest.mark.parametrize("target", TARGETS)
def test_realised_rejects_hold_their_target(target: float) -> None:
    """Of good scores each tolerated rate lies in the interval of what was rejected."""
    scores, _ = draw_scores("lognormal", 2000, 0.0, seed=11)

    rejects = realised_rejects(scores, target)

    low, high = rejects.interval
    assert rejects.of == 1984
    assert low <= target / 1000 <= high


def test_no_scores_give_no_rate() -> None:
    """Of nothing the rate is unknown."""
    assert realised_rejects(np.array([]), 20).share is None
