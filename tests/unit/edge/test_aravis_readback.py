"""A camera that does not do as it is told is refused, whatever it says.

The camera is a stub of the few calls of Aravis that a set-up makes: the fake
cameras keep what they are told, and answer always.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edge.sources import CameraBusyError, CameraSetupError, PixelFormatError, SourceError
from edge.sources.aravis_library import DEVICE_ERROR, Library
from edge.sources.aravis_setup import Setup
from edge.sources.genicam_settings import GenicamSettings


class StubError(Exception):
    """Stands for ``GLib.Error``."""

    def __init__(self, message: str, code: int, domain: str = DEVICE_ERROR) -> None:
        """Carry what GLib's errors carry."""
        super().__init__(message)
        self.message, self.domain, self.code = message, domain, code


class StubbornCamera:
    """Takes every value, and keeps its own; where ``fails`` is set it answers with that."""

    def __init__(self, **kept: str) -> None:
        """Keep these features, and others as they are after power-on."""
        self.fails: StubError | None = None
        self._kept = {"TriggerSource": "Line1", "TriggerMode": "On", "PixelFormat": "Mono8"} | kept

    def __getattr__(self, name: str) -> Any:
        """Answer what is not spelled out below: setters do nothing, questions are true."""
        return lambda *_: name.startswith("is_")

    def dup_available_pixel_formats_as_strings(self) -> list[str]:
        """Offer two, or fail."""
        if self.fails is not None:
            raise self.fails
        return ["Mono8", "Mono12"]

    def dup_available_trigger_sources(self) -> list[str]:
        """Offer what the settings ask for."""
        return ["Line1", "Software"]

    def dup_available_enumerations_as_strings(self, _feature: str) -> list[str]:
        """Offer both edges."""
        return ["RisingEdge", "FallingEdge"]

    def get_pixel_format_as_string(self) -> str:
        """Return the format it keeps."""
        return self._kept["PixelFormat"]

    def get_string(self, feature: str) -> str:
        """Return the value it keeps."""
        return self._kept.get(feature, "RisingEdge")

    def get_region(self) -> tuple[int, int, int, int]:
        """Return all of its sensor."""
        return (0, 0, 640, 480)

    def get_integer_bounds(self, _feature: str) -> tuple[int, int]:
        """Promise any value."""
        return (0, 640)

    def get_integer_increment(self, _feature: str) -> int:
        """Promise any value."""
        return 0

    def get_exposure_time_bounds(self) -> tuple[float, float]:
        """Promise any value."""
        return (1.0, 1e6)

    def get_exposure_time(self) -> float:
        """Return its own."""
        return 4000.0


def set_up(camera: StubbornCamera, **settings: Any) -> str:
    """Set a camera up, which must fail; return how it reads."""
    kinds = SimpleNamespace(TIMEOUT=5, NOT_CONTROLLER=10)
    api = SimpleNamespace(DeviceError=kinds, Auto=SimpleNamespace(OFF=0))
    setup = Setup(Library(api, StubError), camera, GenicamSettings(**settings), lambda: None)
    with pytest.raises(SourceError) as caught:
        setup.apply()
    return f"{type(caught.value).__name__}: {caught.value}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"pixel_format": "Mono12"},
            "PixelFormatError: pixel_format = 'Mono12': the camera keeps Mono8",
        ),
        (
            {"roi_px": (8, 8, 64, 64)},
            "roi_px = [8, 8, 64, 64]: the camera makes it [0, 0, 640, 480]",
        ),
        ({"exposure_us": 100.0}, "exposure_us = 100: the camera makes it 4000"),
        (
            {"trigger": "software"},
            "trigger_line: TriggerSource = Software was set, the camera keeps Line1",
        ),
        (
            {"trigger": "hardware", "trigger_edge": "falling"},
            "trigger_edge: TriggerActivation = FallingEdge was set, the camera keeps RisingEdge",
        ),
    ],
)
def test_what_is_kept_decides(settings: dict[str, Any], said: str) -> None:
    """A value that was taken and not kept is a refusal, with both values."""
    camera = StubbornCamera()

    failed = set_up(camera, **settings)

    assert said in failed
    assert failed.startswith((CameraSetupError.__name__, PixelFormatError.__name__))


def test_trigger_that_stays_off_is_refused() -> None:
    """A camera whose trigger mode cannot be switched on would run by its own clock."""
    camera = StubbornCamera(TriggerMode="Off", TriggerSource="Software")

    failed = set_up(camera, trigger="software")

    assert failed == "CameraSetupError: trigger: TriggerMode = On was set, the camera keeps Off"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (StubError("read timeout", 5), SourceError),
        (StubError("not controller", 10), CameraBusyError),
        (StubError("not an entry", 8, "arv-gc-error-quark"), CameraSetupError),
    ],
)
def test_errors_in_between_are_told_apart(error: StubError, expected: type[SourceError]) -> None:
    """A camera that went away, one that was taken, and one that refuses are three things."""
    camera = StubbornCamera()
    camera.fails = error

    failed = set_up(camera)

    assert failed == f"{expected.__name__}: pixel_format: {error.message}"
