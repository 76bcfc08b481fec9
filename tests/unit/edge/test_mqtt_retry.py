"""When a broker is tried again: soon at first, seldom after minutes, never in step."""

from __future__ import annotations

import pytest

from edge.mqtt_retry import LONG_AGO_NS, RetryDelays

S = 1_000_000_000


def waits(delays: RetryDelays, now_ns: int, count: int) -> list[float]:
    """Return the next waits, all asked for at one moment."""
    return [delays.next_s(now_ns) for _ in range(count)]


def test_waits_double_to_a_second() -> None:
    """A broker that was never there is tried after 0.25 s, then less often, but each second."""
    delays = RetryDelays(0.25, lambda: 0.0)

    assert waits(delays, 0, 4) == [0.25, 0.5, 1.0, 1.0]
    assert waits(delays, 10 * LONG_AGO_NS, 2) == [1.0, 1.0]


def test_a_broker_that_was_there_lately_is_tried_each_second() -> None:
    """For five minutes after a good connection no wait is longer than a second, then up to 5 s."""
    delays = RetryDelays(0.25, lambda: 0.0)
    delays.connection_ended(0, 10 * S)

    soon = waits(delays, 10 * S + LONG_AGO_NS - 1, 6)
    late = waits(delays, 10 * S + LONG_AGO_NS, 4)

    assert max(soon) == 1.0
    assert late == [2.0, 4.0, 5.0, 5.0]


def test_a_good_connection_starts_over() -> None:
    """After a connection that lasted, the first wait is the short one again."""
    delays = RetryDelays(0.25, lambda: 0.0)
    waits(delays, 0, 5)

    delays.connection_ended(10 * S, 20 * S)

    assert delays.next_s(20 * S) == 0.25


def test_a_broker_that_drops_us_at_once_is_not_hammered() -> None:
    """Connections that end within a second do not make the waits short again."""
    delays = RetryDelays(0.25, lambda: 0.0)
    found: list[float] = []

    for moment in range(5):
        delays.connection_ended(moment * S, moment * S + S // 2)
        found.append(delays.next_s(moment * S + S // 2))

    assert found == [0.25, 0.5, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(("chance", "wait_s"), [(0.0, 0.25), (0.5, 0.225), (1.0, 0.2)])
def test_chance_shortens_a_wait(chance: float, wait_s: float) -> None:
    """Chance takes up to a fifth from a wait, and never adds to it."""
    assert RetryDelays(0.25, lambda: chance).next_s(0) == pytest.approx(wait_s)
