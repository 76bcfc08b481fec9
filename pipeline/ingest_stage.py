"""The ingest process: one camera of the config, wired to gate and scorer."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import zmq

from edge.camera import CameraChecks
from edge.clock import SystemClock
from edge.counter import DurableCounter
from edge.ingest import Ingest, IngestSettings
from edge.stopping import announce_ready, stage_stop_flag
from pipeline.camera_sources import crops_itself, open_source
from pipeline.config_camera import FolderCamera, VideoCamera
from pipeline.config_file import ConfigError
from pipeline.line_keys import line_keys
from pipeline.recording_start import camera_index

if TYPE_CHECKING:
    from pathlib import Path

    from edge.sockets import Context
    from pipeline.config import Config
    from pipeline.config_camera import Camera

DRAIN_DEADLINES = 2
"""A finished source waits this many part deadlines for frames that are still out."""
STOP_RECORD_S, END_RECORD_S = 0.1, 30.0
"""How long the recording may go on: a line that is told to stop gives its cameras 1.4 s."""


def check_sources(config: Config) -> None:
    """Look at every recording, before a line is started for it; live cameras may come later.

    Raises:
        SourceError: A folder or file is missing, or holds no image.
    """
    for camera in config.camera:
        if isinstance(camera, FolderCamera | VideoCamera):
            open_source(camera, SystemClock()).close()


def ingest_settings(config: Config, camera: Camera) -> IngestSettings:
    """Return what ingest needs to know about one camera of the config.

    Raises:
        KeysError: The keys of the line cannot be read.
    """
    return IngestSettings(
        camera=camera.id,
        gate_endpoint=config.endpoint("notices"),
        scorer_endpoint=config.endpoint("frames"),
        policy=config.transport.policy,
        queue_frames=config.transport.queue_frames,
        interval_ms=camera.interval_ms,
        drain_s=DRAIN_DEADLINES * config.part.deadline_ms / 1000,
        part_policy=camera.part_id,
        part_endpoint=camera.part_endpoint,
        # A picture that comes after its part's deadline could not be judged in time.
        part_wait_ms=config.part.deadline_ms,
        told_is_trigger=camera.trigger == "software",
        checks=CameraChecks(
            stale_frames=camera.stale_frames,
            roi_px=None if crops_itself(camera) else camera.roi_px,
        ),
        keys=line_keys(config),
    )


def run_ingest(
    config: Config, camera_id: str, *, supervised: bool, record: Path | None = None
) -> None:
    """Run one camera until its source is finished or it is told to stop.

    ``record`` is the folder of a recording that was begun.

    Raises:
        ConfigError: No such camera.
        SourceError: The source cannot be opened.
        CounterError: The counter is not writable.
        KeysError: The keys of the line cannot be read.
        EndpointError: An endpoint cannot be used.
        RecordingError: The recording cannot be written.
    """
    cameras = {camera.id: camera for camera in config.camera}
    if camera_id not in cameras:
        msg = f"camera {camera_id!r}: not in the config; there are {', '.join(cameras)}"
        raise ConfigError(msg)
    camera = cameras[camera_id]
    stop = stage_stop_flag(supervised=supervised)
    settings = ingest_settings(config, camera)
    clock = SystemClock()
    counter = DurableCounter(config.counter_path(camera.id))
    source = open_source(camera, clock, settings.keys)
    context: Context = zmq.Context()
    boot = secrets.token_hex(8)
    recorder = camera_index(config, record, camera.id, clock) if record else None
    ingest = Ingest(settings, source, counter, boot, clock, context, recorder)
    announce_ready(supervised=supervised)
    try:
        ingest.run(stop.is_set)
    finally:
        ingest.close()
        if recorder is not None:
            recorder.close(STOP_RECORD_S if stop.is_set() else END_RECORD_S)
        context.term()
