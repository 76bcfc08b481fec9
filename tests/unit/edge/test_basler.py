"""Basler cameras, tried on pylon's own emulated ones: the driver is real, the sensor is not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
import pytest

from edge.clock import SystemClock
from edge.sources import CameraMissingError, CameraSetupError, PixelFormatError, SourceError
from edge.sources.basler import BaslerDevice
from edge.sources.genicam_settings import GenicamSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.sources import Capture

SERIAL, OTHER = "0815-0000", "0815-0001"
WAIT_S = 10.0
"""More than a picture of the emulator ever takes; a test that waits so long has failed."""
SILENCE_S = 0.15
"""The emulator sends 100 pictures a second where nothing holds it back."""
SMALL_PX = (0, 0, 64, 48)
RED_ISH, BLUE_ISH = (30, 90, 220), (200, 60, 20)
"""Blue, green, red."""
MakeDevice: TypeAlias = "Callable[..., BaslerDevice]"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeDevice]:
    """Make a device of one of two emulated cameras; it is closed after the test."""
    monkeypatch.setenv("PYLON_CAMEMU", "2")
    devices: list[BaslerDevice] = []

    def make(**settings: Any) -> BaslerDevice:
        values = {"camera": SERIAL, "roi_px": SMALL_PX} | settings
        devices.append(BaslerDevice(GenicamSettings(**values), SystemClock()))
        return devices[-1]

    yield make
    for made in devices:
        made.close()


def node(device: BaslerDevice, name: str) -> Any:
    """Return a node of an opened camera, past the device."""
    assert device._opened is not None
    return device._opened.camera.GetNodeMap().GetNode(name)


def show(device: BaslerDevice, picture: Path) -> None:
    """Let the emulator send this file, in the format that is set."""
    assert device._opened is not None
    camera = device._opened.camera
    camera.StopGrabbing()
    node(device, "ImageFilename").SetValue(str(picture))
    node(device, "ImageFileMode").FromString("On")
    node(device, "TestImageSelector").FromString("Off")
    camera.StartGrabbing(device._opened.pylon.api.GrabStrategy_OneByOne)


def next_of(device: BaslerDevice) -> Capture:
    """Return the next picture."""
    capture = device.grab(WAIT_S)
    assert capture is not None
    return capture


@pytest.mark.parametrize(
    ("name", "pixel_format", "bit_depth", "shape"),
    [
        ("Mono8", "mono", 8, (48, 64)),
        ("Mono12", "mono", 12, (48, 64)),
        ("Mono16", "mono", 16, (48, 64)),
        ("BayerRG8", "bgr", 8, (48, 64, 3)),
        ("BayerGB12", "bgr", 12, (48, 64, 3)),
        ("RGB8", "rgb", 8, (48, 64, 3)),
        ("BGR8", "bgr", 8, (48, 64, 3)),
    ],
)
def test_pictures_come_in_their_format(
    device: MakeDevice, name: str, pixel_format: str, bit_depth: int, shape: tuple[int, ...]
) -> None:
    """What the camera sends has the shape, order and depth of the format that was set."""
    camera = device(pixel_format=name)

    camera.open()
    capture = next_of(camera)

    assert capture.pixels is not None
    assert capture.pixels.shape == shape
    assert capture.pixels.dtype == (np.uint8 if bit_depth == 8 else np.uint16)
    assert (capture.pixel_format, capture.bit_depth) == (pixel_format, bit_depth)
    assert (capture.fault, capture.origin) == ("", f"Basler camera {SERIAL}")


@pytest.mark.parametrize(
    "name",
    ["RGB8", "BGR8", "BayerRG8", "BayerGB8", "BayerGR8", "BayerBG8", "BayerRG12", "BayerBG10"],
)
def test_colours_are_the_scene_s(device: MakeDevice, tmp_path: Path, name: str) -> None:
    """Red stays red and blue blue in each format that pylon itself makes of a picture."""
    scene = np.empty((48, 64, 3), np.uint8)
    scene[:, :32], scene[:, 32:] = RED_ISH, BLUE_ISH
    cv2.imwrite(str(tmp_path / "scene.png"), scene)
    camera = device(pixel_format=name)
    camera.open()

    show(camera, tmp_path / "scene.png")
    capture = next_of(camera)

    assert capture.pixels is not None
    blue_first = capture.pixels[..., ::-1] if capture.pixel_format == "rgb" else capture.pixels
    scale = 2 ** (capture.bit_depth - 8)
    np.testing.assert_array_equal(blue_first[24, 10], np.multiply(RED_ISH, scale))
    np.testing.assert_array_equal(blue_first[24, 50], np.multiply(BLUE_ISH, scale))


def test_settings_reach_the_camera(device: MakeDevice) -> None:
    """Exposure, gain, rate and region are what the camera itself says afterwards."""
    camera = device(exposure_us=5000.0, gain_db=3.0, fps=25.0, roi_px=(100, 60, 640, 480))

    camera.open()
    capture = next_of(camera)

    assert node(camera, "ExposureTime").GetValue() == pytest.approx(5000.0)
    assert node(camera, "Gain").GetValue() == pytest.approx(3.0, abs=0.01)
    assert node(camera, "AcquisitionFrameRate").GetValue() == pytest.approx(25.0)
    assert capture.pixels is not None
    assert (capture.pixels.shape, capture.offset_px) == ((480, 640), (100, 60))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"camera": "0815-0009"}, CameraMissingError, f"there: {SERIAL}, {OTHER}"),
        ({"camera": ""}, CameraSetupError, f"several.*{SERIAL}, {OTHER}"),
        ({"pixel_format": "Mono12p"}, PixelFormatError, "Mono12p: the camera offers Mono8, .*BGR8"),
        ({"pixel_format": "YUV422"}, PixelFormatError, "YUV422 is unknown, only Mono8"),
        ({"roi_px": (0, 0, 9000, 8)}, CameraSetupError, "Width = 9000 refused.* 1 to 4096 in"),
        ({"roi_px": (4090, 0, 64, 8)}, CameraSetupError, "OffsetX = 4090 refused.* 0 to 4032"),
        ({"exposure_us": 1e9}, CameraSetupError, "exposure_us = 1e.*09 refused.* 1 to 10000000"),
        ({"gain_db": 90.0}, CameraSetupError, "gain_db = 90.0 refused, the camera takes 0 to 48"),
        ({"fps": 1e9}, CameraSetupError, "fps = 1e.*09 refused, the camera takes 0.01 to 5000"),
        (
            {"trigger": "hardware", "trigger_line": "Line9"},
            CameraSetupError,
            "trigger_line = Line9: TriggerSource offers only Software, Line1",
        ),
    ],
)
def test_refused_setting_says_what_is_offered(
    device: MakeDevice, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    """What the camera does not have is refused with the value and what there is instead."""
    camera = device(**settings)

    with pytest.raises(error, match=words.replace("1e.*09", "1000000000.0")):
        camera.open()
    with pytest.raises(SourceError, match="not open"):
        camera.grab(0)


def test_no_camera_is_missing(device: MakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without any Basler camera that is said."""
    camera = device(camera="")
    monkeypatch.setenv("PYLON_CAMEMU", "0")

    with pytest.raises(CameraMissingError, match="that are there: none"):
        camera.open()


def test_failed_buffer_is_a_capture(device: MakeDevice) -> None:
    """A buffer that the driver calls failed has its error, its number and no pixels."""
    camera = device(fps=50.0)
    camera.open()
    next_of(camera)

    node(camera, "ForceFailedBufferCount").SetValue(2)
    node(camera, "ForceFailedBuffer").Execute()
    captures = [next_of(camera) for _ in range(20)]

    failed = [one for one in captures if one.pixels is None]
    assert [one.fault for one in failed] == [
        "buffer failed: 0x0 The buffer was incompletely grabbed."
    ] * 2
    assert {one.loss for one in failed} == {"corrupt"}
    assert all(one.arrived_ns is not None for one in captures)
    counters = [one.counter for one in captures if one.counter is not None]
    assert all(later == before + 1 for before, later in pairwise(counters))
    assert len(counters) == len(captures)


def test_arrival_is_on_the_host_clock(device: MakeDevice) -> None:
    """A picture arrived between the call and its return; the emulator has no clock of its own."""
    clock, camera = SystemClock(), device()
    camera.open()

    before_ns = clock.monotonic_ns()
    capture = next_of(camera)

    assert capture.arrived_ns is not None
    assert before_ns <= capture.arrived_ns <= clock.monotonic_ns()
    assert capture.camera_ns is None


def test_software_trigger_makes_one_picture(device: MakeDevice) -> None:
    """The camera is silent and alive until it is triggered, then sends one picture."""
    camera = device(trigger="software")
    camera.open()

    silence = camera.grab(SILENCE_S)
    camera.trigger()
    picture = next_of(camera)
    after = camera.grab(SILENCE_S)

    assert camera.can_trigger
    assert (silence, after) == (None, None)
    assert picture.pixels is not None
    assert camera.is_alive()


def test_trigger_may_come_from_another_thread(device: MakeDevice) -> None:
    """A trigger reaches the camera while the owner of the device waits for its picture."""
    camera = device(trigger="software")
    camera.open()
    thread = threading.Timer(SILENCE_S, camera.trigger)

    thread.start()
    picture = camera.grab(WAIT_S)
    thread.join()

    assert picture is not None
    assert picture.pixels is not None


def test_hardware_trigger_waits_for_the_line(device: MakeDevice) -> None:
    """With a hardware trigger line, edge and mode are set, and no pulse means no picture."""
    camera = device(trigger="hardware", trigger_line="Line2", trigger_edge="falling")

    camera.open()
    picture = camera.grab(SILENCE_S)

    assert picture is None
    said = [node(camera, f"Trigger{name}").ToString() for name in ("Mode", "Source", "Activation")]
    assert said == ["On", "Line2", "FallingEdge"]
    assert not node(camera, "AcquisitionFrameRateEnable").GetValue()
    assert camera.is_alive()


@pytest.mark.parametrize("trigger", ["free", "motion"])
def test_free_camera_has_no_trigger(device: MakeDevice, trigger: str) -> None:
    """A camera that was left triggered runs freely again once it is opened so."""
    before = device(trigger="hardware")
    before.open()
    before.close()
    camera = device(trigger=trigger)

    camera.open()

    assert next_of(camera).pixels is not None
    assert node(camera, "TriggerMode").ToString() == "Off"
    with pytest.raises(SourceError, match="not open for software triggers"):
        camera.trigger()


def test_pictures_outlive_the_camera(device: MakeDevice) -> None:
    """A picture stays what it was while the driver fills its buffers again, and after."""
    camera = device(fps=200.0)
    camera.open()
    pictures = [next_of(camera).pixels for _ in range(3)]
    copies = [None if one is None else one.copy() for one in pictures]

    for _ in range(40):
        next_of(camera)
    camera.close()

    np.testing.assert_array_equal(np.stack(pictures), np.stack(copies))  # type: ignore[arg-type]
    assert not np.array_equal(pictures[0], pictures[1]), "the emulator's picture moves"  # type: ignore[arg-type]


def test_camera_opens_again(device: MakeDevice) -> None:
    """Closing twice is closing once; a closed camera gives nothing, and opens again."""
    camera = device()
    camera.open()
    next_of(camera)

    camera.close()
    camera.close()
    was_alive = camera.is_alive()
    with pytest.raises(SourceError, match="not open"):
        camera.grab(0)
    camera.open()

    assert not was_alive
    assert next_of(camera).counter == 0, "the camera numbers its pictures anew"
    assert camera.is_alive()


def test_two_cameras_are_two(device: MakeDevice) -> None:
    """Each device talks to the camera whose serial number it was given."""
    one, other = device(), device(camera=OTHER, trigger="software")

    one.open()
    other.open()

    assert [one.name, other.name] == [f"Basler camera {SERIAL}", f"Basler camera {OTHER}"]
    assert next_of(one).pixels is not None
    assert other.grab(SILENCE_S) is None


def test_opening_takes_its_time_only(device: MakeDevice) -> None:
    """A camera that is not set up in time is given up, and can be opened later."""
    camera = device(open_timeout_s=0.0)

    with pytest.raises(SourceError, match="not set up within open_timeout_s = 0"):
        camera.open()

    assert not camera.is_alive()


def test_missing_pypylon_says_what_to_install(
    device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pypylon the message is the command that installs it."""
    camera = device()
    monkeypatch.setitem(sys.modules, "pypylon", None)

    with pytest.raises(SourceError, match=r"pip install 'musc-edge\[basler\]'"):
        camera.open()


def test_module_loads_no_driver() -> None:
    """Who has no Basler camera never loads pypylon."""
    code = "import sys, edge.sources.basler; sys.exit('pypylon' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ))

    assert done.returncode == 0
