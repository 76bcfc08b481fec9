"""When a picture was taken: the camera's clock, the host's and everybody's, in one.

A picture that waited on its way must not seem younger than it is, or its
deadline would lie. The camera's own clock says when it was exposed; the least
delay seen lately maps it to the host's. Wall-clock times of one camera never go
back: after a clock was set back they run at half speed until it has caught up.

Source of the mapping: the minimum filter of one-way delays, as in D. Mills,
"Internet Time Synchronization", IEEE Trans. Communications 39(10), 1991.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from edge.clock import Clock
    from edge.sources import Capture

DELAYS = 256
DELAY_AGE_NS = 60_000_000_000
"""Quartz clocks part by 50 us a second at most: 3 ms in this time."""
STEP_S = 0.5
SLEW = 0.001
"""A clock that is slewed, not set, changes by 0.5 ms a second at most."""


class Stamp(NamedTuple):
    """When a picture was taken, on both clocks of the host."""

    captured_at: datetime
    captured_ns: int


class CameraClock:
    """From a camera's own clock to the host's monotonic one."""

    def __init__(self) -> None:
        """Begin without knowing the delay."""
        self._delays: deque[tuple[int, int]] = deque(maxlen=DELAYS)
        """Arrival, and how far the host's clock was ahead of the camera's then."""
        self._opening = 0
        self._last_ns = 0
        """The camera's time of the last picture; one that goes back has begun anew."""

    def host_ns(self, capture: Capture, arrived_ns: int) -> int:
        """Return when a picture was exposed, at the latest its arrival."""
        if capture.camera_ns is None:
            return arrived_ns
        if capture.opening != self._opening or capture.camera_ns < self._last_ns:
            self._delays.clear()
            self._opening = capture.opening
        self._last_ns = capture.camera_ns
        self._delays.append((arrived_ns, arrived_ns - capture.camera_ns))
        while arrived_ns - self._delays[0][0] > DELAY_AGE_NS:
            self._delays.popleft()
        return capture.camera_ns + min(delay for _, delay in self._delays)


class Timestamps:
    """Stamps the pictures of one camera, never back in time."""

    def __init__(self, clock: Clock) -> None:
        """Begin now."""
        self._clock = clock
        self._camera = CameraClock()
        self._last: Stamp | None = None
        self._known_ns = clock.monotonic_ns()
        self._known_at = clock.now()

    def stamp(self, capture: Capture, before_ns: int) -> Stamp:
        """Return when a picture was taken.

        Args:
            capture: With its arrival and the camera's time, where they are known.
            before_ns: When it was asked for, monotonic: the time of a picture
                that is made on demand.
        """
        arrived_ns = before_ns if capture.arrived_ns is None else capture.arrived_ns
        captured_ns = self._camera.host_ns(capture, arrived_ns)
        if self._last is not None:
            captured_ns = max(captured_ns, self._last.captured_ns)
        now, now_ns = self._clock.now(), self._clock.monotonic_ns()
        wall = now - timedelta(microseconds=max(0, now_ns - captured_ns) / 1000)
        self._last = Stamp(self._not_back(wall, captured_ns), captured_ns)
        return self._last

    def step_s(self) -> float | None:
        """Return by how much the wall clock was set since the last call, None where it was not."""
        now, now_ns = self._clock.now(), self._clock.monotonic_ns()
        passed_s = (now_ns - self._known_ns) / 1e9
        step_s = (now - self._known_at).total_seconds() - passed_s
        self._known_at, self._known_ns = now, now_ns
        return step_s if abs(step_s) > STEP_S + SLEW * passed_s else None

    def _not_back(self, wall: datetime, captured_ns: int) -> datetime:
        if self._last is None:
            return wall
        passed_us = (captured_ns - self._last.captured_ns) / 1000
        return max(wall, self._last.captured_at + timedelta(microseconds=passed_us / 2))
