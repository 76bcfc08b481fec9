"""V4L2 devices, RTSP and HTTP streams through OpenCV.

OpenCV decodes whatever the camera sends to blue, green, red of 8 bits; that is
taken as it comes, and what has another form is refused. It has no time of
exposure to offer: CAP_PROP_POS_MSEC of a stream without time stamps, such as
HTTP MJPEG, is the number of the frame divided by an assumed rate, and that of a
V4L2 device is on a clock that it does not name. Nor does it count the pictures
that the camera made. So a capture has neither ``camera_ns`` nor ``counter``.

Streams are tried in tests; what concerns V4L2 devices is tried on stand-ins
only: written, not yet run with a camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from edge.sources import CameraSetupError, Capture, SourceError
from edge.sources.folder import silent_opencv
from edge.sources.stream_url import check_there, is_url, shown_url
from edge.sources.v4l2_node import check_node
from edge.sources.video_capture import open_video, retrieve

if TYPE_CHECKING:
    import numpy.typing as npt

    from edge.clock import Clock
    from edge.frame import PixelFormat

NS_PER_S = 1_000_000_000
FPS_TOLERANCE = 0.01
"""A camera that is asked for 30 pictures a second and gives 29.97 has obeyed."""
BAD_PICTURES = 8
"""So many reads in a row that fail at once are the end of a stream, not bad pictures."""

Came = Literal["picture", "rubbish", "nothing"]


@dataclass(frozen=True, slots=True)
class OpencvSettings:
    """How a device or stream is opened; None leaves its own value."""

    source: str
    """Device path or URL; may hold a password, so it is never shown as it is."""
    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None
    open_timeout_s: float = 5.0
    read_timeout_s: float = 3.0


class OpencvDevice:
    """One V4L2 device, or one stream; it runs by its own clock."""

    can_trigger = False

    def __init__(self, settings: OpencvSettings, clock: Clock) -> None:
        """Take the settings; nothing is opened yet."""
        source = settings.source
        self._settings = settings
        self._clock = clock
        self._is_stream = is_url(source)
        self._source = f"/dev/video{source}" if source.isdecimal() else source
        self.name = f"opencv {shown_url(source) if self._is_stream else self._source}"
        self._video: cv2.VideoCapture | None = None
        self._is_grabbed = False
        """Whether a picture waits in OpenCV to be decoded."""
        self._last_ns = 0
        """When the last picture came, or the device was opened."""

    def open(self) -> None:
        """Open the device or stream, and check what it was set to.

        Raises:
            CameraMissingError: There is no such device, or nobody at the URL.
            CameraBusyError: Another program captures from the device.
            CameraSetupError: It may not be opened, or gives another size or rate.
            SourceError: It cannot be opened for another reason.
        """
        self.close()
        began_ns = self._clock.monotonic_ns()
        self._video = self._open_stream() if self._is_stream else self._open_device()
        self._last_ns = self._clock.monotonic_ns()
        if not self._video.isOpened():
            self.close()
            raise self._not_open((self._last_ns - began_ns) / NS_PER_S)
        try:
            self._check_settings(self._video)
        except SourceError:
            self.close()
            raise

    def grab(self, timeout_s: float) -> Capture | None:
        """Return the next picture: uint8, (height, width, 3), blue first, or (height, width).

        Of a stream it is waited for up to ``read_timeout_s``, whatever
        ``timeout_s`` says: OpenCV cannot stop to wait and go on later.

        Raises:
            SourceError: The stream ended or is silent, or the device is gone.
            CameraSetupError: The pictures have another form.
        """
        if self._video is None:
            msg = f"{self.name}: not open"
            raise SourceError(msg)
        wait = self._wait_for_stream if self._is_stream else self._wait_for_device
        came = wait(self._video, timeout_s)
        if came == "nothing":
            return None
        arrived_ns = self._last_ns = self._clock.monotonic_ns()
        pixels = retrieve(self._video) if came == "picture" else None
        if pixels is None:
            fault = "a picture cannot be decoded"
            return Capture(None, "bgr", fault=fault, arrived_ns=arrived_ns)
        return Capture(pixels, self._format_of(pixels), arrived_ns=arrived_ns)

    def trigger(self) -> None:
        """Refuse: nothing that OpenCV offers makes a camera expose.

        Raises:
            SourceError: Always.
        """
        msg = f"{self.name}: cannot be triggered"
        raise SourceError(msg)

    def is_alive(self) -> bool:
        """Tell whether there was a picture lately: it runs freely, so silence is its loss."""
        silent_ns = self._clock.monotonic_ns() - self._last_ns
        return self._video is not None and silent_ns < self._settings.read_timeout_s * NS_PER_S

    def close(self) -> None:
        """Let go of the device; more calls do nothing, and it may be opened again."""
        if self._video is not None:
            self._video.release()
        self._video = None
        self._is_grabbed = False

    def _open_stream(self) -> cv2.VideoCapture:
        check_there(self._source, self._settings.open_timeout_s)
        limits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(1000 * self._settings.open_timeout_s),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(1000 * self._settings.read_timeout_s),
        ]
        return open_video(self._source, cv2.CAP_FFMPEG, limits)

    def _open_device(self) -> cv2.VideoCapture:
        check_node(Path(self._source))
        video = open_video(self._source, cv2.CAP_V4L2)
        # Each buffer more is a picture that is older when it comes.
        video.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        for _, key, asked in self._asked():
            video.set(key, asked)
        return video

    def _asked(self) -> list[tuple[str, int, float]]:
        settings = self._settings
        every = (
            ("width_px", cv2.CAP_PROP_FRAME_WIDTH, settings.width_px),
            ("height_px", cv2.CAP_PROP_FRAME_HEIGHT, settings.height_px),
            ("fps", cv2.CAP_PROP_FPS, settings.fps),
        )
        return [(name, key, asked) for name, key, asked in every if asked is not None]

    def _check_settings(self, video: cv2.VideoCapture) -> None:
        """Refuse a device that was asked for one thing and gives another."""
        for name, key, asked in self._asked():
            given = video.get(key)
            tolerance = FPS_TOLERANCE * asked if key == cv2.CAP_PROP_FPS else 0
            if abs(given - asked) > tolerance:
                kind = "a stream is taken as it comes" if self._is_stream else "it is not offered"
                msg = f"{self.name}: {name} = {asked:g} is refused, it gives {given:g}: {kind}"
                raise CameraSetupError(msg)

    def _wait_for_stream(self, video: cv2.VideoCapture, _timeout_s: float) -> Came:
        """Grab the next picture of a stream; a bad one is told where a good one comes after it."""
        if self._is_grabbed:
            self._is_grabbed = False
            return "picture"
        began_ns = self._clock.monotonic_ns()
        for bad_pictures in range(BAD_PICTURES):
            with silent_opencv():
                grabbed = video.grab()
            if grabbed:
                self._is_grabbed = bad_pictures > 0
                return "rubbish" if bad_pictures else "picture"
            waited_s = (self._clock.monotonic_ns() - began_ns) / NS_PER_S
            if waited_s >= self._settings.read_timeout_s:
                msg = f"{self.name}: the read timed out after {waited_s:.1f} s"
                raise SourceError(msg)
        msg = f"{self.name}: the stream ended"
        raise SourceError(msg)

    def _wait_for_device(self, video: cv2.VideoCapture, timeout_s: float) -> Came:
        """Wait for a picture of a V4L2 device, which OpenCV then has grabbed."""
        try:
            with silent_opencv():
                some, which = video.waitAny([video], max(1, round(timeout_s * NS_PER_S)))
        except cv2.error as error:
            msg = f"{self.name}: the device is gone: {error.err or 'OpenCV gives no reason'}"
            raise SourceError(msg) from error
        if some and not which:
            msg = f"{self.name}: the device hung up"
            raise SourceError(msg)
        return "picture" if some else "nothing"

    def _format_of(self, pixels: npt.NDArray[Any]) -> PixelFormat:
        """Return the format of pixels; nothing is converted.

        Raises:
            CameraSetupError: They are neither colour nor grey of 8 bits.
        """
        if pixels.dtype == np.uint8 and pixels.shape[2:] in {(), (3,)}:
            return "bgr" if pixels.shape[2:] else "mono"
        msg = f"{self.name}: {pixels.dtype} pictures of shape {pixels.shape}, must be uint8 bgr"
        raise CameraSetupError(msg)

    def _not_open(self, took_s: float) -> SourceError:
        if took_s >= self._settings.open_timeout_s:
            reason = f"no picture within open_timeout_s = {self._settings.open_timeout_s:g}"
        elif self._is_stream:
            reason = "it refuses (path, user, password?), or sends nothing that is a video"
        else:
            reason = "OpenCV cannot capture from it"
        return SourceError(f"{self.name}: {reason}")
