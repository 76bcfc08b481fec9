"""Aravis is found where it is installed, and cameras where they are; else the message helps."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fake_gige import ADDRESS, FakeGige, fake_gige, need_aravis, until

from edge.clock import SystemClock
from edge.sources import CameraBusyError, CameraMissingError, CameraSetupError, SourceError
from edge.sources.aravis import AravisDevice
from edge.sources.aravis_library import DEVICE_ERROR, Library, connect, load_aravis
from edge.sources.genicam_settings import GenicamSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INTERFACES = ("Fake", "USB3Vision", "GigEVision")


@pytest.fixture
def only_built_in() -> Iterator[Library]:
    """Aravis, which sees nothing but the camera that is built into it."""
    library = need_aravis()
    for interface in INTERFACES:
        library.api.disable_interface(interface)
    library.api.enable_interface("Fake")
    yield library
    library.api.disable_interface("Fake")
    for interface in INTERFACES[1:]:
        library.api.enable_interface(interface)


@pytest.fixture
def camera() -> Iterator[FakeGige]:
    """The fake camera on the network, running."""
    with fake_gige("T9") as running:
        yield running


def device(name: str = "", **settings: Any) -> AravisDevice:
    """Return a device that is not open."""
    return AravisDevice(GenicamSettings(camera=name, **settings), SystemClock())


def test_nothing_is_loaded_at_import() -> None:
    """The module of the cameras can be imported where there is no Aravis, and stays light."""
    program = "import sys, edge.sources.aravis; sys.exit('gi' in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert ended.returncode == 0


def test_without_gi_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where there is no gi at all, opening a camera says how to get it."""
    monkeypatch.setitem(sys.modules, "gi", None)

    with pytest.raises(SourceError, match=r"is not there: `apt install gir1.2-aravis-0.8 python"):
        load_aravis(tmp_path / "gi")


def test_gi_of_another_python_is_not_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Debian's gi for another minor version is named as such, and stays unloaded."""
    monkeypatch.setitem(sys.modules, "gi", None)
    (tmp_path / "_gi.cpython-27-x86_64-linux-gnu.so").touch()

    with pytest.raises(SourceError, match=r"is for another Python: .*pip install 'PyGObject"):
        load_aravis(tmp_path)


def test_broken_gi_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A gi that cannot be loaded is told with its reason; the next try begins anew."""
    monkeypatch.setitem(sys.modules, "gi", None)
    (tmp_path / f"_gi{EXTENSION_SUFFIXES[0]}").touch()
    (tmp_path / "__init__.py").write_text("raise ImportError('no libgirepository')")

    with pytest.raises(SourceError, match=r"cannot be loaded .*\(no libgirepository\): `apt"):
        load_aravis(tmp_path)

    assert "gi" not in sys.modules


def test_gi_without_aravis_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A gi that knows no Aravis is told with what to install."""
    monkeypatch.setitem(sys.modules, "gi", None)
    (tmp_path / f"_gi{EXTENSION_SUFFIXES[0]}").touch()
    source = "def require_version(name, version):\n    raise ValueError(f'{name} not available')\n"
    (tmp_path / "__init__.py").write_text(source)

    with pytest.raises(SourceError, match=r"\(Aravis not available\): `apt install"):
        load_aravis(tmp_path)


def test_only_camera_needs_no_name(only_built_in: Library) -> None:
    """Without a name the one camera there is is taken, grabbed from, and let go."""
    alone = device(trigger="software")

    alone.open()
    alone.trigger()
    capture, alive = alone.grab(5.0), alone.is_alive()
    assert alone._opened is not None
    opened = alone._opened.camera.weak_ref()
    alone.close()

    assert capture is not None
    assert capture.pixels is not None
    assert capture.pixels.shape == (512, 512)
    assert alive
    until(lambda: opened() is None, "Aravis has freed the camera")
    assert only_built_in.api.get_n_devices() == 1


def test_no_camera_is_missing(only_built_in: Library) -> None:
    """Where there is no camera at all, that is said."""
    only_built_in.api.disable_interface("Fake")

    with pytest.raises(CameraMissingError, match=r"device = '': no such camera; there is none"):
        device().open()


def test_several_cameras_must_be_told_apart(only_built_in: Library, camera: FakeGige) -> None:
    """Without a name and with several cameras none is taken; the message names them."""
    only_built_in.api.enable_interface("GigEVision")

    with pytest.raises(CameraSetupError, match="several cameras, name one of") as caught:
        device().open()

    assert "Fake_1 (0.0.0.0)" in str(caught.value)
    assert f"{camera.camera_id} ({ADDRESS})" in str(caught.value)


def test_camera_is_found_by_id(camera: FakeGige) -> None:
    """The id that Aravis lists opens the camera."""
    named = device(camera.camera_id, roi_px=(0, 0, 64, 48))

    named.open()
    capture = named.grab(5.0)
    named.close()

    assert capture is not None
    assert capture.fault == ""


@pytest.mark.parametrize("wanted", ["Aravis-Fake-T8", "127.0.0.2"])
def test_missing_camera_is_told_with_those_there(camera: FakeGige, wanted: str) -> None:
    """An id or address that nobody answers for is named beside those that answer."""
    with pytest.raises(CameraMissingError) as caught:
        device(wanted).open()

    assert f"device = {wanted!r}: no such camera; there is" in str(caught.value)
    assert f"{camera.camera_id} ({ADDRESS})" in str(caught.value)


class StubError(Exception):
    """Stands for ``GLib.Error``."""

    def __init__(self, message: str, code: int) -> None:
        """Carry what GLib's errors carry."""
        super().__init__(message)
        self.message, self.domain, self.code = message, DEVICE_ERROR, code


@pytest.mark.parametrize(
    ("said", "code", "error"),
    [
        ("Failed to claim USB interface to 'V-M-1': busy", 4, CameraBusyError),
        ("GigEVision write_register error (access-denied)", 12, CameraBusyError),
        ("GigEVision read_register timeout", 5, SourceError),
    ],
)
def test_refused_opening_is_told_apart(said: str, code: int, error: type[SourceError]) -> None:
    """A camera held by another program is busy, one that answers badly is lost.

    Aravis is a stub here: its fake cameras cannot be refused by USB or by a code.
    """

    def refuse(_device: str) -> None:
        raise StubError(said, code)

    kinds = SimpleNamespace(NOT_FOUND=6, PROTOCOL_ERROR_ACCESS_DENIED=12)
    api = SimpleNamespace(Camera=SimpleNamespace(new=refuse), DeviceError=kinds)

    with pytest.raises(SourceError) as caught:
        connect(Library(api, StubError), "192.0.2.9")

    assert type(caught.value) is error
    assert said in str(caught.value)
