"""One connection to a broker, packet by packet, to ask what it would allow without saying it.

Whether a topic may be written is asked with a message of QoS 2 that is never
released: the broker answers it (PUBREC, with a reason in MQTT 5) before it is
to be delivered, and forgets it with the connection. mosquitto delivers only on
the release. The standard also allows a broker to deliver at once (MQTT 5,
section 4.3.3), so the message is empty and not retained, which nobody can take
for a verdict: a reject gate counts it as malformed and does nothing else. A
well-formed line would do harm, since a gate that sees a new boot gives up the
old one.

A client library releases by itself, hence the bare packets. Source: MQTT 5
and MQTT 3.1.1, OASIS.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.mqtt_client import tls_context

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edge.mqtt_client import BrokerSettings

ANSWER_S: Final = 3.0
KEEPALIVE_S: Final = 30
CONNECT, CONNACK, PUBLISH_QOS_2, PUBREC, DISCONNECT = 0x10, 0x20, 0x34, 0x50, 0xE0
CLEAN, WITH_PASSWORD, WITH_USER = 0x02, 0x40, 0x80
REFUSED: Final = 0x80
"""Reason codes from here on are refusals."""
WORDS_3: Final = {
    1: "Unsupported protocol version", 2: "Client identifier not valid", 3: "Server unavailable",
    4: "Bad user name or password", 5: "Not authorized",
}  # fmt: skip
"""Return codes of MQTT 3.1.1, in the words of MQTT 5."""
PACKET_LIMIT_BYTES: Final = 65_536


class TalkError(Exception):
    """The broker does not answer as a broker; the text says what it did instead."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the broker says to our login."""

    refusal: str
    """Why we are not let in, in MQTT 5's words; empty where we are."""
    retains: bool
    """Whether it keeps retained messages."""
    takes_qos_2: bool


class BrokerTalk:
    """A connection, as the gate would make it."""

    def __init__(self, settings: BrokerSettings, answer_s: float = ANSWER_S) -> None:
        """Connect, encrypted where the settings say so; nothing of MQTT is said yet.

        Raises:
            ssl.SSLError: No encryption, or not with whom we trust.
            OSError: The broker cannot be reached.
            BrokerError: A TLS file cannot be used.
        """
        self._settings = settings
        self._packet = 0
        self._line = socket.create_connection((settings.host, settings.port), answer_s)
        if settings.tls is not None:
            try:
                context = tls_context(settings.tls)
                self._line = context.wrap_socket(self._line, server_hostname=settings.host)
            except BaseException:
                self._line.close()
                raise

    def __enter__(self) -> Self:
        """Return the connection."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it; what was not released is forgotten by the broker."""
        self._line.close()

    def login(self) -> Greeting:
        """Ask to be let in.

        Raises:
            TalkError: The answer is none, or the connection was ended instead.
            OSError: The connection failed.
        """
        self._line.sendall(connect_packet(self._settings))
        kind, body = self._receive()
        if kind != CONNACK or len(body) < 2:  # noqa: PLR2004 - flags and code
            msg = f"the answer to a login is no CONNACK but a packet of kind 0x{kind:02x}"
            raise TalkError(msg)
        code = body[1]
        # A broker that speaks no MQTT 5 answers in 3.1.1, whose codes are small.
        if self._settings.protocol == "3.1.1" or 0 < code < REFUSED:
            refusal = WORDS_3.get(code, f"code {code}") if code else ""
            return Greeting(refusal, retains=True, takes_qos_2=True)
        refusal = reason(PacketTypes.CONNACK, code) if code >= REFUSED else ""
        more = Properties(PacketTypes.CONNACK)  # type: ignore[no-untyped-call]  # paho leaves it without annotations
        if len(body) > 2:  # noqa: PLR2004 - then properties follow
            more.unpack(body[2:])  # type: ignore[no-untyped-call]
        return Greeting(
            refusal,
            retains=getattr(more, "RetainAvailable", 1) == 1,
            takes_qos_2=getattr(more, "MaximumQoS", 2) == 2,  # noqa: PLR2004
        )

    def refusal_to_say(self, topic: str) -> str:
        """Return why the broker would not take a message of ours; empty where it would.

        Only after a login with MQTT 5: 3.1.1 has no word for it.

        Raises:
            TalkError: It ended the connection over it.
            OSError: The connection failed.
        """
        self._packet += 1
        self._line.sendall(publish_packet(topic, self._packet))
        while True:
            kind, body = self._receive()
            if kind == PUBREC and int.from_bytes(body[:2], "big") == self._packet:
                code = body[2] if len(body) > 2 else 0  # noqa: PLR2004 - none is success
                return reason(PacketTypes.PUBREC, code) if code >= REFUSED else ""
            if kind == DISCONNECT:
                why = reason(PacketTypes.DISCONNECT, body[0] if body else 0)
                msg = f"the broker ended the connection: {why}"
                raise TalkError(msg)

    def leave(self) -> None:
        """Say goodbye."""
        self._line.sendall(bytes((DISCONNECT, 0)))

    def _receive(self) -> tuple[int, bytes]:
        """Return kind and body of the next packet."""
        kind = self._exactly(1)[0] & 0xF0
        length, shift = 0, 0
        while True:
            more = self._exactly(1)[0]
            length |= (more & 0x7F) << shift
            shift += 7
            if more < 0x80 or shift > 21:  # noqa: PLR2004 - four bytes of seven bits
                break
        if length > PACKET_LIMIT_BYTES:
            msg = f"a packet of {length} bytes, so this is no MQTT"
            raise TalkError(msg)
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            got = self._line.recv(count - len(data))
            if not got:
                msg = "the connection was ended without an answer"
                raise TalkError(msg)
            data += got
        return data


def connect_packet(settings: BrokerSettings) -> bytes:
    """Return the CONNECT of a clean session with the login of the settings."""
    flags = CLEAN
    payload = _text(settings.client_id)
    if settings.username is not None:
        flags |= WITH_USER
        payload += _text(settings.username)
    if settings.password is not None:
        flags |= WITH_PASSWORD
        payload += _text(settings.password)
    level, properties = (5, b"\0") if settings.protocol == "5" else (4, b"")
    head = _text("MQTT") + struct.pack(">BBH", level, flags, KEEPALIVE_S) + properties
    return _packet(CONNECT, head + payload)


def publish_packet(topic: str, number: int) -> bytes:
    """Return the PUBLISH of an empty message, QoS 2, not retained, for MQTT 5."""
    return _packet(PUBLISH_QOS_2, _text(topic) + struct.pack(">H", number) + b"\0")


def reason(packet: int, code: int) -> str:
    """Return a reason code of MQTT 5 in the standard's words."""
    try:
        return str(ReasonCode(packet, identifier=code))
    except KeyError:
        return f"reason 0x{code:02x}"


def _packet(kind: int, body: bytes) -> bytes:
    length, left = b"", len(body)
    while True:
        left, low = divmod(left, 0x80)
        length += bytes((low | (0x80 if left else 0),))
        if not left:
            return bytes((kind,)) + length + body


def _text(words: str) -> bytes:
    data = words.encode()
    return struct.pack(">H", len(data)) + data
