"""Which frames look alike: copies of a frame, and frames with the same unusual spot.

Mutual scoring asks how near a patch's nearest peers are. Two things make them nearer
than they should be, and neither says that the part is good:

* **Copies.** A belt that stands shows the same part again. Every patch of such a frame
  is as near to one peer as sensor noise allows (``copies``).
* **Look-alikes.** A worn tool leaves the same scratch on several parts. At the scratch
  the few that bear it are near each other and far from all others: of the sorted
  distances d(1) <= d(2) <= ... of a patch, the step from d(i) to d(i + 1) is large where
  i look-alikes end. For patches without any, i * ln(d(i + 1) / d(i)) is about
  exponentially distributed with mean 1 / (intrinsic dimension), so that one step can be
  compared with another. A single large step is an accident; ``look_alikes`` wants
  neighbouring patches that name the same peers, and whose distance to the rest would
  have failed the part. In a window's first frames nobody knows yet what fails a part: there
  a step so large that it is no accident is enough, where it hides what would decide.

Distances are [n, P]: of each patch to the nearest token of each of n peers, mean over the
groups. Nothing here knows windows or votes.

Source: the spacings of order statistics, A. Rényi, "On the theory of order statistics",
1953; the same log ratios estimate local intrinsic dimension (Levina and Bickel, 2004).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

Distances = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

COPY_SHARE = 0.5
"""A copy's patches are nearer than this share of what the window's nearest are. On solar
cells sensor noise of 6/255 or a shift of 1 px stays below, another cell is above."""
COPY_QUANTILE = 0.95
"""Of the patches, how many must be; and none may be farther than the window's nearest."""
LEAST_SPACING = 3.5
"""i * ln(d(i + 1) / d(i)) from which a step counts. In windows of 32 solar cells 2 of 250
good cells have a spot with such a step, and all groups of 4 to 12 with the same defect."""
MOST_ALIKE = 1 / 3
"""Share of the peers that may look alike; of more nobody knows which are the good ones."""
CLEAR_SPACING = 7.0
"""The same among a window's first frames, whatever the limit: theirs is of few scores, and a
burst among them lifts it beyond its own. Of 1536 good cells in first windows 1 has such a spot."""
MOST_AT_FIRST = 0.4
"""The same at the second look at a window's first frames, while it is not full yet: 9 copies
of a frame are 0.3 of a window of 32, but more than a third of the first 24 peers."""
LEAST_PATCHES = 2
"""Patches side by side that must name the same peers."""
AGREEMENT = 0.5
"""Share of these patches by which a peer must be named."""
EXPLAINED = 0.8
"""One frame explains another's spot if there it is nearer than this share of the limit."""
LIKE_SOME = 1.0
"""The same for voters: were they all so near, the frame would not be unusual there."""


def copies(distances: Distances, usual: float) -> Flags:
    """Tell of which peers the frame is a copy, [n].

    Args:
        distances: [n, P].
        usual: Median patch score of normal frames.
    """
    near = (distances < COPY_SHARE * usual).mean(axis=1) >= COPY_QUANTILE
    return np.asarray(near & (distances < usual).all(axis=1))


def look_alikes(
    distances: Distances, limit: float, keep_lowest: float, *, at_first: bool = False
) -> Flags:
    """Tell which peers hide a spot of the frame by having it themselves, [n].

    Args:
        distances: [n, P], P patches of a square grid, row-major.
        limit: Patch score from which a frame fails.
        keep_lowest: As ``musc.msm.mutual_scores``.
        at_first: Whether the frame is one of a window's first.
    """
    peers, patches = distances.shape
    most = int(peers * (MOST_AT_FIRST if at_first else MOST_ALIKE))
    found = np.zeros(peers, bool)
    if most < 1:
        return found
    order = np.argsort(distances, axis=0)
    nearest = np.take_along_axis(distances, order, axis=0)
    alike, spacings, rest = _steps(nearest, most, keep_lowest)
    hidden = (spacings >= LEAST_SPACING) & (rest >= limit)
    if at_first:
        decides = _scores(nearest, keep_lowest).max()
        # A single peer hides no spot, and where it is as near as a copy any step is large.
        hidden |= (alike > 1) & (spacings >= CLEAR_SPACING) & (rest >= decides)
    if not hidden.any():
        return found
    named = np.zeros((peers, patches), bool)
    np.put_along_axis(named, order, np.arange(peers)[:, None] < alike, axis=0)
    side = math.isqrt(patches)
    count, labels = cv2.connectedComponents(hidden.reshape(side, side).astype(np.uint8))
    for label in range(1, count):
        spot = labels.ravel() == label
        agreed = named[:, spot].mean(axis=1) >= AGREEMENT
        if spot.sum() >= LEAST_PATCHES and agreed.sum() <= most:
            found |= agreed
    return found


def _steps(
    nearest: Distances, most: int, keep_lowest: float
) -> tuple[npt.NDArray[np.intp], Distances, Distances]:
    """Find each patch's largest step: how many come before it, how large it is, what the rest says.

    Args:
        nearest: [n, P], ascending along n.
        most: Look-alikes that may be found.
        keep_lowest: As ``musc.msm.mutual_scores``.

    Returns:
        Three times [P]; the last are the patch scores without those that come before.
    """
    ranks = np.arange(1, most + 1)
    near = np.maximum(nearest[:most], np.finfo(np.float32).tiny)
    spacings = ranks[:, None] * np.log(np.maximum(nearest[1 : most + 1], near) / near)
    alike = 1 + spacings.argmax(axis=0)
    rest = np.empty(nearest.shape[1], np.float32)
    for i in np.unique(alike):
        columns = alike == i
        rest[columns] = _scores(nearest[i:, columns], keep_lowest)
    return alike, spacings.max(axis=0), rest


def _scores(nearest: Distances, keep_lowest: float) -> Distances:
    """Patch scores [P] of ascending distances [n, P]."""
    kept = max(1, round(keep_lowest * len(nearest)))
    return np.asarray(nearest[:kept].mean(axis=0))


def explains(distances: Distances, spot: Flags, limit: float, share: float = EXPLAINED) -> Flags:
    """Tell which frames have what makes this one unusual, [n].

    Args:
        distances: [n, P] to frames that may have it too.
        spot: [P], the patches of this frame that are unusual; at least one.
        limit: Patch score from which a frame is unusual.
        share: Of the limit, how near one must be at the spot.
    """
    return np.asarray(distances[:, spot].mean(axis=1) < share * limit)
