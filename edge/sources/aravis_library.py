"""Aravis itself: loaded from wherever this machine has it, and asked which cameras there are.

Aravis is a C library that Python reaches through PyGObject (``gi``). Debian
ships it compiled for the Python of the distribution; a virtual environment does
not see that package, but a Python of the same minor version can load it. Only
this one package is taken from there, never the whole folder it lies in, whose
other packages would hide those of the environment.

Nothing is loaded before a camera is opened.
"""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import sys
import threading
import warnings
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from edge.sources import CameraBusyError, CameraMissingError, CameraSetupError, SourceError

if TYPE_CHECKING:
    from types import ModuleType

DEBIAN_GI = Path("/usr/lib/python3/dist-packages/gi")
REMEDY = (
    "`apt install gir1.2-aravis-0.8 python3-gi`;"
    " for another Python than the system's also `pip install 'PyGObject<3.52'`"
)
"""Later versions need a GLib that neither Debian 12 nor JetPack 6 has."""
DEVICE_ERROR = "arv-device-error-quark"
"""GLib's name of what goes wrong between host and camera; other domains are of features."""
GObject: TypeAlias = Any
"""Something of Aravis, which has no types that a checker could read."""
_loading = threading.Lock()


class Library(NamedTuple):
    """What of ``gi`` is used."""

    api: GObject
    """The module ``gi.repository.Aravis``."""
    error: type[Exception]
    """What its calls raise, with ``message``, ``domain`` and ``code``."""

    def is_device_error(self, error: GObject, *names: str) -> bool:
        """Tell whether an error is one of these of ``Aravis.DeviceError``."""
        kinds = self.api.DeviceError
        # Older versions of Aravis tell fewer of them apart.
        codes = {int(getattr(kinds, name)) for name in names if hasattr(kinds, name)}
        return error.domain == DEVICE_ERROR and error.code in codes


def load_aravis(debian_gi: Path = DEBIAN_GI) -> Library:
    """Load Aravis through ``gi``, as installed or else as Debian has it.

    Raises:
        SourceError: There is none for this Python; the message says what to install.
    """
    with _loading, warnings.catch_warnings():
        # Its importer has the interface of before Python 3.4, which still works.
        warnings.simplefilter("ignore", ImportWarning)
        try:
            gi = importlib.import_module("gi")
        except ImportError:
            gi = _debian_gi(debian_gi)
        try:
            gi.require_version("Aravis", "0.8")
            api = importlib.import_module("gi.repository.Aravis")
            return Library(api, importlib.import_module("gi.repository.GLib").Error)
        except (ValueError, ImportError) as error:
            msg = f"Aravis cannot be used ({error}): {REMEDY}"
            raise SourceError(msg) from error


def _debian_gi(folder: Path) -> ModuleType:
    """Load Debian's package ``gi``, and nothing else from the folder it lies in."""
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    if not any((folder / f"_gi{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        has = "is for another Python" if folder.exists() else "is not there"
        msg = f"no gi for {python}, and {folder} {has}: {REMEDY}"
        raise SourceError(msg)
    spec = importlib.util.spec_from_file_location(
        "gi", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        msg = f"{folder} is no package: {REMEDY}"
        raise SourceError(msg)
    gi = importlib.util.module_from_spec(spec)
    sys.modules["gi"] = gi
    try:
        spec.loader.exec_module(gi)
    except Exception as error:
        del sys.modules["gi"]
        msg = f"{folder} cannot be loaded by {python} ({error}): {REMEDY}"
        raise SourceError(msg) from error
    return gi


class Listed(NamedTuple):
    """A camera that answered."""

    camera_id: str
    address: str


def connect(library: Library, wanted: str) -> GObject:
    """Find a camera and connect to it; empty takes the only one there is.

    An address is tried at once: a camera that is there answers within
    milliseconds, one that is not costs Aravis 2.5 s. A search takes 1 s, whatever it
    finds. An id that the search did not find is never given to Aravis, which
    would look it up as a host name for as long as the name server pleases.

    Raises:
        CameraMissingError: No such camera; the message says which there are.
        CameraSetupError: None is named, and there are several.
        CameraBusyError: Another program holds it.
        SourceError: It does not answer properly.
    """
    if _is_address(wanted):
        try:
            return _open(library, wanted)
        except CameraMissingError:
            pass
    return _open(library, find(library, wanted))


def find(library: Library, wanted: str) -> str:
    """Search for a camera, and return its id.

    Raises:
        CameraMissingError: No such camera; the message says which there are.
        CameraSetupError: None is named, and there are several.
    """
    found = search(library)
    there = ", ".join(f"{one.camera_id} ({one.address})" for one in found) or "none"
    if not wanted and len(found) > 1:
        msg = f"device = '': there are several cameras, name one of {there}"
        raise CameraSetupError(msg)
    for one in found:
        if wanted in {"", one.camera_id, one.address}:
            return one.camera_id
    msg = f"device = {wanted!r}: no such camera; there is {there}"
    raise CameraMissingError(msg)


def search(library: Library) -> list[Listed]:
    """Return the cameras that answer within the second that Aravis gives them."""
    api = library.api
    api.update_device_list()
    return [
        Listed(api.get_device_id(i), api.get_device_address(i)) for i in range(api.get_n_devices())
    ]


def _open(library: Library, device: str) -> GObject:
    try:
        return library.api.Camera.new(device)
    except library.error as error:
        said = str(getattr(error, "message", error))
        msg = f"device = {device!r}: {said}"
        if library.is_device_error(error, "NOT_FOUND"):
            raise CameraMissingError(msg) from error
        # A USB camera that another program holds cannot be claimed.
        if "claim" in said or library.is_device_error(error, "PROTOCOL_ERROR_ACCESS_DENIED"):
            raise CameraBusyError(msg) from error
        raise SourceError(msg) from error


def _is_address(wanted: str) -> bool:
    try:
        ipaddress.ip_address(wanted)
    except ValueError:
        return False
    return True
