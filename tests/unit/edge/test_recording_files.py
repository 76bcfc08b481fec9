"""The files of a recording: what is no recording is refused, damage of each kind is named."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings as made
from factories import BOOT, announcement
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import recording_files
from edge.frame import Frame
from edge.recording import Recording
from edge.recording_files import RecordingError, take_torn_off, torn_words

FORMATS: dict[str, Any] = {
    "mono8": ("mono", 8, np.uint8, ()),
    "mono12": ("mono", 12, np.uint16, ()),
    "bgr8": ("bgr", 8, np.uint8, (3,)),
    "rgb8": ("rgb", 8, np.uint8, (3,)),
    "rgb16": ("rgb", 16, np.uint16, (3,)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_pixels_come_back_bit_by_bit(tmp_path: Path, name: str) -> None:
    """Format, depth, place on the sensor and each value of a frame survive."""
    pixel_format, depth, dtype, planes = FORMATS[name]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**depth, (5, 7, *planes), dtype)
    # A view into a larger picture, as a region of interest is.
    pixels = np.pad(pixels, [(1, 2), (3, 1), *[(0, 0)] * len(planes)])[1:6, 3:10]
    pixels.flags.writeable = False
    given_frame = Frame(announcement(1), pixels, pixel_format, depth, (40, 20))
    made.begin(tmp_path)

    made.write(tmp_path / "c1" / "index.jsonl", given_frame)

    loaded = Recording(tmp_path).frames("c1")[0].load()
    assert np.array_equal(loaded.pixels, pixels)
    assert loaded.pixels.dtype == dtype
    assert (loaded.pixel_format, loaded.bit_depth, loaded.offset_px) == (
        pixel_format, depth, (40, 20),
    )  # fmt: skip
    assert loaded.announcement == given_frame.announcement


def test_figures_come_back_exactly(tmp_path: Path) -> None:
    """A score is the same number after the recording, to its last bit."""
    score = float(np.nextafter(0.1, 1)) / 3
    made.begin(tmp_path)
    made.camera(tmp_path, 1)
    made.line(tmp_path, made.inspected(1, score=score, p_value=1 / 7))

    seen = Recording(tmp_path).frames("c1")[0].inspected

    assert seen is not None
    assert (seen.score, seen.p_value) == (score, 1 / 7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"\xff", "no JSON"),
        (b"[]", "format is None"),
        (b'{"format": "tape"}', "format is 'tape'"),
        (b'{"format": "musc-edge recording", "version": 2}', "version is 2, this program reads 1"),
        (b'{"format": "musc-edge recording", "version": 1}', "created_at"),
    ],
)
def test_what_is_no_recording_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    """A folder without a head of this format and version is refused by name."""
    if content is not None:
        (tmp_path / "recording.json").write_bytes(content)

    with pytest.raises(RecordingError, match=message):
        Recording(tmp_path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A frame whose file is gone is a problem; the others are there."""
    made.whole(tmp_path)
    (tmp_path / "c1" / "frames" / BOOT / "2.png").unlink()

    recording = Recording(tmp_path)

    assert [(p.kind, p.where) for p in recording.problems] == [
        ("missing_file", f"c1/frames/{BOOT}/2.png")
    ]
    with pytest.raises(RecordingError, match="No such file"):
        recording.frames("c1")[1].load()
    assert recording.frames("c1")[2].load().key.seq == 3


def test_shortened_file_is_named(tmp_path: Path) -> None:
    """A file of another size is found without reading it."""
    made.whole(tmp_path)
    path = tmp_path / "c1" / "frames" / BOOT / "2.png"
    os.truncate(path, 30)

    recording = Recording(tmp_path)

    assert [p.kind for p in recording.problems] == ["damaged_file"]
    with pytest.raises(RecordingError, match="CRC32"):
        recording.frames("c1")[1].load()


def test_changed_byte_is_found(tmp_path: Path) -> None:
    """A file that was changed in place is never loaded, and is found by reading all."""
    made.whole(tmp_path)
    path = tmp_path / "c1" / "frames" / BOOT / "2.png"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)

    recording = Recording(tmp_path)

    assert recording.problems == []
    found = [problem for problem in recording.verify() if problem is not None]
    assert [(p.kind, p.where) for p in found] == [("damaged_file", f"c1/frames/{BOOT}/2.png")]
    assert len(list(recording.verify())) == 4


def test_image_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Pixels that are not what the line says are refused, though the file is whole."""
    made.whole(tmp_path)
    index = tmp_path / "c1" / "index.jsonl"
    index.write_text(index.read_text().replace('"shape":[28,28]', '"shape":[28,27]'))

    with pytest.raises(RecordingError, match="28"):
        Recording(tmp_path).frames("c1")[0].load()


def test_path_out_of_the_recording_is_no_line(tmp_path: Path) -> None:
    """A line that names a file elsewhere is damaged."""
    made.whole(tmp_path)
    index = tmp_path / "c1" / "index.jsonl"
    index.write_text(index.read_text().replace(f"frames/{BOOT}/2.png", "../../secret.png"))

    assert Recording(tmp_path).counts()["damaged_line"] == 1


@pytest.fixture(scope="module")
def template() -> Any:
    """A whole recording that is copied and then harmed."""
    with tempfile.TemporaryDirectory() as folder:
        yield made.whole(Path(folder) / "rec")


@settings(deadline=None)
@given(name=st.sampled_from(["c1/index.jsonl", "line.jsonl"]), share=st.floats(0, 1))
def test_cut_anywhere_keeps_the_whole_lines(template: Path, name: str, share: float) -> None:
    """However much of an index is left, its whole lines are read and a rest is called torn."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(template, Path(parent) / "rec"))
        content = (folder / name).read_bytes()
        cut = content[: round(share * len(content))]
        (folder / name).write_bytes(cut)

        recording = Recording(folder)

        read = recording.line if name == "line.jsonl" else recording.indexes["c1"]
        lines = content.splitlines()[: cut.count(b"\n")]
        assert [json.loads(line.model_dump_json()) for line in read] == [
            json.loads(line) for line in lines
        ]
        assert recording.counts()["torn_line"] == int(bool(cut) and not cut.endswith(b"\n"))
        list(recording.steps())


@settings(deadline=None)
@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"") + b"\n")),
    torn=st.binary(max_size=200).map(lambda rest: rest.replace(b"\n", b"")),
    block=st.integers(1, 64),
)
def test_only_what_follows_the_last_newline_is_taken_off(
    lines: list[bytes], torn: bytes, block: int
) -> None:
    """Whole lines stay, the torn one is returned, however little is read at once."""
    with tempfile.TemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording_files, "BLOCK_BYTES", block)
        file.write(b"".join(lines) + torn)
        file.flush()

        assert take_torn_off(file.fileno()) == torn

        file.seek(0)
        assert file.read() == b"".join(lines)


@pytest.mark.parametrize(
    ("torn", "named"),
    [
        (b'{"v":1,"kind":"announced","announcement":{"camera":"c1","boot":"0', " 'announced'"),
        (b'{"camera":"c1","boot":"0123456789abcdef","seq":12,"kind":"insp', " of number 12"),
        (b'{"v":1,"kind":"lost","announcement":{"seq":1', " 'lost'"),
        (b"\0\0\xff", ""),
    ],
)
def test_torn_line_is_named_as_far_as_it_is_left(torn: bytes, named: str) -> None:
    """Kind and number are said where they are whole; a number that may go on is none."""
    assert torn_words(torn) == f"the last {len(torn)} bytes are a torn line{named}"


@settings(deadline=None)
@given(rubbish=st.binary(max_size=200), at=st.floats(0, 1), name=st.sampled_from(["c1", ""]))
def test_rubbish_is_named_and_never_raised(
    template: Path, rubbish: bytes, at: float, name: str
) -> None:
    """Any bytes anywhere in an index are problems, never an error."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(shutil.copytree(template, Path(parent) / "rec"))
        index = folder / name / ("index.jsonl" if name else "line.jsonl")
        content = index.read_bytes()
        place = round(at * len(content))
        index.write_bytes(content[:place] + rubbish + content[place:])

        recording = Recording(folder)

        assert len(list(recording.steps())) > 0 or recording.problems
