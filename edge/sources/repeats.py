"""Pictures that repeat each other bit by bit, which no living sensor yields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge.sources import CameraEvent

if TYPE_CHECKING:
    from edge.frame import Pixels

SAMPLE_ROWS = 64
"""Every so many rows are compared first: two pictures that differ seldom agree in them."""


class Repeats:
    """Counts equal pictures in a row."""

    def __init__(self, limit: int) -> None:
        """Call ``limit`` equal pictures in a row stale; 0 never."""
        self._limit = limit
        self._last: Pixels | None = None
        self.equal = 1
        """Pictures in a row that are equal to the last one, itself included."""

    @property
    def are_stale(self) -> bool:
        """Whether the latest pictures are too many equal ones."""
        return 0 < self._limit <= self.equal

    def see(self, pixels: Pixels) -> list[CameraEvent]:
        """Look at the next picture; return the event of becoming stale, or fresh again."""
        if self._limit == 0:
            return []
        before = self.are_stale
        self.equal = self.equal + 1 if _are_equal(self._last, pixels) else 1
        self._last = pixels
        if self.are_stale == before:
            return []
        kind = "camera_stale" if self.are_stale else "camera_fresh"
        return [CameraEvent(kind, {"equal": self.equal})]


def _are_equal(one: Pixels | None, other: Pixels) -> bool:
    if one is None or one.shape != other.shape or one.dtype != other.dtype:
        return False
    sampled = slice(None, None, SAMPLE_ROWS)
    return np.array_equal(one[sampled], other[sampled]) and np.array_equal(one, other)
