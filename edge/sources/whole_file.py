"""Reads a file only while nobody writes to it.

Whether a file is open for writing is something that the kernel knows: it grants
a read lease only where it is not. While the lease is held, whoever opens the
file for writing waits, so that what is read is of one piece. Leases are for the
owner of a file (or root) on a file system of this host. Elsewhere the caller
has to know by other means that the writer is done; that the file did not change
while it was read is checked all the same.

Source: fcntl(2), "Leases".
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import stat
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

REMOTE = frozenset(
    {
        0x6969,  # NFS
        0x517B,  # SMB
        0xFF534D42,  # CIFS
        0xFE534D42,  # SMB2
        0x65735546,  # FUSE, sshfs among others
        0x01021997,  # 9P
        0x00C36400,  # Ceph
        0x5346414F,  # AFS
        0x786F4256,  # VirtualBox
        0xBACBACBC,  # VMware
    }
)
"""File systems whose files others may write unseen; magic numbers of statfs(2)."""
_STATFS_BYTES = 256
"""More than any statfs record; its first word is the kind of the file system."""


class Stamp(NamedTuple):
    """What tells a file from what was there under its name before."""

    inode: int
    size_bytes: int
    mtime_ns: int

    def differs_in_time_only(self, other: Stamp) -> bool:
        """Tell whether two stamps are of one file, whose time was set, or its content replaced."""
        return self[:2] == other[:2] and self != other


def stamp_of(path: Path) -> Stamp | None:
    """Return the stamp of a file; None where there is none that can be looked at."""
    try:
        return make_stamp(path.stat())
    except OSError:
        return None


def make_stamp(found: os.stat_result) -> Stamp:
    """Return the stamp in a stat result."""
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


def is_remote(folder: Path) -> bool:
    """Tell whether other hosts may write to a folder without this one knowing.

    Raises:
        OSError: It cannot be opened.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _kind_of_file_system(opened) in REMOTE
    finally:
        os.close(opened)


class WholeFileReader:
    """Reads one file, and tells how that went."""

    def __init__(self, *, closed: bool) -> None:
        """Say whether the caller knows the writer to be done, for where no lease can tell."""
        self._closed = closed
        self.in_use = False
        """Whether it was refused because somebody writes, or may write."""
        self.stamp: Stamp | None = None
        """Of what was opened."""

    def read(self, path: Path) -> bytes:
        """Return the content; a writer that comes meanwhile waits for it.

        Raises:
            OSError: It cannot be opened or read.
            ValueError: It is no regular file, or somebody writes to it.
        """
        # Without waiting: a named pipe, or a file that Samba has leased out, would hold us up.
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except BlockingIOError:
            self._refuse("another program holds a lease on the file")
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                msg = "it is no regular file"
                raise ValueError(msg)
            self.stamp = make_stamp(found)
            alone = _is_alone(file)
            if alone is False or (alone is None and not self._closed):
                self._refuse("another program has the file open for writing")
            with open(file, "rb", closefd=False) as content:
                data = content.read()
            if make_stamp(os.fstat(file)) != self.stamp:
                self._refuse("the file changed while it was read")
            return data
        finally:
            os.close(file)

    def _refuse(self, reason: str) -> NoReturn:
        self.in_use = True
        raise ValueError(reason)


def _is_alone(file: int) -> bool | None:
    """Take a lease, which ends with the descriptor; None where leases cannot tell."""
    if _kind_of_file_system(file) in REMOTE:
        return None
    try:
        # A writer that comes makes the kernel send a signal, SIGIO unless told otherwise,
        # which ends a process that does not expect it; this one is ignored by default.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _kind_of_file_system(file: int) -> int:
    record = ctypes.create_string_buffer(_STATFS_BYTES)
    if ctypes.CDLL(None).fstatfs(file, record) != 0:
        return 0
    return ctypes.c_long.from_buffer(record).value & 0xFFFFFFFF
