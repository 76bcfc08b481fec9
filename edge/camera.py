"""One camera as ingest sees it: every picture dated, checked, and fit to be judged or not.

Between a source and the numbering of its frames stands everything that can be
wrong with a picture whose pixels are whole: repeated bit by bit, in another
colour order than before, outside of the region of interest, or preceded by
triggers that yielded none. Nothing is dropped here: each picture comes out,
with the reason why it cannot be judged where there is one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge.self_check import SelfCheck
from edge.sources import CameraEvent, Capture, Source
from edge.sources.repeats import Repeats
from edge.timestamps import Timestamps
from edge.wire import pixel_shape_fault

if TYPE_CHECKING:
    from datetime import datetime

    from edge.clock import Clock
    from edge.frame import CameraState
    from edge.wire import LostWhy

GAP_LIMIT = 1000
"""More missing triggers at once are a counter that was set, not parts."""


@dataclass(frozen=True, slots=True)
class CameraChecks:
    """What is asked of a camera's pictures."""

    stale_frames: int = 0
    """Equal pictures in a row that make it STALE; 0 never."""
    roi_px: tuple[int, int, int, int] | None = None
    """x, y, width, height to cut out; None where all is wanted or the camera cuts itself."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A capture with its time, and what is wrong with it."""

    capture: Capture
    captured_at: datetime
    captured_ns: int
    why: LostWhy | None
    """Why it cannot be judged; None where it can."""
    fault: str
    missed: int
    """Triggers before it that yielded no picture."""


class Camera:
    """A source and everything that is asked of it."""

    def __init__(self, source: Source, checks: CameraChecks, clock: Clock) -> None:
        """Take the source, which stays the caller's to close through :meth:`close`."""
        self._source = source
        self._checks = checks
        self._clock = clock
        self._times = Timestamps(clock)
        self._self_check = SelfCheck()
        self._repeats = Repeats(checks.stale_frames)
        self._last_count: tuple[int, int] | None = None
        """Opening and counter of the last picture."""
        self._events: list[CameraEvent] = []
        self._counts: Counter[str] = Counter()
        self.wakeup = source.wakeup
        """What a poller waits for, where the source knows when it has something."""
        self.every_picture_counts = source.every_picture_counts
        """Whether each picture is of a part."""

    @property
    def state(self) -> CameraState:
        """How the camera is: what its source says, or STALE where it repeats itself."""
        state = self._source.state
        return "STALE" if self._repeats.are_stale and state != "LOST" else state

    @property
    def counts(self) -> Counter[str]:
        """What was counted since the start, by name."""
        return self._counts + self._source.counts

    def trigger(self) -> None:
        """Ask for one picture now."""
        self._source.trigger()

    def let_go(self, count: int) -> None:
        """Let go of the next ``count`` pictures that were taken: the gate has them on disk."""
        self._source.let_go(count)

    def take(self) -> Picture | None:
        """Return the next picture; None when there is none at the moment.

        Raises:
            EndOfSourceError: The source is finite and finished.
            SourceError: The source is lost for good.
        """
        before_ns = self._clock.monotonic_ns()
        capture = self._source.read()
        if capture is None:
            return None
        stamp = self._times.stamp(capture, before_ns)
        missed = self._missed(capture)
        capture = self._cropped(capture)
        why, fault = self._judge(capture)
        if why == "stale":
            self._counts["stale"] += 1
        return Picture(capture, stamp.captured_at, stamp.captured_ns, why, fault, missed)

    def take_events(self) -> list[CameraEvent]:
        """Return what happened since the last call, a step of the wall clock included."""
        step_s = self._times.step_s()
        if step_s is not None:
            self._events.append(CameraEvent("clock_step", {"step_s": round(step_s, 3)}))
        events, self._events = self._source.take_events() + self._events, []
        return events

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _missed(self, capture: Capture) -> int:
        """Count the triggers without a picture since the one before, by the camera's number."""
        if capture.counter is None or not self._source.counts_triggers:
            return 0
        known, self._last_count = self._last_count, (capture.opening, capture.counter)
        if known is None or known[0] != capture.opening:
            return 0
        missed = capture.counter - known[1] - 1
        if 0 <= missed <= GAP_LIMIT:
            return missed
        jump: dict[str, str | int | float] = {"from": known[1], "to": capture.counter}
        self._events.append(CameraEvent("counter_jump", jump))
        return 0

    def _cropped(self, capture: Capture) -> Capture:
        """Cut the region of interest out; one that does not fit is a fault."""
        if self._checks.roi_px is None or capture.pixels is None:
            return capture
        x, y, width, height = self._checks.roi_px
        rows, columns = capture.pixels.shape[:2]
        if x + width > columns or y + height > rows:
            fault = f"roi_px {list(self._checks.roi_px)} is outside of {columns} x {rows} px"
            return replace(capture, pixels=None, fault=fault)
        return replace(
            capture, pixels=capture.pixels[y : y + height, x : x + width], offset_px=(x, y)
        )

    def _judge(self, capture: Capture) -> tuple[LostWhy | None, str]:
        """Say why a picture cannot be judged, and in words."""
        if capture.pixels is None or capture.fault:
            return capture.loss, capture.fault or "no pixels"
        fault = pixel_shape_fault(capture.pixels, capture.pixel_format, capture.bit_depth)
        if fault:
            return "corrupt", fault
        self._events += self._repeats.see(capture.pixels)
        if self._repeats.are_stale or self._source.state == "STALE":
            return "stale", f"{self._repeats.equal} pictures in a row are equal bit by bit"
        finding = self._self_check.see(capture)
        if finding.kind:
            detail: dict[str, str | int | float] = {"opening": capture.opening}
            if not finding.fault:
                detail |= {"before": round(finding.before, 4), "after": round(finding.after, 4)}
            self._events.append(CameraEvent(finding.kind, detail))
        if finding.fault and finding.kind:
            self._source.reopen(finding.fault)
        return ("corrupt", finding.fault) if finding.fault else (None, "")
