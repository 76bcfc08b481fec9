"""Basler cameras through pypylon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edge.sources.device import Trigger


@dataclass(frozen=True, slots=True)
class BaslerSettings:
    """How a Basler camera is set up; None leaves the camera's own value."""

    serial: str = ""
    """Empty takes the only camera there is."""
    pixel_format: str = "Mono8"
    exposure_us: float | None = None
    gain_db: float | None = None
    fps: float | None = None
    roi_px: tuple[int, int, int, int] | None = None
    """x, y, width, height on the sensor, read out by the camera itself."""
    trigger: Trigger = "free"
    trigger_line: str = "Line1"
    trigger_edge: Literal["rising", "falling"] = "rising"
    open_timeout_s: float = 5.0
