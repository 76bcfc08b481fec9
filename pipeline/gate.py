"""The gate's decisions: exactly one result for every announced frame, in time.

This is the fail-safe core, without sockets, database or clock: notices and
inspections come in with the time they came at, results come out. A frame is
open from its announcement until it is inspected, reported lost, or its
deadline passes; whichever is first decides, and nothing decides twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.results import FrameResult

if TYPE_CHECKING:
    from datetime import datetime

    from edge.contract import State, Verdict, Why
    from edge.frame import Announcement, FrameKey
    from pipeline.inspection import Inspection


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on both clocks."""

    utc: datetime
    monotonic_ns: int


@dataclass(frozen=True, slots=True)
class _OpenFrame:
    announcement: Announcement
    due_ns: int
    opened_ns: int


class Gate:
    """Decides frame results; PASS only for what was scored against a ready window."""

    def __init__(self, deadline_ms: int) -> None:
        """Close each frame at the latest ``deadline_ms`` after its capture."""
        self._deadline_ns = deadline_ms * 1_000_000
        self._open: dict[FrameKey, _OpenFrame] = {}
        self._scorer_up = self._scorer_left = False
        self._scorer_lost_ns = -1
        self._scorer_state: State = "WARMING"

    @property
    def state(self) -> State:
        """What may be said: the scorer's state, STOPPED once it left in order, else FAULT."""
        if self._scorer_up:
            return self._scorer_state
        return "STOPPED" if self._scorer_left else "FAULT"

    @property
    def has_scorer(self) -> bool:
        """Tell whether a scorer is there."""
        return self._scorer_up

    @property
    def open_frames(self) -> int:
        """Frames that wait for their result."""
        return len(self._open)

    def is_open(self, key: FrameKey) -> bool:
        """Tell whether a frame waits for its result."""
        return key in self._open

    def next_due_ns(self) -> int | None:
        """Return the earliest deadline among open frames, or None."""
        return min((frame.due_ns for frame in self._open.values()), default=None)

    def scorer_up(self) -> None:
        """Take note of a scorer that is ready for frames."""
        if not self._scorer_up:
            self._scorer_up, self._scorer_left = True, False
            self._scorer_state = "WARMING"

    def scorer_lost(self, now: Moment) -> None:
        """Take note that the scorer is gone; what it held closes at its deadline."""
        self._scorer_up = False
        self._scorer_lost_ns = now.monotonic_ns

    def scorer_left(self, now: Moment) -> None:
        """Take note of a scorer that stopped as it was asked to."""
        self.scorer_lost(now)
        self._scorer_left = True

    def announce(self, announcement: Announcement, now: Moment) -> None:
        """Open a frame; one that is open already stays as it is."""
        frame = _OpenFrame(
            announcement, announcement.captured_ns + self._deadline_ns, now.monotonic_ns
        )
        self._open.setdefault(announcement.key, frame)

    def lose(
        self, announcement: Announcement, why: Why, detail: str, now: Moment
    ) -> FrameResult | None:
        """Close a frame that the scorer will never see; None if it is closed already."""
        if self._open.pop(announcement.key, None) is None:
            return None
        if why == "dropped" and not self._scorer_up:
            why = "scorer_down"
        return self._result(announcement, "NO_RESULT", why, detail, now)

    def inspected(self, inspection: Inspection, now: Moment) -> FrameResult | None:
        """Close a frame with what the scorer says; None if it is closed already.

        An inspection after the deadline closes the frame as ``late``. A PASS is
        believed only from a window that is READY and with a finite score below
        a threshold.
        """
        self.scorer_up()
        self._scorer_state = inspection.state
        frame = self._open.pop(inspection.announcement.key, None)
        if frame is None:
            return None
        announcement = frame.announcement
        if now.monotonic_ns >= frame.due_ns:
            detail = f"inspected {(now.monotonic_ns - frame.due_ns) / 1e6:.0f} ms too late"
            return self._result(announcement, "NO_RESULT", "late", detail, now)
        verdict, why, detail = inspection.verdict, inspection.why, inspection.detail
        if verdict == "PASS" and not _is_scored(inspection):
            verdict, why, detail = "NO_RESULT", "not_finite", "PASS without a finite score"
        if verdict == "PASS" and inspection.state != "READY":
            verdict, why, detail = "NO_RESULT", "warming", f"PASS in state {inspection.state}"
        return self._result(announcement, verdict, why, detail, now, inspection)

    def due(self, now: Moment) -> list[FrameResult]:
        """Close every frame whose deadline has passed."""
        late = [frame for frame in self._open.values() if frame.due_ns <= now.monotonic_ns]
        return [self._expire(frame, now) for frame in late]

    def close_all(self, detail: str, now: Moment) -> list[FrameResult]:
        """Close every open frame, at the end of the line."""
        frames = list(self._open.values())
        self._open.clear()
        return [
            self._result(frame.announcement, "NO_RESULT", "scorer_down", detail, now)
            for frame in frames
        ]

    def _expire(self, frame: _OpenFrame, now: Moment) -> FrameResult:
        del self._open[frame.announcement.key]
        if not self._scorer_up or self._scorer_lost_ns >= frame.opened_ns:
            why: Why = "scorer_down"
            detail = "the scorer was not there before the deadline"
        else:
            why, detail = "late", "no inspection before the deadline"
        return self._result(frame.announcement, "NO_RESULT", why, detail, now)

    def _result(
        self,
        announcement: Announcement,
        verdict: Verdict,
        why: Why,
        detail: str,
        now: Moment,
        inspection: Inspection | None = None,
    ) -> FrameResult:
        waited_ns = max(0, now.monotonic_ns - announcement.captured_ns)
        return FrameResult(
            announcement=announcement,
            verdict=verdict,
            why=why,
            detail=detail,
            state=self.state,
            decided_at=now.utc,
            latency_ms=waited_ns // 1_000_000,
            inspection=inspection,
        )


def _is_scored(inspection: Inspection) -> bool:
    """Tell whether score and threshold are there; JSON turns NaN and infinity into none."""
    return inspection.score is not None and inspection.threshold is not None
