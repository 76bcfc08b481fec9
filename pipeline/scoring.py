"""The scorer's loop around an inspector: frames in, inspections out, orders obeyed.

Cameras send frames on credit and take turns; the scorer inspects one frame, or
a few with one call of the backbone, sends each inspection to the gate at once
and the image of a frame worth keeping after it. An order of the gate holds for
every frame inspected after it was read. The scorer holds no promise: if it dies, the gate
answers for its frames. The inspector is given, so nothing here imports torch.

With a worker the inspector works in that thread, one turn at a time. Meanwhile the loop
takes the frames that arrive and has the next turn made ready; orders wait for the end of
the turn, so whatever has a state changes in one order only.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import zmq

from edge.sockets import (
    HIGH_WATER_IMAGES,
    Context,
    bind_router,
    connect_dealer,
    receive_all,
    try_send,
)
from edge.wakeup import Wakeup
from edge.wire import (
    Credit,
    Hello,
    Order,
    ScorerLeft,
    ScorerUp,
    WireError,
    decode_frame,
    decode_note,
    encode_note,
)
from pipeline.evidence_encoder import EvidenceEncoder
from pipeline.frame_turns import FrameTurns
from pipeline.inspection import encode_inspection
from pipeline.line_keys import line_keys
from pipeline.scorer_orders import FrameInspector, ScorerOrders

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from edge.clock import Clock
    from edge.frame import Frame
    from pipeline.config import Config
    from pipeline.inspection import Inspection

log = logging.getLogger(__name__)

POLL_MS = 50
PRESENCE_NS = 200_000_000
UNSENT_LIMIT = 64
"""Inspections that wait for a gate that is away; by then their deadlines are long past."""
DRAIN_MS = 100
DRAIN_LIMIT_NS = 1_000_000_000
"""How long a stopping scorer finishes what it holds; the gate answers for the rest."""


@dataclass(slots=True)
class CameraLink:
    """One camera's account: what it sent and what is settled.

    Totals, not increments: what the camera counts as sent and is not held here
    is finished, or was lost on the way or by an earlier scorer.
    """

    boot: str
    sent_seen: int = 0
    received_since: int = 0
    held: int = 0

    def hello(self, boot: str, sent: int) -> None:
        """Take the camera's own count; everything it sent before has arrived or is lost."""
        if boot != self.boot:
            self.boot, self.held = boot, 0
        self.sent_seen, self.received_since = sent, 0

    def received(self, boot: str) -> None:
        """Count a frame that has arrived."""
        if boot != self.boot:
            self.boot, self.held, self.sent_seen, self.received_since = boot, 0, 0, 0
        self.received_since += 1
        self.held += 1

    def finished(self, boot: str) -> None:
        """Count a frame that is inspected, unless its camera was restarted since."""
        if boot == self.boot:
            self.held -= 1

    @property
    def settled(self) -> int:
        """Frames of this boot that are not on their way any more."""
        return max(0, self.sent_seen + self.received_since - self.held)


class WindowKeeper(Protocol):
    """Writes windows down between two frames."""

    def due(self, *, idle: bool) -> bool:
        """Tell whether it is time to; ``idle`` where no frame waits."""
        ...

    def keep(self, *, idle: bool) -> None:
        """Do what is due."""
        ...


class Scoring:
    """Moves frames from the cameras through the inspector to the gate."""

    def __init__(
        self,
        config: Config,
        inspector: FrameInspector,
        model: str,
        clock: Clock,
        context: Context,
        worker: ThreadPoolExecutor | None = None,
        keeper: WindowKeeper | None = None,
    ) -> None:
        """Bind for the cameras and connect to the gate.

        Args:
            config: The line's settings.
            inspector: Whoever looks at the frames.
            model: Digest of backbone and weights, told to the gate.
            clock: For presence and the drain at the end.
            context: Owner of the sockets.
            worker: One thread, for the inspector to work in; shut down by ``close``.
                Without it the loop inspects itself, and nothing is made ready meanwhile.
            keeper: Asked after each turn, and while there is none.

        Raises:
            KeysError: The keys of the line cannot be read.
            EndpointError: The endpoint for frames cannot be bound.
        """
        self._window = config.transport.in_flight_frames
        self._inspector = inspector
        self._clock = clock
        self._boot = secrets.token_hex(8)
        self._model = model
        self._orders = ScorerOrders(inspector, [camera.id for camera in config.camera])
        keys = line_keys(config)
        self._cameras = bind_router(
            context, config.endpoint("frames"), HIGH_WATER_IMAGES, keys=keys
        )
        self._gate = connect_dealer(
            context,
            config.endpoint("inspections"),
            f"scorer-{self._boot}",
            HIGH_WATER_IMAGES,
            keys=keys,
        )
        self._stopping = False
        self._links: dict[bytes, CameraLink] = {}
        self._held = FrameTurns()
        self._unsent: deque[list[bytes]] = deque()
        self._next_presence_ns = 0
        self._worker = worker
        self._keeper = keeper
        self._wakeup = Wakeup()
        self._evidence = EvidenceEncoder(self._wakeup.set)
        self._prepared = 0
        """Frames of the next turn that are made ready."""
        self._busy = zmq.Poller()
        self._busy.register(self._cameras, zmq.POLLIN)
        self._busy.register(self._wakeup.fileno(), zmq.POLLIN)

    def run(self, stop: Callable[[], bool]) -> None:
        """Inspect until ``stop``; then finish what is held or on its way, without new credit."""
        poller = zmq.Poller()
        poller.register(self._cameras, zmq.POLLIN)
        poller.register(self._gate, zmq.POLLIN)
        poller.register(self._wakeup.fileno(), zmq.POLLIN)
        while not stop():
            poller.poll(0 if self._held else POLL_MS)
            self.step()
        self._stopping = True
        until = self._clock.monotonic_ns() + DRAIN_LIMIT_NS
        while self._held or self._cameras.poll(DRAIN_MS):
            self.step()
            if self._clock.monotonic_ns() > until:
                log.warning("stopped with %d frames not inspected", len(self._held))
                break
        self._unsent += self._evidence.finish()
        self._flush()
        try_send(self._gate, [encode_note(ScorerLeft(scorer=self._boot))])

    def step(self) -> None:
        """Take what has arrived, inspect a frame or a batch, send what can be sent."""
        self._wakeup.clear()
        self._take_messages()
        self._take_orders()
        self._say_presence()
        # What is made ready is the whole turn, so that it is not made ready in vain.
        limit, self._prepared = self._prepared or self._inspector.batch_frames, 0
        if turn := self._held.take(limit):
            self._inspect(turn)
        self._unsent += self._evidence.done()
        self._flush()
        self._keep_windows()

    def _keep_windows(self) -> None:
        """Have windows written down that are due, where the inspector works."""
        keeper, idle = self._keeper, not self._held
        if keeper is None or not keeper.due(idle=idle):
            return
        if self._worker is None:
            keeper.keep(idle=idle)
        else:
            self._worker.submit(keeper.keep, idle=idle).result()

    def _flush(self) -> None:
        while self._unsent and try_send(self._gate, list(self._unsent[0])):
            self._unsent.popleft()
        while len(self._unsent) > UNSENT_LIMIT:
            self._unsent.popleft()
            log.warning("no gate: an inspection is given up, its deadline is long past")

    def close(self) -> None:
        """Close the sockets; inspections on their way get their linger time."""
        if self._worker is not None:
            self._worker.shutdown()
        self._evidence.close()
        self._cameras.close()
        self._gate.close()
        self._wakeup.close()

    def _take_messages(self) -> None:
        for identity, *parts in receive_all(self._cameras):
            sender = bytes(identity)
            try:
                if len(parts) == 1:
                    self._take_hello(sender, parts[0])
                else:
                    frame = decode_frame(parts)
                    self._held.put(sender, frame)
                    self._link(sender).received(frame.key.boot)
            except WireError as error:
                log.warning("the scorer refused a message from %s: %s", sender, error)

    def _take_orders(self) -> None:
        for parts in receive_all(self._gate):
            try:
                note = decode_note(parts[-1])
            except WireError as error:
                log.warning("the scorer refused a message from the gate: %s", error)
                continue
            if not isinstance(note, Order):
                log.warning("the scorer takes no %s from the gate", note.kind)
                continue
            # Behind the inspections that wait: they were made before it.
            self._unsent.append([encode_note(self._orders.answer(note))])
            self._flush()
            # The gate hears of another recipe at once, not at the next beat.
            self._next_presence_ns = 0

    def _say_presence(self) -> None:
        now = self._clock.monotonic_ns()
        if now < self._next_presence_ns:
            return
        self._next_presence_ns = now + PRESENCE_NS
        up = ScorerUp(scorer=self._boot, model=self._model, recipe=self._inspector.recipe)
        try_send(self._gate, [encode_note(up)])

    def _take_hello(self, sender: bytes, part: memoryview) -> None:
        note = decode_note(part)
        if isinstance(note, Hello):
            self._link(sender).hello(note.boot, note.sent)
            self._grant(sender)

    def _link(self, sender: bytes) -> CameraLink:
        return self._links.setdefault(sender, CameraLink(boot=""))

    def _inspect(self, turn: Sequence[tuple[bytes, Frame]]) -> None:
        frames = [frame for _, frame in turn]
        if self._worker is None:
            seen = self._seen(frames)
        else:
            seen = self._seen_beside(self._worker, frames)
        for (sender, frame), inspection in zip(turn, seen, strict=True):
            self._settle(sender, frame, inspection)

    def _seen(self, frames: Sequence[Frame]) -> list[Inspection]:
        alone = len(frames) == 1
        return (
            [self._inspector.inspect(frames[0])] if alone else self._inspector.inspect_batch(frames)
        )

    def _seen_beside(self, worker: ThreadPoolExecutor, frames: Sequence[Frame]) -> list[Inspection]:
        """Let the worker inspect; until it is done take frames in, and have the next made ready."""
        work = worker.submit(self._seen, frames)
        work.add_done_callback(lambda _work: self._wakeup.set())
        while not work.done():
            if not self._prepared and (heads := self._held.heads(self._inspector.batch_frames)):
                self._prepared = len(heads)
                self._inspector.prepare(heads)
            self._busy.poll(POLL_MS)
            self._wakeup.clear()
            self._take_messages()
            self._say_presence()
        return work.result()

    def _settle(self, sender: bytes, frame: Frame, inspection: Inspection) -> None:
        """Send what the inspector said, and let the camera send its next frame."""
        self._unsent.append([b"inspection", *encode_inspection(inspection)])
        self._flush()
        if inspection.evidence:
            self._evidence.put(frame)
        self._link(sender).finished(frame.key.boot)
        self._grant(sender)

    def _grant(self, sender: bytes) -> None:
        link = self._link(sender)
        if link.boot and not self._stopping:
            credit = Credit(boot=link.boot, settled=link.settled, window=self._window)
            try_send(self._cameras, [sender, encode_note(credit)])
