"""Which file of a folder is to be looked at next, and which has to wait.

Names come from two sides: inotify tells at once what a process of this host has
closed or renamed, and a listing, at the start, after a loss of events and once
a second, finds what nobody told. This module reads no file; whether one is
whole is found out by the caller, who hands it back where it is not.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.sources import CameraEvent, inotify
from edge.sources.folder import is_image_name
from edge.sources.whole_file import Stamp, is_remote, make_stamp, stamp_of

if TYPE_CHECKING:
    from pathlib import Path

    from edge.clock import Clock

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
SETTLE_NS = 2 * NS_PER_S
"""A file that is not whole is given up when nothing happens to it for so long: a packet of an
upload that is lost twice is sent again after 0.2 and another 0.4 s, three times after 1.4 s."""
HELD_NS = 30 * NS_PER_S
"""So long is a file waited for that another program keeps open and does not write to."""
LIST_NS = NS_PER_S
LIST_SHARE = 20
"""Listing a large folder takes at most one part in so many of the time."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file to look at."""

    name: str
    since_ns: int | None
    """Since when nothing has happened to it, monotonic; None where nobody knows."""
    stamp: Stamp | None
    """As it is now; None where it is gone."""
    told: bool
    """Whether its writer has closed it, or moved it here."""
    settled: bool
    """Whether it was looked at before, and has not changed for SETTLE_NS."""


@dataclass(slots=True)
class _Waiting:
    """A file that was not whole, or that nobody told to be closed."""

    stamp: Stamp | None
    since_ns: int
    due_ns: int


class Arrivals:
    """The files of one folder that were not read yet."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Watch the folder; what is there already comes first, in the order of the names.

        Raises:
            OSError: No such folder, or it cannot be watched.
        """
        self.counts: Counter[str] = Counter()
        self.events: list[CameraEvent] = []
        self._path = path
        self._clock = clock
        self._ready: dict[str, int | None] = {}
        """In order of arrival, with the time of the event; None where there was none."""
        self._waiting: dict[str, _Waiting] = {}
        self._seen: dict[str, Stamp] = {}
        """Files that were read and may lie there still."""
        self._put_away: set[str] = set()
        """Files that were moved or deleted by us; inotify has not told it yet."""
        self._moved_from = (0, "")
        """Cookie and name of the last file that was moved away."""
        self._lost_ns: int | None = None
        self._next_list_ns = 0
        self._watch = inotify.FolderWatch()
        try:
            self._find()
            self._ready = dict(sorted(self._ready.items()))
        except OSError:
            self._watch.close()
            raise

    @property
    def is_there(self) -> bool:
        """Whether there is a folder."""
        return self._lost_ns is None

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has happened."""
        return self._watch.fileno()

    def keep_up(self) -> None:
        """Take note of what has happened, and list the folder where that is due."""
        self._take_events()
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next_list_ns:
            return
        self._next_list_ns = now_ns + LIST_NS
        try:
            if not self.is_there:
                self._find()
            for name, stamp in self._list(all_told=True).items():
                self._waiting[name] = _Waiting(stamp, now_ns, now_ns + SETTLE_NS)
        except OSError as error:
            self._lose(error.strerror or str(error))

    def next(self) -> Arrival | None:
        """Return the next file to look at, which is no longer kept here."""
        if not self.is_there:
            return None
        while self._ready:
            name = next(iter(self._ready))
            since_ns = self._ready.pop(name)
            stamp = stamp_of(self._path / name)
            if stamp is None or stamp != self._seen.get(name):
                told = since_ns is not None
                return Arrival(name, since_ns, stamp, told=told, settled=False)
        now_ns = self._clock.monotonic_ns()
        due = [name for name, one in self._waiting.items() if one.due_ns <= now_ns]
        for name in due:
            one = self._waiting[name]
            stamp = stamp_of(self._path / name)
            if stamp == one.stamp:
                del self._waiting[name]
                return Arrival(name, one.since_ns, stamp, told=True, settled=True)
            self._waiting[name] = _Waiting(stamp, now_ns, now_ns + SETTLE_NS)
        return None

    def put_back(self, arrival: Arrival, *, in_use: bool) -> bool:
        """Take a file back that is not whole; False where it is time to give it up.

        Args:
            arrival: As it came from ``next``.
            in_use: Whether somebody has it open for writing.
        """
        now_ns = self._clock.monotonic_ns()
        since_ns = now_ns if arrival.since_ns is None else arrival.since_ns
        limit_ns = HELD_NS if in_use else SETTLE_NS
        if arrival.settled and now_ns - since_ns >= limit_ns:
            return False
        self._waiting[arrival.name] = _Waiting(arrival.stamp, since_ns, now_ns + SETTLE_NS)
        return True

    def remember(self, name: str, stamp: Stamp) -> None:
        """Do not hand out this file again while it lies there as it is."""
        self._seen[name] = stamp

    def is_still(self, name: str, stamp: Stamp) -> bool:
        """Tell whether a file is the one that was read, and not another under its name.

        Its time may have been set since, as a copying program does after the
        writing: had the content changed, the writer's closing would be told.
        """
        self._take_events()
        now = stamp_of(self._path / name)
        if now is None or now == stamp:
            return now is not None
        only_time = now.differs_in_time_only(stamp) and not self._is_remote
        return only_time and name not in self._ready

    def forget(self, name: str) -> None:
        """Let a file of this name be a new one, from its being put away on."""
        self._seen.pop(name, None)
        self._put_away.add(name)

    def close(self) -> None:
        """Watch no longer."""
        self._watch.close()

    def _take_events(self) -> None:
        for event in self._watch.take():
            if event.mask & inotify.OVERFLOW:
                self._make_up()
            elif event.mask & inotify.FOLDER_GONE:
                self._lose("it was moved away or deleted")
            elif not event.mask & inotify.IS_DIR:
                self._note(event)

    def _make_up(self) -> None:
        """List the folder after a loss of events."""
        self.counts["overflows"] += 1
        self._put_away.clear()
        with suppress(OSError):  # A folder that is gone is found out by the next listing.
            self._ready |= dict.fromkeys(self._list(all_told=False))

    def _note(self, event: inotify.FolderEvent) -> None:
        """Take note of what happened to a file."""
        name = event.name
        if event.mask & (inotify.MOVED_FROM | inotify.DELETE) and name in self._put_away:
            # What was told before is of the file that we have read and put away.
            self._put_away.discard(name)
            self._drop(name)
        elif event.mask & inotify.MOVED_FROM:
            self._moved_from = (event.cookie, name)
        elif event.mask & (inotify.CLOSE_WRITE | inotify.MOVED_TO):
            if event.mask & inotify.MOVED_TO and event.cookie == self._moved_from[0]:
                self._drop(self._moved_from[1])
            if is_image_name(name):
                self._drop(name)
                self._ready[name] = self._clock.monotonic_ns()

    def _drop(self, name: str) -> None:
        self._ready.pop(name, None)
        self._waiting.pop(name, None)

    def _find(self) -> None:
        """Watch the folder that is there now, and take all that is in it.

        Raises:
            OSError: There is none, or it cannot be watched.
        """
        self._watch.watch(self._path)
        found = self._path.stat()
        self._folder = (found.st_dev, found.st_ino)
        self._is_remote = is_remote(self._path)
        self._put_away.clear()
        lost_ns, self._lost_ns = self._lost_ns, None
        self.counts["openings"] += 1
        if lost_ns is not None:
            away_s = round((self._clock.monotonic_ns() - lost_ns) / NS_PER_S, 3)
            log.info("folder %s: there again after %.1f s", self._path, away_s)
            detail: dict[str, str | int | float] = {"name": str(self._path), "away_s": away_s}
            self.events.append(CameraEvent("camera_back", detail))
        self._ready |= dict.fromkeys(self._list(all_told=False))

    def _lose(self, reason: str) -> None:
        if self._lost_ns is not None:
            return
        self._lost_ns = self._clock.monotonic_ns()
        self._watch.forget()
        self.counts["losses"] += 1
        why = f"folder {self._path}: {reason}"
        self.events.append(CameraEvent("camera_lost", {"why": why}))
        log.warning("%s; looked for until it is there", why)

    def _list(self, *, all_told: bool) -> dict[str, Stamp]:
        """Return the files that are not known, by time and name.

        Args:
            all_told: Whether no event was lost: on a file system of this host the
                writing of a file would then have been told, and its new time is no news.

        Raises:
            OSError: The folder is not there.
        """
        began_ns = self._clock.monotonic_ns()
        found = self._path.stat()
        if (found.st_dev, found.st_ino) != self._folder:
            self._lose("another folder is in its place")
            return {}
        there = _images_in(self._path)
        for gone in self._seen.keys() - there.keys():
            del self._seen[gone]
        pending = self._ready.keys() | self._waiting.keys()
        new = {}
        for name, stamp in there.items():
            seen = self._seen.get(name)
            only_time = seen is not None and stamp.differs_in_time_only(seen)
            is_seen = seen == stamp or (only_time and all_told and not self._is_remote)
            if not is_seen and name not in pending:
                new[name] = stamp
        cost_ns = self._clock.monotonic_ns() - began_ns
        self._next_list_ns = began_ns + max(LIST_NS, LIST_SHARE * cost_ns)
        return dict(sorted(new.items(), key=lambda item: (item[1].mtime_ns, item[0])))


def _images_in(folder: Path) -> dict[str, Stamp]:
    there: dict[str, Stamp] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            # What has gone since the listing began is no longer there.
            with suppress(OSError):
                if is_image_name(entry.name) and entry.is_file():
                    there[entry.name] = make_stamp(entry.stat())
    return there
