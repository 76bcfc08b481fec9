"""When to try a broker again that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SOON_S = 1.0
"""The longest wait at first: a broker that comes back is found within about this time."""
LATE_S = 5.0
"""The longest wait once nobody can expect it back from one moment to the next."""
LONG_AGO_NS = 300_000_000_000
STEADY_NS = 1_000_000_000
"""A connection that ends sooner does not count as success: waits grow as if it had failed."""
JITTER = 0.2
"""Share of a wait that chance takes away: stations that lost their broker at one moment
do not all come back at one moment."""


class RetryDelays:
    """Waits that double, short while the broker was there lately or never."""

    def __init__(self, first_s: float, chance: Callable[[], float]) -> None:
        """Start with a wait of ``first_s``; ``chance`` returns 0 to 1."""
        self._first_s = self._next_s = first_s
        self._chance = chance
        self._last_good_ns: int | None = None

    def connection_ended(self, began_ns: int, now_ns: int) -> None:
        """Note that the broker was there from one moment to the other."""
        self._last_good_ns = now_ns
        if now_ns - began_ns >= STEADY_NS:
            self._next_s = self._first_s

    def next_s(self, now_ns: int) -> float:
        """Return how long to wait until the next try, in seconds."""
        good_ns = self._last_good_ns
        limit_s = SOON_S if good_ns is None or now_ns - good_ns < LONG_AGO_NS else LATE_S
        wait_s = min(self._next_s, limit_s)
        self._next_s = 2 * wait_s
        return wait_s * (1 - JITTER * self._chance())
