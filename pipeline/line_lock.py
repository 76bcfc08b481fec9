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
LOOKED_AT_TRIES = 2
"""Who looks whether a line runs holds its lock for microseconds: that is no second line."""


class LineLockError(LineError):
    """The line runs already, or its state folder cannot be written; the message names it."""


@contextmanager
def line_lock(state: Path) -> Iterator[None]:
    """Hold the lock of a state folder.

    Raises:
        LineLockError: Another process holds it, or the folder is not writable.
    """
    with _lock(_line_path(state), "this line runs already", LOOKED_AT_TRIES):
        yield


@contextmanager
def ledger_lock(
    ledger: Path, wait_s: float = GATE_WAIT_S, sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the lock of a ledger; an earlier gate may take ``wait_s`` to let it go.

    Raises:
        LineLockError: Another gate writes this ledger, or its folder is not writable.
    """
    with _lock(_gate_path(ledger), f"another gate writes {ledger}", round(wait_s / POLL_S), sleep):
        yield


def line_runs(state: Path) -> bool:
    """Tell whether the line of a state folder runs."""
    return is_held(_line_path(state))


def gate_runs(ledger: Path) -> bool:
    """Tell whether a gate writes a ledger."""
    return is_held(_gate_path(ledger))


def is_held(path: Path) -> bool:
    """Tell whether a process holds the lock of a file; False where it cannot be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _line_path(state: Path) -> Path:
    return state / "line.lock"


def _gate_path(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}.lock")


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
