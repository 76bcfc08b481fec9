"""pylon itself: loaded when a camera is opened, asked which cameras there are, and for one.

pypylon is an extra: ``pip install 'musc-edge[basler]'``. It brings pylon's
libraries along; no other installation of them is needed or used.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, TypeAlias

from edge.sources import CameraBusyError, CameraMissingError, CameraSetupError, SourceError

PylonObject: TypeAlias = Any
"""Something of pypylon, which has no types that a checker could read."""
BUSY = ("controlled by another application", "exclusively opened", "claimed the usb interface")
"""How pylon's transport layers say that somebody else holds a camera: they have no code for it."""


class Pylon(NamedTuple):
    """What of pypylon is used."""

    api: PylonObject
    """The module ``pypylon.pylon``."""
    genicam: PylonObject
    """The module ``pypylon.genicam``."""

    @property
    def error(self) -> type[Exception]:
        """What calls raise."""
        error: type[Exception] = self.genicam.GenericException
        return error


def load_pylon() -> Pylon:
    """Import pypylon.

    Raises:
        SourceError: It is not installed, or one of its libraries is missing.
    """
    try:
        with warnings.catch_warnings():
            # SWIG's types warn as they are made; a warning that is an error ends the process there.
            warnings.simplefilter("ignore", DeprecationWarning)
            from pypylon import genicam, pylon  # noqa: PLC0415 - only who has a camera needs it
    except ImportError as error:
        msg = f"Basler cameras need pypylon: pip install 'musc-edge[basler]' ({error})"
        raise SourceError(msg) from error
    return Pylon(pylon, genicam)


def find_camera(pylon: Pylon, serial: str) -> PylonObject:
    """Return pylon's description of a camera.

    Args:
        pylon: The library.
        serial: The camera's serial number; empty for the only one.

    Raises:
        CameraMissingError: It is not there; the message says which are.
        CameraSetupError: Several are there, and none is named.
    """
    found = {
        str(info.GetSerialNumber()): info
        for info in pylon.api.TlFactory.GetInstance().EnumerateDevices()
    }
    serials = ", ".join(sorted(found)) or "none"
    if (serial and serial not in found) or not found:
        msg = f"not found; Basler cameras that are there: {serials}"
        raise CameraMissingError(msg)
    if not serial and len(found) > 1:
        msg = f"there are several, serial must say which: {serials}"
        raise CameraSetupError(msg)
    return found[serial or next(iter(found))]


def connect(pylon: Pylon, info: PylonObject) -> PylonObject:
    """Return the camera, opened.

    Raises:
        CameraBusyError: Another program holds it.
    """
    try:
        camera = pylon.api.InstantCamera(pylon.api.TlFactory.GetInstance().CreateDevice(info))
        camera.Open()
    except pylon.error as error:
        if any(words in str(error) for words in BUSY):
            msg = f"another program holds it: {said(error)}"
            raise CameraBusyError(msg) from error
        raise
    return camera


def said(error: Exception) -> str:
    """Return what pylon says of an error, without where in its source it was thrown."""
    return str(error).partition(" : ")[0].strip()
