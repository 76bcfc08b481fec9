"""One ingest between a gate and a scorer that do only what a test tells them to."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import zmq

from edge.camera import CameraChecks
from edge.counter import DurableCounter
from edge.ingest import Ingest, IngestSettings
from edge.intake import Policy
from edge.sockets import Context, Socket, bind_router
from edge.sources import CameraEvent, Capture, EndOfSourceError, Source
from edge.wire import (
    Acknowledged,
    Begins,
    CameraHere,
    Credit,
    Hello,
    Note,
    PartAt,
    decode_frame,
    decode_note,
    encode_note,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge.frame import CameraState, Frame
    from edge.part_ids import PartPolicy
    from edge.recorder import Recorder

BOOT = "0123456789abcdef"
CAMERA = "c1"
LIMIT_MS = 5_000
GREET_MS = 30
MARK = b"end"
"""Follows whatever the camera has sent: behind it comes nothing that was sent before."""
MS = 1_000_000
START_NS = 3_600_000 * MS
START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)

PRESENCE = Hello | CameraHere

_Kind = TypeVar("_Kind", bound=Note)


class FakeClock:
    """Time that passes when it is told to, and by ``tick_ms`` whenever it is looked at."""

    def __init__(self) -> None:
        """Start at one hour."""
        self.ns = START_NS
        self.tick_ms = 0
        self.set_by_s = 0.0
        """By how much somebody has set the wall clock."""

    def now(self) -> datetime:
        """Return the wall-clock time, which goes with the monotonic one."""
        return START + timedelta(microseconds=(self.ns - START_NS) / 1000 + 1e6 * self.set_by_s)

    def monotonic_ns(self) -> int:
        """Return the time, then let a tick pass."""
        self.ns += self.tick_ms * MS
        return self.ns

    def advance_ms(self, ms: int) -> None:
        """Let time pass."""
        self.ns += ms * MS


class FakeSource(Source):
    """Delivers the captures it was given, then ends; an exception is raised."""

    def __init__(self, captures: Iterable[Capture | Exception | None]) -> None:
        """Take the captures in their order."""
        self.left = list(captures)
        self.reads = 0
        self.triggers = self.let_go_of = 0
        self.reopenings: list[str] = []
        self.events: list[CameraEvent] = []
        self.closed = False
        self.now: CameraState = "ONLINE"

    def read(self) -> Capture | None:
        """Return the next capture."""
        self.reads += 1
        if not self.left:
            raise EndOfSourceError
        capture = self.left.pop(0)
        if isinstance(capture, Exception):
            raise capture
        return capture

    def trigger(self) -> None:
        """Count the triggers."""
        self.triggers += 1

    def let_go(self, count: int) -> None:
        """Count the pictures that are on disk elsewhere."""
        self.let_go_of += count

    def reopen(self, reason: str) -> None:
        """Note why it is distrusted."""
        self.reopenings.append(reason)

    @property
    def state(self) -> CameraState:
        """Return what the test says."""
        return self.now

    def take_events(self) -> list[CameraEvent]:
        """Return the test's events, once."""
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        """Note that the source was let go."""
        self.closed = True


def good(number: int = 0, **fields: Any) -> Capture:
    """Return a capture of 2 x 2 pixels of this value."""
    pixels: Any = np.full((2, 2), number, np.uint8)
    return Capture(**({"pixels": pixels, "origin": f"{number}.png"} | fields))


class Peer:
    """The far end of one of ingest's two connections."""

    def __init__(self, context: Context, endpoint: str) -> None:
        """Prepare; nobody is there before ``appear``."""
        self._context = context
        self.endpoint = endpoint
        self.socket: Socket | None = None
        self.camera: Socket
        """The camera's own end, which messages leave in their order."""

    def appear(self) -> None:
        """Bind."""
        self.socket = bind_router(self._context, self.endpoint)

    def vanish(self) -> None:
        """Go away without a word."""
        self._bound.close(linger=0)

    def send(self, note: Note) -> None:
        """Send a note to the camera."""
        self._bound.send_multipart([CAMERA.encode(), encode_note(note)])

    def send_bytes(self, body: bytes) -> None:
        """Send anything to the camera."""
        self._bound.send_multipart([CAMERA.encode(), body])

    def hears(self, limit_ms: int) -> bool:
        """Wait for a message, which stays."""
        return bool(self._bound.poll(limit_ms))

    def take(self) -> list[list[bytes]]:
        """Return what the camera has sent, without the sender."""
        _await(self.camera, zmq.POLLOUT)
        self.camera.send(MARK)
        messages: list[list[bytes]] = []
        while True:
            _await(self._bound)
            message = self._bound.recv_multipart()[1:]
            if message == [MARK]:
                return messages
            messages.append(message)

    def notes(self) -> list[Note]:
        """Return the notes that were sent, without greetings and the start's own."""
        return [note for note in self.all_notes() if not isinstance(note, PRESENCE | Begins)]

    def all_notes(self) -> list[Note]:
        """Return the notes that were sent, greetings and all."""
        return [decode_note(parts[0]) for parts in self.take() if len(parts) == 1]

    def frames(self) -> list[Frame]:
        """Return the frames that were sent."""
        return [decode_frame(parts) for parts in self.take() if len(parts) == 2]

    @property
    def _bound(self) -> Socket:
        if self.socket is None:
            msg = f"nobody is at {self.endpoint}"
            raise LookupError(msg)
        return self.socket


class Rig:
    """An ingest, its clock and source, and the two peers, connected."""

    def __init__(
        self,
        context: Context,
        folder: Path,
        captures: Iterable[Capture | Exception | None],
        *,
        policy: Policy = "drop_oldest",
        queue_frames: int = 8,
        interval_ms: int = 0,
        drain_s: float = 2.0,
        part_policy: PartPolicy = "source",
        part_wait_ms: int = 500,
        told_is_trigger: bool = False,
        checks: CameraChecks | None = None,
        connected: bool = True,
        recorder: Recorder | None = None,
    ) -> None:
        """Start an ingest; with ``connected`` both peers are there and know the camera."""
        self.clock = FakeClock()
        self.source = FakeSource(captures)
        self.gate = Peer(context, f"ipc://{folder}/gate")
        self.scorer = Peer(context, f"ipc://{folder}/scorer")
        self.part_endpoint = f"ipc://{folder}/parts"
        self.counter_path = folder / "c1.count"
        settings = IngestSettings(
            camera=CAMERA,
            gate_endpoint=self.gate.endpoint,
            scorer_endpoint=self.scorer.endpoint,
            policy=policy,
            queue_frames=queue_frames,
            interval_ms=interval_ms,
            drain_s=drain_s,
            part_policy=part_policy,
            part_endpoint=self.part_endpoint,
            part_wait_ms=part_wait_ms,
            told_is_trigger=told_is_trigger,
            checks=checks or CameraChecks(),
        )
        counter = DurableCounter(self.counter_path)
        self.ingest = Ingest(settings, self.source, counter, BOOT, self.clock, context, recorder)
        self.gate.camera, self.scorer.camera = self.ingest._gate, self.ingest._scorer
        if connected:
            self.gate.appear()
            self.scorer.appear()
            self.wait_for_peers()
            self.acknowledge_start()

    def acknowledge_start(self) -> None:
        """Let the gate acknowledge that this ingest begins."""
        self.ingest._notices.resend(self.clock.ns)
        self.gate.take()
        self.acknowledge(self.ingest._counter.value, "begins")
        self.ingest._take_notes()

    def wait_for_peers(self) -> None:
        """Wait until both connections stand."""
        for socket in (self.ingest._gate, self.ingest._scorer):
            _await(socket, zmq.POLLOUT)

    def steps(self, count: int) -> None:
        """Let ingest work."""
        for _ in range(count):
            self.ingest.step()

    def acknowledge(self, seq: int, notice: Any = "announced", boot: str = BOOT) -> None:
        """Let the gate acknowledge, and wait until that has arrived."""
        self.gate.send(Acknowledged(boot=boot, seq=seq, notice=notice))
        _await(self.ingest._gate)

    def tell_part(self, part_id: str) -> None:
        """Let the gate tell the part of the next frame, and wait until that has arrived."""
        self.gate.send(PartAt(part_id=part_id))
        _await(self.ingest._gate)

    def grant(self, settled: int, window: int, boot: str = BOOT) -> None:
        """Let the scorer grant credit, and wait until that has arrived."""
        self.scorer.send(Credit(boot=boot, settled=settled, window=window))
        _await(self.ingest._scorer)

    def meet_scorer(self) -> None:
        """Wait for the camera's greeting, without which the scorer cannot answer."""
        self.ingest._queue.say_hello()
        while not self.scorer.hears(GREET_MS):
            self.ingest._queue.say_hello()


def only(kind: type[_Kind], notes: Iterable[Note]) -> list[_Kind]:
    """Return the notes of one kind."""
    return [note for note in notes if isinstance(note, kind)]


def _await(socket: Socket, what: int = zmq.POLLIN) -> None:
    if not socket.poll(LIMIT_MS, what):
        msg = "no peer or message within the limit"
        raise TimeoutError(msg)
