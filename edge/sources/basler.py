"""Basler cameras through pypylon: GigE Vision, USB3 Vision, and pylon's emulated ones.

One call of pylon cannot be interrupted: a try to open ends between two calls
once its time is over.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge.sources import Capture, PixelFormatError, SourceError
from edge.sources.basler_chunks import Telling
from edge.sources.basler_library import connect, find_camera, load_pylon, said
from edge.sources.basler_nodes import Nodes
from edge.sources.basler_setup import set_up
from edge.sources.camera_calls import CameraCalls
from edge.sources.genicam_settings import opening_limit
from edge.sources.pixel_formats import BIT_DEPTHS, byte_count, decode

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.clock import Clock
    from edge.frame import PixelFormat, Pixels
    from edge.sources.basler_chunks import Told
    from edge.sources.basler_library import Pylon, PylonObject
    from edge.sources.genicam_settings import GenicamSettings

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
MS_PER_S = 1000
READY_MS = 500
BUFFERS = 16
"""Pictures that pylon holds while nobody takes them: at 12 megapixels of grey 200 MB."""
ANSWER_LIMIT_S = 1.5
"""A register of a camera that is there is read in milliseconds."""


@dataclass(slots=True)
class _Opened:
    """What one opening holds."""

    pylon: Pylon
    camera: PylonObject
    nodes: Nodes
    pixel_type: int
    """PFNC's number of the format that was set."""
    telling: Telling
    calls: CameraCalls


class BaslerDevice:
    """One Basler camera; see :class:`edge.sources.device.Device`."""

    def __init__(
        self, settings: GenicamSettings, clock: Clock, load: Callable[[], Pylon] = load_pylon
    ) -> None:
        """Remember what is wanted; nothing is loaded or opened yet.

        Args:
            settings: See there.
            clock: For arrivals, and the limit of an opening.
            load: Returns the library.
        """
        self.name = f"Basler camera {settings.camera or '(the only one)'}"
        self.can_trigger = settings.trigger == "software"
        self._settings = settings
        self._clock = clock
        self._load = load
        self._opened: _Opened | None = None

    def open(self) -> None:
        """Find, open, set up and start the camera; it is let go of where that fails.

        Raises:
            CameraMissingError: No such camera; the message says which there are.
            CameraBusyError: Another program holds it.
            PixelFormatError: The pixel format is unknown, or not offered.
            CameraSetupError: The camera refuses another setting, or several are
                there and none is named.
            SourceError: pypylon is missing, or the camera fails or takes too long.
        """
        self.close()
        name = self._settings.pixel_format
        if name not in BIT_DEPTHS:
            msg = f"{self.name}: pixel_format = {name} is unknown, only {', '.join(BIT_DEPTHS)}"
            raise PixelFormatError(msg)
        check_time = opening_limit(self._clock, self._settings.open_timeout_s)
        try:
            pylon = self._load()
            self._start(pylon, check_time)
        except SourceError as error:
            msg = f"{self.name}: {error}"
            raise type(error)(msg) from error

    def grab(self, timeout_s: float) -> Capture | None:
        """Return the next picture; see the protocol.

        Raises:
            SourceError: The camera was removed, failed, or did not obey a trigger.
        """
        opened = self._usable()
        pylon, camera = opened.pylon, opened.camera
        try:
            wait_ms = round(timeout_s * MS_PER_S)
            result = camera.RetrieveResult(wait_ms, pylon.api.TimeoutHandling_Return)
            arrived_ns = self._clock.monotonic_ns()
            try:
                # The buffers that a removed camera leaves behind are no pictures of parts.
                if camera.IsCameraDeviceRemoved():
                    msg = f"{self.name}: it was removed"
                    raise SourceError(msg)
                return self._capture(opened, result, arrived_ns) if result.IsValid() else None
            finally:
                result.Release()
        except pylon.error as error:
            msg = f"{self.name}: {said(error)}"
            raise SourceError(msg) from error

    def trigger(self) -> None:
        """Make the camera expose; that it did not obey is said by the next ``grab``.

        Raises:
            SourceError: The camera is not open for software triggers.
        """
        opened = self._opened
        if opened is None or not self.can_trigger:
            msg = f"{self.name}: not open for software triggers"
            raise SourceError(msg)
        opened.calls.order(opened.camera.ExecuteSoftwareTrigger)

    def is_alive(self) -> bool:
        """Tell whether the camera itself answers, not the memory of its driver."""
        opened = self._opened
        if opened is None or opened.camera.IsCameraDeviceRemoved():
            return False
        return opened.calls.confirms(lambda: opened.nodes.answers("Width"), ANSWER_LIMIT_S)

    def close(self) -> None:
        """Stop and let go of the camera, also of a removed one."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.calls.close()
            self._let_go(opened.pylon, opened.camera)

    def _start(self, pylon: Pylon, check_time: Callable[[], None]) -> None:
        """Set one camera up and let the pictures come."""
        try:
            camera = connect(pylon, find_camera(pylon, self._settings.camera))
        except pylon.error as error:
            raise SourceError(said(error)) from error
        try:
            nodes = Nodes(camera.GetNodeMap(), pylon.genicam, check_time)
            link = Nodes(camera.GetTLNodeMap(), pylon.genicam, check_time)
            pixel_type = set_up(nodes, link, self._settings)
            telling = Telling(nodes, self._settings.trigger, gige=bool(camera.IsGigE()))
            camera.MaxNumBuffer.SetValue(BUFFERS)
            camera.StartGrabbing(pylon.api.GrabStrategy_OneByOne)
            if self.can_trigger and camera.CanWaitForFrameTriggerReady():
                # A trigger that comes before the camera waits for it yields no picture.
                camera.WaitForFrameTriggerReady(READY_MS, pylon.api.TimeoutHandling_Return)
        except SourceError:
            self._let_go(pylon, camera)
            raise
        except pylon.error as error:
            self._let_go(pylon, camera)
            raise SourceError(said(error)) from error
        self.name = f"Basler camera {camera.GetDeviceInfo().GetSerialNumber()}"
        calls = CameraCalls(pylon.error)
        self._opened = _Opened(pylon, camera, nodes, pixel_type, telling, calls)

    def _let_go(self, pylon: Pylon, camera: PylonObject) -> None:
        try:
            camera.Close()
            # A device that was removed cannot be opened again; the next try makes its own.
            camera.DestroyDevice()
        except pylon.error as error:
            log.debug("%s: closing: %s", self.name, said(error))

    def _usable(self) -> _Opened:
        opened = self._opened
        if opened is None:
            msg = f"{self.name}: not open"
            raise SourceError(msg)
        if opened.calls.fault:
            msg = f"{self.name}: it does not obey: {opened.calls.fault}"
            raise SourceError(msg)
        return opened

    def _capture(self, opened: _Opened, result: PylonObject, arrived_ns: int) -> Capture:
        """Turn a buffer into pixels, or say why it cannot be."""
        told = self._told(opened, result)
        try:
            pixels, pixel_format, bit_depth = self._decoded(opened, result)
        except ValueError as error:
            return Capture(
                None,
                fault=f"buffer failed: {error}",
                arrived_ns=arrived_ns,
                camera_ns=told.camera_ns,
                counter=told.counter,
            )
        exposure = "" if told.exposure_us is None else f", {told.exposure_us:g} us"
        return Capture(
            pixels,
            pixel_format,
            bit_depth,
            origin=f"{self.name}{exposure}",
            offset_px=(result.GetOffsetX(), result.GetOffsetY()),
            arrived_ns=arrived_ns,
            camera_ns=told.camera_ns,
            counter=told.counter,
        )

    def _told(self, opened: _Opened, result: PylonObject) -> Told:
        """Return what the camera tells beside the pixels; of a failed buffer, less."""
        chunks = None
        if result.GrabSucceeded() and result.IsChunkDataAvailable():
            chunks = Nodes(result.GetChunkDataNodeMap(), opened.pylon.genicam)
        return opened.telling.of(result, chunks)

    def _decoded(self, opened: _Opened, result: PylonObject) -> tuple[Pixels, PixelFormat, int]:
        """Return a buffer's pixels, format and depth.

        Raises:
            ValueError: It failed, is not whole, or holds another format than was set.
        """
        if not result.GrabSucceeded():
            msg = f"{result.GetErrorCode():#x} {result.GetErrorDescription()}".rstrip()
            raise ValueError(msg)
        name, kind = self._settings.pixel_format, result.GetPixelType()
        if kind != opened.pixel_type:
            msg = f"it holds pixel type {kind:#x}, {name} is {opened.pixel_type:#x}"
            raise ValueError(msg)
        width, height = result.GetWidth(), result.GetHeight()
        data = np.frombuffer(result.GetImageMemoryView(), np.uint8)
        padding = result.GetPaddingX()
        if padding:
            line = byte_count(name, width, 1)
            data = data.reshape(height, line + padding)[:, :line].reshape(-1)
        return decode(data, name, width, height)
