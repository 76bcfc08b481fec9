"""What an Aravis camera is told, what it makes of that, and how a refusal reads.

Against the real Aravis and Debian's fake GigE camera, which for these tests
describes itself as a better one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fake_gige import ADDRESS, describe_better, fake_gige, need_aravis, open_once_free

from edge.clock import SystemClock
from edge.sources import CameraSetupError, PixelFormatError, SourceError
from edge.sources.aravis import AravisDevice
from edge.sources.genicam_settings import GenicamSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

pytestmark = pytest.mark.usefixtures("better_camera")


@pytest.fixture(scope="module")
def better_camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The fake camera with inputs, edges, deep formats and gain in dB."""
    better = describe_better(need_aravis(), tmp_path_factory.mktemp("genicam"))
    with fake_gige("T1", "-g", str(better)):
        yield


def opened(**settings: Any) -> AravisDevice:
    """Return a device, open, with these settings."""
    device = AravisDevice(GenicamSettings(camera=ADDRESS, **settings), SystemClock())
    open_once_free(device)
    return device


def features(device: AravisDevice, *names: str) -> list[str]:
    """Ask the camera itself, and close the device."""
    assert device._opened is not None
    camera = device._opened.camera
    values = [camera.get_string(name) for name in names]
    del camera
    device.close()
    return values


def test_numbers_reach_the_camera() -> None:
    """Exposure, gain, frame rate and region are in the camera as they were given."""
    device = opened(exposure_us=1234.0, gain_db=4.0, fps=50.0, roi_px=(24, 7, 160, 33))

    assert device._opened is not None
    camera = device._opened.camera
    kept = (
        camera.get_exposure_time(),
        camera.get_float("Gain"),
        camera.get_frame_rate(),
        tuple(camera.get_region()),
    )
    del camera
    device.close()

    assert kept == (1234.0, 4.0, 50.0, (24, 7, 160, 33))


def test_nothing_said_changes_nothing() -> None:
    """What is not given keeps the camera's own value, also that of the opening before."""
    opened(exposure_us=4321.0, gain_db=2.0, roi_px=(8, 0, 64, 48)).close()

    device = opened()

    assert device._opened is not None
    camera = device._opened.camera
    kept = (camera.get_exposure_time(), camera.get_float("Gain"), tuple(camera.get_region()))
    del camera
    device.close()
    assert kept == (4321.0, 2.0, (8, 0, 64, 48))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"trigger": "free"}, ["Off"]),
        ({"trigger": "motion"}, ["Off"]),
        ({"trigger": "software"}, ["On", "Software"]),
        ({"trigger": "hardware"}, ["On", "Line1", "RisingEdge"]),
        (
            {"trigger": "hardware", "trigger_line": "Line0", "trigger_edge": "falling"},
            ["On", "Line0", "FallingEdge"],
        ),
    ],
)
def test_trigger_reaches_the_camera(settings: dict[str, Any], expected: list[str]) -> None:
    """Who asks for pictures is in the camera, whatever the opening before had set."""
    before = "software" if settings["trigger"] != "software" else "hardware"
    opened(trigger=before).close()

    device = opened(**settings)

    names = ["TriggerMode", "TriggerSource", "TriggerActivation"][: len(expected)]
    assert features(device, *names) == expected


def test_hardware_trigger_waits_for_its_wire() -> None:
    """Without a pulse there is no picture, and the camera is alive all the same."""
    device = opened(trigger="hardware")

    capture, alive = device.grab(0.2), device.is_alive()
    with pytest.raises(SourceError, match="not open for software triggers"):
        device.trigger()
    device.close()

    assert capture is None
    assert alive
    assert not device.can_trigger


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        (
            {"pixel_format": "Mono10"},
            PixelFormatError,
            "pixel_format = 'Mono10': the camera offers BayerBG8, BayerGB8, BayerGR8, BayerRG8,"
            " Mono8, RGB8, Mono16, Mono12, Mono12p, BayerRG12; not usable: Confidence8",
        ),
        (
            {"pixel_format": "Confidence8"},
            PixelFormatError,
            "pixel_format = 'Confidence8': the camera offers BayerBG8,",
        ),
        (
            {"roi_px": (0, 0, 60, 48)},
            CameraSetupError,
            "roi_px = [0, 0, 60, 48]: Width = 60, the camera takes 8 to 2048 in steps of 8",
        ),
        (
            {"roi_px": (0, 0, 64, 2049)},
            CameraSetupError,
            "roi_px = [0, 0, 64, 2049]: Height = 2049, the camera takes 1 to 2048 in steps of 1",
        ),
        (
            {"roi_px": (2056, 0, 64, 48)},
            CameraSetupError,
            "roi_px = [2056, 0, 64, 48]: OffsetX = 2056, the camera takes 0 to 2048 in steps of 1",
        ),
        (
            {"exposure_us": 2e7},
            CameraSetupError,
            "exposure_us = 20000000: the camera takes 10 to 10000000",
        ),
        ({"gain_db": 11.0}, CameraSetupError, "gain_db = 11: the camera takes 0 to 10"),
        ({"gain_db": 3.4}, CameraSetupError, "gain_db = 3.4: the camera makes it 3"),
        ({"fps": 5000.0}, CameraSetupError, "fps = 5000: the camera takes 0.1 to 1000"),
        (
            {"trigger": "hardware", "trigger_line": "Line7"},
            CameraSetupError,
            "trigger_line = 'Line7': the camera offers Line0, Software, Line1",
        ),
    ],
)
def test_refusal_says_what_is_offered(
    settings: dict[str, Any], error: type[SourceError], said: str
) -> None:
    """A setting that the camera has not is refused with its name, its value and the choice."""
    with pytest.raises(error) as caught:
        opened(**settings)

    assert type(caught.value) is error
    assert str(caught.value).startswith(f"aravis camera {ADDRESS}: {said}")


class LeapingClock(SystemClock):
    """A clock on which every look takes ten seconds."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._now_ns = 0

    def now(self) -> datetime:
        """Not asked."""
        raise NotImplementedError

    def monotonic_ns(self) -> int:
        """Return ten seconds more than before."""
        self._now_ns += 10_000_000_000
        return self._now_ns


def test_slow_camera_is_given_up() -> None:
    """An opening that takes longer than it may ends, and lets the camera go."""
    slow = AravisDevice(GenicamSettings(camera=ADDRESS, open_timeout_s=5.0), LeapingClock())

    with pytest.raises(SourceError, match=r"not set up within open_timeout_s = 5$"):
        slow.open()

    device = opened()
    assert device.is_alive()
    device.close()
