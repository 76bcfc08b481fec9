"""A reference PLC on a real broker: sensors come in as lines, decisions go out.

It does with a broker what the PLC of the line does, so that a plant can be
tried before its PLC is programmed: subscribe to ``plc``, ``heartbeat`` and
``status``, keep the law of :mod:`edge.reject_gate` with a timer of its own,
and decide when a part is at the gate. It publishes nothing.

Everything that happens is stamped where it comes in and queued; one thread,
the caller's, takes it from there, so decisions follow the order of events.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from edge.clock import Clock, SystemClock
from edge.mqtt import BrokerSession, BrokerSettings, Incoming
from edge.reject_gate import Answer, Decision, RejectGate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.contract import Topics

log = logging.getLogger(__name__)

POLL_S = 0.1
"""How long a stop, or the end of the reader, may go unnoticed."""
READ_BYTES = 65_536
COUNTER_DIGITS = 10
"""Of a heartbeat, as a PLC holds it in 32 bits."""
HOPS_MS = 150
"""From the box's answer to the PLC: two hops, box to broker and broker to PLC, and one scan."""

Sensor = Literal["enter", "gate"]
_SENSOR_LINE: TypeAdapter[dict[Sensor, str]] = TypeAdapter(
    Annotated[dict[Sensor, str], Field(min_length=1, max_length=1)]
)
"""One event a line: which sensor, and the id of the part at it."""


class _SensorError(ValueError):
    """A line of the sensors cannot be used; the message shows it."""


@dataclass(frozen=True, slots=True)
class BeltTimes:
    """The PLC's own times."""

    verdict_ms: int
    """How long after its entry a part's verdict counts."""
    belt_ms: int | None = None
    """From the entry sensor to the gate; None where the sensors say when a part is there."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """One decision and its moment."""

    decision: Decision
    at_ms: int
    """Since the simulation was made."""

    def row(self) -> dict[str, str | bool | int | None]:
        """Return the decision as flat names and values."""
        return {
            "part": self.decision.part,
            "open": self.decision.open,
            "why": self.decision.answer.name.lower(),
            "at_ms": self.at_ms,
            "waited_ms": self.decision.waited_ms,
        }


class PlcSim:
    """A reject gate between a broker and the sensors of a belt."""

    def __init__(
        self,
        settings: BrokerSettings,
        topics: Topics,
        times: BeltTimes,
        report: Callable[[GateReport], None],
        clock: Clock | None = None,
    ) -> None:
        """Prepare; nothing is connected yet, and everything would be rejected.

        Args:
            settings: Where the broker is and who we are.
            topics: The station that the gate belongs to.
            times: The PLC's own times.
            report: Told each decision, in the thread of ``run``.
            clock: Its monotonic time is the PLC's timer.

        Raises:
            ValueError: A time is not a positive number of milliseconds.
        """
        if times.belt_ms is not None and times.belt_ms < 1:
            msg = f"belt_ms = {times.belt_ms}: must be at least 1"
            raise ValueError(msg)
        self.received: Counter[str] = Counter()
        """Messages that the broker has brought, by topic."""
        self._retained = 0
        self._bad_lines = 0
        self._gate = RejectGate(times.verdict_ms)
        self._belt_ms = times.belt_ms
        self._report = report
        self._clock = clock or SystemClock()
        self._began_ns = self._clock.monotonic_ns()
        self._answers: Counter[Answer] = Counter()
        self._events: queue.SimpleQueue[tuple[int, Callable[[int], None]]] = queue.SimpleQueue()
        self._arrivals: deque[tuple[int, str]] = deque()
        self._sensors_ended = False
        self._session = BrokerSession(settings)
        self._session.on_message = self._receive
        self._status_topic = topics.under("status")
        # The status comes last: as it is retained, who has it knows of all subscriptions.
        self._takers: dict[str, Callable[[bytes, int], None]] = {
            topics.under("plc"): self._gate.message,
            topics.under("heartbeat"): self._heartbeat,
            self._status_topic: self._status,
        }
        for topic in self._takers:
            self._session.subscribe(topic)

    def connect(self) -> None:
        """Connect to the broker, and again whenever the connection is lost.

        Raises:
            BrokerError: The broker cannot be reached or refuses.
        """
        self._session.connect()

    def close(self) -> None:
        """Leave the broker."""
        self._session.close()

    def feed(self, line: str) -> None:
        """Take a line of the sensors, ``{"enter": ID}`` or ``{"gate": ID}``; from any thread."""
        self._events.put((self._now_ms(), lambda at_ms: self._sense(line, at_ms)))

    def end(self) -> None:
        """Say that the sensors tell no more; from any thread."""
        self._events.put((self._now_ms(), lambda _at_ms: self._note_end()))

    def run(self, stop: Callable[[], bool]) -> None:
        """Decide until the sensors have ended and the belt is empty, or until ``stop``.

        A line of the sensors that cannot be used is logged and counted, and changes nothing:
        its part is unknown at the gate, so it is rejected.
        """
        while not stop() and (self._arrivals or not self._sensors_ended):
            event = self._next_event()
            now_ms = self._now_ms() if event is None else event[0]
            while self._arrivals and self._arrivals[0][0] <= now_ms:
                self._decide(self._arrivals[0][1], self._arrivals.popleft()[0])
            if event is not None:
                event[1](now_ms)

    def run_on(self, descriptor: int, stop: Callable[[], bool]) -> None:
        """As ``run``, with the sensors' lines from a file descriptor."""
        over = threading.Event()
        work = (descriptor, over.is_set)
        reader = threading.Thread(target=self._read, args=work, name="sensors")
        reader.start()
        try:
            self.run(stop)
        finally:
            over.set()
            reader.join()

    def summary(self) -> dict[str, int]:
        """Return how many parts there were, what became of them and why."""
        rejected = {a: self._answers[a] for a in Answer if a is not Answer.PASS}
        return {
            "parts": self._answers.total(),
            "opened": self._answers[Answer.PASS],
            "rejected": sum(rejected.values()),
            **{answer.name.lower(): count for answer, count in rejected.items()},
            "undecided": self._gate.undecided,
            "malformed": self._gate.malformed,
            "ignored": self._gate.ignored,
            "retained": self._retained,
            "bad_lines": self._bad_lines,
        }

    def _now_ms(self) -> int:
        return (self._clock.monotonic_ns() - self._began_ns) // 1_000_000

    def _next_event(self) -> tuple[int, Callable[[int], None]] | None:
        """Wait for what happens next; None where nothing does until the next arrival or poll."""
        wait_s = POLL_S
        if self._arrivals:
            wait_s = min(wait_s, max(0.0, (self._arrivals[0][0] - self._now_ms()) / 1000))
        try:
            return self._events.get(timeout=wait_s)
        except queue.Empty:
            return None

    def _receive(self, message: Incoming) -> None:
        """Stamp and queue a message; runs in the session's thread."""
        self._events.put((self._now_ms(), lambda at_ms: self._take(message, at_ms)))
        self.received[message.topic] += 1

    def _take(self, message: Incoming, at_ms: int) -> None:
        # What the broker had kept is of another time; only the status is meant to be kept.
        if message.retained and message.topic != self._status_topic:
            self._retained += 1
        else:
            self._takers[message.topic](message.payload, at_ms)

    def _heartbeat(self, payload: bytes, at_ms: int) -> None:
        if payload.isdigit() and len(payload) <= COUNTER_DIGITS:
            self._gate.heartbeat(int(payload), at_ms)

    def _status(self, payload: bytes, _at_ms: int) -> None:
        self._gate.status(payload.decode("latin-1"))

    def _note_end(self) -> None:
        self._sensors_ended = True

    def _sense(self, line: str, at_ms: int) -> None:
        try:
            sensor, part = self._parse(line)
        except _SensorError as error:
            self._bad_lines += 1
            log.error("%s", error)
            return
        if sensor == "enter":
            self._gate.enter(part, at_ms)
            if self._belt_ms is not None:
                self._arrivals.append((at_ms + self._belt_ms, part))
        else:
            self._decide(part, at_ms)

    def _parse(self, line: str) -> tuple[Sensor, str]:
        try:
            ((sensor, part),) = _SENSOR_LINE.validate_json(line).items()
        except ValidationError as error:
            msg = f'sensor line {line!r}: must be {{"enter": ID}} or {{"gate": ID}}'
            raise _SensorError(msg) from error
        if sensor == "gate" and self._belt_ms is not None:
            msg = f"sensor line {line!r}: with --belt-ms {self._belt_ms} parts arrive by themselves"
            raise _SensorError(msg)
        return sensor, part

    def _decide(self, part: str, at_ms: int) -> None:
        decision = self._gate.decide(part, at_ms)
        self._answers[decision.answer] += 1
        self._report(GateReport(decision, at_ms))

    def _read(self, descriptor: int, over: Callable[[], bool]) -> None:
        for line in _lines(descriptor, over):
            self.feed(line)
        self.end()


def _lines(descriptor: int, over: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines that are not empty as they come, until the end of the file or ``over``.

    A thread that waits in a read could not be ended; this one asks every ``POLL_S``.
    """
    rest = b""
    while not over():
        if not select.select([descriptor], [], [], POLL_S)[0]:
            continue
        data = os.read(descriptor, READ_BYTES)
        *lines, rest = (rest + data).split(b"\n")
        lines += [] if data else [rest]
        yield from (text for line in lines if (text := line.decode("utf-8", "replace").strip()))
        if not data:
            return
