"""V4L2 devices, RTSP and HTTP streams through OpenCV."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2

from edge.sources import (
    CameraBusyError,
    CameraMissingError,
    CameraSetupError,
    Capture,
    SourceError,
)
from edge.sources.folder import silent_opencv

if TYPE_CHECKING:
    from edge.clock import Clock


@dataclass(frozen=True, slots=True)
class OpencvSettings:
    """How a device or stream is opened; None leaves its own value."""

    source: str
    """Device path or URL; may hold a password, so it is never shown as it is."""
    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None
    open_timeout_s: float = 5.0
    read_timeout_s: float = 3.0


class OpencvDevice:
    """One V4L2 device, or one stream."""

    can_trigger = False

    def __init__(self, settings: OpencvSettings, clock: Clock) -> None:
        """Take the settings; nothing is opened yet."""
        self.name = settings.source
        self._settings = settings
        self._clock = clock

    def open(self) -> None:
        raise SourceError("not yet")

    def grab(self, timeout_s: float) -> Capture | None:
        raise SourceError("not yet")

    def trigger(self) -> None:
        raise SourceError("not yet")

    def is_alive(self) -> bool:
        return False

    def close(self) -> None:
        pass
