"""A folder that another program writes to: each file once, whole, in order of arrival.

inotify tells when a file was closed by its writer or moved into the folder. It
is then read under a lease, see :mod:`edge.sources.whole_file`, so that nobody
writes meanwhile. What is not whole even so, since its writer appends in pieces
and closes it after each, is tried again with the next event, and is a fault
when nothing has happened to it for SETTLE_NS. What of an unfinished file can be
seen is said in :mod:`edge.sources.folder`.

What covers which case:

- writers of this host: the event and the lease. A file that is renamed into its
  place, or kept open, or rewritten, is read after that and not before.
- files that are there at the start, or when events were lost: the lease says
  that nobody writes to them; where it cannot tell, size and time of the file
  have to stay the same for SETTLE_NS.
- writers of other hosts (NFS, SMB), and hard links: no event comes. The folder
  is listed every second, and what stays the same for SETTLE_NS is taken.

Not covered. A BMP, TIFF or WebP file that gets its full size first and its
content later, where no lease can be had (a writer of another host, or files of
another user): if the writer pauses for longer than SETTLE_NS, was at work
before the start, or moves the file here before it is done with it. And a file
that is written anew under the same name before it was read: only the newer is
seen. With ``keep`` the folder grows, and with it the time of a listing: 50 ms
for 10,000 files, which ingest waits for.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from edge.clock import SystemClock
from edge.sources import CameraEvent, Capture, Source, SourceError
from edge.sources.arrivals import Arrival, Arrivals
from edge.sources.folder import read_capture
from edge.sources.whole_file import Stamp, WholeFileReader, stamp_of

if TYPE_CHECKING:
    from pathlib import Path

    from edge.clock import Clock
    from edge.frame import CameraState

log = logging.getLogger(__name__)

LOOKS_A_READ = 8
"""Files that one call looks at: an unfinished one costs a read, and no picture comes of it."""
DONE = "done"

After = Literal["move", "delete", "keep"]


class HotFolderSource(Source):
    """The files of one folder, each read when it is whole, then moved, deleted or remembered.

    A file is put away by :meth:`let_go`: by then its frame has its number, and the
    gate has it on disk, so that a crash in between reads a picture twice rather
    than never.
    """

    def __init__(self, path: Path, *, after: After = "move", clock: Clock | None = None) -> None:
        """Watch the folder, and take what is there already first, in the order of the names.

        Args:
            path: The folder; sub-folders are not entered, hidden files not looked at.
            after: ``move`` puts a file into ``path/done``, ``keep`` leaves it where
                it is and does not read it again in this run.
            clock: For arrivals and waiting.

        Raises:
            SourceError: No such folder, or it cannot be watched.
        """
        self._path = path
        self._after = after
        self._taken: list[tuple[str, Stamp | None]] = []
        """What was returned and is not put away yet."""
        self._clashes: Counter[str] = Counter()
        self._stays = False
        """Whether it was said that files cannot be put away."""
        self._pictures: Counter[str] = Counter()
        self._closed = False
        try:
            self._arrivals = Arrivals(path, clock or SystemClock())
        except OSError as error:
            msg = f"watched folder {path}: {error.strerror or error}"
            raise SourceError(msg) from error
        self.wakeup = self

    def read(self) -> Capture | None:
        """Return the next file that is whole, or is given up, as a capture; see FolderSource.

        ``arrived_ns`` is when its writer was done with it, None for what was
        there before the start.
        """
        self.clear()
        for _ in range(LOOKS_A_READ):
            arrival = self._arrivals.next()
            if arrival is None:
                break
            capture = self._look_at(arrival)
            if capture is not None:
                return capture
        return None

    @property
    def state(self) -> CameraState:
        """ONLINE, or LOST while there is no folder."""
        return "ONLINE" if self._arrivals.is_there else "LOST"

    @property
    def counts(self) -> Counter[str]:
        """Openings, losses and overflows of the folder, pictures, failed ones."""
        return self._arrivals.counts + self._pictures

    def take_events(self) -> list[CameraEvent]:
        """Return how the folder went and came back since the last call."""
        events, self._arrivals.events = self._arrivals.events, []
        return events

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._arrivals.fileno()

    def clear(self) -> None:
        """Take note of what happened, so that a poller sleeps again."""
        self._arrivals.keep_up()

    def let_go(self, count: int) -> None:
        """Put away the next ``count`` pictures that were returned."""
        taken, self._taken = self._taken[:count], self._taken[count:]
        for name, stamp in taken:
            self._put_away(name, stamp)

    def close(self) -> None:
        """Watch no longer; more calls do nothing. What was not let go of stays where it is."""
        if not self._closed:
            self._closed = True
            self._arrivals.close()

    def _look_at(self, arrival: Arrival) -> Capture | None:
        """Read a file; None where it is worth while to wait for more of it."""
        reader = WholeFileReader(closed=arrival.told)
        capture = read_capture(self._path / arrival.name, reader.read)
        failed = capture.pixels is None
        if failed and self._arrivals.put_back(arrival, in_use=reader.in_use):
            return None
        stamp = reader.stamp or arrival.stamp
        self._taken.append((arrival.name, stamp))
        if stamp is not None:
            self._arrivals.remember(arrival.name, stamp)
        self._pictures["pictures"] += 1
        self._pictures["failed"] += failed
        return replace(capture, arrived_ns=arrival.since_ns)

    def _put_away(self, name: str, stamp: Stamp | None) -> None:
        """Move or delete a file that was returned, where it still is what was read."""
        file = self._path / name
        if self._after == "keep" or stamp is None or not self._arrivals.is_still(name, stamp):
            return
        try:
            if self._after == "delete":
                file.unlink()
            else:
                self._move(file, stamp)
        except OSError as error:
            if not self._stays:
                self._stays = True
                log.warning(
                    "%s: cannot %s it after reading: %s; like others it stays, and is "
                    "not read again in this run",
                    file,
                    self._after,
                    error.strerror,
                )
            return
        self._arrivals.forget(name)

    def _move(self, file: Path, stamp: Stamp) -> None:
        """Move a file to the done ones; another that has just taken its name comes back."""
        place = self._place_for(file)
        file.rename(place)
        moved = stamp_of(place)
        if moved is not None and moved.inode != stamp.inode and not file.exists():
            place.rename(file)

    def _place_for(self, file: Path) -> Path:
        """Return where a file is moved to; one of its name is there already gets a number."""
        folder = self._path / DONE
        folder.mkdir(exist_ok=True)
        place = folder / file.name
        while place.exists():
            self._clashes[file.name] += 1
            place = folder / f"{file.stem}-{self._clashes[file.name]}{file.suffix}"
        return place
