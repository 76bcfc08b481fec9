"""Wakes a ZeroMQ poller from another thread.

A pipe: threads write a byte, the poller watches the other end. A byte that
does not fit is not needed, the poller is going to wake anyway.
"""

from __future__ import annotations

import contextlib
import os
import threading

DRAIN_BYTES = 4_096


class Wakeup:
    """One pipe; ``set`` may be called from any thread."""

    def __init__(self) -> None:
        """Open the pipe."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._closed = False
        self._lock = threading.Lock()
        """Between them a descriptor could be closed, used anew by others, and written to."""

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._reader

    def set(self) -> None:
        """Wake the poller."""
        with self._lock, contextlib.suppress(BlockingIOError, OSError):
            if not self._closed:
                os.write(self._writer, b"\0")

    def clear(self) -> None:
        """Take note; the poller sleeps again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, DRAIN_BYTES)

    def close(self) -> None:
        """Close both ends; later calls of ``set`` do nothing."""
        with self._lock:
            self._closed = True
            os.close(self._reader)
            os.close(self._writer)
