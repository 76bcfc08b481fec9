"""A threshold without labels keeps its promise for thousands of parts; the naive one does not."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.stress_calibration import FAMILIES, Family, calibration, draw_scores, realised_rates


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_rejects_stay_between_half_and_double(family: Family, seed: int) -> None:
    """Of 6,000 good parts no thousand has fewer than 10 or more than 40 rejects at 20."""
    found = calibration(family=family, seed=seed)

    assert len(found["rejects"]) == 6
    assert all(10 <= count <= 40 for count in found["rejects"])
    assert found["held"]


@pytest.mark.parametrize("family", FAMILIES)
def test_threshold_of_the_accepted_ratchets(family: Family) -> None:
    """Set by what was accepted, the threshold rejects four times as many in the sixth thousand."""
    naive = calibration(family=family)["naive"]

    assert naive[0] == 20
    assert naive[-1] > 80
    assert naive[-1] > naive[2] > naive[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_defects_do_not_use_up_what_is_tolerated(family: Family) -> None:
    """With 2 % defective parts most of them are rejected, and good ones no more than double."""
    found = calibration(family=family, defect_share=0.02)

    assert max(found["false_rejects"]) <= 40
    assert found["missed"] < 0.3


def test_same_seed_same_stream() -> None:
    """A stream is decided by its arguments alone."""
    one, two = (calibration(count=1000, defect_share=0.05, seed=4) for _ in range(2))

    assert one == two
    assert one != calibration(count=1000, defect_share=0.05, seed=5)


def test_count_is_whole_thousands() -> None:
    """A stream that does not fill its last thousand is refused."""
    with pytest.raises(ValueError, match="count = 1500"):
        calibration(count=1500)


def test_realised_rates_hold_their_targets() -> None:
    """Of good scores each tolerated rate lies in the interval of what was rejected."""
    scores, _ = draw_scores("lognormal", 2000, 0.0, seed=11)

    rows = realised_rates(scores)

    assert [row["target"] for row in rows] == [50, 20, 10, 5]
    assert all(row["of"] == 1984 for row in rows)
    assert all(row["low"] <= row["target"] <= row["high"] for row in rows)
    assert all(row["low"] <= row["rate"] <= row["high"] for row in rows)


def test_no_scores_give_no_rate() -> None:
    """Of nothing the rate is unknown, and may be anything."""
    (row,) = realised_rates(np.array([]), [20])

    assert (row["rate"], row["low"], row["high"]) == (None, 0, 1000)
