"""A recording is begun: its folder, the windows that a scorer starts from, its writers.

Begun once, before any process of the line runs, in a folder that is new or empty: two runs
in one recording could not be told apart. Gate and cameras then write an index each, and go
on with it when they are restarted.
"""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING, Any

from edge.recorder import Recorder
from edge.recording_files import RecordingError, write_head
from edge.recording_lines import FRAMES_FOLDER, INDEX_FILE, LINE_FILE, WINDOWS_FOLDER, Head
from edge.sources.stream_url import is_url, shown_url
from pipeline.config_file import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from pathlib import Path

    from edge.clock import Clock
    from pipeline.config import Config

log = logging.getLogger(__name__)

LINE_SHARE = 20
"""The gate's index gets one part in so many of the budget; its lines have some hundred bytes."""
TAKEN_NAMES = {WINDOWS_FOLDER, FRAMES_FOLDER}


def begin_recording(config: Config, folder: Path, clock: Clock, *, windows: bool = True) -> None:
    """Make the folder, and put into it what the line starts from.

    Args:
        config: Of the cameras that are recorded.
        folder: New or empty.
        clock: Says when it began.
        windows: Whether a scorer starts, from the windows of the state folder.

    Raises:
        RecordingError: The folder is not empty or not writable, or a camera has the
            name of another part of a recording.
    """
    taken = sorted(camera.id for camera in config.camera if camera.id in TAKEN_NAMES)
    if taken:
        msg = f"camera {taken[0]}: a recording has a folder of this name; give it another id"
        raise RecordingError(msg)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            msg = f"{folder}: not empty; a recording needs a folder of its own"
            raise RecordingError(msg)
        kept = config.line.state_path / WINDOWS_FOLDER
        if windows and kept.is_dir():
            shutil.copytree(kept, folder / WINDOWS_FOLDER)
        write_head(folder, recording_head(config, clock.now()))
    except OSError as error:
        # copytree gathers the errors of its files in one without a text of its own.
        msg = f"{folder}: {error.strerror or error}"
        raise RecordingError(msg) from error
    log.info("recording into %s, at most %d bytes", folder, config.record.max_bytes)


def camera_index(config: Config, folder: Path, camera: str, clock: Clock) -> Recorder:
    """Return what writes a camera's part.

    Raises:
        RecordingError: It cannot be written.
    """
    whole = config.record.max_bytes
    share = (whole - whole // LINE_SHARE) // len(config.camera)
    return Recorder(folder / camera / INDEX_FILE, share, clock.now)


def line_index(config: Config, folder: Path, clock: Clock) -> Recorder:
    """Return what writes the gate's part.

    Raises:
        RecordingError: It cannot be written.
    """
    return Recorder(folder / LINE_FILE, config.record.max_bytes // LINE_SHARE, clock.now)


def only_cameras(config: Config, ids: Collection[str]) -> Config:
    """Return the config of a line that has these cameras alone.

    Raises:
        ConfigError: No such camera.
    """
    there = [camera.id for camera in config.camera]
    unknown = sorted(set(ids) - set(there))
    if unknown:
        msg = f"camera {unknown[0]!r}: not in the config; there are {', '.join(there)}"
        raise ConfigError(msg)
    views = [view for view in config.part.views if view in ids]
    return config.model_copy(
        update={
            "camera": [camera for camera in config.camera if camera.id in ids],
            "part": config.part.model_copy(update={"views": views}),
        }
    )


def recording_head(config: Config, begins_at: datetime, *, excerpt: bool = False) -> Head:
    """Return what is said of a recording: the cameras of the config, and no secret of it."""
    return Head(
        created_at=begins_at,
        cameras=tuple(camera.id for camera in config.camera),
        config=_without_secrets(config),
        config_digest=config.digest,
        excerpt=excerpt,
    )


def _without_secrets(config: Config) -> dict[str, Any]:
    """Return the config as JSON; a camera's URL may hold a password, though it should not."""
    whole = config.model_dump(mode="json")
    for camera in whole["camera"]:
        if is_url(camera.get("source", "")):
            camera["source"] = shown_url(camera["source"])
    return whole
