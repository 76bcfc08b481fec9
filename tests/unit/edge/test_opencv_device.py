"""V4L2 devices through OpenCV: stand-ins for OpenCV and the kernel, not yet with a camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from ingest_rig import FakeClock

from edge.sources import (
    CameraBusyError,
    CameraMissingError,
    CameraSetupError,
    Capture,
    SourceError,
    opencv_camera,
)
from edge.sources.opencv_camera import OpencvDevice, OpencvSettings

if TYPE_CHECKING:
    from collections.abc import Callable

GRAB_S = 0.1


def grab(device: OpencvDevice) -> Capture:
    """Return the next picture."""
    capture = device.grab(GRAB_S)
    assert capture is not None
    return capture


class FakeVideo:
    """A V4L2 device in OpenCV's hands, as far as this module uses one."""

    def __init__(self, **given: float) -> None:
        """Give these properties whatever is asked for."""
        self.given = given
        self.properties: dict[int, float] = {}
        self.picture: np.ndarray[Any, Any] | None = np.zeros((4, 6, 3), np.uint8)
        self.waits: list[tuple[bool, list[int]] | cv2.error] = [(True, [0])]
        self.waited_ns: list[int] = []
        self.opened = True

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Tell whether the device could be opened."""
        return self.opened

    def set(self, key: int, value: float) -> bool:
        """Take a setting."""
        self.properties[key] = value
        return True

    def get(self, key: int) -> float:
        """Return what was made of it."""
        for name, value in self.given.items():
            if key == getattr(cv2, f"CAP_PROP_{name}"):
                return value
        return self.properties.get(key, 0.0)

    def waitAny(self, streams: list[FakeVideo], timeout_ns: int) -> tuple[bool, list[int]]:  # noqa: N802
        """Say what the test says."""
        assert streams == [self]
        self.waited_ns.append(timeout_ns)
        answer = self.waits.pop(0)
        if isinstance(answer, cv2.error):
            raise answer
        return answer

    def retrieve(self) -> tuple[bool, Any]:
        """Return the picture."""
        return self.picture is not None, self.picture

    def release(self) -> None:
        """Close."""
        self.opened = False


@pytest.fixture
def attach(monkeypatch: pytest.MonkeyPatch) -> Callable[..., OpencvDevice]:
    """Put a stand-in where the device /dev/video7 would be, and open it."""

    def make(video: FakeVideo, source: str = "/dev/video7", **settings: Any) -> OpencvDevice:
        seen: list[Any] = []
        monkeypatch.setattr(opencv_camera, "check_node", seen.append)
        monkeypatch.setattr(
            opencv_camera, "open_video", lambda *given: [seen.append(given), video][1]
        )
        device = OpencvDevice(OpencvSettings(source, **settings), FakeClock())
        device.open()
        assert seen == [Path("/dev/video7"), ("/dev/video7", cv2.CAP_V4L2)]
        return device

    return make


@pytest.mark.parametrize("source", ["/dev/video7", "7"])
def test_device_is_set_up(attach: Callable[..., OpencvDevice], source: str) -> None:
    """A device is asked for size, rate and the least of buffers, and read back."""
    video = FakeVideo(FPS=29.97)

    device = attach(video, source, width_px=1920, height_px=1080, fps=30.0)

    assert video.properties == {
        cv2.CAP_PROP_BUFFERSIZE: 1,
        cv2.CAP_PROP_FRAME_WIDTH: 1920,
        cv2.CAP_PROP_FRAME_HEIGHT: 1080,
        cv2.CAP_PROP_FPS: 30.0,
    }
    assert device.name == "opencv /dev/video7"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"FRAME_WIDTH": 1280}, "width_px = 1920 is refused, it gives 1280"),
        ({"FRAME_HEIGHT": 720}, "height_px = 1080 is refused, it gives 720"),
        ({"FPS": 25}, "fps = 30 is refused, it gives 25"),
    ],
)
def test_device_that_gives_another_setting(
    attach: Callable[..., OpencvDevice], given: dict[str, float], message: str
) -> None:
    """A device that gives another size or rate than asked for is refused, and let go."""
    video = FakeVideo(**given)

    with pytest.raises(CameraSetupError, match=f"opencv /dev/video7: {message}"):
        attach(video, width_px=1920, height_px=1080, fps=30.0)

    assert not video.opened


def test_device_that_opencv_refuses(attach: Callable[..., OpencvDevice]) -> None:
    """A device that OpenCV cannot capture from is an error."""
    video = FakeVideo()
    video.opened = False

    with pytest.raises(SourceError, match="OpenCV cannot capture from it"):
        attach(video)


def test_device_is_waited_for(attach: Callable[..., OpencvDevice]) -> None:
    """A device is waited for as long as was said; none, one bad and one good picture come."""
    video = FakeVideo()
    video.waits = [(False, []), (True, [0]), (True, [0])]
    device = attach(video)

    nothing = device.grab(0.1)
    picture, video.picture = video.picture, None
    bad = grab(device)
    video.picture = picture
    good = grab(device)

    assert nothing is None
    assert video.waited_ns == [100_000_000] * 3
    assert (bad.pixels, bad.fault) == (None, "a picture cannot be decoded")
    assert good.pixels is picture


def test_grey_device_stays_grey(attach: Callable[..., OpencvDevice]) -> None:
    """A picture without a colour axis is a grey one."""
    video = FakeVideo()
    video.picture = np.zeros((4, 6), np.uint8)

    assert grab(attach(video)).pixel_format == "mono"


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 6, 2), np.uint8), np.zeros((4, 6), np.uint16)],
    ids=["two channels", "16 bits"],
)
def test_other_pictures_are_refused(
    attach: Callable[..., OpencvDevice], picture: np.ndarray[Any, Any]
) -> None:
    """Pictures that are neither grey nor colour of 8 bits are refused, not converted."""
    video = FakeVideo()
    video.picture = picture

    with pytest.raises(CameraSetupError, match=r"pictures of shape \(4, 6"):
        attach(video).grab(GRAB_S)


@pytest.mark.parametrize("answer", [cv2.error("unplugged"), (True, [])], ids=["error", "hang-up"])
def test_device_that_is_gone(attach: Callable[..., OpencvDevice], answer: Any) -> None:
    """A device that was pulled out is lost, whichever way OpenCV tells it."""
    video = FakeVideo()
    video.waits = [answer]

    with pytest.raises(SourceError, match=r"opencv /dev/video7: the device (is gone|hung up)"):
        attach(video).grab(GRAB_S)


def test_silent_device_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without a picture for read_timeout_s does not count as being there."""
    video = FakeVideo()
    video.waits = [(True, [0]), (False, [])]
    clock = FakeClock()
    monkeypatch.setattr(opencv_camera, "check_node", lambda _path: None)
    monkeypatch.setattr(opencv_camera, "open_video", lambda *_given: video)
    device = OpencvDevice(OpencvSettings("/dev/video7", read_timeout_s=3.0), clock)
    device.open()
    clock.advance_ms(2000)
    grab(device)
    clock.advance_ms(2999)
    alive = device.is_alive()

    clock.advance_ms(1)

    assert alive
    assert not device.is_alive()


@pytest.mark.parametrize(
    ("error", "kind"), [("busy", CameraBusyError), ("missing", CameraMissingError)]
)
def test_what_the_node_says_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, error: str, kind: type[SourceError]
) -> None:
    """What is found out about a device node is the reason, and OpenCV is not asked."""

    def refuse(_path: Path) -> None:
        raise kind(error)

    monkeypatch.setattr(opencv_camera, "check_node", refuse)
    device = OpencvDevice(OpencvSettings("/dev/video7"), FakeClock())

    with pytest.raises(kind, match=error):
        device.open()
