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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from edge.frame_queue import FrameQueue
from edge.intake import POLL_MS, Intake, IntakeSettings
from edge.notices import NoticeOutbox, receive_notes
from edge.sockets import HIGH_WATER_IMAGES, Context, Socket, connect_dealer, try_send
from edge.wire import Acknowledged, CameraHere, CameraLeft, PartAt, encode_note

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.counter import DurableCounter
    from edge.frame import CameraState
    from edge.recorder import Recorder
    from edge.sources import Source

log = logging.getLogger(__name__)

PRESENCE_NS = 200_000_000
LAST_WORDS_NS = 1_000_000_000
UNACKNOWLEDGED_LIMIT = 64
"""With policy ``wait`` a gate that is behind holds the camera back, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings(IntakeSettings):
    """What ingest needs to know about its camera and its peers."""

    gate_endpoint: str
    scorer_endpoint: str
    queue_frames: int
    drain_s: float
    """How long a finished source waits for the frames that are still out."""


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
        self._counter = counter
        self._boot = boot
        self._clock = clock
        self._said: CameraState | None = None
        """What the gate was told of the camera last."""
        camera, keys = settings.camera, settings.keys
        self._gate = connect_dealer(context, settings.gate_endpoint, camera, keys=keys)
        self._scorer = connect_dealer(
            context, settings.scorer_endpoint, camera, HIGH_WATER_IMAGES, keys=keys
        )
        self._queue = FrameQueue(self._scorer, settings.camera, boot, settings.queue_frames)
        self._recorder = recorder
        self._notices = NoticeOutbox(self._gate, recorder.put if recorder else None)
        self._intake = Intake(settings, source, counter, boot, clock, context, self._notices)
        self._taken: deque[int] = deque()
        """Numbers of the pictures that the source has not let go of."""
        self._next_presence_ns = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until the source is finished and its frames are settled, or ``stop``."""
        poller = zmq.Poller()
        for socket in self._sockets():
            poller.register(socket, zmq.POLLIN)
        wakeup = self._intake.camera.wakeup
        if wakeup is not None:
            poller.register(wakeup.fileno(), zmq.POLLIN)
        while not stop() and not self._settled():
            poller.poll(self._intake.wait_ms(self._may_capture))
            self.step()
        self._finish("the line was stopped" if stop() else "no scorer took it in time")

    def step(self) -> None:
        """Take what has arrived, capture what is due, send what is wanted."""
        if self._intake.camera.wakeup is not None:
            self._intake.camera.wakeup.clear()
        now = self._clock.monotonic_ns()
        self._take_notes()
        self._queue.take_credit()
        self._say_presence(now)
        self._notices.resend(now)
        self._intake.miss_overdue(now)
        if self._may_capture(now):
            self._capture(now)
        self._queue.send()
        self._let_go()

    def close(self) -> None:
        """Close sockets, source and counter; pending sends get their linger time."""
        for socket in (self._gate, self._scorer):
            socket.close()
        self._intake.close()
        self._counter.close()

    def _sockets(self) -> list[Socket]:
        sockets = [self._gate, self._scorer]
        return sockets if self._intake.parts is None else [*sockets, self._intake.parts]

    def _settled(self) -> bool:
        if self._intake.finished_ns is None:
            return False
        waited_s = (self._clock.monotonic_ns() - self._intake.finished_ns) / 1e9
        still_out = len(self._queue) or len(self._notices) or self._queue.in_flight > 0
        return not still_out or waited_s > self._settings.drain_s

    def _may_capture(self, now: int) -> bool:
        if self._notices.full or not self._intake.is_due(now):
            return False
        if self._settings.policy == "drop_oldest" or self._intake.camera.every_picture_counts:
            return True
        behind = len(self._notices) >= UNACKNOWLEDGED_LIMIT
        return self._queue.credit > len(self._queue) and not behind

    def _capture(self, now: int) -> None:
        taken = self._intake.take(now)
        if taken is None:
            return
        self._taken.append(taken.seq)
        frame = taken.frame
        if frame is None:
            return
        if self._recorder is not None:
            self._recorder.put_frame(frame, taken.jpeg)
        oldest = self._queue.put(frame)
        if oldest is not None:
            detail = f"queue of {self._settings.queue_frames} frames full, oldest dropped"
            self._intake.announcer.lose(oldest.announcement, "dropped", detail)

    def _let_go(self) -> None:
        """Let the source put away the pictures that the gate has on disk, oldest first."""
        count = 0
        while self._taken and not self._notices.owes(self._taken[0]):
            self._taken.popleft()
            count += 1
        if count:
            self._intake.camera.let_go(count)

    def _take_notes(self) -> None:
        """Take the gate's acknowledgements, and parts from whoever may tell them."""
        for note in receive_notes(self._gate):
            if isinstance(note, Acknowledged) and note.boot == self._boot:
                self._notices.acknowledge(note)
            elif isinstance(note, PartAt):
                self._intake.expect(note)
        if not self._notices.full:
            self._intake.take_parts()

    def _say_presence(self, now: int) -> None:
        """Tell scorer and gate, five times a second, that the camera is here and how it is.

        A change is told at once.
        """
        if not self._queue.welcome:
            # Until the scorer answers each pass asks it: the first frames must not wait for that.
            self._queue.say_hello()
        state = self._intake.camera.state
        if now < self._next_presence_ns and state == self._said:
            return
        self._said = state
        self._next_presence_ns = now + PRESENCE_NS
        self._queue.say_hello()
        self._intake.tell_events(self._recorder)
        here = CameraHere(
            camera=self._settings.camera,
            boot=self._boot,
            state=state,
            counts=self._intake.announcer.counts(self._intake.camera.counts),
        )
        try_send(self._gate, [encode_note(here)])

    def _lose_waiting(self, detail: str) -> None:
        """Number and lose the pictures of parts that nobody will judge any more."""
        camera, announcer = self._intake.camera, self._intake.announcer
        while camera.every_picture_counts and (picture := camera.take()) is not None:
            announcement = announcer.announce(picture)
            if announcement is not None:
                announcer.lose(announcement, "dropped", detail)

    def _finish(self, detail: str) -> None:
        """Give up what waits and tell the gate for a second; a next start tells it the rest."""
        for frame in self._queue.give_up():
            self._intake.announcer.lose(frame.announcement, "dropped", detail)
        until = self._clock.monotonic_ns() + LAST_WORDS_NS
        while True:
            self._take_notes()
            self._lose_waiting(detail)
            self._intake.miss_all()
            now = self._clock.monotonic_ns()
            self._intake.tell_events(self._recorder)
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
