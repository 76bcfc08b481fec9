"""The count of a camera's triggers: every frame's number.

A line's count is durable, across restarts: one small file a camera, written and
synced before the number is used for anything, so that no power loss can give
the same number twice. A count that nothing goes on with begins at 0.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Protocol

from edge.errors import LineError
from edge.frame import SEQ_LIMIT

if TYPE_CHECKING:
    from pathlib import Path

COUNTER_DIGITS = 20


class CounterError(LineError):
    """The counter cannot be used; the message names the file."""


class TriggerCounter(Protocol):
    """Gives each trigger its number."""

    value: int
    """The last number that was given."""

    def next(self) -> int:
        """Count one trigger."""
        ...

    def take(self, count: int) -> range:
        """Count several triggers; return their numbers."""
        ...


class FreshCounter:
    """Counts from 1, and is forgotten with the process."""

    def __init__(self) -> None:
        """Begin before the first trigger."""
        self.value = 0

    def next(self) -> int:
        """Count one trigger."""
        return self.take(1)[0]

    def take(self, count: int) -> range:
        """Count several triggers; return their numbers."""
        first = self.value + 1
        self.value += max(0, count)
        return range(first, self.value + 1)


class DurableCounter:
    """The number of triggers since the box was built, safe against power loss."""

    def __init__(self, path: Path) -> None:
        """Open or create the counter; it is this process's until it is closed.

        Raises:
            CounterError: The file cannot be read or written, holds no number, or
                another process counts with it.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.value = read_count(path)
        except BlockingIOError as error:
            os.close(self._file)
            msg = f"counter {path}: another process counts this camera's frames"
            raise CounterError(msg) from error
        except OSError as error:
            msg = f"counter {path}: {error.strerror or error}"
            raise CounterError(msg) from error

    def next(self) -> int:
        """Count one trigger; the number is on disk when this returns."""
        return self.take(1)[0]

    def take(self, count: int) -> range:
        """Count several triggers with one write; their numbers are on disk when this returns."""
        first = self.value + 1
        if count > 0:
            self.value += count
            os.pwrite(self._file, f"{self.value:0{COUNTER_DIGITS}d}\n".encode(), 0)
            os.fsync(self._file)
        return range(first, first + count)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_count(path: Path) -> int:
    """Return the durable count of a camera, 0 where it never ran.

    Raises:
        CounterError: The file cannot be read, or holds no number up to SEQ_LIMIT.
    """
    try:
        text = path.read_bytes().strip() or b"0"
    except FileNotFoundError:
        return 0
    except OSError as error:
        msg = f"counter {path}: {error.strerror or error}"
        raise CounterError(msg) from error
    if not text.isdigit() or len(text) > COUNTER_DIGITS or int(text) > SEQ_LIMIT:
        msg = f"counter {path}: {text[:COUNTER_DIGITS]!r} is not a number from 0 to {SEQ_LIMIT}"
        raise CounterError(msg)
    return int(text)
