"""The tail of scores that a threshold was applied to: what it is, and what cannot carry it away."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline import tail as tails
from pipeline.robust_z import Bulk, bulk
from pipeline.tail import Tail, fit_tail


def excesses(shape: float, scale: float, count: int, seed: int = 0) -> np.ndarray:
    """Draw from a generalised Pareto distribution."""
    uniform = np.random.default_rng(seed).random(count)
    return scale * (-np.log(uniform) if shape == 0 else (uniform**-shape - 1) / shape)


def fitted(logs: np.ndarray, limit: float = math.inf, rejects: float = 20) -> Tail:
    """Return the tail of logs that were all compared with one limit."""
    found = fit_tail(logs, np.full(len(logs), limit), bulk(logs), rejects)
    assert found is not None
    return found


def log_likelihood_naive(
    peaks: list[float], limits: list[float], shape: float, scale: float, share: float, wide: float
) -> float:
    """Return the logarithm of the likelihood of one shape, scale and share of defects."""

    def survival(excess: float) -> float:
        if abs(shape) < 1e-9:
            return math.exp(-excess / scale)
        return max(0.0, 1 + shape * excess / scale) ** (-1 / shape)

    total = 0.0
    for x in peaks:
        density = survival(x) / (scale + shape * x) if scale + shape * x > 0 else 0.0
        total += math.log((1 - share) * density + share * math.exp(-x / wide) / wide)
    for x in limits:
        total += math.log((1 - share) * survival(x) + share * math.exp(-x / wide))
    return total


def test_grid_is_the_plain_likelihood() -> None:
    """At every point of the grid the arrays say what loops over peaks and limits say."""
    peaks, limits = excesses(-0.2, 0.1, 20), np.array([0.15, 0.2, 0.22])
    scales, wide = np.geomspace(0.02, 0.5, tails.SCALES), 0.6

    grid = tails._log_peaks(np.sort(peaks), scales, wide)
    grid = grid + tails._log_exceeded(limits, scales, wide)

    for d, s, k in np.ndindex(grid.shape):
        plain = log_likelihood_naive(
            peaks.tolist(), limits.tolist(), tails.SHAPES[s], scales[k], tails.DEFECTS[d], wide
        )
        assert grid[d, s, k] == pytest.approx(plain, rel=1e-9)


def test_blocks_hardly_move_the_likelihood() -> None:
    """Peaks in blocks set the quantile that each by itself would, within 2 % of the scale."""
    logs = excesses(0.0, 0.1, 4000)
    blocks = fitted(logs).quantile(20)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tails, "BLOCKS", 10_000)
        single = fitted(logs).quantile(20)

    assert blocks == pytest.approx(single, abs=0.02 * 0.1)


@pytest.mark.parametrize("shape", [-0.3, -0.1, 0.0, 0.1])
@pytest.mark.parametrize("rejects", [50, 20, 5])
def test_quantile_of_a_known_tail_is_found(shape: float, rejects: float) -> None:
    """Of generalised Pareto scores the share above the quantile is the tolerated one.

    Heavier tails look like defects: at a shape of 0.3 twice as many are rejected.
    """
    logs = excesses(shape, 0.1, 5000, seed=1)

    level = fitted(logs, rejects=rejects).quantile(rejects)

    exact = (1 + shape * level / 0.1) ** (-1 / shape) if shape else math.exp(-level / 0.1)
    assert 1000 * exact == pytest.approx(rejects, rel=0.4)


@pytest.mark.parametrize("limit", [0.2, 0.3, 0.4])
def test_sizes_above_the_limit_do_not_matter(limit: float) -> None:
    """Whatever is at or above the threshold then in force counts once, however large it is."""
    logs = excesses(0.0, 0.1, 3000)
    stretched = np.where(logs >= limit, logs * 5, logs)

    assert fitted(logs, limit).quantile(20) == fitted(stretched, limit).quantile(20)


def test_dropping_what_was_rejected_shortens_the_tail() -> None:
    """Without the scores that exceeded the threshold the next one would be lower: the ratchet."""
    logs = excesses(0.0, 0.1, 5000)
    limit = float(np.quantile(logs, 0.98))

    kept = fitted(logs, limit).quantile(20)
    dropped = fitted(logs[logs < limit]).quantile(20)

    assert kept == pytest.approx(limit, abs=0.03)
    assert dropped < limit - 0.04


@pytest.mark.parametrize("defects", [50, 200, 500])
def test_defects_above_the_limit_are_not_the_tail(defects: int) -> None:
    """Up to one part in ten far above the threshold moves the quantile by less than a sigma."""
    good = np.random.default_rng(0).normal(0, 0.1, 5000)
    limit = float(np.quantile(good, 0.98))

    alone = fitted(good, limit).quantile(20)
    mixed = fitted(np.concatenate([good, np.full(defects, 2.0)]), limit).quantile(20)

    assert abs(mixed - alone) < 0.1


def test_higher_scores_are_exceeded_less() -> None:
    """Exceedance falls from the rate of peaks, and the quantile inverts it."""
    found = fitted(excesses(0.0, 0.1, 2000))
    levels = [found.level + step for step in (0.0, 0.1, 0.2, 0.4)]

    shares = [found.exceedance(level) for level in levels]

    assert shares == sorted(shares, reverse=True)
    assert 0.17 < shares[0] < 0.205  # some of the peaks may be of defective parts
    assert found.exceedance(found.quantile(20)) == pytest.approx(0.02, rel=1e-6)


@pytest.mark.parametrize("logs", [[0.0] * 300, [0.0] * 250 + [1.0] * 50, [0.0] * 299 + [50.0]])
def test_ties_give_a_tail_or_none(logs: list[float]) -> None:
    """Equal scores and a single peak set a finite quantile, or there is no tail to speak of."""
    found = fit_tail(np.array(logs), np.full(300, math.inf), Bulk(0.0, 0.01, 300), 20)

    assert found is None or math.isfinite(found.quantile(20))


def test_nothing_below_its_limit_is_no_tail() -> None:
    """Where every score exceeded its threshold nothing is known of their sizes."""
    assert fit_tail(np.ones(300), np.zeros(300), Bulk(1.0, 0.1, 300), 20) is None
