"""A GigE Vision camera through the real Aravis: pictures, triggers, losses, and letting go.

The camera is Debian's fake one, which speaks the real protocol.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_gige import (
    ADDRESS,
    FakeGige,
    describe_better,
    fake_gige,
    need_aravis,
    open_once_free,
    until,
)

from edge.clock import SystemClock
from edge.sources import (
    CameraBusyError,
    CameraSetupError,
    Capture,
    PixelFormatError,
    SourceError,
)
from edge.sources.aravis import BUFFERS, AravisDevice
from edge.sources.genicam_settings import GenicamSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT_S = 15.0


@pytest.fixture
def camera() -> Iterator[FakeGige]:
    """The fake camera, running."""
    with fake_gige() as running:
        yield running


@pytest.fixture
def device() -> Iterator[Callable[..., AravisDevice]]:
    """Make a device of the fake camera with these settings; it is closed after the test."""
    devices: list[AravisDevice] = []

    def make(**settings: Any) -> AravisDevice:
        given_settings = {"camera": ADDRESS, "roi_px": (0, 0, 64, 48)} | settings
        devices.append(AravisDevice(GenicamSettings(**given_settings), SystemClock()))
        return devices[-1]

    yield make
    for one in devices:
        one.close()


def picture(device: AravisDevice) -> Capture:
    """Return the next capture."""
    end = time.monotonic() + LIMIT_S
    while (capture := device.grab(0.2)) is None:
        assert time.monotonic() < end, "no picture"
    return capture


def failure(device: AravisDevice) -> str:
    """Grab until the device says that it cannot any more; return what it says."""
    end = time.monotonic() + LIMIT_S
    with pytest.raises(SourceError) as caught:  # noqa: PT012 - which grab raises is the camera's affair
        while time.monotonic() < end:
            device.grab(0.1)
    return str(caught.value)


def test_picture_is_complete(camera: FakeGige, device: Callable[..., AravisDevice]) -> None:
    """A picture has the region's shape and place, the host's time and the camera's."""
    free = device(roi_px=(8, 16, 64, 48), fps=100.0)

    free.open()
    before_ns = time.monotonic_ns()
    first, second = picture(free), picture(free)

    assert camera.camera_id
    for capture in (first, second):
        assert capture.pixels is not None
        assert capture.pixels.shape == (48, 64)
        assert (capture.pixel_format, capture.bit_depth) == ("mono", 8)
        assert capture.offset_px == (8, 16)
        assert capture.counter is None, "a camera that runs by its own clock misses no part"
        assert before_ns < (capture.arrived_ns or 0) < time.monotonic_ns()
    assert 0 < (first.camera_ns or 0) < (second.camera_ns or 0)


@pytest.mark.usefixtures("camera")
def test_colours_are_the_camera_s(device: Callable[..., AravisDevice]) -> None:
    """At half the exposure the fake camera's rainbow ends before red: blue is the strongest."""
    colour = device(pixel_format="RGB8", exposure_us=5000.0, roi_px=(0, 0, 510, 16))

    colour.open()
    capture = picture(colour)

    assert capture.pixel_format == "rgb"
    assert capture.pixels is not None
    red, green, blue = capture.pixels.reshape(-1, 3).mean(axis=0)
    assert blue > green > 2 * red


def test_deep_formats_arrive(tmp_path: Path, device: Callable[..., AravisDevice]) -> None:
    """Grey and mosaics of 12 and 16 bits, packed or not, come with their declared depth."""
    better = describe_better(need_aravis(), tmp_path)
    shapes = {}

    with fake_gige("T1", "-g", str(better)):
        for name in ("Mono12", "Mono12p", "BayerRG12", "Mono16"):
            one = device(pixel_format=name)
            open_once_free(one)
            capture = picture(one)
            one.close()
            assert capture.pixels is not None, capture.fault
            shapes[name] = (capture.pixels.shape, str(capture.pixels.dtype), capture.bit_depth)

    assert shapes == {
        "Mono12": ((48, 64), "uint16", 12),
        "Mono12p": ((48, 64), "uint16", 12),
        "BayerRG12": ((48, 64, 3), "uint16", 12),
        "Mono16": ((48, 64), "uint16", 16),
    }


@pytest.mark.usefixtures("camera")
def test_another_format_than_set_up_is_a_fault(device: Callable[..., AravisDevice]) -> None:
    """A camera that changes its format on the way yields no pixels of exchanged meaning."""
    free = device(pixel_format="BayerRG8")
    free.open()
    assert picture(free).fault == ""

    assert free._opened is not None
    free._opened.camera.set_pixel_format_from_string("BayerBG8")
    capture = picture(free)
    while not capture.fault:
        capture = picture(free)

    assert capture.pixels is None
    assert capture.loss == "corrupt"
    assert capture.fault == "the buffer holds pixel format 0x0108000b, not BayerRG8"


@pytest.mark.usefixtures("camera")
def test_software_trigger_makes_one_picture(device: Callable[..., AravisDevice]) -> None:
    """Nothing comes unless it is asked for, and each trigger counts one more."""
    triggered = device(trigger="software")

    triggered.open()
    unasked = triggered.grab(0.3)
    counters = []
    for _ in range(3):
        triggered.trigger()
        counters.append(picture(triggered).counter)

    assert unasked is None
    assert counters[0] is not None
    assert counters == list(range(counters[0], counters[0] + 3))


@pytest.mark.usefixtures("camera")
def test_counter_goes_on_where_ids_begin_again(device: Callable[..., AravisDevice]) -> None:
    """After picture 65535 of 16 bits comes number 65536, without a gap."""
    triggered = device(trigger="software")
    triggered.open()
    counters = []
    for _ in range(140):
        triggered.trigger()
        counters.append(picture(triggered).counter or 0)

    assert counters[0] <= 65_535 < counters[-1]
    assert {later - earlier for earlier, later in pairwise(counters)} == {1}


def test_broken_pictures_are_told_and_counted(device: Callable[..., AravisDevice]) -> None:
    """A picture whose packets were lost has no pixels, its number, and gives its buffer back."""
    triggered = device(trigger="software")
    captures: list[Capture] = []

    with fake_gige("T1", "-r", "300"):
        triggered.open()
        while sum(bool(capture.fault) for capture in captures) <= BUFFERS:
            triggered.trigger()
            capture = triggered.grab(1.0)
            if capture is not None:
                captures.append(capture)

    broken = [capture for capture in captures if capture.fault]
    assert {capture.fault for capture in broken} <= {
        "buffer failed: missing-packets",
        "buffer failed: timeout",
    }
    assert {(capture.pixels, capture.loss) for capture in broken} == {(None, "corrupt")}
    counters = [capture.counter for capture in captures if capture.counter is not None]
    assert all(later > earlier for earlier, later in pairwise(counters))


@pytest.mark.usefixtures("camera")
def test_second_program_is_refused(device: Callable[..., AravisDevice]) -> None:
    """A camera that is controlled is busy for others, whom it obeys in nothing."""
    first, second = device(), device(exposure_us=77.0)
    first.open()

    with pytest.raises(CameraBusyError, match=f"aravis camera {ADDRESS}: another program"):
        second.open()

    assert first.is_alive()
    assert picture(first).fault == ""
    assert first._opened is not None
    assert first._opened.camera.get_exposure_time() == 10_000.0


def test_dead_camera_does_not_obey(camera: FakeGige, device: Callable[..., AravisDevice]) -> None:
    """A trigger of a dead camera raises nothing by itself; the next pictures' absence is told."""
    triggered = device(trigger="software")
    triggered.open()
    triggered.trigger()
    picture(triggered)

    camera.kill()
    triggered.trigger()
    said = failure(triggered)

    assert "does not obey: " in said or "control is lost" in said


def test_silent_camera_loses_control(camera: FakeGige, device: Callable[..., AravisDevice]) -> None:
    """A camera that was there and answers no more is not alive, and in the end it is lost."""
    free = device()
    free.open()
    picture(free)
    alive_before = free.is_alive()

    camera.kill()
    alive_after = free.is_alive()
    said = failure(free)

    assert (alive_before, alive_after) == (True, False)
    assert "does not obey: " in said or "control is lost" in said


def test_restarted_camera_is_noticed_and_set_up_anew(
    camera: FakeGige, device: Callable[..., AravisDevice]
) -> None:
    """A camera that is back before it was missed has forgotten everything, and is told again."""
    triggered = device(trigger="software", exposure_us=5000.0)
    triggered.open()
    triggered.trigger()
    picture(triggered)

    camera.kill()
    camera.start()
    said = failure(triggered)
    triggered.close()
    triggered.open()
    triggered.trigger()
    capture = picture(triggered)

    assert "control is lost" in said
    assert capture.fault == ""
    assert triggered._opened is not None
    assert triggered._opened.camera.get_exposure_time() == 5000.0


@pytest.mark.usefixtures("camera")
def test_close_lets_go_of_everything(device: Callable[..., AravisDevice]) -> None:
    """After close Aravis has freed stream and camera, and the device says that it is not open."""
    triggered = device(trigger="software")
    triggered.open()
    assert triggered._opened is not None
    stream = triggered._opened.stream.weak_ref()
    opened = triggered._opened.camera.weak_ref()

    triggered.close()
    triggered.close()

    until(lambda: stream() is None and opened() is None, "Aravis has freed both")
    assert not triggered.is_alive()
    for call in (lambda: triggered.grab(0.1), triggered.trigger):
        with pytest.raises(SourceError, match="not open"):
            call()


@pytest.mark.usefixtures("camera")
def test_reopening_leaks_nothing(device: Callable[..., AravisDevice]) -> None:
    """Twenty openings leave no thread and no descriptor behind."""
    triggered = device(trigger="software")
    held = []

    def count() -> list[int]:
        held.append([len(list(Path("/proc/self", what).iterdir())) for what in ("fd", "task")])
        return held[-1]

    def shows_one() -> bool:
        # Packets may be lost where the machine has no time for them: then it is asked again.
        triggered.trigger()
        return triggered.grab(1.0) is not None

    for _ in range(20):
        open_once_free(triggered)
        until(shows_one, "a picture")
        triggered.close()
        count()

    def no_more_than_early() -> bool:
        return all(last <= early for last, early in zip(count(), held[1], strict=True))

    # The thread that released the last one may still be on its way out.
    until(no_more_than_early, f"no more than {held[1]} after {held[:20]}")


@pytest.mark.usefixtures("camera")
def test_steps_are_no_decibels(device: Callable[..., AravisDevice]) -> None:
    """Gain in dB is not written to a camera that counts steps of its own."""
    louder = device(gain_db=3.0)

    with pytest.raises(CameraSetupError, match="gain_db = 3: the camera has no gain in dB"):
        louder.open()


@pytest.mark.usefixtures("camera")
def test_failed_opening_lets_go(device: Callable[..., AravisDevice]) -> None:
    """A camera whose setting was refused is free at once, even while the refusal is handled."""
    wrong, right = device(pixel_format="Mono12"), device()

    with pytest.raises(PixelFormatError) as refused:
        wrong.open()
    open_once_free(right)

    assert picture(right).fault == ""
    assert refused.value.__traceback__ is not None, "the refusal was in hand all the time"


def test_dead_camera_is_let_go_in_the_background(
    camera: FakeGige, device: Callable[..., AravisDevice]
) -> None:
    """While Aravis still waits for a dead camera's goodbye, the device opens its successor."""
    free = device()
    free.open()
    picture(free)

    camera.kill()
    free.close()
    camera.start()
    free.open()

    assert picture(free).fault == ""
    assert free.is_alive()
