"""What happens to the files of one folder, as Linux tells it: inotify, through libc.

Three calls and a record of 16 bytes do not need a library. The descriptor stays
the same for as long as a watch lives, whatever becomes of its folder, so that a
poller may hold it. Only what processes of this host do is told: a file that
another host writes to a network share makes no event.

Source: inotify(7), inotify_init(2), inotify_add_watch(2).
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

CLOSE_WRITE = 0x00000008
MOVED_FROM = 0x00000040
MOVED_TO = 0x00000080
DELETE = 0x00000200
DELETE_SELF = 0x00000400
MOVE_SELF = 0x00000800
UNMOUNT = 0x00002000
OVERFLOW = 0x00004000
IS_DIR = 0x40000000
FOLDER_GONE = DELETE_SELF | MOVE_SELF | UNMOUNT
_ONLY_A_FOLDER = 0x01000000
_NOT_THE_UNLINKED = 0x04000000
_WANTED = CLOSE_WRITE | MOVED_FROM | MOVED_TO | DELETE | DELETE_SELF | MOVE_SELF

_RECORD = struct.Struct("iIII")
"""Watch, mask, cookie, and how many bytes of name follow."""
_READ_BYTES = 65_536
_READS = 64
"""Enough for the 16,384 events that the kernel keeps, at usual lengths of names."""


class FolderEvent(NamedTuple):
    """One event; ``name`` is empty where it is about the folder, or about lost events."""

    mask: int
    cookie: int
    """The same in the two events of one renaming."""
    name: str


class FolderWatch:
    """The events of one folder at a time; nothing here waits."""

    def __init__(self) -> None:
        """Open a queue of events, for no folder yet.

        Raises:
            OSError: Not Linux, or too many watchers (fs.inotify.max_user_instances).
        """
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            msg = "this system has no inotify"
            raise OSError(msg)
        self._queue = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._folder: int | None = None
        """The watch descriptor; events of others are of a folder before."""

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._queue

    def watch(self, folder: Path) -> None:
        """Tell the events of this folder from now on, and of no other.

        Raises:
            OSError: No such folder, or too many watches (fs.inotify.max_user_watches).
        """
        self.forget()
        mask = _WANTED | _ONLY_A_FOLDER | _NOT_THE_UNLINKED
        found = self._libc.inotify_add_watch(self._queue, os.fsencode(folder), mask)
        self._folder = self._checked(found)

    def forget(self) -> None:
        """Tell no more events; a folder that is gone is forgotten, too."""
        if self._folder is not None:
            self._libc.inotify_rm_watch(self._queue, self._folder)
        self._folder = None

    def take(self) -> list[FolderEvent]:
        """Return the events since the last call, in their order."""
        events: list[FolderEvent] = []
        for _ in range(_READS):
            try:
                records = os.read(self._queue, _READ_BYTES)
            except BlockingIOError:
                break
            events += [event for watch, event in _parse(records) if watch in {self._folder, -1}]
        return events

    def close(self) -> None:
        """Close the queue."""
        os.close(self._queue)

    def _checked(self, result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result


def _parse(records: bytes) -> list[tuple[int, FolderEvent]]:
    """Return watch and event of each record; an event of the whole queue is of watch -1."""
    events = []
    position = 0
    while position < len(records):
        watch, mask, cookie, length = _RECORD.unpack_from(records, position)
        position += _RECORD.size
        name = os.fsdecode(records[position : position + length].rstrip(b"\0"))
        position += length
        events.append((watch, FolderEvent(mask, cookie, name)))
    return events
