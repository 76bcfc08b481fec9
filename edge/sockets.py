"""ZeroMQ sockets as this line uses them, with every limit set.

All traffic is DEALER to ROUTER. A sender never queues for a peer that is not
there (IMMEDIATE), so a frame cannot wait in a socket for a process that died;
closing never blocks for longer than LINGER_MS.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import zmq

from edge.errors import LineError
from edge.wire import MAX_FRAME_BYTES

LINGER_MS = 500
HIGH_WATER_NOTES = 10_000
HIGH_WATER_IMAGES = 64
"""Messages that may be images; 64 of 12 megapixels are under 1 GB."""
HEARTBEAT_MS = 1_000
"""A silent tcp peer is given up after two of these; ipc closes with its process."""
IPC_PATH_LIMIT = 100
"""sun_path holds 108 bytes on Linux; the rest is kept for the temporary suffix."""

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]


class EndpointError(LineError):
    """An endpoint cannot be bound or is not usable; the message names it."""


def bind_router(context: Context, endpoint: str, high_water: int = HIGH_WATER_NOTES) -> Socket:
    """Return a ROUTER bound to ``endpoint``.

    Raises:
        EndpointError: The port is in use, the path is not writable or too long.
    """
    check_endpoint(endpoint)
    socket = context.socket(zmq.ROUTER)
    _limit(socket, high_water)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES + 65_536)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        msg = f"cannot bind {endpoint}: {_reason(error)}"
        raise EndpointError(msg) from error
    return socket


def connect_dealer(
    context: Context, endpoint: str, identity: str, high_water: int = HIGH_WATER_NOTES
) -> Socket:
    """Return a DEALER that connects, and reconnects for ever, to ``endpoint``.

    Raises:
        EndpointError: It is not an endpoint that anything can connect to.
    """
    socket = context.socket(zmq.DEALER)
    _limit(socket, high_water)
    socket.setsockopt(zmq.IDENTITY, identity.encode())
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        msg = f"cannot connect to {endpoint}: {_reason(error)}"
        raise EndpointError(msg) from error
    return socket


def try_send(socket: Socket, parts: list[Any]) -> bool:
    """Send without waiting and without copying; False where no peer takes it."""
    try:
        socket.send_multipart(parts, flags=zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return False
    except zmq.ZMQError as error:
        if error.errno == errno.EHOSTUNREACH:
            return False
        raise
    return True


def receive_all(socket: Socket, limit: int = 256) -> list[list[memoryview]]:
    """Return the messages that are waiting, at most ``limit``, as views."""
    messages: list[list[memoryview]] = []
    while len(messages) < limit:
        try:
            parts = socket.recv_multipart(flags=zmq.NOBLOCK, copy=False)
        except zmq.Again:
            break
        messages.append([part.buffer for part in parts])
    return messages


class PeerWatch:
    """Counts the peers of a bound socket, from ZeroMQ's own monitor.

    A process that is killed closes its connections at once, so its loss is
    known within milliseconds and without a heartbeat of ours.
    """

    def __init__(self, socket: Socket) -> None:
        """Start to watch; ``monitor`` can be polled beside other sockets."""
        self.monitor: Any = socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._socket = socket
        self._peers: set[int] = set()

    def update(self) -> tuple[int, bool]:
        """Return how many peers there are now and whether one was lost since."""
        lost = False
        while self.monitor.poll(0):
            event, descriptor = _monitor_event(self.monitor.recv_multipart())
            if event == zmq.EVENT_ACCEPTED:
                self._peers.add(descriptor)
            elif descriptor in self._peers:
                self._peers.discard(descriptor)
                lost = True
        return len(self._peers), lost

    def close(self) -> None:
        """Stop to watch."""
        self._socket.disable_monitor()
        self.monitor.close(linger=0)


def check_endpoint(endpoint: str) -> None:
    """Refuse an ipc path that is too long or whose folder cannot be written.

    Raises:
        EndpointError: With the path and the limit.
    """
    if not endpoint.startswith("ipc://"):
        return
    path = Path(endpoint.removeprefix("ipc://"))
    if len(str(path)) > IPC_PATH_LIMIT:
        msg = f"{endpoint}: {len(str(path))} characters, an ipc path has at most {IPC_PATH_LIMIT}"
        raise EndpointError(msg)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{endpoint}: cannot make its folder: {error.strerror}"
        raise EndpointError(msg) from error


def _limit(socket: Socket, high_water: int) -> None:
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, high_water)
    socket.setsockopt(zmq.RCVHWM, high_water)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 2 * HEARTBEAT_MS)


def _monitor_event(parts: list[bytes]) -> tuple[int, int]:
    """Read event number and value; the second part is the address."""
    head = parts[0]
    return int.from_bytes(head[:2], "little"), int.from_bytes(head[2:6], "little")


def _reason(error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is in use by another process"
    return str(error)
