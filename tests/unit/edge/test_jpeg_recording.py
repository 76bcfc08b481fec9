"""A frame that came as a JPEG file is recorded as that file, and is read to the same pixels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import recordings as made
from factories import BOOT, START, announcement, frame

from edge.frame import Frame, Jpeg
from edge.recorder import Recorder
from edge.recording import Recording
from edge.recording_files import RecordingError
from edge.sources.folder import decode_image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The index of c1 in a recording that is begun."""
    return made.begin(tmp_path) / "c1" / "index.jsonl"


def shot(seed: int) -> Jpeg:
    """Return a noisy colour picture as a camera's file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    content = cv2.imencode(".jpg", pixels)[1].tobytes()
    return Jpeg(content, decode_image(content))


def write(index: Path, *seqs: int, max_bytes: int = 10_000_000, **limits: int) -> Recorder:
    """Write frames of these numbers, each with its file, and wait until all is on the disk."""
    recorder = Recorder(index, max_bytes, lambda: START, **limits)
    for seq in seqs:
        jpeg = shot(seq)
        recorder.put_frame(Frame(announcement(seq), jpeg.pixels, "bgr", 8), jpeg)
    recorder.close(made.LIMIT_S)
    return recorder


def file_of(index: Path, seq: int) -> Path:
    """Return where a frame's file lies."""
    return index.parent / "frames" / BOOT / f"{seq}.jpg"


def frames_on_disk(index: Path) -> list[Path]:
    """Return every file of a frame, whole or not."""
    return [path for path in (index.parent / "frames").rglob("*") if path.is_file()]


def test_file_is_written_as_it_came(index: Path) -> None:
    """The recording has the camera's bytes, and a frame that is read has the line's pixels."""
    done = write(index, 1, 2)

    recording = Recording(index.parent.parent)
    for seq, recorded in enumerate(recording.frames("c1"), 1):
        assert file_of(index, seq).read_bytes() == shot(seq).content
        loaded = recorded.load()
        assert np.array_equal(loaded.pixels, shot(seq).pixels)
        assert (loaded.pixel_format, loaded.bit_depth) == ("bgr", 8)
    assert (done.frames, done.take_faults(), recording.problems) == (2, [], [])
    assert len(frames_on_disk(index)) == 2


def test_frame_with_other_pixels_is_encoded(index: Path) -> None:
    """A part of the picture, or a changed one, is written as what it is."""
    jpeg = shot(1)
    changed = [jpeg.pixels[2:9, 3:20], 255 - jpeg.pixels]
    recorder = Recorder(index, 10_000_000, lambda: START)
    for seq, pixels in enumerate(changed, 1):
        recorder.put_frame(Frame(announcement(seq), pixels, "bgr", 8), jpeg)
    recorder.close(made.LIMIT_S)

    assert {path.name for path in frames_on_disk(index)} == {"1.png", "2.png"}
    read = [recorded.load().pixels for recorded in Recording(index.parent.parent).frames("c1")]
    assert all(np.array_equal(*pair) for pair in zip(read, changed, strict=True))


def test_truncated_file_is_named(index: Path) -> None:
    """A file that lacks its end is found without reading it, though it may still decode."""
    write(index, 1, 2)
    os.truncate(file_of(index, 2), len(shot(2).content) - 2)

    recording = Recording(index.parent.parent)

    assert [(p.kind, p.where) for p in recording.problems] == [
        ("damaged_file", f"c1/frames/{BOOT}/2.jpg")
    ]
    with pytest.raises(RecordingError, match="CRC32"):
        recording.frames("c1")[1].load()


def test_other_picture_of_the_same_size_is_named(index: Path) -> None:
    """A whole JPEG that is not the one that was written is never taken for it."""
    write(index, 1)
    content = bytearray(shot(1).content)
    content[-200] ^= 0x10
    file_of(index, 1).write_bytes(content)

    recording = Recording(index.parent.parent)

    assert recording.problems == []
    found = [problem for problem in recording.verify() if problem]
    assert [(p.kind, p.where) for p in found] == [("damaged_file", f"c1/frames/{BOOT}/1.jpg")]


def test_another_decoder_is_noticed(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file is whole and decodes to other pixels, by one bit, that is said."""
    write(index, 1)
    decode = cv2.imdecode

    def another(content: np.ndarray, flags: int) -> np.ndarray:
        pixels = np.array(decode(content, flags))
        pixels[0, 0, 0] ^= 1
        return pixels

    monkeypatch.setattr(cv2, "imdecode", another)

    with pytest.raises(RecordingError, match=r"1\.jpg: OpenCV .* to other pixels than were"):
        Recording(index.parent.parent).frames("c1")[0].load()


def test_budget_counts_the_files(index: Path) -> None:
    """A process that goes on has the rest of the budget only; nothing is written beyond it."""
    used = write(index, 1, 2, 3).used_bytes
    there = [index, *frames_on_disk(index)]

    done = write(index, 4, max_bytes=used + 100)

    assert used < sum(path.stat().st_size for path in there) <= used + 200
    assert done.frames == 0
    assert [fault.detail["why"] for fault in done.take_faults()] == ["limit_reached"]
    assert len(frames_on_disk(index)) == 3


def test_disk_that_is_nearly_full_is_left_to_the_ledger(index: Path) -> None:
    """Below the space that is kept free no file is written."""
    done = write(index, 1, keep_free_bytes=2**62)

    assert [fault.detail["why"] for fault in done.take_faults()] == ["disk_low"]
    assert frames_on_disk(index) == []


def test_recording_of_an_older_program_is_read(index: Path) -> None:
    """A line that knows nothing of JPEG has the pixels that it had."""
    made.write(index, frame(1))
    new = index.read_text()
    old = new.replace(',"pixels_crc32":null', "")
    index.write_text(old)

    recording = Recording(index.parent.parent)

    assert old != new
    assert recording.problems == []
    assert np.array_equal(recording.frames("c1")[0].load().pixels, frame(1).pixels)
