"""The broker session: last will, reconnect, and what the broker confirmed.

Each connection is a paho client of its own, made for it and thrown away with
it. paho keeps what a broker has not confirmed and sends it again after a
reconnect, even with a clean session; a verdict that comes minutes late must
not reach a live topic, so nothing outlives its connection here. What was not
confirmed when a connection ended is counted as unsent.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger(__name__)

Protocol = Literal["5", "3.1.1"]

QUEUE_LIMIT = 10_000
"""Messages that may wait for a confirmation; 10,000 verdicts are about 5 MB."""
IN_FLIGHT: dict[Protocol, int] = {"3.1.1": 1_000, "5": 20}
"""Of these, how many may be on their way. In MQTT 5 the broker sets the limit,
and more would be a protocol error; mosquitto's is 20, smaller ones are learned."""
KEEPALIVE_S = 5
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 10.0
LOOP_S = 1.0
GOODBYE_S = 0.7
"""At close: for what is queued and the goodbye, before the connection is cut."""
CUT_S = 0.3


class BrokerError(LineError):
    """The broker cannot be reached or refuses; the message names host and port."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is and who we are to it."""

    host: str
    port: int
    protocol: Protocol
    client_id: str
    username: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says in our name, retained, when we are gone."""

    topic: str
    payload: bytes


class BrokerSession:
    """Connections to one broker, one after the other, until it is closed.

    Every accepted or refused message is counted once: as ``confirmed``, as
    ``unsent``, or, while its connection lasts, as ``unconfirmed``.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        will: Will | None = None,
        on_connect: Callable[[BrokerSession], None] | None = None,
    ) -> None:
        """Prepare the session; nothing is connected yet.

        ``on_connect`` runs after every (re)connect, in the session's thread; it
        publishes the retained topics again, the status last.
        """
        self.confirmed = 0
        """Messages that the broker has confirmed (QoS 1) or that have left (QoS 0)."""
        self.unsent = 0
        """Messages that were refused here or there, or lost with their connection."""
        self.on_message: Callable[[str, bytes], None] | None = None
        self._settings = settings
        self._will = will
        self._on_connect = on_connect
        self._where = f"MQTT broker {settings.host}:{settings.port}"
        self._closing = threading.Event()
        self._answered = threading.Event()
        self._fault = self._refusal = ""
        # Held for a few assignments only, never around a call of paho: paho calls
        # ``_published`` under its own lock for outgoing messages.
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._subscriptions: dict[str, int] = {}
        self._client: paho.Client | None = None
        self._live: paho.Client | None = None
        self._pending = 0
        self._in_flight = IN_FLIGHT[settings.protocol]

    @property
    def connected(self) -> bool:
        """Tell whether the broker is there at the moment."""
        return self._live is not None

    @property
    def unconfirmed(self) -> int:
        """Messages of this connection that are not confirmed (QoS 1) or have not left (QoS 0)."""
        return self._pending

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        if self._thread is not None:
            return
        self._closing = threading.Event()
        self._answered.clear()
        self._fault = ""
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
        if self.connected or (answered and not self._fault):
            return
        msg = f"{self._where} {self._fault if answered else 'does not answer'}"
        self.close()
        raise BrokerError(msg)

    def subscribe(self, topic: str, qos: int = 1) -> None:
        """Subscribe, now and after every reconnect; ``on_message`` runs in the session's thread."""
        with self._lock:
            self._subscriptions[topic] = qos
            client = self._live
        if client is not None:
            client.subscribe(topic, qos)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> bool:
        """Hand a message to the broker; False, and counted, where that is not possible.

        Nothing is kept for a broker that is away: a verdict that arrives after
        its deadline is worse than none, and the ledger has it. The same goes
        for a broker that is ``QUEUE_LIMIT`` confirmations behind.

        Raises:
            ValueError: The topic or the QoS is not one that can be published with.
        """
        with self._lock:
            client = self._live
            if client is None or self._pending >= QUEUE_LIMIT:
                self.unsent += 1
                return False
            self._pending += 1
        taken = False
        try:
            taken = client.publish(topic, payload, qos, retain).rc == paho.MQTT_ERR_SUCCESS
        finally:
            if not taken:
                self._settle(client, confirmed=False)
        return taken

    def close(self) -> None:
        """Disconnect cleanly, so that the last will is not sent; not from a callback.

        A broker that does not take the goodbye within ``GOODBYE_S`` is cut off.
        """
        self._closing.set()
        with self._lock:
            thread, self._thread = self._thread, None
            client, self._client = self._client, None
        if thread is None:
            return
        if client is not None:
            client.disconnect()
        thread.join(GOODBYE_S)
        if client is not None:
            if thread.is_alive():
                _cut(client.socket())
                thread.join(CUT_S)
            self._ended(client)

    def _keep_connected(self, closing: threading.Event) -> None:
        """Make one connection after the other; the session's thread."""
        delay_s, told = FIRST_RETRY_S, ""
        while True:
            if self._hold_connection(closing):
                delay_s, told = FIRST_RETRY_S, ""
            if closing.wait(delay_s):
                return
            delay_s = min(2 * delay_s, LAST_RETRY_S)
            if self._fault != told:
                told = self._fault
                log.warning("%s %s; trying again", self._where, told)

    def _hold_connection(self, closing: threading.Event) -> bool:
        """Connect and stay until the end; True where the broker had accepted us."""
        client = self._new_client()
        with self._lock:
            self._client = client
        try:
            fault = self._reach(client)
            if not (fault or closing.is_set()):
                fault = self._loop(client)
            greeted = self._live is client
        finally:
            if (left := client.socket()) is not None:
                left.close()
            self._ended(client)
        if fault and not greeted and not closing.is_set():
            self._answer(fault)
        return greeted

    def _reach(self, client: paho.Client) -> str:
        """Open the connection; return why that is not possible, or nothing."""
        try:
            client.connect(self._settings.host, self._settings.port, KEEPALIVE_S)
        except (OSError, ValueError) as error:  # ValueError: a host name that is none
            return f"cannot be reached: {getattr(error, 'strerror', None) or error}"
        return ""

    def _loop(self, client: paho.Client) -> str:
        """Serve the connection until it ends; return why it was refused, if it was."""
        self._refusal = ""
        code = paho.MQTT_ERR_SUCCESS
        try:
            while code == paho.MQTT_ERR_SUCCESS:
                code = client.loop(LOOP_S)
        except Exception:
            # What a callback raises costs the connection, so that it is seen, but not the thread.
            log.exception("%s: error in the session's thread", self._where)
        if code == paho.MQTT_ERR_NO_CONN:  # it was ended from this side
            return ""
        return f"refused: {self._refusal or paho.error_string(code)}"

    def _new_client(self) -> paho.Client:
        """Return a client for one connection; its session at the broker is clean."""
        who = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            who.client_id,
            protocol=paho.MQTTv5 if who.protocol == "5" else paho.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(self._in_flight)
        if who.username is not None:
            client.username_pw_set(who.username, who.password)
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=True)
        client.on_connect = lambda by, _user, _flags, why, more: self._connected(by, why, more)
        client.on_disconnect = lambda by, _user, _flags, why, _more: self._lost(by, why)
        client.on_publish = lambda by, _user, _id, why, _more: self._settle(
            by, confirmed=not why.is_failure
        )
        client.on_message = lambda _by, _user, message: self._received(message)
        client.on_socket_close = lambda _by, _user, sock: self._socket_closes(sock)
        # With this callback, paho leaves all writing to the thread that loops; without
        # it, whoever publishes writes too, and two writers may mix up their bytes.
        client.on_socket_register_write = lambda _by, _user, _sock: None
        return client

    def _answer(self, fault: str) -> None:
        self._fault = fault
        self._answered.set()

    def _settle(self, client: paho.Client, *, confirmed: bool) -> None:
        """Count a message of a connection; where that has ended, it was counted then."""
        with self._lock:
            if self._live is client:
                self._pending -= 1
                self.confirmed += confirmed
                self.unsent += not confirmed

    def _ended(self, client: paho.Client) -> None:
        with self._lock:
            if self._client is client:
                self._client = None
            if self._live is client:
                self._live = None
                self.unsent += self._pending
                self._pending = 0

    def _connected(
        self, client: paho.Client, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            return
        asked = getattr(properties, "ReceiveMaximum", self._in_flight)
        if asked < self._in_flight:
            self._in_flight = asked  # of the next connection: paho cannot change it in this one
            client.disconnect()
            return
        with self._lock:
            if self._client is not client:
                return  # closed in the meantime
            self._live = client
            subscriptions = dict(self._subscriptions)
        log.info("MQTT broker connected")
        # The session is clean, so the broker has forgotten what was subscribed.
        for topic, qos in subscriptions.items():
            client.subscribe(topic, qos)
        if self._on_connect is not None:
            self._on_connect(self)
        self._answer("")

    def _lost(self, client: paho.Client, reason: ReasonCode) -> None:
        if reason.is_failure and self._live is client:
            log.warning("MQTT broker lost: %s", reason)

    def _received(self, message: paho.MQTTMessage) -> None:
        if self.on_message is not None:
            self.on_message(message.topic, bytes(message.payload))

    def _socket_closes(self, sock: Any) -> None:  # noqa: ANN401 - paho's protocol lacks setsockopt
        if not self._closing.is_set():
            _drop_unsent_bytes(sock)


def _drop_unsent_bytes(sock: Any) -> None:  # noqa: ANN401 - paho's socket protocol lacks setsockopt
    """Have close() reset the connection, so that the kernel does not deliver the rest later."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _cut(sock: Any) -> None:  # noqa: ANN401 - paho's socket protocol lacks shutdown
    """End a connection at once, whatever waits to be written."""
    if sock is not None:
        _drop_unsent_bytes(sock)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
