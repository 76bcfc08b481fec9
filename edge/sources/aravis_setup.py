"""How an Aravis camera is set up: each feature set, read back and compared.

Aravis itself checks nothing before it writes to a camera, and cameras answer
some values with others; what a camera makes of a setting decides. Settings that
are None are left as they are. The order matters: the pixel format limits the
region, and both, the exposure and a trigger limit the frame rate.

Source: EMVA, GenICam Standard Features Naming Convention (SFNC).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from edge.sources import CameraBusyError, CameraSetupError, PixelFormatError, SourceError
from edge.sources.genicam_settings import EDGES, TRIGGERED
from edge.sources.pixel_formats import BIT_DEPTHS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.sources.aravis_library import GObject, Library
    from edge.sources.genicam_settings import GenicamSettings

TOLERANCE = 0.05
"""Cameras round to their own steps; what differs by more than this share was refused."""
TOLERANCE_LEAST = 0.1
"""In the setting's own unit: a gain of 0.3 dB has coarse steps."""
GAINS_IN_DB = ("Gain", "GainAbs")
"""SFNC's name of today and of its first version; GainRaw counts steps of the camera's own."""


class Shape(NamedTuple):
    """What the camera said it will send."""

    pixel_format: str
    pixel_code: int
    """The same as the number that each buffer bears."""
    offset_px: tuple[int, int]
    """Sensor column and row of the first pixel."""


class Setup:
    """Applies settings to one open camera."""

    def __init__(
        self,
        library: Library,
        camera: GObject,
        settings: GenicamSettings,
        check_time: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            library: Aravis.
            camera: An ``Aravis.Camera`` that this process controls.
            settings: What is wanted.
            check_time: Called before each step; raises once it has taken too long.
        """
        self._library = library
        self._camera = camera
        self._settings = settings
        self._check_time = check_time

    def apply(self) -> Shape:
        """Set everything up; return what will come.

        Raises:
            PixelFormatError: The camera does not offer the pixel format.
            CameraSetupError: It refuses a setting.
            CameraBusyError: It obeys another program.
            SourceError: It does not answer, or not in time.
        """
        steps = {
            "pixel_format": self._set_pixel_format,
            "roi_px": self._set_region,
            "exposure_us": self._set_exposure,
            "gain_db": self._set_gain,
            "trigger": self._set_trigger,
            "fps": self._set_fps,
        }
        for name, step in steps.items():
            self._check_time()
            with self._asking(name):
                step()
        self._check_time()
        with self._asking("start"):
            self._camera.set_acquisition_mode(self._library.api.AcquisitionMode.CONTINUOUS)
            x, y, *_ = self._camera.get_region()
            return Shape(self._settings.pixel_format, int(self._camera.get_pixel_format()), (x, y))

    def _set_pixel_format(self) -> None:
        wanted = self._settings.pixel_format
        offered = list(self._camera.dup_available_pixel_formats_as_strings())
        if wanted not in offered or wanted not in BIT_DEPTHS:
            usable = ", ".join(name for name in offered if name in BIT_DEPTHS)
            others = ", ".join(name for name in offered if name not in BIT_DEPTHS) or "none"
            msg = f"pixel_format = {wanted!r}: the camera offers {usable}; not usable: {others}"
            raise PixelFormatError(msg)
        self._camera.set_pixel_format_from_string(wanted)
        given = self._camera.get_pixel_format_as_string()
        if given != wanted:
            msg = f"pixel_format = {wanted!r}: the camera keeps {given}; it offers {offered}"
            raise PixelFormatError(msg)

    def _set_region(self) -> None:
        if self._settings.roi_px is None:
            return
        x, y, width, height = self._settings.roi_px
        has_offsets = self._camera.is_region_offset_available()
        if has_offsets:
            # A region may be as large as the sensor only where it begins at the origin.
            self._camera.set_integer("OffsetX", 0)
            self._camera.set_integer("OffsetY", 0)
        self._set_integer("Width", width)
        self._set_integer("Height", height)
        if has_offsets:
            self._set_integer("OffsetX", x)
            self._set_integer("OffsetY", y)
        given = tuple(self._camera.get_region())
        if given != self._settings.roi_px:
            msg = f"roi_px = {list(self._settings.roi_px)}: the camera makes it {list(given)}"
            raise CameraSetupError(msg)

    def _set_integer(self, feature: str, value: int) -> None:
        least, most = self._camera.get_integer_bounds(feature)
        step = max(1, self._camera.get_integer_increment(feature))
        if not least <= value <= most or (value - least) % step:
            msg = (
                f"roi_px = {list(self._settings.roi_px or ())}: {feature} = {value},"
                f" the camera takes {least} to {most} in steps of {step}"
            )
            raise CameraSetupError(msg)
        self._camera.set_integer(feature, value)

    def _set_exposure(self) -> None:
        wanted, camera = self._settings.exposure_us, self._camera
        if wanted is None:
            return
        if camera.is_exposure_auto_available():
            camera.set_exposure_time_auto(self._library.api.Auto.OFF)
        self._check_range("exposure_us", wanted, *camera.get_exposure_time_bounds())
        camera.set_exposure_time(wanted)
        self._compare("exposure_us", wanted, camera.get_exposure_time())

    def _set_gain(self) -> None:
        wanted, camera = self._settings.gain_db, self._camera
        if wanted is None:
            return
        feature = next((one for one in GAINS_IN_DB if camera.is_feature_available(one)), None)
        if feature is None:
            msg = f"gain_db = {wanted:.9g}: the camera has no gain in dB"
            raise CameraSetupError(msg)
        if camera.is_gain_auto_available():
            camera.set_gain_auto(self._library.api.Auto.OFF)
        self._check_range("gain_db", wanted, *camera.get_float_bounds(feature))
        camera.set_float(feature, wanted)
        self._compare("gain_db", wanted, camera.get_float(feature))

    def _set_fps(self) -> None:
        wanted, camera = self._settings.fps, self._camera
        if wanted is None or self._settings.trigger in TRIGGERED:
            return
        if not camera.is_frame_rate_available():
            msg = f"fps = {wanted:.9g}: the camera's frame rate cannot be set"
            raise CameraSetupError(msg)
        self._check_range("fps", wanted, *camera.get_frame_rate_bounds())
        camera.set_frame_rate(wanted)
        self._compare("fps", wanted, camera.get_frame_rate())

    def _set_trigger(self) -> None:
        settings, camera = self._settings, self._camera
        if settings.trigger not in TRIGGERED:
            if camera.is_feature_available("TriggerSelector"):
                camera.clear_triggers()
            return
        source = settings.trigger_line if settings.trigger == "hardware" else "Software"
        offered = list(camera.dup_available_trigger_sources())
        self._choose("trigger_line", source, offered, camera.set_trigger)
        if settings.trigger == "hardware":
            offered = list(camera.dup_available_enumerations_as_strings("TriggerActivation"))
            self._choose(
                "trigger_edge",
                EDGES[settings.trigger_edge],
                offered,
                lambda edge: camera.set_string("TriggerActivation", edge),
            )
            self._same("trigger_edge", EDGES[settings.trigger_edge], "TriggerActivation")
        self._same("trigger_line", source, "TriggerSource")
        self._same("trigger", "On", "TriggerMode")

    def _choose(
        self, key: str, wanted: str, offered: list[str], choose: Callable[[str], None]
    ) -> None:
        if wanted not in offered:
            msg = f"{key} = {wanted!r}: the camera offers {', '.join(offered) or 'none'}"
            raise CameraSetupError(msg)
        choose(wanted)

    def _same(self, key: str, wanted: str, feature: str) -> None:
        given = self._camera.get_string(feature)
        if given != wanted:
            msg = f"{key}: {feature} = {wanted} was set, the camera keeps {given}"
            raise CameraSetupError(msg)

    def _check_range(self, key: str, wanted: float, least: float, most: float) -> None:
        if not least <= wanted <= most:
            msg = f"{key} = {wanted:.9g}: the camera takes {least:.9g} to {most:.9g}"
            raise CameraSetupError(msg)

    def _compare(self, key: str, wanted: float, given: float) -> None:
        if abs(given - wanted) > max(TOLERANCE * wanted, TOLERANCE_LEAST):
            msg = f"{key} = {wanted:.9g}: the camera makes it {given:.9g}"
            raise CameraSetupError(msg)

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        """Say which setting it was that the camera answered with an error."""
        try:
            yield
        except self._library.error as error:
            msg = f"{key}: {getattr(error, 'message', error)}"
            if self._library.is_device_error(error, "NOT_CONTROLLER"):
                raise CameraBusyError(msg) from error
            if self._library.is_device_error(error, "TIMEOUT", "TRANSFER_ERROR", "NOT_CONNECTED"):
                raise SourceError(msg) from error
            raise CameraSetupError(msg) from error
