"""The gate's decisions: exactly one result for every announced frame, in time.

This is the fail-safe core, without sockets, database or clock: notices and
inspections come in with the time they came at, results come out. A frame is
open from its announcement until it is inspected, reported lost, or its
deadline passes; whichever is first decides, and nothing decides twice.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pipeline.results import FrameResult, Moment, PartVerdict

if TYPE_CHECKING:
    from edge.contract import State, Verdict, Why
    from edge.frame import Announcement, FrameKey
    from pipeline.inspection import Inspection


RECIPES_REMEMBERED = 16
"""Changeovers within one deadline; a frame from before them all has no result."""
STATES_WORST_FIRST: tuple[State, ...] = ("WARMING", "DEGRADED", "READY")


@dataclass(frozen=True, slots=True)
class _OpenFrame:
    announcement: Announcement
    due_ns: int
    opened_ns: int


class Gate:
    """Decides frame results; PASS only for what was scored against a ready window."""

    def __init__(
        self,
        deadline_ms: int,
        min_peers: int = 1,
        deciding: Literal["raw", "rescored"] = "raw",
        recipe: str = "default",
    ) -> None:
        """Close each frame at the latest ``deadline_ms`` after its capture.

        A PASS needs ``min_peers`` peers, a ``deciding`` score below its threshold,
        and the window of the ``recipe`` in force.
        """
        self._recipes = deque([(-1, recipe)], RECIPES_REMEMBERED)
        """Since when (monotonic, ns) which recipe ran, the one in force last."""
        self.cameras_lost: frozenset[str] = frozenset()
        """Cameras that should be there and are not."""
        self.deadline_ns = deadline_ms * 1_000_000
        self._min_peers = min_peers
        self._deciding = deciding
        self._open: dict[FrameKey, _OpenFrame] = {}
        self._scorer_up = self._scorer_left = False
        self._scorer_lost_ns = -1
        self._scorer_expected = False
        """Set once a scorer was there, or should have been: a line that starts is no fault."""
        self._camera_states: dict[str, State] = {}

    @property
    def state(self) -> State:
        """What may be said: the worst camera's state; without scorer or camera STOPPED or FAULT."""
        if self.cameras_lost:
            return "FAULT"
        if not self._scorer_expected:
            return "WARMING"
        if self._scorer_up:
            states = self._camera_states.values()
            return next((state for state in STATES_WORST_FIRST if state in states), "WARMING")
        return "STOPPED" if self._scorer_left else "FAULT"

    @property
    def degraded(self) -> bool:
        """Tell whether a camera's window waits for a release, whatever the others do."""
        return "DEGRADED" in self._camera_states.values()

    @property
    def recipe(self) -> str:
        """What runs on the line."""
        return self._recipes[-1][1]

    @property
    def has_scorer(self) -> bool:
        """Tell whether a scorer is there."""
        return self._scorer_up

    @property
    def scorer_down(self) -> bool | None:
        """Tell whether a scorer should be there and is not; None while none is expected yet."""
        if not self._scorer_expected:
            return None
        return not (self._scorer_up or self._scorer_left)

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
        self._scorer_expected = True
        if not self._scorer_up:
            self._scorer_up, self._scorer_left = True, False
            self._camera_states.clear()

    def scorer_lost(self, now: Moment) -> None:
        """Take note that the scorer is gone; what it held closes at its deadline."""
        self._scorer_expected, self._scorer_up = True, False
        self._scorer_lost_ns = now.monotonic_ns

    def scorer_is_due(self) -> None:
        """Take note that there should have been a scorer by now."""
        self._scorer_expected = True

    def scorer_left(self, now: Moment) -> None:
        """Take note of a scorer that stopped as it was asked to."""
        self.scorer_lost(now)
        self._scorer_left = True

    def change_recipe(self, recipe: str, now: Moment) -> None:
        """Take another recipe: what is captured from now on needs a window of that recipe."""
        self._recipes.append((now.monotonic_ns, recipe))
        self.forget_windows()

    def forget_windows(self) -> None:
        """Take note that windows are emptied: WARMING until the scorer says more."""
        self._camera_states.clear()

    def announce(self, announcement: Announcement, now: Moment) -> None:
        """Open a frame; one that is open already stays as it is."""
        frame = _OpenFrame(
            announcement, announcement.captured_ns + self.deadline_ns, now.monotonic_ns
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
        believed only from a window that is READY and has enough peers, and with
        a finite score below its threshold.
        """
        if inspection.recipe == self.recipe:
            self._camera_states[inspection.announcement.camera] = inspection.state
        frame = self._open.pop(inspection.announcement.key, None)
        if frame is None:
            return None
        announcement = frame.announcement
        if now.monotonic_ns >= frame.due_ns:
            detail = f"inspected {(now.monotonic_ns - frame.due_ns) / 1e6:.0f} ms too late"
            return self._result(announcement, "NO_RESULT", "late", detail, now)
        verdict, why, detail = inspection.verdict, inspection.why, inspection.detail
        if verdict == "PASS" and not self._earns_pass(inspection):
            verdict, why, detail = "NO_RESULT", "not_finite", "PASS without a score that earns it"
        recipe = self._recipe_at(announcement.captured_ns)
        if verdict != "NO_RESULT" and inspection.recipe != recipe:
            detail = f"inspected as {inspection.recipe}, the line ran {recipe}"
            return self._result(announcement, "NO_RESULT", "warming", detail, now)
        if verdict == "PASS" and announcement.camera in self.cameras_lost:
            detail = "PASS of a camera that is not there any more"
            return self._result(announcement, "NO_RESULT", "camera_lost", detail, now)
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

    def _recipe_at(self, captured_ns: int) -> str:
        """Return what ran when a frame was captured."""
        ran = [recipe for since_ns, recipe in self._recipes if since_ns <= captured_ns]
        return ran[-1] if ran else ""

    def _earns_pass(self, inspection: Inspection) -> bool:
        """Tell whether the numbers support a PASS; JSON turns NaN and infinity into none."""
        score = inspection.score if self._deciding == "raw" else inspection.rescored
        threshold = inspection.threshold
        if score is None or threshold is None or inspection.window_n < self._min_peers:
            return False
        return math.isfinite(score) and math.isfinite(threshold) and score < threshold

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
            state=inspection.state if inspection is not None else self.state,
            recipe=inspection.recipe if inspection is not None else self.recipe,
            decided_at=now.utc,
            latency_ms=waited_ns // 1_000_000,
            inspection=inspection,
        )


def too_late(result: FrameResult, deadline_ms: int, now: Moment) -> FrameResult | None:
    """Return what becomes of a PASS that could not be published before its deadline.

    None where the result may stay: the PLC has rejected the part by then, so
    the ledger must not say PASS; a FAIL is as true as before.
    """
    over_ms = (now.monotonic_ns - result.announcement.captured_ns) // 1_000_000 - deadline_ms
    if result.verdict != "PASS" or over_ms < 0:
        return None
    detail = f"PASS was on disk {over_ms} ms after the deadline"
    return replace(result, verdict="NO_RESULT", why="late", detail=detail)


def part_too_late(part: PartVerdict, deadline_ms: int, now: Moment) -> PartVerdict | None:
    """Return what becomes of a part's PASS that is too late, as :func:`too_late`."""
    worst = too_late(part.first, deadline_ms, now)
    if part.verdict != "PASS" or worst is None:
        return None
    return replace(part, verdict="NO_RESULT", why="late", worst=worst)
