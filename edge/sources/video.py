"""A video file as a camera: each frame a part, in the order of the file.

OpenCV decodes it. A frame that cannot be decoded is a fault of its own where
others come after it. What the file states about itself is held against what
came out: a file that was cut short ends with a fault, not as if that had been
all. A frame that the decoder makes up from its neighbours cannot be seen.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from edge.frame import ORIGIN_LIMIT
from edge.sources import Capture, EndOfSourceError, Source, SourceError
from edge.sources.folder import named_part, shown_name
from edge.sources.video_capture import open_video, retrieve

if TYPE_CHECKING:
    from pathlib import Path

Pixels = npt.NDArray[np.uint8]

NUMBER_LENGTH = len("-000001")
BAD_FRAMES = 32
"""So many frames in a row that cannot be decoded are the end; a second of most videos."""


class VideoSource(Source):
    """The frames of one file, each read when its turn comes."""

    def __init__(self, path: Path, *, loop: bool = False) -> None:
        """Open the file and decode its first frame.

        Args:
            path: A video file that OpenCV can decode.
            loop: Begin again after the last frame instead of ending.

        Raises:
            SourceError: No such file, or no frame of it can be decoded.
        """
        self._path = path
        self._loop = loop
        self._name = shown_name(path)
        self._stem = named_part(path, room=NUMBER_LENGTH)
        self._video: cv2.VideoCapture | None = None
        self._ahead: deque[Pixels | None] = deque()
        """Frames that were decoded already; None for each that could not be."""
        self._number = 0
        """Frames returned in this round."""
        self._stated = 0
        """Frames that the file says it has; 0 where it does not say."""
        self._begin()

    def read(self) -> Capture:
        """Return the next frame: uint8, (height, width, 3), blue first, not turned or scaled.

        A grey video comes in three equal channels: OpenCV hands out nothing else.

        Raises:
            EndOfSourceError: Every frame was read, and the source does not loop.
            SourceError: The file cannot be opened again for the next round.
        """
        if not self._ahead and self._number < self._stated:
            return self._cut_short()
        if not self._ahead:
            if not self._loop:
                raise EndOfSourceError
            self._begin()
        self._number += 1
        pixels = self._ahead.popleft()
        if not self._ahead:
            self._decode()
        return self._capture(pixels, "" if pixels is not None else "the frame cannot be decoded")

    def close(self) -> None:
        """Let go of the file; more calls do nothing."""
        if self._video is not None:
            self._video.release()
        self._video = None
        self._ahead.clear()
        self._stated = 0

    def _begin(self) -> None:
        """Open the file, from its first frame on."""
        self.close()
        if not self._path.is_file():
            msg = f"video {self._path}: no such file"
            raise SourceError(msg)
        # An absolute path is nothing but a file; a name may read like a URL or a pattern.
        absolute = str(self._path.resolve())
        if not absolute.isprintable():
            # OpenCV 5.0 crashes on a name that is not UTF-8.
            msg = f"video {self._name}: rename it, its path is not printable text"
            raise SourceError(msg)
        self._video = open_video(absolute, cv2.CAP_ANY)
        self._video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._number = 0
        self._stated = max(0, int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._decode()
        if not self._ahead:
            self.close()
            msg = f"video {self._path}: OpenCV cannot decode a frame of it"
            raise SourceError(msg)

    def _decode(self) -> None:
        """Decode the next good frame, and note the bad ones before it; nothing at the end."""
        if self._video is None:
            return
        for bad_frames in range(BAD_FRAMES):
            pixels = retrieve(self._video) if self._video.grab() else None
            if pixels is not None:
                self._ahead.extend([None] * bad_frames)
                self._ahead.append(pixels)
                return

    def _cut_short(self) -> Capture:
        """Return the one fault that stands for all that the file lacks."""
        there, stated = self._number, self._stated
        self._number = self._stated = there + 1
        return self._capture(None, f"the video ends at frame {there} of {stated}")

    def _capture(self, pixels: Pixels | None, fault: str) -> Capture:
        suffix = f"#{self._number}"
        return Capture(
            pixels,
            "bgr",
            part_id=f"{self._stem}-{self._number:06d}",
            origin=self._name[: ORIGIN_LIMIT - len(suffix)] + suffix,
            fault=fault,
        )
