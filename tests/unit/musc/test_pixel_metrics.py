"""Measures of whole maps from one sorting, against scikit-learn, SciPy and plain definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped]  # SciPy ships no types
from sklearn.metrics import (  # type: ignore[import-untyped]  # scikit-learn ships no types
    auc,
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
)

from musc import metrics
from musc.pixel_metrics import PixelScores

CASES = st.tuples(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.02, 0.3, 0.9]))


def drawn(seed: int, levels: int, share: float) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Draw masks with blobs and maps that tie in ``levels`` values; both classes are there."""
    source = np.random.default_rng(seed)
    masks = ndimage.binary_dilation(source.random((3, 12, 13)) < share / 4)
    masks[0, 0, 0], masks[0, 11, 12], masks[2] = True, False, False
    maps = source.integers(0, levels, masks.shape) / levels + 0.3 * masks * source.random()
    return masks, maps.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(case=CASES)
def test_measures_equal_scikit_learn(case: tuple[int, int, float]) -> None:
    """AUROC, average precision and best F1 of the flattened maps, ties included."""
    masks, maps = drawn(*case)
    true, values = masks.ravel(), maps.ravel()

    pixels = PixelScores(masks, maps)

    precision, recall, _ = precision_recall_curve(true, values)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert pixels.auroc() == pytest.approx(roc_auc_score(true, values), abs=1e-9)
    expected = average_precision_score(true, values)
    assert pixels.average_precision() == pytest.approx(expected, abs=1e-9)
    assert pixels.f1_max() == pytest.approx(best, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(case=CASES, max_fpr=st.floats(0.01, 1.0))
def test_aupro_equals_the_function_that_sorts_all_pixels(
    case: tuple[int, int, float], max_fpr: float
) -> None:
    """The exact curve, from anomalous scores alone, encloses the same area."""
    masks, maps = drawn(*case)

    area = PixelScores(masks, maps).aupro(max_fpr)

    assert area == pytest.approx(metrics.aupro(masks, maps, max_fpr), abs=1e-9)


def authors_curve(masks: NDArray[Any], maps: NDArray[Any], max_fpr: float) -> float:
    """Return the authors' AUPRO in plain loops, with SciPy's regions."""
    low, high = float(maps.min()), float(maps.max())
    rates, overlaps = [], []
    for threshold in np.arange(low, high, (high - low) / 200):
        called = maps > threshold
        shares = []
        for mask, own in zip(masks, called, strict=True):
            regions, count = ndimage.label(mask, np.ones((3, 3)))
            shares += [own[regions == r].mean() for r in range(1, count + 1)]
        rates.append((called & ~masks).sum() / (~masks).sum())
        overlaps.append(np.mean(shares))
    x, y = np.array(rates), np.array(overlaps)
    x, y = x[x < max_fpr], y[np.array(rates) < max_fpr]
    return float(auc((x - x.min()) / (x.max() - x.min()), y))


@settings(max_examples=20, deadline=None)
@given(case=st.tuples(st.integers(0, 10_000), st.integers(20, 4000), st.just(0.3)))
def test_aupro_200_equals_the_authors_curve(case: tuple[int, int, float]) -> None:
    """200 thresholds from lowest to highest, strictly above, rates below 0.3 stretched to 0..1."""
    masks, maps = drawn(*case)

    area = PixelScores(masks, maps).aupro_200()

    assert area == pytest.approx(authors_curve(masks, maps.astype(np.float64), 0.3), abs=1e-9)


def test_a_perfect_map_measures_1() -> None:
    """Every anomalous pixel above every good one."""
    masks = np.zeros((1, 8, 8), np.bool_)
    masks[0, 2:4, 2:4] = True
    maps = np.linspace(0.0, 0.5, 64, dtype=np.float32).reshape(1, 8, 8) + masks

    pixels = PixelScores(masks, maps)

    assert pixels.auroc() == pixels.f1_max() == pixels.average_precision() == 1.0
    assert pixels.aupro() == pytest.approx(1.0)
    assert pixels.aupro_200() == pytest.approx(1.0)


def test_constant_maps_have_no_information() -> None:
    """AUROC is one half, the exact AUPRO the diagonal; the authors' curve has no thresholds."""
    masks = np.zeros((1, 10, 10), np.bool_)
    masks[0, :2] = True

    pixels = PixelScores(masks, np.ones((1, 10, 10), np.float32))

    assert pixels.auroc() == 0.5
    assert pixels.average_precision() == pytest.approx(0.2)
    assert pixels.aupro() == pytest.approx(0.15)
    with pytest.raises(ValueError, match="all pixels score 1"):
        pixels.aupro_200()


@pytest.mark.parametrize("name", ["auroc", "f1_max", "average_precision", "aupro", "aupro_200"])
def test_all_good_is_refused(name: str) -> None:
    """Without an anomalous pixel no measure is defined."""
    pixels = PixelScores(np.zeros((2, 3, 3), np.bool_), np.ones((2, 3, 3), np.float32))

    with pytest.raises(ValueError, match="no anomalous pixel among 18"):
        getattr(pixels, name)()


@pytest.mark.parametrize("name", ["auroc", "aupro", "aupro_200"])
def test_all_anomalous_is_refused(name: str) -> None:
    """Without a good pixel there is no false positive rate; precision is 1."""
    pixels = PixelScores(np.ones((2, 3, 3), np.bool_), np.ones((2, 3, 3), np.float32))

    assert pixels.f1_max() == pixels.average_precision() == 1.0
    with pytest.raises(ValueError, match="no good pixel among 18"):
        getattr(pixels, name)()


def test_authors_curve_needs_two_rates() -> None:
    """When one threshold calls most good pixels at once, their stretched axis has no length."""
    masks = np.zeros((1, 4, 4), np.bool_)
    masks[0, 0, 0] = True
    maps = np.where(masks, 1.0, 0.5).astype(np.float32)

    with pytest.raises(ValueError, match="fewer than two"):
        PixelScores(masks, maps).aupro_200()


@pytest.mark.parametrize(
    ("masks", "maps", "words"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), "wanted bool"),
        (np.zeros((2, 2), np.bool_), np.zeros((2, 2)), "wanted bool"),
        (np.zeros((1, 2, 2), np.bool_), np.zeros((1, 2, 3)), "wanted bool"),
        (np.zeros((1, 2, 2), np.bool_), np.full((1, 2, 2), np.nan), "4 of 4 scores are not"),
        (np.zeros((1, 2, 2), np.bool_), np.full((1, 2, 2), np.inf), "4 of 4 scores are not"),
    ],
)
def test_what_are_no_maps_is_refused(masks: NDArray[Any], maps: NDArray[Any], words: str) -> None:
    """Types, shapes and scores that are not finite are named."""
    with pytest.raises(ValueError, match=words):
        PixelScores(masks, maps)
