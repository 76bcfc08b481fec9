"""Stand-ins for what the doctor looks at: a clock that a camera drives, and its answers."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np

from edge.sources import Capture, SourceError
from pipeline.doctor import Report, run_checks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.doctor import Check, Finding

NS_PER_S = 1_000_000_000


def found(checks: Sequence[Check]) -> list[Finding]:
    """Make checks and return what they found."""
    report = Report(config=None)  # type: ignore[arg-type] - it is not asked for
    run_checks(checks, report, lambda _found: None, lambda _name: None)
    return report.findings


def verdicts(findings: Iterable[Finding]) -> dict[str, str]:
    """Return the verdict of each check."""
    return {one.check: one.verdict for one in findings}


class DrivenClock:
    """A clock that stands still until somebody waits."""

    def __init__(self) -> None:
        """Begin at an arbitrary moment."""
        self.ns = 5 * NS_PER_S

    def now(self) -> datetime:
        """Return the wall-clock time."""
        return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=self.ns / 1e3)

    def monotonic_ns(self) -> int:
        """Return the time that was waited for so far."""
        return self.ns


class SteadyCamera:
    """A camera that exposes by its own clock, or for each trigger unless it is busy.

    It drives the clock: waiting for a picture is what makes time pass.
    """

    name = "stand-in 7"

    def __init__(
        self,
        clock: DrivenClock,
        *,
        every_s: float | None = None,
        busy_s: float = 0.0,
        misses: int = 0,
        opens: Exception | None = None,
        capture: Capture | None = None,
    ) -> None:
        """Describe the camera.

        Args:
            clock: Is moved by waiting.
            every_s: Time between two pictures by its own clock; None waits for triggers.
            busy_s: After a trigger it takes no other for so long.
            misses: So many first triggers do nothing.
            opens: What opening raises.
            capture: What each picture is; a small grey one if None.
        """
        self.can_trigger = every_s is None
        self.alive = True
        self.refuses = False
        self.closed = self.opened = 0
        self.clock = clock
        self._every_ns = None if every_s is None else int(every_s * NS_PER_S)
        self._busy_ns = int(busy_s * NS_PER_S)
        self._misses = misses
        self._opens = opens
        self._capture = capture or Capture(np.zeros((30, 40), np.uint8))
        self._ready_ns: list[int] = []
        self._free_ns = 0

    def open(self) -> None:
        """Open, or do not."""
        if self._opens is not None:
            raise self._opens
        self.opened += 1
        if self._every_ns is not None:
            self._ready_ns = [self.clock.ns + self._every_ns]

    def trigger(self) -> None:
        """Expose, unless the exposure before is not over."""
        if self.refuses:
            msg = f"{self.name}: the trigger is not taken"
            raise SourceError(msg)
        if self._misses > 0:
            self._misses -= 1
        elif self.clock.ns >= self._free_ns:
            self._free_ns = self.clock.ns + self._busy_ns
            self._ready_ns.append(self.clock.ns + self._busy_ns)

    def grab(self, timeout_s: float) -> Capture | None:
        """Return the picture that is ready within the time, which passes."""
        until_ns = self.clock.ns + max(1, int(timeout_s * NS_PER_S))
        if not self._ready_ns or self._ready_ns[0] > until_ns:
            self.clock.ns = until_ns
            return None
        self.clock.ns = max(self.clock.ns, self._ready_ns.pop(0))
        if self._every_ns is not None:
            self._ready_ns.append(self.clock.ns + self._every_ns)
        return self._capture

    def is_alive(self) -> bool:
        """Tell whether it answers."""
        return self.alive

    def close(self) -> None:
        """Let go."""
        self.closed += 1
