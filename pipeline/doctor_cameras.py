"""Checks of the cameras: there, free, set up, delivering, and fast enough.

A camera that the line holds is left alone. A recording is opened and its first
picture read; from a watched folder nothing is taken, since what is taken is
moved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edge.sources import (
    CameraBusyError,
    CameraMissingError,
    CameraSetupError,
    EndOfSourceError,
    PixelFormatError,
    SourceError,
)
from edge.sources.aravis_library import load_aravis
from edge.sources.basler_library import load_pylon
from pipeline.camera_sources import crops_itself, open_source
from pipeline.config_camera import (
    AravisCamera,
    BaslerCamera,
    FolderCamera,
    LiveCamera,
    OpencvCamera,
    PushedCamera,
)
from pipeline.doctor import Check, Finding, fail, ok, skipped, warn
from pipeline.doctor_disk import unwritable
from pipeline.doctor_rates import measure_free, measure_triggered
from pipeline.doctor_running import what_runs
from pipeline.line_keys import line_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.clock import Clock
    from edge.keys import LineKeys
    from edge.sources import Capture
    from edge.sources.device import Device
    from pipeline.config import Config
    from pipeline.config_camera import Camera
    from pipeline.config_geometry import Rectangle

    MakeDevice = Callable[[LiveCamera | PushedCamera, Clock, LineKeys | None], Device]

DRIVER, PRESENT, FREE, SETTINGS, PICTURE, RATE, TRIGGERED = (
    "camera.driver",
    "camera.present", "camera.free", "camera.settings", "camera.picture", "camera.rate",
    "camera.trigger_rate",
)  # fmt: skip
MS_PER_MINUTE = 60_000
WORK_S = 40.0
"""Beside the time to open: the first picture, the measurement, the closing."""
FIRST_TRIES = 3
HARDWARE_S = 1.0
"""How long a picture is waited for that only the belt can trigger."""


@dataclass(frozen=True, slots=True)
class _Look:
    """One live camera, and what is needed to look at it."""

    config: Config
    camera: LiveCamera
    roi_px: Rectangle | None
    """What is cut out of its pictures; None where it does that itself."""
    key: str
    """Where it stands in the config."""
    make_device: MakeDevice
    clock: Clock


def camera_checks(config: Config, make_device: MakeDevice, clock: Clock) -> list[Check]:
    """Return one check for each camera; it finds one thing after the other."""
    checks = []
    for number, camera in enumerate(config.camera):
        key = f"camera.{number}"
        limit_s = WORK_S
        if isinstance(camera, LiveCamera):
            roi_px = _cut_out(camera)
            look = partial(_live, _Look(config, camera, roi_px, key, make_device, clock))
            limit_s += 2 * camera.open_timeout_s + camera.frame_timeout_s
        elif isinstance(camera, PushedCamera):
            look = partial(_pushed, camera)
        elif isinstance(camera, FolderCamera) and camera.watch:
            look = partial(_watched, camera, key)
        else:
            look = partial(_recorded, camera, key, clock)
        silent = "Cut the camera's power for a moment, then run the doctor again."
        checks.append(Check(PRESENT, look, limit_s, camera.id, if_silent=silent))
    return checks


def _pushed(camera: PushedCamera) -> Iterator[Finding]:
    """Not bound: what the other program pushes meanwhile would be lost."""
    yield skipped(PRESENT, f"another program pushes its frames to {camera.endpoint}")


def _watched(camera: FolderCamera, key: str) -> Iterator[Finding]:
    if not camera.path.is_dir():
        yield fail(
            PRESENT, str(camera.path), "no such folder",
            f"Make the folder, or correct {key}.path.",
        )  # fmt: skip
        return
    why = unwritable(camera.path) if camera.after != "keep" else ""
    if why:
        yield fail(
            PRESENT, str(camera.path), f"files cannot be taken from it: {why}",
            f'Make it writable for this user, or set {key}.after = "keep".',
        )  # fmt: skip
        return
    yield ok(PRESENT, str(camera.path), "nothing is taken from it now")


def _recorded(camera: Camera, key: str, clock: Clock) -> Iterator[Finding]:
    try:
        source = open_source(camera, clock)
    except SourceError as error:
        remedy = f"Put the recording there, or correct {key}.path."
        yield fail(PRESENT, str(getattr(camera, "path", "")), str(error), remedy)
        return
    yield ok(PRESENT, f"{camera.kind} {getattr(camera, 'path', '')}".strip())
    try:
        capture = source.read()
    except (EndOfSourceError, SourceError) as error:
        yield fail(PICTURE, "", f"no picture: {error}", f"Correct {key}.path.")
        return
    finally:
        source.close()
    if capture is not None:
        yield _seen(capture, _cut_out(camera), key)


def _live(look: _Look) -> Iterator[Finding]:
    running = what_runs(look.config)
    if look.camera.id in running.cameras:
        yield skipped(PRESENT, f"{running.who}: the line holds the camera")
        return
    try:
        device = look.make_device(look.camera, look.clock, line_keys(look.config))
    except SourceError as error:
        yield fail(PRESENT, "", str(error), "Set this variable for the user that runs the line.")
        return
    try:
        opened = list(_open(look, device))
        yield from opened
        if all(found.verdict == "ok" for found in opened):
            yield from _deliver(look, device)
    finally:
        device.close()


def _open(look: _Look, device: Device) -> Iterator[Finding]:
    """Open the device; what went well before it failed is told, too."""
    there = ok(PRESENT, device.name)
    try:
        device.open()
    except CameraMissingError as error:
        yield fail(PRESENT, device.name, str(error), _missing_remedy(look))
    except CameraBusyError as error:
        yield there
        yield fail(FREE, device.name, str(error), _busy_remedy(look))
    except PixelFormatError as error:
        yield there
        yield ok(FREE, device.name)
        remedy = f"Set {look.key}.pixel_format to one of those that the message lists."
        yield fail(SETTINGS, "", str(error), remedy)
    except CameraSetupError as error:
        yield there
        yield ok(FREE, device.name)
        yield fail(SETTINGS, "", str(error), f"Correct in {look.key} what the message names.")
    except SourceError as error:
        yield _cannot(look, device, error)
    else:
        yield from (there, ok(FREE, device.name), ok(SETTINGS, "read back as set"))


def _cannot(look: _Look, device: Device, error: SourceError) -> Finding:
    """Return why a camera cannot be opened; without its library it is not the camera's fault."""
    install = ""
    try:
        match look.camera:
            case BaslerCamera():
                install = "pip install 'musc-edge[basler]'"
                load_pylon()
            case AravisCamera():
                install = "apt install gir1.2-aravis-0.8 python3-gi"
                load_aravis()
    except SourceError as missing:
        return fail(DRIVER, device.name, str(missing), f"Run `{install}`.")
    return fail(PRESENT, device.name, str(error), _missing_remedy(look))


def _missing_remedy(look: _Look) -> str:
    match look.camera:
        case BaslerCamera():
            return f"Connect the camera, or write its serial number into {look.key}.serial."
        case AravisCamera():
            return f"Connect the camera, or write what `arv-tool-0.8` lists in {look.key}.device."
        case OpencvCamera(source=source):
            name = "source" if source else "source_env"
            return f"Connect the camera, or correct {look.key}.{name}."
    return "Connect the camera."


def _busy_remedy(look: _Look) -> str:
    if isinstance(look.camera, OpencvCamera):
        source = look.camera.source
        node = f"/dev/video{source}" if source.isdecimal() else source
        return f"Close the program that holds the camera; `fuser -v {node}` shows it."
    return "Close the program that holds the camera, such as its maker's viewer or another line."


def _deliver(look: _Look, device: Device) -> Iterator[Finding]:
    camera = look.camera
    triggers = camera.trigger == "software" and device.can_trigger
    wait_s = HARDWARE_S if camera.trigger == "hardware" else camera.frame_timeout_s
    try:
        capture = _first(device, wait_s, FIRST_TRIES if triggers else 0)
        if capture is None:
            yield _nothing(look, device, wait_s)
            return
        seen = _seen(capture, look.roi_px, look.key)
        yield seen
        if seen.verdict == "ok" and camera.trigger != "hardware":
            yield _triggered(look, device) if triggers else _free(look, device)
    except SourceError as error:
        remedy = "Check cable and power of the camera, then run the doctor again."
        yield fail(PICTURE, device.name, str(error), remedy)


def _first(device: Device, wait_s: float, triggers: int) -> Capture | None:
    """Return the first picture, triggered more than once: just opened, a camera may miss one."""
    for _ in range(triggers):
        device.trigger()
        if (capture := device.grab(wait_s / triggers)) is not None:
            return capture
    return None if triggers else device.grab(wait_s)


def _nothing(look: _Look, device: Device, waited_s: float) -> Finding:
    """Return what it means that no picture came."""
    if look.camera.trigger == "hardware" and device.is_alive():
        return skipped(PICTURE, "it answers, and waits for its hardware trigger")
    return fail(
        PICTURE, f"none within {waited_s:g} s", "the camera was opened and delivers nothing",
        f"Check cable, network and trigger of the camera, or raise {look.key}.frame_timeout_s.",
    )  # fmt: skip


def _cut_out(camera: Camera) -> Rectangle | None:
    return None if crops_itself(camera) else camera.roi_px


def _seen(capture: Capture, roi: Rectangle | None, key: str) -> Finding:
    """Return what a first picture is like."""
    if capture.pixels is None:
        remedy = "Run the doctor again; if it stays so, check the file, or the camera's cable."
        return fail(PICTURE, "", f"not usable: {capture.fault}", remedy)
    height, width = capture.pixels.shape[:2]
    figure = f"{width} x {height} px, {capture.pixel_format}, {capture.bit_depth} bit"
    if roi is not None and (roi[0] + roi[2] > width or roi[1] + roi[3] > height):
        why = f"roi_px = {list(roi)} reaches beyond the picture"
        remedy = f"Set {key}.roi_px within {width} x {height}."
        return fail(PICTURE, figure, why, remedy)
    return ok(PICTURE, figure)


def _free(look: _Look, device: Device) -> Finding:
    needed = look.config.part.rate_per_minute
    rate = measure_free(device, look.clock, needed)
    figure = f"{rate.per_minute:.0f} pictures a minute"
    if needed is None:
        return ok(RATE, figure, "part.rate_per_minute is not set")
    figure += f", the line needs {needed:g}"
    if rate.per_minute < needed:
        return fail(
            RATE, figure, f"{rate.pictures} pictures came",
            f"Raise {look.key}.fps or shorten the exposure, or lower part.rate_per_minute to "
            f"{math.floor(rate.per_minute)}.",
        )  # fmt: skip
    interval_ms = look.camera.interval_ms
    if interval_ms * needed > MS_PER_MINUTE:
        return fail(
            RATE, figure, f"interval_ms = {interval_ms} lets fewer of them pass",
            f"Lower {look.key}.interval_ms to {math.floor(MS_PER_MINUTE / needed)}.",
        )  # fmt: skip
    if rate.failed:
        why = f"{rate.failed} of {rate.pictures + rate.failed} buffers failed"
        return warn(RATE, figure, why, "Check cable and bandwidth of the camera.")
    return ok(RATE, figure)


def _triggered(look: _Look, device: Device) -> Finding:
    needed = look.config.part.rate_per_minute
    rate = measure_triggered(device, look.clock, needed)
    figure = f"{rate.pictures} pictures of {rate.triggers} triggers at {rate.per_minute:.0f}/min"
    if rate.pictures >= rate.triggers:
        return ok(TRIGGERED, figure, "" if needed else "part.rate_per_minute is not set")
    slower = "" if rate.fault else f" to {max(1, math.floor(rate.managed_per_minute))}"
    return fail(
        TRIGGERED, figure, rate.fault or "the camera was not ready for the others",
        f"Shorten the exposure of {look.key}, or lower part.rate_per_minute{slower}.",
    )  # fmt: skip
