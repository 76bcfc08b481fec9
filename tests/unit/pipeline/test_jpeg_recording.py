"""JPEG files of a folder are recorded as they are, and replay to what their pixels replay to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from factories import config
from replay_rig import SETTINGS, fake_scorer, part, replayed, rows

from edge.recording import Recording
from edge.sources.folder import decode_image
from pipeline.camera_recording import record_cameras
from pipeline.replay_sources import ReplayError
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from pathlib import Path

    from edge.recording import RecordedFrame

PARTS = 24
TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
"""A TIFF header and one entry: orientation 6, to be turned by a quarter for a viewer."""


def jpeg(pixels: np.ndarray, *options: int) -> bytes:
    """Return the file of a picture."""
    done, content = cv2.imencode(".jpg", pixels, options)
    assert done
    return content.tobytes()


def turned(content: bytes) -> bytes:
    """Put the note that it is to be turned into a file."""
    return content[:2] + b"\xff\xe1" + (len(TURNED) + 2).to_bytes(2, "big") + TURNED + content[2:]


def colour(seed: int) -> np.ndarray:
    """Return a part in colour, wider than high."""
    grey = part(seed)
    return np.dstack([grey, 255 - grey, grey // 2])[:20]


KINDS: dict[str, bytes] = {
    "grey": jpeg(part(1)),
    "colour": jpeg(colour(2)),
    "progressive": jpeg(colour(3), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "turned": turned(jpeg(colour(4))),
    "with-more-after-its-end": jpeg(part(5)) + b"a preview",
}


def record(folder: Path, pictures: dict[str, bytes], **camera: Any) -> Path:
    """Record a folder of these files as c1; return the recording."""
    (folder / "pictures").mkdir(parents=True)
    for name, content in pictures.items():
        (folder / "pictures" / name).write_bytes(content)
    source = {"id": "c1", "kind": "folder", "path": str(folder / "pictures"), "interval_ms": 1}
    settings = config(
        camera=[source | camera], line={"state_path": str(folder / "state")}, **SETTINGS
    )
    (done,) = record_cameras(settings, folder / "rec", lambda: False, frames=len(pictures))
    assert (done.frames, done.left_out) == (len(pictures), 0)
    return folder / "rec"


def stored(recording: Path) -> list[tuple[RecordedFrame, str, bytes]]:
    """Return each frame with the file's name that it came from, and the file that it has now."""
    found = []
    for frame in Recording(recording).frames("c1"):
        assert frame.announcement is not None
        assert frame.stored is not None
        content = (recording / "c1" / frame.stored.file).read_bytes()
        found.append((frame, frame.announcement.origin, content))
    return found


@pytest.mark.parametrize("watch", [False, True], ids=["folder", "watched"])
def test_files_are_recorded_as_they_came(tmp_path: Path, *, watch: bool) -> None:
    """Grey, colour, progressive, with a note to turn it: byte for byte, to the line's pixels."""
    pictures = {f"{name}.jpg": content for name, content in KINDS.items()}

    recording = record(tmp_path, pictures, watch=watch)

    found = stored(recording)
    assert {name for _, name, _ in found} == set(pictures)
    for frame, name, content in found:
        assert content == pictures[name]
        pixels = decode_image(pictures[name])
        assert np.array_equal(frame.load().pixels, pixels)
        assert frame.stored is not None
        assert frame.stored.file.endswith(".jpg")
    assert Recording(recording).problems == []


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    """A JPEG under another name is one, a PNG under the name of a JPEG is none."""
    png = cv2.imencode(".png", part(1), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()

    recording = record(tmp_path, {"jpeg.bmp": KINDS["grey"], "png.jpg": png})

    kinds = {name: frame.stored and frame.stored.file[-4:] for frame, name, _ in stored(recording)}
    assert kinds == {"jpeg.bmp": ".jpg", "png.jpg": ".png"}
    assert [problem for problem in Recording(recording).verify() if problem] == []


def test_cropped_frame_is_no_file_of_its_camera(tmp_path: Path) -> None:
    """What ingest cuts out of a JPEG is recorded as it was cut, without loss."""
    recording = record(tmp_path, {"1.jpg": KINDS["colour"]}, roi_px=[3, 2, 16, 14])

    ((frame, _, _),) = stored(recording)
    loaded = frame.load()
    assert frame.stored is not None
    assert frame.stored.file.endswith(".png")
    assert np.array_equal(loaded.pixels, decode_image(KINDS["colour"])[2:16, 3:19])
    assert loaded.offset_px == (3, 2)


@pytest.mark.parametrize("draw", [part, colour], ids=["grey", "colour"])
def test_replay_says_what_it_says_of_the_decoded_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Any
) -> None:
    """Recorded as JPEG, or as PNG of the same decoded pixels: the hash of the replay is equal."""
    fake_scorer(monkeypatch)
    files = {f"{number:02}": jpeg(draw(number)) for number in range(PARTS)}
    plain = {
        f"{name}.png": cv2.imencode(".png", decode_image(content))[1].tobytes()
        for name, content in files.items()
    }

    passed = record(tmp_path / "a", {f"{name}.jpg": content for name, content in files.items()})
    encoded = record(tmp_path / "b", plain)

    assert [content for _, _, content in stored(passed)] == list(files.values())
    assert all(content.startswith(b"\x89PNG") for _, _, content in stored(encoded))
    first = replayed(passed, tmp_path / "passed.db")
    other = replayed(encoded, tmp_path / "encoded.db")
    assert run_hash(first) == run_hash(other)
    assert sum(row["score"] is not None for row in rows(first)) > PARTS // 2


@pytest.mark.parametrize("cut", [True, False], ids=["truncated", "changed"])
def test_replay_refuses_a_damaged_file_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cut: bool
) -> None:
    """A file that lost its end, or a bit inside, is told with its place."""
    fake_scorer(monkeypatch)
    recording = record(tmp_path, {f"{n}.jpg": jpeg(part(n)) for n in range(3)})
    frame, _, content = stored(recording)[1]
    assert frame.stored is not None
    changed = bytearray(content)
    changed[-20] ^= 0x04
    (recording / "c1" / frame.stored.file).write_bytes(content[:-2] if cut else changed)

    with pytest.raises(ReplayError, match=rf"damaged_file.*c1/{frame.stored.file}"):
        replayed(recording, tmp_path / "out.db")
