"""One connection to a broker: login, last will, TLS, and why it cannot be made.

TLS always checks the broker's certificate and host name; there is no way
around it. The files are read again for each connection, so that a certificate
that was renewed on disk is used without a restart.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Protocol = Literal["5", "3.1.1"]

KEEPALIVE_S = 5
REACH_S = 2.0
"""For the TCP connection, and again for the TLS handshake; a lost SYN is repeated after 1 s."""
UNKNOWN_REASON = "Unspecified error"
"""What paho says of a connection that just ended."""
NOISE = re.compile(r"failed to receive on socket: |\[[^]]*\] ?| ?\(_ssl\.c:\d+\)")
"""What paho and OpenSSL put around a reason."""


class BrokerError(LineError):
    """The broker cannot be reached or refuses; the message names host and port."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of an encrypted connection."""

    ca: Path | None = None
    """Who may sign the broker's certificate; without it, whom the system trusts."""
    cert: Path | None = None
    """Our own certificate, for brokers that ask for one."""
    key: Path | None = None
    """Its key; without it, the key is in the certificate's file."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is and who we are to it."""

    host: str
    port: int
    protocol: Protocol
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsFiles | None = None


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says in our name, retained, when we are gone."""

    topic: str
    payload: bytes


def new_client(settings: BrokerSettings, will: Will | None) -> paho.Client:
    """Return a client for one connection; its session at the broker is clean.

    Raises:
        BrokerError: A TLS file cannot be used; the message names it.
    """
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        settings.client_id,
        protocol=paho.MQTTv5 if settings.protocol == "5" else paho.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = REACH_S
    client.max_inflight_messages_set(0)  # no limit: it gets no more than may be on the way
    if settings.username is not None:
        client.username_pw_set(settings.username, settings.password)
    if will is not None:
        client.will_set(will.topic, will.payload, qos=1, retain=True)
    if settings.tls is not None:
        client.tls_set_context(tls_context(settings.tls))
    # With this callback, paho leaves all writing to the thread that loops; without
    # it, whoever publishes writes too, and two writers may mix up their bytes.
    client.on_socket_register_write = lambda _by, _user, _sock: None
    client.on_socket_open = lambda _by, _user, sock: send_at_once(sock)
    return client


def reach(client: paho.Client, settings: BrokerSettings, limit_bytes: int) -> str:
    """Open the connection and ask to be let in; return why that is not possible, or nothing.

    ``limit_bytes`` is the largest packet that an MQTT 5 broker may send us.
    """
    asked = None
    if settings.protocol == "5":
        asked = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it without annotations
        asked.MaximumPacketSize = limit_bytes
    try:
        client.connect(settings.host, settings.port, KEEPALIVE_S, properties=asked)
    except ssl.SSLCertVerificationError as error:
        return f"certificate refused: {error.verify_message.rstrip('.')}"
    except ssl.SSLError as error:
        return f"TLS handshake failed: {plain_reason(str(error))}"
    except (OSError, ValueError) as error:  # ValueError: a host name that is none
        return f"cannot be reached: {getattr(error, 'strerror', None) or error}"
    return ""


def plain_reason(text: str) -> str:
    """Return a reason without what paho and OpenSSL put around it."""
    reason = NOISE.sub("", text)
    return "the connection was closed" if reason == UNKNOWN_REASON else reason


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Return how to encrypt: TLS 1.2 or later, certificate and host name checked.

    Raises:
        BrokerError: A file cannot be read or is not what it should be; the
            message names it.
    """
    for path in (files.ca, files.cert, files.key):
        if path is not None:
            _check_readable(path)
    if files.key is not None and files.cert is None:
        msg = f"TLS: key {files.key} without a certificate"
        raise BrokerError(msg)
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except ssl.SSLError as error:
        msg = f"TLS: {files.ca} holds no certificate in PEM format"
        raise BrokerError(msg) from error
    except OSError as error:  # it went after we had looked
        raise BrokerError(_unreadable(files.ca, error)) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TidySocket
    if files.cert is not None:
        _load_own(context, files.cert, files.key)
    return context


def send_at_once(sock: Any) -> None:  # noqa: ANN401 - paho's socket protocol lacks setsockopt
    """Have each packet leave when it is written (TCP_NODELAY, RFC 9293 section 3.7.4).

    Otherwise the kernel holds a small one back until the one before is acknowledged, which
    a broker that has nothing to answer puts off for 40 ms: after each heartbeat, for one.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def drop_unsent_bytes(sock: Any) -> None:  # noqa: ANN401 - paho's socket protocol lacks setsockopt
    """Have close() reset the connection, so that the kernel does not deliver the rest later."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def cut(sock: Any) -> None:  # noqa: ANN401 - paho's socket protocol lacks shutdown
    """End a connection at once, whatever waits to be written."""
    if sock is not None:
        drop_unsent_bytes(sock)
        with contextlib.suppress(OSError):
            # Not SSLSocket's own, which takes the cipher from under the thread that reads.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho would leave it open."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's signature
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        raise BrokerError(_unreadable(path, error)) from error


def _unreadable(path: Path | None, error: OSError) -> str:
    return f"TLS: {path} cannot be read: {error.strerror}"


def _load_own(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    asked: list[str] = []
    try:
        context.load_cert_chain(cert, key, password=_password_asked(asked))
    except (ssl.SSLError, ValueError) as error:
        why = "the key is encrypted" if asked else plain_reason(str(error))
        why = why.replace("PEM lib", "one of them is not in PEM format")
        msg = f"TLS: certificate {cert} and key {key or cert} cannot be used: {why}"
        raise BrokerError(msg) from error
    except OSError as error:
        msg = f"TLS: certificate {cert} and key {key or cert} cannot be read: {error.strerror}"
        raise BrokerError(msg) from error


def _password_asked(asked: list[str]) -> Callable[[], str]:
    """Return what OpenSSL calls for an encrypted key; without it, it would ask on the terminal."""

    def answer() -> str:
        asked.append("key")
        return ""

    return answer
