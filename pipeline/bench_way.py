"""One way of pictures from ingest's queue to a scorer's loop in another process.

This side is ingest and gate: it sends frames on the scorer's credit and collects what
the scorer says of each. The other side is ``pipeline.bench_receiver``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import tomli_w

from edge.errors import LineError
from edge.frame import Announcement, Frame
from edge.frame_queue import FrameQueue
from edge.sockets import HIGH_WATER_IMAGES, Context, bind_router, connect_dealer, receive_all
from edge.wire import WireError
from pipeline.config_file import load_config
from pipeline.inspection import decode_inspection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from edge.frame import Pixels

CAMERA, BOOT = "c1", "0123456789abcdef"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
MOST_FRAMES = 48
"""Frames sent before they are collected: what is said of them waits in the sockets."""
START_LIMIT_S, ROUND_LIMIT_S, STOP_LIMIT_S = 20.0, 30.0, 5.0
POLL_MS = 100


class TransportBenchError(LineError):
    """The other process is not there, or not every frame came as it was sent."""


class Way:
    """One way from here to a receiver in another process, with its account of frames."""

    def __init__(self, folder: Path, context: Context, frames_endpoint: str) -> None:
        """Start the receiver and connect to it; a given endpoint instead of the line's ipc."""
        folder.mkdir()
        path = folder / "config.toml"
        path.write_text(tomli_w.dumps(_config(folder, frames_endpoint)), encoding="utf-8")
        config = load_config(path)
        self._inspections = bind_router(context, config.endpoint("inspections"), HIGH_WATER_IMAGES)
        self._socket = connect_dealer(context, config.endpoint("frames"), CAMERA, HIGH_WATER_IMAGES)
        self._queue = FrameQueue(self._socket, CAMERA, BOOT, MOST_FRAMES)
        self._seq = 0
        self._said: dict[int, str] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.bench_receiver", str(path)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Way:
        """Wait until the receiver grants credit.

        Raises:
            TransportBenchError: It ended, or does not answer within START_LIMIT_S.
        """
        until = time.monotonic() + START_LIMIT_S
        while not self._queue.welcome:
            self._queue.say_hello()
            self._socket.poll(POLL_MS)
            self._queue.take_credit()
            try:
                self._check(until, "the receiver does not answer")
            except TransportBenchError:
                self.close()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the receiver."""
        self.close()

    def close(self) -> None:
        """Stop the receiver, where it still runs, and close the sockets."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT_S)
        self._process.kill()
        self._process.wait()
        self._socket.close(linger=0)
        self._inspections.close(linger=0)

    def carry(self, pictures: Sequence[Pixels], origin: str = "") -> None:
        """Send pictures as frames, on credit, until the scorer has settled all.

        Raises:
            TransportBenchError: It ended, or has not within ROUND_LIMIT_S.
        """
        for pixels in pictures:
            self._seq += 1
            self._queue.put(make_frame(self._seq, pixels, origin))
        until = time.monotonic() + ROUND_LIMIT_S
        self._queue.send()
        while len(self._queue) or self._queue.in_flight:
            if not self._socket.poll(POLL_MS):
                self._check(until, f"{self._queue.in_flight} frames are not settled")
            self._queue.take_credit()
            self._queue.send()

    def collect(self) -> list[str]:
        """Return what was said of the frames since the last call, in their order.

        Raises:
            TransportBenchError: Not exactly one inspection of each frame has come.
        """
        begin, said = len(self._said) + 1, self._said
        until = time.monotonic() + ROUND_LIMIT_S
        while len(said) < self._seq and time.monotonic() < until:
            self._inspections.poll(POLL_MS)
            for _, *parts in receive_all(self._inspections):
                self._note(parts)
        if said.keys() != set(range(1, self._seq + 1)):
            msg = f"{len(said)} inspections of {self._seq} frames"
            raise TransportBenchError(msg)
        return [said[seq] for seq in range(begin, self._seq + 1)]

    def _check(self, until: float, what: str) -> None:
        """Raise where the receiver has ended or the time is over."""
        code = self._process.poll()
        if code is not None:
            msg = f"{what}: the receiver ended with code {code}"
            raise TransportBenchError(msg)
        if time.monotonic() > until:
            msg = f"{what} within the limit"
            raise TransportBenchError(msg)

    def _note(self, parts: Sequence[memoryview]) -> None:
        if len(parts) == 1:  # the scorer says that it is there
            return
        try:
            inspection = decode_inspection(parts[1:])
        except WireError as error:
            raise TransportBenchError(str(error)) from error
        seq = inspection.announcement.seq
        if seq in self._said:
            msg = f"frame {seq} was inspected twice"
            raise TransportBenchError(msg)
        self._said[seq] = inspection.detail


def make_frame(seq: int, pixels: Pixels, origin: str = "") -> Frame:
    """Return BGR pixels of 8 bits as the frame with a number."""
    announcement = Announcement(
        camera=CAMERA,
        boot=BOOT,
        seq=seq,
        part_id=f"P{seq}",
        captured_at=WHEN,
        captured_ns=0,
        origin=origin,
    )
    return Frame(announcement, pixels, "bgr", 8)


def _config(folder: Path, frames_endpoint: str) -> dict[str, Any]:
    return {
        "line": {"state_path": str(folder)},
        "camera": [{"id": CAMERA, "kind": "synthetic", "interval_ms": 50}],
        "transport": {"frames": frames_endpoint},
    }
