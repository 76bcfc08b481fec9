"""A tape: one camera that is recorded without a line, where there is no gate and no scorer.

It takes pictures and tells of them as ingest does, and the recording alone hears of it. A
frame whose writer is behind waits in its source with policy ``wait``; with ``drop_oldest``
it is left out where there is no room, and named. Files of a watched folder are not put
away: nobody has judged them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import zmq

from edge.counter import FreshCounter
from edge.intake import Intake, IntakeSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.contract import CameraCounts
    from edge.frame import CameraState
    from edge.notices import Notice
    from edge.recorder import Recorder
    from edge.recording_lines import EndWhy
    from edge.sockets import Context
    from edge.sources import Source

LOOK_NS = 200_000_000
"""Events and the state of the camera are looked at so often."""

TapeEnd = Literal["stopped", "finished", "taken"]
"""Somebody asked for it, the source has no more, or there are as many frames as wanted."""


class Tape:
    """Records one source; everything but ``taken`` and ``state`` belongs to one thread."""

    def __init__(
        self,
        settings: IntakeSettings,
        source: Source,
        boot: str,
        clock: Clock,
        context: Context,
        recorder: Recorder,
    ) -> None:
        """Bind for told parts, where programs tell them; ``recorder`` stays the caller's.

        Raises:
            EndpointError: The endpoint of the parts cannot be bound.
        """
        self._policy = settings.policy
        self._clock = clock
        self._recorder = recorder
        self._intake = Intake(
            settings, source, FreshCounter(), boot, clock, context, _Told(recorder)
        )
        self._next_look_ns = 0
        self.taken = 0
        """Frames that were given to the recorder."""
        self.state: CameraState = self._intake.camera.state
        """How the camera was when it was looked at last."""

    def run(self, stop: Callable[[], bool], frames: int | None = None) -> TapeEnd | EndWhy:
        """Record until ``stop``, the end of the source or of the recording, or so many frames."""
        poller = zmq.Poller()
        if self._intake.parts is not None:
            poller.register(self._intake.parts, zmq.POLLIN)
        wakeup = self._intake.camera.wakeup
        if wakeup is not None:
            poller.register(wakeup.fileno(), zmq.POLLIN)
        while (end := self._end(stop, frames)) is None:
            poller.poll(self._intake.wait_ms(self._may_capture))
            self.step()
        self._intake.miss_all()
        self._intake.tell_events(self._recorder)
        return end

    def step(self) -> None:
        """Take told parts, and a picture where one is due."""
        if self._intake.camera.wakeup is not None:
            self._intake.camera.wakeup.clear()
        now = self._clock.monotonic_ns()
        self._intake.take_parts()
        if now >= self._next_look_ns:
            self._next_look_ns = now + LOOK_NS
            self.state = self._intake.camera.state
            self._intake.tell_events(self._recorder)
        self._intake.miss_overdue(now)
        if not self._may_capture(now):
            return
        taken = self._intake.take(now)
        if taken is not None and taken.frame is not None:
            self._recorder.put_frame(taken.frame, taken.jpeg)
            self.taken += 1

    def counts(self) -> CameraCounts:
        """Return what the camera has done since the start."""
        return self._intake.announcer.counts(self._intake.camera.counts)

    def close(self) -> None:
        """Close the source and the endpoint of the parts."""
        self._intake.close()

    def _end(self, stop: Callable[[], bool], frames: int | None) -> TapeEnd | EndWhy | None:
        if self._recorder.ended is not None:
            return self._recorder.ended
        if frames is not None and self.taken >= frames:
            return "taken"
        if self._intake.finished_ns is not None:
            return "finished"
        return "stopped" if stop() else None

    def _may_capture(self, now: int) -> bool:
        if not self._intake.is_due(now):
            return False
        waits = self._policy == "wait" and not self._intake.camera.every_picture_counts
        return not (waits and self._recorder.behind)


class _Told:
    """Has the recording told, and nobody else."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def put(self, note: Notice, _now_ns: int) -> None:
        self._recorder.put(note)
