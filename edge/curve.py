"""CURVE on a socket: encrypted, and only with the line's own keys.

A binding socket names the one public key that it lets in as its ZAP domain.
The handler that libzmq asks about each new connection only compares the two,
so it knows no keys and serves all sockets of its context. It starts with the
first of them and ends with the context; nobody has to close it. Without an
answer of the handler libzmq lets nobody in.

Source: ZeroMQ RFC 26 (CurveZMQ) and RFC 27 (ZAP).
"""

from __future__ import annotations

import errno
import logging
import threading
from typing import TYPE_CHECKING

import zmq
from zmq.utils import z85

if TYPE_CHECKING:
    from edge.keys import LineKeys

log = logging.getLogger(__name__)

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_VERSION = b"1.0"
ADDRESSES_NAMED = 100
"""Strangers that the log names, each once: a scan must not fill the disk."""


def guard_binding(
    context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], keys: LineKeys
) -> None:
    """Let only the holder of the client's secret key connect; before ``bind``."""
    _start_handler(context)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.line_secret)
    socket.setsockopt(zmq.ZAP_DOMAIN, keys.client_public)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def guard_connecting(socket: zmq.Socket[bytes], keys: LineKeys) -> None:
    """Talk only to the holder of the line's secret key; before ``connect``."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.line_public)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.client_public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.client_secret)


def _start_handler(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Answer this context's ZAP requests in a thread, unless one does already."""
    # A shadow: the context's own destroy() would close the socket under the thread's feet.
    handler: zmq.Socket[bytes] = zmq.Context.shadow(context).socket(zmq.REP)
    try:
        handler.bind(ZAP_ENDPOINT)
    except zmq.ZMQError as error:
        handler.close(linger=0)
        if error.errno != errno.EADDRINUSE:
            raise
        return
    threading.Thread(target=_answer, args=(handler,), name="zap", daemon=True).start()


def _answer(handler: zmq.Socket[bytes]) -> None:
    """Answer until the context ends."""
    named: set[bytes] = set()
    try:
        while True:
            _, request, domain, address, _, mechanism, *credentials = handler.recv_multipart()
            allowed = mechanism == b"CURVE" and [z85.encode(c) for c in credentials] == [domain]
            if not allowed and address not in named and len(named) < ADDRESSES_NAMED:
                named.add(address)
                log.warning("refused %s: its key is not this line's client.key", address.decode())
            status = (b"200", b"OK") if allowed else (b"400", b"unknown key")
            handler.send_multipart([ZAP_VERSION, request, *status, b"", b""])
    except zmq.ContextTerminated:
        handler.close(linger=0)
