"""V4L2 devices, RTSP and HTTP streams through OpenCV."""

from __future__ import annotations

from dataclasses import dataclass


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
