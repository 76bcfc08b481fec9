"""The system clock: UTC for people, the host's monotonic time for deadlines."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

from edge.clock import SystemClock


def test_now_is_utc() -> None:
    """The wall clock says its zone, and it is UTC."""
    before = datetime.now(timezone.utc)

    now = SystemClock().now()

    assert now.utcoffset() == timedelta(0)
    assert before <= now <= datetime.now(timezone.utc)


def test_monotonic_is_the_hosts() -> None:
    """The monotonic time is the host's own, so that two processes can compare theirs."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    now = SystemClock().monotonic_ns()

    assert before <= now <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)
