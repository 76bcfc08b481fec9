"""A video file as a camera: each frame a part, in the order of the file.

OpenCV decodes it. What the file states about itself is held against what comes
out of it: a file that was cut short ends with a fault, not as if that had been
all. A frame that the decoder skips in the middle makes the count short, too,
and is then told at the end; one that it fills in cannot be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from edge.frame import ORIGIN_LIMIT
from edge.sources import Capture, EndOfSourceError, Source, SourceError
from edge.sources.folder import named_part, shown_name, silent_opencv

if TYPE_CHECKING:
    from pathlib import Path

NUMBER_LENGTH = len("-000001")


class VideoSource(Source):
    """The frames of one file, each read when its turn comes."""

    def __init__(self, path: Path, *, loop: bool = False) -> None:
        """Open the file and decode its first frame.

        Args:
            path: A video file that OpenCV can decode.
            loop: Begin again after the last frame instead of ending.

        Raises:
            SourceError: No such file, or not one frame can be decoded.
        """
        self._path = path
        self._loop = loop
        self._name = shown_name(path)
        self._stem = named_part(path, room=NUMBER_LENGTH)
        self._video: cv2.VideoCapture | None = None
        self._next: npt.NDArray[np.uint8] | None = None
        self._begin()

    def read(self) -> Capture:
        """Return the next frame: uint8, (height, width, 3), blue first, as it is stored.

        A grey video comes in three equal channels: OpenCV hands out nothing else.

        Raises:
            EndOfSourceError: Every frame was read, and the source does not loop.
            SourceError: The file cannot be opened again for the next round.
        """
        if self._next is None and self._number < self._stated:
            return self._cut_short()
        if self._next is None:
            if not self._loop:
                raise EndOfSourceError
            self._begin()
        self._number += 1
        pixels, self._next = self._next, self._decoded()
        return self._capture(pixels)

    def close(self) -> None:
        """Let go of the file; more calls do nothing."""
        if self._video is not None:
            self._video.release()
            self._video = None
        self._next = None
        self._stated = 0

    def _begin(self) -> None:
        """Open the file from its beginning."""
        if not self._path.is_file():
            msg = f"video {self._path}: no such file"
            raise SourceError(msg)
        self.close()
        with silent_opencv():
            # An absolute path is nothing but a file; a name may read like a URL or a pattern.
            self._video = cv2.VideoCapture(str(self._path.resolve()))
            self._video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._number = 0
        """Frames returned in this round."""
        self._stated = max(0, int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)))
        """Frames that the file says it has; 0 where it does not say."""
        self._next = self._decoded()
        if self._next is None:
            self.close()
            msg = f"video {self._path}: OpenCV cannot decode a frame of it"
            raise SourceError(msg)

    def _decoded(self) -> npt.NDArray[np.uint8] | None:
        """Return the frame after the last one; None after the end."""
        if self._video is None:
            return None
        with silent_opencv():
            ok, pixels = self._video.read()
        return np.asarray(pixels, np.uint8) if ok else None

    def _cut_short(self) -> Capture:
        """Return the one fault that stands for what the file lacks."""
        there, stated = self._number, self._stated
        self._number = self._stated = there + 1
        return self._capture(None, f"the video ends at frame {there} of {stated}")

    def _capture(self, pixels: npt.NDArray[np.uint8] | None, fault: str = "") -> Capture:
        number = self._number
        suffix = f"#{number}"
        return Capture(
            pixels,
            "bgr",
            part_id=f"{self._stem}-{number:06d}",
            origin=self._name[: ORIGIN_LIMIT - len(suffix)] + suffix,
            fault=fault,
        )
