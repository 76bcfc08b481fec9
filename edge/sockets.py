"""ZeroMQ sockets as this line uses them, with every limit set.

All traffic is DEALER to ROUTER. A sender never queues for a peer that is not
there (IMMEDIATE), so a frame cannot wait in a socket for a process that died;
closing never blocks for longer than LINGER_MS. A tcp socket is encrypted
wherever the line has keys, and stays on this host where it has none.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import zmq

from edge.curve import guard_binding, guard_connecting
from edge.endpoints import TCP, EndpointError, check_exposure, close_to_others, prepare_ipc
from edge.wire import MAX_FRAME_BYTES

if TYPE_CHECKING:
    from edge.keys import LineKeys

LINGER_MS = 500
HIGH_WATER_NOTES = 10_000
HIGH_WATER_IMAGES = 64
"""Messages that may be images; 64 of 12 megapixels are under 1 GB."""
HEARTBEAT_MS = 1_000
"""A silent tcp peer is given up after two of these; ipc closes with its process."""
LOOPBACK = ("tcp://127.", "tcp://[::1]", "tcp://localhost:")
LOOPBACK_SEND_BYTES = 262_144
"""Left to itself the kernel lets megabytes of a frame wait in a loopback connection, more than
the processor's cache holds: 3.5 ms at best for 1920x1080 in colour, with this limit 2.0 ms."""
HANDSHAKE_MS = 5_000
"""A stranger who connects and says nothing is shown out after this."""

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]


def bind_router(
    context: Context,
    endpoint: str,
    high_water: int = HIGH_WATER_NOTES,
    *,
    keys: LineKeys | None = None,
) -> Socket:
    """Return a ROUTER bound to ``endpoint``.

    Args:
        context: Its end also ends the check of keys; there is nothing to close.
        endpoint: ``ipc://`` or ``tcp://``.
        high_water: Messages that may wait, for each peer and direction.
        keys: On tcp, only the holder of the client's secret key may connect.

    Raises:
        EndpointError: The port is in use, the path is not writable or too long,
            or a tcp address beyond this host has no keys.
    """
    check_exposure(endpoint, has_keys=keys is not None)
    prepare_ipc(endpoint)
    socket = context.socket(zmq.ROUTER)
    _limit(socket, endpoint, high_water)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES + 65_536)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    try:
        if keys is not None and endpoint.startswith(TCP):
            guard_binding(context, socket, keys)
        socket.bind(endpoint)
        close_to_others(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    except zmq.ZMQError as error:
        socket.close(linger=0)
        msg = f"cannot bind {endpoint}: {_reason(error)}"
        raise EndpointError(msg) from error
    except EndpointError:
        socket.close(linger=0)
        raise
    return socket


def connect_dealer(
    context: Context,
    endpoint: str,
    identity: str,
    high_water: int = HIGH_WATER_NOTES,
    *,
    keys: LineKeys | None = None,
) -> Socket:
    """Return a DEALER that connects, and reconnects for ever, to ``endpoint``.

    Only a peer that refuses our keys is not asked again (libzmq gives up then):
    after an exchange of keys both sides are started anew.

    Args:
        context: Where the socket belongs to.
        endpoint: ``ipc://`` or ``tcp://``.
        identity: The name that the other side answers to.
        high_water: Messages that may wait, in each direction.
        keys: On tcp, only the holder of the line's secret key is talked to.

    Raises:
        EndpointError: It is not an endpoint that anything can connect to, or a
            tcp address beyond this host without keys.
    """
    check_exposure(endpoint, has_keys=keys is not None)
    socket = context.socket(zmq.DEALER)
    _limit(socket, endpoint, high_water)
    socket.setsockopt(zmq.IDENTITY, identity.encode())
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
    try:
        if keys is not None and endpoint.startswith(TCP):
            guard_connecting(socket, keys)
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
    known within milliseconds and without a heartbeat of ours. Who connects is a
    peer only once the handshake is done, with the right key where there are
    keys: a stranger who comes and goes is no loss.
    """

    def __init__(self, socket: Socket) -> None:
        """Start to watch; ``monitor`` can be polled beside other sockets."""
        self.monitor: Any = socket.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self._socket = socket
        self._waiting: list[int] = []
        """Descriptors of connections whose handshake is not done, the newest last."""
        self._peers: dict[int, bool] = {}
        """Descriptors of peers, and whether others waited when they were chosen."""

    def update(self) -> tuple[int, bool]:
        """Return how many peers there are now and whether one was lost since."""
        lost = False
        while self.monitor.poll(0):
            event, descriptor = _monitor_event(self.monitor.recv_multipart())
            if event == zmq.EVENT_ACCEPTED:
                self._waiting.append(descriptor)
            elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._let_in()
            elif descriptor in self._waiting:
                self._waiting.remove(descriptor)
            elif descriptor in self._peers:
                lost = True
                if self._peers.pop(descriptor):
                    self._let_in()
        return len(self._peers), lost

    def close(self) -> None:
        """Stop to watch."""
        self._socket.disable_monitor()
        self.monitor.close(linger=0)

    def _let_in(self) -> None:
        """Make the newest connection a peer: a handshake takes milliseconds.

        The event does not say whose handshake it was. Where others waited too
        the choice may be wrong: then the loss of the wrong one is told, which
        costs a few results, and the next takes its place.
        """
        if self._waiting:
            descriptor = self._waiting.pop()
            self._peers[descriptor] = bool(self._waiting)


def _limit(socket: Socket, endpoint: str, high_water: int) -> None:
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.SNDHWM, high_water)
    socket.setsockopt(zmq.RCVHWM, high_water)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 2 * HEARTBEAT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    if endpoint.startswith(f"{TCP}["):
        socket.setsockopt(zmq.IPV6, 1)
    if endpoint.startswith(LOOPBACK):
        socket.setsockopt(zmq.SNDBUF, LOOPBACK_SEND_BYTES)


def _monitor_event(parts: list[bytes]) -> tuple[int, int]:
    """Read event number and value; the second part is the address."""
    head = parts[0]
    return int.from_bytes(head[:2], "little"), int.from_bytes(head[2:6], "little")


def _reason(error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is in use by another process"
    return str(error)
