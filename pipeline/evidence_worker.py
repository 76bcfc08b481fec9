"""Evidence beside the gate: a thread that renders and writes, and never delays a verdict.

A 12-megapixel overlay takes half a second. The gate hands images over and
collects what came of them in its own time; the queue is short, and an image
that finds it full is given up with a reason, because verdicts come first.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2

from pipeline.evidence import EvidenceError, EvidenceStore
from pipeline.heatmap import HeatmapError, decode_8bit, encode_png, overlay
from pipeline.regions import on_picture

if TYPE_CHECKING:
    from edge.frame import FrameKey
    from pipeline.inspection import Inspection

STOPPED = "the line was stopped"
SCREEN_SIDE_PX = 400
"""It shares the connection of the verdicts: 360 kB at most, 30 ms at 100 Mbit/s."""
QUEUE_LIMIT = 32
"""Images that wait; at 12 megapixels about 400 MB."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What came of one image."""

    key: FrameKey
    path: str | None
    """Below the evidence folder; None where it was lost."""
    heatmap: bytes | None
    """For screens, at most SCREEN_SIDE_PX wide and high; the whole one lies beside the image."""
    error: str


class EvidenceWorker:
    """Writes images in a thread of its own."""

    def __init__(self, store: EvidenceStore) -> None:
        """Start the thread."""
        self._store = store
        self._waiting: queue.Queue[tuple[FrameKey, bytes, Inspection | None] | None] = queue.Queue(
            QUEUE_LIMIT
        )
        self._done: queue.SimpleQueue[Stored] = queue.SimpleQueue()
        self._in_hand: FrameKey | None = None
        self._thread = threading.Thread(target=self._work, name="evidence", daemon=True)
        self._thread.start()

    def put(self, key: FrameKey, image: bytes, inspection: Inspection | None) -> None:
        """Hand over an image; its fate is told by :meth:`collect`."""
        try:
            self._waiting.put_nowait((key, image, inspection))
        except queue.Full:
            error = f"{QUEUE_LIMIT} images wait to be written"
            self._done.put(Stored(key, None, None, error))

    def collect(self) -> list[Stored]:
        """Return what has been written or lost since the last call."""
        done: list[Stored] = []
        while True:
            try:
                done.append(self._done.get_nowait())
            except queue.Empty:
                return done

    def close(self, limit_s: float) -> None:
        """Write what can be written within the limit; the rest is told as lost."""
        begin = time.monotonic()
        try:
            self._waiting.put(None, timeout=limit_s)
            self._thread.join(max(0.0, limit_s - (time.monotonic() - begin)))
        except queue.Full:
            pass
        while True:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                self._done.put(Stored(item[0], None, None, STOPPED))
        # The image in hand, if any, may still be written; its row will not name it.
        if (key := self._in_hand) is not None:
            self._done.put(Stored(key, None, None, STOPPED))

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            key, image, inspection = item
            self._in_hand = key
            try:
                whole, small = _fail_heatmap(key, image, inspection)
                stored = Stored(key, self._store.write(key, image, whole), small, "")
            except (EvidenceError, HeatmapError) as error:
                stored = Stored(key, None, None, str(error))
            except Exception as error:  # noqa: BLE001 - one image must not end all evidence
                stored = Stored(key, None, None, f"{type(error).__name__}: {error}")
            self._in_hand = None
            self._done.put(stored)


def _fail_heatmap(
    key: FrameKey, image: bytes, inspection: Inspection | None
) -> tuple[bytes | None, bytes | None]:
    """Render the overlay of a failed frame, whole for the disk and small for screens.

    Other frames have nothing above the threshold.
    """
    if inspection is None or inspection.verdict != "FAIL":
        return None, None
    scores, level, affine = inspection.patch_scores, inspection.map_level, inspection.affine
    if scores is None or level is None or affine is None:
        return None, None
    placed = on_picture(affine, inspection.offset_px)
    whole = overlay(decode_8bit(image, str(key)), scores, level, placed)
    shown = encode_png(whole)
    scale = SCREEN_SIDE_PX / max(whole.shape[:2])
    if scale >= 1:
        return shown, shown
    small = cv2.resize(whole, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return shown, encode_png(small)
