"""How a Basler camera is set up: everything set by name, read back and compared.

The order matters: the pixel format limits the region, and both, the exposure and
a trigger limit the frame rate. Settings that are None are left as they are.

Source: EMVA, GenICam Standard Features Naming Convention (SFNC), 1.5 and 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.sources import PixelFormatError
from edge.sources.genicam_settings import EDGES, TRIGGERED
from edge.sources.pixel_formats import BIT_DEPTHS

if TYPE_CHECKING:
    from edge.sources.basler_nodes import Nodes
    from edge.sources.genicam_settings import GenicamSettings

HEARTBEAT_MS = 3000
"""A GigE camera whose program died is free again after this."""
OLD_NAMES = {"RGB8": "RGB8Packed", "BGR8": "BGR8Packed"}
"""What cameras before SFNC 2 call the same bytes."""


def set_up(nodes: Nodes, link: Nodes, settings: GenicamSettings) -> int:
    """Set everything up.

    Args:
        nodes: The camera's.
        link: Those of its connection.
        settings: What is wanted.

    Returns:
        PFNC's number of the pixel format, which every buffer must have.

    Raises:
        PixelFormatError: The camera does not offer the pixel format.
        CameraSetupError: It refuses a setting, or keeps another value.
    """
    # A matter of comfort: without it the camera's own time stays.
    link.try_number(HEARTBEAT_MS, "HeartbeatTimeout")
    nodes.try_number(HEARTBEAT_MS, "GevHeartbeatTimeout")
    pixel_type = _set_pixel_format(nodes, settings.pixel_format)
    _set_roi(nodes, settings.roi_px)
    _set_exposure(nodes, settings)
    _set_trigger(nodes, settings)
    _set_rate(nodes, settings)
    return pixel_type


def _set_pixel_format(nodes: Nodes, wanted: str) -> int:
    node = nodes.find("PixelFormat")
    offered = [] if node is None else nodes.offered(node)
    name = next((one for one in (wanted, OLD_NAMES.get(wanted)) if one in offered), None)
    if node is None or name is None:
        known = [one for one in BIT_DEPTHS if one in offered or OLD_NAMES.get(one) in offered]
        others = ", ".join(one for one in offered if one not in known) or "none"
        usable = ", ".join(known) or "none"
        msg = f"pixel_format = {wanted}: the camera offers {usable}; not usable: {others}"
        raise PixelFormatError(msg)
    nodes.choose("pixel_format", name, "PixelFormat")
    return int(node.GetIntValue())


def _set_roi(nodes: Nodes, roi_px: tuple[int, int, int, int] | None) -> None:
    """Set the region of the sensor; as an offset limits the size, it is taken back first."""
    if roi_px is None:
        return
    x, y, width, height = roi_px
    for name, value in (
        ("OffsetX", 0), ("OffsetY", 0), ("Width", width), ("Height", height),
        ("OffsetX", x), ("OffsetY", y),
    ):  # fmt: skip
        nodes.set_number(f"roi_px = {list(roi_px)}: {name}", value, name)


def _set_exposure(nodes: Nodes, settings: GenicamSettings) -> None:
    """Set exposure and gain.

    ``GainRaw`` of older cameras is not in dB, each model has a formula of its own: it is left.
    """
    if settings.exposure_us is not None:
        _stop_automatic(nodes, "ExposureAuto")
        nodes.set_number(
            "exposure_us", float(settings.exposure_us), "ExposureTime", "ExposureTimeAbs"
        )
    if settings.gain_db is not None:
        _stop_automatic(nodes, "GainAuto")
        nodes.set_number("gain_db", float(settings.gain_db), "Gain", "GainAbs")


def _stop_automatic(nodes: Nodes, name: str) -> None:
    """Keep the camera from changing by itself what is about to be set."""
    if nodes.settable(name) is not None:
        nodes.choose(name, "Off", name)


def _set_trigger(nodes: Nodes, settings: GenicamSettings) -> None:
    """Let one trigger, or none, start a picture; every other kind of trigger is off."""
    selector = nodes.settable("TriggerSelector")
    for kind in [] if selector is None else nodes.offered(selector):
        nodes.choose("trigger", kind, "TriggerSelector")
        if nodes.settable("TriggerMode") is not None:
            nodes.choose("trigger", "Off", "TriggerMode")
    if settings.trigger not in TRIGGERED:
        return
    nodes.choose("trigger", "FrameStart", "TriggerSelector")
    if settings.trigger == "software":
        nodes.choose("trigger", "Software", "TriggerSource")
    else:
        nodes.choose("trigger_line", settings.trigger_line, "TriggerSource")
        nodes.choose("trigger_edge", EDGES[settings.trigger_edge], "TriggerActivation")
    nodes.choose("trigger", "On", "TriggerMode")


def _set_rate(nodes: Nodes, settings: GenicamSettings) -> None:
    if settings.trigger in TRIGGERED:
        # A rate left in the camera would make it ignore triggers that follow faster.
        nodes.switch("fps", "AcquisitionFrameRateEnable", on=False)
    elif settings.fps is not None:
        nodes.switch("fps", "AcquisitionFrameRateEnable", on=True)
        rate = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
        nodes.set_number("fps", float(settings.fps), *rate)
