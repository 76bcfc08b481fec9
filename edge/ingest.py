"""Ingest: one camera's frames, numbered, announced, and sent when wanted.

Each trigger gets its number from a counter on disk before anything else
happens; the gate is told, and told again until it acknowledges; the pixels
wait here, and only here, until the scorer grants credit. What waits too long
is decided by a named policy, and every drop is announced with its reason.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import zmq
from pydantic import TypeAdapter, ValidationError

from edge.errors import LineError
from edge.frame import ORIGIN_LIMIT, SEQ_LIMIT, Announcement, Frame, PartId
from edge.notices import NoticeOutbox
from edge.sockets import HIGH_WATER_IMAGES, Context, connect_dealer, receive_all, try_send
from edge.sources import Capture, EndOfSourceError, Source
from edge.wire import (
    DETAIL_LIMIT,
    Acknowledged,
    Announced,
    Begins,
    Credit,
    Hello,
    Lost,
    WireError,
    decode_note,
    encode_frame,
    encode_note,
    pixel_shape_fault,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from edge.clock import Clock

log = logging.getLogger(__name__)

HELLO_NS = 200_000_000
POLL_MS = 20
UNACKNOWLEDGED_LIMIT = 64
"""With policy ``wait`` a gate that is behind holds the camera back, too."""
COUNTER_DIGITS = 20

Policy = Literal["wait", "drop_oldest"]
_PART_ID: TypeAdapter[str] = TypeAdapter(PartId)


class IngestError(LineError):
    """Ingest cannot start; the message names the file or endpoint."""


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


class DurableCounter:
    """The number of triggers since the box was built, safe against power loss."""

    def __init__(self, path: Path) -> None:
        """Open or create the counter.

        Raises:
            IngestError: The file cannot be read or written, or holds no number.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.value = read_count(path)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            msg = f"counter {path}: {error.strerror or error}"
            raise IngestError(msg) from error

    def next(self) -> int:
        """Count one trigger; the number is on disk when this returns."""
        self.value += 1
        os.pwrite(self._file, f"{self.value:0{COUNTER_DIGITS}d}\n".encode(), 0)
        os.fsync(self._file)
        return self.value

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_count(path: Path) -> int:
    """Return the durable count of a camera, 0 where it never ran.

    Raises:
        IngestError: The file cannot be read, or holds no number up to SEQ_LIMIT.
    """
    try:
        text = path.read_bytes().strip() or b"0"
    except FileNotFoundError:
        return 0
    except OSError as error:
        msg = f"counter {path}: {error.strerror or error}"
        raise IngestError(msg) from error
    if not text.isdigit() or len(text) > COUNTER_DIGITS or int(text) > SEQ_LIMIT:
        msg = f"counter {path}: {text[:COUNTER_DIGITS]!r} is not a number from 0 to {SEQ_LIMIT}"
        raise IngestError(msg)
    return int(text)


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
    ) -> None:
        """Connect to both peers; neither has to be there yet."""
        self._settings = settings
        self._source = source
        self._counter = counter
        self._boot = boot
        self._clock = clock
        self._gate = connect_dealer(context, settings.gate_endpoint, settings.camera)
        self._scorer = connect_dealer(
            context, settings.scorer_endpoint, settings.camera, HIGH_WATER_IMAGES
        )
        self._waiting: deque[Frame] = deque()
        self._notices = NoticeOutbox(self._gate)
        begins = Begins(camera=settings.camera, boot=boot, seq=counter.value)
        self._notices.put(begins, clock.monotonic_ns())
        self._sent = 0
        self._settled_frames = 0
        self._window = 0
        self._finished_ns: int | None = None
        self._next_hello_ns = 0
        self._next_capture_ns = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until the source is finished and its frames are settled, or ``stop``."""
        poller = zmq.Poller()
        poller.register(self._gate, zmq.POLLIN)
        poller.register(self._scorer, zmq.POLLIN)
        while not stop() and not self._settled():
            poller.poll(self._wait_ms())
            self.step()
        self._give_up_waiting("the line was stopped" if stop() else "no scorer took it in time")
        self._await_acknowledgements(poller)

    def step(self) -> None:
        """Take what has arrived, capture what is due, send what is wanted."""
        now = self._clock.monotonic_ns()
        self._take_acknowledgements()
        self._take_credit()
        self._say_hello(now)
        self._notices.resend(now)
        if self._may_capture(now):
            self._capture(now)
        self._send_frames()

    def close(self) -> None:
        """Close sockets, source and counter; pending sends get their linger time."""
        self._gate.close()
        self._scorer.close()
        self._source.close()
        self._counter.close()

    def _settled(self) -> bool:
        if self._finished_ns is None:
            return False
        waited_s = (self._clock.monotonic_ns() - self._finished_ns) / 1e9
        still_out = self._waiting or len(self._notices) or self._sent > self._settled_frames
        return not still_out or waited_s > self._settings.drain_s

    def _credit(self) -> int:
        return self._window - (self._sent - self._settled_frames)

    def _wait_ms(self) -> int:
        due_ns = self._next_capture_ns - self._clock.monotonic_ns()
        if self._may_capture(self._next_capture_ns):
            return max(0, min(POLL_MS, due_ns // 1_000_000))
        return POLL_MS

    def _may_capture(self, now: int) -> bool:
        if self._finished_ns is not None or now < self._next_capture_ns:
            return False
        if self._notices.full:
            return False
        if self._settings.policy == "drop_oldest":
            return True
        return self._credit() > len(self._waiting) and len(self._notices) < UNACKNOWLEDGED_LIMIT

    def _capture(self, now: int) -> None:
        captured_at, captured_ns = self._clock.now(), self._clock.monotonic_ns()
        try:
            capture = self._source.read()
        except EndOfSourceError:
            self._finished_ns = now
            log.info("camera %s: source finished", self._settings.camera)
            return
        if capture is None:
            return
        self._next_capture_ns = now + self._settings.interval_ms * 1_000_000
        fault = _fault(capture)
        announcement = self._announcement(capture, captured_at, captured_ns)
        if capture.pixels is None or fault:
            self._lose(announcement, "corrupt", fault)
            return
        self._notices.put(Announced(announcement=announcement), now)
        self._waiting.append(
            Frame(announcement, capture.pixels, capture.pixel_format, capture.bit_depth)
        )
        self._enforce_queue_limit()

    def _announcement(
        self, capture: Capture, captured_at: datetime, captured_ns: int
    ) -> Announcement:
        seq = self._counter.next()
        part_id = "" if _part_id_fault(capture) else capture.part_id
        return Announcement(
            camera=self._settings.camera,
            boot=self._boot,
            seq=seq,
            part_id=part_id or f"{self._settings.camera}-{seq:08d}",
            captured_at=captured_at,
            captured_ns=captured_ns,
            origin=capture.origin[:ORIGIN_LIMIT],
        )

    def _enforce_queue_limit(self) -> None:
        while len(self._waiting) > self._settings.queue_frames:
            frame = self._waiting.popleft()
            detail = f"queue of {self._settings.queue_frames} frames full, oldest dropped"
            self._lose(frame.announcement, "dropped", detail)

    def _give_up_waiting(self, detail: str) -> None:
        while self._waiting:
            self._lose(self._waiting.popleft().announcement, "dropped", detail)

    def _lose(
        self, announcement: Announcement, why: Literal["corrupt", "dropped"], detail: str
    ) -> None:
        note = Lost(announcement=announcement, why=why, detail=detail[:DETAIL_LIMIT])
        self._notices.put(note, self._clock.monotonic_ns())

    def _take_acknowledgements(self) -> None:
        for parts in receive_all(self._gate):
            note = _decode(parts)
            if isinstance(note, Acknowledged) and note.boot == self._boot:
                self._notices.acknowledge(note)

    def _take_credit(self) -> None:
        for parts in receive_all(self._scorer):
            note = _decode(parts)
            if isinstance(note, Credit) and note.boot == self._boot:
                self._settled_frames = max(self._settled_frames, note.settled)
                self._window = note.window

    def _say_hello(self, now: int) -> None:
        if now >= self._next_hello_ns:
            self._next_hello_ns = now + HELLO_NS
            hello = Hello(camera=self._settings.camera, boot=self._boot, sent=self._sent)
            try_send(self._scorer, [encode_note(hello)])

    def _send_frames(self) -> None:
        while self._waiting and self._credit() > 0:
            if not try_send(self._scorer, list(encode_frame(self._waiting[0]))):
                return
            self._waiting.popleft()
            self._sent += 1

    def _await_acknowledgements(self, poller: zmq.Poller) -> None:
        """Keep telling the gate for a second; what it misses it learns at the next start."""
        until = self._clock.monotonic_ns() + 1_000_000_000
        while len(self._notices) and self._clock.monotonic_ns() < until:
            poller.poll(POLL_MS)
            self._take_acknowledgements()
            self._notices.resend(self._clock.monotonic_ns())
        if len(self._notices):
            log.warning(
                "camera %s: %d notices not acknowledged by the gate",
                self._settings.camera,
                len(self._notices),
            )


def _fault(capture: Capture) -> str:
    """Say why a capture cannot be inspected; empty if it can."""
    if capture.fault or capture.pixels is None:
        return capture.fault or "no pixels"
    fault = pixel_shape_fault(capture.pixels, capture.pixel_format, capture.bit_depth)
    fault = fault or _part_id_fault(capture)
    return f"{capture.origin}: {fault}" if fault and capture.origin else fault


def _part_id_fault(capture: Capture) -> str:
    if not capture.part_id:
        return ""
    try:
        _PART_ID.validate_python(capture.part_id)
    except ValidationError:
        allowed = "1 to 48 visible ASCII characters without ; and quotes or backslashes"
        return f"part id {capture.part_id!r} is not {allowed}"
    return ""


def _decode(parts: list[memoryview]) -> object:
    try:
        return decode_note(parts[-1])
    except WireError as error:
        log.warning("ingest ignored a message: %s", error)
        return None
