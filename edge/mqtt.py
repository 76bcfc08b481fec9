"""The broker session: last will, reconnect, and what the broker confirmed.

Each connection is a paho client of its own, made for it and thrown away with
it. paho keeps what a broker has not confirmed and sends it again after a
reconnect, even with a clean session; a verdict that comes minutes late must
not reach a live topic, so nothing outlives its connection here. What was not
confirmed when a connection ended is counted as unsent.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from edge.mqtt_client import BrokerError, BrokerSettings, Protocol, TlsFiles, Will, tls_context
from edge.mqtt_connection import Connection, Hooks, Incoming
from edge.mqtt_queue import Link, LiveQueue, Message, Outcome
from edge.mqtt_refusals import Refusals
from edge.mqtt_retry import RetryDelays

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BrokerError",
    "BrokerSession",
    "BrokerSettings",
    "Incoming",
    "Outcome",
    "Protocol",
    "TlsFiles",
    "Will",
]

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.25
GOODBYE_S = 0.7
"""At close: for what is on the way and the goodbye, before the connection is cut."""
CUT_S = 0.3
LIMIT_BYTES = 65_536


class BrokerSession:
    """Connections to one broker, one after the other, until it is closed.

    Every accepted or refused message is counted once: as ``confirmed``, as
    ``unsent``, or, while its connection lasts, as ``unconfirmed``. What a broker's
    access list forbids is refused in MQTT 5, and logged; a 3.1.1 broker confirms
    it and throws it away, which nobody here can know.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        will: Will | None = None,
        on_connect: Callable[[BrokerSession], None] | None = None,
        *,
        wakeup: Callable[[], None] | None = None,
        limit_bytes: int = LIMIT_BYTES,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Prepare the session; nothing is connected yet.

        Args:
            settings: Where the broker is and who we are.
            will: What the broker says when we are gone.
            on_connect: Runs after every (re)connect, in the session's thread; it
                publishes the retained topics again, the status last.
            wakeup: Runs, in any thread, when there are outcomes or a message has
                come; it must neither block nor raise.
            limit_bytes: Largest payload that is taken in. A larger packet is not
                sent by an MQTT 5 broker; of others, only the size is handed on.
            clock_ns: Monotonic clock of ``until_ns`` and of the retries.
            chance: Returns 0 to 1, for the jitter of the retries.

        Raises:
            BrokerError: A TLS file cannot be used; the message names it.
        """
        if settings.tls is not None:
            tls_context(settings.tls)
        self.on_message: Callable[[Incoming], None] | None = None
        self._settings = settings
        self._will = will
        self._on_connect = on_connect
        self._wakeup = wakeup
        self._limit_bytes = limit_bytes
        self._clock_ns = clock_ns
        self._chance = chance
        self._where = f"MQTT broker {settings.host}:{settings.port}"
        self._refusals = Refusals(settings.username, clock_ns)
        self._queue = LiveQueue(clock_ns, wakeup, self._refusals.answered)
        self._closing = threading.Event()
        self._answered = threading.Event()
        self._greeted = False
        self._fault = "not connected yet"
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._subscriptions: dict[str, int] = {}
        self._connection: Connection | None = None

    @property
    def connected(self) -> bool:
        """Tell whether the broker is there at the moment."""
        return self._queue.link is not None

    @property
    def fault(self) -> str:
        """Why the broker is not there; empty while it is."""
        return "" if self.connected else self._fault

    @property
    def refusal(self) -> str:
        """What the broker, though it is there, does not take, and why; empty where there is none.

        Always empty in MQTT 3.1.1.
        """
        return self._refusals.current if self.connected else ""

    @property
    def confirmed(self) -> int:
        """Messages that the broker has confirmed (QoS 1) or that have left (QoS 0)."""
        return self._queue.confirmed

    @property
    def unsent(self) -> int:
        """Messages that were refused here or there, ran out of time, or lost their connection."""
        return self._queue.unsent

    @property
    def unconfirmed(self) -> int:
        """Messages of this connection that are not confirmed (QoS 1) or have not left (QoS 0)."""
        return self._queue.unconfirmed

    def outcomes(self) -> list[Outcome]:
        """Return what became of messages with receipts since the last call; from any thread."""
        return self._queue.outcomes()

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        if self._thread is not None:
            return
        self._closing = threading.Event()
        self._answered.clear()
        self._greeted = False
        self._fault = "not connected yet"
        name = f"mqtt-{self._settings.client_id}"
        work = (self._closing,)
        self._thread = threading.Thread(None, self._keep_connected, name, work, daemon=True)
        self._thread.start()

    def connect(self, limit_s: float = 5.0) -> None:
        """Start, and wait for the broker's answer; without a good one the session is closed.

        Raises:
            BrokerError: No answer within ``limit_s``, no route, or refused.
        """
        self.start()
        answered = self._answered.wait(limit_s)
        if self._greeted or self.connected:
            return
        msg = f"{self._where} {self._fault if answered else 'does not answer'}"
        self.close()
        raise BrokerError(msg)

    def subscribe(self, topic: str, qos: int = 0) -> None:
        """Subscribe, now and after every reconnect; ``on_message`` runs in the session's thread.

        QoS 0 loses what comes while we are away, and so does QoS 1 with a clean
        session. With QoS 1 in MQTT 5, mosquitto (2.0.11) does not send what is
        larger than ``limit_bytes`` but waits for its confirmation all the same:
        after 20 such messages nothing comes any more.
        """
        with self._lock:
            self._subscriptions[topic] = qos
            connection = self._connection if self.connected else None
        if connection is not None:
            connection.subscribe(topic, qos)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int,
        retain: bool = False,
        until_ns: int | None = None,
        receipt: int | None = None,
    ) -> bool:
        """Hand a message to the broker; False, and counted, where that is not possible.

        Nothing is kept for a broker that is away: a verdict that arrives after
        its deadline is worse than none, and the ledger has it. The same goes
        for a broker that is ``QUEUE_LIMIT`` confirmations behind.

        Args:
            topic: 1 to 65,535 bytes, without wildcards.
            payload: What is sent.
            qos: 0 or 1.
            retain: The broker keeps it for later subscribers.
            until_ns: Where its turn comes later than this, it is not sent.
            receipt: Where it is given and the message is accepted,
                :meth:`outcomes` returns it once, with what became of it.

        Raises:
            ValueError: The topic or the QoS is not one that can be published with.
        """
        return self._queue.put(Message(topic, payload, qos, retain, until_ns, receipt))

    def close(self) -> None:
        """Disconnect cleanly, so that the last will is not sent; not from a callback.

        What waits is unsent. A broker that does not take what is on the way and
        the goodbye within ``GOODBYE_S`` is cut off.
        """
        self._closing.set()
        with self._lock:
            thread, self._thread = self._thread, None
            connection, self._connection = self._connection, None
        if thread is None:
            return
        if connection is not None:
            if connection.link is not None:
                self._queue.drop_waiting(connection.link)
            connection.leave()
        thread.join(GOODBYE_S)
        if connection is not None:
            if thread.is_alive():
                connection.cut()
                thread.join(CUT_S)
            self._ended(connection)
        self._fault = "closed"

    def _keep_connected(self, closing: threading.Event) -> None:
        """Make one connection after the other; the session's thread."""
        delays, told = RetryDelays(FIRST_RETRY_S, self._chance), ""
        while True:
            began_ns = self._clock_ns()
            if self._hold_connection(closing):
                delays.connection_ended(began_ns, self._clock_ns())
                told = ""
            if closing.wait(delays.next_s(self._clock_ns())):
                return
            if self._fault != told:
                told = self._fault
                log.warning("%s %s; trying again", self._where, told)

    def _hold_connection(self, closing: threading.Event) -> bool:
        """Connect and stay until the end; True where the broker had accepted us."""
        hooks = Hooks(self._begin, self._queue.settle, self._received)
        try:
            connection = Connection(self._settings, self._will, self._limit_bytes, hooks)
        except BrokerError as error:  # a TLS file that is not there any more
            self._answer(f"cannot be reached: {error}")
            return False
        with self._lock:
            if closing.is_set():
                connection.discard()
                return False
            self._connection = connection
        fault = "given up"
        try:
            fault = connection.hold(closing.is_set)
        finally:
            if not closing.is_set():
                self._answer(fault)
            self._ended(connection)
        return connection.link is not None

    def _answer(self, fault: str) -> None:
        self._fault = fault
        self._answered.set()

    def _ended(self, connection: Connection) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        if connection.link is not None:
            self._queue.shut(connection.link)

    def _begin(self, connection: Connection, link: Link) -> None:
        with self._lock:
            if self._connection is not connection:
                return  # closed in the meantime
            self._refusals.forget()
            # The session is clean, so the broker has forgotten what was subscribed. It hears
            # that first: whoever sees us connected may count on it for what is published then.
            for topic, qos in self._subscriptions.items():
                connection.subscribe(topic, qos)
            self._queue.open(link)
        log.info("MQTT broker connected")
        if self._on_connect is not None:
            self._on_connect(self)
        self._greeted = True
        self._answered.set()

    def _received(self, message: Incoming) -> None:
        if self.on_message is not None:
            self.on_message(message)
            if self._wakeup is not None:
                self._wakeup()
