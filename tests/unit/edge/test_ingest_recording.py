"""Ingest records every notice and every frame, once, and tells what could not be recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
import recordings as made
from factories import START
from ingest_rig import BOOT, Rig, good, only

from edge.camera import CameraChecks
from edge.frame import Jpeg
from edge.recorder import Recorder
from edge.recording import Recording
from edge.sources import CameraEvent
from edge.wire import Happened, decode_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MakeRig: TypeAlias = "Callable[..., Rig]"


def recorder(folder: Path, **limits: int) -> Recorder:
    """Return what writes c1 of a recording that is begun."""
    index = made.begin(folder) / "c1" / "index.jsonl"
    return Recorder(index, limits.pop("max_bytes", 10_000_000), lambda: START, **limits)


def test_each_notice_and_frame_is_recorded_once(rig: MakeRig, tmp_path: Path) -> None:
    """Start, announcements, pixels, drops and events are there, however often notices are sent."""
    writer = recorder(tmp_path)
    line = rig(good(1), good(2), good(3), queue_frames=2, recorder=writer)
    line.source.events = [CameraEvent("clock_step", {"step_s": 1.0})]

    line.steps(4)
    line.clock.advance_ms(2_000)
    line.steps(2)
    writer.close(made.LIMIT_S)

    recording = Recording(tmp_path)
    frames = recording.frames("c1")
    assert [frame.key.seq for frame in frames] == [1, 2, 3]
    assert [frame.load().pixels[0, 0] for frame in frames] == [1, 2, 3]
    assert [frame.lost.why if frame.lost else None for frame in frames] == ["dropped", None, None]
    kinds = [note.kind for note in recording.indexes["c1"]]
    assert sorted(kinds) == sorted(["begins", "happened", "lost", *["announced", "frame"] * 3])
    assert kinds[0] == "begins"
    assert recording.problems == []


def test_frame_without_usable_pixels_is_recorded_as_lost(rig: MakeRig, tmp_path: Path) -> None:
    """A corrupt picture has its notice and no pixels, as the scorer never sees any."""
    writer = recorder(tmp_path)
    line = rig(good(fault="cut short"), recorder=writer)

    line.steps(2)
    writer.close(made.LIMIT_S)

    (frame,) = Recording(tmp_path).frames("c1")
    assert frame.lost is not None
    assert frame.lost.why == "corrupt"
    assert frame.stored is None


def test_pixels_are_those_that_the_scorer_gets(rig: MakeRig, tmp_path: Path) -> None:
    """A frame that ingest crops is recorded cropped, with its place on the sensor."""
    writer = recorder(tmp_path)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    line = rig(good(pixels=pixels), checks=CameraChecks(roi_px=(2, 1, 4, 3)), recorder=writer)
    line.meet_scorer()
    line.grant(0, 1)

    line.steps(2)
    writer.close(made.LIMIT_S)

    (sent,) = line.scorer.frames()
    loaded = Recording(tmp_path).frames("c1")[0].load()
    assert np.array_equal(loaded.pixels, sent.pixels)
    assert loaded.offset_px == sent.offset_px == (2, 1)
    assert loaded.announcement == sent.announcement


def test_file_of_the_camera_goes_to_the_recording_alone(rig: MakeRig, tmp_path: Path) -> None:
    """A picture that came as a JPEG is recorded as it came; the scorer gets pixels, as ever."""
    writer = recorder(tmp_path)
    content = cv2.imencode(".jpg", np.arange(64, dtype=np.uint8).reshape(8, 8))[1]
    pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    jpeg = Jpeg(content.tobytes(), pixels)
    line = rig(good(pixels=pixels, jpeg=jpeg), good(pixels=pixels), recorder=writer)
    line.meet_scorer()
    line.grant(0, 2)

    line.steps(4)
    writer.close(made.LIMIT_S)

    messages = [message for message in line.scorer.take() if len(message) == 2]
    files = sorted(tmp_path.rglob("[12].*"))
    assert [path.name for path in files] == ["1.jpg", "2.png"]
    assert files[0].read_bytes() == jpeg.content
    assert [len(body) for _, body in messages] == [pixels.nbytes] * 2
    assert len({len(head) for head, _ in messages}) == 1
    for frame, message in zip(Recording(tmp_path).frames("c1"), messages, strict=True):
        loaded, sent = frame.load(), decode_frame(message)
        assert np.array_equal(loaded.pixels, sent.pixels)
        assert loaded.announcement == sent.announcement


def test_fault_of_the_recording_is_told_to_the_gate(rig: MakeRig, tmp_path: Path) -> None:
    """A recording that ended is one event for the ledger, and frames go on."""
    writer = recorder(tmp_path, keep_free_bytes=2**62)
    line = rig(*[good(number) for number in range(6)], recorder=writer)

    line.steps(1)
    writer.close(made.LIMIT_S)
    line.clock.advance_ms(300)
    line.steps(5)

    told = only(Happened, line.gate.notes())
    assert [(note.event, note.detail["why"]) for note in told] == [("recording_full", "disk_low")]
    assert {note.boot for note in told} == {BOOT}
    assert line.source.reads == 6
