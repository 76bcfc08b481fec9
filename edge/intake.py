"""One camera's pictures, taken when they are due, numbered, named and told.

This is what ingest, which sends pictures to a scorer, and a tape, which only keeps them,
have in common. It knows where told parts come from, and neither gate nor scorer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edge.announcer import Announcer
from edge.camera import Camera, CameraChecks
from edge.frame import Frame
from edge.notices import receive_notes
from edge.part_ids import PartIds, PartPolicy, ToldPart
from edge.sockets import Context, Socket, bind_router
from edge.sources import CameraEvent, EndOfSourceError, Source
from edge.wire import Begins, PartAt

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.announcer import Notices
    from edge.clock import Clock
    from edge.counter import TriggerCounter
    from edge.frame import Jpeg
    from edge.keys import LineKeys
    from edge.recorder import Recorder

log = logging.getLogger(__name__)

POLL_MS = 20
PARTS_A_STEP = 16
"""Told parts that one step takes; a flood of them must not hold up the frames."""

Policy = Literal["wait", "drop_oldest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSettings:
    """What is asked of one camera, and how its parts are named."""

    camera: str
    policy: Policy
    interval_ms: int
    part_policy: PartPolicy = "source"
    part_endpoint: str = ""
    """Where programs tell parts, with policy ``message``; empty: only the gate does."""
    part_wait_ms: int = 500
    """A told part whose picture takes longer is missed."""
    told_is_trigger: bool = False
    """Whether a picture is taken when its part is told, and only then."""
    checks: CameraChecks = field(default_factory=CameraChecks)
    keys: LineKeys | None = None
    """For tcp endpoints that leave the host."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture that was taken, and told of."""

    seq: int
    """Its number."""
    frame: Frame | None
    """None where it was told to be lost."""
    jpeg: Jpeg | None = None
    """The file that it came as, which goes to a recorder alone."""


class Intake:
    """Takes the pictures of one source; belongs to one thread."""

    def __init__(
        self,
        settings: IntakeSettings,
        source: Source,
        counter: TriggerCounter,
        boot: str,
        clock: Clock,
        context: Context,
        notices: Notices,
    ) -> None:
        """Bind for told parts, and tell that this camera begins.

        Raises:
            EndpointError: The endpoint of the parts cannot be bound.
        """
        self._settings = settings
        self._clock = clock
        self.camera = Camera(source, settings.checks, clock)
        self._part_ids = PartIds(
            settings.camera,
            settings.part_policy,
            settings.part_wait_ms,
            after_telling=settings.told_is_trigger,
        )
        self.parts: Socket | None = None
        """What programs tell parts through, where there is such an endpoint."""
        if self._part_ids.listens and settings.part_endpoint:
            self.parts = bind_router(context, settings.part_endpoint, keys=settings.keys)
        self._counter = counter
        self.announcer = Announcer(settings.camera, boot, self._part_ids, counter, notices, clock)
        self.finished_ns: int | None = None
        """When the source ended; None while it goes on."""
        self._next_capture_ns = 0
        self._nothing_waits = False
        """Whether the camera had no picture when it was asked last; it wakes us for the next."""
        begins = Begins(camera=settings.camera, boot=boot, seq=counter.value)
        notices.put(begins, clock.monotonic_ns())

    def is_due(self, now: int) -> bool:
        """Tell whether the source may be asked for a picture, as far as it is its own matter."""
        if self.finished_ns is not None or now < self._next_capture_ns:
            return False
        # A recording, which has a picture at any time, gives one where it is asked for.
        live = self.camera.wakeup is not None
        return live or not self._settings.told_is_trigger or self._part_ids.expects

    def wait_ms(self, may_capture: Callable[[int], bool]) -> int:
        """Return how long to sleep where nothing comes; ``may_capture`` asks for a moment."""
        due_ns = self._next_capture_ns - self._clock.monotonic_ns()
        sleeps = self._nothing_waits and self.camera.wakeup is not None
        if not sleeps and may_capture(self._next_capture_ns):
            return max(0, min(POLL_MS, due_ns // 1_000_000))
        return POLL_MS

    def take(self, now: int) -> Taken | None:
        """Take the next picture and tell of it; None where there is none."""
        try:
            picture = self.camera.take()
        except EndOfSourceError:
            self.finished_ns = now
            log.info("camera %s: source finished", self._settings.camera)
            return None
        self._nothing_waits = picture is None
        if picture is None:
            return None
        if not self.camera.every_picture_counts:
            self._next_capture_ns = now + self._settings.interval_ms * 1_000_000
        announcement = self.announcer.announce(picture)
        seq, capture = self._counter.value, picture.capture
        if announcement is None or capture.pixels is None:
            return Taken(seq, None)
        frame = Frame(
            announcement,
            capture.pixels,
            capture.pixel_format,
            capture.bit_depth,
            capture.offset_px,
        )
        return Taken(seq, frame, capture.jpeg)

    def take_parts(self) -> None:
        """Take the parts that programs have told."""
        if self.parts is None:
            return
        for note in receive_notes(self.parts, PARTS_A_STEP):
            if isinstance(note, PartAt):
                self.expect(note)

    def expect(self, note: PartAt) -> None:
        """Expect a picture of a told part; with a software trigger, ask for it."""
        if not self._part_ids.listens:
            log.warning(
                "camera %s: told part %s ignored, its part ids do not come by message",
                self._settings.camera,
                note.part_id,
            )
            return
        if self._part_ids.is_told(note.part_id):
            return
        told = ToldPart(note.part_id, self._clock.now(), self._clock.monotonic_ns())
        if self.camera.state == "LOST":
            self.announcer.miss([told], "the camera is not there", "camera_lost")
            return
        self.announcer.miss(self._part_ids.tell(told), "too many told parts waited for pictures")
        if self._settings.told_is_trigger:
            self.camera.trigger()

    def miss_overdue(self, now: int) -> None:
        """Give up the told parts whose picture did not come in time."""
        wait = f"no picture within {self._settings.part_wait_ms} ms"
        self.announcer.miss(self._part_ids.overdue(now), wait)

    def miss_all(self) -> None:
        """Give up every told part: the run ends."""
        self.announcer.miss(self._part_ids.give_up(), "the run ended before a picture came")

    def tell_events(self, recorder: Recorder | None) -> None:
        """Tell what happened to the camera, and to what records it."""
        self.announcer.tell(self.camera.take_events())
        if recorder is not None:
            faults = recorder.take_faults()
            self.announcer.tell(CameraEvent(fault.kind, fault.detail) for fault in faults)

    def close(self) -> None:
        """Close the source and the endpoint of the parts."""
        if self.parts is not None:
            self.parts.close()
        self.camera.close()
