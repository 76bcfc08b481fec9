"""The messages of a broker session: who waits, who is on the way, and what became of each.

paho sends what is over its limit later, however late that is. So it gets no
more than may be on the way at once; the others wait here, in order, and one
whose time has passed when its turn comes is not sent at all. Nothing outlives
its connection: with it, all that is not confirmed is lost, and counted.

This module knows neither paho nor threads of a session: a connection is a
:class:`Link` that can send, and says later what was confirmed.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUE_LIMIT = 10_000
"""Messages that may be unconfirmed, on the way or waiting; 10,000 verdicts are about 5 MB."""
IN_FLIGHT = 20
"""Of these, how many may be on the way: what mosquitto takes in MQTT 5, which the broker
sets there. A smaller limit of the broker is kept, a larger one not used."""
WAITING_LIMIT_QOS_0 = 20
"""Behind so many others a QoS 0 message is refused: by its turn a heartbeat says nothing of now."""

TOPIC_LIMIT_BYTES = 65_535
"""The length of a topic is two bytes on the wire (MQTT 5, section 1.5.4)."""
PAYLOAD_LIMIT_BYTES = 268_000_000
"""A packet may have 268,435,455 bytes (section 2.1.4), its topic included."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be published, and until when."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    until_ns: int | None = None
    """On the queue's clock; when its turn comes later than this, it is not sent."""
    receipt: int | None = None
    """Whoever gives a number gets an :class:`Outcome` with it."""

    def __post_init__(self) -> None:
        """Refuse what could not be published later, in another thread.

        Raises:
            ValueError: Topic or QoS is out of bounds; the message names it.
        """
        size = len(self.topic.encode())
        if not 1 <= size <= TOPIC_LIMIT_BYTES or any(sign in self.topic for sign in "+#\0"):
            msg = f"topic {self.topic[:80]!r}: 1 to {TOPIC_LIMIT_BYTES} bytes without +, # and NUL"
            raise ValueError(msg)
        if self.qos not in (0, 1):
            msg = f"QoS {self.qos} of {self.topic}: only 0 and 1 are published with"
            raise ValueError(msg)
        if len(self.payload) > PAYLOAD_LIMIT_BYTES:
            size = len(self.payload)
            msg = f"payload of {size} bytes to {self.topic}: {PAYLOAD_LIMIT_BYTES} at most"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message that was accepted with a receipt."""

    receipt: int
    confirmed: bool
    """The broker has acknowledged it (QoS 1), or it has left (QoS 0)."""
    refused: str = ""
    """Why the broker did not take it, in MQTT 5; empty where it gave no such answer."""
    at_ns: int = field(default=0, compare=False)
    """When that was known, on the queue's clock."""


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """One connection; each is different from every other."""

    send: Callable[[Message], int | None]
    """Takes a message and returns its packet id, or None where it cannot."""
    in_flight: int = IN_FLIGHT
    """How many messages may be on the way at once."""


class LiveQueue:
    """Messages in order, each counted once: as confirmed, as unsent, or as yet unconfirmed."""

    def __init__(
        self,
        clock_ns: Callable[[], int],
        wakeup: Callable[[], None] | None,
        answered: Callable[[str, str], None] | None = None,
    ) -> None:
        """Prepare an empty queue without a connection.

        Args:
            clock_ns: The clock of ``until_ns``.
            wakeup: Called, without a lock held, when there are outcomes where
                there were none. It must neither block nor raise.
            answered: Called, without a lock held, with the topic of each QoS 1
                message that the broker has answered, and why it refused it or "".
        """
        self.confirmed = 0
        """Messages that the broker has confirmed (QoS 1) or that have left (QoS 0)."""
        self.unsent = 0
        """Messages that were refused here or there, ran out of time, or lost their connection."""
        self._clock_ns = clock_ns
        self._wakeup = wakeup
        self._answered = answered
        # Held for a few assignments, never around ``send``: paho has locks of its own, and
        # holds them when it reports a confirmation.
        self._lock = threading.Lock()
        # Whoever hands over holds this one, so that order is kept; nobody waits for it.
        self._turnstile = threading.Lock()
        self._link: Link | None = None
        self._accepting = False
        self._waiting: deque[Message] = deque()
        self._in_hand: Message | None = None
        self._on_the_way: dict[int, Message] = {}
        self._early: dict[int, str] = {}
        self._answers: list[tuple[str, str]] = []
        self._outcomes: list[Outcome] = []
        self._news = False

    @property
    def link(self) -> Link | None:
        """The connection of the moment."""
        return self._link

    @property
    def unconfirmed(self) -> int:
        """Messages that wait, or are on the way and neither confirmed nor refused."""
        with self._lock:
            return self._count()

    def outcomes(self) -> list[Outcome]:
        """Return what became of messages with receipts since the last call, in order."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def put(self, message: Message) -> bool:
        """Accept a message and send what may be sent; False, and counted, where it is refused.

        Refused is what has no connection, comes too late, or finds too many before it.
        """
        with self._lock:
            taken = self._accepts(message)
            if taken:
                self._waiting.append(message)
            else:
                self.unsent += 1
        if taken:
            self._hand_over()
        return taken

    def open(self, link: Link) -> None:
        """Send over this connection from now on."""
        with self._lock:
            self._link = link
            self._accepting = True

    def settle(self, link: Link, packet: int, *, refused: str = "") -> None:
        """Take the broker's answer to a packet, and send what may follow it.

        The answer is a confirmation, or why the packet was ``refused``.
        """
        with self._lock:
            if self._link is not link:
                return  # all of that connection was settled when it ended
            message = self._on_the_way.pop(packet, None)
            if message is not None:
                self._take_answer(message, refused)
            elif self._in_hand is not None:
                # The answer may overtake the packet id, which ``send`` has yet to return.
                self._early[packet] = refused
        self._hand_over()

    def drop_waiting(self, link: Link) -> None:
        """Send no more over this connection; what is on the way may still be confirmed."""
        with self._lock:
            if self._link is link:
                self._accepting = False
                self._drop_waiting()
        self._tell()

    def shut(self, link: Link) -> None:
        """The connection has ended: what it has not confirmed is unsent."""
        with self._lock:
            if self._link is not link:
                return
            self._link = None
            self._accepting = False
            for message in self._on_the_way.values():
                self._close_account(message, confirmed=False)
            self._on_the_way.clear()
            self._early.clear()
            if self._in_hand is not None:
                self._close_account(self._in_hand, confirmed=False)
                self._in_hand = None
            self._drop_waiting()
        self._tell()

    def _count(self) -> int:
        return len(self._waiting) + len(self._on_the_way) + (self._in_hand is not None)

    def _accepts(self, message: Message) -> bool:
        if not self._accepting or self._late(message) or self._count() >= QUEUE_LIMIT:
            return False
        return message.qos > 0 or len(self._waiting) < WAITING_LIMIT_QOS_0

    def _late(self, message: Message) -> bool:
        return message.until_ns is not None and self._clock_ns() > message.until_ns

    def _hand_over(self) -> None:
        """Send while something may be sent; of several threads one does it for all.

        Who finds another one at it may go: that one looks again after its last message.
        """
        while self._may_send() and self._turnstile.acquire(blocking=False):
            try:
                self._send_next()
            finally:
                self._turnstile.release()
        self._tell()

    def _may_send(self) -> bool:
        with self._lock:
            return self._has_turn()

    def _has_turn(self) -> bool:
        link = self._link
        return link is not None and bool(self._waiting) and len(self._on_the_way) < link.in_flight

    def _send_next(self) -> None:
        """Send the first that waits, or drop it where its time has passed."""
        with self._lock:
            link = self._link
            if link is None or not self._has_turn():
                return  # who held the turnstile before has done it
            message = self._waiting.popleft()
            if self._late(message):
                self._close_account(message, confirmed=False)
                return
            self._in_hand = message
        packet = None
        try:
            packet = link.send(message)
        finally:
            self._sent(message, packet)

    def _sent(self, message: Message, packet: int | None) -> None:
        with self._lock:
            if self._in_hand is not message:
                return  # the connection has ended meanwhile, and the message with it
            self._in_hand = None
            if packet is None:
                self._close_account(message, confirmed=False)
            elif packet in self._early:
                self._take_answer(message, self._early[packet])
            else:
                # Ids come round after 65,535: one that is taken was never answered.
                older = self._on_the_way.pop(packet, None)
                self._on_the_way[packet] = message
                if older is not None:
                    self._close_account(older, confirmed=False)
            self._early.clear()

    def _drop_waiting(self) -> None:
        while self._waiting:
            self._close_account(self._waiting.popleft(), confirmed=False)

    def _take_answer(self, message: Message, refused: str) -> None:
        """Count a message that was confirmed or refused; with the lock held."""
        self._close_account(message, confirmed=not refused, refused=refused)
        if message.qos:
            self._answers.append((message.topic, refused))

    def _close_account(self, message: Message, *, confirmed: bool, refused: str = "") -> None:
        """Count a message; with the lock held, and once for each."""
        self.confirmed += confirmed
        self.unsent += not confirmed
        if message.receipt is not None:
            self._news = self._news or not self._outcomes
            outcome = Outcome(message.receipt, confirmed, refused, self._clock_ns())
            self._outcomes.append(outcome)

    def _tell(self) -> None:
        """Hand on the answers, and wake whoever waits for outcomes; without the lock."""
        with self._lock:
            news, self._news = self._news, False
            answers, self._answers = self._answers, []
        if self._answered is not None:
            for topic, refused in answers:
                self._answered(topic, refused)
        if news and self._wakeup is not None:
            self._wakeup()
