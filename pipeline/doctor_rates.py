"""How fast a camera delivers: by its own clock, or one picture for each trigger."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.clock import Clock
    from edge.sources import Capture
    from edge.sources.device import Device

NS_PER_S = 1_000_000_000
WINDOW_S = 2.0
WINDOW_LIMIT_S = 10.0
"""A slow line is measured for longer, but no longer than this."""
INTERVALS = 3
"""Pictures apart that a window holds at least, where its limit lets it."""
SETTLE_S = 0.1
"""For pictures of earlier triggers, which do not count."""
GRACE_S = 1.0
"""For the picture of the last trigger: exposure, transfer and a lost packet sent again."""


@dataclass(frozen=True, slots=True)
class FreeRate:
    """What came from a camera that runs by its own clock."""

    pictures: int
    failed: int
    """Buffers without usable pixels."""
    per_minute: float
    """From the first to the last picture; of a single one, what the window rules out."""


@dataclass(frozen=True, slots=True)
class TriggeredRate:
    """What came of software triggers at a steady rate."""

    triggers: int
    """Those that were due; none is given after the camera has failed."""
    pictures: int
    per_minute: float
    """Rate of the triggers."""
    fault: str
    """Why the camera did not obey; empty where it did."""

    @property
    def managed_per_minute(self) -> float:
        """Rate at which the camera had a picture for each trigger."""
        return self.per_minute * self.pictures / self.triggers


def measure_free(device: Device, clock: Clock, per_minute: float | None) -> FreeRate:
    """Count what an opened device delivers; for about two seconds, for longer on a slow line.

    Raises:
        SourceError: The camera went away.
    """
    interval_s = 60 / per_minute if per_minute else 0.0
    window_ns = int(max(WINDOW_S, min(INTERVALS * interval_s, WINDOW_LIMIT_S)) * NS_PER_S)
    times_ns: list[int] = []
    failed = 0
    until_ns = clock.monotonic_ns() + window_ns
    while (now_ns := clock.monotonic_ns()) < until_ns:
        capture = device.grab((until_ns - now_ns) / NS_PER_S)
        if capture is None:
            continue
        if capture.pixels is None:
            failed += 1
        else:
            times_ns.append(_moment_ns(capture, clock))
    pictures = len(times_ns)
    if pictures < 2:  # noqa: PLR2004 - one picture has no rate
        return FreeRate(pictures, failed, 60 * NS_PER_S * pictures / window_ns)
    span_ns = max(1, times_ns[-1] - times_ns[0])
    return FreeRate(pictures, failed, 60 * NS_PER_S * (pictures - 1) / span_ns)


def measure_triggered(device: Device, clock: Clock, per_minute: float | None) -> TriggeredRate:
    """Trigger an opened device at the line's rate and count the pictures.

    A line so slow that this would take too long is triggered faster, and the
    rate that is returned says so. Without a rate, a trigger is fired each half second.
    """
    wanted_s = 60 / per_minute if per_minute else WINDOW_S / 4
    count = max(INTERVALS, math.ceil(WINDOW_S / wanted_s))
    interval_s = min(wanted_s, WINDOW_LIMIT_S / count)
    pictures, fault = 0, ""
    begin_ns = clock.monotonic_ns() + int(SETTLE_S * NS_PER_S)
    try:
        for _ in _pictures(device, clock, begin_ns):
            continue
        due_ns = begin_ns
        for _ in range(count):
            for _ in _pictures(device, clock, due_ns):
                pictures += 1
            device.trigger()
            # Never sooner after one than the interval: what was held up is not caught up with.
            due_ns = max(due_ns, clock.monotonic_ns()) + int(interval_s * NS_PER_S)
        grace_ns = int(max(GRACE_S - interval_s, 0.0) * NS_PER_S)
        for _ in _pictures(device, clock, due_ns + grace_ns):
            pictures += 1
            if pictures == count:
                break
    except SourceError as error:
        fault = str(error)
    return TriggeredRate(count, pictures, 60 / interval_s, fault)


def _pictures(device: Device, clock: Clock, until_ns: int) -> Iterator[Capture]:
    """Yield the good pictures that come until a moment."""
    while (now_ns := clock.monotonic_ns()) < until_ns:
        capture = device.grab((until_ns - now_ns) / NS_PER_S)
        if capture is not None and capture.pixels is not None:
            yield capture


def _moment_ns(capture: Capture, clock: Clock) -> int:
    return clock.monotonic_ns() if capture.arrived_ns is None else capture.arrived_ns
