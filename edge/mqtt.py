"""The broker session: last will, reconnect, and what the broker confirmed.

paho keeps the connection in a thread of its own; this module adds what a line
needs around it: a start that says in one line why a broker refuses, retained
state that is published again on every connect, and counters for what was
sent, confirmed and not sent.
"""

from __future__ import annotations

import logging
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

QUEUE_LIMIT = 10_000
"""Messages that may wait for a confirmation; 10,000 verdicts are about 5 MB."""
KEEPALIVE_S = 5

Protocol = Literal["5", "3.1.1"]


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
    """A connection to one broker that comes back by itself."""

    def __init__(
        self,
        settings: BrokerSettings,
        will: Will | None = None,
        on_connect: Callable[[BrokerSession], None] | None = None,
    ) -> None:
        """Prepare the session; nothing is connected yet.

        ``on_connect`` runs after every (re)connect, in paho's thread; it
        publishes the retained topics again, the status last.
        """
        self._settings = settings
        self._on_connect = on_connect
        self._subscriptions: dict[str, int] = {}
        self._answered = threading.Event()
        self._refusal = ""
        self._lock = threading.Lock()
        self._published_count = 0
        self.confirmed = 0
        self.unsent = 0
        self._client = _client(settings)
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._failed
        self._client.on_disconnect = self._disconnected
        self._client.on_publish = self._published
        self.on_message: Callable[[str, bytes], None] | None = None

    @property
    def connected(self) -> bool:
        """Tell whether the broker is there at the moment."""
        return self._client.is_connected()

    def connect(self, limit_s: float = 5.0) -> None:
        """Connect and wait for the broker's answer.

        Raises:
            BrokerError: No answer within ``limit_s``, no route, or refused.
        """
        where = f"MQTT broker {self._settings.host}:{self._settings.port}"
        try:
            self._client.connect(self._settings.host, self._settings.port, KEEPALIVE_S)
        except OSError as error:
            msg = f"{where} cannot be reached: {error.strerror or error}"
            raise BrokerError(msg) from error
        self._client.loop_start()
        answered = self._answered.wait(limit_s)
        if not answered or self._refusal:
            self._client.loop_stop()
            msg = f"{where} refused: {self._refusal}" if answered else f"{where} does not answer"
            raise BrokerError(msg)

    def subscribe(self, topic: str, qos: int = 1) -> None:
        """Subscribe, now and after every reconnect; ``on_message`` runs in paho's thread."""
        self._client.on_message = self._received
        self._subscriptions[topic] = qos
        self._client.subscribe(topic, qos)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> bool:
        """Hand a message to the broker; False, and counted, where that is not possible.

        Nothing is kept for a broker that is away: a verdict that arrives after
        its deadline is worse than none, and the ledger has it.
        """
        if not self._client.is_connected():
            self._count(unsent=1)
            return False
        # No lock of ours is held around paho's publish: paho confirms under its own lock.
        self._count(published=1)
        info = self._client.publish(topic, payload, qos, retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            self._count(published=-1, unsent=1)
            return False
        return True

    @property
    def unconfirmed(self) -> int:
        """Messages that have not left (QoS 0) or that the broker has not confirmed (QoS 1)."""
        with self._lock:
            return self._published_count - self.confirmed

    def close(self) -> None:
        """Disconnect cleanly: the last will is not sent."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self,
        _client: paho.Client,
        _user: Any,  # noqa: ANN401 - paho's signature
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            log.error("MQTT broker refuses the login: %s", reason)
        else:
            self._refusal = ""
            log.info("MQTT broker connected")
            # The session is clean, so the broker has forgotten what was subscribed.
            for topic, qos in dict(self._subscriptions).items():
                self._client.subscribe(topic, qos)
            if self._on_connect is not None:
                self._on_connect(self)
        self._answered.set()

    def _failed(self, _client: paho.Client, _user: Any) -> None:  # noqa: ANN401 - paho's signature
        log.warning("MQTT broker cannot be reached, trying again")

    def _disconnected(
        self,
        _client: paho.Client,
        _user: Any,  # noqa: ANN401 - paho's signature
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            log.warning("MQTT broker lost: %s", reason)

    def _published(
        self,
        _client: paho.Client,
        _user: Any,  # noqa: ANN401 - paho's signature
        _mid: int,
        _reason: ReasonCode,
        _properties: Properties,
    ) -> None:
        with self._lock:
            self.confirmed += 1

    def _count(self, *, published: int = 0, unsent: int = 0) -> None:
        with self._lock:
            self._published_count += published
            self.unsent += unsent

    def _received(
        self,
        _client: paho.Client,
        _user: Any,  # noqa: ANN401 - paho's signature
        message: paho.MQTTMessage,
    ) -> None:
        if self.on_message is not None:
            self.on_message(message.topic, bytes(message.payload))


def _client(settings: BrokerSettings) -> paho.Client:
    version = paho.MQTTv5 if settings.protocol == "5" else paho.MQTTv311
    client = paho.Client(CallbackAPIVersion.VERSION2, settings.client_id, protocol=version)
    client.max_queued_messages_set(QUEUE_LIMIT)
    client.reconnect_delay_set(min_delay=1, max_delay=10)
    if settings.username is not None:
        client.username_pw_set(settings.username, settings.password)
    return client
