"""The two clocks of the line: one for people, one for deadlines.

Everything that needs the time takes a ``Clock``, so that a test or a replay
can drive it. Deadlines use the monotonic clock only: the wall clock may step.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """Source of time."""

    def now(self) -> datetime:
        """Return the wall-clock time, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Return the host's monotonic time, the same for all its processes."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def now(self) -> datetime:
        """Return the wall-clock time, UTC."""
        return datetime.now(timezone.utc)

    def monotonic_ns(self) -> int:
        """Return CLOCK_MONOTONIC, which all processes of a host share."""
        return time.monotonic_ns()
