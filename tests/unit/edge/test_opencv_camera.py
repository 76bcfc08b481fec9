"""Network cameras through OpenCV: a real HTTP stream that stalls, ends and comes back."""

from __future__ import annotations

import base64
import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
from mjpeg_server import HEIGHT_PX, WIDTH_PX, MjpegServer, jpeg

from edge.clock import SystemClock
from edge.endpoints import free_port
from edge.sources import CameraMissingError, CameraSetupError, Capture, SourceError
from edge.sources.live import LiveSettings, LiveSource
from edge.sources.opencv_camera import OpencvDevice, OpencvSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

BLUE, RED = (220, 40, 20), (20, 40, 220)
JPEG_ERROR = 6
LIMIT_S = 20.0
READ_S = 2.0
STALL_S = 0.4
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


def until(answer: Callable[[], T | None]) -> T:
    """Return the first answer that is one."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        found = answer()
        if found:
            return found
        time.sleep(0.001)
    pytest.fail("no answer within the limit")


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
    device = watch(url(server), read_timeout_s=STALL_S)
    device.open()
    grab(device)
    server.flows.clear()

    with pytest.raises(SourceError, match=r"http://127.*: the read timed out after \d+\.\d s"):
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

    server.send_once(b"no JPEG at all", jpeg(RED))
    bad = grab_until(device, lambda capture: capture.pixels is None)
    after = grab(device)

    assert bad.fault == "a picture cannot be decoded"
    assert shows(after, RED)


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


def test_live_source_over_a_camera_that_dies(
    serve: Callable[..., MjpegServer], watch: Callable[..., OpencvDevice]
) -> None:
    """A camera that dies is LOST, and ONLINE with new pictures after it is there again."""
    first = serve()
    source = LiveSource(
        watch(url(first)),
        LiveSettings("free", frame_timeout_s=READ_S, reopen_limit_s=0.2),
        SystemClock(),
        random.Random(0),  # noqa: S311 - no secret
    )
    try:
        before = until(source.read)
        first.stop()
        until(lambda: source.state == "LOST")
        while source.read() is not None:
            pass
        serve(first.port)
        after = until(source.read)
    finally:
        source.close()

    assert source.state == "ONLINE"
    assert shows(before, BLUE)
    assert shows(after, BLUE)
    assert (before.opening, after.opening) == (1_000_000, 2_000_000)
    assert [event.kind for event in source.take_events()] == [
        "camera_opened",
        "camera_lost",
        "camera_back",
    ]
