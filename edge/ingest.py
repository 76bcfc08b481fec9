"""Ingest: one camera's frames, numbered, announced, and sent when wanted.

Each trigger gets its number from a counter on disk before anything else
happens; the gate is told, and told again until it acknowledges; the pixels
wait here, and only here, until the scorer grants credit. What waits too long
is decided by a named policy, and every drop is announced with its reason, as
is every part that was told and never seen, every trigger without a picture,
and every picture that must not be judged.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import zmq

from edge.announcer import Announcer
from edge.camera import Camera, CameraChecks
from edge.frame import CameraState, Frame
from edge.frame_queue import FrameQueue
from edge.notices import NoticeOutbox, receive_notes
from edge.part_ids import PartIds, PartPolicy, ToldPart
from edge.sockets import HIGH_WATER_IMAGES, Context, Socket, bind_router, connect_dealer, try_send
from edge.sources import CameraEvent, EndOfSourceError, Source
from edge.wire import (
    Acknowledged,
    Begins,
    CameraHere,
    CameraLeft,
    PartAt,
    encode_note,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.counter import DurableCounter
    from edge.keys import LineKeys
    from edge.recorder import Recorder

log = logging.getLogger(__name__)

PRESENCE_NS = 200_000_000
POLL_MS = 20
LAST_WORDS_NS = 1_000_000_000
PARTS_A_STEP = 16
"""Told parts that one step takes; a flood of them must not hold up the frames."""
UNACKNOWLEDGED_LIMIT = 64
"""With policy ``wait`` a gate that is behind holds the camera back, too."""

Policy = Literal["wait", "drop_oldest"]


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """What ingest needs to know about its camera and its peers."""

    camera: str
    gate_endpoint: str
    scorer_endpoint: str
    policy: Policy
    queue_frames: int
    interval_ms: int
    drain_s: float
    """How long a finished source waits for the frames that are still out."""
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


class Ingest:
    """Moves captures from one source to gate and scorer."""

    def __init__(
        self,
        settings: IngestSettings,
        source: Source,
        counter: DurableCounter,
        boot: str,
        clock: Clock,
        context: Context,
        recorder: Recorder | None = None,
    ) -> None:
        """Connect to both peers, which need not be there yet, and bind for told parts.

        A ``recorder`` gets every notice and every frame; it stays the caller's.

        Raises:
            EndpointError: An endpoint cannot be connected to or bound.
        """
        self._settings = settings
        self._camera = Camera(source, settings.checks, clock)
        self._counter = counter
        self._boot = boot
        self._clock = clock
        self._said: CameraState | None = None
        """What the gate was told of the camera last."""
        self._part_ids = PartIds(
            settings.camera,
            settings.part_policy,
            settings.part_wait_ms,
            after_telling=settings.told_is_trigger,
        )
        self._parts: Socket | None = None
        if self._part_ids.listens and settings.part_endpoint:
            self._parts = bind_router(context, settings.part_endpoint, keys=settings.keys)
        camera, keys = settings.camera, settings.keys
        self._gate = connect_dealer(context, settings.gate_endpoint, camera, keys=keys)
        self._scorer = connect_dealer(
            context, settings.scorer_endpoint, camera, HIGH_WATER_IMAGES, keys=keys
        )
        self._queue = FrameQueue(self._scorer, settings.camera, boot, settings.queue_frames)
        self._recorder = recorder
        self._notices = NoticeOutbox(self._gate, recorder.put if recorder else None)
        self._announcer = Announcer(camera, boot, self._part_ids, counter, self._notices, clock)
        begins = Begins(camera=settings.camera, boot=boot, seq=counter.value)
        self._notices.put(begins, clock.monotonic_ns())
        self._taken: deque[int] = deque()
        """Numbers of the pictures that the source has not let go of."""
        self._finished_ns: int | None = None
        self._next_presence_ns = 0
        self._next_capture_ns = 0
        self._nothing_waits = False
        """Whether the camera had no picture when it was asked last; it wakes us for the next."""

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until the source is finished and its frames are settled, or ``stop``."""
        poller = zmq.Poller()
        for socket in self._sockets():
            poller.register(socket, zmq.POLLIN)
        if self._camera.wakeup is not None:
            poller.register(self._camera.wakeup.fileno(), zmq.POLLIN)
        while not stop() and not self._settled():
            poller.poll(self._wait_ms())
            self.step()
        self._finish("the line was stopped" if stop() else "no scorer took it in time")

    def step(self) -> None:
        """Take what has arrived, capture what is due, send what is wanted."""
        if self._camera.wakeup is not None:
            self._camera.wakeup.clear()
        now = self._clock.monotonic_ns()
        self._take_notes()
        self._queue.take_credit()
        self._say_presence(now)
        self._notices.resend(now)
        wait = f"no picture within {self._settings.part_wait_ms} ms"
        self._announcer.miss(self._part_ids.overdue(now), wait)
        if self._may_capture(now):
            self._capture(now)
        self._queue.send()
        self._let_go()

    def close(self) -> None:
        """Close sockets, source and counter; pending sends get their linger time."""
        for socket in self._sockets():
            socket.close()
        self._camera.close()
        self._counter.close()

    def _sockets(self) -> list[Socket]:
        sockets = [self._gate, self._scorer]
        return sockets if self._parts is None else [*sockets, self._parts]

    def _settled(self) -> bool:
        if self._finished_ns is None:
            return False
        waited_s = (self._clock.monotonic_ns() - self._finished_ns) / 1e9
        still_out = len(self._queue) or len(self._notices) or self._queue.in_flight > 0
        return not still_out or waited_s > self._settings.drain_s

    def _wait_ms(self) -> int:
        due_ns = self._next_capture_ns - self._clock.monotonic_ns()
        sleeps = self._nothing_waits and self._camera.wakeup is not None
        if not sleeps and self._may_capture(self._next_capture_ns):
            return max(0, min(POLL_MS, due_ns // 1_000_000))
        return POLL_MS

    def _may_capture(self, now: int) -> bool:
        if self._finished_ns is not None or now < self._next_capture_ns:
            return False
        if self._notices.full or not self._is_asked_for():
            return False
        if self._settings.policy == "drop_oldest" or self._camera.every_picture_counts:
            return True
        behind = len(self._notices) >= UNACKNOWLEDGED_LIMIT
        return self._queue.credit > len(self._queue) and not behind

    def _is_asked_for(self) -> bool:
        """Tell whether a recording, which has a picture at any time, should give one."""
        live = self._camera.wakeup is not None
        return live or not self._settings.told_is_trigger or self._part_ids.expects

    def _capture(self, now: int) -> None:
        try:
            picture = self._camera.take()
        except EndOfSourceError:
            self._finished_ns = now
            log.info("camera %s: source finished", self._settings.camera)
            return
        self._nothing_waits = picture is None
        if picture is None:
            return
        if not self._camera.every_picture_counts:
            self._next_capture_ns = now + self._settings.interval_ms * 1_000_000
        announcement = self._announcer.announce(picture)
        self._taken.append(self._counter.value)
        capture = picture.capture
        if announcement is None or capture.pixels is None:
            return
        frame = Frame(
            announcement,
            capture.pixels,
            capture.pixel_format,
            capture.bit_depth,
            capture.offset_px,
        )
        if self._recorder is not None:
            self._recorder.put_frame(frame)
        oldest = self._queue.put(frame)
        if oldest is not None:
            detail = f"queue of {self._settings.queue_frames} frames full, oldest dropped"
            self._announcer.lose(oldest.announcement, "dropped", detail)

    def _let_go(self) -> None:
        """Let the source put away the pictures that the gate has on disk, oldest first."""
        count = 0
        while self._taken and not self._notices.owes(self._taken[0]):
            self._taken.popleft()
            count += 1
        if count:
            self._camera.let_go(count)

    def _take_notes(self) -> None:
        """Take the gate's acknowledgements, and parts from whoever may tell them."""
        for note in receive_notes(self._gate):
            if isinstance(note, Acknowledged) and note.boot == self._boot:
                self._notices.acknowledge(note)
            elif isinstance(note, PartAt):
                self._expect(note)
        if self._parts is None or self._notices.full:
            return
        for note in receive_notes(self._parts, PARTS_A_STEP):
            if isinstance(note, PartAt):
                self._expect(note)

    def _expect(self, note: PartAt) -> None:
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
        if self._camera.state == "LOST":
            self._announcer.miss([told], "the camera is not there", "camera_lost")
            return
        self._announcer.miss(self._part_ids.tell(told), "too many told parts waited for pictures")
        if self._settings.told_is_trigger:
            self._camera.trigger()

    def _say_presence(self, now: int) -> None:
        """Tell scorer and gate, five times a second, that the camera is here and how it is.

        A change is told at once.
        """
        if not self._queue.welcome:
            # Until the scorer answers each pass asks it: the first frames must not wait for that.
            self._queue.say_hello()
        state = self._camera.state
        if now < self._next_presence_ns and state == self._said:
            return
        self._said = state
        self._next_presence_ns = now + PRESENCE_NS
        self._queue.say_hello()
        self._tell_events()
        here = CameraHere(
            camera=self._settings.camera,
            boot=self._boot,
            state=state,
            counts=self._announcer.counts(self._camera.counts),
        )
        try_send(self._gate, [encode_note(here)])

    def _tell_events(self) -> None:
        """Tell what happened to the camera and to its recording."""
        self._announcer.tell(self._camera.take_events())
        if self._recorder is not None:
            faults = self._recorder.take_faults()
            self._announcer.tell(CameraEvent(fault.kind, fault.detail) for fault in faults)

    def _lose_waiting(self, detail: str) -> None:
        """Number and lose the pictures of parts that nobody will judge any more."""
        while self._camera.every_picture_counts and (picture := self._camera.take()) is not None:
            announcement = self._announcer.announce(picture)
            if announcement is not None:
                self._announcer.lose(announcement, "dropped", detail)

    def _finish(self, detail: str) -> None:
        """Give up what waits and tell the gate for a second; a next start tells it the rest."""
        for frame in self._queue.give_up():
            self._announcer.lose(frame.announcement, "dropped", detail)
        until = self._clock.monotonic_ns() + LAST_WORDS_NS
        while True:
            self._take_notes()
            self._lose_waiting(detail)
            self._announcer.miss(self._part_ids.give_up(), "the run ended before a picture came")
            now = self._clock.monotonic_ns()
            self._tell_events()
            self._notices.resend(now)
            if not len(self._notices) or now >= until:
                break
            self._gate.poll(POLL_MS)
        self._let_go()
        if len(self._notices):
            log.warning(
                "camera %s: %d notices not acknowledged by the gate",
                self._settings.camera,
                len(self._notices),
            )
        left = CameraLeft(camera=self._settings.camera, boot=self._boot)
        try_send(self._gate, [encode_note(left)])
