"""How a GenICam camera is set up, whichever library speaks to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edge.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.sources.device import Trigger

NS_PER_S = 1_000_000_000

TRIGGERED = frozenset({"hardware", "software"})
"""Triggers for which the camera itself waits."""
EDGES = {"rising": "RisingEdge", "falling": "FallingEdge"}
"""What SFNC calls the edges of an input."""


@dataclass(frozen=True, slots=True)
class GenicamSettings:
    """Settings after GenICam's SFNC; None leaves the camera's own value."""

    camera: str = ""
    """Serial number, id or address; empty takes the only camera there is."""
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


def opening_limit(clock: Clock, limit_s: float) -> Callable[[], None]:
    """Return what raises SourceError once an opening that begins now has taken too long."""
    until_ns = clock.monotonic_ns() + round(limit_s * NS_PER_S)

    def check() -> None:
        if clock.monotonic_ns() > until_ns:
            msg = f"not set up within open_timeout_s = {limit_s:g}"
            raise SourceError(msg)

    return check
