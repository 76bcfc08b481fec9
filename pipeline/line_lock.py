"""One supervisor a line: a second one would steal its sockets and its ledger.

ZeroMQ lets a second process take over an ipc path without a word, so the state
folder is locked instead. The lock is the operating system's: it ends with the
process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LineLockError(LineError):
    """The line runs already, or its state folder cannot be written; the message names it."""


@contextmanager
def line_lock(state: Path) -> Iterator[None]:
    """Hold the lock of a state folder.

    Raises:
        LineLockError: Another process holds it, or the folder is not writable.
    """
    path = state / "line.lock"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        msg = f"state folder {state}: {error.strerror}"
        raise LineLockError(msg) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        msg = f"this line runs already: {path} is locked by another process"
        raise LineLockError(msg) from error
    try:
        yield
    finally:
        os.close(descriptor)
