"""How well scores separate good from anomalous: the measures of the papers.

Frames: ``auroc``, ``f1_max``, ``average_precision``; pixels: the same on flattened
maps, and ``aupro``. Higher scores mean more anomalous. A measure that is not
defined raises, it never returns 0 or NaN.

Scores that tie are one threshold, so no result depends on the order of frames.

Sources: Fawcett 2006 for ROC; Bergmann et al., IJCV 2021, section 5 for the
per-region overlap. The authors of MuSc approximate AUPRO with 200 thresholds
and rescale its axis; here the curve is integrated exactly.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_FPR = 0.3
"""False positive rate up to which AUPRO is integrated."""

_HALF_OF_8_NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))  # the others are these backwards


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: P(anomalous above good) + P(tie) / 2, by mid-ranks.

    Args:
        labels: [n], true or 1 where anomalous, false or 0 where good.
        scores: [n].

    Returns:
        0 to 1.

    Raises:
        ValueError: A class is missing, a score is NaN, or the lengths differ.
    """
    true, values = _checked(labels, scores)
    positives = int(true.sum())
    negatives = len(true) - positives
    if negatives == 0:
        msg = f"no good sample among {len(true)} labels: AUROC is not defined"
        raise ValueError(msg)
    _, tie, counts = np.unique(values, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2.0  # counted from 1
    rank_sum = float(mid_ranks[tie][true].sum())
    return (rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives)


def f1_max(labels: ArrayLike, scores: ArrayLike) -> float:
    """The best F1 over all thresholds t, with score >= t called anomalous.

    Args:
        labels: [n], true or 1 where anomalous.
        scores: [n].

    Returns:
        0 to 1.

    Raises:
        ValueError: No anomalous sample, a score is NaN, or the lengths differ.
    """
    true, values = _checked(labels, scores)
    hits, called = _counts_by_threshold(true, values)
    return float((2.0 * hits / (called + true.sum())).max())


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Precision summed over the steps of recall, without interpolation.

    Args:
        labels: [n], true or 1 where anomalous.
        scores: [n].

    Returns:
        0 to 1.

    Raises:
        ValueError: No anomalous sample, a score is NaN, or the lengths differ.
    """
    true, values = _checked(labels, scores)
    hits, called = _counts_by_threshold(true, values)
    steps = np.diff(hits, prepend=0) / true.sum()
    return float((steps * hits / called).sum())


def aupro(masks: ArrayLike, maps: ArrayLike, max_fpr: float = MAX_FPR) -> float:
    """Area under the per-region overlap against the false positive rate, exactly.

    Every anomalous region (8-connected, within a frame) counts the same, however
    small. The curve has one point for each distinct value of the maps, lines
    between them, and is cut at ``max_fpr`` by interpolation.

    Args:
        masks: [N, h, w], true or 1 where anomalous.
        maps: [N, h, w], the anomaly maps.
        max_fpr: Where to stop, 0 < max_fpr <= 1.

    Returns:
        The area divided by ``max_fpr``, 0 to 1.

    Raises:
        ValueError: No region, no good pixel, NaN in the maps, shapes that differ, or
            a limit outside its range.
    """
    if not 0.0 < max_fpr <= 1.0:
        msg = f"max_fpr is {max_fpr}, wanted 0 < max_fpr <= 1"
        raise ValueError(msg)
    labels = connected_regions(masks)
    if labels.shape != np.shape(maps):
        msg = f"masks have the shape {labels.shape} and maps {np.shape(maps)}, wanted the same"
        raise ValueError(msg)
    true, values = _checked(labels.ravel() > 0, np.ravel(maps))
    if true.all():
        msg = f"no good pixel among {true.size}: AUPRO is not defined"
        raise ValueError(msg)
    order, ends = _descending(values)
    false_positives = np.cumsum(~true[order])[ends]
    sizes = np.bincount(labels.ravel())
    shares = np.where(true, 1.0 / sizes[labels.ravel()], 0.0)
    overlap = np.cumsum(shares[order])[ends] / (len(sizes) - 1)
    return area_up_to(false_positives / (~true).sum(), overlap, max_fpr) / max_fpr


def connected_regions(masks: ArrayLike) -> NDArray[np.int64]:
    """Number the 8-connected regions of each frame.

    All touching pairs of pixels are joined at once: in each round every region
    hooks on to its lowest neighbour, so that a few rounds do, each linear in the
    anomalous pixels. Memory is about 80 bytes for each anomalous pixel.

    Args:
        masks: [N, h, w], true or 1 where anomalous.

    Returns:
        [N, h, w], 0 for good pixels, 1 to R for the regions of all frames.

    Raises:
        ValueError: Not three axes, or values other than 0 and 1.
    """
    true = _as_bool(masks, "masks")
    if true.ndim != 3:  # noqa: PLR2004 - frames, height, width
        msg = f"masks have the shape {true.shape}, wanted [N, h, w]"
        raise ValueError(msg)
    padded = np.pad(true, ((0, 1), (1, 1), (1, 1)))  # nothing touches across a border
    pixels = np.flatnonzero(padded)
    number = np.zeros(padded.size, dtype=np.int64)
    number[pixels] = np.arange(len(pixels))
    pairs = []
    for down, right in _HALF_OF_8_NEIGHBOURS:
        others = pixels + down * padded.shape[2] + right
        touching = padded.ravel()[others]
        pairs.append((number[pixels[touching]], number[others[touching]]))
    firsts, seconds = (np.concatenate(side) for side in zip(*pairs, strict=True))
    regions = np.zeros(true.shape, dtype=np.int64)
    if len(pixels):
        roots = _joined(len(pixels), firsts, seconds)
        regions[true] = np.unique(roots, return_inverse=True)[1] + 1
    return regions


def area_up_to(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """Area under a polygon from (0, 0) on, cut at a limit by interpolation.

    Args:
        x: [n], ascending to 1; the same value may come twice, where the curve jumps.
        y: [n], its heights.
        limit: 0 to 1.

    Returns:
        The area over 0 to the limit.
    """
    x, y = np.concatenate([[0.0], x]), np.concatenate([[0.0], y])
    inside = int(np.searchsorted(x, limit, side="right"))  # points at the limit are inside
    if inside < len(x):
        share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        last = y[inside - 1] + share * (y[inside] - y[inside - 1])
        x, y = np.append(x[:inside], limit), np.append(y[:inside], last)
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2.0)


def _joined(count: int, firsts: NDArray[np.int64], seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The lowest number that each of ``count`` nodes is linked to, itself included."""
    roots = np.arange(count)
    while True:
        one, other = roots[firsts], roots[seconds]
        apart = one != other
        if not apart.any():
            return roots
        low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
        np.minimum.at(roots, high, low)
        while not np.array_equal(roots, further := roots[roots]):
            roots = further


def _counts_by_threshold(
    true: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Anomalous samples, and all samples, at or above each distinct score, falling."""
    order, ends = _descending(values)
    return np.cumsum(true[order], dtype=np.int64)[ends], ends + 1


def _descending(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """An order from high to low, and the last position in it of each distinct value."""
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    return order, np.flatnonzero(last)


def _checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels and scores, with at least one anomalous sample.

    Raises:
        ValueError: Empty, no anomalous sample, NaN, or lengths that differ.
    """
    true, values = _as_bool(labels, "labels"), np.asarray(scores, dtype=np.float64)
    if true.ndim != 1 or true.shape != values.shape:
        msg = f"labels have the shape {true.shape} and scores {values.shape}, wanted [n] and [n]"
        raise ValueError(msg)
    if np.isnan(values).any():
        msg = f"{int(np.isnan(values).sum())} of {len(values)} scores are NaN"
        raise ValueError(msg)
    if not true.any():
        msg = f"no anomalous sample among {len(true)} labels: the measure is not defined"
        raise ValueError(msg)
    return true, values


def _as_bool(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Truth values from bool or from 0 and 1.

    Raises:
        ValueError: Other values, 255 among them.
    """
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    if array.size and not np.isin(array, (0, 1)).all():
        msg = f"{name} hold values other than 0 and 1, the largest is {array.max()}"
        raise ValueError(msg)
    return array.astype(np.bool_)
