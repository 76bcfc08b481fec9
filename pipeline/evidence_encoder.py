"""Images of frames worth keeping, encoded beside the scoring.

A PNG of twelve megapixels takes as long as several inspections. So a thread encodes them,
in order; whoever hands a frame over waits only while ``LIMIT`` of them are in hand, for
each holds a frame in memory. None is left out but what cannot be encoded, which is logged.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import cv2

from edge.wire import BYTE_BITS
from pipeline.heatmap import HeatmapError, decode_8bit, encode_png
from pipeline.inspection import encode_evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import Frame
    from pipeline.heatmap import Image

log = logging.getLogger(__name__)

LIMIT = 4


class EvidenceEncoder:
    """One thread that turns frames into messages for the gate."""

    def __init__(self, wakeup: Callable[[], None]) -> None:
        """Start the thread with the first frame; ``wakeup`` is called when one is done."""
        self._wakeup = wakeup
        self._thread = ThreadPoolExecutor(1, "evidence")
        self._works: deque[Future[list[bytes]]] = deque()

    def put(self, frame: Frame) -> None:
        """Have a frame encoded; waits while too many are."""
        while sum(not work.done() for work in self._works) >= LIMIT:
            next(work for work in self._works if not work.done()).result()
        work = self._thread.submit(evidence_message, frame)
        work.add_done_callback(lambda _work: self._wakeup())
        self._works.append(work)

    def done(self) -> list[list[bytes]]:
        """Return the messages that are ready, in the order of their frames, once each."""
        messages = []
        while self._works and self._works[0].done():
            messages.append(self._works.popleft().result())
        return [message for message in messages if message]

    def finish(self) -> list[list[bytes]]:
        """Wait for all, and return them as :meth:`done`."""
        for work in self._works:
            work.result()
        return self.done()

    def close(self) -> None:
        """End the thread after what it has in hand."""
        self._thread.shutdown()


def evidence_message(frame: Frame) -> list[bytes]:
    """Return the parts of a frame's evidence; none, and logged, where it cannot be encoded."""
    try:
        return [b"evidence", *encode_evidence(frame.key, encoded(frame))]
    except HeatmapError as error:
        log.error("no evidence of %s: %s", frame.key, error)
        return []


def shown(frame: Frame) -> Image:
    """Return the frame as a reader of its evidence would show it, 8 bits, mono or BGR.

    Raises:
        HeatmapError: It cannot be encoded.
    """
    return decode_8bit(encoded(frame), str(frame.key))


def encoded(frame: Frame) -> bytes:
    """Return the frame as PNG, its values moved up to fill 8 or 16 bits.

    Raises:
        HeatmapError: It cannot be encoded.
    """
    container_bits = BYTE_BITS if frame.bit_depth <= BYTE_BITS else 2 * BYTE_BITS
    pixels = frame.pixels << (container_bits - frame.bit_depth)
    if frame.pixel_format == "rgb":
        return encode_png(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return encode_png(pixels)
