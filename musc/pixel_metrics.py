"""Pixel measures of a whole set: every curve of the papers from one sorting.

A set of 200 maps of 518 x 518 px has 54 million pixels, nearly all of them good.
So the good pixels are sorted once, as bare scores; the few anomalous ones keep
the size of their region beside them, and every measure looks up how many good
pixels lie above each of them. Nothing is binned. Beside masks and maps this takes
4 bytes for each good pixel in float32, and about 50 for each anomalous one.

``auroc``, ``f1_max``, ``average_precision`` and ``aupro`` equal the functions of
``musc.metrics`` on flattened maps, which sort all pixels each. ``aupro_200`` is
the authors' own approximation; the two numbers must not be compared.

Sources: as ``musc.metrics``; Li et al., MuSc, ICLR 2024, the authors' code, for
``aupro_200``.
"""

import numpy as np
from numpy.typing import NDArray

from musc.metrics import MAX_FPR, area_up_to, connected_regions

STEPS = 200
"""Thresholds of the authors' curve."""


class PixelScores:
    """The pixels of a set, sorted for all measures.

    A measure that is not defined raises ValueError, it never returns 0 or NaN.
    """

    def __init__(self, masks: NDArray[np.bool_], maps: NDArray[np.floating]) -> None:
        """Sort the pixels; the arrays are not kept.

        Args:
            masks: [N, h, w], true where anomalous.
            maps: [N, h, w], the anomaly maps, finite.

        Raises:
            ValueError: Another type, shapes that differ, or scores that are not finite.
        """
        if masks.dtype != np.bool_ or masks.ndim != 3 or masks.shape != maps.shape:  # noqa: PLR2004 - N, h, w
            msg = (
                f"masks are {masks.dtype} {masks.shape} and maps {maps.shape}, wanted bool "
                "[N, h, w] and the same"
            )
            raise ValueError(msg)
        if bad := maps.size - int(np.isfinite(maps).sum()):
            msg = f"{bad} of {maps.size} scores are not finite"
            raise ValueError(msg)
        self._good = maps[~masks]
        self._good.sort()
        self._anomalous, self._shares, self._regions = _by_region(masks, maps)

    def auroc(self) -> float:
        """Area under the ROC curve, as ``metrics.auroc``.

        Raises:
            ValueError: No anomalous or no good pixel.
        """
        self._check(good=True)
        below = int(np.searchsorted(self._good, self._anomalous, "left").sum())
        not_above = int(np.searchsorted(self._good, self._anomalous, "right").sum())
        return (below + not_above) / 2 / (len(self._good) * len(self._anomalous))

    def f1_max(self) -> float:
        """The best F1 over all thresholds, as ``metrics.f1_max``.

        Raises:
            ValueError: No anomalous pixel.
        """
        self._check()
        # Between two anomalous scores only good pixels are added, which lowers F1.
        _, hits, false = self._at_distinct_scores()
        return float((2.0 * hits / (hits + false + len(self._anomalous))).max())

    def average_precision(self) -> float:
        """Precision summed over the steps of recall, as ``metrics.average_precision``.

        Raises:
            ValueError: No anomalous pixel.
        """
        self._check()
        _, hits, false = self._at_distinct_scores()
        steps = -np.diff(hits, append=0) / len(self._anomalous)
        return float((steps * hits / (hits + false)).sum())

    def aupro(self, max_fpr: float = MAX_FPR) -> float:
        """Area under the per-region overlap, as ``metrics.aupro``.

        Args:
            max_fpr: Where to stop, 0 < max_fpr <= 1.

        Raises:
            ValueError: No anomalous or no good pixel, or a limit outside its range.
        """
        if not 0.0 < max_fpr <= 1.0:
            msg = f"max_fpr is {max_fpr}, wanted 0 < max_fpr <= 1"
            raise ValueError(msg)
        self._check(good=True)
        first, _, false = self._at_distinct_scores()
        above = len(self._good) - np.searchsorted(self._good, self._anomalous[first], "right")
        overlap = self._overlap()[first][::-1]
        # Falling: over the good pixels above a score the curve is level, at the score it rises.
        rates = np.stack([above[::-1], false[::-1]], axis=1).ravel() / len(self._good)
        heights = np.stack([np.append(0.0, overlap[:-1]), overlap], axis=1).ravel()
        return area_up_to(np.append(rates, 1.0), np.append(heights, 1.0), max_fpr) / max_fpr

    def aupro_200(self, max_fpr: float = MAX_FPR) -> float:
        """The authors' AUPRO: 200 evenly spaced thresholds, the axis stretched to what they hit.

        Thresholds run from the lowest score to the highest; those with a false positive
        rate below ``max_fpr`` are kept, and their rates are scaled to 0..1 by their own
        lowest and highest. So the figure depends on the range of the scores.

        Raises:
            ValueError: No anomalous or no good pixel, one score for all pixels, or fewer
                than two rates below the limit.
        """
        self._check(good=True)
        low = float(min(self._good[0], self._anomalous[0]))
        high = float(max(self._good[-1], self._anomalous[-1]))
        if low == high:
            msg = f"all pixels score {low:g}: AUPRO over {STEPS} thresholds is not defined"
            raise ValueError(msg)
        limits = _at_or_below(np.arange(low, high, (high - low) / STEPS), self._good.dtype)
        false = len(self._good) - np.searchsorted(self._good, limits, "right")
        rates = false / len(self._good)
        overlap = self._overlap()[np.searchsorted(self._anomalous, limits, "right")]
        x, y = rates[rates < max_fpr], overlap[rates < max_fpr]
        if len(x) == 0 or x[0] == x[-1]:
            msg = (
                f"of {STEPS} thresholds fewer than two have different false positive rates "
                f"below {max_fpr}: AUPRO over them is not defined"
            )
            raise ValueError(msg)
        return float(((x[:-1] - x[1:]) * (y[:-1] + y[1:])).sum() / 2.0 / (x[0] - x[-1]))

    def _at_distinct_scores(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """For each distinct anomalous score, rising: its first place, hits and false alarms."""
        values, first = np.unique(self._anomalous, return_index=True)
        false = len(self._good) - np.searchsorted(self._good, values, "left")
        return first, len(self._anomalous) - first, false

    def _overlap(self) -> NDArray[np.float64]:
        """Mean share of a region from each place in the rising order on, and 0 behind the end."""
        return np.append(np.cumsum(self._shares[::-1])[::-1], 0.0) / self._regions

    def _check(self, *, good: bool = False) -> None:
        """Refuse a set on which a measure is not defined.

        Raises:
            ValueError: A class is missing.
        """
        total = len(self._good) + len(self._anomalous)
        if not len(self._anomalous):
            msg = f"no anomalous pixel among {total}: the measure is not defined"
            raise ValueError(msg)
        if good and not len(self._good):
            msg = f"no good pixel among {total}: the measure is not defined"
            raise ValueError(msg)


def _by_region(
    masks: NDArray[np.bool_], maps: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.float64], int]:
    """Anomalous scores, rising; the share of its region that each pixel is; the regions."""
    scores, shares, count = [maps[:0].ravel()], [np.zeros(0)], 0
    for frame in np.flatnonzero(masks.any(axis=(1, 2))):
        mask = masks[frame]
        regions = connected_regions(mask[None])[0]
        sizes = np.bincount(regions.ravel())
        scores.append(maps[frame][mask])
        shares.append(1.0 / sizes[regions[mask]])
        count += len(sizes) - 1
    joined = np.concatenate(scores)
    order = np.argsort(joined)
    return joined[order], np.concatenate(shares)[order], count


def _at_or_below(limits: NDArray[np.float64], dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """The largest values of a type that are not above the limits.

    A score of that type is above such a value exactly where it is above the limit.
    """
    rounded = limits.astype(dtype)
    return np.where(rounded > limits, np.nextafter(rounded, dtype.type(-np.inf)), rounded)
