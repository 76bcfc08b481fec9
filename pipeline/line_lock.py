"""One supervisor a line, one gate a ledger: a second one would answer for the same frames.

ZeroMQ lets a second process take over an ipc path without a word, and SQLite
lets two write in turn, so files are locked instead. The lock is the operating
system's: it ends with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edge.errors import LineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GATE_WAIT_S = 3.0
"""An earlier gate that stops in order takes up to two seconds."""
POLL_S = 0.05


class LineLockError(LineError):
    """The line runs already, or its state folder cannot be written; the message names it."""


@contextmanager
def line_lock(state: Path) -> Iterator[None]:
    """Hold the lock of a state folder.

    Raises:
        LineLockError: Another process holds it, or the folder is not writable.
    """
    with _lock(state / "line.lock", "this line runs already"):
        yield


@contextmanager
def ledger_lock(
    ledger: Path, wait_s: float = GATE_WAIT_S, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the lock of a ledger; an earlier gate may take ``wait_s`` to let it go.

    Raises:
        LineLockError: Another gate writes this ledger, or its folder is not writable.
    """
    path = ledger.with_name(f"{ledger.name}.lock")
    with _lock(path, f"another gate writes {ledger}", round(wait_s / POLL_S), sleep):
        yield


@contextmanager
def _lock(
    path: Path, why: str, attempts: int = 0, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise LineLockError(msg) from error
    try:
        while not _taken(descriptor):
            if attempts <= 0:
                msg = f"{why}: {path} is locked by another process"
                raise LineLockError(msg)
            attempts -= 1
            sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
