"""Rates are counted on the clock that the camera's waiting drives."""

from __future__ import annotations

import pytest
from doctor_rig import DrivenClock, SteadyCamera

from edge.sources import Capture
from pipeline.doctor_rates import WINDOW_LIMIT_S, measure_free, measure_triggered


def opened(clock: DrivenClock, **how: object) -> SteadyCamera:
    """Return a camera that is open."""
    camera = SteadyCamera(clock, **how)  # type: ignore[arg-type] - as the tests give it
    camera.open()
    return camera


@pytest.mark.parametrize("every_s", [0.01, 0.04, 0.5, 1.9])
@pytest.mark.parametrize("needed", [None, 20.0, 3000.0])
def test_free_rate_is_the_cameras(every_s: float, needed: float | None) -> None:
    """Whatever the line needs, the rate that is found is the camera's own."""
    clock = DrivenClock()
    camera = opened(clock, every_s=every_s)

    rate = measure_free(camera, clock, needed)

    expected = 60 / every_s
    seen = rate.pictures > 1
    assert rate.per_minute == pytest.approx(expected, rel=0.001 if seen else 0.6)


@pytest.mark.parametrize("needed", [None, 60.0, 6.0, 0.1])
def test_measurement_ends(needed: float | None) -> None:
    """A slow line is measured for longer, but never beyond the limit; silence is a rate of 0."""
    clock = DrivenClock()
    camera = opened(clock, every_s=1000.0)
    begin_ns = clock.ns

    rate = measure_free(camera, clock, needed)

    assert (rate.pictures, rate.per_minute) == (0, 0.0)
    assert clock.ns - begin_ns <= WINDOW_LIMIT_S * 1e9 + 1


def test_failed_buffers_are_counted_apart() -> None:
    """A capture without pixels is no picture."""
    clock = DrivenClock()
    camera = opened(clock, every_s=0.1, capture=Capture(None, fault="incomplete"))

    rate = measure_free(camera, clock, None)

    assert (rate.pictures, rate.per_minute) == (0, 0.0)
    assert rate.failed in {19, 20}


@pytest.mark.parametrize("per_minute", [30.0, 120.0, 1200.0])
def test_camera_that_keeps_up(per_minute: float) -> None:
    """A camera that is ready before the next trigger gives a picture for each."""
    clock = DrivenClock()
    camera = opened(clock, busy_s=0.9 * 60 / per_minute)

    rate = measure_triggered(camera, clock, per_minute)

    assert rate.pictures == rate.triggers >= 3
    assert rate.per_minute == pytest.approx(per_minute)


def test_triggers_that_were_held_up_are_not_caught_up_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A computer that is busy for a while asks no more of a camera than the line's rate."""
    clock = DrivenClock()
    camera = opened(clock, busy_s=0.09)
    begin_ns, fire = clock.ns, camera.trigger

    def held_up() -> None:
        fire()
        if clock.ns - begin_ns < 1e9:
            clock.ns += int(0.35e9)

    monkeypatch.setattr(camera, "trigger", held_up)
    rate = measure_triggered(camera, clock, 600.0)

    assert (rate.fault, rate.pictures) == ("", rate.triggers)


@pytest.mark.parametrize("per_minute", [60.0, 600.0])
def test_camera_that_is_too_slow(per_minute: float) -> None:
    """A camera that is busy for two and a half triggers gives a picture for each third."""
    clock = DrivenClock()
    camera = opened(clock, busy_s=2.5 * 60 / per_minute)

    rate = measure_triggered(camera, clock, per_minute)

    assert rate.fault == ""
    assert rate.pictures == -(-rate.triggers // 3)
    assert 0 < rate.managed_per_minute < per_minute


def test_trigger_that_is_not_taken() -> None:
    """A camera that does not obey has failed with its reason; those due count as missed."""
    clock = DrivenClock()
    camera = opened(clock)
    camera.refuses = True

    rate = measure_triggered(camera, clock, 60.0)

    assert (rate.pictures, rate.triggers) == (0, 3)
    assert "not taken" in rate.fault


def test_slow_line_is_triggered_faster() -> None:
    """At one part in ten minutes nobody waits for three of them; the rate says so."""
    clock = DrivenClock()
    begin_ns = clock.ns
    camera = opened(clock)

    rate = measure_triggered(camera, clock, 0.1)

    assert rate.per_minute == pytest.approx(18.0)
    assert rate.pictures == rate.triggers == 3
    assert clock.ns - begin_ns <= (WINDOW_LIMIT_S + 1) * 1e9
