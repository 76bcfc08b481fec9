"""Cameras that are recorded alone, each in a thread of its own: no scorer, gate or broker.

The recording is that of a line without ``line.jsonl`` and without windows, and its frames
are numbered from 1: the line's own counts are not touched.
"""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq

from edge.clock import SystemClock
from edge.errors import LineError
from edge.tape import Tape
from pipeline.camera_sources import open_source
from pipeline.config_file import ConfigError
from pipeline.ingest_stage import END_RECORD_S, ingest_settings
from pipeline.line_keys import line_keys
from pipeline.record_view import CameraProgress
from pipeline.recording_start import begin_recording, camera_index, only_cameras

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from edge.recorder import Recorder
    from edge.sockets import Context
    from pipeline.config import Config

LOOK_S = 0.1
LOSSES = ("corrupt", "dropped", "stale", "missed_trigger", "camera_lost")
"""Frames that were counted and have no pixels, by reason."""
ASKED_FOR = {"stopped", "finished", "taken"}
"""How a recording ends as it was meant to."""


@dataclass(frozen=True, slots=True)
class CameraRecorded:
    """What was written of one camera."""

    camera: str
    frames: int
    """Frames with their pixels."""
    left_out: int
    """Frames and lines that found no room."""
    lost: dict[str, int]
    """Frames without pixels, by reason."""
    used_bytes: int
    end: str
    """``stopped``, ``finished``, ``taken``; what ended the recording; or ``failed``."""
    error: str = ""
    """Why it failed."""

    @property
    def is_whole(self) -> bool:
        """Whether it was recorded for as long as it was meant to be."""
        return self.end in ASKED_FOR


def choose_cameras(config: Config, ids: Sequence[str]) -> Config:
    """Return the config of a line of these cameras alone; of all of them where none is named.

    Raises:
        ConfigError: No such camera, or one that only a gate could trigger.
    """
    chosen = only_cameras(config, ids) if ids else config
    for camera in chosen.camera:
        if camera.trigger == "software" and not camera.part_endpoint:
            msg = (
                f"camera {camera.id}: trigger = 'software' without part_endpoint: "
                "there is no gate that tells parts, so nothing would trigger it"
            )
            raise ConfigError(msg)
    return chosen


def record_cameras(
    config: Config,
    folder: Path,
    stop: Callable[[], bool],
    frames: int | None = None,
    look: Callable[[list[CameraProgress]], None] = lambda _: None,
) -> list[CameraRecorded]:
    """Record the cameras of a config until each of them has ended.

    Args:
        config: All its cameras are recorded.
        folder: The recording; new or empty.
        stop: Asked in several threads.
        frames: So many frames of each camera.
        look: Told ten times a second how far the cameras are.

    Raises:
        SourceError: A source cannot be opened.
        KeysError: The keys of the line cannot be read.
        RecordingError: The folder cannot be used.
        EndpointError: An endpoint for told parts cannot be bound.
    """
    clock, over = SystemClock(), threading.Event()
    keys = line_keys(config)
    with ExitStack() as stack:
        context: Context = stack.enter_context(zmq.Context())
        sources = []
        for camera in config.camera:
            sources.append(open_source(camera, clock, keys))
            stack.callback(sources[-1].close)
        begin_recording(config, folder, clock, windows=False)
        works = []
        for camera, source in zip(config.camera, sources, strict=True):
            recorder = camera_index(config, folder, camera.id, clock)
            stack.callback(recorder.close, END_RECORD_S)
            settings, boot = ingest_settings(config, camera), secrets.token_hex(8)
            tape = Tape(settings, source, boot, clock, context, recorder)
            stack.callback(tape.close)
            works.append(_Work(camera.id, tape, recorder))
        pool = stack.enter_context(ThreadPoolExecutor(len(works), "record"))
        stack.callback(over.set)
        runs = [pool.submit(work.run, lambda: stop() or over.is_set(), frames) for work in works]
        _watch(runs, works, look)
        return [run.result() for run in runs]


def _watch(
    runs: Sequence[Future[CameraRecorded]],
    works: Sequence[_Work],
    look: Callable[[list[CameraProgress]], None],
) -> None:
    while True:
        done = all(run.done() for run in runs)
        look([work.progress() for work in works])
        if done:
            return
        time.sleep(LOOK_S)


@dataclass(frozen=True, slots=True)
class _Work:
    """One camera, its tape and its writer."""

    camera: str
    tape: Tape
    recorder: Recorder

    def run(self, stop: Callable[[], bool], frames: int | None) -> CameraRecorded:
        """Record until the end, and write all that waits then."""
        end, error = "failed", ""
        try:
            end = self.tape.run(stop, frames)
        except LineError as fault:
            error = str(fault)
        self.recorder.close(END_RECORD_S)
        counts = self.tape.counts().model_dump()
        return CameraRecorded(
            camera=self.camera,
            frames=self.recorder.frames,
            left_out=self.recorder.left_out,
            lost={why: counts[why] for why in LOSSES if counts[why]},
            used_bytes=self.recorder.used_bytes,
            end=self.recorder.ended or end,
            error=error,
        )

    def progress(self) -> CameraProgress:
        """Return how far it is."""
        recorder = self.recorder
        return CameraProgress(
            self.camera, self.tape.state, recorder.frames, recorder.left_out, recorder.used_bytes
        )
