"""Cameras through OpenCV: a real HTTP stream; V4L2 devices on stand-ins, not yet with a camera."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from ingest_rig import FakeClock
from mjpeg_server import HEIGHT_PX, WIDTH_PX, MjpegServer, jpeg

from edge.clock import SystemClock
from edge.endpoints import free_port
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
    from collections.abc import Callable, Iterator

BLUE, RED = (220, 40, 20), (20, 40, 220)
JPEG_ERROR = 6
LIMIT_S = 20.0
READ_S = 0.4
GRAB_S = 0.1


@pytest.fixture
def serve() -> Iterator[Callable[..., MjpegServer]]:
    """Start a network camera that shows blue; it is stopped after the test."""
    servers: list[MjpegServer] = []

    def start(port: int = 0) -> MjpegServer:
        servers.append(MjpegServer(jpeg(BLUE), port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(serve: Callable[..., MjpegServer]) -> MjpegServer:
    """A network camera."""
    return serve()


@pytest.fixture
def watch() -> Iterator[Callable[..., OpencvDevice]]:
    """Make a device of a URL, not opened; it is closed after the test."""
    devices: list[OpencvDevice] = []

    def make(source: str, **settings: Any) -> OpencvDevice:
        settings = {"open_timeout_s": 5.0, "read_timeout_s": READ_S} | settings
        devices.append(OpencvDevice(OpencvSettings(source, **settings), SystemClock()))
        return devices[-1]

    yield make
    for device in devices:
        device.close()


def url(server: MjpegServer, login: str = "") -> str:
    """Return where a network camera is found."""
    return f"http://{login}127.0.0.1:{server.port}/stream"


def grab(device: OpencvDevice) -> Capture:
    """Return the next picture."""
    capture = device.grab(GRAB_S)
    assert capture is not None
    return capture


def grab_until(device: OpencvDevice, condition: Callable[[Capture], bool]) -> Capture:
    """Return the first picture for which the condition holds."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        capture = grab(device)
        if condition(capture):
            return capture
    pytest.fail("no such picture came")


def shows(capture: Capture, colour: tuple[int, int, int]) -> bool:
    """Tell whether a picture is of one colour, blue first, but for what JPEG does to it."""
    assert capture.pixels is not None
    difference = capture.pixels.astype(int) - np.array(colour)
    return bool(np.abs(difference).max() <= JPEG_ERROR)


def test_stream_is_blue_first(server: MjpegServer, watch: Callable[..., OpencvDevice]) -> None:
    """Pictures of a stream are uint8 in blue, green, red order, with the time of arrival only."""
    device = watch(url(server))
    device.open()
    before_ns = time.monotonic_ns()

    capture = grab(device)

    assert shows(capture, BLUE)
    assert capture.pixels is not None
    assert (capture.pixels.shape, capture.pixels.dtype) == ((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    assert (capture.pixel_format, capture.bit_depth, capture.fault) == ("bgr", 8, "")
    assert (capture.counter, capture.camera_ns, capture.opening) == (None, None, 0)
    assert capture.arrived_ns is not None
    assert before_ns <= capture.arrived_ns <= time.monotonic_ns()
    assert device.is_alive()


def test_stream_shows_what_is_new(server: MjpegServer, watch: Callable[..., OpencvDevice]) -> None:
    """What the camera sees changes, and the pictures with it."""
    device = watch(url(server))
    device.open()
    grab(device)

    server.picture = jpeg(RED)

    assert grab_until(device, lambda capture: shows(capture, RED))


def test_stalled_stream_times_out(server: MjpegServer, watch: Callable[..., OpencvDevice]) -> None:
    """A stream that stays open and sends nothing is lost after read_timeout_s."""
    device = watch(url(server))
    device.open()
    grab(device)
    server.flows.clear()

    with pytest.raises(SourceError, match=r"http://127.*: the read timed out after 0\.4"):
        grab_until(device, lambda _capture: False)


def test_ended_stream_is_lost_and_comes_back(
    serve: Callable[..., MjpegServer], watch: Callable[..., OpencvDevice]
) -> None:
    """A camera that dies ends its stream, is missing while it is away, and can be opened again."""
    first = serve()
    device = watch(url(first))
    device.open()
    grab(device)

    first.stop()
    with pytest.raises(SourceError, match="the stream ended"):
        grab_until(device, lambda _capture: False)
    device.close()
    with pytest.raises(CameraMissingError, match="Connection refused"):
        device.open()
    second = serve(first.port)
    device.open()

    assert shows(grab(device), BLUE)
    assert len(second.requests) == 1


def test_bad_picture_is_a_fault(server: MjpegServer, watch: Callable[..., OpencvDevice]) -> None:
    """Rubbish between pictures is one capture with a fault, and no picture beside it is lost."""
    device = watch(url(server))
    device.open()
    grab(device)

    server.send_once(b"no JPEG at all")
    bad = grab_until(device, lambda capture: capture.pixels is None)
    after = grab(device)

    assert bad.fault == "a picture cannot be decoded"
    assert shows(after, BLUE)


def test_password_is_used_and_never_shown(
    server: MjpegServer,
    watch: Callable[..., OpencvDevice],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """User and password reach the camera, and neither name nor message nor log shows them."""
    server.login = base64.b64encode(b"me:se/cret")
    device = watch(url(server, "me:se%2Fcret@"))
    device.open()
    picture = grab(device)
    server.stop()

    messages = [device.name]
    for attempt in (lambda: grab_until(device, lambda _capture: False), device.open):
        with pytest.raises(SourceError) as caught:
            attempt()
        messages.append(str(caught.value))

    assert shows(picture, BLUE)
    assert device.name == f"opencv http://***@127.0.0.1:{server.port}/stream"
    assert not any("cret" in message for message in messages)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.0 401 Unauthorized\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n<html>"]
)
def test_other_answers_are_refused(
    server: MjpegServer,
    watch: Callable[..., OpencvDevice],
    capfd: pytest.CaptureFixture[str],
    answer: bytes,
) -> None:
    """A camera that refuses, or something that is no camera, is an error and nothing on stderr."""
    server.begin = answer + b"\r\n"
    device = watch(url(server), open_timeout_s=0.5)

    with pytest.raises(SourceError, match=r"refuses|no picture within"):
        device.open()

    assert not device.is_alive()
    assert capfd.readouterr().err == ""


def test_silent_server_is_given_up(server: MjpegServer, watch: Callable[..., OpencvDevice]) -> None:
    """A server that accepts and says nothing is given up after open_timeout_s."""
    server.begin = b""
    device = watch(url(server), open_timeout_s=0.3)

    with pytest.raises(SourceError, match=r"no picture within open_timeout_s = 0\.3"):
        device.open()


def test_size_of_a_stream_is_compared(
    server: MjpegServer, watch: Callable[..., OpencvDevice]
) -> None:
    """A stream of another size than asked for is refused, with both sizes."""
    device = watch(url(server), width_px=WIDTH_PX, height_px=2 * HEIGHT_PX)

    with pytest.raises(CameraSetupError, match="height_px = 96 is refused, it gives 48"):
        device.open()

    assert not device.is_alive()


def test_closed_device_gives_nothing(
    server: MjpegServer, watch: Callable[..., OpencvDevice]
) -> None:
    """A device that is closed, once or twice, or was never open, is no camera."""
    device = watch(url(server))
    device.open()
    device.close()
    device.close()

    with pytest.raises(SourceError, match="not open"):
        device.grab(GRAB_S)
    with pytest.raises(SourceError, match="cannot be triggered"):
        device.trigger()
    assert not device.is_alive()


def test_nobody_at_the_address(watch: Callable[..., OpencvDevice]) -> None:
    """An address where nobody listens is a missing camera, at once, with host and port."""
    port = free_port()

    with pytest.raises(CameraMissingError, match=f"no connection to 127.0.0.1 port {port}"):
        watch(f"rtsp://127.0.0.1:{port}/x").open()


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
