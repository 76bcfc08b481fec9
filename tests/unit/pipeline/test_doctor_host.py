"""The machine is looked at without a config."""

from __future__ import annotations

import sys

import pytest
from doctor_rig import found

from pipeline.doctor_host import ClockUnknownError, KernelClock, host_checks, read_kernel_clock


@pytest.mark.parametrize(
    ("clock", "verdict"),
    [
        (KernelClock(unsynchronised=False, max_error_s=0.02), "ok"),
        (KernelClock(unsynchronised=True, max_error_s=16.0), "fail"),
        (KernelClock(unsynchronised=True, max_error_s=0.3), "ok"),
        (KernelClock(unsynchronised=False, max_error_s=17.0), "ok"),
    ],
)
def test_clock_that_nobody_sets(clock: KernelClock, verdict: str) -> None:
    """A clock has failed once the kernel gives it up and its error has no bound any more."""
    findings = {one.check: one for one in found(host_checks(lambda: clock))}

    assert findings["host.clock"].verdict == verdict
    assert ("timedatectl" in findings["host.clock"].remedy) == (verdict == "fail")
    assert "limit 16 s" in findings["host.clock"].figure


def test_clock_that_nobody_knows_of() -> None:
    """Where the kernel does not tell, as in some containers, that is no fault."""

    def unknown() -> KernelClock:
        msg = "adjtimex: Operation not permitted"
        raise ClockUnknownError(msg)

    findings = {one.check: one for one in found(host_checks(unknown))}

    assert findings["host.clock"].verdict == "skipped"
    assert "not permitted" in findings["host.clock"].detail


@pytest.mark.skipif(sys.platform != "linux", reason="adjtimex is Linux's")
def test_kernel_tells() -> None:
    """The real kernel's bound is a sane number of seconds, or it says that it does not tell."""
    try:
        clock = read_kernel_clock()
    except ClockUnknownError as error:
        pytest.skip(str(error))

    assert 0 <= clock.max_error_s < 1e6


def test_machine_is_described() -> None:
    """Interpreter, system, cores and OpenCV are named."""
    findings = {one.check: one for one in found(host_checks(lambda: KernelClock(False, 0.0)))}

    assert "Python 3." in findings["host.system"].figure
    assert "cores" in findings["host.system"].figure
    assert findings["host.opencv"].figure.startswith("OpenCV ")


def test_opencv_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing system library is named, with the package that has it."""
    monkeypatch.setitem(sys.modules, "cv2", None)

    findings = {one.check: one for one in found(host_checks(lambda: KernelClock(False, 0.0)))}

    assert findings["host.opencv"].verdict == "fail"
    assert "apt install libgl1" in findings["host.opencv"].remedy
