"""Measures of separation, against scikit-learn and against plain definitions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (  # type: ignore[import-untyped]  # scikit-learn ships no types
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
)

from musc.metrics import aupro, auroc, average_precision, connected_regions, f1_max

BOTH_CLASSES = st.lists(
    st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40
).filter(lambda rows: len({label for label, _ in rows}) == 2)


def best_f1(labels: list[bool], scores: list[int]) -> float:
    """F1 at its best along scikit-learn's precision and recall."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


@settings(max_examples=100, deadline=None)
@given(rows=BOTH_CLASSES)
def test_scores_with_ties_measure_as_in_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    """AUROC, average precision and best F1 equal scikit-learn's, ties included."""
    labels, scores = [label for label, _ in rows], [score for _, score in rows]

    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    expected = average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected)
    assert f1_max(labels, scores) == pytest.approx(best_f1(labels, scores))


def test_scores_without_information() -> None:
    """When all scores tie, AUROC is one half and precision the share of anomalous samples."""
    labels, scores = [1, 0, 0, 0], [2.0, 2.0, 2.0, 2.0]

    assert auroc(labels, scores) == 0.5
    assert average_precision(labels, scores) == 0.25
    assert f1_max(labels, scores) == pytest.approx(0.4)


def test_infinite_scores_are_the_highest() -> None:
    """Infinity is a score like any other; only NaN has no place in an order."""
    assert auroc([1, 0, 0], [np.inf, 1.0, -np.inf]) == 1.0
    assert average_precision([1, 0, 0], [-np.inf, 1.0, np.inf]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("measure", "labels", "scores", "message"),
    [
        (auroc, [0, 0], [1.0, 2.0], "no anomalous sample among 2"),
        (auroc, [1, 1], [1.0, 2.0], "no good sample among 2"),
        (auroc, [], [], "no anomalous sample among 0"),
        (f1_max, [0, 0], [1.0, 2.0], "no anomalous sample"),
        (average_precision, [], [], "no anomalous sample"),
        (auroc, [0, 1], [1.0, np.nan], "1 of 2 scores are NaN"),
        (f1_max, [0, 1], [1.0, np.nan], "1 of 2 scores are NaN"),
        (average_precision, [0, 1], [1.0, np.nan], "1 of 2 scores are NaN"),
        (auroc, [0, 1], [1.0], r"\(2,\) and scores \(1,\)"),
        (auroc, [[0, 1]], [[1.0, 2.0]], r"\(1, 2\)"),
        (auroc, [0, 255], [1.0, 2.0], "largest is 255"),
    ],
)
def test_what_is_not_defined_is_refused(
    measure: Callable[[ArrayLike, ArrayLike], float],
    labels: ArrayLike,
    scores: ArrayLike,
    message: str,
) -> None:
    """A missing class, NaN and labels that are no labels raise and say what is wrong."""
    with pytest.raises(ValueError, match=message):
        measure(labels, scores)


def aupro_naive(masks: NDArray[Any], maps: NDArray[Any], max_fpr: float) -> float:
    """The definition: overlap and rate at every threshold, integrated by a fine grid."""
    regions = connected_regions(masks)
    rates, overlaps = [0.0], [0.0]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        called = maps >= threshold
        rates.append(float(called[regions == 0].mean()))
        shares = [called[regions == r].mean() for r in range(1, regions.max() + 1)]
        overlaps.append(float(np.mean(shares)))
    at = np.sort(np.concatenate([np.linspace(0.0, max_fpr, 20001), rates]))
    at = at[at <= max_fpr]
    # Where the curve rises straight up, the highest point counts from there on.
    heights = np.interp(at, rates + 1e-12 * np.arange(len(rates)), overlaps)
    return float(np.sum(np.diff(at) * (heights[1:] + heights[:-1]) / 2.0)) / max_fpr


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 30), max_fpr=st.floats(0.05, 1.0))
def test_aupro_equals_its_definition(seed: int, levels: int, max_fpr: float) -> None:
    """The area from one sorting equals the area from every threshold, ties included."""
    source = np.random.default_rng(seed)
    masks = source.random((2, 8, 9)) < 0.2
    masks[0, 0, 0], masks[0, 7, 8] = True, False
    maps = source.integers(0, levels, masks.shape) + 3.0 * masks * source.random(masks.shape)

    area = aupro(masks, maps, max_fpr)

    assert area == pytest.approx(aupro_naive(masks, maps, max_fpr), abs=1e-3)


def test_aupro_of_a_case_by_hand() -> None:
    """Two regions of 1 and 3 pixels weigh the same.

    Falling values call: the small region (overlap 1/2, rate 0), one of ten good
    pixels (1/2, 0.1), the large region (1, 0.1), the rest (1, 1).
    """
    masks = np.zeros((1, 2, 7), dtype=bool)
    masks[0, 0, 0] = True
    masks[0, 0, 3:6] = True
    maps = np.zeros((1, 2, 7))
    maps[0, 0, 0], maps[0, 1, 6], maps[0, 0, 3:6] = 9.0, 8.0, 7.0

    assert aupro(masks, maps) == pytest.approx((0.1 * 0.5 + 0.2 * 1.0) / 0.3)
    assert aupro(masks, maps, 0.05) == pytest.approx(0.5)
    assert aupro(masks, maps, 1.0) == pytest.approx(0.95)


def test_aupro_interpolates_to_the_limit() -> None:
    """When one threshold calls everything, the curve is the diagonal."""
    masks = np.zeros((1, 4, 4), dtype=bool)
    masks[0, 1, 1] = True

    assert aupro(masks, np.zeros((1, 4, 4)), 0.3) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("masks", "maps", "max_fpr", "message"),
    [
        (np.zeros((1, 2, 2)), np.zeros((1, 2, 2)), 0.3, "no anomalous sample among 4"),
        (np.ones((1, 2, 2)), np.zeros((1, 2, 2)), 0.3, "no good pixel among 4"),
        (np.eye(2)[None], np.full((1, 2, 2), np.nan), 0.3, "4 of 4 scores are NaN"),
        (np.eye(2)[None], np.zeros((2, 2)), 0.3, r"\(1, 2, 2\) and maps \(2, 2\)"),
        (np.eye(2)[None], np.zeros((1, 2, 3)), 0.3, "wanted"),
        (np.eye(2), np.zeros((2, 2)), 0.3, r"masks have the shape \(2, 2\)"),
        (np.eye(2)[None] * 255, np.zeros((1, 2, 2)), 0.3, "largest is 255"),
        (np.eye(2)[None], np.zeros((1, 2, 2)), 0.0, "max_fpr is 0.0"),
        (np.eye(2)[None], np.zeros((1, 2, 2)), 1.5, "max_fpr is 1.5"),
    ],
)
def test_aupro_that_is_not_defined_is_refused(
    masks: NDArray[Any], maps: NDArray[Any], max_fpr: float, message: str
) -> None:
    """No region, no good pixel, NaN, or shapes and limits that make no sense raise."""
    with pytest.raises(ValueError, match=message):
        aupro(masks, maps, max_fpr)


def test_regions_of_a_case_by_hand() -> None:
    """Corners connect, frames and borders do not."""
    masks = np.array(
        [
            [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 1]],
            [[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0]],
        ]
    )

    regions = connected_regions(masks)

    expected = [
        [[1, 0, 0, 2], [0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 0, 4]],
        [[5, 0, 0, 6], [0, 0, 0, 0], [7, 7, 0, 7], [0, 0, 7, 0]],
    ]
    assert regions.tolist() == expected


def test_no_anomalous_pixel_is_no_region() -> None:
    """Masks of good frames have no region."""
    assert connected_regions(np.zeros((3, 4, 5))).max() == 0


def flooded(mask: NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    """Regions of one mask by flood fill."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    regions = []
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
        regions.append(region)
    return regions


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.95))
def test_regions_equal_a_flood_fill(seed: int, share: float) -> None:
    """Joining pairs finds the regions that a flood fill finds, winding ones too."""
    mask = np.random.default_rng(seed).random((12, 15)) < share

    regions = connected_regions(mask[None])[0]

    found = [
        {(int(y), int(x)) for y, x in np.argwhere(regions == r)}
        for r in range(1, regions.max() + 1)
    ]
    expected = flooded(mask)
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
