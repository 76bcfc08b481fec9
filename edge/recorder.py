"""Writes one index of a recording, and the frames it names, beside the line's own work.

``put`` and ``put_frame`` only hand over; a thread encodes and writes. What waits there is
limited, and so is what is written. A frame that finds the queue full is left out and named
as such; a disk that is full or fails ends the recording of this process. Either way there
is one fault to tell the ledger, and inspection goes on.

Killed at any moment, it leaves whole lines and at most one torn one, and no line of a
frame whose file is not whole: the file gets its name first, then its line is appended. A
process that goes on takes the torn line off first, and says so in its place.

A frame that is the whole decoding of a JPEG file is kept as that file; any other, one that
ingest has cropped too, is encoded as PNG. Either way a reader gets the frame's own pixels.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import shutil
import threading
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import cv2

from edge.frame import Frame
from edge.recording_files import RecordingError, take_torn_off, torn_words
from edge.recording_lines import FRAMES_FOLDER, Cut, Ended, NotRecorded, StoredFrame, frame_file
from edge.wire import DETAIL_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from pydantic import BaseModel

    from edge.frame import Jpeg
    from edge.recording_lines import EndWhy

log = logging.getLogger(__name__)

WAITING_LIMIT_BYTES = 256_000_000
"""Pixels that wait to be encoded: some 20 frames of 12 megapixels."""
LINE_BYTES = 1_024
"""What a line that waits counts as; most are shorter."""
LINES_LIMIT_BYTES = 16_000_000
"""Lines may wait beyond the limit of the frames, so that what is left out can be named."""
KEEP_FREE_BYTES = 500_000_000
"""The rest of the disk is the ledger's: a line that cannot write it stands still."""
HURRY_S = 0.1
"""To name what is left out at a stop; an image in hand may take longer, and is lost then."""
PART_FILE = "incoming.part"
"""A frame's file until it is whole."""


class RecordingFault(NamedTuple):
    """An event for the ledger: what is not recorded, and why."""

    kind: str
    """``recording_full``, ``recording_failed`` or ``recording_torn``."""
    detail: dict[str, str | int | float]


class _Picture(NamedTuple):
    """A frame that waits, and the JPEG that it is kept as; None to encode it."""

    frame: Frame
    jpeg: bytes | None


class Recorder:
    """One process's part of a recording."""

    def __init__(
        self,
        index: Path,
        max_bytes: int,
        now: Callable[[], datetime],
        *,
        waiting_limit_bytes: int = WAITING_LIMIT_BYTES,
        keep_free_bytes: int = KEEP_FREE_BYTES,
    ) -> None:
        """Go on with ``index``, or begin it; its frames lie beside it.

        Args:
            index: The file that lines are appended to; this process alone writes it.
            max_bytes: What index and frames together may take, with what is there already.
            now: UTC, for the line that says when a recording ended.
            waiting_limit_bytes: Pixels that may wait.
            keep_free_bytes: Free space below which nothing more is written.

        Raises:
            RecordingError: The index cannot be opened for writing.
        """
        self._index = index
        self._max_bytes = max_bytes
        self._now = now
        self._waiting_limit_bytes = waiting_limit_bytes
        self._keep_free_bytes = keep_free_bytes
        try:
            index.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(index, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            msg = f"{index}: {error.strerror}"
            raise RecordingError(msg) from error
        self._waiting: queue.SimpleQueue[BaseModel | _Picture | None] = queue.SimpleQueue()
        # Each is written by one thread alone.
        self._given_bytes = self._done_bytes = 0
        self.used_bytes = 0
        """What index and frames take, those of earlier processes too."""
        self.ended: EndWhy | None = None
        """Why nothing more is written; None while it is."""
        self._hurries = self._closed = False
        self._faults: queue.SimpleQueue[RecordingFault] = queue.SimpleQueue()
        self._queue_was_full = False
        self.frames = 0
        """Frames that were recorded."""
        self.left_out = 0
        """Frames and lines that were not."""
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    @property
    def behind(self) -> bool:
        """Whether half of the room for frames is taken."""
        return self._waits(0) > self._waiting_limit_bytes // 2

    def put(self, line: BaseModel) -> None:
        """Hand over a line; it must not change any more."""
        if self.ended is not None:
            return
        if self._waits(LINE_BYTES) > self._waiting_limit_bytes + LINES_LIMIT_BYTES:
            self._leave_out()
            return
        self._given_bytes += LINE_BYTES
        self._waiting.put(line)

    def put_frame(self, frame: Frame, jpeg: Jpeg | None = None) -> None:
        """Hand over a frame whose pixels must not change any more, and the file it came as.

        The file is kept where the frame's pixels are all that was decoded from it.
        """
        if self.ended is not None:
            self.left_out += 1
            return
        content = jpeg.content if jpeg is not None and jpeg.pixels is frame.pixels else None
        picture = _Picture(frame, content)
        size = _waiting_bytes(picture)
        # A frame alone may be larger than the limit.
        if self._waits(size) > max(self._waiting_limit_bytes, size):
            self._leave_out()
            key = frame.key
            self.put(NotRecorded(camera=key.camera, boot=key.boot, seq=key.seq, why="queue_full"))
            return
        self._given_bytes += size
        self._waiting.put(picture)

    def take_faults(self) -> list[RecordingFault]:
        """Return what went wrong since the last call; each kind of fault comes once."""
        faults: list[RecordingFault] = []
        while True:
            try:
                faults.append(self._faults.get_nowait())
            except queue.Empty:
                return faults

    def close(self, limit_s: float) -> None:
        """Write what can be written within the limit; frames beyond it are named and left out.

        More calls do nothing.
        """
        if self._closed:
            return
        self._closed = True
        self._waiting.put(None)
        self._thread.join(limit_s)
        if self._thread.is_alive():
            self._hurries = True
            self._thread.join(HURRY_S)
        log.info("%s: %d frames recorded, %d left out", self._index, self.frames, self.left_out)

    def _waits(self, size: int) -> int:
        """Return the bytes that would wait with so many more."""
        return self._given_bytes - self._done_bytes + size

    def _leave_out(self) -> None:
        self.left_out += 1
        if not self._queue_was_full:
            self._queue_was_full = True
            self._fault(
                "recording_failed", "queue_full", "frames come faster than they are written"
            )

    def _fault(self, kind: str, why: str, detail: str) -> None:
        log.error("recording %s: %s, %s", self._index, why, detail)
        self._faults.put(RecordingFault(kind, {"why": why, "detail": detail[:DETAIL_LIMIT]}))

    def _work(self) -> None:
        self._attempt(self._go_on)
        while (item := self._waiting.get()) is not None:
            self._attempt(self._write, item)
            self._done_bytes += _waiting_bytes(item)
        os.close(self._file)

    def _attempt(self, work: Callable[..., None], *given: BaseModel | _Picture) -> None:
        """Do a step of the work, unless the recording has ended; let no failure out."""
        if self.ended is not None:
            return
        try:
            work(*given)
        except OSError as error:
            self._end("io_error", error.strerror or str(error))
        except Exception as error:  # noqa: BLE001 - inspection must not end with its recording
            self._end("io_error", f"{type(error).__name__}: {error}")

    def _go_on(self) -> None:
        """Count what an earlier process has written, and take off what it was killed in."""
        torn = take_torn_off(self._file)
        frames = (self._index.parent / FRAMES_FOLDER).glob("*/*.*")
        self.used_bytes = os.fstat(self._file).st_size
        self.used_bytes += sum(path.stat().st_size for path in frames)
        if torn:
            detail = torn_words(torn)
            self._append_line(Cut(at=self._now(), size_bytes=len(torn), detail=detail))
            self._fault("recording_torn", "torn_line", f"{detail}, taken off")

    def _write(self, item: BaseModel | _Picture) -> None:
        if not isinstance(item, _Picture):
            self._append_line(item)
        elif self._hurries:
            key = item.frame.key
            self.left_out += 1
            self._append_line(
                NotRecorded(camera=key.camera, boot=key.boot, seq=key.seq, why="stopped")
            )
        else:
            self._write_frame(*item)

    def _write_frame(self, frame: Frame, jpeg: bytes | None) -> None:
        content = encode_frame_file(frame) if jpeg is None else jpeg
        free = shutil.disk_usage(self._index.parent).free
        if free - len(content) < self._keep_free_bytes:
            self._end("disk_low", f"{free} bytes are free, {self._keep_free_bytes} are kept so")
            return
        name = frame_file(frame.key.boot, frame.key.seq, "png" if jpeg is None else "jpg")
        line = StoredFrame(
            announcement=frame.announcement,
            pixel_format=frame.pixel_format,
            bit_depth=frame.bit_depth,
            shape=frame.pixels.shape[:2],
            offset_px=frame.offset_px,
            file=name,
            size_bytes=len(content),
            crc32=zlib.crc32(content),
            pixels_crc32=None if jpeg is None else zlib.crc32(frame.pixels.data),
        )
        if not self._has_room(len(content) + LINE_BYTES):
            return
        path = self._index.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.parent.with_name(PART_FILE)
        whole.write_bytes(content)
        whole.replace(path)
        self.used_bytes += len(content)
        self._append_line(line)
        self.frames += 1

    def _append_line(self, line: BaseModel) -> None:
        content = line.model_dump_json().encode() + b"\n"
        if self._has_room(len(content)):
            self._append(content)

    def _has_room(self, size: int) -> bool:
        """Tell whether so much may be written; end the recording where it may not."""
        if self.used_bytes + size <= self._max_bytes:
            return True
        self._end("limit_reached", f"{self._max_bytes} bytes are its share of record.max_bytes")
        return False

    def _append(self, content: bytes) -> None:
        """Write at the end of the index, whole or not at all.

        Raises:
            OSError: It is not written.
        """
        written = os.write(self._file, content)
        if written != len(content):
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.used_bytes += len(content)

    def _end(self, why: EndWhy, detail: str) -> None:
        """Record nothing more; say so in the index, where that can still be written."""
        self.ended = why
        line = Ended(at=self._now(), why=why, detail=detail)
        with suppress(OSError):
            self._append(line.model_dump_json().encode() + b"\n")
        full = why != "io_error"
        self._fault("recording_full" if full else "recording_failed", why, detail)


def encode_frame_file(frame: Frame) -> bytes:
    """Return the pixels of a frame as a PNG that loses nothing.

    Raises:
        ValueError: OpenCV cannot encode them.
    """
    # imencode takes blue first; exchanged by OpenCV, which lets other threads run meanwhile.
    is_rgb = frame.pixel_format == "rgb"
    pixels = cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR) if is_rgb else frame.pixels
    # OpenCV's own choice of filter and level: for 12 megapixels half of the time of level 1,
    # 190 ms, and a smaller file.
    done, content = cv2.imencode(".png", pixels)
    if not done:
        msg = f"frame {frame.key}: {frame.pixels.shape} {frame.pixels.dtype} is no PNG"
        raise ValueError(msg)
    return content.tobytes()


def _waiting_bytes(item: BaseModel | _Picture) -> int:
    if isinstance(item, _Picture):
        return item.frame.pixels.nbytes + len(item.jpeg or b"")
    return LINE_BYTES
