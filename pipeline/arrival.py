"""The newest frame of a window: how it scored, and what it means to the stream.

``Arrival`` is what the guard is told (``admission``), ``StreamNews`` what it says; the
worst region's result is made of the latter (``worst_region``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.inspection import Admission, RefinedScore, StreamEvent
    from pipeline.window_scores import Look


def unusual_from(threshold: float | None, warning: float | None) -> float | None:
    """Return from where a score is unusual: worth a warning where there are any."""
    return threshold if warning is None else warning


@dataclass(frozen=True, slots=True)
class Arrival:
    """The newest frame, as it was scored."""

    look: Look
    deciding: float
    threshold: float | None
    warning: float | None

    @property
    def fails(self) -> bool:
        """Whether the region fails."""
        return self.threshold is not None and self.deciding >= self.threshold

    @property
    def unusual(self) -> float | None:
        """From where a score is unusual."""
        return unusual_from(self.threshold, self.warning)

    @property
    def warns(self) -> bool:
        """Whether the score is unusual, yet below the threshold."""
        return not self.fails and self.warning is not None and self.deciding >= self.warning

    @property
    def reached(self) -> float | None:
        """The limit that makes it unusual; None where it is not."""
        if self.fails:
            return self.threshold
        return self.warning if self.warns else None


@dataclass(frozen=True, slots=True)
class StreamNews:
    """What the newest frame means to the stream, and the stream to it."""

    admission: Admission = "peer"
    warns: bool = False
    stale: bool = False
    """Whether so many frames in a row were copies that the camera tells nothing any more."""
    degraded: bool = False
    """Whether a regime change waits for its release."""
    counts: bool = True
    """Whether its score tells the judge something new: copies of one thing are one thing."""
    events: tuple[StreamEvent, ...] = ()
    refined: tuple[RefinedScore, ...] = ()


NO_NEWS = StreamNews()
