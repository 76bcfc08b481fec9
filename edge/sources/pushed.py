"""Frames that another program pushes over ZeroMQ, in the line's own wire format.

The line binds a ROUTER, each pusher connects a DEALER and sends messages of two
parts, as :mod:`edge.wire` writes them. The pusher's ``seq`` is the camera's
counter, its ``captured_ns`` the camera's clock, and its ``boot`` tells when both
begin anew. Its ``camera`` is not looked at: a camera is called what the config
of this line calls it. ``deploy/examples/push_frames.py`` is such a program.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import zmq

from edge.endpoints import EndpointError
from edge.sockets import (
    HIGH_WATER_IMAGES,
    Context,
    PeerWatch,
    Socket,
    bind_router,
    receive_all,
)
from edge.sources import CameraBusyError, Capture, SourceError
from edge.wire import WireError, decode_frame

if TYPE_CHECKING:
    from edge.clock import Clock
    from edge.frame import Frame
    from edge.keys import LineKeys

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
LOG_EVERY_NS = 60 * NS_PER_S
"""A program that sends rubbish sends a lot of it."""


class PushedDevice:
    """An endpoint that others push frames to; there is a camera while one is connected."""

    can_trigger = False

    def __init__(self, endpoint: str, clock: Clock, keys: LineKeys | None) -> None:
        """Take the endpoint; nothing is bound yet.

        Args:
            endpoint: ``ipc://``, or ``tcp://`` on this host or with keys.
            clock: Says when a frame arrived.
            keys: The keys of the line, which guard a tcp endpoint.
        """
        self.name = f"zmq {endpoint}"
        self.refused = 0
        """Messages that were no frames, since the start."""
        self.dropped = 0
        """Messages that waited when the endpoint was closed, since the start."""
        self._endpoint = endpoint
        self._clock = clock
        self._keys = keys
        self._context: Context | None = None
        self._socket: Socket | None = None
        self._watch: PeerWatch | None = None
        self._boots = 0
        """Starts of pushers seen since it was opened."""
        self._boot = self._boot_before = ""
        self._next_log_ns = 0

    def open(self) -> None:
        """Bind the endpoint.

        Raises:
            CameraBusyError: Another process listens there.
            SourceError: It cannot be bound for another reason.
        """
        self._context = zmq.Context()
        try:
            self._socket = bind_router(
                self._context, self._endpoint, HIGH_WATER_IMAGES, keys=self._keys
            )
        except EndpointError as error:
            self.close()
            cause = error.__cause__
            if isinstance(cause, zmq.ZMQError) and cause.errno == zmq.EADDRINUSE:
                raise CameraBusyError(str(error)) from error
            raise SourceError(str(error)) from error
        self._watch = PeerWatch(self._socket)
        self._boots = 0
        self._boot = self._boot_before = ""

    def grab(self, timeout_s: float) -> Capture | None:
        """Return the next frame, its pixels a read-only view on what ZeroMQ received.

        ``opening`` counts the starts of pushers, from 0 with each ``open``. A
        message that is no frame is counted and logged, and yields nothing.

        Raises:
            SourceError: The endpoint is not open.
        """
        if self._socket is None:
            msg = f"{self.name}: not open"
            raise SourceError(msg)
        self.is_alive()  # Takes the monitor's events: they must not pile up.
        if not self._socket.poll(round(1000 * timeout_s)):
            return None
        _, *parts = self._socket.recv_multipart(copy=False)
        arrived_ns = self._clock.monotonic_ns()
        try:
            frame = decode_frame([part.buffer for part in parts])
        except WireError as error:
            self._refuse(error, arrived_ns)
            return None
        return self._capture(frame, arrived_ns)

    def trigger(self) -> None:
        """Refuse: the pusher decides when there is a picture.

        Raises:
            SourceError: Always.
        """
        msg = f"{self.name}: cannot be triggered"
        raise SourceError(msg)

    def is_alive(self) -> bool:
        """Tell whether a pusher is connected."""
        return self._watch is not None and self._watch.update()[0] > 0

    def close(self) -> None:
        """Unbind; more calls do nothing, and it may be opened again."""
        if self._watch is not None:
            self._watch.close()
        if self._socket is not None:
            self._drop_what_waits(self._socket)
            self._socket.close(linger=0)
        if self._context is not None:
            self._context.term()
        self._watch = self._socket = self._context = None

    def _capture(self, frame: Frame, arrived_ns: int) -> Capture:
        announcement = frame.announcement
        if announcement.boot != self._boot:
            self._begin(announcement.boot)
        return Capture(
            frame.pixels,
            frame.pixel_format,
            frame.bit_depth,
            announcement.part_id,
            announcement.origin,
            offset_px=frame.offset_px,
            arrived_ns=arrived_ns,
            camera_ns=announcement.captured_ns,
            counter=announcement.seq,
            opening=self._boots - 1,
        )

    def _begin(self, boot: str) -> None:
        """Take note of a pusher that has started: its counter and clock are others."""
        if boot == self._boot_before:
            log.warning("%s: two programs push frames at once, each needs its own", self.name)
        self._boot_before, self._boot = self._boot, boot
        self._boots += 1

    def _drop_what_waits(self, socket: Socket) -> None:
        waiting = len(receive_all(socket))
        self.dropped += waiting
        if waiting:
            log.warning("%s: closed while %d messages waited", self.name, waiting)

    def _refuse(self, error: WireError, now_ns: int) -> None:
        self.refused += 1
        if now_ns >= self._next_log_ns:
            self._next_log_ns = now_ns + LOG_EVERY_NS
            log.warning("%s: message %d refused: %s", self.name, self.refused, error)
