"""Times of pictures: from the camera's clock where it has one, and never back."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_rig import MS, START, START_NS, FakeClock

from edge.sources import Capture
from edge.timestamps import CameraClock, Timestamps


def capture(
    arrived_ms: float | None = None, camera_ms: float | None = None, opening: int = 1
) -> Capture:
    """Return a picture that arrived so long after the start, exposed at this time of the camera."""
    return Capture(
        np.zeros((2, 2), np.uint8),
        arrived_ns=None if arrived_ms is None else START_NS + round(arrived_ms * MS),
        camera_ns=None if camera_ms is None else round(camera_ms * MS),
        opening=opening,
    )


def test_picture_made_on_demand_is_of_now() -> None:
    """Without an arrival the time is the one at which it was asked for."""
    clock = FakeClock()
    times = Timestamps(clock)
    clock.advance_ms(30)

    stamp = times.stamp(capture(), START_NS + 10 * MS)

    assert stamp.captured_ns == START_NS + 10 * MS
    assert stamp.captured_at == START + timedelta(milliseconds=10)


def test_camera_clock_takes_the_waiting_out() -> None:
    """A picture that waited 40 ms on its way was taken 40 ms before the others would say."""
    clock = CameraClock()
    arrived = [START_NS + ms * MS for ms in (10, 110, 250, 310)]

    host = [clock.host_ns(capture(camera_ms=5_000 + 100 * n), at) for n, at in enumerate(arrived)]

    assert [(at - ns) // MS for at, ns in zip(arrived, host, strict=True)] == [0, 0, 40, 0]


def test_long_way_is_no_reset() -> None:
    """A picture that comes 1.5 s late is so much older, whatever the others were."""
    clock = CameraClock()
    clock.host_ns(capture(camera_ms=5_000), START_NS)

    late = [
        clock.host_ns(capture(camera_ms=5_000 + exposed), START_NS + came * MS)
        for exposed, came in ((100, 1_600), (200, 1_601), (1_700, 1_700))
    ]

    assert [(ns - START_NS) // MS for ns in late] == [100, 200, 1_700]


def test_drift_of_the_camera_is_followed() -> None:
    """Over an hour of a quartz that is 50 us a second slow, no time is off by more than 4 ms."""
    clock = CameraClock()

    off_ms = []
    for second in range(3600):
        exposed_ns = START_NS + second * 1000 * MS
        picture = capture(camera_ms=second * 1000 * (1 - 50e-6))
        off_ms.append(abs(clock.host_ns(picture, exposed_ns + MS) - exposed_ns) / MS)

    assert max(off_ms) < 4


@pytest.mark.parametrize("reason", ["opening", "clock"])
def test_camera_that_counts_anew_is_mapped_anew(reason: str) -> None:
    """After a new opening, or a reset of the camera's clock, its old delays say nothing."""
    clock = CameraClock()
    clock.host_ns(capture(camera_ms=90_000), START_NS)
    opening = 2 if reason == "opening" else 1

    again = clock.host_ns(capture(camera_ms=3, opening=opening), START_NS + 100 * MS)

    assert again == START_NS + 100 * MS


def test_step_of_the_wall_clock_is_told_once() -> None:
    """A clock that was set by more than half a second is told with the seconds, slewing is not."""
    clock = FakeClock()
    times = Timestamps(clock)

    clock.advance_ms(200)
    quiet = times.step_s()
    clock.set_by_s = -30.0
    clock.advance_ms(200)
    step = times.step_s()
    clock.set_by_s += 0.4
    clock.advance_ms(1000)

    assert quiet is None
    assert step == pytest.approx(-30.0)
    assert times.step_s() is None


def test_clock_set_back_is_met_again() -> None:
    """After a step back times run on at half speed until the clock has caught up."""
    clock = FakeClock()
    times = Timestamps(clock)
    before = times.stamp(capture(0), START_NS).captured_at

    clock.set_by_s = -10.0
    stamps = []
    for second in range(1, 31):
        clock.advance_ms(1000)
        stamps.append(times.stamp(capture(1000 * second), START_NS).captured_at)

    assert stamps[0] == before + timedelta(seconds=0.5)
    assert stamps[18] == before + timedelta(seconds=9.5)
    assert stamps[29] == clock.now()


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(-50, 50), st.integers(-3, 3)), max_size=40)
)
@settings(max_examples=150, deadline=None)
def test_never_back(steps: list[tuple[int, int, int]]) -> None:
    """Whatever the camera's and the wall clock do, no picture is older than the one before it."""
    clock = FakeClock()
    times = Timestamps(clock)
    stamps = []

    for number, (passed_ms, jitter_ms, set_s) in enumerate(steps):
        clock.advance_ms(passed_ms)
        clock.set_by_s += set_s
        arrived_ms = (clock.ns - START_NS) / MS
        picture = capture(arrived_ms, camera_ms=max(0, 100 * number + jitter_ms))
        stamps.append(times.stamp(picture, clock.ns))

    assert stamps == sorted(stamps, key=lambda stamp: stamp.captured_ns)
    assert stamps == sorted(stamps, key=lambda stamp: stamp.captured_at)
    assert all(stamp.captured_ns <= clock.ns for stamp in stamps)
