"""OpenCV's VideoCapture, opened without a word of its own or of FFmpeg's on stderr.

What they write there names no camera, comes again with each try and each bad
frame, and may show a URL with its password.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import cv2

from edge.sources.folder import silent_opencv

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

FFMPEG_QUIET = "-8"
"""AV_LOG_QUIET of libavutil/log.h."""


def open_video(source: str, backend: int, parameters: Sequence[int] = ()) -> cv2.VideoCapture:
    """Return a VideoCapture, which need not have opened anything.

    Args:
        source: File, device or URL.
        backend: One of cv2.CAP_*.
        parameters: cv2.CAP_PROP_* and their values, in turn.
    """
    # The level of FFmpeg inside OpenCV can be set by nothing else; it is read once a process.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_QUIET)
    with silent_opencv():
        return cv2.VideoCapture(source, backend, list(parameters))


def retrieve(video: cv2.VideoCapture) -> npt.NDArray[Any] | None:
    """Decode the frame that was grabbed, which is in no way checked; None where that fails."""
    with silent_opencv():
        ok, pixels = video.retrieve()
    return pixels if ok else None
