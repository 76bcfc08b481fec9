"""What the gate says on MQTT, in the terms of the public contract.

Retained topics are said again after every connect, the status last, and what
the broker refuses of them until it takes it. A result is sent live until its
deadline and not a moment later; what the broker has not confirmed goes to the
history topics, from the outbox.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from edge.contract import StatusMessage, late_payload, plc_line
from edge.mqtt import BrokerSession, Will
from pipeline.results import frame_message, part_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.commands import CommandResult
    from edge.contract import AlarmState, CameraCounts, CameraState, State, Topics, Verdict
    from edge.frame import FrameKey
    from edge.mqtt import BrokerSettings, Incoming
    from pipeline.outbox import Kept, Outbox
    from pipeline.results import FrameResult, LineIdentity, PartVerdict

CONFIRM_POLL_S = 0.01
LIVE_GRACE_NS = 250_000_000
"""A NO_RESULT is decided when its deadline has passed; so much later it is history."""
RETAINED_RETRY_BEATS = 5
"""Heartbeats, one a second, from one try to have retained topics taken to the next."""
HISTORY = {"verdict": "history", "part": "history/part"}


class Publisher:
    """The station's voice."""

    def __init__(
        self,
        settings: BrokerSettings,
        topics: Topics,
        identity: LineIdentity,
        on_confirmed: Callable[[FrameKey, int], None] | None = None,
    ) -> None:
        """Prepare the session; ``start`` makes it.

        Args:
            settings: Where the broker is.
            topics: Of this line.
            identity: What all its results have in common.
            on_confirmed: Called in :meth:`settle` with each frame whose live result the
                broker has confirmed, and when it had, monotonic.
        """
        self._on_confirmed = on_confirmed
        self._told: dict[int, FrameKey] = {}
        """Frames whose live result is on its way, by its receipt; kept for ``on_confirmed``."""
        self._topics = topics
        self._identity = identity
        self._state: State = "WARMING"
        self._lock = threading.Lock()
        self._retained: dict[str, bytes] = {}
        """Payload of each retained topic but the status, which comes after all of them."""
        self._due: dict[str, None] = {}
        """Retained topics that are to be said, in this order."""
        self._numbers: dict[str, int] = {}
        """Receipt of each retained topic's last message; below 0, the outbox counts upwards."""
        self._owed: set[str] = set()
        """Retained topics whose last message the broker has not taken."""
        self._announcing = self._state_is_due = self._reconnected = False
        self._beat = self._last_number = 0
        will = Will(topics.under("status"), self._status("OFFLINE"))
        self._session = BrokerSession(settings, will, on_connect=self._greet)

    @property
    def connected(self) -> bool:
        """Tell whether the broker is there at the moment."""
        return self._session.connected

    @property
    def fault(self) -> str:
        """Why the broker is not there, or what it refuses; empty while all is well."""
        return self._session.fault or self._session.refusal

    def start(self, on_command: Callable[[Incoming], None]) -> None:
        """Connect in the background, and listen for commands; both for ever."""
        self._session.on_message = on_command
        self._session.subscribe(self._topics.command("+"))
        self._session.start()

    def state(self, state: State) -> None:
        """Publish the line's state, retained, where it has changed."""
        with self._lock:
            changed = state != self._state
            self._state = state
            self._state_is_due |= changed
        if changed:
            self._announce()

    def camera(self, camera: str, state: CameraState) -> None:
        """Publish a camera's state, retained, where it has changed."""
        self._retain(self._topics.camera(camera), state.encode())

    def camera_counts(self, camera: str, counts: CameraCounts) -> None:
        """Publish what a camera has counted, retained, where it has changed."""
        self._retain(self._topics.camera_counts(camera), counts.payload())

    def alarm(self, name: str, state: AlarmState) -> None:
        """Publish an alarm's state, retained, where it has changed."""
        self._retain(self._topics.alarm(name), state.encode())

    def rebirth(self) -> None:
        """Say all retained topics again, the status last."""
        with self._lock:
            self._due = dict.fromkeys(self._retained)
            self._state_is_due = True
        self._announce()

    def heartbeat(self) -> None:
        """Count one more second of life; at times say again what is owed."""
        self._beat += 1
        if self._beat % RETAINED_RETRY_BEATS == 0 and self._session.connected:
            self._say_owed()
        self._session.publish(self._topics.under("heartbeat"), str(self._beat).encode(), qos=0)

    def frame(
        self, result: FrameResult, payload: bytes, number: int, outbox: Outbox, now_ns: int
    ) -> None:
        """Publish a frame result's payload, kept as ``number``, while its deadline lasts."""
        until_ns = self._until_ns(result, result.verdict)
        if now_ns < until_ns:
            if self._on_confirmed is not None:
                self._told[number] = result.key
            self._live("verdict", payload, until_ns, number, outbox)

    def part(
        self, part: PartVerdict, payload: bytes, number: int, outbox: Outbox, now_ns: int
    ) -> None:
        """Publish a part verdict: first what the gate is wired to, then its payload."""
        until_ns = self._until_ns(part.first, part.verdict)
        if now_ns >= until_ns:
            return
        line = plc_line(self._identity.gate_boot, part.part_seq, part.part_id, part.verdict)
        self._session.publish(self._topics.under("plc"), line, qos=1, until_ns=until_ns)
        self._live("part", payload, until_ns, number, outbox)

    def history(self, kept: Kept, outbox: Outbox) -> bool:
        """Publish a message that could not be said live; False where the broker takes no more."""
        topic = self._topics.under(HISTORY[kept.topic])
        outbox.sent_late(kept.id)
        taken = self._session.publish(topic, late_payload(kept.payload), qos=1, receipt=kept.id)
        if not taken:
            outbox.outcome(kept.id, confirmed=False)
        return taken

    def settle(self, outbox: Outbox, now_ns: int) -> None:
        """Tell the outbox what the broker has confirmed or refused, and what was lost.

        ``now_ns`` is on the clock of :meth:`Outbox.due`.
        """
        if self._reconnected:
            self._reconnected = False
            outbox.resume()
        for outcome in self._session.outcomes():
            key = self._told.pop(outcome.receipt, None)
            if key is not None and outcome.confirmed and self._on_confirmed is not None:
                self._on_confirmed(key, outcome.at_ns)
            if outcome.receipt < 0:
                if not outcome.confirmed:
                    self._owe(outcome.receipt)
            elif outcome.refused:
                outbox.refused(outcome.receipt, now_ns)
            else:
                outbox.outcome(outcome.receipt, confirmed=outcome.confirmed)

    def heatmap(self, key: FrameKey, png: bytes) -> None:
        """Publish a heatmap for screens."""
        topic = self._topics.heatmap(key.camera, key.boot, key.seq)
        self._session.publish(topic, png, qos=0)

    def answer(self, result: CommandResult) -> None:
        """Publish the answer to a command."""
        self._session.publish(self._topics.command("result"), result.payload(), qos=1)

    def frame_payload(self, result: FrameResult) -> bytes:
        """Return the ``verdict`` message of a frame result."""
        return frame_message(result, self._identity).payload()

    def part_payload(self, part: PartVerdict) -> bytes:
        """Return the ``part`` message of a part verdict."""
        return part_message(part, self._identity).payload()

    def close(self, limit_s: float, last: State = "STOPPED") -> None:
        """Say the last state, wait for confirmations, disconnect; the rest counts as unsent."""
        self.state(last)
        until = time.monotonic() + limit_s
        while self._session.connected and self._owes() and time.monotonic() < until:
            time.sleep(CONFIRM_POLL_S)
        self._session.close()

    def _until_ns(self, result: FrameResult, verdict: Verdict) -> int:
        """Return until when a result may be said live, on the monotonic clock."""
        if not result.live:
            return 0
        deadline_ns = result.announcement.captured_ns + self._identity.deadline_ms * 1_000_000
        return deadline_ns + (LIVE_GRACE_NS if verdict == "NO_RESULT" else 0)

    def _live(self, topic: str, payload: bytes, until_ns: int, number: int, outbox: Outbox) -> None:
        outbox.sent_live(number)
        if not self._session.publish(
            self._topics.under(topic), payload, qos=1, until_ns=until_ns, receipt=number
        ):
            outbox.outcome(number, confirmed=False)

    def _greet(self, _session: BrokerSession) -> None:
        """Say the retained topics to a broker that has just let us in; in its thread."""
        self._reconnected = True
        self.rebirth()

    def _owes(self) -> bool:
        return self._announcing or self._session.unconfirmed > 0

    def _retain(self, topic: str, payload: bytes) -> None:
        with self._lock:
            if self._retained.get(topic) == payload:
                return
            self._retained[topic] = payload
            self._due[topic] = None
        self._announce()

    def _owe(self, number: int) -> None:
        """Take note that a retained message was not taken; a later one on its topic counts."""
        with self._lock:
            self._owed.update(topic for topic, last in self._numbers.items() if last == number)

    def _say_owed(self) -> None:
        """Say again what the broker has not taken, and the status after it."""
        with self._lock:
            if not self._owed:
                return
            self._due.update(
                dict.fromkeys(topic for topic in self._retained if topic in self._owed)
            )
            self._state_is_due = True
        self._announce()

    def _announce(self) -> None:
        """Publish what is due; of two threads that want to, one does it for both.

        So an older state never follows a newer one, and no lock is held while
        paho, which has its own, is called.
        """
        with self._lock:
            if self._announcing:
                return
            self._announcing = True
        while (message := self._next_retained()) is not None:
            topic, payload, number = message
            if not self._session.publish(topic, payload, qos=1, retain=True, receipt=number):
                self._owe(number)

    def _next_retained(self) -> tuple[str, bytes, int] | None:
        """Return the next topic that is due, the status last; None ends the announcing."""
        with self._lock:
            if self._due:
                topic = next(iter(self._due))
                del self._due[topic]
                return self._numbered(topic, self._retained[topic])
            self._announcing = due = self._state_is_due
            self._state_is_due = False
            if not due:
                return None
            return self._numbered(self._topics.under("status"), self._status(self._state))

    def _numbered(self, topic: str, payload: bytes) -> tuple[str, bytes, int]:
        """Return a retained message with its receipt; with the lock held."""
        self._last_number -= 1
        self._numbers[topic] = self._last_number
        self._owed.discard(topic)
        return topic, payload, self._last_number

    def _status(self, state: State) -> bytes:
        message = StatusMessage(
            state=state, boot=self._identity.gate_boot, cfg=self._identity.config_hash
        )
        return message.payload()
