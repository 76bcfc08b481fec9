"""GigE and USB3 Vision cameras through Aravis.

Aravis receives in threads of its own, without a main loop, and keeps the
control of a GigE camera with a heartbeat, once a second. A camera that was
restarted, even within that second, has forgotten who controls it and how it was
set up: Aravis then says that control is lost, and the device must be opened
anew.

Sources: EMVA/AIA, GigE Vision and USB3 Vision; the Aravis 0.8 reference.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.sources import CameraBusyError, Capture, SourceError
from edge.sources.aravis_library import connect, load_aravis
from edge.sources.aravis_setup import Setup, Shape
from edge.sources.camera_calls import CameraCalls
from edge.sources.genicam_settings import TRIGGERED, opening_limit
from edge.sources.pixel_formats import byte_count, decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.frame import PixelFormat, Pixels
    from edge.sources.aravis_library import GObject, Library
    from edge.sources.genicam_settings import GenicamSettings

NS_PER_S = 1_000_000_000
US_PER_S = 1_000_000
BUFFERS = 8
"""Pictures that Aravis may hold while one is decoded; at 12 megapixels of grey 100 MB."""
RELEASE_LIMIT_S = 0.5
"""A camera that is there is released in milliseconds; a dead one in 10 s, by a thread."""
ANSWER_LIMIT_S = 1.5
"""Aravis asks a silent camera five times, for 2.5 s; three must do to call it alive."""
GIGE_CONTROL_REGISTER = 0x0A00
"""Control channel privilege (GigE Vision); 0 after a restart."""
GIGE_CONTROL_BITS = 0b11
"""Exclusive access, and control."""
USB_VERSION_REGISTER = 0x0000
"""First register of every USB3 Vision camera (GenCP)."""
LAST_16_BIT_ID = 65_535


class FrameIds:
    """Counts the pictures of one opening by the ids that the camera gives them."""

    def __init__(self, *, wraps: bool) -> None:
        """Begin with nothing seen; ``wraps``: after 65535 comes 1, as GigE Vision has it."""
        self._wraps = wraps
        self._last_id: int | None = None
        self._count = 0

    def count(self, frame_id: int) -> int:
        """Return the number of a picture, which goes on where the ids begin again.

        Ids of 64 bits do not wrap; where such a camera counts anew, so does this.
        """
        if self._last_id is None:
            self._count = frame_id
        else:
            step = frame_id - self._last_id
            begins_again = self._wraps and step < 0 and self._last_id <= LAST_16_BIT_ID
            self._count += step + LAST_16_BIT_ID * begins_again
        self._last_id = frame_id
        return self._count

    def count_unknown(self) -> int | None:
        """Return the number of a picture whose id did not arrive: one more than the last."""
        if self._last_id is None:
            return None
        wraps = self._wraps and self._last_id == LAST_16_BIT_ID
        return self.count(1 if wraps else self._last_id + 1)


@dataclass(slots=True)
class _Opened:
    """What one opening holds; nothing else may refer to camera and stream."""

    camera: GObject
    stream: GObject
    lost: threading.Event
    handler: int
    """Of the signal that sets ``lost``."""
    calls: CameraCalls


class AravisDevice:
    """One camera; see :class:`edge.sources.device.Device`."""

    def __init__(self, settings: GenicamSettings, clock: Clock) -> None:
        """Prepare; nothing is loaded or opened yet."""
        self.name = f"aravis camera {settings.camera or '(the only one)'}"
        self.can_trigger = settings.trigger == "software"
        self._settings = settings
        self._clock = clock
        self._opened: _Opened | None = None
        self._library: Library
        self._shape: Shape
        self._ids: FrameIds
        self._is_gige = False

    def open(self) -> None:
        """Open, set up and start; what was set is read back and compared.

        Raises:
            CameraMissingError: No such camera; the message says which there are.
            CameraBusyError: Another program controls it.
            PixelFormatError: It does not offer the pixel format.
            CameraSetupError: It refuses another setting.
            SourceError: There is no Aravis, or the camera does not answer.
        """
        self.close()
        check_time = opening_limit(self._clock, self._settings.open_timeout_s)
        try:
            self._library = load_aravis()
            self._start(self._connect(), check_time)
        except SourceError as error:
            failure = type(error)(f"{self.name}: {error}")
        else:
            return
        # Out here nothing refers to the camera any more, as the first error's traceback did.
        self.close()
        raise failure

    def grab(self, timeout_s: float) -> Capture | None:
        """Return the next picture; see the protocol.

        Raises:
            SourceError: Control of the camera was lost, or it did not obey a trigger.
        """
        opened = self._usable()
        buffer = opened.stream.timeout_pop_buffer(round(timeout_s * US_PER_S))
        if buffer is None:
            return None
        try:
            return self._capture(buffer, self._clock.monotonic_ns())
        finally:
            buffer.set_frame_id(0)
            opened.stream.push_buffer(buffer)

    def trigger(self) -> None:
        """Make the camera expose; that it did not obey is said by the next ``grab``.

        Raises:
            SourceError: The camera is not open for software triggers.
        """
        opened = self._opened
        # The thread that grabs may let go of the camera at any moment.
        camera = opened.camera if opened is not None else None
        if opened is None or camera is None or not self.can_trigger:
            msg = f"{self.name}: not open for software triggers"
            raise SourceError(msg)
        opened.calls.order(camera.software_trigger)

    def is_alive(self) -> bool:
        """Tell whether the camera answers, and obeys this process."""
        opened = self._opened
        if opened is None or opened.lost.is_set():
            return False
        return opened.calls.confirms(lambda: self._is_controlled(opened), ANSWER_LIMIT_S)

    def close(self) -> None:
        """Let go of the camera; more calls do nothing, and it may be opened again.

        Aravis says goodbye to a camera several times and waits for its answers.
        Where none comes this goes on in a thread while the camera is opened
        anew: by GigE Vision it obeys nobody but the newest controller.
        """
        opened, self._opened = self._opened, None
        if opened is None:
            return
        release = threading.Thread(
            target=_release, args=(opened, self._library.error), name="aravis release", daemon=True
        )
        release.start()
        release.join(RELEASE_LIMIT_S)

    def _connect(self) -> _Opened:
        """Find the camera, and hear at once when its control is lost."""
        camera, lost = connect(self._library, self._settings.camera), threading.Event()
        handler = camera.get_device().connect("control-lost", lambda *_: lost.set())
        self._is_gige = bool(camera.is_gv_device())
        self._opened = _Opened(camera, None, lost, handler, CameraCalls(self._library.error))
        return self._opened

    def _start(self, opened: _Opened, check_time: Callable[[], None]) -> None:
        """Set the camera up and let the pictures come."""
        if self._is_gige and not opened.camera.get_device().is_controller():
            msg = "another program controls it"
            raise CameraBusyError(msg)
        library = self._library
        self._shape = Setup(library, opened.camera, self._settings, check_time).apply()
        self._ids = FrameIds(wraps=self._is_gige)
        try:
            opened.stream = opened.camera.create_stream(None, None)
            payload_bytes = opened.camera.get_payload()
            for _ in range(BUFFERS):
                opened.stream.push_buffer(library.api.Buffer.new_allocate(payload_bytes))
            opened.camera.start_acquisition()
        except library.error as error:
            msg = f"the stream does not start: {getattr(error, 'message', error)}"
            raise SourceError(msg) from error

    def _is_controlled(self, opened: _Opened) -> bool:
        device = opened.camera.get_device()
        if not self._is_gige:
            device.read_register(USB_VERSION_REGISTER)
            return True
        return bool(device.read_register(GIGE_CONTROL_REGISTER) & GIGE_CONTROL_BITS)

    def _usable(self) -> _Opened:
        opened = self._opened
        if opened is None:
            msg = f"{self.name}: not open"
            raise SourceError(msg)
        if opened.lost.is_set():
            msg = f"{self.name}: control is lost, it was restarted or does not answer"
            raise SourceError(msg)
        if opened.calls.fault:
            msg = f"{self.name}: it does not obey: {opened.calls.fault}"
            raise SourceError(msg)
        return opened

    def _capture(self, buffer: GObject, arrived_ns: int) -> Capture:
        """Turn a buffer into pixels, or say why it cannot be."""
        status = buffer.get_status()
        counter: int | None = None
        is_whole = status == self._library.api.BufferStatus.SUCCESS
        if self._settings.trigger in TRIGGERED:
            frame_id = buffer.get_frame_id()
            # The id is in the first packet: of a broken picture it may be missing.
            known = is_whole or frame_id != 0
            counter = self._ids.count(frame_id) if known else self._ids.count_unknown()
        if not is_whole:
            fault = f"buffer failed: {status.value_nick}"
            return Capture(None, fault=fault, arrived_ns=arrived_ns, counter=counter)
        camera_ns = buffer.get_timestamp() or None
        try:
            pixels, pixel_format, bit_depth = self._decoded(buffer)
        except ValueError as error:
            return Capture(
                None, fault=str(error), arrived_ns=arrived_ns, camera_ns=camera_ns, counter=counter
            )
        return Capture(
            pixels,
            pixel_format,
            bit_depth,
            offset_px=self._shape.offset_px,
            arrived_ns=arrived_ns,
            camera_ns=camera_ns,
            counter=counter,
        )

    def _decoded(self, buffer: GObject) -> tuple[Pixels, PixelFormat, int]:
        """Return a buffer's pixels, format and depth.

        Raises:
            ValueError: It holds no picture, or another than was set up.
        """
        kind, kinds = buffer.get_payload_type(), self._library.api.BufferPayloadType
        if kind not in {kinds.IMAGE, kinds.EXTENDED_CHUNK_DATA}:
            msg = f"the buffer holds {kind.value_nick}, no picture"
            raise ValueError(msg)
        name, code = self._shape.pixel_format, int(buffer.get_image_pixel_format())
        if code != self._shape.pixel_code:
            msg = f"the buffer holds pixel format 0x{code:08x}, not {name}"
            raise ValueError(msg)
        width, height = buffer.get_image_width(), buffer.get_image_height()
        # What may follow the picture belongs to it no more, such as the camera's chunk data.
        data = memoryview(buffer.get_data())[: byte_count(name, width, height)]
        return decode(data, name, width, height)


def _release(opened: _Opened, error: type[Exception]) -> None:
    """Stop the camera and drop it: Aravis frees what nobody refers to."""
    opened.calls.close()
    opened.camera.get_device().disconnect(opened.handler)
    if not opened.lost.is_set():
        with suppress(error):
            opened.camera.stop_acquisition()
    # The stream first: it uses the camera.
    opened.stream = None
    opened.camera = None
