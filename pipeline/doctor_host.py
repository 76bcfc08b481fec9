"""Checks of the machine: interpreter, libraries, clock."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from pipeline.doctor import Check, Finding, fail, ok, skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STA_UNSYNC = 0x40
"""Nobody disciplines this clock (linux/timex.h)."""
UNSYNCED_ERROR_S = 16.0
"""What the kernel's own bound of the error grows to without a source of time; systemd's limit."""
CLOCK = "host.clock"


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel knows of its clock."""

    unsynchronised: bool
    """Whether its status says so; chrony without rtcsync leaves it set."""
    max_error_s: float
    """Bound of its error; grows while nobody sets the clock."""


class ClockUnknownError(Exception):
    """The kernel does not tell, as in some containers and on other systems than Linux."""


class _Timex(ctypes.Structure):
    """``struct timex`` of Linux up to ``status``; the rest is room for the kernel."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 32),
    )


def read_kernel_clock() -> KernelClock:
    """Ask the kernel, without a change, how well its clock is set.

    Raises:
        ClockUnknownError: It does not tell.

    Source: adjtimex(2).
    """
    timex = _Timex()
    try:
        library = ctypes.CDLL(None, use_errno=True)
        state = library.adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError) as error:
        msg = f"no adjtimex on {platform.system()}"
        raise ClockUnknownError(msg) from error
    if state < 0:
        msg = f"adjtimex: {os.strerror(ctypes.get_errno())}"
        raise ClockUnknownError(msg)
    return KernelClock(bool(timex.status & STA_UNSYNC), timex.maxerror / 1e6)


def host_checks(read_clock: Callable[[], KernelClock] = read_kernel_clock) -> list[Check]:
    """Return the checks that need no config."""
    return [
        Check("host.system", _system),
        Check(CLOCK, lambda: _clock(read_clock)),
        Check("host.opencv", _opencv, limit_s=30.0),
    ]


def _system() -> Iterator[Finding]:
    figure = (
        f"musc-edge {version('musc-edge')}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores"
    )
    yield ok("host.system", figure)


def _clock(read_clock: Callable[[], KernelClock]) -> Iterator[Finding]:
    try:
        clock = read_clock()
    except ClockUnknownError as error:
        yield skipped(CLOCK, f"the kernel does not tell: {error}")
        return
    figure = f"error at most {clock.max_error_s:.3g} s, limit {UNSYNCED_ERROR_S:g} s"
    if clock.unsynchronised and clock.max_error_s >= UNSYNCED_ERROR_S:
        yield fail(
            CLOCK, figure,
            "nobody sets this clock, so the times of verdicts and events drift",
            "Run `timedatectl set-ntp true` or start chrony, in a container on its host.",
        )  # fmt: skip
        return
    yield ok(CLOCK, figure)


def _opencv() -> Iterator[Finding]:
    try:
        import cv2  # noqa: PLC0415 - whether it loads is the question
    except ImportError as error:
        yield fail(
            "host.opencv", "", f"OpenCV does not load: {error}",
            "Install what it names, on Debian `apt install libgl1 libglib2.0-0`.",
        )  # fmt: skip
        return
    yield ok("host.opencv", f"OpenCV {cv2.__version__}")
