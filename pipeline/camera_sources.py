"""From a ``[[camera]]`` section to the source that it describes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edge.sources import Source, SourceError
from edge.sources.aravis import AravisDevice
from edge.sources.basler import BaslerDevice
from edge.sources.folder import FolderSource
from edge.sources.genicam_settings import GenicamSettings
from edge.sources.hot_folder import HotFolderSource
from edge.sources.live import LiveSettings, LiveSource
from edge.sources.motion import MotionSettings
from edge.sources.opencv_camera import OpencvDevice, OpencvSettings
from edge.sources.pushed import PushedDevice
from edge.sources.synthetic import SyntheticSource
from edge.sources.video import VideoSource
from pipeline.config_camera import (
    AravisCamera,
    BaslerCamera,
    Camera,
    FolderCamera,
    LiveCamera,
    OpencvCamera,
    PushedCamera,
    SyntheticCamera,
    VideoCamera,
)

if TYPE_CHECKING:
    from edge.clock import Clock
    from edge.keys import LineKeys
    from edge.sources.device import Device


def open_source(camera: Camera, clock: Clock, keys: LineKeys | None = None) -> Source:
    """Open the source that a ``[[camera]]`` section describes.

    A recording must be there. A live camera is opened by a thread of its own,
    and again whenever it is lost, so that its absence is a state and no error.

    Raises:
        SourceError: A folder or file cannot be used, or a live camera's
            description is incomplete.
    """
    match camera:
        case FolderCamera(watch=True):
            return HotFolderSource(camera.path, after=camera.after)
        case FolderCamera():
            return FolderSource(camera.path, loop=camera.loop)
        case VideoCamera():
            return VideoSource(camera.path, loop=camera.loop)
        case SyntheticCamera():
            return SyntheticSource(
                camera.seed,
                frames=camera.frames,
                defect_rate=camera.defect_rate,
                pixel_format=camera.pixel_format,
            )
        case PushedCamera():
            device = make_device(camera, clock, keys)
            settings = LiveSettings("hardware", idle_s=camera.idle_s, comes_back=True)
            return LiveSource(device, settings, clock)
    settings = LiveSettings(
        camera.trigger,
        frame_timeout_s=camera.frame_timeout_s,
        idle_s=camera.idle_s,
        reopen_limit_s=camera.reopen_limit_s,
        latency_s=camera.latency_ms / 1000,
        stale_frames=camera.stale_frames,
        motion=_motion(camera),
    )
    return LiveSource(make_device(camera, clock, keys), settings, clock)


def make_device(camera: LiveCamera | PushedCamera, clock: Clock, keys: LineKeys | None) -> Device:
    """Return the device of a live camera, not opened yet.

    Raises:
        SourceError: The environment variable that holds its URL is not set.
    """
    match camera:
        case BaslerCamera():
            return BaslerDevice(_genicam(camera, camera.serial), clock)
        case AravisCamera():
            return AravisDevice(_genicam(camera, camera.device), clock)
        case OpencvCamera():
            return OpencvDevice(_opencv(camera), clock)
        case PushedCamera():
            return PushedDevice(camera.endpoint, clock, keys)
    msg = f"camera {camera.id}: {type(camera).__name__} is no device"
    raise SourceError(msg)


def crops_itself(camera: Camera) -> bool:
    """Tell whether ``roi_px`` is set in the camera; else ingest cuts it out."""
    return isinstance(camera, BaslerCamera | AravisCamera)


def _genicam(camera: BaslerCamera | AravisCamera, which: str) -> GenicamSettings:
    return GenicamSettings(
        camera=which,
        pixel_format=camera.pixel_format,
        exposure_us=camera.exposure_us,
        gain_db=camera.gain_db,
        fps=camera.fps,
        roi_px=camera.roi_px,
        trigger=camera.trigger,
        trigger_line=camera.trigger_line,
        trigger_edge=camera.trigger_edge,
        open_timeout_s=camera.open_timeout_s,
    )


def _opencv(camera: OpencvCamera) -> OpencvSettings:
    source = camera.source
    if camera.source_env:
        source = os.environ.get(camera.source_env, "")
        if not source:
            msg = f"camera {camera.id}: environment variable {camera.source_env} is not set"
            raise SourceError(msg)
    return OpencvSettings(
        source=source,
        width_px=camera.width_px,
        height_px=camera.height_px,
        fps=camera.fps,
        open_timeout_s=camera.open_timeout_s,
        read_timeout_s=camera.frame_timeout_s,
    )


def _motion(camera: LiveCamera) -> MotionSettings | None:
    if camera.trigger != "motion":
        return None
    return MotionSettings(
        camera.detect_zone_px,
        camera.detect_difference,
        camera.detect_share,
        camera.detect_longest_s,
    )
