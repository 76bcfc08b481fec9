"""From the scores of a frame's regions to what is said of the frame: its worst region decides.

Regions have thresholds of their own, so they are compared by deciding score over
threshold. The frame fails if any region fails, and passes only if every region
is ready and passes. Nothing passes while a region waits for the release of a regime
change, or a camera that repeats itself. For one map of the whole frame each region's patch scores
are scaled so that its threshold lies at the worst region's, the map's level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.arrival import NO_NEWS, StreamNews

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.contract import State, Verdict, Why
    from pipeline.inspection import PatchScores


@dataclass(frozen=True, slots=True)
class RegionScores:
    """What one region's window said of a frame."""

    raw: float
    rescored: float
    deciding: float
    """The one of both that the config names."""
    peers: int
    threshold: float | None
    """What it is compared with; None while its judge has seen too little."""
    patches: PatchScores
    """(g, g), float32."""
    p_value: float | None = None
    """Share of the latest deciding scores, this one among them, that are at least as high."""
    stream: StreamNews = NO_NEWS
    """What becomes of the frame in the window, and what it has shown of the stream."""

    @property
    def excess(self) -> float:
        """How far the deciding score is from the threshold: 1 lies on it."""
        return self.deciding / self.threshold if self.threshold else self.deciding

    @property
    def level(self) -> float:
        """The value in the patch scores at which the threshold lies, 0 while there is none.

        RsCIN moves the score of a frame, not its map: the level moves instead.
        """
        if self.threshold is None:
            return 0.0
        moved = self.raw and self.deciding
        return self.threshold * (self.raw / self.deciding) if moved else self.threshold


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is said of the frame."""

    verdict: Verdict
    why: Why
    state: State
    """WARMING as long as a region waits for peers or scores; DEGRADED for a release."""
    worst: int
    """Index of the region whose scores stand for the frame."""
    detail: str
    """What it waits for, where it has no verdict."""
    map_level: float | None
    """The level of the scaled patch scores; None where there is no verdict."""
    patches: tuple[PatchScores, ...]
    """Each region's patch scores, scaled to that level."""


def decide(regions: Sequence[RegionScores], min_peers: int) -> Outcome:
    """Return the outcome of a frame with at least one region.

    A region that repeats its peers exactly, score 0, teaches its judge nothing:
    the white of a light table stays so for ever. Such a region neither waits nor
    decides, as long as another one does.
    """
    heard = [i for i, one in enumerate(regions) if one.peers >= min_peers]
    judged = [i for i in heard if regions[i].threshold is not None]
    quiet = [i for i in heard if regions[i].deciding == 0] if judged else []
    waiting = [i for i in range(len(regions)) if i not in {*judged, *quiet}]
    failed = [i for i in judged if regions[i].excess >= 1]
    worst = max(failed or waiting or judged, key=lambda i: regions[i].excess)
    verdict, why, detail = _said(regions, failed, len(waiting), min_peers)
    degraded = any(one.stream.degraded for one in regions)
    state: State = "WARMING" if waiting else "DEGRADED" if degraded else "READY"
    if verdict == "NO_RESULT":
        patches = tuple(one.patches for one in regions)
        return Outcome(verdict, why, state, worst, detail, None, patches)
    level = regions[worst].level
    scaled = [
        one.patches * np.float32(level / one.level if i in judged else 0.0)
        for i, one in enumerate(regions)
    ]
    return Outcome(verdict, why, state, worst, detail, level, tuple(scaled))


def _said(
    regions: Sequence[RegionScores], failed: Sequence[int], waiting: int, min_peers: int
) -> tuple[Verdict, Why, str]:
    # First: a camera that repeats itself shows no new part, whatever it shows.
    if all(one.stream.stale for one in regions):
        return "NO_RESULT", "stale", "the picture repeats an earlier one"
    if failed:
        return "FAIL", "score", ""
    if waiting:
        return "NO_RESULT", "warming", _detail(regions, waiting, min_peers)
    if any(one.stream.degraded for one in regions):
        return "NO_RESULT", "regime_change", "the window waits for a release"
    return "PASS", "score", ""


def _detail(regions: Sequence[RegionScores], waiting: int, min_peers: int) -> str:
    missing = min_peers - min(one.peers for one in regions)
    if missing > 0:
        return f"{missing} more peers needed"
    if len(regions) == 1:
        return "the judge needs more scores"
    return f"the judges of {waiting} of {len(regions)} regions need more scores"
