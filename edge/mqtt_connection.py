"""One connection to a broker, from its making to its end, and why it ended.

It is made for once and thrown away: paho sends again after a reconnect what
the broker had not confirmed, however late that is.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.mqtt_client import cut, drop_unsent_bytes, new_client, plain_reason, reach
from edge.mqtt_queue import IN_FLIGHT, Link, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from edge.mqtt_client import BrokerSettings, Will

log = logging.getLogger(__name__)

LOOP_S = 1.0


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that a subscription brought."""

    topic: str
    payload: bytes
    """Empty where it is larger than the session's limit."""
    retained: bool
    """Its publisher had the broker keep it; in MQTT 3.1.1 this is known only of what was
    kept from before the subscription."""
    size: int
    """Bytes of the payload as it was sent."""


class Settle(Protocol):
    """The broker has answered a packet, or one that gets no answer has left."""

    def __call__(self, link: Link, packet: int, *, refused: str = "") -> None:
        """Take note of it, and of why the broker has refused the packet, if it has."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who is told what, in the thread that holds the connection."""

    greeted: Callable[[Connection, Link], None]
    """The broker has accepted us."""
    settled: Settle
    received: Callable[[Incoming], None]
    """A subscription brought a message."""


class Connection:
    """One client of paho; the thread that calls :meth:`hold` serves it."""

    def __init__(
        self, settings: BrokerSettings, will: Will | None, limit_bytes: int, hooks: Hooks
    ) -> None:
        """Prepare it; nothing is sent yet.

        Raises:
            BrokerError: A TLS file cannot be used; the message names it.
        """
        self.link: Link | None = None
        """How to send; None until the broker has accepted us."""
        self._settings = settings
        self._limit_bytes = limit_bytes
        self._hooks = hooks
        self._leaving = False
        self._ending = ""
        self._client = client = new_client(settings, will)
        client.on_connect = lambda _by, _user, _flags, why, more: self._answered(why, more)
        client.on_disconnect = lambda _by, _user, _flags, why, _more: self._ends(str(why))
        client.on_log = lambda _by, _user, level, text: self._logged(level, text)
        client.on_message = lambda _by, _user, message: self._received(message)
        client.on_socket_close = lambda _by, _user, sock: self._socket_closes(sock)

    def hold(self, stop: Callable[[], bool]) -> str:
        """Connect, and stay until the end; return why it ended.

        Where ``stop`` holds by the time the line is there, nothing is said on it.
        """
        try:
            fault = reach(self._client, self._settings, self._limit_bytes)
            return fault if fault or stop() else self._serve()
        finally:
            if (left := self._client.socket()) is not None:
                left.close()
            self.discard()

    def subscribe(self, topic: str, qos: int) -> None:
        """Ask the broker for a topic.

        In MQTT 5 a message keeps its retain flag ("retain as published", section
        3.8.3.1). A 3.1.1 broker clears it for whoever is subscribed already
        (section 3.3.1.3), and there is no way to ask for it.
        """
        if self._settings.protocol == "5":
            self._client.subscribe(topic, options=SubscribeOptions(qos, retainAsPublished=True))
        else:
            self._client.subscribe(topic, qos)

    def leave(self) -> None:
        """Say goodbye after what is on the way, so that the last will is not sent."""
        self._leaving = True
        self._client.disconnect()

    def cut(self) -> None:
        """End it at once, whatever waits to be written."""
        cut(self._client.socket())

    def discard(self) -> None:
        """Drop the callbacks at the end, or instead of it: client and connection are no cycle then.

        paho closes its inner sockets when the client is freed; a cycle would keep
        them open until the garbage collector comes by.
        """
        client = self._client
        client.on_connect = client.on_disconnect = client.on_publish = None
        client.on_message = client.on_log = client.on_socket_close = None

    def _serve(self) -> str:
        code = paho.MQTT_ERR_SUCCESS
        try:
            while code == paho.MQTT_ERR_SUCCESS:
                code = self._client.loop(LOOP_S)
        except Exception as error:
            # What a callback raises costs the connection, so that it is seen, but not the thread.
            log.exception("MQTT: error in the session's thread")
            self._ends(f"given up after {error!r}")
        why = self._ending or paho.error_string(code)
        return f"{'refused' if self.link is None else 'lost'}: {why}"

    def _answered(self, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.is_failure:
            self._ends(str(reason))
            return
        client = self._client
        client.on_log = None  # it is asked for why we are not let in, and costs time
        most = getattr(properties, "ReceiveMaximum", IN_FLIGHT)
        self.link = link = Link(self._send, min(most, IN_FLIGHT))
        client.on_publish = lambda _by, _user, packet, why, _more: self._hooks.settled(
            link, packet, refused=str(why) if why.is_failure else ""
        )
        self._hooks.greeted(self, link)

    def _send(self, message: Message) -> int | None:
        """Give paho a message; it is written at once, or not at all."""
        sent = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        return sent.mid if sent.rc == paho.MQTT_ERR_SUCCESS else None

    def _received(self, message: paho.MQTTMessage) -> None:
        size = len(message.payload)
        payload = bytes(message.payload) if size <= self._limit_bytes else b""
        self._hooks.received(Incoming(message.topic, payload, message.retain, size))

    def _logged(self, level: int, text: str) -> None:
        if level == paho.MQTT_LOG_ERR:
            self._ends(text)

    def _ends(self, why: str) -> None:
        """Keep the first reason; those that follow are its consequences."""
        self._ending = self._ending or plain_reason(why)

    def _socket_closes(self, sock: Any) -> None:  # noqa: ANN401 - paho's protocol lacks setsockopt
        if not self._leaving:
            drop_unsent_bytes(sock)
